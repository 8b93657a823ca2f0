SELECT schema_name, table_name, oid, state, copy_lsn, copied_rows, is_in_merge, reason, spread, marks, columns, reason_code
  FROM etl_tables WHERE pipeline = $1 ORDER BY schema_name, table_name
