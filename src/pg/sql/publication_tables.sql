-- The tables of a publication with their published columns: a row per column, ordered by table and attribute number; a
-- table without published columns is one row without a column. $1 publication. Servers 14 to 18.
-- Nothing here takes a lock on a table that has statistics: pg_table_size would wait for an ALTER TABLE to end.
with recursive
published as (
    select c.oid as table_oid, n.nspname, c.relname, c.relkind, c.relfilenode, c.relreplident, c.relnamespace,
           -- 15 on: the column list. 14 has none.
           to_jsonb(pt) -> 'attnames' as attnames
    from pg_publication_tables as pt
    join pg_namespace as n on n.nspname = pt.schemaname
    join pg_class as c on c.relnamespace = n.oid and c.relname = pt.tablename
    where pt.pubname = $1::text
),
-- A partitioned table that is published as a whole has its rows in its leaves.
storage as (
    select p.table_oid,
           sum(case when c.relpages > 0
                    then (c.relpages::bigint + coalesce(toast.relpages, 0)) * current_setting('block_size')::bigint
                    else pg_table_size(c.oid) end)::bigint as bytes_estimate,
           case when bool_or(c.reltuples < 0) then -1 else sum(c.reltuples) end as rows_estimate
    from published as p
    cross join lateral (select p.table_oid as relid where p.relkind <> 'p'
                        union all
                        select t.relid from pg_partition_tree(p.table_oid) as t where p.relkind = 'p' and t.isleaf) as leaf
    join pg_class as c on c.oid = leaf.relid
    left join pg_class as toast on toast.oid = c.reltoastrelid
    group by p.table_oid
),
-- The index that tells rows apart, if the server would use it: immediate, valid, not partial. A deferrable key is none,
-- as one statement may swap two of its values.
identity as (
    select p.table_oid, i.indexrelid, i.indkey, i.indnkeyatts
    from published as p
    join pg_index as i on i.indrelid = p.table_oid
    where i.indisvalid and i.indimmediate and i.indisunique and i.indpred is null and i.indexprs is null
      and case p.relreplident when 'd' then i.indisprimary when 'f' then i.indisprimary when 'i' then i.indisreplident
               else false end
),
columns as (
    select p.table_oid, a.attnum, a.attname, a.atttypid, a.atttypmod, a.attnotnull, a.attstorage
    from published as p
    join pg_attribute as a on a.attrelid = p.table_oid and a.attnum > 0 and not a.attisdropped
    where (p.attnames is null or jsonb_typeof(p.attnames) = 'null' or p.attnames ? a.attname::text)
      -- Before 18 generated columns are not sent, though 15 to 17 name them here; from 18 on those that are named are sent.
      and (a.attgenerated = '' or current_setting('server_version_num')::int >= 180000 and p.attnames is not null)
),
-- Domains down to what they are made of; a domain's typmod takes the place of what stood above it.
domains (type_oid, modifier, base_oid, base_modifier) as (
    select distinct atttypid, atttypmod, atttypid, atttypmod from columns
    union all
    select d.type_oid, d.modifier, t.typbasetype, t.typtypmod
    from domains as d join pg_type as t on t.oid = d.base_oid where t.typtype = 'd'
),
bases as (
    select d.type_oid, d.modifier, d.base_oid, d.base_modifier, t.typtype,
           -- A true array is what its element names as such (int2vector and the like are none).
           case when element.typarray = t.oid then element.oid end as element_oid
    from domains as d
    join pg_type as t on t.oid = d.base_oid and t.typtype <> 'd'
    left join pg_type as element on element.oid = t.typelem and t.typelem <> 0
),
elements (array_oid, modifier, base_oid, base_modifier) as (
    select distinct base_oid, base_modifier, element_oid, base_modifier from bases where element_oid is not null
    union all
    select e.array_oid, e.modifier, t.typbasetype, t.typtypmod
    from elements as e join pg_type as t on t.oid = e.base_oid where t.typtype = 'd'
),
-- Everything that a type's binary output would call upon. An array of a type without one fails in the server.
parts (type_oid, part_oid) as (
    select distinct base_oid, base_oid from bases
    union
    select p.type_oid, below.oid
    from parts as p
    join pg_type as t on t.oid = p.part_oid
    cross join lateral (
        select t.typelem as oid where t.typelem <> 0 and t.typlen = -1
        union all select t.typbasetype where t.typtype = 'd'
        union all select r.rngsubtype from pg_range as r where r.rngtypid = t.oid
        union all select r.rngtypid from pg_range as r where r.rngmultitypid = t.oid
        union all select a.atttypid from pg_attribute as a
                  where t.typtype = 'c' and a.attrelid = t.typrelid and a.attnum > 0 and not a.attisdropped) as below
),
sendable as (
    select p.type_oid, bool_and(t.typsend <> 0) as has_binary_send
    from parts as p join pg_type as t on t.oid = p.part_oid group by p.type_oid
)
select
    p.nspname as schema_name,
    p.relname as table_name,
    p.table_oid,
    p.relfilenode,
    s.bytes_estimate,
    s.rows_estimate,
    p.relreplident as replica_identity,
    i.indnkeyatts as key_count,
    has_schema_privilege(p.relnamespace, 'USAGE') as may_use_schema,
    has_table_privilege(p.table_oid, 'SELECT') as may_select,  -- on columns alone does not do: the copy locks the table
    row_security_active(p.table_oid) as has_row_security,
    c.attnum as attribute_number,
    c.attname as column_name,
    format_type(c.atttypid, c.atttypmod) as type_name,
    c.atttypid as type_oid,
    c.atttypmod as type_modifier,
    b.base_oid,
    b.base_modifier,
    coalesce(e.base_oid, 0) as element_oid,
    coalesce(e.base_modifier, -1) as element_modifier,
    b.typtype = 'e' as is_enum,
    coalesce(et.typtype = 'e', false) as element_is_enum,
    c.attstorage <> 'p' as is_toastable,
    c.attnotnull as is_not_null,
    sb.has_binary_send,
    -- indkey counts from 0; behind the key's columns stand those that the index only includes.
    case when array_position(i.indkey::int2[], c.attnum) < i.indnkeyatts
         then array_position(i.indkey::int2[], c.attnum) else -1 end as key_position
from published as p
left join storage as s on s.table_oid = p.table_oid
left join identity as i on i.table_oid = p.table_oid
left join columns as c on c.table_oid = p.table_oid
left join bases as b on b.type_oid = c.atttypid and b.modifier = c.atttypmod
left join (elements as e join pg_type as et on et.oid = e.base_oid and et.typtype <> 'd')
    on e.array_oid = b.base_oid and e.modifier = b.base_modifier
left join sendable as sb on sb.type_oid = b.base_oid
order by p.nspname, p.relname, p.table_oid, c.attnum
