-- The pgoutput slots of this database, who reads them, and the WAL that each holds back.
select s.slot_name, s.active_pid, coalesce(a.application_name, '') as application, coalesce(host(a.client_addr), 'local') as client,
       s.restart_lsn is not null as holds,
       pg_size_pretty(case when pg_is_in_recovery() then pg_wal_lsn_diff(pg_last_wal_receive_lsn(), s.restart_lsn)
                           else pg_wal_lsn_diff(pg_current_wal_lsn(), s.restart_lsn) end) as held
from pg_replication_slots as s
left join pg_stat_activity as a on a.pid = s.active_pid
where s.slot_type = 'logical' and s.plugin = 'pgoutput' and s.database = current_database()
order by s.slot_name
