"""Two processes on one PostgreSQL catalog: whichever of them stands still or dies, every pipeline runs on, in one of them."""
import contextlib
import threading
import time

import load
from program import wait_until
from service import PostgresCatalog
from snowflake_client import Snowflake
from test_service import POLL, make_destination, settle, sources, wait_live  # noqa: F401 (sources is a fixture)

NAMES = ("p1", "p2", "p3")
TAKE_OVER_SECONDS = 90  # about 12 on a quiet machine: 10 without a heartbeat, then the next try


class Watch:
    """Who reads each slot, looked at again and again: connections are named after the claim that they belong to."""

    QUERY = ("SELECT s.slot_name, a.application_name FROM pg_replication_slots s JOIN pg_stat_activity a ON a.pid = s.active_pid "
             "WHERE a.application_name LIKE 'etl-stream %'")

    def __init__(self, postgres):
        self.postgres, self.claims, self.errors = postgres, {}, []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self):
        with self.postgres.connect() as connection:
            while not self._stop.wait(0.05):
                for slot, name in connection.execute(self.QUERY).fetchall():
                    claim = int(name.split()[2], 16)
                    if claim < self.claims.get(slot, 0):
                        self.errors.append(f"{slot} is read by claim {claim} after {self.claims[slot]}")
                    self.claims[slot] = claim

    def stop(self):
        self._stop.set()
        self._thread.join()


def wait_for_holder(asked, holder):
    """Every pipeline runs, and in that process."""
    def ask():
        found = {one["pipeline"]: one for one in (asked.status() or {}).get("pipelines", [])}
        return len(found) == len(NAMES) and all(
            one["is_running"] and one.get("state") == "running" and one.get("process", "").startswith(f"process {holder.pid} on ") for one in found.values())
    began = time.monotonic()
    wait_until(ask, TAKE_OVER_SECONDS, f"process {holder.pid} to run every pipeline", pause=0.2)
    return time.monotonic() - began


def test_one_is_frozen_and_continued_and_the_other_killed(postgres, sources, standin, start_service):  # noqa: F811
    catalog = start_service.catalog = PostgresCatalog(postgres, "two_services")
    first = start_service(*POLL)
    one, two = sources(20), sources(20)
    catalog.add_source("s1", one)
    catalog.add_source("s2", two)
    ends = {name: (source, make_destination(catalog, standin, name.upper()))
            for name, source in zip(NAMES, (one, one, two))}
    for name, (source, _) in ends.items():
        catalog.add_pipeline(name, "s1" if source is one else "s2", name.upper())
    wait_live(first, *NAMES)
    second = start_service(*POLL)
    second.wait_for_event("claimed_elsewhere", 30, count=len(NAMES))
    with contextlib.ExitStack() as stack:
        watch = Watch(postgres)
        stack.callback(watch.stop)
        loads = [load.Load(source.conninfo, seed, rate=20).start() for seed, source in ((41, one), (42, two))]
        for one_load in loads:
            stack.callback(one_load.close)
        wait_for_holder(second, first)

        # In the middle of its work it stands still: no connection breaks, and it holds slots, channels and its claims' session.
        first.freeze()
        stack.callback(first.thaw)
        frozen_seconds = wait_for_holder(second, second)
        moved = {name: second.pipeline(name)["rows_streamed"] for name in NAMES}
        wait_until(lambda: all(second.pipeline(name)["rows_streamed"] > moved[name] for name in NAMES), 60, "rows to flow")

        # It wakes up, finds its claims taken, and changes nothing any more.
        mark = first.mark()
        first.thaw()
        for name in NAMES:
            first.wait_for_event("claimed_elsewhere", 60, since=mark, pipeline=name)
        assert first.is_running()
        wait_for_holder(first, second)

        # It takes them again when the other one dies.
        assert first.command("status").stdout.count(f"run by process {second.pid} on ") == len(NAMES)
        second.kill()
        killed_seconds = wait_for_holder(first, first)
        books = [one_load.stop() for one_load in loads]
        assert all(book.committed > 0 for book in books)
        for source, target in ends.values():
            settle(source, target, 120)
        stack.pop_all()
        watch.stop()
    print(f"taken over {frozen_seconds:.1f} s after a freeze, {killed_seconds:.1f} s after a kill")
    assert watch.errors == []
    assert {slot: claim for slot, claim in watch.claims.items() if slot in {f"etl_{name}" for name in NAMES}} \
        == {f"etl_{name}": 3 for name in NAMES}
    for name, (_, target) in ends.items():
        for table in load.TABLES:
            landing = f'"DEMO_DB"."{name.upper()}_LANDING"."LANDING_{table.upper()}"'
            twice = Snowflake(target).query(
                f'SELECT "_ETL_SEQ", COUNT(*) FROM {landing} WHERE "_ETL_OP" <> \'C\' GROUP BY 1 HAVING COUNT(*) > 1')
            assert twice == [], (name, table, twice)
    assert first.terminate() == 0
