INSERT INTO etl_tables (pipeline, schema_name, table_name, oid, state, copy_lsn, copied_rows, is_in_merge, reason,
                        spread, marks, columns, reason_code)
VALUES $ROWS
ON CONFLICT (pipeline, schema_name, table_name) DO UPDATE SET
    oid = excluded.oid, state = excluded.state, copy_lsn = excluded.copy_lsn, copied_rows = excluded.copied_rows,
    is_in_merge = excluded.is_in_merge, reason = excluded.reason, spread = excluded.spread,
    marks = excluded.marks, columns = excluded.columns, reason_code = excluded.reason_code
