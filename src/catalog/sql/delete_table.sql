DELETE FROM etl_tables WHERE pipeline = $1 AND schema_name = $2 AND table_name = $3
