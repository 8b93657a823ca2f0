"""The whole way: tables of a real PostgreSQL, copied and then followed under load, equal in the target."""
import contextlib

import pytest

import compare
import load
from program import wait_until
from snowflake_client import Snowflake
from test_traps import ROUNDS, is_waited_for, transaction_of

MERGE_OFTEN = ("--merge-interval-seconds", 1)


def make_tables(source, customers):
    with source.connect() as connection:
        load.create_tables(connection, source.publication)
        load.fill(connection, customers)


def settle(source, standin, program, seconds=60):
    """Everything that was committed is merged: then both sides must be equal."""
    with source.connect() as connection:
        mark = load.write_mark(connection)

    def watch():
        assert program.is_running(), program.tail()
    load.wait_for_mark(Snowflake(standin.to), mark, seconds, watch)
    compare.assert_equal(source.conninfo, source.publication, standin.to)


def assert_no_stream_row_twice(standin):
    snowflake = Snowflake(standin.to)
    for table in load.TABLES:
        assert snowflake.stream_rows_twice(table) == [], table


@pytest.mark.threads
def test_tables_are_equal_after_copy_and_load(source, standin, stream):
    make_tables(source, 300)
    loads = [load.Load(source.conninfo, seed, rate=40, truncates=True).start() for seed in (1, 2)]
    program = stream(*MERGE_OFTEN)
    program.wait_for_event("live", 90)
    program.wait_for_event("merged", 60, since=program.mark(), count=2)  # the load goes on
    books = [one.stop() for one in loads]
    assert all(book.committed > 0 for book in books)
    settle(source, standin, program)
    assert_no_stream_row_twice(standin)
    assert program.terminate() == 0


def test_a_clean_restart_goes_on_where_it_was(source, standin, stream):
    make_tables(source, 50)
    # Tables are prepared side by side: none waits until another one's channel is open.
    held = standin.add_fault("open", hold=True, times=None)
    program = stream(*MERGE_OFTEN)
    wait_until(lambda: standin.fault_hits(held) >= len(load.TABLES), 60, "a channel of each table to be asked for")
    standin.remove_faults()
    settle(source, standin, program)
    assert program.terminate() == 0
    load.Load(source.conninfo, seed=3).run(40)
    program = stream(*MERGE_OFTEN)
    settle(source, standin, program)
    assert_no_stream_row_twice(standin)
    copied = Snowflake(standin.to).value(
        f'SELECT COUNT(*) FROM {Snowflake(standin.to).landing("customers")} WHERE "_ETL_OP" = \'C\'')
    assert int(copied) == 50, "the restart copied again"


def test_a_snapshot_whose_xmin_lies_above_its_xmax(source, standin, stream):
    """Transactions that are rolled back while the slot is made move the snapshot's xmin only."""
    make_tables(source, 20)

    with contextlib.ExitStack() as stack:
        writers = [stack.enter_context(source.connect(autocommit=False)) for _ in range(ROUNDS + 1)]
        awaited = transaction_of(writers[0])
        program = stream(*MERGE_OFTEN)
        for number in range(ROUNDS):
            wait_until(lambda: is_waited_for(source, awaited), 30, f"the making of the slot to wait for transaction {awaited}")
            awaited = transaction_of(writers[number + 1])
            writers[number].rollback()
        program.wait_for_event("live", 60)
    settle(source, standin, program)


def test_a_first_start_whose_slot_could_not_be_made_goes_on(source, stream):
    with source.connect() as connection:
        load.create_tables(connection, source.publication)
        load.fill(connection, 20)
    with source.connect(autocommit=False) as writer:
        writer.execute("select txid_current()")  # the slot waits for it
        program = stream()
        making = ("select count(pg_terminate_backend(pid)) from pg_stat_activity"
                  " where datname = current_database() and query like 'CREATE_REPLICATION_SLOT%%'")
        wait_until(lambda: source.value(making) > 0, 60, "the making of the slot")
    program.wait_for_event("live", 60)
    assert program.terminate() == 0
