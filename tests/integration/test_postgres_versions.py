"""What differs between PostgreSQL 14 and 18, through the whole program. The rest of the suite runs on each of them as it is."""
import time

import pytest

from program import run_command, wait_until
from snowflake_client import Snowflake
from versions import MAJOR, since

import compare
import load

MERGE_OFTEN = ("--merge-interval-seconds", 1)


def settle(source, standin, program):
    """A mark more; when it is in the target everything before it is."""
    number = source.value("insert into mark select coalesce(max(id), 0) + 1 from mark returning id")

    def watch():
        assert program.is_running(), program.tail()
    load.wait_for_row(Snowflake(standin.to), "MARK", f'"ID" = {number}', 60, watch)


def columns_of(standin, table):
    snowflake = Snowflake(standin.to)
    return [column["name"] for column in snowflake.execute(f"select * from {snowflake.qualified(table)} limit 0")[0]]


def test_a_publication_that_is_missing_in_the_wal_is_told(source, standin, stream):
    """An error up to 17, from 18 on only a warning of the server, behind which changes would be missing without a word."""
    source.sql("create table words (word text primary key); create table mark (id int primary key);"
               "create publication etl for table words, mark")
    program = stream(*MERGE_OFTEN)
    program.wait_for_event("live", 60)
    settle(source, standin, program)
    assert program.terminate() == 0
    source.sql("drop publication etl")
    source.sql("insert into words values ('unpublished')")
    source.sql("create publication etl for table words, mark")
    program = stream(*MERGE_OFTEN)
    source.sql("insert into words values ('published')")
    assert program.wait(60) == 1
    said = "\n".join(program.other)
    assert "publication" in said and "--on-slot-lost=resync" in said
    program = stream(*MERGE_OFTEN, "--on-slot-lost=resync")
    program.wait_for_event("live", 60)
    settle(source, standin, program)
    compare.assert_equal(source.conninfo, source.publication, standin.to)
    assert program.terminate() == 0


@since(15, "row filters")
def test_a_change_that_the_server_cannot_decode_is_told_and_left_by_a_new_slot(source, standin, stream):
    """A row filter that fails with an internal error, as lost filenodes and the like do: tried again ever more rarely."""
    source.sql("create table sums (id int primary key, pair bigint[]); create table mark (id int primary key);"
               "create publication etl for table mark, sums where (int4_avg_accum(pair, 1) is not null) with (publish = 'insert')")
    program = stream(*MERGE_OFTEN, "--on-slot-lost=resync")
    program.wait_for_event("live", 60)
    settle(source, standin, program)
    source.sql("insert into sums values (1, '{7}')")
    program.wait_for_line(lambda line: "expected 2-element int8 array (XX000)" in line.get("message", ""), 60, "what the server failed at")
    program.wait_for_status(lambda status: "decoding_failed" in str(status), 60, "why it is tried again")
    begun, before = time.monotonic(), len(program.events("retrying"))
    wait_until(lambda: time.monotonic() - begun > 4 or len(program.events("retrying")) - before >= 10, 60, "four seconds, or ten tries")
    assert len(program.events("retrying")) - before < 10  # a stream that starts is no success
    source.sql("delete from sums")  # the copy has the filter too
    source.drop_slot(source.value("select slot_name from pg_replication_slots where database = current_database()"))
    settle(source, standin, program)
    compare.assert_equal(source.conninfo, source.publication, standin.to)
    assert program.terminate() == 0


def test_check_advises_to_leave_minors_that_export_snapshots_too_early(source, standin, tmp_path):
    """Shown on 14.23, 15.18, 16.14, 17.10 and 18.4, by stopping a backend between its commit record and its mark; not so 15.20."""
    source.sql("create table mark (id int primary key); create publication etl for table mark")
    version = source.value("select current_setting('server_version_num')::int")
    is_early = version <= {14: 140023, 15: 150019, 16: 160014, 17: 170010, 18: 180004}[MAJOR]
    done = run_command("check", "--from", source.url(), "--to", standin.to, state=tmp_path / "state.db")
    assert done.returncode == 0
    assert ("can export a snapshot too early" in done.stdout + done.stderr) == is_early


def test_generated_columns_that_are_not_published_are_left_out(source, standin, stream):
    """Not at the copy either, as the stream does not bring them; 15 to 17 name them in the publication's columns all the same."""
    virtual = ", v int generated always as (a + 2) virtual" if MAJOR >= 18 else ""
    source.sql(f"create table t (id int primary key, a int, g int generated always as (a + 1) stored{virtual});"
               "create table mark (id int primary key); insert into t values (1, 1); create publication etl for table t, mark")
    program = stream(*MERGE_OFTEN)
    program.wait_for_event("live", 60)
    source.sql("insert into t values (2, 2); update t set a = 10 where id = 1")
    settle(source, standin, program)
    assert columns_of(standin, "T") == ["ID", "A"]
    compare.assert_equal(source.conninfo, source.publication, standin.to)
    assert program.terminate() == 0


@since(18, "publish_generated_columns")
@pytest.mark.parametrize("published", ["by option", "by list"])
def test_generated_columns_that_are_published(source, standin, stream, published):
    columns, option = ("", "with (publish_generated_columns = stored)") if published == "by option" else ("(id, g)", "")
    source.sql(f"create table t (id int primary key, a int, v int generated always as (a + 2) virtual, g int generated always as (a + 1) stored);"
               f"create table mark (id int primary key); insert into t values (1, 1); create publication etl for table t {columns}, mark {option}")
    program = stream(*MERGE_OFTEN)
    program.wait_for_event("live", 60)
    source.sql("insert into t values (2, 2); update t set a = 10 where id = 1")
    settle(source, standin, program)
    assert columns_of(standin, "T") == (["ID", "A", "G"] if published == "by option" else ["ID", "G"])
    compare.assert_equal(source.conninfo, source.publication, standin.to)
    snowflake = Snowflake(standin.to)
    assert snowflake.query(f'select "ID", "G" from {snowflake.qualified("T")} order by 1') == [["1", "11"], ["2", "3"]]
    if published == "by option":  # not any more, and again
        for option in ("none", "stored"):
            source.sql(f"alter publication etl set (publish_generated_columns = {option})")
            source.sql("insert into t select max(id) + 1, 5 from t; update t set a = a + 1")
            settle(source, standin, program)
            wait_until(lambda: all(report.is_equal for report in compare.compare(source.conninfo, source.publication, standin.to)), 60, "equal tables")
        assert not program.events("parked")
    assert program.terminate() == 0


@since(15, "column lists and row filters")
def test_column_lists_and_row_filters(source, standin, stream):
    source.sql("create table t (id int primary key, a text, secret text, n int not null, unique (id, n)); alter table t replica identity full;"
               "create table mark (id int primary key); insert into t values (1, 'in', 'x', 1), (2, 'out', 'x', -1);"
               "create publication etl for table t where (n > 0), mark")
    program = stream(*MERGE_OFTEN)
    program.wait_for_event("live", 60)
    source.sql("insert into t values (3, 'in', 'x', 1), (4, 'out', 'x', -1); update t set n = 5 where id = 2; update t set n = -5 where id = 1;"
               "update t set a = 'still out' where id = 4")
    settle(source, standin, program)
    snowflake = Snowflake(standin.to)
    assert snowflake.query(f'select "ID", "A", "N" from {snowflake.qualified("T")} order by 1') == [["2", "out", "5"], ["3", "in", "1"]]
    assert program.terminate() == 0


@since(15, "column lists and row filters")
def test_column_lists(source, standin, stream):
    source.sql("create table t (id int primary key, a text, secret text); create table mark (id int primary key); insert into t values (1, 'a', 'x');"
               "create publication etl for table t (id, a), mark")
    program = stream(*MERGE_OFTEN)
    program.wait_for_event("live", 60)
    source.sql("insert into t values (2, 'b', 'x'); update t set secret = 'y'; update t set a = 'c' where id = 1")
    settle(source, standin, program)
    assert columns_of(standin, "T") == ["ID", "A"]
    compare.assert_equal(source.conninfo, source.publication, standin.to)
    assert program.terminate() == 0


@since(15, "publications of schemas")
def test_a_publication_of_a_schema(source, standin, stream):
    source.sql("create schema s; create table s.t (id int primary key); create table s.mark (id int primary key); create table public.other (id int);"
               "insert into s.t values (1); create publication etl for tables in schema s; alter database " + f'"{source.name}" set search_path = s, public')
    program = stream(*MERGE_OFTEN)
    program.wait_for_event("live", 60)
    source.sql("insert into s.t values (2); insert into public.other values (3)")
    settle(source, standin, program)
    compare.assert_equal(source.conninfo, source.publication, standin.to)
    assert program.terminate() == 0


def test_the_slot_survives_a_failover_where_the_server_can(source, standin, stream):
    """From 17 on the slot is a failover slot, and stays one over restarts."""
    source.sql("create table mark (id int primary key); create publication etl for table mark")
    for _ in range(2):
        program = stream(*MERGE_OFTEN)
        program.wait_for_event("streaming", 60)
        slot = source.value("select to_jsonb(s) from pg_replication_slots s where database = current_database() and not temporary")
        assert slot.get("failover") == (True if MAJOR >= 17 else None)
        assert slot["two_phase"] is False
        assert program.terminate() == 0


def test_prepared_transactions(source, standin, stream):
    """They arrive when they are committed, and not at all when they are rolled back; one outlives a restart of ours."""
    source.sql("create table t (id int primary key, a text); create table mark (id int primary key); create publication etl for table t, mark")
    program = stream(*MERGE_OFTEN)
    program.wait_for_event("live", 60)
    for name, number in (("kept", 1), ("dropped", 2), ("late", 3)):
        source.sql(f"begin; insert into t values ({number}, '{name}'); prepare transaction '{source.name} {name}'")
    source.sql(f"commit prepared '{source.name} kept'")
    source.sql(f"rollback prepared '{source.name} dropped'")
    settle(source, standin, program)
    snowflake = Snowflake(standin.to)
    assert snowflake.query(f'select "A" from {snowflake.qualified("T")}') == [["kept"]]
    program.kill()
    source.sql(f"commit prepared '{source.name} late'")
    program = stream(*MERGE_OFTEN)
    settle(source, standin, program)
    compare.assert_equal(source.conninfo, source.publication, standin.to)
    assert program.terminate() == 0
