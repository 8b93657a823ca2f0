INSERT INTO etl_channels (pipeline, name, table_oid, token, created_on_ms, error_count)
VALUES $ROWS
ON CONFLICT (pipeline, name) DO UPDATE SET
    table_oid = excluded.table_oid, token = excluded.token, created_on_ms = excluded.created_on_ms,
    error_count = excluded.error_count
