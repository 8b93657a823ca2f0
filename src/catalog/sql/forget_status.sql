DELETE FROM etl_status WHERE pipeline = $1 AND NOT EXISTS (SELECT 1 FROM pipelines p WHERE p.name = $1)
