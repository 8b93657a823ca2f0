-- What check asks of a publication's tables besides publication_tables.sql: a row each. $1 publication. Servers 14 to 18.
-- Sizes are what the last VACUUM or ANALYZE saw, counts since the statistics were reset.
with published as (
    select c.oid, n.nspname, c.relname, c.relkind, c.relispartition, c.relreplident, c.relnamespace, p.pubviaroot,
           p.pubupdate or p.pubdelete as has_updates,
           to_jsonb(pt) -> 'attnames' as attnames, to_jsonb(pt) ->> 'rowfilter' as row_filter
    from pg_publication as p
    join pg_publication_tables as pt on pt.pubname = p.pubname
    join pg_namespace as n on n.nspname = pt.schemaname
    join pg_class as c on c.relnamespace = n.oid and c.relname = pt.tablename and c.relkind in ('r', 'p') and c.relpersistence = 'p'
    where p.pubname = $1::text
),
-- Where the rows are: a partitioned table that is published as a whole has them in its leaves.
leaves as (
    select p.oid as root_oid, c.oid, c.relpages, c.reltoastrelid, n.nspname, c.relname
    from published as p
    cross join lateral (select p.oid as relid where p.relkind <> 'p'
                        union all
                        select t.relid from pg_partition_tree(p.oid) as t where p.relkind = 'p' and t.isleaf) as leaf
    join pg_class as c on c.oid = leaf.relid
    join pg_namespace as n on n.oid = c.relnamespace
),
counted as (
    select l.root_oid, sum(l.relpages) * current_setting('block_size')::bigint as main_bytes,
           sum(coalesce(toast.relpages, 0)) * current_setting('block_size')::bigint as toast_bytes,
           sum(coalesce(s.n_tup_upd, 0)) as updates, sum(coalesce(s.n_tup_del, 0)) as deletes,
           string_agg(format('%I.%I', l.nspname, l.relname), ', ' order by l.nspname, l.relname)
               filter (where l.oid <> l.root_oid and not has_table_privilege(l.oid, 'SELECT')) as unreadable_parts
    from leaves as l
    left join pg_class as toast on toast.oid = l.reltoastrelid
    left join pg_stat_all_tables as s on s.relid = l.oid
    group by l.root_oid
)
select
    p.nspname as schema_name,
    p.relname as table_name,
    p.relreplident as replica_identity,
    p.relkind = 'p' as is_partitioned,
    case when p.relispartition and not p.pubviaroot
         then (select format('%I.%I', n.nspname, c.relname)
               from pg_class as c join pg_namespace as n on n.oid = c.relnamespace where c.oid = pg_partition_root(p.oid))
         end as partition_root,
    p.has_updates,
    p.row_filter,
    has_schema_privilege(p.relnamespace, 'USAGE') as may_use_schema,
    has_table_privilege(p.oid, 'SELECT') as may_select,
    has_any_column_privilege(p.oid, 'SELECT') as may_select_a_column,
    c.unreadable_parts,
    c.main_bytes::bigint as main_bytes,
    c.toast_bytes::bigint as toast_bytes,
    (c.updates)::bigint as updates,
    (c.deletes)::bigint as deletes,
    exists (select from pg_index as i where i.indrelid = p.oid and i.indisprimary) as has_primary_key,
    exists (select from pg_index as i where i.indrelid = p.oid and i.indisprimary and i.indimmediate and i.indisvalid) as has_immediate_key,
    (select string_agg(format('%I', a.attname), ', ' order by a.attnum) from pg_attribute as a
     where a.attrelid = p.oid and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''
       and p.attnames is not null and jsonb_typeof(p.attnames) = 'array' and not p.attnames ? a.attname::text) as columns_left_out,
    (select string_agg(format('%I', a.attname), ', ' order by a.attnum) from pg_attribute as a
     where a.attrelid = p.oid and a.attnum > 0 and not a.attisdropped and a.attgenerated = 's'
       and (current_setting('server_version_num')::int < 180000 or p.attnames is null or jsonb_typeof(p.attnames) <> 'array'
            or not p.attnames ? a.attname::text)) as generated_left_out
from published as p
left join counted as c on c.root_oid = p.oid
order by p.nspname, p.relname
