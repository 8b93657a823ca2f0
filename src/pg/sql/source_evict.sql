-- Ends what an earlier run of this pipeline has left open at the source: a process that stands still keeps its slot, its
-- snapshot and its locks for as long as it does. Runs tell by application_name, which ends in the claim's number, 16 hex
-- digits. $1 that name with claim 0, $2 with ours, $3 the slot: whoever reads it in our own name is a connection of ours
-- that broke and that the server has not missed yet. Waits up to two seconds for each. One row.
select count(*) filter (where pg_terminate_backend(a.pid, 2000)) as ended
from pg_stat_activity as a
where a.pid <> pg_backend_pid() and a.usename = current_user
  and (a.application_name collate "C" >= $1 and a.application_name collate "C" < $2
       or a.application_name = $2 and a.pid = (select s.active_pid from pg_replication_slots as s where s.slot_name = $3))
