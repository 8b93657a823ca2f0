"""Rules of the pipeline that keep rows from being lost or doubled: each test passes with the rule and fails without it.

The rules of the connection to PostgreSQL (time-outs, guards of the copy, status unasked, encodings) are in
test_pg_room.py, those of the merge in test_merge_cases.py, those of a channel in test_sf_channel.c.
"""
import contextlib
import json
import os
import re
import shutil
import signal

import pytest

from pgserver import PgServer
from program import pipeline_status, wait_until
from snowflake_client import Snowflake

MERGE_OFTEN = ("--merge-interval-seconds", 1)


def lsn(text):
    high, low = text.split("/")
    return int(high, 16) << 32 | int(low, 16)


def sequences(snowflake, table, op):
    """Commit LSNs of the landing rows of that kind, in order."""
    rows = snowflake.query(f'SELECT "_ETL_SEQ" FROM {snowflake.landing(table)} WHERE "_ETL_OP" = \'{op}\' ORDER BY 1')
    return [int(row[0][2:18], 16) for row in rows]


def wait_live(program):
    program.wait_for_event("live", 60)


def confirmed(source):
    return lsn(source.value("SELECT confirmed_flush_lsn FROM pg_replication_slots WHERE slot_name LIKE 'etl_source%'"))


def target_values(snowflake, table, column):
    return [row[0] for row in snowflake.query(f'SELECT "{column}" FROM {snowflake.qualified(table)} ORDER BY 1')]


def wait_for_values(program, snowflake, table, column, expected, seconds=30):
    def is_there():
        assert program.is_running(), program.tail()
        return target_values(snowflake, table, column) == expected
    wait_until(is_there, seconds, f"{table} to hold {expected}", pause=0.2)


def merged_position(source, snowflake):
    """Everything that committed below it is merged, and anything of it that is not in the target is lost."""
    state = snowflake.qualified(f"_ETL_STATE_{source.name}_etl", snowflake.landing_schema)
    return int(snowflake.value(f'SELECT "POSITION" FROM {state}')[2:], 16)


def assert_values_after_witness(source, program, snowflake, table, column, expected, witness="witness"):
    """Commits one more row, waits until the position is beyond all before it, and looks."""
    place = lsn(source.value("SELECT pg_current_wal_insert_lsn()"))
    source.sql(f"INSERT INTO {table} VALUES (%s)", (witness,))

    def is_merged():
        assert program.is_running(), program.tail()
        return merged_position(source, snowflake) >= place
    wait_until(is_merged, 120, "the merge of what was committed", pause=0.2)
    found = [value for value in target_values(snowflake, table.upper(), column) if "witness" not in value]
    assert found == expected, "rows are lost"


# --- every position is exclusive -----------------------------------------------------------------------------------

def commit_right_at_the_confirmed_position(source, stream, snowflake, without):
    """A transaction writes, another one's commit flushes that; the server's keepalive then names the very LSN at which the
    first will commit. We confirm it, are killed, and the commit comes."""
    program = stream(*MERGE_OFTEN, without=without)
    wait_live(program)
    expected = []
    for number in range(1, 6):
        with source.connect(autocommit=False) as writer, without_background_wal(source):
            writer.execute("INSERT INTO numbers VALUES (%s)", (str(number),))
            source.sql("INSERT INTO unpublished VALUES (1)")
            place = lsn(source.value("SELECT pg_current_wal_insert_lsn()"))
            wait_until(lambda: confirmed(source) >= place, 30, "the position to be confirmed", pause=0.1)
            program.kill()
            writer.commit()
        program = stream(*MERGE_OFTEN, without=without)
        expected.append(str(number))
        assert_values_after_witness(source, program, snowflake, "numbers", "ID", expected, f"witness {number}")
        if place in sequences(snowflake, "NUMBERS", "I"):
            return
    raise AssertionError("no commit fell right on a confirmed position: nothing was shown")


def test_positions_are_exclusive(source, standin, stream):
    source.sql("CREATE TABLE numbers (id text PRIMARY KEY); CREATE TABLE unpublished (i int);"
               "CREATE PUBLICATION etl FOR TABLE numbers")
    commit_right_at_the_confirmed_position(source, stream, Snowflake(standin.to), None)


def test_without_exclusive_positions_a_commit_is_lost(source, standin, stream):
    source.sql("CREATE TABLE numbers (id text PRIMARY KEY); CREATE TABLE unpublished (i int);"
               "CREATE PUBLICATION etl FOR TABLE numbers")
    with pytest.raises(AssertionError, match="rows are lost"):
        commit_right_at_the_confirmed_position(source, stream, Snowflake(standin.to), "positions_are_exclusive")


# --- a commit can lie right at the copy's LSN ------------------------------------------------------------------------

@contextlib.contextmanager
def without_background_wal(source):
    """Every 15 seconds the background writer logs what is running, now and then autovacuum what it does, every five minutes comes a
    checkpoint; nothing may come between a position and the commit that is to fall right on it."""
    source.sql("CHECKPOINT")
    source.sql("ALTER SYSTEM SET autovacuum = off")
    source.server.reload()
    process = source.value("SELECT pid FROM pg_stat_activity WHERE backend_type = 'background writer'")
    wait_until(lambda: source.value("SHOW autovacuum") == "off" and not source.value(
        "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'autovacuum worker'"), 60, "autovacuum to rest")
    os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(process, signal.SIGCONT)
        source.sql("ALTER SYSTEM RESET autovacuum")
        source.server.reload()


def transaction_of(connection):
    return connection.execute("SELECT pg_current_xact_id()::text").fetchone()[0]


def is_waited_for(source, transaction):
    return source.value("SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'transactionid' AND transactionid::text = %s", (transaction,)) == 1


# The stream's slot waits for open transactions in two rounds, and so does the copy's.
ROUNDS = 4


def start_with_a_commit_right_at_the_copys_lsn(source, stream, snowflake, without):
    """In each round one is begun that the next waits for; that of the last commits right at L."""
    with contextlib.ExitStack() as stack:
        writers = [stack.enter_context(source.connect(autocommit=False)) for _ in range(ROUNDS + 1)]
        stack.enter_context(without_background_wal(source))
        writers[0].execute("INSERT INTO words VALUES ('0')")
        program = stream(*MERGE_OFTEN, without=without)
        for number in range(ROUNDS):
            transaction = transaction_of(writers[number])
            wait_until(lambda awaited=transaction: is_waited_for(source, awaited), 30, f"the slot to wait for transaction {number}")
            writers[number + 1].execute("INSERT INTO words VALUES (%s)", (str(number + 1),))
            writers[number].commit()
        program.wait_for_event("snapshot", 30)
        writers[ROUNDS].commit()
    assert_values_after_witness(source, program, snowflake, "words", "WORD", [str(number) for number in range(ROUNDS + 1)])
    copied, streamed = sequences(snowflake, "WORDS", "C"), sequences(snowflake, "WORDS", "I")
    assert len(copied) == ROUNDS and streamed
    assert streamed[0] == copied[0], "the commit did not fall right on the copy's LSN: nothing was shown"


def test_copy_lsn_is_exclusive(source, standin, stream):
    source.sql("CREATE TABLE words (word text PRIMARY KEY); CREATE PUBLICATION etl FOR TABLE words")
    start_with_a_commit_right_at_the_copys_lsn(source, stream, Snowflake(standin.to), None)


def test_without_the_exclusive_copy_lsn_a_commit_is_lost(source, standin, stream):
    source.sql("CREATE TABLE words (word text PRIMARY KEY); CREATE PUBLICATION etl FOR TABLE words")
    with pytest.raises(AssertionError, match="rows are lost"):
        start_with_a_commit_right_at_the_copys_lsn(source, stream, Snowflake(standin.to), "copy_lsn_is_exclusive")


# --- only what is committed is confirmed -----------------------------------------------------------------------------

def lose_what_was_accepted(source, standin, stream, snowflake, without):
    """Snowflake has answered 200, has not committed, and loses the rows while we are dead."""
    program = stream(*MERGE_OFTEN, without=without)
    wait_live(program)
    standin.ask("/stall", {})
    source.sql("INSERT INTO words VALUES ('accepted')")
    channel = next(one for one in standin.channels() if re.search(r"_S\d+\Z", one["channel_name"]))

    def is_accepted():
        now = next(one for one in standin.channels() if one["channel_name"] == channel["channel_name"])
        return now["buffered_appends"] > 0
    wait_until(is_accepted, 30, "the row to be accepted", pause=0.05)
    place = lsn(source.value("SELECT pg_current_wal_lsn()"))
    if without:
        wait_until(lambda: confirmed(source) >= place, 30, "the row to be confirmed")
    program.kill()
    standin.ask("/invalidate_channel", {"channel": channel["channel_name"], "lose_rows": True})
    standin.ask("/release", {})
    program = stream(*MERGE_OFTEN, without=without)
    assert_values_after_witness(source, program, snowflake, "words", "WORD", ["accepted"])


def test_only_committed_rows_are_confirmed(source, standin, stream):
    source.sql("CREATE TABLE words (word text PRIMARY KEY); CREATE PUBLICATION etl FOR TABLE words")
    lose_what_was_accepted(source, standin, stream, Snowflake(standin.to), None)


def test_without_that_rule_accepted_rows_are_lost(source, standin, stream):
    source.sql("CREATE TABLE words (word text PRIMARY KEY); CREATE PUBLICATION etl FOR TABLE words")
    with pytest.raises(AssertionError, match="rows are lost"):
        lose_what_was_accepted(source, standin, stream, Snowflake(standin.to), "only_committed_rows_are_confirmed")


# --- the slot goes back after a crash of the server --------------------------------------------------------------------

def crash_after_confirming(source, standin, start_stream, without):
    snowflake = Snowflake(standin.to)
    source.server.configure(log_replication_commands="on")
    source.server.reload()
    words = []
    for life in range(5):  # the server saves the slot every 15 seconds or so: on a busy machine that may be just now
        program = start_stream(source.url(), standin.to, *MERGE_OFTEN, without=without)
        program.wait_for_event("streaming" if life else "live", 60)
        for _ in range(3):
            words.append(f"word {len(words):02}")
            source.sql("INSERT INTO words VALUES (%s)", (words[-1],))
            place = lsn(source.value("SELECT pg_current_wal_lsn()"))
            wait_until(lambda: confirmed(source) >= place, 30, "the word to be confirmed", pause=0.1)
        floor = confirmed(source)
        assert program.terminate() == 0
        source.server.crash()
        source.server.start()
        if confirmed(source) < floor:
            break
    assert confirmed(source) < floor, "the slot did not go back: nothing was shown"
    program = start_stream(source.url(), standin.to, *MERGE_OFTEN, without=without)
    source.sql("INSERT INTO words VALUES ('after')")
    wait_for_values(program, snowflake, "WORDS", "WORD", ["after", *words])
    starts = re.findall(r"START_REPLICATION SLOT \S+ LOGICAL (\S+) ", source.server.log_tail(100_000))
    assert lsn(starts[-1]) >= floor, f"the server was asked to start at {starts[-1]}"
    assert len(sequences(snowflake, "WORDS", "I")) == len(words) + 1
    assert program.terminate() == 0


def test_the_slot_starts_at_our_floor_after_a_crash(own_postgres, standin, start_stream):
    own_postgres.sql("CREATE TABLE words (word text PRIMARY KEY)")
    own_postgres.sql("CREATE PUBLICATION etl FOR TABLE words")
    crash_after_confirming(own_postgres, standin, start_stream, None)


def test_without_our_floor_the_server_sends_confirmed_rows_again(own_postgres, standin, start_stream):
    own_postgres.sql("CREATE TABLE words (word text PRIMARY KEY)")
    own_postgres.sql("CREATE PUBLICATION etl FOR TABLE words")
    with pytest.raises(AssertionError, match="asked to start at"):
        crash_after_confirming(own_postgres, standin, start_stream, "slot_starts_at_our_floor")


# --- the ordinal counts every change ---------------------------------------------------------------------------------

def read_a_transaction_twice_with_other_tables(source, standin, stream, without):
    """Half of a transaction is committed in Snowflake; when it is read again, one of its tables is not ours any more."""
    snowflake = Snowflake(standin.to)
    program = stream(*MERGE_OFTEN, "--batch-max-size", 10, without=without)
    wait_live(program)
    rows = 3000
    channel = next(one["channel_name"] for one in standin.channels() if "KEPT" in json.dumps(one))
    fault = standin.add_fault("append.before", delay_ms=60_000, skip=1, times=None, channel=channel)
    with source.connect(autocommit=False) as writer:
        with writer.cursor() as cursor:
            for number in range(rows):
                cursor.execute("INSERT INTO gone VALUES (%s)", (number,))
                cursor.execute("INSERT INTO kept VALUES (%s, repeat('x', 300))", (number,))
        writer.commit()
    wait_until(lambda: standin.fault_hits(fault) > 0, 60, "an append to be held")
    held = snowflake.value(f'SELECT COUNT(*) FROM {snowflake.landing("kept")}')
    wait_until(lambda: int(snowflake.value(f'SELECT COUNT(*) FROM {snowflake.landing("kept")}')) > 0, 30, "rows to be committed")
    program.kill()
    standin.remove_faults()
    assert int(held) < rows, "the whole transaction was committed: nothing was shown"
    source.sql("DROP TABLE gone")  # one that is there still would have its last merge
    program = stream(*MERGE_OFTEN, without=without)
    source.sql("INSERT INTO kept VALUES (%s, 'witness')", (rows,))
    wait_until(lambda: snowflake.value(f'SELECT COUNT(*) FROM {snowflake.qualified("KEPT")} WHERE ID = {rows}') == "1",
               120, "the last row of the table")
    merged = int(snowflake.value(f'SELECT COUNT(*) FROM {snowflake.qualified("KEPT")}'))
    assert merged == rows + 1, "rows are lost"
    assert snowflake.stream_rows_twice("kept") == []


def test_the_ordinal_counts_every_change(source, standin, stream):
    source.sql("CREATE TABLE gone (id int PRIMARY KEY); CREATE TABLE kept (id int PRIMARY KEY, filler text);"
               "CREATE PUBLICATION etl FOR TABLE gone, kept")
    read_a_transaction_twice_with_other_tables(source, standin, stream, None)


def test_without_counting_every_change_rows_are_lost(source, standin, stream):
    source.sql("CREATE TABLE gone (id int PRIMARY KEY); CREATE TABLE kept (id int PRIMARY KEY, filler text);"
               "CREATE PUBLICATION etl FOR TABLE gone, kept")
    with pytest.raises(AssertionError, match="rows are lost"):
        read_a_transaction_twice_with_other_tables(source, standin, stream, "ordinal_counts_every_change")


# --- epochs ----------------------------------------------------------------------------------------------------------

def test_another_cluster_begins_a_new_epoch(own_postgres, standin, start_stream):
    """The same URL leads to another cluster, whose LSNs are lower: everything is copied anew, nothing is taken for known."""
    snowflake = Snowflake(standin.to)
    own_postgres.sql("CREATE TABLE words (word text PRIMARY KEY)")
    own_postgres.sql("CREATE TABLE later (word text PRIMARY KEY)")
    own_postgres.sql("CREATE PUBLICATION etl FOR TABLE words, later")
    own_postgres.sql("CREATE TABLE filler AS SELECT repeat('x', 1000) FROM generate_series(1, 30000)")  # its LSNs run ahead
    own_postgres.sql("INSERT INTO words VALUES ('old')")
    program = start_stream(own_postgres.url(), standin.to, *MERGE_OFTEN, "--poll-interval-seconds", 1)
    wait_live(program)
    own_postgres.sql("ALTER PUBLICATION etl DROP TABLE later")
    program.wait_for_event("table_left", 60)
    assert program.terminate() == 0
    with PgServer(encoding="UTF-8") as other:  # made by initdb itself, not from the template: another system identifier
        other.create_database("source")
        other.sql("CREATE TABLE words (word text PRIMARY KEY)", dbname="source")
        other.sql("CREATE TABLE later (word text PRIMARY KEY)", dbname="source")
        other.sql("CREATE PUBLICATION etl FOR TABLE words", dbname="source")
        other.sql("INSERT INTO words VALUES ('new')", dbname="source")
        program = start_stream(other.url("source", publication="etl"), standin.to, *MERGE_OFTEN, "--poll-interval-seconds", 1)
        program.wait_for_event("new_epoch", 30)
        wait_live(program)
        other.sql("INSERT INTO words VALUES ('newer')", dbname="source")
        wait_for_values(program, snowflake, "WORDS", "WORD", ["new", "newer"])
        # What comes back only now was copied at a higher LSN of the other cluster; that is of another epoch, and no bar.
        assert own_postgres.value("SELECT 'later'::regclass::oid") == other.value("SELECT 'later'::regclass::oid", dbname="source")
        other.sql("INSERT INTO later VALUES ('back')", dbname="source")
        other.sql("ALTER PUBLICATION etl ADD TABLE later", dbname="source")
        wait_for_values(program, snowflake, "LATER", "WORD", ["back"], 60)
        assert pipeline_status(program.status())["epoch"] == 2
        assert program.terminate() == 0


@pytest.mark.parametrize("last_save", ["kept", "lost"])
def test_a_promoted_copy_that_lagged_begins_a_new_epoch(own_postgres, standin, start_stream, last_save):
    """A standby that lagged is promoted: its new commits lie below what was read from the old primary, whether the catalog knows of that yet
    or only the channels do."""
    snowflake, server = Snowflake(standin.to), own_postgres.server
    own_postgres.sql("CREATE TABLE words (word text PRIMARY KEY); CREATE PUBLICATION etl FOR TABLE words")
    own_postgres.sql("INSERT INTO words VALUES ('both')")
    program = start_stream(own_postgres.url(), standin.to, *MERGE_OFTEN)
    wait_live(program)
    assert program.terminate() == 0
    server.stop("fast")
    lagging = server.folder / "lagging"
    server.program("cp", "-a", str(server.data), str(lagging), folder="/bin")
    server.start()
    state = start_stream.state.read_bytes()
    own_postgres.sql("INSERT INTO words SELECT 'lost ' || g FROM generate_series(1, 2000) g")
    program = start_stream(own_postgres.url(), standin.to, "--merge-interval-seconds", 3600)
    wait_until(lambda: snowflake.value(f'SELECT COUNT(*) FROM {snowflake.landing("WORDS")}') == "2001", 60, "the words")
    assert program.terminate() == 0
    if last_save == "lost":
        start_stream.state.write_bytes(state)
    server.stop("fast")
    shutil.rmtree(server.data)
    server.program("mv", str(lagging), str(server.data), folder="/bin")
    (server.data / "standby.signal").touch()
    server.start()
    server.sql("SELECT pg_promote()")
    wait_until(lambda: not server.value("SELECT pg_is_in_recovery()"), 30, "the promotion")
    own_postgres.sql("INSERT INTO words VALUES ('after')")
    program = start_stream(own_postgres.url(), standin.to, *MERGE_OFTEN)
    program.wait_for_event("new_epoch", 30)
    wait_for_values(program, snowflake, "WORDS", "WORD", ["after", "both"], 60)
    assert program.terminate() == 0
