"""etl-stream verify: source against target at one position, while writes go on."""
import json
import signal
import subprocess
import threading
import time

import pytest

import load
from conftest import Source
from program import PROGRAM, environment, pipeline_status, run_command, wait_until
from service import PostgresCatalog
from snowflake_client import Snowflake
from versions import MAJOR

POLL = ("--poll-interval-seconds", 1)
STREAM = (*POLL, "--merge-interval-seconds", 1)
TABLES = """
create table items (id int primary key, name text, price numeric(10,2), at timestamptz, seen date, raw bytea, is_on boolean);
create table pairs (a text, b int, note text, primary key (b, a));
create table bag (v int, t text, doc json);
alter table bag replica identity full;
create table log (at timestamp, what text);
create publication etl for table items, pairs, bag, log;
insert into items select n, 'item ' || n, n * 1.5, '2026-11-25 10:00+01'::timestamptz + n * interval '1 hour', '2026-01-01'::date + n,
       decode(lpad(to_hex(n), 8, '0'), 'hex'), n % 3 = 0 from generate_series(1, 3000) as n;
insert into items (id) values (0);
insert into pairs select 'k' || n % 10, n, null from generate_series(1, 50) as n;
insert into bag select n % 5, 'x' from generate_series(1, 40) as n;
insert into bag values (9, 'NULL in the target', '{"a": 1, "a": 2}'), (9, 'not so', '{"a": 1}');
insert into log select localtimestamp, 'w' || n from generate_series(1, 10) as n;
"""


@pytest.fixture
def pipeline(source, standin, stream):
    """A pipeline by run --from --to with the tables above, live."""
    source.sql(TABLES)
    program = stream(*STREAM)
    program.wait_for_event("live", 90)
    return Verified(source, standin, program)


class Verified:
    def __init__(self, source, standin, program):
        self.source, self.standin, self.program = source, standin, program
        self.snowflake = Snowflake(standin.to)

    def __call__(self, *arguments, seconds=120, **more):
        return run_command("verify", "--from", self.source.url(), "--to", self.standin.to, *arguments,
                           state=self.program.state, seconds=seconds, **more)

    def json(self, *arguments, code=0, **more):
        done = self("--json", *arguments, **more)
        assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
        return json.loads(done.stdout)

    def table(self, name, *arguments, code=1):
        """What is said of one table that is named."""
        [table] = self.json(name, *arguments, code=code)["tables"]
        return table

    def seed(self, statement):
        self.snowflake.execute(statement)

    def status(self):
        return pipeline_status(self.program.status())

    def name(self, table):
        return self.snowflake.qualified(table.upper())


@pytest.mark.parametrize("mode", [(), ("--full",)], ids=["digest", "full"])
def test_equal_while_writes_go_on(source, standin, stream, mode):
    with source.connect() as connection:
        load.create_tables(connection, source.publication)
        load.fill(connection, 300)
    program = stream(*STREAM)
    program.wait_for_event("live", 90)
    verified = Verified(source, standin, program)
    loads = [load.Load(source.conninfo, seed, rate=40).start() for seed in (1, 2)]
    for _ in range(3):
        said = verified.json(*mode)
        assert said["result"] == "equal" and len(said["tables"]) == len(load.TABLES), said
        assert {table["is_full"] for table in said["tables"]} == {bool(mode)}
    mark = program.mark()
    committed = [one.book.committed for one in loads]
    wait_until(lambda: all(one.book.committed > before for one, before in zip(loads, committed)), 60, "more of the load")
    assert all(one.stop().committed > 0 for one in loads)
    program.wait_for_event("merged", 60, since=mark)  # merging goes on by itself
    assert program.terminate() == 0


def test_each_kind_of_difference_is_found(pipeline):
    items = pipeline.name("items")
    pipeline.seed(f'DELETE FROM {items} WHERE "ID" = 7')
    pipeline.seed(f'INSERT INTO {items} ("ID", "NAME") VALUES (900000, \'nobody\')')
    pipeline.seed(f'UPDATE {items} SET "NAME" = \'secret-name\' WHERE "ID" = 8')
    pipeline.seed(f'UPDATE {items} SET "PRICE" = NULL WHERE "ID" = 9')
    pipeline.seed(f'UPDATE {items} SET "IS_ON" = TRUE WHERE "ID" = 0')
    pipeline.seed(f'INSERT INTO {items} SELECT * FROM {items} WHERE "ID" = 10')
    for mode in ((), ("--full",)):
        table = pipeline.table("items", *mode)
        assert table["state"] == "different" and (table["missing"], table["extra"], table["changed"]) == (1, 2, 3)
        assert (table["source_rows"], table["target_rows"]) == (3001, 3002)
        found = {(row["difference"], row["key"]["id"]): row.get("columns") for row in table["rows"]}
        assert found == {("missing", "7"): None, ("extra", "900000"): None, ("extra", "10"): None,
                         ("changed", "8"): ["name"], ("changed", "9"): ["price"], ("changed", "0"): ["is_on"]}
    said = pipeline("public.items")
    assert said.returncode == 1 and "secret-name" not in said.stdout + said.stderr
    assert "only in the source: id = 7\n" in said.stdout and "changed: id = 8 (name)\n" in said.stdout
    said = pipeline("public.items", "--show-values")
    assert "name: source item 8, target secret-name\n" in said.stdout
    assert "price: source 13.5, target NULL\n" in said.stdout
    assert pipeline.json("pairs", "bag", "log")["result"] == "equal"


def test_many_differences_are_counted_and_few_are_shown(pipeline):
    pipeline.seed(f'UPDATE {pipeline.name("items")} SET "NAME" = \'x\'')
    table = pipeline.table("items", "--limit", 3)
    assert len(table["rows"]) == 3 and table["changed"] > 3
    table = pipeline.table("items", "--full")
    assert table["changed"] == 3001 and len(table["rows"]) == 20


def test_multisets_are_compared_by_count(pipeline):
    bag, log = pipeline.name("bag"), pipeline.name("log")
    assert pipeline.table("bag", code=0)["compared_by"] == "multiset"
    pipeline.seed(f'DELETE FROM {bag} WHERE "V" = 1')
    pipeline.seed(f'INSERT INTO {bag} ("V", "T") VALUES (1, \'x\'), (2, \'x\'), (6, NULL)')
    pipeline.seed(f'UPDATE {log} SET "AT" = NULL WHERE "WHAT" = \'w3\'')
    for mode in ((), ("--full",)):
        table = pipeline.table("bag", *mode, "--show-values")
        assert {(row["difference"], row.get("count", 1), row["values"]["v"]) for row in table["rows"]} == {
            ("missing", 7, "1"), ("extra", 1, "2"), ("extra", 1, "6")}
        table = pipeline.table("log", *mode)
        assert (table["missing"], table["extra"]) == (1, 1)


def test_two_at_once(pipeline):
    """One holds the merge; the other says so and compares nothing."""
    pipeline.seed(f'UPDATE {pipeline.name("items")} SET "NAME" = \'x\' WHERE "ID" = 1')
    results = []
    threads = [threading.Thread(target=lambda: results.append(pipeline("items"))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(done.returncode for done in results) in ([1, 1], [1, 2])
    told = "".join(done.stdout + done.stderr for done in results)
    assert "changed: id = 1 (name)" in told
    assert told.count("changed: id = 1") == 2 or "another etl-stream verify holds its merge" in told


class Slow:
    """A verify of one table that holds the merge at its position; its statements wait until the stand-in's faults are removed."""

    def __init__(self, pipeline, *options):
        self.pipeline = pipeline
        self.mark = pipeline.program.mark()
        pipeline.standin.add_fault("sql.execute", times=None, hold=True)
        arguments = ["verify", "--from", pipeline.source.url(), "--to", pipeline.standin.to, "items", *map(str, options)]
        self.process = subprocess.Popen([PROGRAM, *arguments], env=environment(pipeline.program.state), text=True,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        wait_until(self.is_at_a_position, 30, "the merge to be held at a position")

    def is_at_a_position(self):
        return self.pipeline.status().get("merge_held", {}).get("at")

    def end(self):
        out, problem = self.process.communicate(timeout=90)
        return self.process.returncode, out, problem


def test_merging_goes_on_when_verify_is_killed(pipeline):
    slow = Slow(pipeline, "--lease-seconds", 12)  # it is to be seen held, by whoever stands still for ten
    pipeline.source.sql("update items set name = 'later' where id = 1")
    slow.process.kill()
    slow.process.communicate()
    pipeline.program.wait_for_event("merge_released", 30, since=slow.mark)
    pipeline.standin.remove_faults()
    items = pipeline.name("items")
    wait_until(lambda: pipeline.snowflake.value(f'SELECT "NAME" FROM {items} WHERE "ID" = 1') == "later", 30, "the merge to go on")
    wait_until(lambda: "merge_held" not in pipeline.status(), 30, "the status not to tell of it any more")
    assert pipeline.json()["result"] == "equal"


def test_the_lease_is_renewed_and_writes_wait_for_the_end(pipeline):
    """Longer than its lease: nothing is merged meanwhile, and the comparison is good. It is renewed after a third of its time, so that
    what stands still for ten seconds does not lose it."""
    slow = Slow(pipeline, "--lease-seconds", 20)
    since = slow.mark
    pipeline.source.sql("update items set name = 'later' where id = 1")
    began, at, until = time.monotonic(), slow.is_at_a_position(), pipeline.status()["merge_held"]["until"]
    wait_until(lambda: time.monotonic() - began > 20, 30, "the first lease to be over", pause=0.5)
    held = pipeline.status()["merge_held"]
    assert held["until"] > until and held["at"] == at and not pipeline.program.events("merge_released")
    pipeline.standin.remove_faults()
    code, out, problem = slow.end()
    assert code == 0, (out, problem)
    released = pipeline.program.wait_for_event("merge_released", 30, since=since)
    assert released["message"] == "merging goes on: what held it has ended"
    items = pipeline.name("items")
    wait_until(lambda: pipeline.snowflake.value(f'SELECT "NAME" FROM {items} WHERE "ID" = 1') == "later", 30, "the merge to go on")


def test_an_interrupted_verify_gives_the_merge_back(pipeline):
    slow = Slow(pipeline)
    slow.process.send_signal(signal.SIGINT)
    code, _, problem = slow.end()
    assert code == 1 and "interrupted" in problem
    pipeline.program.wait_for_event("merge_released", 30, since=slow.mark)
    pipeline.standin.remove_faults()


def test_a_restart_makes_the_comparison_void(pipeline, stream):
    slow = Slow(pipeline, "--lease-seconds", 60)
    slow.process.send_signal(signal.SIGSTOP)
    pipeline.source.sql("update items set name = 'later' where id = 1")
    assert pipeline.program.terminate() == 0
    pipeline.standin.remove_faults()
    pipeline.program = stream(*STREAM)
    pipeline.program.wait_for_event("merged", 60)
    slow.process.send_signal(signal.SIGCONT)
    code, out, problem = slow.end()
    assert code == 1 and "void" in problem and "give the command again" in problem, (code, out, problem)
    assert pipeline.json()["result"] == "equal"


def test_only_a_running_pipeline_can_be_compared(pipeline):
    assert pipeline.program.terminate() == 0
    done = pipeline()
    assert done.returncode == 1 and "does not run" in done.stderr and "etl-stream run --from" in done.stderr


def test_merge_windows(pipeline, stream):
    hour = time.gmtime().tm_hour
    closed = ("--merge-windows", f"{(hour + 3) % 24:02d}:00-{(hour + 4) % 24:02d}:00")
    assert pipeline.program.terminate() == 0
    pipeline.source.sql("update items set name = 'later' where id = 1")
    pipeline.program = stream(*STREAM, *closed)
    pipeline.program.wait_for_event("streaming", 60)
    done = pipeline(*closed)
    assert done.returncode == 2 and "--outside-merge-windows" in done.stderr
    assert pipeline.json(*closed, "--outside-merge-windows")["result"] == "equal"
    assert pipeline.snowflake.value(f'SELECT "NAME" FROM {pipeline.name("items")} WHERE "ID" = 1') == "later"


def test_a_definition_that_changes_is_waited_for(source, standin, stream):
    """Whether it is followed in place or copied anew; what the pipeline has not noticed yet is no difference."""
    source.sql(TABLES)
    program = stream("--poll-interval-seconds", 2, "--merge-interval-seconds", 1)
    program.wait_for_event("live", 90)
    verified = Verified(source, standin, program)
    for change in ("alter table items add column extra int default 7", "alter table pairs alter column b type text",
                   "drop table bag; create table bag (v int primary key); insert into bag values (5); alter publication etl add table bag"):
        source.sql(change)
        said = verified.json()
        assert [table["state"] for table in said["tables"]] == ["equal"] * 4, (change, said)


def test_soft_deletes_and_a_parked_table(source, standin, stream):
    source.sql(TABLES)
    program = stream(*STREAM, "--soft-deletes")
    program.wait_for_event("live", 90)
    verified = Verified(source, standin, program)
    source.sql("delete from items where id % 7 = 0; insert into items (id, name) values (7, 'again')")
    source.sql("update bag set t = 'y'")
    said = verified.json("--soft-deletes")
    by_name = {table["table"]: table for table in said["tables"]}
    assert by_name["items"]["state"] == "equal" and by_name["items"]["target_rows"] == by_name["items"]["source_rows"]
    assert by_name["bag"]["state"] == "not compared" and "parked" in by_name["bag"]["reason"]
    assert verified.json("--soft-deletes", "--full", "items", "pairs")["result"] == "equal"
    assert verified("bag").returncode == 1
    verified.seed(f'UPDATE {verified.name("items")} SET "_ETL_DELETED_AT" = NULL WHERE "ID" = 14')
    assert verified.table("items")["extra"] == 1


@pytest.mark.parametrize("root", ["true", "false"])
def test_partitions_filters_and_column_lists(source, standin, stream, root):
    picked, picked_rows = ("picked (id, a) where (id > 10)", 20) if MAJOR >= 15 else ("picked", 30)
    source.sql("create table parted (id int, day date, note text, more text default 'kept', primary key (id, day)) partition by range (day);"
               "create table parted_1 partition of parted for values from ('2026-01-01') to ('2026-06-01');"
               "create table parted_2 (gone int, day date not null, more text default 'kept', note text, id int not null); alter table parted_2 drop column gone;"
               "alter table parted attach partition parted_2 for values from ('2026-06-01') to ('2027-01-01');"
               "insert into parted select n, '2026-01-01'::date + n, 'n' || n from generate_series(1, 300) as n;"
               "create table picked (id int primary key, a text, hidden text);"
               "insert into picked select n, 'a' || n, 'h' from generate_series(1, 30) as n;"
               f"create publication etl for table parted, {picked} with (publish_via_partition_root = {root})")
    program = stream(*STREAM)
    program.wait_for_event("live", 90)
    verified = Verified(source, standin, program)
    for mode in ((), ("--full",)):
        said = verified.json(*mode)
        rows = {table["table"]: table["source_rows"] for table in said["tables"]}
        assert said["result"] == "equal" and rows.pop("picked") == picked_rows
        assert rows == ({"parted": 300} if root == "true" else {"parted_1": 150, "parted_2": 150})
    columns_of_partitions_change(verified, stream, list(rows))


def columns_of_partitions_change(verified, stream, names):
    """Names of those that are published: the root, or its partitions. No row is copied again, and verify knows what the targets keep."""
    source, snowflake = verified.source, verified.snowflake

    def follow(change, after, *mode):
        mark = verified.program.mark()
        for statement in f"{change}; {after}".split(";"):
            source.sql(statement)
        for name in names:
            verified.program.wait_for_event("schema_followed", 60, since=mark, table=name)
        assert verified.json(*mode)["result"] == "equal", change

    def move(key, remainder):
        return (f"update parted set day = day + 150 where {key} % 50 = {remainder} and day < '2026-06-01';"
                f"update parted set day = day - 150 where {key} % 50 = {remainder + 1} and day > '2026-06-01'")

    follow("update parted set note = 'm' where id < 9; alter table parted rename column note to remark",
           f"{move('id', 1)}; insert into parted (id, day, remark) values (1001, '2026-02-01', 'r'), (1002, '2026-08-01', 'r')", "--full")
    assert verified.program.terminate() == 0
    source.sql("alter table parted rename column id to number")
    source.sql("update parted set remark = 'while down' where number % 7 = 0")
    again = verified.program = stream(*STREAM)
    again.wait_for_event("streaming", 60)
    assert verified.json()["result"] == "equal"
    follow("update parted set more = 'held' where number % 5 = 0; alter table parted drop column more",
           f"{move('number', 3)}; insert into parted (number, day) values (1003, '2026-02-01'), (1004, '2026-08-01')")
    # To another partition, which is another key as well, a row goes as a new one.
    kept = {snowflake.value(f'SELECT COUNT("MORE") || \' of \' || COUNT(*) FROM {verified.name(name)}') for name in names}
    assert kept == ({"296 of 304"} if names == ["parted"] else {"148 of 152"})
    assert not again.events("resync") and not again.events("parked")
    # Partitions keep defaults of their own: of those published one by one they are known.
    mark = again.mark()
    source.sql("alter table parted add column extra int not null default 7")
    for name in names:
        again.wait_for_event("resync" if name == "parted" else "schema_followed", 60, since=mark, table=name)
    assert verified.json()["result"] == "equal"


def test_names(source, standin, stream):
    published = 'tables in schema "Mixed Case"' if MAJOR >= 15 else 'table "Mixed Case"."Or""der.s"'
    source.sql('create schema "Mixed Case"; create table "Mixed Case"."Or""der.s" ("Id ""x" int primary key, "select" text, "ä€" numeric);'
               'insert into "Mixed Case"."Or""der.s" select n, chr(120), n from generate_series(1, 9) as n;'
               f'create publication etl for {published}')
    options = ("--target-naming", "schema_table", "--identifier-case", "preserve")
    program = stream(*STREAM, *options)
    program.wait_for_event("live", 90)
    verified = Verified(source, standin, program)
    said = verified.json(*options, 'Mixed Case.Or"der.s')
    assert said["result"] == "equal" and said["tables"][0]["source_rows"] == 9
    assert verified.json(*options, "--full")["result"] == "equal"
    # Where the publication does not reach for a while its changes are not sent.
    source.sql('begin; alter table "Mixed Case"."Or""der.s" set schema public; update "Or""der.s" set "ä€" = 7; alter table "Or""der.s" set schema "Mixed Case"; commit')
    program.wait_for_event("resync", 60, table='Or"der.s')
    assert verified.json(*options)["result"] == "equal"


def test_what_cannot_be_read_is_not_called_equal(pipeline):
    source = pipeline.source
    source.sql(f"create role reader_{source.name} login replication; grant select on pairs, bag to reader_{source.name}")
    try:
        done = run_command("verify", "--from", source.server.url(source.name, f"reader_{source.name}", publication="etl"), "--to",
                           pipeline.standin.to, "--json", state=pipeline.program.state, seconds=120)
    finally:
        source.sql(f"drop owned by reader_{source.name}; drop role reader_{source.name}")
    said = json.loads(done.stdout)
    by_name = {table["table"]: table for table in said["tables"]}
    assert done.returncode == 1 and by_name["pairs"]["state"] == "equal"
    assert by_name["items"]["state"] == "not compared" and "GRANT SELECT" in by_name["items"]["reason"]
    pipeline.seed(f"DROP TABLE {pipeline.name('log')}")
    said = pipeline.json(code=1)
    by_name = {table["table"]: table for table in said["tables"]}
    assert by_name["log"]["state"] == "not compared" and "no target table" in by_name["log"]["reason"]
    assert by_name["items"]["state"] == "equal"


def test_misuse(source, standin, tmp_path):
    def code(*arguments):
        done = run_command("verify", *arguments, state=tmp_path / "none.db")
        assert done.stderr.startswith("etl-stream: ") and done.stderr.count("\n") == 1, done.stderr
        return done.returncode, done.stderr
    assert code()[0] == 2
    assert code("--from", source.url())[0] == 2
    assert code("nobody")[0] == 2
    assert code("--from", source.url(), "--to", f"file:{tmp_path}")[0] == 2
    assert code("--from", source.url(), "--to", standin.to)[0] == 2  # never started
    assert code("nobody", "--lease-seconds", 1)[0] == 2


@pytest.mark.parametrize("encoding", ["UTF8", "LATIN1"])
def test_results_in_several_parts_and_other_encodings(postgres, standin, start_stream, encoding):
    """Rows that --full reads of the target are more than Snowflake gives in one part, and of the source come in its own encoding."""
    name = f"verified_{encoding.lower()}"
    postgres.sql(f"create database {name} template template0 encoding '{encoding}'")
    source = Source(postgres, name)
    try:
        with source.connect(client_encoding="UTF8") as connection:
            connection.execute("create table wide (id int primary key, body text); create publication etl for table wide; "
                               "insert into wide select n, 'größe ' || repeat(md5(n::text), 400) from generate_series(1, 1500) n")
        program = start_stream(source.url(), standin.to, *STREAM)
        program.wait_for_event("live", 90)
        verified = Verified(source, standin, program)
        assert [verified.json(*mode)["result"] for mode in ((), ("--full",))] == ["equal", "equal"]
        assert any(entry["query"].get("partition") == "1" for entry in standin.ask("/log?step=sql.poll")["requests"])
        verified.seed(f'UPDATE {verified.name("wide")} SET "BODY" = REPLACE("BODY", \'größe\', \'große\') WHERE "ID" IN (1, 1500)')
        for mode in ((), ("--full",)):
            table = verified.table("wide", *mode)
            assert {(row["difference"], row["key"]["id"]) for row in table["rows"]} == {("changed", "1"), ("changed", "1500")}
        assert program.terminate() == 0
    finally:
        postgres.drop_database(name)


def test_texts_that_the_target_holds_in_another_form(postgres, standin, start_stream):
    """Without a usable key rows are put in order by all their values, and these two are not the same on both sides."""
    postgres.sql("create database verified_ascii template template0 encoding 'SQL_ASCII' lc_collate 'C' lc_ctype 'C'")
    source = Source(postgres, "verified_ascii")
    try:
        source.sql("create table notes (n int, what text); create table bag (n int, what text); alter table bag replica identity full;"
                   "create table floats (n float8 primary key, what text); create publication etl for table notes, bag, floats")
        for table in ("notes", "bag", "floats"):
            source.sql(f"insert into {table} select n, 'w' || n from generate_series(1, 20) as n;"
                       f"insert into {table} values (100, E'one \\377'), (101, E'two \\377')")
        source.sql("insert into bag values (100, E'one \\377')")
        program = start_stream(source.url(), standin.to, *STREAM)
        program.wait_for_event("live", 90)
        verified = Verified(source, standin, program)
        for mode in ((), ("--full",)):
            assert verified.json(*mode)["result"] == "equal", mode
        verified.seed(f'UPDATE {verified.name("notes")} SET "WHAT" = \'other\' WHERE "N" = 100')
        verified.seed(f'UPDATE {verified.name("bag")} SET "N" = 102 WHERE "N" = 101')
        verified.seed(f'DELETE FROM {verified.name("floats")} WHERE "N" = 101')
        for mode in ((), ("--full",)):
            counts = {name: (table["missing"], table["extra"], table["changed"]) for name in ("notes", "bag", "floats")
                      for table in [verified.table(name, *mode)]}
            assert counts == {"notes": (1, 1, 0), "bag": (1, 1, 0), "floats": (1, 0, 0)}
        assert program.terminate() == 0
    finally:
        postgres.drop_database("verified_ascii")


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_a_pipeline_of_the_service(source, standin, postgres, start_service, kind):
    if kind == "postgres":
        start_service.catalog = PostgresCatalog(postgres, "verify_catalog")
    service = start_service(*POLL)
    catalog = start_service.catalog
    source.sql(TABLES)
    catalog.add_source("s", source)
    catalog.add_destination("d", standin.to)
    catalog.add_pipeline("p", "s", "d")
    wait_until(lambda: service.pipeline("p").get("is_live"), 120, "p to be live", pause=0.2)
    done = service.command("verify", "p", seconds=120)
    assert done.returncode == 0 and done.stdout.endswith("p: 4 equal, 0 different, 0 not compared, at " + done.stdout.split("at ")[-1])
    done = service.command("verify", "p", "nothing")
    assert done.returncode == 2 and 'has no table "nothing"' in done.stderr
    done = service.command("pipeline", "pause", "p", seconds=120)
    done = service.command("verify", "p", seconds=120)
    assert done.returncode == 1 and "etl-stream pipeline start p" in done.stderr
