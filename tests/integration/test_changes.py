"""Every kind of change that logical replication carries, in one go through the whole program; a test for each looks at its tables.

The steps of the cases run while the pipeline is live and merges every second; MERGED waits until what came before is in the targets,
so that what follows meets it there and not in the landing table. All cases wait for it together: first each does what it does up to
its first MERGED, then each goes on to its second.
"""
import dataclasses
import itertools

import psycopg
import pytest

import compare
import load
from conftest import Source, numbers
from pgserver import PgServer
from program import Program
from snowflake_client import Snowflake
from standin import StandIn

MERGED = object()
# Large, and not compressible: stored out of line, and left out of an update that does not touch it.
LARGE = "(select string_agg(md5(({seed} * 1000 + i)::text), '') from generate_series(1, 400) as i)"


def large(seed):
    return LARGE.format(seed=seed)


@dataclasses.dataclass
class Case:
    name: str
    setup: str
    steps: list
    tables: dict  # name → rows that must be there at the end, or None
    absent: tuple = ()  # tables that must not have reached the destination


CASES = [
    Case("plain", "create table plain (id int primary key, v text)", [
        "insert into plain select i, 'v' || i from generate_series(1, 50) as i",
        "update plain set v = v || '!' where id % 2 = 0", "delete from plain where id % 5 = 0",
        "update plain set v = v", "update plain set v = null where id = 1",
    ], {"plain": 40}),
    Case("one_transaction", "create table one_transaction (id int primary key, v text)", [
        "begin; insert into one_transaction values (1, 'a'); update one_transaction set v = 'b'; delete from one_transaction;"
        " insert into one_transaction values (1, 'c'), (2, 'd'); update one_transaction set v = 'e' where id = 2; commit",
        MERGED,
        "begin; delete from one_transaction where id = 1; insert into one_transaction values (1, 'again'); commit",
        "with gone as (delete from one_transaction where id = 2 returning *)"
        " insert into one_transaction select id + 10, v from gone",
    ], {"one_transaction": 2}),
    Case("savepoints", "create table savepoints (id int primary key, v int)", [
        "begin; insert into savepoints values (1, 1); savepoint a; insert into savepoints values (2, 2);"
        " update savepoints set v = 10 where id = 1; savepoint b; delete from savepoints; rollback to b;"
        " insert into savepoints values (3, 3); rollback to a; insert into savepoints values (4, 4); release a; commit",
        "do $$ begin for i in 10..30 loop begin insert into savepoints values (i, i);"
        " if i % 3 = 0 then raise exception 'no'; end if; exception when raise_exception then null; end; end loop; end $$",
        "begin; insert into savepoints values (100, 100); savepoint c; truncate savepoints; rollback to c; commit",
    ], {"savepoints": 17}),
    Case("rolled_back", "create table rolled_back (id int primary key)", [
        "insert into rolled_back values (1)", "begin; insert into rolled_back values (2); rollback",
        "begin; truncate rolled_back; rollback", "select pg_current_xact_id()", "begin; commit",
        "begin; create table never_there (id int primary key); insert into never_there values (1); rollback",
    ], {"rolled_back": 1}, absent=("never_there",)),
    Case("same_keys", "create table same_keys (id numeric, f float8, v text, primary key (id, f)); alter table same_keys alter v set storage external", [
        # A key that is another datum and an equal value: PostgreSQL sends the old one, Snowflake sees no difference.
        f"insert into same_keys select i, 0, {large('i')} from generate_series(1, 6) as i",
        "update same_keys set id = 1.00 where id = 1", MERGED, "update same_keys set id = 2.00 where id = 2",
        "update same_keys set id = 3.0, f = '-0' where id = 3", "update same_keys set f = '-0' where id = 4", MERGED,
        "update same_keys set id = 4.0, f = 0, v = 'new' where id = 4", "begin; update same_keys set id = 5.0 where id = 5; delete from same_keys where id = 5;"
        " insert into same_keys values (5.00, 0, 'again'); update same_keys set id = 6.0 where id = 6; update same_keys set id = 7 where id = 6;"
        " update same_keys set id = 7.0 where id = 7; commit",
    ], {"same_keys": 6}),
    Case("partitions", "create table places (id int, region text, v text, primary key (id, region)) partition by list (region);"
         " create table places_north partition of places for values in ('n');"
         " create table places_south partition of places for values in ('s') partition by range (id);"
         " create table places_south_low partition of places_south for values from (0) to (100);"
         " create table places_south_high partition of places_south for values from (100) to (1000);"
         " create table places_rest partition of places default", [
             "insert into places select i, (array['n', 's', 'x'])[1 + i % 3], 'v' from generate_series(1, 200) as i",
             "update places set region = 's' where region = 'n' and id < 50", MERGED,
             "update places set region = 'x', v = 'moved' where id between 60 and 90",
             "update places_south set id = id + 100 where id between 91 and 99",
             "delete from places where id % 7 = 0", "insert into places_north values (999, 'n', 'direct')",
         ], {"places": None}),
    Case("partition_large", "create table scrolls (id int, part int, v int, body text, primary key (id, part))"
         " partition by list (part); create table scrolls_1 partition of scrolls for values in (1);"
         " create table scrolls_2 partition of scrolls for values in (2)", [
             f"insert into scrolls values (1, 1, 0, {large(1)}), (2, 1, 0, {large(2)}), (3, 2, 0, {large(3)})", MERGED,
             "update scrolls set v = 1", "update scrolls set part = 2 where id = 1",
             "update scrolls set part = 1, v = 5 where id = 3", "update scrolls set v = v + 1",
         ], {"scrolls": 3}),
    Case("inheritance", "create table parent (id int primary key, v text);"
         " create table child (extra int, primary key (id)) inherits (parent)", [
             "insert into parent select i, 'p' from generate_series(1, 5) as i",
             "insert into child select i, 'c', i from generate_series(3, 9) as i", MERGED,
             "update parent set v = v || '+'", "delete from parent where id = 4", "delete from only parent where id = 5",
         ], {"parent": 3, "child": 6}),
    Case("truncate", "create table owners (id int primary key);"
         " create table things (id int generated always as identity primary key, owner int references owners, v text)", [
             "insert into owners select generate_series(1, 10)",
             "insert into things (owner, v) select 1 + i % 10, 'a' from generate_series(1, 40) as i", MERGED,
             "begin; insert into owners values (11); insert into things (owner, v) values (11, 'lost'); truncate owners cascade;"
             " insert into owners values (1), (2); commit",
             "insert into things (owner, v) values (1, 'after')",
             "begin; truncate things restart identity; insert into things (owner, v) values (2, 'one'), (2, 'two'); commit",
             MERGED, "truncate owners, things restart identity", "insert into owners values (7), (8)",
             "insert into things (owner, v) values (7, 'last')", "truncate things", "insert into things (owner, v) values (8, 'x')",
         ], {"owners": 2, "things": 1}),
    Case("key_changes", f"create table movers (id int primary key, v int, body text)", [
        f"insert into movers select i, 0, {large('i')} from generate_series(1, 9) as i", MERGED,
        "begin; update movers set id = 101 where id = 1; update movers set id = 102 where id = 101; update movers set v = 3"
        " where id = 102; commit",
        "begin; update movers set id = -1 where id = 2; update movers set id = 2 where id = 3; update movers set id = 3 where id = -1;"
        " commit",
        "begin; delete from movers where id = 4; update movers set id = 4 where id = 5; commit",
        f"begin; update movers set id = 106 where id = 6; insert into movers values (6, 66, {large(66)}); update movers set v = 7"
        " where id = 6; commit",
        "begin; update movers set id = 107 where id = 7; delete from movers where id = 107; commit",
        "update movers set id = id + 1000 where id in (8, 9)", "update movers set id = id - 1000 where id > 1000",
        MERGED, "update movers set v = v + 1", "update movers set id = -id",
    ], {"movers": 8}),
    Case("large_values", "create table large_values (id int primary key, v int, a text, b text);"
         " alter table large_values alter a set storage external", [
             f"insert into large_values select i, 0, {large('i')}, {large('i + 50')} from generate_series(1, 8) as i", MERGED,
             "update large_values set v = 1 where id = 1",  # in the target only
             f"update large_values set a = {large(500)} where id = 2", "update large_values set v = 2 where id = 2",  # earlier in the window
             f"update large_values set a = {large(501)} where id = 3", f"update large_values set b = {large(502)} where id = 3",
             "update large_values set v = 3 where id = 3",
             "update large_values set a = null where id = 4", "update large_values set v = 4 where id = 4",
             f"begin; delete from large_values where id = 5; insert into large_values values (5, 5, {large(505)}, 'short'); commit",
             "update large_values set v = 6 where id = 5",
             "update large_values set a = 'short now', b = '' where id = 6", "update large_values set v = 7 where id = 6",
             "delete from large_values where id = 7", f"insert into large_values values (7, 0, 'x', {large(507)})",
             "update large_values set v = 8, a = 'y' where id = 7",
         ], {"large_values": 8}),
    Case("identity_full", "create table pile (a int, b text); alter table pile replica identity full", [
        "insert into pile select i % 3, 'same' from generate_series(1, 30) as i",
        "insert into pile values (null, null), (null, null), (1, null)", MERGED,
        "delete from pile where ctid in (select ctid from pile where a = 1 limit 4)",
        "update pile set b = 'other' where ctid in (select ctid from pile where a = 2 limit 3)",
        "update pile set a = a", "update pile set a = 2, b = 'same' where a is null and ctid in (select min(ctid) from pile where a is null)",
        "begin; insert into pile values (9, 'x'), (9, 'x'); delete from pile where ctid = (select max(ctid) from pile where a = 9); commit",
    ], {"pile": 30}),
    Case("full_and_large", f"create table heap (n int, body text); alter table heap replica identity full", [
        f"insert into heap select i % 2, {large('i % 2')} from generate_series(1, 6) as i", MERGED,
        "update heap set n = 7 where ctid = (select min(ctid) from heap)", "update heap set n = n + 1",
        "delete from heap where ctid = (select max(ctid) from heap)",
    ], {"heap": 5}),
    Case("deferrable", "create table seats (id int, who text, primary key (id) deferrable); alter table seats replica identity full", [
        "insert into seats values (1, 'a'), (2, 'b'), (3, 'c')", MERGED, "update seats set id = 4 - id",
        "begin; set constraints all deferred; update seats set id = 1 where who = 'a'; update seats set id = 3 where who = 'c'; commit",
    ], {"seats": 3}),
    Case("identity_index", "create table badges (id int primary key, code text not null, v int);"
         " create unique index badges_code on badges (code) include (v); alter table badges replica identity using index badges_code", [
             "insert into badges select i, 'c' || i, 0 from generate_series(1, 6) as i", MERGED,
             "update badges set id = id + 100", "update badges set code = 'd' || id where id < 104", "delete from badges where id = 105",
             "begin; update badges set code = 'tmp' where id = 101; update badges set code = 'd101' where id = 102;"
             " update badges set code = 'd102' where id = 101; commit",
         ], {"badges": 5}),
    Case("no_identity", "create table log_lines (at int, line text); create table nothing (id int primary key, v text);"
         " alter table nothing replica identity nothing", [
             "insert into log_lines select i / 2, 'x' from generate_series(1, 20) as i", MERGED,
             "insert into log_lines values (1, 'x'), (1, 'x'), (null, null)", "insert into nothing values (1, 'a'), (2, 'b')",
         ], {"log_lines": 23, "nothing": 2}),
    Case("unlogged", "create unlogged table scratch_pad (id int primary key); create table beside (id int primary key)", [
        "insert into scratch_pad values (1)", "create temporary table passing (id int primary key); insert into passing values (1)",
        "insert into beside values (1)", "truncate scratch_pad",
    ], {"beside": 1}, absent=("scratch_pad", "passing")),
    Case("huge", "create table crowd (id int primary key, v text)", [
        "insert into crowd select i, md5(i::text) from generate_series(1, 40000) as i", "update crowd set v = v || '.' where id % 4 = 0",
        "begin; delete from crowd where id % 10 = 1; update crowd set id = id + 100000 where id % 1000 = 2; commit",
    ], {"crowd": 36000}),
    Case("statements", "create table stock (id int primary key, v int); create table stock_log (id int generated by default as identity"
         " primary key, item int, v int); create function note_stock() returns trigger language plpgsql as $$ begin insert into"
         " stock_log (item, v) values (new.id, new.v); return new; end $$; create trigger noted after insert or update on stock for each"
         " row execute function note_stock(); create table orders_of (id int primary key, item int references stock on update cascade"
         " on delete cascade)", [
             "insert into stock select i, i from generate_series(1, 20) as i", "insert into orders_of select i, 1 + i % 20 from"
             " generate_series(1, 60) as i", MERGED,
             "insert into stock values (1, 100), (21, 100) on conflict (id) do update set v = stock.v + excluded.v",
             "insert into stock values (1, 5) on conflict do nothing",
             "update stock set id = id + 50 where id in (3, 4)", "delete from stock where id in (5, 6)",
             "set session_replication_role = replica; update stock set v = -1 where id = 7; reset session_replication_role",
             "select * from stock for update", "copy (select 1) to '/dev/null'",
         ], {"stock": 19, "stock_log": None, "orders_of": 54}),
    Case("bystanders", "create table kept (id int primary key, n int, twice int generated always as (n * 2) stored);"
         " create materialized view kept_view as select * from kept; create view kept_now as select * from kept;"
         " create sequence kept_numbers", [
             "insert into kept (id, n) values (1, 1), (2, 2)", "refresh materialized view kept_view", "select nextval('kept_numbers')",
             "select pg_logical_emit_message(true, 'other', 'hello'), pg_logical_emit_message(false, 'other', 'hello')",
             "select lo_from_bytea(0, 'large object')", "update kept_now set n = 7 where id = 2", "vacuum full kept", "analyze kept",
             "insert into kept (id, n) values (3, 3)", "cluster kept using kept_pkey", "reindex table kept", "comment on table kept is 'c'",
             "create index on kept (n)", "select pg_replication_origin_create('elsewhere')",
             "select pg_replication_origin_session_setup('elsewhere')",
             "begin; select pg_replication_origin_xact_setup('0/1234', now()); insert into kept (id, n) values (4, 4); commit",
             "select pg_replication_origin_session_reset()", "update kept set n = n + 1",
         ], {"kept": 4}, absent=("kept_view", "kept_now")),
    Case("prepared", "create table prepared (id int primary key, v text)", [
        "insert into prepared values (1, 'a'), (2, 'a')",
        "begin; update prepared set v = 'prepared' where id = 1; insert into prepared values (3, 'p')",
        "prepare transaction 'yes'",
        "update prepared set v = 'meanwhile' where id = 2", MERGED,
        "begin; insert into prepared values (4, 'no')", "prepare transaction 'no'",
        "commit prepared 'yes'", "rollback prepared 'no'",
    ], {"prepared": 3}),
]


def rounds(cases):
    """The steps of all cases up to their first MERGED, then up to their second, and so on."""
    parts = []
    for case in cases:
        ends = [index for index, step in enumerate(case.steps) if step is MERGED]
        parts.append([case.steps[first:end] for first, end in zip([0, *(end + 1 for end in ends)], [*ends, len(case.steps)])])
    return [list(itertools.chain(*steps)) for steps in itertools.zip_longest(*parts, fillvalue=[])]


class Run:
    """What came of all cases under one setting of publish_via_partition_root."""

    def __init__(self, server):
        server.create_database("changes")
        self.source = Source(server, "changes")

    def execute(self, program, standin):
        # One connection: what a step leaves open (a prepared transaction, a setting) meets the next.
        with self.source.connect() as connection:
            for steps in rounds(CASES):
                for step in steps:
                    connection.execute(step)
                self.settle(program, standin)
        self.reports = {report.name.removeprefix("public."): report
                        for report in compare.compare(self.source.conninfo, self.source.publication, standin.to)}
        snowflake = Snowflake(standin.to)
        self.there = {row[1] for row in snowflake.query(f'SHOW TABLES IN SCHEMA "{snowflake.database}"."{snowflake.schema}"')}

    def settle(self, program, standin):
        mark = next(numbers)
        self.source.sql("insert into marks values (%s)", [mark])

        def watch():
            assert program.is_running(), program.tail()
        load.wait_for_row(Snowflake(standin.to), "MARKS", f'"ID" = {mark}', 180, watch)

    def tables_of(self, name):
        """A partitioned table is published as its leaves, or as one."""
        leaves = [leaf for leaf, in self.source.sql("select relid::regclass::text from pg_partition_tree(%s) where isleaf", [name])]
        return [one for one in self.reports if one == name or one in leaves]


@pytest.fixture(scope="module", params=[False, True], ids=["leaves", "root"])
def changes(request, tmp_path_factory):
    with PgServer(settings={"max_prepared_transactions": 5}) as server, StandIn() as standin:
        run = Run(server)
        run.source.sql("create table marks (id bigint primary key)")
        for case in CASES:
            run.source.sql(case.setup)
        run.source.sql(f"create publication {run.source.publication} for all tables"
                       f" with (publish_via_partition_root = {str(request.param).lower()})")
        program = Program(run.source.url(), standin.to, tmp_path_factory.mktemp("changes") / "state.db",
                          ("--merge-interval-seconds", 1)).start()
        try:
            program.wait_for_event("live", 90)
            run.execute(program, standin)
            assert program.terminate() == 0
            yield run
        finally:
            program.close()


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_the_target_equals_the_source(changes, case):
    for name, rows in case.tables.items():
        reports = [changes.reports[one] for one in changes.tables_of(name)]
        assert reports, f"{name} is not published"
        assert all(report.is_equal for report in reports), "\n".join(map(str, reports))
        count = sum(report.target_rows for report in reports)
        assert count == rows if rows is not None else count > 0, f"{name} has {count} rows"
    assert not {name.upper() for name in case.absent} & changes.there


def test_nothing_is_left_out(changes):
    assert {"MARKS", "PLAIN"} <= changes.there
    unequal = [str(report) for report in changes.reports.values() if not report.is_equal]
    assert not unequal, "\n".join(unequal)
