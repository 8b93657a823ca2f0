-- Transactions that a snapshot shows as committed and that are still on their way out of the list of running ones. $1 the
-- snapshot. One row: their numbers, or NULL. Run outside of the snapshot's transaction: it asks for what is so now.
-- Such a transaction is either in progress for a snapshot taken now, or not below that one's xmax, which is one more than
-- the last transaction that is over.
-- Logical decoding's snapshots can have xmin above xmax (a transaction that was rolled back while they were made moves only
-- xmin; snapbuild.c), which pg_snapshot does not take: everything below xmin is over for them then, and nothing above.
select string_agg(c.xid::text, ', ') as xids
from (select pg_current_snapshot() as now,
             case when split_part($1, ':', 1)::bigint > split_part($1, ':', 2)::bigint
                  then split_part($1, ':', 1) || ':' || split_part($1, ':', 1) || ':' else $1 end::pg_snapshot as seen) as s
cross join lateral (
    select pg_snapshot_xip(s.now) as xid
    union all
    select n::text::xid8 from generate_series(pg_snapshot_xmax(s.now)::text::bigint,
                                              pg_snapshot_xmax(s.seen)::text::bigint - 1) as n) as c
where pg_visible_in_snapshot(c.xid, s.seen) and pg_xact_status(c.xid) = 'in progress'
