"""Definitions that change at the source, while the pipeline runs and while it does not: the table follows by itself, readers keep the
old content until the new is complete, and nobody has to move a table aside."""
import dataclasses
import re

import pytest

import compare
import load
from program import wait_until
from snowflake_client import Snowflake

OPTIONS = ("--merge-interval-seconds", 1, "--poll-interval-seconds", 1, "--table-error-retry-delay-ms", 500)
TABLE = """create table thing (id int primary key, name varchar(20), amount numeric(10, 2), note text default 'x', at timestamp,
                                tags text[], body text)"""


@dataclasses.dataclass
class Case:
    change: str          # what is done to table thing
    after: str = "insert into thing (id) values (1000)"
    table: str = TABLE
    fill: str = "insert into thing select i, 'name ' || i, i * 1.25, 'note', now(), array['a', 'b'], repeat('x', i) from generate_series(1, 200) i"
    target: str = ""     # a query of the target that must give `gives` afterwards
    gives: object = None


COLUMNS = {
    "add": Case("alter table thing add column extra int",
                "insert into thing (id, extra) values (1000, 7); update thing set extra = id where id < 10"),
    "add_with_constant_default": Case("alter table thing add column extra int not null default 42", "insert into thing (id) values (1000)"),
    "add_with_volatile_default": Case("alter table thing add column extra uuid default gen_random_uuid()"),
    "drop": Case("alter table thing drop column note", "update thing set name = 'n' where id < 10",
                 target='SELECT COUNT(*) FROM "THING" WHERE "NOTE" IS NOT NULL AND "ID" = 1000', gives="0"),
    "drop_and_add": Case("alter table thing drop column note; alter table thing add column note text"),
    "drop_and_add_of_another_type": Case("alter table thing drop column note; alter table thing add column note bigint",
                                         "insert into thing (id, note) values (1000, 5)"),
    "rename": Case("alter table thing rename column note to remark", "insert into thing (id, remark) values (1000, 'r')",
                   target="SELECT COUNT(*) FROM \"THING\" WHERE \"REMARK\" = 'note'", gives="200"),
    "rename_in_a_circle": Case("alter table thing rename column note to tmp; alter table thing rename column name to note;"
                               "alter table thing rename column tmp to name", "insert into thing (id, note) values (1000, 'r')"),
    "widen_varchar": Case("alter table thing alter column name type varchar(200)",
                          "insert into thing (id, name) values (1000, repeat('w', 150))"),
    "varchar_to_text": Case("alter table thing alter column name type text", "insert into thing (id, name) values (1000, repeat('w', 150))"),
    "int_to_bigint": Case("alter table thing alter column id type bigint", "insert into thing (id) values (5000000000)"),
    "numeric_wider": Case("alter table thing alter column amount type numeric(14, 2)", "insert into thing (id, amount) values (1000, 999999999999.25)"),
    "numeric_narrower": Case("alter table thing alter column amount type numeric(8, 2)", "insert into thing (id, amount) values (1000, 9.25)"),
    "numeric_of_another_scale": Case("alter table thing alter column amount type numeric(12, 4)", "insert into thing (id, amount) values (1000, 9.2525)"),
    "only_column": Case("alter table thing alter column id type numeric(12, 2)", "insert into thing values (1000.25)", table="create table thing (id int primary key)",
                        fill="insert into thing select generate_series(1, 200)"),
    "text_to_number": Case("alter table thing alter column name type int using id * 2", "insert into thing (id, name) values (1000, 5)"),
    "number_to_text": Case("alter table thing alter column amount type text using 'about ' || amount", "insert into thing (id, amount) values (1000, 'five')"),
    "values_by_using": Case("alter table thing alter column amount type numeric(10, 2) using amount + 1000"),
    "timestamp_to_timestamptz": Case("alter table thing alter column at type timestamptz using at at time zone 'UTC'"),
    "text_to_jsonb": Case("alter table thing alter column note drop default; alter table thing alter column note type jsonb using jsonb_build_object('was', note)"),
    "array_to_text": Case("alter table thing alter column tags type text using array_to_string(tags, ',')"),
    "bytea_and_back": Case("alter table thing alter column body type bytea using convert_to(body, 'UTF8')", "insert into thing (id, body) values (1000, '\\x00ff')"),
    "set_not_null": Case("alter table thing alter column name set not null", "insert into thing (id, name) values (1000, 'n')"),
    "drop_expression": Case("alter table thing alter column twice drop expression", "insert into thing (id, twice) values (1000, 5)",
                            table=TABLE.replace("body text", "body text, twice int generated always as (id * 2) stored")),
    "several_at_once": Case("alter table thing add column a text default 'a', drop column tags, alter column amount type double precision;"
                            "alter table thing rename column body to content", "insert into thing (id, amount, content) values (1000, 0.5, 'c')"),
    "twice": Case("alter table thing add column a int; insert into thing (id, a) values (900, 1); alter table thing alter column a type text;"
                  "insert into thing (id, a) values (901, 'one')", "insert into thing (id, a) values (1000, 'two')"),
}
IDENTITIES = {
    "replica_identity_full": Case("alter table thing replica identity full", "update thing set name = 'n' where id < 10; delete from thing where id = 11"),
    "replica_identity_nothing": Case("alter table thing replica identity nothing"),
    "replica_identity_index": Case("create unique index by_name on thing (name); alter table thing replica identity using index by_name",
                                   "update thing set name = 'n' where id = 3; delete from thing where name = 'name 4'; insert into thing (id, name) values (1000, 'z')",
                                   table=TABLE.replace("varchar(20)", "varchar(20) not null")),
    "replica_identity_index_dropped": Case("drop index thing_by_name", table=TABLE.replace("varchar(20)", "varchar(20) not null")
                                           + "; create unique index thing_by_name on thing (name); alter table thing replica identity using index thing_by_name",
                                           after="insert into thing (id, name) values (1000, 'z')"),
    "primary_key_dropped": Case("alter table thing drop constraint thing_pkey", "insert into thing (id) values (1), (1)"),
    "primary_key": Case("alter table thing drop constraint thing_pkey; alter table thing add primary key (name)",
                        "update thing set id = 1 where id < 10; delete from thing where name = 'name 11'; insert into thing (id, name) values (1, 'z')",
                        table=TABLE.replace("varchar(20)", "varchar(20) not null")),
    "primary_key_to_none": Case("alter table thing replica identity full; alter table thing drop constraint thing_pkey",
                                "insert into thing (id) values (1), (1); delete from thing where id = 5"),
    "primary_key_to_deferrable": Case("alter table thing drop constraint thing_pkey; alter table thing add primary key (id) deferrable;"
                                      "alter table thing replica identity full", "update thing set id = case id when 1 then 2 else 1 end where id in (1, 2)"),
}
# PostgreSQL refuses to delete from them.
APPEND_ONLY = ("replica_identity_nothing", "replica_identity_index_dropped", "primary_key_dropped")


def named(name, text):
    """A case's table has the case's name: all of them fit into one pipeline, and a difference tells whose it is."""
    return re.sub(r"\bTHING", f"T_{name.upper()}", re.sub(r"\bthing", f"t_{name}", text))


def make(source, cases):
    with source.connect() as connection:
        load.create_tables(connection, source.publication)
        load.fill(connection, 20)
        for name, case in cases.items():
            for statement in (case.table, case.fill, f"alter publication {source.publication} add table thing"):
                connection.execute(named(name, statement))


def run(source, name, text):
    with source.connect() as connection:
        for statement in named(name, text).split(";"):
            connection.execute(statement)


def settle(source, standin, program, seconds=90):
    """Waits until what is there now is merged, and the tables are equal."""
    with source.connect() as connection:
        mark = load.write_mark(connection)
    load.wait_for_mark(Snowflake(standin.to), mark, seconds, lambda: None)
    last = []

    def is_equal():
        last[:] = [report for report in compare.compare(source.conninfo, source.publication, standin.to) if not report.is_equal]
        return not last

    try:
        wait_until(is_equal, seconds, "the tables to be equal", pause=0.5)
    except AssertionError:
        raise AssertionError("\n".join(map(str, last))) from None


def check_targets(cases, standin):
    for name, case in cases.items():
        if case.target:
            assert str(Snowflake(standin.to).value(named(name, case.target))) == str(case.gives), name


def follow_while_running(cases, source, standin, stream):
    make(source, cases)
    program = stream(*OPTIONS)
    program.wait_for_event("live", 60)
    for name, case in cases.items():
        run(source, name, case.change)
        run(source, name, case.after)
    settle(source, standin, program)
    check_targets(cases, standin)
    # And again, as the definition is now.
    for name in cases:
        run(source, name, "delete from thing where id >= 1000" if name not in APPEND_ONLY else "insert into thing (id, name) values (1001, 'y')")
    settle(source, standin, program)
    assert not program.events("parked")
    assert len(program.events("streaming")) == 1
    assert program.terminate() == 0


def follow_while_down(cases, source, standin, stream):
    make(source, cases)
    program = stream(*OPTIONS)
    program.wait_for_event("live", 60)
    settle(source, standin, program)
    assert program.terminate() == 0
    for name, case in cases.items():
        run(source, name, case.change)
        run(source, name, case.after)
    again = stream(*OPTIONS)
    settle(source, standin, again)
    check_targets(cases, standin)
    assert not again.events("parked")
    assert again.terminate() == 0


def test_columns_that_change_while_it_runs(source, standin, stream):
    follow_while_running(COLUMNS, source, standin, stream)


def test_columns_that_change_while_it_is_down(source, standin, stream):
    follow_while_down(COLUMNS, source, standin, stream)


def test_identities_that_change_while_it_runs(source, standin, stream):
    follow_while_running(IDENTITIES, source, standin, stream)


def test_identities_that_change_while_it_is_down(source, standin, stream):
    follow_while_down(IDENTITIES, source, standin, stream)
