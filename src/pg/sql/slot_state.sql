-- What has to be known before a slot is dropped. $1 its name.
select s.active_pid, s.slot_type = 'logical' and s.plugin = 'pgoutput' and s.database = current_database() as is_ours,
       a.application_name, a.client_addr
from pg_replication_slots as s
left join pg_stat_activity as a on a.pid = s.active_pid
where s.slot_name = $1::text
