"""etl-stream verify: source against target at one position, while writes go on."""
import json
import threading

import pytest

import load
from program import run_command, wait_until
from snowflake_client import Snowflake

POLL = ("--poll-interval-seconds", 1)
STREAM = (*POLL, "--merge-interval-seconds", 1)
TABLES = """
create table items (id int primary key, name text, price numeric(10,2), at timestamptz, seen date, raw bytea, is_on boolean);
create table pairs (a text, b int, note text, primary key (b, a));
create table bag (v int, t text);
alter table bag replica identity full;
create table log (at timestamp, what text);
create publication etl for table items, pairs, bag, log;
insert into items select n, 'item ' || n, n * 1.5, '2026-11-25 10:00+01'::timestamptz + n * interval '1 hour', '2026-01-01'::date + n,
       decode(lpad(to_hex(n), 8, '0'), 'hex'), n % 3 = 0 from generate_series(1, 3000) as n;
insert into items (id) values (0);
insert into pairs select 'k' || n % 10, n, null from generate_series(1, 50) as n;
insert into bag select n % 5, 'x' from generate_series(1, 40) as n;
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
    assert all(one.stop().committed > 0 for one in loads)
    program.wait_for_event("merged", 60, since=program.mark())  # merging goes on by itself
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
    assert [done.returncode for done in results] == [1, 1] or [done.returncode for done in results] == [1, 2]
    told = "".join(done.stdout + done.stderr for done in results)
    assert "changed: id = 1 (name)" in told
    assert told.count("changed: id = 1") == 2 or "another etl-stream verify holds its merge" in told
