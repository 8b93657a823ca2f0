"""The spread of one table's stream over several channels: limits, growth, kills around it, rows that are refused.

The stand-in is asked to answer appends late, so that a little load holds a channel back: a full batch waits, and more
channels are opened. What needs tens of megabytes a second goes to bench/quick_sink.c, which enforces the limits on a channel.
"""
import contextlib
import os
import pathlib
import random
import re
import shutil
import sqlite3
import sys
import threading

import psycopg
import pytest

import compare
from pgserver import scratch_folder
from program import Timeout, pipeline_status, wait_until
from snowflake_client import Snowflake
from test_pipeline import MERGE_OFTEN
from test_tables_come_and_go import wait_for_table
from test_traps import lsn, wait_live

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent.parent / "bench"))
import parts  # noqa: E402  (bench/parts.py)

SEED = int(os.environ.get("CHANNELS_SEED", "20261125"))
SLOW_MS = 1500  # an append's answer takes so long while a table is to be held back
BUSY_PAUSE, CALM_PAUSE = 0.07, 0.4  # between two transactions of a writer: enough to hold a slow channel back, and not


def make_table(source, *names):
    for name in names:
        source.sql(f"CREATE TABLE {name} (id bigint PRIMARY KEY, number int NOT NULL, filler text)")
    source.sql(f"CREATE PUBLICATION etl FOR TABLE {', '.join(names)}, marks")


class Writer(threading.Thread):
    """Transactions of some 300 kB on one table, one after the other: inserts, updates, deletes, and now and then a large one."""

    def __init__(self, conninfo, table, seed, pause=BUSY_PAUSE):
        super().__init__(daemon=True)
        self.conninfo, self.table, self.pause = conninfo, table, pause
        self.random, self.next, self.committed, self.error = random.Random(seed), 1, 0, None
        self.stopping = threading.Event()

    def insert(self, connection, count, size):
        connection.execute(f"INSERT INTO {self.table} SELECT n, n %% 1000, left(repeat(md5(n::text), 64), %s)"
                           " FROM generate_series(%s::bigint, %s) n", (size, self.next, self.next + count - 1))
        self.next += count

    def transaction(self, connection):
        if self.random.random() < 0.1:
            self.insert(connection, 5000, 60)  # more rows than one channel's block
        else:
            self.insert(connection, 150, 1800)
        low = self.random.randrange(1, self.next)
        connection.execute(f"UPDATE {self.table} SET number = number + 1 WHERE id BETWEEN %s AND %s", (low, low + 30))
        if self.random.random() < 0.5:
            low = self.random.randrange(1, self.next)
            connection.execute(f"DELETE FROM {self.table} WHERE id BETWEEN %s AND %s", (low, low + 10))

    def run(self):
        try:
            with psycopg.connect(self.conninfo) as connection:
                while not self.stopping.wait(self.pause):
                    self.transaction(connection)
                    connection.commit()
                    self.committed += 1
        except Exception as error:  # shown by stop(), in the caller's thread
            self.error = error

    def stop(self):
        self.stopping.set()
        self.join(60)
        assert not self.is_alive(), "the writer does not stop"
        if self.error:
            raise self.error


@contextlib.contextmanager
def written(source, table, seed=SEED):
    writer = Writer(source.conninfo, table, seed)
    writer.start()
    try:
        yield writer
    finally:
        writer.stop()


def settle(source, standin, program, seconds=120):
    """Waits until what was committed is merged (tables are merged together, up to one position), and compares."""
    snowflake = Snowflake(standin.to)
    place = lsn(source.value("SELECT pg_current_wal_insert_lsn()"))
    source.sql("INSERT INTO marks VALUES (%s)", (place,))

    def is_merged():
        assert program.is_running(), program.tail()
        return snowflake.value(f'SELECT COUNT(*) FROM {snowflake.qualified("MARKS")} WHERE "PLACE" = {place}') == "1"
    wait_until(is_merged, seconds, "the merge of what was committed", pause=0.2)
    compare.assert_equal(source.conninfo, source.publication, standin.to)


def channels_of(standin, table):
    """Number → state, of the table's stream channels in the stand-in."""
    return {int(re.search(r"_S(\d+)\Z", one["channel_name"])[1]): one for one in standin.channels()
            if re.search(r"_S\d+\Z", one["channel_name"]) and f"LANDING_{table.upper()}" in str(one)}


def channels_in_status(program, table):
    tables = pipeline_status(program.status()).get("tables", ())
    return next((one["channels"] for one in tables if one["table"] == table), 0)


def spread_in_catalog(state, table):
    with contextlib.closing(sqlite3.connect(f"file:{state}?mode=ro", uri=True)) as catalog:
        text = catalog.execute("SELECT spread FROM etl_tables WHERE table_name = ?", (table,)).fetchone()[0]
    return [(step.split(":")[0], int(step.split(":")[1])) for step in text.split()]


@pytest.fixture
def marked(source):
    source.sql("CREATE TABLE marks (place numeric(20) PRIMARY KEY)")
    return source


# --- growth ----------------------------------------------------------------------------------------------------------

def test_a_table_that_is_held_back_gets_more_channels_and_others_do_not(marked, standin, stream):
    make_table(marked, "busy", "calm")
    program = stream(*MERGE_OFTEN, "--channels-per-table", 3)
    wait_live(program)
    fault = standin.add_fault("append.before", delay_ms=SLOW_MS, times=None)
    with written(marked, "busy"):
        for number in range(20):
            marked.sql("INSERT INTO calm VALUES (%s, 0, 'calm')", (-number,))
        program.wait_for_event("spread", 60)
        standin.ask(f"/faults/{fault}", method="DELETE")
        wait_until(lambda: all(one["rows_inserted"] > 0 for one in channels_of(standin, "busy").values()), 60,
                   "rows in each channel")
    settle(marked, standin, program)
    assert len(channels_of(standin, "busy")) == 3 and channels_in_status(program, "busy") == 3
    assert len(channels_of(standin, "calm")) == 1 and channels_in_status(program, "calm") == 1
    assert [count for _, count in spread_in_catalog(program.state, "busy")] == [1, 3]
    assert program.terminate() == 0
    # A restart goes on with them, and with fewer allowed as well; nothing is sent twice.
    program = stream(*MERGE_OFTEN, "--channels-per-table", 1)
    program.wait_for_event("streaming", 60)
    with written(marked, "calm"):
        marked.sql("UPDATE busy SET number = number + 1")
    settle(marked, standin, program)
    assert channels_in_status(program, "busy") == 3
    assert Snowflake(standin.to).stream_rows_twice("busy") == []
    assert program.terminate() == 0


def test_channels_that_cannot_be_opened_leave_the_table_running(marked, standin, stream):
    make_table(marked, "busy")
    program = stream(*MERGE_OFTEN)
    wait_live(program)
    fault = standin.add_fault("append.before", delay_ms=SLOW_MS, times=None)
    standin.add_fault("open", status=403, code="ERR_CHANNEL_LIMIT", message="no more channels", times=None)
    with written(marked, "busy"):
        line = program.wait_for_event("spread_failed", 60)
        assert "goes on over 1 channel(s)" in line["message"] and "no more channels" in line["message"]
        standin.ask(f"/faults/{fault}", method="DELETE")
    settle(marked, standin, program)
    assert channels_in_status(program, "busy") == 1
    assert program.terminate() == 0


# --- a step is saved before its rows are sent ------------------------------------------------------------------------

@contextlib.contextmanager
def locked(state):
    """Nothing can be saved meanwhile."""
    with contextlib.closing(sqlite3.connect(state, isolation_level=None, timeout=60)) as catalog:
        catalog.execute("BEGIN IMMEDIATE")
        yield


def kill_before_the_step_is_saved(source, standin, stream, without):
    make_table(source, "busy")
    program = stream(*MERGE_OFTEN, "--channels-per-table", 2, without=without)
    wait_live(program)
    # What the new channel is given does not arrive, what the old one is given does.
    name = channels_of(standin, "busy")[0]["channel_name"]
    standin.add_fault("append.before", delay_ms=60_000, times=None, channel=name.replace("_S0", "_S1"))
    fault = standin.add_fault("append.before", delay_ms=SLOW_MS, times=None, channel=name)
    with locked(program.state):
        with written(source, "busy") as writer:
            line = program.wait_for_event("spread", 60)
            standin.ask(f"/faults/{fault}", method="DELETE")
            committed = writer.committed
            wait_until(lambda: writer.committed > committed + 10, 60, "transactions of after the step")
        step = re.search(r"from sequence (\w{26}) on", line["message"])[1]
        # With the rule nothing follows, however long one waits.
        with contextlib.suppress(Timeout):
            wait_until(lambda: (channels_of(standin, "busy")[0]["last_committed_offset_token"] or "") >= step,
                       60 if without else 5, "rows of after the step", is_sure=False)
        program.kill()
    sent = channels_of(standin, "busy")[0]["last_committed_offset_token"]
    assert (sent >= step) == bool(without)
    standin.remove_faults()
    program = stream(*MERGE_OFTEN, "--channels-per-table", 2, without=without)
    settle(source, standin, program)
    assert Snowflake(standin.to).stream_rows_twice("busy") == []


def test_a_step_is_saved_before_its_rows_are_sent(marked, standin, stream):
    kill_before_the_step_is_saved(marked, standin, stream, None)


def test_without_that_rule_rows_are_lost(marked, standin, stream):
    with pytest.raises(AssertionError, match="NOT EQUAL"):
        kill_before_the_step_is_saved(marked, standin, stream, "spread_is_saved_first")


# --- kills ------------------------------------------------------------------------------------------------------------

class Killer:
    """Grows a table's spread and kills the program in a phase of that."""

    def __init__(self, source, standin, stream, chance):
        self.source, self.standin, self.stream, self.chance = source, standin, stream, chance

    def start(self):
        program = self.stream(*MERGE_OFTEN, "--channels-per-table", self.chance.choice((2, 3, 4)))
        program.wait_for_event("streaming", 60)
        return program

    def hit(self, number, program):
        def is_hit():
            assert program.is_running(), program.tail()
            return self.standin.fault_hits(number) > 0
        wait_until(is_hit, 60, "a request to be held", pause=0.01)

    def name(self, table, number):
        return channels_of(self.standin, table)[0]["channel_name"].replace("_S0", f"_S{number}")

    def wait_for_commits(self, writer, count):
        before = writer.committed
        wait_until(lambda: writer.committed >= before + count, 60, f"{count} transactions")

    def kill_in(self, phase, table, writer):
        # Before it is started, as the backlog that it finds may be enough to make the table grow.
        channel = self.name(table, 1)
        slow = self.standin.add_fault("append.before", delay_ms=SLOW_MS, times=None, channel=self.name(table, 0))
        step = HELD_IN.get(phase)
        held = step and self.standin.add_fault(step, delay_ms=1000, channel=channel)
        program = self.start()
        if step:
            self.hit(held, program)
        elif phase == "step set":
            with locked(program.state):
                program.wait_for_event("spread", 60)
                self.standin.ask(f"/faults/{slow}", method="DELETE")
                self.wait_for_commits(writer, self.chance.randrange(1, 6))
                program.kill()
        elif phase == "soon after":
            program.wait_for_event("spread", 60)
            wait_until(lambda: spread_in_catalog(program.state, table)[-1][1] > 1, 60, "the step to be saved")
            self.standin.ask(f"/faults/{slow}", method="DELETE")
            self.wait_for_commits(writer, self.chance.randrange(1, 20))
        program.kill()
        self.standin.remove_faults()

    def kill_grown(self, step, table, writer):
        """Every channel is in use; one of them is hit."""
        program = self.start()
        numbers = range(spread_in_catalog(program.state, table)[-1][1])  # others may be left from before a kill
        if step == "any moment":
            self.wait_for_commits(writer, self.chance.randrange(1, 10))
        else:
            number = self.chance.choice(numbers)
            self.hit(self.standin.add_fault(step, delay_ms=1000, channel=self.name(table, number),
                                            skip=self.chance.randrange(2)), program)
        program.kill()
        self.standin.remove_faults()


GROWTH_PHASES = ("new channel opened", "step set", "first append to the new channel sent",
                 "first append to the new channel taken", "first commit of the new channel awaited", "soon after", "step set")
# Phase → the step at which the stand-in holds the new channel's request.
HELD_IN = {"new channel opened": "open", "first append to the new channel sent": "append.before",
           "first append to the new channel taken": "append.after", "first commit of the new channel awaited": "commit"}


@pytest.mark.timeout(900)
def test_kills_around_growth_and_after_it_lose_and_double_nothing(marked, standin, stream):
    chance = random.Random(SEED)
    print(f"CHANNELS_SEED={SEED}")
    tables = [f"busy_{number}" for number in range(len(GROWTH_PHASES))]
    make_table(marked, *tables)
    killer = Killer(marked, standin, stream, chance)
    first = killer.start()
    wait_live(first)
    first.kill()
    for phase, table in zip(GROWTH_PHASES, tables):
        with written(marked, table, chance.randrange(10**6)) as writer:
            killer.kill_in(phase, table, writer)
            writer.pause = CALM_PAUSE
            for step in chance.sample(("append.before", "append.after", "commit", "any moment"), 2):
                killer.kill_grown(step, table, writer)
    program = killer.start()
    settle(marked, standin, program)
    snowflake = Snowflake(standin.to)
    for table in tables:
        assert snowflake.stream_rows_twice(table) == [], table
    grown = [table for table in tables if channels_in_status(program, table) > 1]
    assert len(grown) >= 4, f"only {grown} grew: little was shown"
    assert program.terminate() == 0


def test_rows_that_one_channel_loses_are_read_again(marked, standin, stream):
    """Snowflake has answered 200 and loses them, of one channel: the slot is read again, what the others have is dropped."""
    make_table(marked, "busy")
    program = stream(*MERGE_OFTEN, "--channels-per-table", 4)
    wait_live(program)
    fault = standin.add_fault("append.before", delay_ms=SLOW_MS, times=None)
    with written(marked, "busy") as writer:
        program.wait_for_event("spread", 60)
        standin.ask(f"/faults/{fault}", method="DELETE")
        for number in (1, 0, 3):
            name = channels_of(standin, "busy")[0]["channel_name"].replace("_S0", f"_S{number}")
            mark = program.mark()
            standin.add_fault("commit", lose_rows=True, channel=name)
            program.wait_for_event("rewind", 60, since=mark)
            program.wait_for_event("streaming", 60, since=mark)
        committed = writer.committed
        wait_until(lambda: writer.committed > committed + 10, 60, "transactions")
    settle(marked, standin, program)
    assert Snowflake(standin.to).stream_rows_twice("busy") == []
    assert program.terminate() == 0


# --- refused rows ------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("channels", [1, 4])
def test_refused_rows_park_the_table_with_snowflakes_words(marked, standin, stream, alert_receiver, channels):
    make_table(marked, "busy", "calm")
    snowflake = Snowflake(standin.to)
    receiver = alert_receiver if channels == 1 else None  # who asks for alerts of one pipeline is sent them
    watched = {"ALERT_WAL_URL": receiver.url} if receiver else {}
    program = stream(*MERGE_OFTEN, "--channels-per-table", channels, **watched)
    wait_live(program)
    if channels > 1:
        fault = standin.add_fault("append.before", delay_ms=SLOW_MS, times=None)
        with written(marked, "busy"):
            program.wait_for_event("spread", 60)
            standin.ask(f"/faults/{fault}", method="DELETE")
    settle(marked, standin, program)
    # Somebody changes the landing table by hand.
    landing = snowflake.landing("busy")
    snowflake.execute(f'ALTER TABLE {landing} DROP COLUMN "FILLER"')
    snowflake.execute(f'ALTER TABLE {landing} ADD COLUMN "FILLER" NUMBER(10, 0)')
    marked.sql("INSERT INTO busy SELECT -n, 0, CASE WHEN n = 3000 THEN 'no number' ELSE '7' END FROM generate_series(1, 9000) n")
    line = program.wait_for_event("parked", 60)
    assert "Snowflake refused 1 row(s) of channel ETL_" in line["message"]
    assert re.search(r"between offset tokens \(\w+, 01\w{24}\]: Failed to cast the value of column", line["message"]), line
    status = program.wait_for_status(lambda status: any(one["state"] == "parked" for one in
                                                        pipeline_status(status).get("tables", ())))
    busy = next(one for one in pipeline_status(status)["tables"] if one["table"] == "busy")
    assert busy["reason"] in line["message"] and busy["reason_code"] == "rows_refused"
    if receiver:
        alert = receiver.wait_for("rows_refused", status="danger", table="public.busy")
        assert busy["reason"] in alert["message"] and alert["pipeline_name"] == alert["source_name"] == pipeline_status(status)["pipeline"]
        program.wait_for_status(lambda status: [(one["type"], one["delivery"]) for one in status["alerts"]] == [("rows_refused", "delivered")])
        assert [source["source"] for source in program.status()["sources"]] == [alert["source_name"]]
    marked.sql("INSERT INTO calm VALUES (1, 1, 'runs on')")
    wait_until(lambda: snowflake.value(f'SELECT COUNT(*) FROM {snowflake.qualified("CALM")}') == "1", 60, "the other table")
    assert program.terminate() == 0
    # It stays so: what was refused is not taken for new after a restart.
    program = stream(*MERGE_OFTEN, "--channels-per-table", channels, **watched)
    marked.sql("INSERT INTO calm VALUES (2, 1, 'runs on')")
    wait_until(lambda: snowflake.value(f'SELECT COUNT(*) FROM {snowflake.qualified("CALM")}') == "2", 60, "the other table")
    wait_for_table(program, "busy", "parked")
    assert program.terminate() == 0
    if receiver:
        assert len(receiver.of("rows_refused")) == 1
    else:
        assert program.status()["sources"] == []  # not asked for, not watched


# --- what is committed and not merged ----------------------------------------------------------------------------------

def test_rows_below_the_floor_are_merged_after_a_restart(marked, standin, stream):
    """Committed and confirmed, killed before the merge; afterwards only another table has rows."""
    make_table(marked, "busy", "calm")
    snowflake = Snowflake(standin.to)
    program = stream("--merge-interval-seconds", 3600)
    wait_live(program)
    marked.sql("INSERT INTO busy VALUES (1, 1, 'committed and not merged')")
    place = lsn(marked.value("SELECT pg_current_wal_lsn()"))
    marked.sql("INSERT INTO marks VALUES (-1)")
    wait_until(lambda: lsn(pipeline_status(program.status())["positions"]["confirmed"]) > place, 60, "the row to be confirmed")
    program.kill()
    assert snowflake.value(f'SELECT COUNT(*) FROM {snowflake.qualified("BUSY")}') == "0"
    program = stream(*MERGE_OFTEN)
    program.wait_for_event("streaming", 60)
    settle(marked, standin, program)
    assert program.terminate() == 0


# --- limits ------------------------------------------------------------------------------------------------------------

@contextlib.contextmanager
def quick_sink(is_limited):
    """bench/quick_sink; limited: with no more than 10 appends and 20 MB a second and channel, 429 for what is over it."""
    folder = scratch_folder("etl-limits-")
    parts.build(folder, ("quick_sink",))
    sink = parts.QuickSink(folder)
    sink.ask(f"limit {int(is_limited)}")
    try:
        yield sink
    finally:
        sink.close()
        shutil.rmtree(folder, ignore_errors=True)


def drain(source, start_stream, state, rows, is_limited):
    """The sink's report, and the rate at which a backlog of one transaction arrives, in MB a second of NDJSON from the
    first append on."""
    source.sql("TRUNCATE wide")
    with quick_sink(is_limited) as sink:
        told = drain_into(sink, source, start_stream, state, rows)
    source.drop_slot(f"etl_{source.name}_etl")  # the next time is a first one
    return told, told["raw_bytes"] / (max(channel["at"] for channel in told["channels"]) - told["first_at"]) * 1e3


def drain_into(sink, source, start_stream, state, rows):
    program = start_stream(source.url(sslmode="disable"), sink.to, state=state)
    wait_live(program)
    assert program.terminate() == 0
    sink.ask("save")
    source.sql("TRUNCATE wide; INSERT INTO wide SELECT n, left(repeat(md5(n::text), 60), 1900) FROM generate_series(1, %s) n"
               .replace("%s", str(rows)))
    sink.ask("restore")
    program = start_stream(source.url(sslmode="disable"), sink.to, state=state, LOG_LEVEL="info")
    wait_until(lambda: sink.ask("report")["raw_bytes"] > rows * 1950, 120, "the rows", pause=0.05)
    told = sink.ask("report")
    print(f"{program.resident_bytes(peak=True) / 2**20:.0f} MiB resident at the most")
    assert program.resident_bytes(peak=True) < 96 * 2**20
    assert program.terminate() == 0
    return told


@pytest.mark.timeout(900)
def test_sixty_megabytes_a_second_on_one_table_within_the_limits(source, start_stream, tmp_path):
    source.sql("CREATE TABLE wide (id bigint PRIMARY KEY, filler text NOT NULL); CREATE PUBLICATION etl FOR TABLE wide")
    told, rate = drain(source, start_stream, tmp_path / "limited.db", 200_000, True)
    print(f"{rate:.1f} MB a second through {sum(one['appends'] > 0 for one in told['channels'])} channels, {told['throttled']} appends refused, "
          f"{told['throttled_late']} of them after the first second")
    assert told["throttled_late"] == 0
    for channel in told["channels"]:
        assert channel["raw_bytes"] < told["raw_bytes"] / 2, "one channel had most of it"
    rates, free = [rate], []
    while max(rates) < 60:
        # Is it the machine? Then it is no faster without limits; what else the machine does may differ from one measurement to the next.
        free.append(drain(source, start_stream, tmp_path / f"free-{len(free)}.db", 200_000, False)[1])
        print(f"{free[-1]:.1f} MB a second without limits")
        if max(rates) > 0.8 * min(free):
            break
        assert len(rates) < 4, f"the limits hold it back: {rates} MB a second, and {free} without"
        rates.append(drain(source, start_stream, tmp_path / f"limited-{len(rates)}.db", 200_000, True)[1])
        print(f"{rates[-1]:.1f} MB a second within the limits")
