-- What check asks a source besides source_facts.sql: one row. $1 publication, $2 slot. Servers 14 to 18, any role.
-- What a role may not see of others (pg_read_all_stats) is NULL here.
select
    pg_backend_pid() as backend_pid,
    current_setting('statement_timeout') = '0' and current_setting('lock_timeout') = '0'
        and current_setting('idle_in_transaction_session_timeout') = '0' as are_timeouts_off,
    r.rolsuper as is_superuser,
    r.rolconnlimit as connection_limit,
    case when isfinite(r.rolvaliduntil) then extract(epoch from r.rolvaliduntil - now())::bigint / 86400 end as password_days,
    (select count(*) from pg_stat_activity where usesysid = r.oid and pid <> pg_backend_pid()) as role_connections,
    current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
        - coalesce(current_setting('reserved_connections', true), '0')::int as connections_max,
    (select count(*) from pg_stat_activity where datid is not null) as connections_used,
    t.ssl as is_encrypted,
    inet_client_addr() is null or inet_client_addr() <<= '127.0.0.0/8' or inet_client_addr() = '::1' as is_local,
    pg_has_role(current_user, 'pg_read_all_stats', 'usage') as may_see_others,
    -- A transaction that has written, the oldest: a slot is not made before it is over. Prepared ones have no process.
    o.pid as transaction_pid,
    extract(epoch from now() - o.xact_start)::bigint as transaction_seconds,
    o.usename as transaction_user,
    o.application_name as transaction_application,
    x.gid as prepared_name,
    x.database as prepared_database,
    x.owner as prepared_owner,
    extract(epoch from now() - x.prepared)::bigint as prepared_seconds,
    (select string_agg(s.slot_name, ',' order by s.slot_name) from pg_replication_slots as s where s.slot_type = 'physical') as physical_slots,
    (select count(*) from pg_stat_replication) - (select count(*) from pg_replication_slots where active) as senders_without_slot,
    current_setting('synchronized_standby_slots', true) as synchronized_standby_slots,
    current_setting('idle_replication_slot_timeout', true) as idle_slot_timeout,
    (select setting from pg_settings where name = 'idle_replication_slot_timeout') as idle_slot_timeout_number,
    (select setting from pg_settings where name = 'max_wal_size') as max_wal_size_mb,
    (select setting from pg_settings where name = 'logical_decoding_work_mem') as decoding_memory_kb,
    pg_wal_lsn_diff(case when pg_is_in_recovery() then pg_last_wal_replay_lsn() else pg_current_wal_insert_lsn() end,
                    l.restart_lsn)::bigint as slot_kept_bytes,
    l.safe_wal_size as slot_safe_bytes,
    l.wal_status as slot_wal_status,
    (to_jsonb(l) ->> 'failover')::boolean as slot_is_failover,
    u.spill_bytes as slot_spilled_bytes,
    (select string_agg(p.pubname, ',' order by p.pubname) from pg_publication as p) as publications,
    -- Where etl-stream's own catalog is among the published tables (publication_tables.sql).
    (select string_agg(distinct quote_ident(pt.schemaname), ', ')
     from pg_publication_tables as pt join pg_namespace as n on n.nspname = pt.schemaname
     where pt.pubname = $1::text and pt.tablename in ('sources', 'destinations', 'pipelines', 'etl_pipelines', 'etl_status')
       and (select count(*) from pg_class as c
            where c.relnamespace = n.oid
              and c.relname in ('etl_catalog', 'etl_pipelines', 'etl_channels', 'sources', 'destinations', 'pipelines')) >= 6) as catalogs,
    -- Which statement makes the publication that is missing: tables that it could hold.
    (select string_agg(format('%I.%I', n.nspname, c.relname), ', ' order by n.nspname, c.relname)
     from pg_class as c join pg_namespace as n on n.oid = c.relnamespace
     where c.relkind in ('r', 'p') and c.relpersistence = 'p' and not c.relispartition
       and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
       and $1::text <> all (select pt.pubname from pg_publication_tables as pt)) as tables_to_publish
from pg_roles as r
left join pg_stat_ssl as t on t.pid = pg_backend_pid()
left join pg_replication_slots as l on l.slot_name = $2::text
left join pg_stat_replication_slots as u on u.slot_name = $2::text
left join lateral (
    select a.pid, a.xact_start, a.usename, a.application_name
    from pg_locks as k join pg_stat_activity as a on a.pid = k.pid
    where k.locktype = 'transactionid' and k.mode = 'ExclusiveLock' and k.granted and k.pid <> pg_backend_pid()
    order by a.xact_start nulls last limit 1) as o on true
left join lateral (select * from pg_prepared_xacts order by prepared limit 1) as x on true
where r.rolname = current_user
