"""The copy through the whole program: ranges, several connections, kills of all kinds under live load; small here, large in
bench/copy_at_size.
"""
import time

import psycopg
import pytest

from copy_at_size import AtSize
from http_side import Client, ports_of
from program import pipeline_status, wait_until
from sandbox_fixtures import Client as StreamingClient
from sandbox_fixtures import Pipe
from snowflake_client import Snowflake
from standin import COPY_CHANNELS
from test_metrics import Scrape

# The least memory there is, which holds half of the 13 MB of pgbench's accounts: while their appends are held back (Gate) the copy gets
# no further, however late a test looks. With a limit on its rate as well it is under way for some seconds until then.
SMALL = ("--merge-interval-seconds", 1, "--copy-range-mb", 1, "--memory-mb", 8)
OPTIONS = (*SMALL, "--copy-rate-limit", 4)
SLOWLY = (*SMALL, "--copy-rate-limit", 2)
# All of the accounts in one range, of which a share of that memory holds a part.
ONE_RANGE = ("--merge-interval-seconds", 1, "--copy-range-mb", 16, "--memory-mb", 8)


class Gate:
    """Holds the appends of copies back, until open(); or only those of a channel, by its name."""

    def __init__(self, standin, channel=COPY_CHANNELS):
        self.standin, self.number = standin, standin.add_fault("append.before", hold=True, times=None, channel=channel)

    def open(self):
        self.standin.ask(f"/faults/{self.number}", method="DELETE")


def says(program, words):
    return any(words in line.get("message", "") for line in program.lines)


def copy_channel(standin, number):
    """The channel of a range of the largest table, as soon as there is one."""
    def find():
        return next((channel["channel_name"] for channel in standin.channels()
                     if channel["pipe_name"] == "LANDING_PGBENCH_ACCOUNTS-STREAMING"
                     and channel["channel_name"].endswith(f"_C{number}")), None)
    return wait_until(find, 60, f"the channel of range {number}", pause=0.02)


def test_a_copy_on_four_connections_under_load_with_kills(source, standin, stream):
    at_size = AtSize(source, 1, 20)
    at_size.fill()
    at_size.start_load(20)
    try:
        gate = Gate(standin)
        program = stream(*SLOWLY, "--max-table-sync-workers", 4)
        at_size.wait_for_share(program, 0.05)
        at_size.end("worker")
        at_size.wait_for_share(program, 0.15)
        at_size.end("guard")
        at_size.wait_for_share(program, 0.3)
        program.kill()
        gate.open()

        gate = Gate(standin)
        program = stream(*SLOWLY, "--max-table-sync-workers", 4)
        at_size.wait_for_share(program, 0.1)
        at_size.end("exporter")
        at_size.end("worker")
        at_size.wait_for_share(program, 0.2)
        assert not says(program, "new snapshot")
        at_size.end_all("readers")  # and now the snapshot is gone: without its guard alone they might have brought it to its end
        gate.open()
        program.wait_for_line(lambda line: "in a new snapshot" in line.get("message", ""), 30, "another snapshot")
        program.wait_for_event("live", 120)
    finally:
        at_size.stop_load()
    at_size.wait_until_merged(program, standin.to)
    rows, unequal = at_size.compare(standin.to)
    assert not unequal, "\n".join(map(str, unequal))
    assert rows > at_size.accounts
    assert program.terminate() == 0


def test_tables_that_are_copied_are_not_copied_again(source, standin, stream):
    """A kill in the middle: what was committed before it stays, at its own snapshot."""
    at_size = AtSize(source, 1, 10)
    at_size.fill()
    gate = Gate(standin)
    program = stream("--merge-interval-seconds", 1, "--copy-range-mb", 1, "--max-table-sync-workers", 4)

    def states():
        return {table["table"]: table["state"] for table in pipeline_status(program.status()).get("tables", [])}
    # The largest comes first and is held back by what one of its channels has not committed.
    standin.ask("/stall", {"channel": copy_channel(standin, 3)})
    gate.open()
    small = wait_until(lambda: [name for name, state in states().items() if state == "copied"], 60, "a table that is copied")
    assert states()["pgbench_accounts"] == "copying"
    program.kill()
    standin.ask("/release", {})
    program = stream("--merge-interval-seconds", 1, "--copy-range-mb", 1, "--max-table-sync-workers", 4)
    program.wait_for_event("live", 120)
    again = {line["table"] for line in program.events("copied")}
    assert "pgbench_accounts" in again and not again & set(small)
    at_size.wait_until_merged(program, standin.to)
    rows, unequal = at_size.compare(standin.to)
    assert not unequal and rows > at_size.accounts
    assert program.terminate() == 0


def test_a_restart_of_the_stream_leaves_the_copy_alone(source, standin, stream):
    at_size = AtSize(source, 1, 5)
    at_size.fill()
    gate = Gate(standin)
    program = stream(*SMALL)
    at_size.wait_for_share(program, 0.1)
    program.wait_for_event("streaming", 60)
    ending = ("select count(pg_terminate_backend(active_pid)) from pg_replication_slots where active and not temporary"
              " and database = current_database()")
    wait_until(lambda: source.value(ending) > 0, 60, "the stream's process at the server")
    program.wait_for_event("retrying", 30)
    gate.open()
    program.wait_for_event("live", 120)
    assert len(program.events("snapshot")) == 1
    at_size.wait_until_merged(program, standin.to)
    assert not at_size.compare(standin.to)[1]
    assert program.terminate() == 0


def test_a_later_table_is_copied_beside_a_long_copy(source, standin, stream):
    """At a snapshot of its own, on one connection, while the first run goes on."""
    at_size = AtSize(source, 1, 5)
    at_size.fill()
    gate = Gate(standin)
    program = stream(*ONE_RANGE, "--poll-interval-seconds", 1)
    large = Gate(standin, copy_channel(standin, 0))
    gate.open()
    at_size.wait_for_share(program, 0.05)
    source.sql("create table later (id int primary key); insert into later select generate_series(1, 100)")
    program.wait_for_event("copied", 60, table="later")
    assert not [line for line in program.events("copied") if line["table"] == "pgbench_accounts"]
    large.open()
    program.wait_for_event("live", 120)
    at_size.wait_until_merged(program, standin.to)
    assert not at_size.compare(standin.to)[1]
    assert program.terminate() == 0


def test_a_table_is_locked_until_its_own_copy_is_read(source, standin, stream):
    at_size = AtSize(source, 1, 10)
    at_size.fill()
    gate = Gate(standin)
    program = stream(*ONE_RANGE, "--max-table-sync-workers", 4)
    large = Gate(standin, copy_channel(standin, 0))
    gate.open()
    at_size.wait_for_share(program, 0.05)
    with source.connect() as other:
        def lock(table, wait):  # as an ALTER TABLE does
            with other.transaction():
                other.execute(f"set local lock_timeout = '{wait}'; lock table {table} in access exclusive mode")
        lock("pgbench_branches", "60s")
        # The largest one is not through.
        with pytest.raises(psycopg.errors.LockNotAvailable):
            lock("pgbench_accounts", "500ms")
    assert not [line for line in program.events("copied") if line["table"] == "pgbench_accounts"]
    large.open()
    program.wait_for_event("live", 120)
    assert not at_size.compare(standin.to)[1]
    assert len(program.events("snapshot")) == 1 and program.terminate() == 0


def test_a_slow_channel_holds_back_its_own_range_only(source, standin, stream):
    """With the least memory there is, and the other ranges through many times what one share holds."""
    at_size = AtSize(source, 3, 3)
    at_size.fill()
    gate = Gate(standin)
    # Two shares of it at most are read of the range that is held back: one that the gate held, and one after that. A share is half of the
    # memory where a range is read alone, and a range is twice the memory.
    program = stream("--merge-interval-seconds", 1, "--copy-range-mb", 16, "--memory-mb", 8, "--max-table-sync-workers", 4)
    held_back = Gate(standin, copy_channel(standin, 0))
    gate.open()

    def reading():
        copy = pipeline_status(program.status()).get("copy", {})
        return copy if copy.get("ranges_read", 0) >= 2 and copy.get("rows", 0) > 0.6 * at_size.accounts else None
    copy = wait_until(reading, 90, "the other ranges")
    wait_until(lambda: standin.fault_hits(held_back.number) >= 1, 60, "an append that is held back")
    held = [one for one in copy["reading"] if one["table"] == "public.pgbench_accounts" and one["range"] == 0]
    assert held, "the range was read whole before its channel was held back"
    assert program.resident_bytes(peak=True) < 80 << 20
    assert program.terminate() == 0


def test_copied_rows_that_snowflake_lost(source, standin, stream):
    at_size = AtSize(source, 1, 3)
    at_size.fill()
    gate = Gate(standin)
    program = stream(*OPTIONS)
    channel = copy_channel(standin, 1)
    standin.ask("/stall", {"channel": channel})
    gate.open()
    at_size.wait_for_share(program, 0.4)
    # What the gate held may still be on its way: only what was taken can be lost.
    wait_until(lambda: any(one["channel_name"] == channel and one["buffered_appends"] > 0 for one in standin.channels()), 60,
               "rows that are taken and not committed")
    standin.ask("/lose_rows", {"channel": channel})
    standin.ask("/release", {})
    line = program.wait_for_event("copy_again", 60, table="pgbench_accounts")
    assert "copied rows were lost at the destination" in line["message"]
    program.wait_for_event("live", 120)
    assert [line["table"] for line in program.events("copied")].count("pgbench_accounts") == 1
    at_size.wait_until_merged(program, standin.to)
    assert not at_size.compare(standin.to)[1]
    assert program.terminate() == 0


def test_another_program_that_copies_the_same_table_later(source, standin, stream):
    """Its copy's tokens are higher, so ours would count as had: this one stops, and says why."""
    source.sql("create table t (id int primary key, filler text); create publication etl for table t;"
               "insert into t select n, repeat('x', 100) from generate_series(1, 30000) n")
    held = standin.add_fault("append.before", hold=True, channel=COPY_CHANNELS)
    program = stream("--merge-interval-seconds", 1)
    name = wait_until(standin.copy_channels, 60, "the copy's channel")[0]
    wait_until(lambda: standin.fault_hits(held), 60, "an append to be held back")
    other = Pipe(StreamingClient(standin.told), "LANDING_T", schema="ETL_SCHEMA").channel(name)
    other.open()
    other.append([{"ID": 1, "_ETL_OP": "C"}], "CFFFFFFFFFFFFFFFF0000000000000001")
    wait_until(lambda: any(one["channel_name"] == name and one["last_committed_offset_token"] for one in standin.channels()), 60,
               "its row to be committed")
    standin.ask(f"/faults/{held}", method="DELETE")
    assert program.wait() == 1, program.tail()
    assert any(f"another program copies into channel {name}" in line for line in program.other), program.tail()


def test_progress_is_shown_by_range_and_table(source, standin, stream):
    at_size = AtSize(source, 1, 3)
    at_size.fill()
    gate, started = Gate(standin), time.monotonic()
    program = stream(*OPTIONS, "--max-table-sync-workers", 2, METRICS_ADDR="127.0.0.1:0")
    at_size.wait_for_share(program, 0.3)

    def both_read():
        status = pipeline_status(program.status())
        return status if status["copy"]["connections"] == 2 and status["copy"]["reading"] else None
    # One may be opened later than the other is through with a share, and between two ranges it reads none. Held back, both are in one.
    status = wait_until(both_read, 60, "both connections to read")
    copy = status["copy"]
    client = Client(ports_of(program)[0])

    def counted(name):
        return Scrape(client.get("/metrics").text).get(name, pipeline_name=status["pipeline"], table="public.pgbench_accounts")
    wait_until(lambda: 0.25 * at_size.accounts < (counted("etl_table_copy_rows") or 0) <= counted("etl_table_copy_rows_estimated"), 30,
               "the copy's rows to be counted")
    assert copy["ranges"] > copy["ranges_read"] > 0 and copy["tables"] == 7
    assert 0.25 * at_size.accounts < copy["rows"] <= copy["rows_expected"] and copy["bytes"] > 1e6
    assert copy["rows_expected"] < 1.5 * at_size.accounts
    # Four megabytes a second, over the last ten seconds at most, and what may be saved up for one's first; the machine may be slower. Who
    # looks late sees it stand.
    assert copy["bytes_per_second"] < 5e6
    if time.monotonic() - started < 10:
        assert copy["bytes_per_second"] > 0 and copy["rows_per_second"] > 0 and copy["seconds_left"] < 600
    assert 1 <= len(copy["reading"]) <= 2 and all(one["rows"] > 0 or one["blocks"] for one in copy["reading"])
    accounts = next(table["copy"] for table in status["tables"] if table["table"] == "pgbench_accounts")
    assert accounts["blocks"] >= accounts["blocks_read"] > 0 and accounts["ranges"] >= 12
    gate.open()
    program.wait_for_event("live", 120)
    wait_until(lambda: "copy" not in pipeline_status(program.status()), 30, "the copy to go from the status")
    wait_until(lambda: counted("etl_table_copy_rows") is None, 30, "the copy to go from the metrics")
    assert program.terminate() == 0
