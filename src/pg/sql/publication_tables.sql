-- The tables of a publication with their published columns: a row per column, ordered by table and attribute number; a
-- table without published columns is one row without a column. $1 publication. Servers 14 to 18.
-- Where a root brings its partitions one by one the server names unlogged and foreign ones too, of which it sends nothing.
-- Subqueries with "offset 0" are there for the planner, as in publication_look.sql.
-- Nothing here takes a lock on a table that has statistics: pg_table_size would wait for an ALTER TABLE to end.
with recursive
-- A schema with the tables of an etl-stream's own catalog. They hold passwords, and change with whatever is copied, so they stay where
-- they are although a publication may hold them.
catalogs as (
    select c.relnamespace from pg_class as c
    where c.relkind = 'r' and c.relname in ('etl_catalog', 'etl_pipelines', 'etl_channels', 'sources', 'destinations', 'pipelines')
    group by c.relnamespace having count(*) = 6
),
published as (
    select c.oid as table_oid, n.nspname, c.relname, c.relkind, c.relfilenode, c.relreplident, c.relnamespace, c.relnatts,
           p.pubupdate or p.pubdelete as has_old_rows,
           to_jsonb(g) -> 'attrs' as attrs  -- the numbers of the published columns; 14 knows none
    from pg_publication as p
    cross join lateral pg_get_publication_tables(p.pubname) as g
    cross join lateral (select c.oid, c.relname, c.relkind, c.relfilenode, c.relnatts, c.relreplident, c.relnamespace
                        from pg_class as c
                        where c.oid = g.relid and c.relkind in ('r', 'p') and c.relpersistence = 'p' offset 0) as c
    cross join lateral (select n.nspname from pg_namespace as n where n.oid = c.relnamespace offset 0) as n
    where p.pubname = $1::text
      and not (c.relname in ('sources', 'destinations', 'pipelines', 'etl_catalog', 'etl_channels', 'etl_claims', 'etl_commands',
                             'etl_pipelines', 'etl_settings', 'etl_status', 'etl_tables', 'etl_watch')
               and c.relnamespace in (select o.relnamespace from catalogs as o))
),
-- A partitioned table that is published as a whole has its rows in its leaves.
leaves as (
    select p.table_oid, leaf.relid
    from published as p
    cross join lateral (select p.table_oid as relid where p.relkind <> 'p'
                        union all
                        select t.relid from pg_partition_tree(p.table_oid) as t where p.relkind = 'p' and t.isleaf) as leaf
),
storage as (
    select l.table_oid,
           sum(case when c.relpages > 0
                    then (c.relpages::bigint + coalesce(toast.relpages, 0)) * current_setting('block_size')::bigint
                    else pg_table_size(c.oid) end)::bigint as bytes_estimate,
           case when bool_or(c.reltuples < 0) then -1 else sum(c.reltuples) end as rows_estimate,
           -- Of a partition that is unlogged or foreign nothing is sent: the first, and how many more.
           min(c.oid::regclass::text) filter (where c.relkind = 'f' or c.relpersistence = 'u')
               || case when count(*) filter (where c.relkind = 'f' or c.relpersistence = 'u') > 1
                       then format(' and %s more', count(*) filter (where c.relkind = 'f' or c.relpersistence = 'u') - 1) else '' end
               as unsent_partitions
    from leaves as l
    join pg_class as c on c.oid = l.relid
    left join pg_class as toast on toast.oid = c.reltoastrelid
    group by l.table_oid
),
-- The index that tells rows apart, if the server would use it: immediate, valid, not partial. A deferrable key is none,
-- as one statement may swap two of its values.
identity as (
    select p.table_oid, i.indexrelid, i.indkey, i.indnkeyatts
    from published as p
    cross join lateral (select * from pg_index as i where i.indrelid = p.table_oid offset 0) as i
    where i.indisvalid and i.indimmediate and i.indisunique and i.indpred is null and i.indexprs is null
      and case p.relreplident when 'd' then i.indisprimary when 'f' then i.indisprimary when 'i' then i.indisreplident
               else false end
),
-- Of a partitioned table that is published as a whole the server sends old rows by each partition's own identity. One partition that
-- names other columns than the table does: its rows could not be told apart by the table's. FULL has them all, and without an
-- identity updates and deletes are refused. A primary key is the partitions' as well.
part_identities as (
    select p.table_oid, n.nspname, c.relname, part.is_full, part.columns
    from published as p
    join leaves as l on l.table_oid = p.table_oid and p.relkind = 'p'
    cross join lateral (select * from pg_class as c where c.oid = l.relid and c.relkind = 'r' offset 0) as c
    cross join lateral (select n.nspname from pg_namespace as n where n.oid = c.relnamespace offset 0) as n
    cross join lateral (
        select c.relreplident = 'f' as is_full,
               (select array_agg(a.attname order by a.attname)
                from pg_index as i
                join pg_attribute as a on a.attrelid = i.indrelid and a.attnum = any((i.indkey::int2[])[0:i.indnkeyatts - 1])
                where i.indrelid = c.oid and i.indisvalid and i.indimmediate and i.indisunique and i.indpred is null and i.indexprs is null
                  and case c.relreplident when 'd' then i.indisprimary when 'i' then i.indisreplident else false end) as columns
        offset 0) as part
    where part.is_full or part.columns is not null
),
odd_partitions as (
    select distinct on (p.table_oid) p.table_oid, format('%I.%I', o.nspname, o.relname) as name
    from published as p
    left join identity as i on i.table_oid = p.table_oid
    cross join lateral (select array_agg(a.attname order by a.attname) as columns from pg_attribute as a
                        where a.attrelid = p.table_oid and a.attnum = any((i.indkey::int2[])[0:i.indnkeyatts - 1])) as own
    join part_identities as o on o.table_oid = p.table_oid
                             and (not o.is_full and o.columns is distinct from own.columns
                                  or o.is_full and own.columns is null and p.relreplident <> 'f')
    where p.has_old_rows
    order by p.table_oid, o.nspname, o.relname
),
columns as (
    select p.table_oid, a.attnum, a.attname, a.atttypid, a.atttypmod, a.attnotnull, a.attstorage,
           -- What rows show that are older than the column (ADD COLUMN ... DEFAULT constant, until the table is rewritten). That of a
           -- partitioned table is kept with its partitions, where they may differ: there is one, but none to name.
           a.atthasmissing
               or p.relkind = 'p' and exists (select from pg_partition_tree(p.table_oid) as t
                                              join pg_attribute as l on l.attrelid = t.relid and l.attname = a.attname
                                              where l.atthasmissing) as has_missing,
           case when a.atthasmissing then array_to_string(a.attmissingval, '') end as missing_text
    from published as p
    cross join lateral (select * from pg_attribute as a where a.attrelid = p.table_oid and a.attnum > 0 and not a.attisdropped offset 0) as a
    where (p.attrs is null or jsonb_typeof(p.attrs) = 'null' or p.attrs @> to_jsonb(a.attnum))
      -- Before 18 generated columns are not sent, though 15 to 17 name them here; from 18 on those that are named are sent.
      and (a.attgenerated = '' or current_setting('server_version_num')::int >= 180000 and p.attrs is not null)
),
-- What the types of columns are made of, at any depth: what a domain stands for, an array's element, a range's bound, a
-- composite's attributes. No type contains itself, and UNION meets each part of a type once.
type_parts (root_oid, root_modifier, whole_oid, whole_modifier, number, name, oid, modifier) as (
    select distinct atttypid, atttypmod, 0::oid, 0, 0, ''::name, atttypid, atttypmod from columns
    union
    select w.root_oid, w.root_modifier, w.oid, w.modifier, part.number, part.name, part.oid, part.modifier
    from type_parts as w
    cross join lateral (select * from pg_type as t where t.oid = w.oid offset 0) as t
    cross join lateral (
        -- A domain's modifier takes the place of what stood above it; an array's is its elements'.
        select 1 as number, ''::name as name, t.typbasetype as oid, t.typtypmod as modifier where t.typtype = 'd'
        -- A true array is what its element names as such (int2vector and the like are none).
        union all select 1, '', e.oid, w.modifier from pg_type as e where e.oid = t.typelem and e.typarray = t.oid
        union all select 1, '', r.rngsubtype, -1 from pg_range as r where r.rngtypid = t.oid
        union all select 1, '', r.rngtypid, -1 from pg_range as r where r.rngmultitypid = t.oid
        union all select a.attnum, a.attname, a.atttypid, a.atttypmod from pg_attribute as a
                  where t.typtype = 'c' and a.attrelid = t.typrelid and a.attnum > 0 and not a.attisdropped) as part
),
type_part_texts as (
    select root_oid, root_modifier, whole_oid, whole_modifier,
           string_agg(format(' %s %s "%s"', oid, modifier, replace(name, '"', '""')), '' order by number) as listed
    from type_parts where whole_oid <> 0 group by root_oid, root_modifier, whole_oid, whole_modifier
),
-- One text for a column's type, a line for each type in it: oid, modifier, kind, delimiter, whether it has a send function,
-- "name", "extension", then for each part oid, modifier, "name". Quotes in names are doubled.
type_texts as (
    select n.root_oid, n.root_modifier,
           string_agg(format('%s %s %s %s %s "%s" "%s"', n.oid, n.modifier,
                             case when e.oid is not null then 'a' when t.typtype in ('e', 'd', 'c', 'r', 'm') then t.typtype::text
                                  else 'b' end,
                             coalesce(e.typdelim, ','), (t.typsend <> 0)::int,
                             -- Before 17 all parts at their limits are an interval like others, and no infinity.
                             case when t.oid = 'interval'::regtype and current_setting('server_version_num')::int < 170000
                                  then 'finite interval' else replace(t.typname, '"', '""') end,
                             replace(coalesce(x.extname, ''), '"', '""')) || coalesce(l.listed, ''), e'\n'
                      order by n.oid, n.modifier) as nodes
    from (select distinct root_oid, root_modifier, oid, modifier from type_parts) as n
    cross join lateral (select * from pg_type as t where t.oid = n.oid offset 0) as t
    left join lateral (select * from pg_type as e where e.oid = t.typelem and e.typarray = t.oid offset 0) as e on true
    left join type_part_texts as l on l.root_oid = n.root_oid and l.root_modifier = n.root_modifier
                                  and l.whole_oid = n.oid and l.whole_modifier = n.modifier
    left join lateral (select x.extname from pg_depend as d
                       join pg_extension as x on x.oid = d.refobjid and d.refclassid = 'pg_extension'::regclass
                       where d.classid = 'pg_type'::regclass and d.objid = t.oid and d.deptype = 'e' offset 0) as x on true
    group by n.root_oid, n.root_modifier
)
select
    p.nspname as schema_name,
    p.relname as table_name,
    p.table_oid,
    p.relfilenode,
    p.relnatts as attribute_count,  -- dropped ones and those that are not published count too
    s.bytes_estimate,
    s.rows_estimate,
    p.relreplident as replica_identity,
    i.indnkeyatts as key_count,
    p.relkind = 'p' as is_partitioned,
    o.name as odd_partition,
    s.unsent_partitions,
    has_schema_privilege(p.relnamespace, 'USAGE') as may_use_schema,
    has_table_privilege(p.table_oid, 'SELECT') as may_select,  -- on columns alone does not do: the copy locks the table
    row_security_active(p.table_oid) as has_row_security,
    c.attnum as attribute_number,
    c.attname as column_name,
    format_type(c.atttypid, c.atttypmod) as type_name,
    c.atttypid as type_oid,
    c.atttypmod as type_modifier,
    y.nodes as type_nodes,
    c.attstorage <> 'p' as is_toastable,
    c.attnotnull as is_not_null,
    c.has_missing,
    c.missing_text,
    -- indkey counts from 0; behind the key's columns stand those that the index only includes.
    case when array_position(i.indkey::int2[], c.attnum) < i.indnkeyatts
         then array_position(i.indkey::int2[], c.attnum) else -1 end as key_position
from published as p
left join storage as s on s.table_oid = p.table_oid
left join identity as i on i.table_oid = p.table_oid
left join odd_partitions as o on o.table_oid = p.table_oid
left join columns as c on c.table_oid = p.table_oid
left join type_texts as y on y.root_oid = c.atttypid and y.root_modifier = c.atttypmod
order by p.nspname, p.relname, p.table_oid, c.attnum
