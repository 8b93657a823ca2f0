-- A locked table, as the transaction's snapshot sees it against what it is now: one row. $1 oid, $2 its quoted name.
-- pg_class is read in the snapshot; pg_relation_filenode and to_regclass tell what is so now.
with recursive tree (relid) as (
    select $1::oid
    union all
    select i.inhrelid
    from tree join pg_class as p on p.oid = tree.relid and p.relkind = 'p' join pg_inherits as i on i.inhparent = p.oid
)
select
    c.relkind,
    to_regclass($2::text)::oid = $1::oid as is_same_table,
    row_security_active($1::oid) as has_row_security,
    -- A partitioned table has no file; its leaves do.
    (select bool_and(f.relkind = 'p' or f.relfilenode is not distinct from pg_relation_filenode(f.oid))
     from tree join pg_class as f on f.oid = tree.relid) as is_same_file
from (select) as one left join pg_class as c on c.oid = $1::oid
