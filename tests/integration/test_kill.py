"""SIGKILL at 30 chosen and random moments, under load: nothing lost, nothing twice.

A phase is hit by trace: the stand-in holds the very request (an append before it is taken, an append that was taken and
not answered, a commit, the merge's statement before and after it ran), the test sees that it does, and kills.
"""
import os
import random

import pytest

import load
from program import wait_until
from snowflake_client import Snowflake
from test_pipeline import MERGE_OFTEN, assert_no_stream_row_twice, make_tables, settle

SEED = int(os.environ.get("KILL_SEED", "20261123"))
COMMITS_BETWEEN = 50
HOLD_MS = 1500
# A copy that was killed is repeated at the next start, so these come first.
COPY_PHASES = ("copy", "copy", "copy committed", "first merge")
# Phase → how often, once every table is live, in a random order.
KILLS = {"append sent": 5, "append taken": 5, "commit awaited": 4, "merge sent": 4, "merge run": 4, "any moment": 5}
# Fewer of each, where the run is about something else than their number (under a sanitizer).
KILLS_PER_PHASE = int(os.environ.get("KILLS_PER_PHASE", "9"))
STEPS = {"append sent": "append.before", "append taken": "append.after", "commit awaited": "commit",
         "merge sent": "sql.submit.before", "merge run": "sql.submit.after"}


class Killer:
    def __init__(self, source, standin, stream, chance):
        self.source, self.standin, self.stream, self.chance = source, standin, stream, chance
        self.hits = []
        self.loads = [load.Load(source.conninfo, SEED + number, rate=60, truncates=True) for number in range(2)]
        self.counted = 0

    def committed(self):
        return sum(one.book.committed for one in self.loads)

    def wait_for_commits(self, count=COMMITS_BETWEEN):
        wait_until(lambda: self.committed() >= self.counted + count, 60, f"{count} commits of the load")
        self.counted = self.committed()

    def held(self, step, program, **options):
        """Waits until the stand-in holds such a request of the program."""
        number = self.standin.add_fault(step, delay_ms=HOLD_MS, **options)

        def is_held():
            assert program.is_running(), program.tail()
            return self.standin.fault_hits(number) > 0
        wait_until(is_held, 60, f"a request at {step}", pause=0.01)

    def copy_channel(self, program):
        def find():
            assert program.is_running(), program.tail()
            return next(iter(self.standin.copy_channels()), None)
        return wait_until(find, 30, "a copy's channel", pause=0.01)

    def kill_in(self, phase):
        self.wait_for_commits()
        program = self.stream(*MERGE_OFTEN)
        if phase == "copy":
            self.held("append.before", program, times=None)
            self.copy_channel(program)
        elif phase == "copy committed":
            self.held("commit", program)
        elif phase == "first merge":
            program.wait_for_event("streaming", 60)  # tables are made: the next statement is the merge's
            self.held("sql.submit.after", program)
        else:
            program.wait_for_event("streaming", 60)
            if phase in STEPS:
                # A few requests later, so that the kills do not all meet the first one.
                self.held(STEPS[phase], program, skip=self.chance.randrange(4) if "merge" not in phase else 0)
            else:
                self.wait_for_commits(self.chance.randrange(1, 60))
        program.kill()
        self.standin.remove_faults()
        self.hits.append(phase)

    def become_live(self):
        program = self.stream(*MERGE_OFTEN)
        program.wait_for_event("live", 60)
        program.kill()
        self.hits.append("live")


@pytest.mark.timeout(900)
def test_thirty_kills_lose_and_double_nothing(source, standin, stream):
    chance = random.Random(SEED)
    print(f"KILL_SEED={SEED}")
    kills = {phase: min(count, KILLS_PER_PHASE) for phase, count in KILLS.items()}
    make_tables(source, 2000)
    killer = Killer(source, standin, stream, chance)
    phases = [phase for phase, count in kills.items() for _ in range(count)]
    chance.shuffle(phases)
    for one in killer.loads:
        one.start()
    for phase in COPY_PHASES if kills == KILLS else dict.fromkeys(COPY_PHASES):
        killer.kill_in(phase)
    killer.become_live()
    for phase in phases:
        killer.kill_in(phase)
    books = [one.stop() for one in killer.loads]
    assert all(killer.hits.count(phase) >= count for phase, count in kills.items())
    assert kills != KILLS or len(killer.hits) >= 30 and killer.hits.count("copy") >= 2
    assert all(book.unknown == 0 for book in books)
    program = stream(*MERGE_OFTEN)
    settle(source, standin, program, seconds=120)
    assert_no_stream_row_twice(standin)
    assert Snowflake(standin.to).value(f'SELECT COUNT(*) FROM {Snowflake(standin.to).qualified("CUSTOMERS")}') != "0"
    assert program.terminate() == 0
