-- One row for the server and each of the slots $1, or one row with NULLs for the slots when none of them is there. Columns that
-- only newer servers have (conflicting from 16, inactive_since and invalidation_reason from 17) are taken by name from the row,
-- so that the same statement does for all.
SELECT server.is_standby, server.position, server.may_list_wal, server.wal_keep_bytes, CURRENT_USER,
       s.slot_name, s.active, s.restart_lsn, s.confirmed_flush_lsn,
       pg_wal_lsn_diff(server.position, s.restart_lsn)::bigint AS held_bytes,
       s.wal_status, s.safe_wal_size,
       extract(epoch FROM clock_timestamp() - (to_jsonb(s) ->> 'inactive_since')::timestamptz)::bigint AS inactive_seconds,
       to_jsonb(s) ->> 'invalidation_reason' AS invalidation_reason,
       coalesce(to_jsonb(s) ->> 'conflicting', 'false') AS conflicting
  FROM (SELECT pg_is_in_recovery() AS is_standby,
               CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END AS position,
               has_function_privilege('pg_catalog.pg_ls_waldir()', 'EXECUTE') AS may_list_wal,
               pg_size_bytes(current_setting('max_slot_wal_keep_size')) AS wal_keep_bytes) AS server
  LEFT JOIN pg_replication_slots AS s ON s.slot_name = ANY ($1::name[])
