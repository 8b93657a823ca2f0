"""What one statement of a reader sees is the source as it was after some commit, across tables."""
import random
import threading
import time

import pytest

from program import pipeline_status
from snowflake_client import Snowflake

ACCOUNTS = 40
START = 1000
POSITIONS = 200
TOTAL = str(2 * ACCOUNTS * START)
READ = ('SELECT (SELECT SUM("BALANCE") FROM {left}) + (SELECT SUM("BALANCE") FROM {right}),'
        ' (SELECT MAX("POSITION") FROM {state})')


class Transfers(threading.Thread):
    """Moves money from an account in one table to one in the other; the sum never changes."""

    def __init__(self, source, seed):
        super().__init__(daemon=True)
        self.source, self.dice, self.done, self.count, self.error = source, random.Random(seed), threading.Event(), 0, None

    def run(self):
        try:
            with self.source.connect(autocommit=False) as connection:
                while not self.done.is_set():
                    amount, pair = self.dice.randint(1, 100), ("accounts_left", "accounts_right")
                    give, take = pair if self.dice.random() < 0.5 else pair[::-1]
                    connection.execute(f"UPDATE {give} SET balance = balance - %s WHERE id = %s",
                                       (amount, self.dice.randrange(ACCOUNTS)))
                    connection.execute(f"UPDATE {take} SET balance = balance + %s WHERE id = %s",
                                       (amount, self.dice.randrange(ACCOUNTS)))
                    connection.commit()
                    self.count += 1
                    self.done.wait(0.01)
        except Exception as error:  # told by the test's thread
            self.error = error


def read_while_merging(source, standin, stream, positions, seconds, without=None):
    """The totals that were seen at so many distinct merge positions."""
    for table in ("accounts_left", "accounts_right"):
        source.sql(f"CREATE TABLE {table} (id int PRIMARY KEY, balance numeric(18, 2) NOT NULL)")
        source.sql(f"INSERT INTO {table} SELECT g, {START} FROM generate_series(0, {ACCOUNTS - 1}) g")
    source.sql("CREATE PUBLICATION etl FOR TABLE accounts_left, accounts_right")
    standin.ask("/set_commit_delay", {"ms": 30})  # more merges in less time
    program = stream("--merge-interval-seconds", 0, without=without)
    program.wait_for_event("live", 60)
    snowflake = Snowflake(standin.to)
    text = READ.format(left=snowflake.qualified("ACCOUNTS_LEFT"), right=snowflake.qualified("ACCOUNTS_RIGHT"),
                       state=snowflake.qualified(f"_ETL_STATE_{source.name}_etl", snowflake.landing_schema))
    transfers, seen, totals = Transfers(source, seed=7), set(), set()
    transfers.start()
    deadline = time.monotonic() + seconds
    try:
        while len(seen) < positions and time.monotonic() < deadline:
            assert program.is_running() and transfers.error is None, (program.tail(), transfers.error)
            (total, position), = snowflake.query(text)
            seen.add(position)
            totals.add(total.split(".")[0])
            if totals != {TOTAL}:
                break
            time.sleep(0.02)  # between two looks, so that the stand-in has time for merges as well
    finally:
        transfers.done.set()
        transfers.join(60)
    assert pipeline_status(program.status())["merges"] > 0
    return seen, totals, transfers.count


@pytest.mark.unsanitized
@pytest.mark.timeout(900)
def test_every_read_sees_one_point_in_time(source, standin, stream):
    seen, totals, count = read_while_merging(source, standin, stream, POSITIONS, 700)
    print(f"{count} transfers, {len(seen)} merge positions seen")
    assert totals == {TOTAL}
    assert len(seen) >= POSITIONS


@pytest.mark.unsanitized
@pytest.mark.timeout(600)
def test_a_build_that_merges_table_by_table_shows_mixtures(source, standin, stream):
    _, totals, _ = read_while_merging(source, standin, stream, POSITIONS, 300, without="merge_is_one_transaction")
    assert totals != {TOTAL}, "no reader saw a mixture"
