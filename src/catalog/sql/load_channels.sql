SELECT name, table_oid, token, created_on_ms, error_count
  FROM etl_channels WHERE pipeline = $1 ORDER BY table_oid, name
