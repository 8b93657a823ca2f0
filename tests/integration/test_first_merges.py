"""First merges where the source stands still: the copy comes in at the position that is merged already, whatever ends in between."""
import contextlib

import pytest

from program import run_command, wait_until
from snowflake_client import Snowflake
from standin import COPY_CHANNELS
from test_merge_options import settled
from test_traps import without_background_wal

MERGE_OFTEN = ("--merge-interval-seconds", 1)
# With a key, a multiset, and append-only: each row as often as it should be, whatever is done twice.
TABLES = ("keyed", "counted", "appended")
SETUP = ("create table keyed (id int primary key, what text); create table counted (id int, what text); alter table counted replica identity full;"
         "create table appended (id int, what text); create table mark (id bigint primary key); insert into keyed values (1, 'a'), (2, 'b');"
         "insert into counted values (1, 'a'), (1, 'a'), (2, 'b'); insert into appended values (1, 'a'), (1, 'a'); create publication etl for all tables")


def content(source, snowflake, table):
    rows = snowflake.query(f'select "ID", "WHAT" from {snowflake.qualified(table.upper())}')
    return sorted(map(tuple, rows)) == sorted((str(number), what) for number, what in source.sql(f"select id, what from {table}"))


def wait_until_live(program):
    def are_live(status):
        found = {table["table"]: table["state"] for one in status["pipelines"] for table in one.get("tables", ())}
        return all(found.get(table) == "live" for table in TABLES)
    program.wait_for_status(are_live, 60, "the tables to be live")


@contextlib.contextmanager
def copies_behind_the_merge(source, standin, stream, *options):
    """Gives the program, whose tables are copied and not merged, where everything that the source has is."""
    source.sql(SETUP)
    snowflake = Snowflake(standin.to)
    program = stream(*MERGE_OFTEN, *options)
    program.wait_for_event("live", 60)
    for table in TABLES:  # what nobody sent, so that only the copy brings it back
        snowflake.execute(f'delete from {snowflake.qualified(table.upper())}')
    with without_background_wal(source):
        held = standin.add_fault("append.before", hold=True, times=None, channel=COPY_CHANNELS)
        done = run_command("pipeline", "resync", f"{source.name}_etl", *TABLES, state=program.state)
        assert done.returncode == 0, done.stderr
        wait_until(lambda: standin.fault_hits(held) >= len(TABLES), 60, "the copies to be read")
        merges = len(program.events("merged"))
        source.sql("insert into mark values (1)")
        settled(snowflake, program, 1)
        wait_until(lambda: len(program.events("merged")) > merges, 60, "the merge to have ended")
        yield program, lambda: standin.ask(f"/faults/{held}", method="DELETE")


def test_what_is_copied_comes_in_while_nothing_happens_at_the_source(source, standin, stream):
    with copies_behind_the_merge(source, standin, stream) as (program, let_copies_go):
        let_copies_go()
        wait_until_live(program)
    assert all(content(source, Snowflake(standin.to), table) for table in TABLES)
    assert program.terminate() == 0


@pytest.mark.parametrize("step, how", [("sql.submit.before", "reset"), ("sql.before_commit", "hold"), ("sql.submit.after", "hold")])
def test_a_first_merge_of_which_the_state_does_not_tell_is_done_again(source, standin, stream, step, how):
    """Killed when it was never begun, while it ran, and when it was done: its position is the one before, so nothing tells these apart."""
    snowflake = Snowflake(standin.to)
    with copies_behind_the_merge(source, standin, stream) as (program, let_copies_go):
        held = standin.add_fault(step, times=None, **{how: True})
        let_copies_go()
        wait_until(lambda: standin.fault_hits(held), 60, "the merge to be held")
        program.kill()
        standin.remove_faults()
        program = stream(*MERGE_OFTEN)
        wait_until_live(program)
        assert all(content(source, snowflake, table) for table in TABLES)
    source.sql("update keyed set what = 'c' where id = 1; delete from counted where what = 'b'; insert into mark values (2)")
    settled(snowflake, program, 2)
    assert all(content(source, snowflake, table) for table in TABLES)
    assert program.terminate() == 0
