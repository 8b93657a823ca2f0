"""The comparison against a target that was filled by hand: it must see what is equal and each kind of difference."""
import pytest

import compare
from snowflake_client import Snowflake

TABLE = """
create table t (id int primary key, name text, amount numeric(10, 2), at timestamptz, doc jsonb, list int[], raw bytea);
insert into t values (1, 'one', 1.50, '2026-11-23 01:02:03+00', '{"a": [1, null]}', '{1,null,3}', '\\x00ff'),
                     (2, null, null, null, 'null', '{}', ''), (3, 'three', -7, '1969-12-31 23:59:59.5+00', null, null, null);
create table log (what text);
insert into log values ('a'), ('a'), ('b');
create publication etl for all tables;
"""
ROWS = {
    1: """1, 'one', 1.50, '2026-11-23 01:02:03 +00:00'::TIMESTAMP_TZ(6), PARSE_JSON('{"a":[1,null]}'),
          PARSE_JSON('[1,null,3]')::ARRAY, TO_BINARY('00FF', 'HEX')""",
    2: "2, NULL, NULL, NULL, PARSE_JSON('null'), PARSE_JSON('[]')::ARRAY, TO_BINARY('', 'HEX')",
    3: "3, 'three', -7, '1969-12-31 23:59:59.5 +00:00'::TIMESTAMP_TZ(6), NULL, NULL, NULL",
}


@pytest.fixture
def target(source, shared_standin):
    source.sql(TABLE)
    snowflake = Snowflake(shared_standin.to)
    t, log = snowflake.qualified("T"), snowflake.qualified("LOG")
    snowflake.execute(f'CREATE TABLE {t} ("ID" NUMBER(38,0), "NAME" VARCHAR(100), "AMOUNT" NUMBER(10,2), '
                      '"AT" TIMESTAMP_TZ(6), "DOC" VARIANT, "LIST" ARRAY, "RAW" BINARY(100))')
    snowflake.execute(f'CREATE TABLE {log} ("WHAT" VARCHAR(100))')
    for row in ROWS.values():
        snowflake.execute(f"INSERT INTO {t} SELECT {row}")
    snowflake.execute(f"INSERT INTO {log} SELECT column1 FROM (VALUES ('a'), ('a'), ('b'))")
    yield snowflake
    snowflake.execute(f"DROP TABLE IF EXISTS {t}")
    snowflake.execute(f"DROP TABLE IF EXISTS {log}")


def compared(source, shared_standin):
    return {report.name: report for report in compare.compare(source.conninfo, "etl", shared_standin.to)}


def test_equal_tables_are_equal(source, shared_standin, target):
    reports = compared(source, shared_standin)
    assert all(report.is_equal for report in reports.values()), "\n".join(map(str, reports.values()))
    assert reports["public.t"].source_rows == 3 and reports["public.log"].target_rows == 3


@pytest.mark.parametrize("statement,expected", [
    ("UPDATE {t} SET \"NAME\" = 'One' WHERE \"ID\" = 1", "name: source 'one', target 'One'"),
    ("UPDATE {t} SET \"NAME\" = '' WHERE \"ID\" = 2", "name: source None, target ''"),
    ("UPDATE {t} SET \"DOC\" = NULL WHERE \"ID\" = 2", "doc: source ('null',), target None"),
    ("DELETE FROM {t} WHERE \"ID\" = 3", "missing 1×: id=Decimal('3')"),
    ("INSERT INTO {t} (\"ID\") SELECT 4", "too many 1×: id=Decimal('4')"),
    ("INSERT INTO {log} SELECT 'b'", "too many 1×: what='b'"),
    ("ALTER TABLE {t} DROP COLUMN \"RAW\"", "no column raw"),
])
def test_a_difference_is_found_and_named(source, shared_standin, target, statement, expected):
    target.execute(statement.format(t=target.qualified("T"), log=target.qualified("LOG")))
    reports = compared(source, shared_standin)
    unequal = [report for report in reports.values() if not report.is_equal]
    assert len(unequal) == 1 and unequal[0].difference_count == 1
    assert expected in unequal[0].differences[0]


def test_a_missing_target_is_a_difference(source, shared_standin, target):
    target.execute(f"DROP TABLE {target.qualified('LOG')}")
    assert not compared(source, shared_standin)["public.log"].is_equal
