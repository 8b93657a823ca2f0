"""What must hold of a scenario: source and target are equal when everything has arrived, and every reader in between sees
the source as it was after some commit."""
import collections
import http.client
import random
import threading
import time

import compare
from program import wait_until
from snowflake_client import OBJECT_IS_MISSING, SnowflakeError
from soak_steps import ACCOUNTS, BALANCE, MARK, SHARE

INTERRUPTED = "000603"  # the stand-in was restarted under the statement
COLUMN_IS_MISSING = "000904"
TRANSIENT = (429, 500, 502, 503, 504)  # what a fault of the stand-in may answer to us as well
# While one of these tables is copied anew by itself, or waits for another try, it is not live, and readers see its old content.
NOT_LIVE = ("resync", "table_retry", "new_epoch", "table_added", "table_left", "joined")


class Failed(Exception):
    """kind: a word by which two failures are the same one."""

    def __init__(self, kind, text):
        self.kind = kind
        super().__init__(f"{kind}: {text}")


def ask(snowflake, statement):
    """The rows, or None if there is nothing to be had now: a table or a column not yet made, or a fault that hits us instead of the program."""
    try:
        return snowflake.query(statement, seconds=60)
    except SnowflakeError as error:
        if error.code in (OBJECT_IS_MISSING, COLUMN_IS_MISSING, INTERRUPTED) or error.status in TRANSIENT:
            return None
        raise
    except (OSError, http.client.HTTPException):  # killed before its answer, or in the middle of it
        return None


class Reader(threading.Thread):
    """Looks at the invariants' tables in one statement, at random times, until stop(). Their columns change meanwhile, which is no excuse
    as long as that is followed in place: a column whose sum is constant is there with its default in all rows, or not at all."""

    def __init__(self, snowflake, seed, journal, soft_deletes, is_excused):
        """journal: the tables that hold its rows, one or its partitions."""
        super().__init__(daemon=True, name="reader")
        self.snowflake, self.dice, self.is_excused = snowflake, random.Random(seed), is_excused
        self.reads, self.judged, self.states, self.problem, self._stopping = 0, collections.Counter(), set(), None, threading.Event()
        where = ' WHERE "_ETL_DELETED_AT" IS NULL' if soft_deletes else ""
        tally, left, right = (snowflake.qualified(name.upper()) for name in ("tally", "accounts_left", "accounts_right"))
        rows = " + ".join(f"(SELECT COUNT(*) FROM {snowflake.qualified(name.upper())}{where})" for name in journal)
        self.statement = (f'SELECT (SELECT COALESCE(SUM("N"), 0) FROM {tally}{where}), {rows},'
                          f' (SELECT COALESCE(SUM("BALANCE"), 0) FROM {left}{where}), (SELECT COALESCE(SUM("BALANCE"), 0) FROM {right}{where}),'
                          f' (SELECT COUNT(*) FROM {tally}{where})')
        self.shares = (f'SELECT (SELECT COALESCE(SUM("SHARE"), 0) FROM {left}{where}), (SELECT COALESCE(SUM("SHARE"), 0) FROM {right}{where}),'
                       f' (SELECT COUNT(*) FROM {left}{where})')

    def run(self):
        try:
            while not self._stopping.wait(self.dice.uniform(0.02, 0.3)):
                look = self._look if self.dice.random() < 0.7 else self._look_at_shares
                look(self.is_excused())
        except Exception as error:  # told by check(), in the caller's thread
            self.problem = self.problem or f"the reader fails: {error!r}"

    def _look(self, was_excused):
        rows = ask(self.snowflake, self.statement)
        if rows is None:
            return
        (counted, there, left, right, tallies), = rows
        self.reads += 1
        self.states.add((counted, left))
        self._judge("balances", was_excused)
        total = "0" if tallies == "0" else str(2 * ACCOUNTS * BALANCE)
        if (counted != there or str(int(left) + int(right)) != total) and not (was_excused or self.is_excused()):
            self.problem = self.problem or (f"{counted} counted and {there} rows in the journal, balances {left} + {right} instead of {total} "
                                            f"(tally has {tallies} rows), at {time.time():.3f}")

    def _look_at_shares(self, was_excused):
        rows = ask(self.snowflake, self.shares)
        if rows is None:
            return
        (left, right, accounts), = rows
        self.reads += 1
        self.states.add(("shares", left))
        self._judge("shares", was_excused)
        total = 2 * ACCOUNTS * SHARE if accounts != "0" else 0  # nothing is copied yet
        if int(left) + int(right) != total and not (was_excused or self.is_excused()):
            self.problem = self.problem or f"shares {left} + {right} instead of {total}, at {time.time():.3f}"

    def _judge(self, what, was_excused):
        if not (was_excused or self.is_excused()):
            self.judged[what] += 1

    def check(self):
        if self.problem:
            raise Failed("mixture", self.problem)

    def stop(self):
        self._stopping.set()
        self.join(90)


def settle(connect, snowflake, number, watch, seconds):
    """Everything that was committed is in the targets. watch() is called in between and may raise."""
    with connect() as connection:
        connection.execute(f"insert into {MARK} values ({number})")

    def is_there():
        watch()
        return (ask(snowflake, f'SELECT COUNT(*) FROM {snowflake.qualified(MARK.upper())} WHERE "ID" = {number}') or [["0"]])[0][0] == "1"
    try:
        wait_until(is_there, seconds, "the mark in the target", pause=0.1)
    except AssertionError as error:
        raise Failed("stuck", error) from None


def assert_equal(source_url, publication, target_url, watch, patience, may_wait):
    """may_wait: tables that may be unequal for `patience` seconds, since they may be copied anew; None: any."""
    deadline = time.monotonic() + patience
    while unequal := [report for report in compare.compare(source_url, publication, target_url) if not report.is_equal]:
        watch()
        is_late = may_wait is not None and any(report.name.partition(".")[2] not in may_wait for report in unequal)
        if is_late or time.monotonic() > deadline:
            raise Failed("unequal", "\n".join(map(str, unequal)))
        time.sleep(0.5)  # between two comparisons, until the deadline


def assert_nothing_twice(snowflake, landing_tables):
    for table in landing_tables:
        twice = snowflake.query(f'SELECT "_ETL_SEQ", COUNT(*) FROM {snowflake.qualified(table, snowflake.landing_schema)} '
                                'WHERE "_ETL_OP" <> \'C\' GROUP BY "_ETL_SEQ" HAVING COUNT(*) > 1')
        if twice:
            raise Failed("twice", f"{table}: {twice[:3]}")
