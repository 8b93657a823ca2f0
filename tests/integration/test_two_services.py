"""Two processes on one PostgreSQL catalog: whichever of them stands still or dies, every pipeline runs on, in one of them."""
import contextlib
import json
import os
import threading
import time

import load
from http_side import Client, ports_of
from program import TRAPS_PROGRAM, wait_until
from service import PostgresCatalog
from snowflake_client import Snowflake
from test_service import POLL, make_destination, settle, sources, wait_live  # noqa: F401 (sources is a fixture)

NAMES = ("p1", "p2", "p3")
TAKE_OVER_SECONDS = 90  # about 12 on a quiet machine: 10 without a heartbeat, then the next try
# Longer than any time-out that ends something of a process that stands still: the catalog's for its sessions (10 s), and the source's
# for its replication connections, which is 60 s and set to this here. FREEZE_SECONDS=700 also outlasts Snowflake's tokens.
SENDER_TIMEOUT_SECONDS = 8
FREEZE_SECONDS_MIN = int(os.environ.get("FREEZE_SECONDS", "15"))


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


def test_one_is_frozen_and_continued_and_the_other_killed(postgres, sources, standin, start_service, alert_receiver):  # noqa: F811
    catalog = start_service.catalog = PostgresCatalog(postgres, "two_services")
    # A hundredth of a second counts as a second of the monitor, in which pg_wal is large from the beginning.
    watching = {"binary": TRAPS_PROGRAM, "ETL_TRAP": "monitor_seconds", "ALERT_WAL_URL": alert_receiver.url, "WARNING_WAL": 1,
                "DANGER_WAL": 1000000, "TIME_CHECK_NOTIFICATION": 1, "WAL_POLL_INTERVAL_SECS": 20, "HEALTH_ADDR": "127.0.0.1:0"}
    first = start_service(*POLL, **watching)
    first.wait_for_event("alerts_here", 30)
    one, two = sources(20), sources(20)
    for source in (one, two):
        source.sql(f"alter database {source.name} set wal_sender_timeout = '{SENDER_TIMEOUT_SECONDS}s'")
    catalog.add_source("s1", one)
    catalog.add_source("s2", two)
    ends = {name: (source, make_destination(catalog, standin, name.upper()))
            for name, source in zip(NAMES, (one, one, two))}
    for name, (source, _) in ends.items():
        catalog.add_pipeline(name, "s1" if source is one else "s2", name.upper())
    wait_live(first, *NAMES)
    second = start_service(*POLL, **watching)
    second.wait_for_event("claimed_elsewhere", 30, count=len(NAMES))
    # One of them tells, and the other one shows what it told.
    for name in ("s1", "s2"):
        alert_receiver.wait_for("wal_alert", source_name=name)
    shown = Client(ports_of(second)[1])
    wait_until(lambda: {(one["source_name"], one["delivery"], one.get("process", "").startswith(f"process {first.pid} on "))
                        for one in shown.ask("GET", "/api/v1/status").json["alerts"] if one["type"] == "wal_alert"}
               == {("s1", "delivered", True), ("s2", "delivered", True)}, 60, "the second process to show the first one's alerts")
    assert not second.events("alerts_here")
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
        began = time.monotonic()
        frozen_seconds = wait_for_holder(second, second)
        second.wait_for_event("alerts_here", TAKE_OVER_SECONDS)
        catalog.add_source("nobody", one, pg_port=1)
        alert_receiver.wait_for("source_down", source_name="nobody", status="danger")
        # Only what is kept is not told again.
        wait_until(lambda: ("nobody", "delivered") in {(one.get("source_name"), one["delivery"]) for one in second.status()["alerts"]}, 60,
                   "the alert to be kept")
        moved = {name: second.pipeline(name)["rows_streamed"] for name in NAMES}
        wait_until(lambda: all(second.pipeline(name)["rows_streamed"] > moved[name] for name in NAMES), 60, "rows to flow")

        time.sleep(max(0, began + FREEZE_SECONDS_MIN - time.monotonic()))

        # It wakes up, finds its claims taken, and changes nothing any more.
        mark = first.mark()
        first.thaw()
        for name in NAMES:
            first.wait_for_event("claimed_elsewhere", 60, since=mark, pipeline=name)
        first.wait_for_event("alerts_elsewhere", 60, since=mark)
        assert first.is_running()
        wait_for_holder(first, second)

        # It takes them again when the other one dies.
        assert first.command("status").stdout.count(f"run by process {second.pid} on ") == len(NAMES)
        mark = first.mark()
        second.kill()
        killed_seconds = wait_for_holder(first, first)
        first.wait_for_event("alerts_here", TAKE_OVER_SECONDS, since=mark)
        catalog.execute("DELETE FROM sources WHERE name = 'nobody'")
        alert_receiver.wait_for("source_down", source_name="nobody", status="resolved")
        books = [one_load.stop() for one_load in loads]
        assert all(book.committed > 0 for book in books)
        for source, target in ends.values():
            settle(source, target, 120)
        stack.pop_all()
        watch.stop()
    print(f"taken over {frozen_seconds:.1f} s after a freeze, {killed_seconds:.1f} s after a kill")
    assert watch.errors == []
    # Taken over twice. A machine that stands still for ten seconds costs a claim once more, and a claim is never used again.
    assert all(watch.claims[f"etl_{name}"] >= 3 for name in NAMES), watch.claims
    for name, (_, target) in ends.items():
        for table in load.TABLES:
            landing = f'"DEMO_DB"."{name.upper()}_LANDING"."LANDING_{table.upper()}"'
            twice = Snowflake(target).query(
                f'SELECT "_ETL_SEQ", COUNT(*) FROM {landing} WHERE "_ETL_OP" <> \'C\' GROUP BY 1 HAVING COUNT(*) > 1')
            assert twice == [], (name, table, twice)
    # Whoever told it, and however often another one took over: once.
    assert [len(alert_receiver.of("wal_alert", source_name=name)) for name in ("s1", "s2")] == [1, 1]
    assert [len(alert_receiver.of("source_down", source_name="nobody", status=status)) for status in ("danger", "resolved")] == [1, 1]
    assert first.terminate() == 0


def lock_key(name):
    """The advisory lock of a pipeline's claim, as src/catalog/claims.c makes it: FNV-1a."""
    key = 0xcbf29ce484222325
    for byte in name.encode():
        key = (key ^ byte) * 0x100000001b3 % 2**64
    return key - 2**64 if key >= 2**63 else key


def test_alerts_of_a_pipeline_that_another_process_runs(postgres, source, start_service, alert_receiver):
    """Who tells knows it from the catalog. The other process is played: it holds the claim, and says what it has to say."""
    catalog = start_service.catalog = PostgresCatalog(postgres, "alerts_elsewhere")
    service = start_service(*POLL, ALERT_WAL_URL=alert_receiver.url)
    with catalog.server.connect(catalog.database) as other:
        other.execute("SELECT pg_advisory_lock(%s)", [lock_key("p")])
        other.execute("INSERT INTO etl_claims (pipeline, claim, holder, since_ms, saved_ms) VALUES ('p', 1, 'process 1 on other', 0, 0)")
        catalog.add_source("s", source)
        catalog.transact([("INSERT INTO destinations (name, destination_type, http_url) VALUES ('d', 'http', 'http://127.0.0.1:1/')", [])])
        catalog.add_pipeline("p", "s", "d")
        service.wait_for_event("claimed_elsewhere", 30, pipeline="p")

        def says(milliseconds, state):
            table = {"schema": "public", "table": "orders", "state": state, "reason": "in the way"}
            other.execute("INSERT INTO etl_status (pipeline, json, updated_ms) VALUES ('p', %s, %s) ON CONFLICT (pipeline) "
                          "DO UPDATE SET json = excluded.json, updated_ms = excluded.updated_ms",
                          [json.dumps({"state": "running", "takes_commands": True, "tables": [table]}, separators=(",", ":")), milliseconds])
        says(1, "parked")
        alert_receiver.wait_for("table_parked", pipeline_name="p", table="public.orders", status="warning")
        says(2, "live")
        alert_receiver.wait_for("table_parked", pipeline_name="p", table="public.orders", status="resolved")
        # Deleted, it is shown as long as the other one runs it; then who sees it tells what is left, which is nothing here.
        catalog.execute("DELETE FROM pipelines")
        assert service.pipeline("p")["state"] == "running" and not service.events("removed")
    service.wait_for_event("removed", 30, pipeline="p")
    assert service.pipeline("p") == {} and service.terminate() == 0
