INSERT INTO etl_tables (pipeline, schema_name, table_name, oid, state, copy_lsn, copied_rows, is_in_merge, reason,
                        channel, token, created_on_ms, error_count)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)
ON CONFLICT (pipeline, schema_name, table_name) DO UPDATE SET
    oid = excluded.oid, state = excluded.state, copy_lsn = excluded.copy_lsn, copied_rows = excluded.copied_rows,
    is_in_merge = excluded.is_in_merge, reason = excluded.reason, channel = excluded.channel, token = excluded.token,
    created_on_ms = excluded.created_on_ms, error_count = excluded.error_count
