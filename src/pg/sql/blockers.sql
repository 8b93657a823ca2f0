-- What a server process waits for: a row each, prepared transactions first. $1 its pid.
-- pg_blocking_pids names a prepared transaction as 0, so the oldest are named.
(select 0 as pid, gid as name, database as place,
        extract(epoch from now() - prepared)::bigint as seconds
 from pg_prepared_xacts where 0 = any (pg_blocking_pids($1::int)) order by prepared limit 3)
union all
(select a.pid, coalesce(a.usename, '') as name, coalesce(nullif(a.application_name, ''), 'unnamed') as place,
        extract(epoch from now() - coalesce(a.xact_start, a.backend_start, now()))::bigint as seconds
 from pg_stat_activity as a where a.pid = any (pg_blocking_pids($1::int)) order by a.xact_start limit 3)
