-- What may change of a publication's tables while their stream is read, much of it without a message in the stream: a row per
-- table, at least one. $1 publication. Servers 14 to 18.
-- marks is one word for each thing that is watched (src/pipeline/marks.h has what each means), all as one snapshot sees them.
-- current_lsn is read while the statement runs, its snapshot before: what shows was committed below it. in_progress is that snapshot, which
-- tells what is committed below current_lsn and does not show yet (a commit may wait for a synchronous standby).
-- An entry (pg_publication_rel) is made anew when a table is taken out and put in again, and when its row filter or column list
-- is changed; of a partition the entries of its ancestors count, of a publication for schemas the schema's. The publication's own entry is
-- written anew by whatever sets an option of it, its owner or its name: what was sent in between may be less than before and after.
-- Where schemas are published, a table's dependency on its schema is written anew when it is moved, and when it is moved back.
-- A table that the publication does not name itself may be made UNLOGGED, and LOGGED again, each of which gives it a new file and a new TOAST
-- table. VACUUM FULL, CLUSTER and TRUNCATE keep the TOAST table; pg_repack and pg_squeeze do not, so that nothing is told where they are.
-- Every pipeline asks this every few seconds. So pg_get_publication_tables is called where the view pg_publication_tables would do, and
-- what belongs to one table is a subquery of its own ("offset 0" keeps it one): the planner takes the function for a thousand tables,
-- and would read all of pg_class and pg_attribute for the three that a publication has in a database of thousands.
with recursive
-- As in publication_tables.sql.
catalogs as (
    select c.relnamespace from pg_class as c
    where c.relkind = 'r' and c.relname in ('etl_catalog', 'etl_pipelines', 'etl_channels', 'sources', 'destinations', 'pipelines')
    group by c.relnamespace having count(*) = 6
),
published as (
    select p.oid as publication_oid, c.oid, n.nspname, c.relname, c.relkind, c.relfilenode, c.reltoastrelid, c.relnatts, c.relreplident, c.relispartition,
           c.relnamespace, to_jsonb(g) -> 'attrs' as attrs  -- the numbers of the published columns; 14 knows none
    from pg_publication as p
    cross join lateral pg_get_publication_tables(p.pubname) as g
    cross join lateral (select c.oid, c.relname, c.relkind, c.relfilenode, c.reltoastrelid, c.relnatts, c.relreplident, c.relispartition,
                               c.relnamespace
                        from pg_class as c
                        where c.oid = g.relid and c.relkind in ('r', 'p') and c.relpersistence = 'p' offset 0) as c
    cross join lateral (select n.nspname from pg_namespace as n where n.oid = c.relnamespace offset 0) as n
    where p.pubname = $1::text
      and not (c.relname in ('sources', 'destinations', 'pipelines', 'etl_catalog', 'etl_channels', 'etl_claims', 'etl_commands',
                             'etl_pipelines', 'etl_settings', 'etl_status', 'etl_tables', 'etl_watch')
               and c.relnamespace in (select o.relnamespace from catalogs as o))
),
columns as (
    select p.oid, a.attnum, a.attname, a.atttypid, a.atttypmod
    from published as p
    cross join lateral (select * from pg_attribute as a where a.attrelid = p.oid and a.attnum > 0 and not a.attisdropped offset 0) as a
    where (p.attrs is null or jsonb_typeof(p.attrs) = 'null' or p.attrs @> to_jsonb(a.attnum))
      and (a.attgenerated = '' or current_setting('server_version_num')::int >= 180000 and p.attrs is not null)
),
-- What columns' types are made of, as far as it may change in place: attributes of composites, labels of enums.
type_parts (root_oid, oid) as (
    select distinct atttypid, atttypid from columns
    union
    select w.root_oid, part.oid
    from type_parts as w
    cross join lateral (select * from pg_type as t where t.oid = w.oid offset 0) as t
    cross join lateral (
        select t.typbasetype as oid where t.typtype = 'd'
        union all select e.oid from pg_type as e where e.oid = t.typelem and e.typarray = t.oid
        union all select r.rngsubtype from pg_range as r where r.rngtypid = t.oid
        union all select r.rngtypid from pg_range as r where r.rngmultitypid = t.oid
        union all select a.atttypid from pg_attribute as a
                  where t.typtype = 'c' and a.attrelid = t.typrelid and a.attnum > 0 and not a.attisdropped) as part
),
composites as (
    select w.root_oid, string_agg(a.attrelid || ' ' || a.attnum || ' ' || a.attname || ' ' || a.atttypid || ' ' || a.atttypmod, ','
                                  order by a.attrelid, a.attnum) as listed
    from type_parts as w
    cross join lateral (select t.typrelid from pg_type as t where t.oid = w.oid and t.typtype = 'c' offset 0) as t
    cross join lateral (select * from pg_attribute as a where a.attrelid = t.typrelid and a.attnum > 0 and not a.attisdropped offset 0) as a
    group by w.root_oid
),
labels as (
    select c.oid as table_oid, string_agg(distinct 'e' || l.oid || '=' || left(md5(l.enumlabel), 12) || '+', ' ') as marks
    from columns as c
    join type_parts as w on w.root_oid = c.atttypid
    join pg_enum as l on l.enumtypid = w.oid
    group by c.oid
),
shapes as (
    select c.oid,
           string_agg(concat_ws(' ', c.attnum, c.attname, c.atttypid, c.atttypmod, y.listed), ';' order by c.attnum) as text
    from columns as c left join composites as y on y.root_oid = c.atttypid
    group by c.oid
),
-- The index that tells rows apart, and the primary key (which counts with REPLICA IDENTITY FULL).
identities as (
    select p.oid, string_agg(concat_ws(' ', i.indisprimary, i.indisreplident, i.indkey, i.indnkeyatts), ';' order by i.indexrelid) as text
    from published as p
    cross join lateral (select * from pg_index as i where i.indrelid = p.oid offset 0) as i
    where (i.indisprimary or i.indisreplident) and i.indisvalid and i.indimmediate
    group by p.oid
),
-- A partitioned table that is published as a whole. A partition is fresh when CREATE TABLE ... PARTITION OF made it: three commands lie
-- between its attributes and its place in the tree then, and more when it was made by itself, perhaps filled, and attached; and its file
-- is still its first one, named by its oid, so that no row that was streamed for it was truncated. Its place is
-- written anew when it is detached and attached again, and so is that of what it is a part of. Old rows are sent by a partition's own
-- identity: one whose index is no part of the table's is odd (publication_tables.sql looks closer), unless the table is append-only.
tree (root_oid, oid, is_full, identity_root, is_fresh, place) as (
    select p.oid, p.oid, p.relreplident = 'f',
           (select pg_partition_root(i.indexrelid) from pg_index as i
            where i.indrelid = p.oid and case p.relreplident when 'i' then i.indisreplident else i.indisprimary end),
           true, ''
    from published as p where p.relkind = 'p'
    union all
    select t.root_oid, i.inhrelid, t.is_full, t.identity_root,
           t.is_fresh and i.xmin::text = a.xmin::text and i.cmin::text::bigint - a.cmin::text::bigint between 0 and 3,
           t.place || '.' || i.xmin
    from tree as t
    join pg_inherits as i on i.inhparent = t.oid
    join pg_attribute as a on a.attrelid = i.inhrelid and a.attnum = -1
),
leaves as (
    select t.root_oid, string_agg('p' || t.oid || '=' || c.relfilenode || t.place || case when t.is_fresh and c.relfilenode = c.oid then '+' else '' end, ' '
                                  order by t.oid) as marks,
           left(md5(string_agg(x.indexrelid::text, ' ' order by x.indexrelid)), 12) as odd_identities
    from tree as t
    join pg_class as c on c.oid = t.oid and c.relkind <> 'p'
    left join lateral (select i.indexrelid from pg_index as i
                       where i.indrelid = c.oid and case c.relreplident when 'd' then i.indisprimary when 'i' then i.indisreplident end
                         and case when t.identity_root is null then t.is_full
                                  else pg_partition_root(i.indexrelid) is distinct from t.identity_root end
                       offset 0) as x on true
    group by t.root_oid
)
select
    case when pg_is_in_recovery() then pg_last_wal_replay_lsn() else pg_current_wal_insert_lsn() end as current_lsn,
    p.oid is not null as publication_exists,
    concat_ws(', ', case when not p.pubinsert then 'INSERT' end, case when not p.pubupdate then 'UPDATE' end,
                    case when not p.pubdelete then 'DELETE' end, case when not p.pubtruncate then 'TRUNCATE' end) as publication_leaves_out,
    pg_current_snapshot() as in_progress,
    t.oid as table_oid,
    concat_ws(' ',
        'm=' || p.oid || '.'
            || coalesce((select sum(entry.oid::bigint) from pg_publication_rel as entry
                         where entry.prpubid = p.oid
                           and (entry.prrelid = t.oid
                                or t.relispartition and entry.prrelid in (select relid from pg_partition_ancestors(t.oid)))), 0)
            || '.'
            || coalesce((select sum(d.objid::bigint) from pg_depend as d
                         join pg_depend as s on s.classid = d.classid and s.objid = d.objid
                                            and s.refclassid = 'pg_namespace'::regclass and s.refobjid = t.relnamespace
                         where d.classid = to_regclass('pg_catalog.pg_publication_namespace')
                           and d.refclassid = 'pg_publication'::regclass and d.refobjid = p.oid), 0),
        'o=' || concat(case when p.pubinsert then 'i' end, case when p.pubupdate then 'u' end, case when p.pubdelete then 'd' end,
                       case when p.pubtruncate then 't' end, '.', p.pubviaroot, '.', p.pubowner, '.', to_jsonb(p) ->> 'pubgencols', '.', p.xmin),
        's=' || md5(concat_ws(' ', t.nspname, t.relname, s.text)),
        'n=' || t.relnatts,
        'd=' || (select d.xmin::text from pg_depend as d
                 where d.classid = 'pg_class'::regclass and d.objid = t.oid and d.objsubid = 0
                   and d.refclassid = 'pg_namespace'::regclass and d.refobjid = t.relnamespace
                   and exists (select from pg_depend as s
                               where s.classid = to_regclass('pg_catalog.pg_publication_namespace')
                                 and s.refclassid = 'pg_publication'::regclass and s.refobjid = p.oid)),
        'h=' || (select string_agg(h.xmin::text, '.' order by h.inhrelid)
                 from pg_partition_ancestors(t.oid) as r
                 cross join lateral (select i.xmin, i.inhrelid from pg_inherits as i where i.inhrelid = r.relid offset 0) as h
                 where t.relispartition and not p.puballtables
                   and not exists (select from pg_publication_rel as entry where entry.prpubid = p.oid and entry.prrelid = t.oid)),
        'i=' || t.relreplident::text || left(md5(coalesce(i.text, '')), 12) || coalesce(l.odd_identities, ''),
        'f=' || t.relfilenode,
        'u=' || case when not exists (select from pg_publication_rel as entry where entry.prpubid = p.oid and entry.prrelid = t.oid)
                      and not exists (select from pg_extension as x where x.extname in ('pg_repack', 'pg_squeeze'))
                     then t.reltoastrelid end,
        'a=' || left(md5((select string_agg(a.attnum || ':' || a.xmin, ' ' order by a.attnum)
                          from pg_attribute as a where a.attrelid = t.oid and a.attnum > 0)), 16),
        l.marks,
        e.marks) as marks
from (select) as one
left join pg_publication as p on p.pubname = $1::text
left join published as t on t.publication_oid = p.oid
left join shapes as s on s.oid = t.oid
left join identities as i on i.oid = t.oid
left join leaves as l on l.root_oid = t.oid
left join labels as e on e.table_oid = t.oid
order by t.oid
