-- The row filter that a publication has for a table, or no row. $1 oid of the table, $2 publication. Servers from 15 on.
-- A publication of all tables, or of the table's schema, has no use for the table's own filter.
select pg_get_expr(r.prqual, r.prrelid) as row_filter
from pg_publication_rel as r
join pg_publication as p on p.oid = r.prpubid
join pg_class as c on c.oid = r.prrelid
where r.prrelid = $1::oid and p.pubname = $2::text and r.prqual is not null and not p.puballtables
  and not exists (select from pg_publication_namespace as n where n.pnpubid = p.oid and n.pnnspid = c.relnamespace)
