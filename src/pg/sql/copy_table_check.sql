-- A locked table, as the transaction's snapshot sees it against what it is now, and the parts it is read by: one row a part
-- (a partitioned table's leaves; a table itself); one row without a part where there is none. $1 oid, $2 its quoted name,
-- $3 to $5 attribute numbers, types and modifiers of the columns that the owner knows, as arrays, $6 the highest number that any
-- column had: one that was added since may have values already that nothing is streamed for.
-- pg_class and pg_attribute are read in the snapshot; pg_relation_filenode, to_regclass, pg_partition_tree and the sizes tell
-- what is so now.
with recursive tree (relid) as (
    select $1::oid
    union all
    select i.inhrelid
    from tree join pg_class as p on p.oid = tree.relid and p.relkind = 'p' join pg_inherits as i on i.inhparent = p.oid
),
parts as (
    select f.oid, f.relkind, f.reltoastrelid,
           f.relkind = 'r' and f.relam = (select oid from pg_am where amname = 'heap') as is_heap,
           -- A partitioned table has no file, and a foreign one none of ours.
           f.relkind not in ('r', 'm', 't') or f.relfilenode is not distinct from pg_relation_filenode(f.oid) as is_same_file,
           coalesce(has_table_privilege(f.oid, 'SELECT') and not row_security_active(f.oid), false) as may_be_read
    from tree join pg_class as f on f.oid = tree.relid
),
checked as (
    select
        c.relkind,
        to_regclass($2::text)::oid = $1::oid as is_same_table,
        row_security_active($1::oid) as has_row_security,
        (select bool_and(is_same_file) from parts) as is_same_file,
        c.relkind is distinct from 'p'
            or (select array_agg(relid order by relid) from tree)
               = (select array_agg(relid::oid order by relid::oid) from pg_partition_tree($1::oid::regclass)) as is_same_tree,
        c.relnatts is not distinct from $6::int2 and not exists (
                    select
                    from unnest($3::int2[], $4::oid[], $5::int4[]) as known (attnum, type_oid, modifier)
                    left join pg_attribute as a
                        on a.attrelid = $1::oid and a.attnum = known.attnum and not a.attisdropped
                    where a.atttypid is distinct from known.type_oid
                       or a.atttypmod is distinct from known.modifier) as is_same_shape,
        (select bool_and(may_be_read) from parts where relkind <> 'p') as may_read_parts
    from (select) as one left join pg_class as c on c.oid = $1::oid
)
select
    checked.*,
    p.oid as part_oid,
    p.oid::regclass::text as part_name,
    p.is_heap,
    case when p.is_same_file and checked.is_same_tree
         then pg_relation_size(p.oid) / current_setting('block_size')::bigint end as part_blocks,
    case when p.is_same_file and checked.is_same_tree
         then pg_relation_size(p.oid) + coalesce(pg_relation_size(p.reltoastrelid), 0) end as part_bytes
from checked left join parts as p on p.relkind <> 'p'
order by p.oid
