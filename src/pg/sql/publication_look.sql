-- What of a publication may change while its stream is read: which tables it holds, and by which entries. $1 publication.
-- Servers 14 to 18. An entry (pg_publication_rel) is made anew when a table is taken out and put in again, and when its row
-- filter or column list is changed; of a partition the entries of its ancestors count.
select
    case when pg_is_in_recovery() then pg_last_wal_replay_lsn() else pg_current_wal_insert_lsn() end as current_lsn,
    p.oid is not null as publication_exists,
    c.oid as table_oid,
    coalesce((select sum(entry.oid::bigint) from pg_publication_rel as entry
              where entry.prpubid = p.oid
                and (entry.prrelid = c.oid
                     or c.relispartition and entry.prrelid in (select relid from pg_partition_ancestors(c.oid)))),
             0) as membership
from (select) as one
left join pg_publication as p on p.pubname = $1::text
left join (pg_publication_tables as pt
           join pg_namespace as n on n.nspname = pt.schemaname
           join pg_class as c on c.relnamespace = n.oid and c.relname = pt.tablename)
    on pt.pubname = p.pubname
order by c.oid
