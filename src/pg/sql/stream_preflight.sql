-- Before START_REPLICATION: one row. $1 slot, $2 publication as hexadecimal UTF-8 (the connection's encoding is the
-- database's own, which our name for it is not in).
select
    (select setting from pg_settings where name = 'wal_sender_timeout') as wal_sender_timeout_ms,
    current_setting('wal_level') as wal_level,
    current_database() as database,
    (select pubname from pg_publication where pubname = convert_from(decode($2, 'hex'), 'UTF8')) as publication,
    s.slot_name,
    s.slot_type,
    s.plugin,
    s.database as slot_database,
    -- A temporary slot of this very connection counts as active.
    nullif(s.active_pid, pg_backend_pid()) as active_pid,
    s.wal_status,
    to_jsonb(s) ->> 'invalidation_reason' as invalidation_reason
from (select) as one
left join pg_replication_slots as s on s.slot_name = $1
