"""The WAL monitor and its alerts, with real servers, sockets that refuse or hang, and a receiver that misbehaves.

The program of the traps build counts a hundredth of a second as a second there (ETL_TRAP=monitor_seconds); time-outs are real.
"""
import base64
import contextlib
import datetime
import json
import os
import pathlib
import re
import threading

import pytest

from http_side import Client, ports_of
from pgserver import Port
from program import TRAPS_PROGRAM, run_command, wait_until, wait_until_holds
from snowflake_client import Snowflake
from test_hanging_sources import Silence
from test_service import POLL, make_destination, sources

__all__ = ["sources"]
RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


@pytest.fixture
def receiver(alert_receiver):
    return alert_receiver


@pytest.fixture
def start_watching(start_service):
    """start_watching(*options, **environment) → Service in which a second of the monitor takes a hundredth of one."""
    def start(*options, **environment):
        return start_service(*POLL, *options, binary=TRAPS_PROGRAM, ETL_TRAP="monitor_seconds",
                             **{"WAL_POLL_INTERVAL_SECS": 20, "TIME_CHECK_NOTIFICATION": 1, **environment})
    start.catalog = start_service.catalog
    return start


def metrics(client):
    """Series → value."""
    lines = client.ask("GET", "/metrics").text.splitlines()
    return {series: float(value) for series, value in (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))}


def seen(client):
    """What the API and the metrics tell."""
    return client.ask("GET", "/api/v1/status").json, metrics(client)


def write_wal(source, megabytes):
    source.sql("SELECT pg_logical_emit_message(false, 'test', repeat('x', 1048576)) "
               f"FROM generate_series(1, {megabytes})")


def wait_for_alerts(service, *expected):
    """What was delivered is kept a moment after the receiver has it; before that, the next life would tell it again."""
    service.wait_for_status(lambda status: [(one["type"], one["delivery"]) for one in status["alerts"]] == list(expected), 60,
                            f"the alerts {expected} to be kept")


def test_wal_alert_is_the_contracts_and_its_privilege_is_asked_for_once(own_postgres, start_watching, receiver):
    receiver.faults = [500, "cut"]
    own_postgres.sql("CREATE ROLE watcher LOGIN")
    service = start_watching(WARNING_WAL=1, DANGER_WAL=100000, ALERT_WAL_URL=receiver.url, HEALTH_ADDR="127.0.0.1:0")
    client = Client(ports_of(service)[1])
    start_watching.catalog.add_source("shop", own_postgres, user="watcher")
    hint = service.wait_for_event("wal_size_unknown")["message"]
    grant = re.search(r"mend it with: (GRANT .*)$", hint)[1]
    assert not receiver.tries
    own_postgres.sql(grant)
    alert = receiver.wait_for("wal_alert")
    size = float(own_postgres.value("SELECT sum(size) FROM pg_ls_waldir()")) / 1048576
    assert list(alert) == ["type", "source_name", "status", "wal_size_mb", "threshold_mb", "duration_mins", "timestamp", "slots"]
    assert {**alert, "duration_mins": 1, "timestamp": ""} == {
        "type": "wal_alert", "source_name": "shop", "status": "warning", "wal_size_mb": size, "threshold_mb": 1,
        "duration_mins": 1, "timestamp": "", "slots": []}
    assert isinstance(alert["threshold_mb"], int) and isinstance(alert["wal_size_mb"], float)
    assert isinstance(alert["duration_mins"], int) and alert["duration_mins"] >= 1
    assert RFC3339.fullmatch(alert["timestamp"])
    # The same message three times, of which the third was taken; a password in the URL goes as a header, and nowhere else.
    assert receiver.tries[:3] == [receiver.taken[0][0]] * 3
    assert receiver.headers[0]["Content-Type"] == "application/json"
    assert base64.b64decode(receiver.headers[0]["Authorization"].split()[1]) == b"ops:secret"

    def is_shown(found):
        shown, counted = found
        (source,), [told] = shown["sources"], [one for one in shown["alerts"] if one["type"] == "wal_alert"]
        assert {"source": "shop", "up": True, "level": "warning", "is_standby": False, "wal_size_mb": size, "slots": []}.items() <= source.items()
        assert {"status": "warning", "source_name": "shop", "threshold_mb": 1, "delivery": "delivered"}.items() <= told.items()
        assert {'etl_pg_source_status{source_name="shop"}': 1, 'etl_pg_source_wal_size_mb{source_name="shop"}': size,
                'etl_connection_pool_size{pool="wal_monitor"}': 1, 'etl_alerts_active{type="wal_alert"}': 1,
                'etl_alerts_sent_total{type="wal_alert"}': 1}.items() <= counted.items()
    wait_until_holds(lambda: seen(client), is_shown)
    mark = service.mark()
    own_postgres.server.stop()
    service.wait_for_event("source_down", since=mark)
    receiver.wait_for("source_down", status="danger", source_name="shop")

    def is_counted(after):
        assert after['etl_pg_source_status{source_name="shop"}'] == 0 and after['etl_connection_pool_cleanup_total{pool="wal_monitor"}'] >= 1
    wait_until_holds(lambda: metrics(client), is_counted)
    own_postgres.server.start()
    service.wait_for_event("source_up", since=mark)
    receiver.wait_for("source_down", status="resolved", source_name="shop")
    assert service.terminate() == 0
    assert len(receiver.of("wal_alert")) == 1 and len(service.events("wal_size_unknown")) == 1
    assert "secret" not in service.tail(10000)


def test_slots_of_a_paused_pipeline(own_postgres, start_watching, receiver):
    catalog = start_watching.catalog
    service = start_watching("--slot-warning-mb", 50, "--slot-danger-mb", 5000, "--slot-inactive-minutes", 1,
                             ALERT_WAL_URL=receiver.url, HEALTH_ADDR="127.0.0.1:0")
    client = Client(ports_of(service)[1])
    own_postgres.sql("CREATE PUBLICATION etl FOR ALL TABLES")
    own_postgres.sql("SELECT pg_create_logical_replication_slot('etl_p', 'pgoutput')")
    write_wal(own_postgres, 70)
    catalog.add_source("shop", own_postgres)
    catalog.transact([("INSERT INTO destinations (name, destination_type, http_url) VALUES ('d', 'http', 'http://127.0.0.1:1/')", [])])
    catalog.add_pipeline("p", "shop", "d", status="PAUSE")
    held = receiver.wait_for("slot_held_back", status="warning", pipeline_name="p", source_name="shop")
    paused = receiver.wait_for("pipeline_paused", status="warning", pipeline_name="p")
    assert {"slot": "etl_p", "active": False, "wal_status": "reserved", "invalidation_reason": None}.items() <= held.items()
    assert held["held_back_bytes"] >= 70 << 20 and held["safe_wal_size_bytes"] is None
    assert "pipeline start p" in paused["remedy"] and "which is paused" in paused["message"]
    # The command line shows it from the catalog, with the process that saw it. What was told is not told again after a restart.
    status = service.wait_for_status(lambda status: [one["delivery"] for one in status["alerts"]] == ["delivered"] * 2, what="the alerts")
    (shown,), process = status["sources"], f"process {service.pid} on "
    assert shown["process"].startswith(process) and shown["age_seconds"] < 60 and shown["slots"][0]["held_back_bytes"] >= 70 << 20, shown
    assert {one["type"] for one in status["alerts"]} == {"slot_held_back", "pipeline_paused"}
    assert all(one["process"].startswith(process) and one["pipeline_name"] == "p" for one in status["alerts"])
    text = service.command("status", "p").stdout
    assert re.search(r"^source shop: answers, pg_wal \S+ MB \(normal\) \(\d+ s ago, by process \d+ on", text, re.MULTILINE), text
    assert re.search(r"^  slot etl_p of pipeline p: keeps \S+ MB of WAL, wal_status reserved, read by nobody for \d+ s$", text, re.MULTILINE), text
    assert re.search(r"^alert slot_held_back \(warning\) since 20\S+Z, delivered: slot etl_p of pipeline p keeps ", text, re.MULTILINE), text
    service.kill()
    service = start_watching("--slot-warning-mb", 50, "--slot-danger-mb", 5000, "--slot-inactive-minutes", 1,
                             ALERT_WAL_URL=receiver.url, HEALTH_ADDR="127.0.0.1:0")
    client = Client(ports_of(service)[1])
    wait_until(lambda: any(one["pipeline_name"] == "p" and one["held_back_bytes"] >= 70 << 20
                           for source in client.ask("GET", "/api/v1/status").json["sources"] for one in source["slots"]), 30, "a look")
    # The server is about to give the slot up.
    own_postgres.sql("ALTER SYSTEM SET max_slot_wal_keep_size = '80MB'")
    own_postgres.server.reload()
    wait_until(lambda: write_wal(own_postgres, 3) or own_postgres.value(
        "SELECT safe_wal_size < 16000000 FROM pg_replication_slots"), 30, "the slot to be at risk")
    risk = receiver.wait_for("slot_at_risk", status="danger", pipeline_name="p", source_name="shop")
    assert 0 <= risk["safe_wal_size_bytes"] < 16 << 20 and "max_slot_wal_keep_size" in risk["remedy"], risk  # a fifth of 80 MB
    counted = metrics(client)['etl_pg_slot_safe_wal_bytes{source_name="shop",slot="etl_p"}']
    assert counted < 16 << 20, counted
    # And does.
    own_postgres.sql("ALTER SYSTEM SET max_slot_wal_keep_size = '16MB'")
    own_postgres.server.reload()
    own_postgres.sql("SELECT pg_switch_wal()")

    def is_given_up():
        own_postgres.sql("CHECKPOINT")  # its process may not have read the setting yet
        return own_postgres.value("SELECT wal_status FROM pg_replication_slots WHERE slot_name = 'etl_p'") == "lost"
    wait_until(is_given_up, 60, "the server to give the slot up")
    lost = receiver.wait_for("slot_lost", status="danger", pipeline_name="p")
    assert lost["wal_status"] == "lost" and "on-slot-lost resync" in lost["remedy"], lost
    series = 'etl_pg_slot_wal_status{source_name="shop",slot="etl_p",status="%s"}'

    def is_shown(found):
        shown, counted = found
        assert {series % "lost": 1, series % "reserved": 0}.items() <= counted.items()
        assert shown["sources"][0]["slots"][0]["wal_status"] == "lost"
    wait_until_holds(lambda: seen(client), is_shown)
    receiver.wait_for("slot_held_back", status="resolved", pipeline_name="p")
    receiver.wait_for("pipeline_paused", status="resolved", pipeline_name="p")
    receiver.wait_for("slot_at_risk", status="resolved", pipeline_name="p")
    # What is over while nothing runs is told afterwards.
    wait_for_alerts(service, ("slot_lost", "delivered"))
    assert service.terminate() == 0
    own_postgres.sql("SELECT pg_drop_replication_slot('etl_p')")
    own_postgres.sql("SELECT pg_create_logical_replication_slot('etl_p', 'pgoutput')")
    service = start_watching(ALERT_WAL_URL=receiver.url)
    receiver.wait_for("slot_lost", status="resolved", pipeline_name="p")
    wait_for_alerts(service)
    assert service.terminate() == 0
    assert service.command("status", "--json").stdout.count('"slot": "etl_p"') == 1 and '"alerts": []' in service.command("status", "--json").stdout
    told = [(kind, status) for kind in ("slot_held_back", "pipeline_paused", "slot_at_risk", "slot_lost")
            for status in ("warning", "danger", "resolved") for _ in receiver.of(kind, status=status)]
    assert told == [("slot_held_back", "warning"), ("slot_held_back", "resolved"), ("pipeline_paused", "warning"),
                    ("pipeline_paused", "resolved"), ("slot_at_risk", "danger"), ("slot_at_risk", "resolved"),
                    ("slot_lost", "danger"), ("slot_lost", "resolved")]
    wait_until(lambda: not own_postgres.sql("SELECT pid FROM pg_stat_activity WHERE application_name = 'etl-stream'"), 30,
               "the server to see it go")


def wait_for_last(receiver, kind, status):
    """Until the newest alert of the kind has that status. The alert."""
    def find():
        told = receiver.of(kind)
        return told[-1] if told and told[-1]["status"] == status else None
    return wait_until(find, 90, f"{kind} to be {status}")


def test_what_is_wrong_with_a_pipeline_is_told_once_and_again_when_it_is_over(sources, standin, start_watching, receiver):
    receiver.hang = True  # it holds up nobody
    catalog = start_watching.catalog
    service = start_watching("--stuck-minutes", 3, "--slot-inactive-minutes", 3, ALERT_WAL_URL=receiver.url)
    source = sources(5)
    catalog.add_source("shop", source)
    target = make_destination(catalog, standin, "wh")
    Snowflake(target).execute('CREATE TABLE "WH"."ORDERS" ("X" INT)')
    catalog.add_pipeline("p", "shop", "wh", table_error_retry_max_attempts=0, table_error_retry_delay_ms=200)
    receiver.wait_for_tries(1, 90)
    service.wait_for_table("p", "customers", "live", 90)
    service.wait_for_event("alert", table="public.orders")
    alert = wait_until(lambda: next((one for one in map(json.loads, list(receiver.tries)) if one["type"] == "table_parked"), None), 60, "the alert")
    receiver.release()
    assert {"type": "table_parked", "status": "warning", "source_name": "shop", "pipeline_name": "p",
            "table": "public.orders"}.items() <= alert.items()
    assert "pipeline resync p public.orders" in alert["remedy"]
    Snowflake(target).execute('ALTER TABLE "WH"."ORDERS" RENAME TO "WH"."ORDERS_OLD"')
    assert service.command("pipeline", "resync", "p", "public.orders").returncode == 0
    receiver.wait_for("table_parked", 90, status="resolved", table="public.orders")
    # Rows that Snowflake takes and does not commit: it gets no further.
    service.wait_for_table("p", "orders", "live", 90)
    wait_for_alerts(service)
    standin.ask("/stall", {})
    source.sql("UPDATE customers SET notes = 'not committed'")
    stuck = wait_for_last(receiver, "pipeline_stuck", "warning")
    assert {"source_name": "shop", "pipeline_name": "p", "state": "running"}.items() <= stuck.items(), stuck
    assert stuck["behind_bytes"] > 0 and "got no further" in stuck["message"] and "check p" in stuck["remedy"], stuck
    standin.ask("/release", {})
    wait_for_last(receiver, "pipeline_stuck", "resolved")
    # One that cannot run, so that nobody reads its slot either.
    catalog.execute("UPDATE destinations SET snowflake_private_key_path = '/nowhere.p8'")
    failing = wait_for_last(receiver, "pipeline_failing", "warning")
    assert {"source_name": "shop", "pipeline_name": "p"}.items() <= failing.items() and failing["remedy"], failing
    assert "/nowhere.p8" in failing["message"] and failing["reason"] == "config", failing
    inactive = wait_for_last(receiver, "slot_inactive", "warning")
    assert {"slot": "etl_p", "active": False, "pipeline_name": "p"}.items() <= inactive.items(), inactive
    catalog.execute("UPDATE destinations SET snowflake_private_key_path = ?", (standin.told["key_file"],))
    for kind in ("pipeline_failing", "slot_inactive"):
        wait_for_last(receiver, kind, "resolved")
    # A machine that is slow may have made more of them; each was told once until it was over.
    def is_told_in_turn(told):
        assert told == ["warning", "resolved"] * (len(told) // 2), told
    for kind in ("pipeline_stuck", "pipeline_failing", "slot_inactive"):
        wait_until_holds(lambda kind=kind: [one["status"] for one in receiver.of(kind)], is_told_in_turn)
    # A pause of an hour (two seconds there) is warned of in the log, with what it holds back.
    assert service.command("pipeline", "pause", "p").returncode == 0
    warned = service.wait_for_event("paused_long", 60, pipeline="p")
    assert warned["level"] == "warning" and "slot etl_p is kept" in warned["message"], warned
    assert re.search(r"paused for \d+ hours?: .* keeps its WAL from \S+ on", warned["message"]), warned
    assert service.terminate() == 0
    assert len(service.events("paused_long")) == 1


def descriptors(pid):
    """What each of them is; without those that are closed while they are read."""
    found = []
    for path in pathlib.Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found.append(os.readlink(path))
    return found


def open_files(pid):
    return sorted(name.split(":")[0] for name in descriptors(pid))


def connected(pid, port):
    """Connections of the process to the port that are established, by the kernel's own account."""
    inodes = {name.removeprefix("socket:[").removesuffix("]") for name in descriptors(pid) if name.startswith("socket:[")}
    rows = [line.split() for line in pathlib.Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]]
    return sum(row[2].endswith(f":{port:04X}") and row[3] == "01" and row[9] in inodes for row in rows)


def check_that_lines_were_limited(lines):
    """A hundred sources that refuse at once differ in a number only: twenty lines in ten seconds, and the count of all the others."""
    refused = [line for line in lines if "refused" in line["message"]]
    began = datetime.datetime.fromisoformat(refused[0]["time"].replace("Z", "+00:00"))
    ages = [(datetime.datetime.fromisoformat(line["time"].replace("Z", "+00:00")) - began).total_seconds() for line in refused]
    print(f"{len(lines)} lines of sources that cannot be looked at, {sum(line.get('held_back', 0) for line in lines)} held back")
    assert sum(age < 9 for age in ages) <= 20, lines
    assert len(lines) + sum(line.get("held_back", 0) for line in lines) >= 80, lines


def test_ten_thousand_looks_at_sources_that_come_go_hang_and_refuse(own_postgres, start_watching):
    bound, looks = 12, 10
    catalog = start_watching.catalog
    hanging = [Silence("startup"), Silence("accepted")]
    service = start_watching("--wal-max-connection-pools", bound, "--wal-max-concurrent-checks", 20, WAL_POLL_INTERVAL_SECS=10,
                             LOG_LEVEL="debug")
    # No source, or none any more: that is what the end is compared with.
    service.wait_for_event("monitor_configured", 60)
    files_before = open_files(service.pid)
    refusing = [Port() for _ in range(100)]  # nobody listens there, nor will
    ports = [own_postgres.server.port] * 14 + [one.number for one in refusing] + [one.port for one in hanging]
    catalog.transact([("INSERT INTO sources (name, pg_host, pg_port, pg_database, pg_username, publication_name) "
                       "VALUES (?, '127.0.0.1', ?, ?, 'postgres', 'etl')", [f"s{number}", port, own_postgres.name])
                      for number, port in enumerate(ports)])
    most, stop = {"client": 0, "server": 0}, threading.Event()

    def come_and_go():
        turn = 0
        with own_postgres.server.connect() as watcher:
            while not stop.wait(0.02):
                turn += 1
                most["client"] = max(most["client"], connected(service.pid, own_postgres.server.port))
                most["server"] = max(most["server"], watcher.execute(
                    "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'etl-stream'").fetchone()[0])
                if turn % 25 == 0:  # one goes, another comes or is another server's
                    number = turn * 7 % len(ports)
                    catalog.execute("DELETE FROM sources WHERE name = ?", [f"s{number}"])
                    catalog.execute("INSERT INTO sources (name, pg_host, pg_port, pg_database, pg_username, publication_name) "
                                    "VALUES (?, '127.0.0.1', ?, ?, 'postgres', 'etl')",
                                    [f"s{number}", ports[number], own_postgres.name])
                    catalog.execute("UPDATE sources SET pg_port = ? WHERE name = ?",
                                    [ports[turn * 3 % len(ports)], f"s{turn * 5 % len(ports)}"])
    worker = threading.Thread(target=come_and_go)
    worker.start()
    try:
        service.wait_for_event("monitor_looks", 120, count=3)
        memory_before = service.resident_bytes()
        service.wait_for_event("monitor_looks", 240, count=looks)
        memory_after = service.resident_bytes()
    finally:
        stop.set()
        worker.join()
    catalog.execute("DELETE FROM sources")
    files_after = wait_until(lambda: (found := open_files(service.pid)) == files_before and found, 30, "the descriptors to be as before")
    print(f"most connections: {most['client']} of {bound} (the server counted {most['server']}, those that were ending too); "
          f"descriptors {len(files_before)} and {len(files_after)}; memory {memory_before >> 10} kB and {memory_after >> 10} kB")
    assert 0 < most["client"] <= bound
    assert memory_after - memory_before < 1 << 20  # seen: 252 kB by 4,000 looks, and the same at 30,000
    wait_until(lambda: not own_postgres.sql("SELECT 1 FROM pg_stat_activity WHERE application_name = 'etl-stream'"), 30,
               "the server to see them go")
    assert service.terminate() == 0
    assert int(re.search(r"after (\d+) looks", service.events("monitor_ended")[0]["message"])[1]) >= 10000
    check_that_lines_were_limited(service.events("source_down"))
    for one in hanging:
        one.close()
    for one in refusing:
        one.release()


@pytest.mark.parametrize("name, value, allowed", [
    ("WAL_POLL_INTERVAL_SECS", "9", "10 to 86400"), ("WAL_POLL_INTERVAL_SECS", "86401", "10 to 86400"),
    ("WARNING_WAL", "0", "1 to"), ("DANGER_WAL", "3000", "greater than WARNING_WAL"), ("WARNING_WAL", "6000", "DANGER_WAL is 6000"),
    ("WAL_MAX_CONCURRENT_CHECKS", "0", "1 to"), ("WAL_MAX_CONNECTION_POOLS", "x", "1 to"),
    ("TIME_CHECK_NOTIFICATION", "1441", "1 to 1440"), ("TIME_CHECK_NOTIFICATION", "0", "1 to 1440"),
    ("ALERT_WAL_URL", "ftp://u:secret@host/x", "http://"), ("ETL_SLOT_DANGER_MB", "10", "ETL_SLOT_WARNING_MB is 3000")])
def test_a_bad_value_is_refused_at_the_start(tmp_path, name, value, allowed):
    done = run_command("run", state=tmp_path / "state.db", **{name: value})
    assert done.returncode == 2 and name in done.stderr and allowed in done.stderr and done.stderr.count("\n") == 1, done
    assert (value in done.stderr or name == "ALERT_WAL_URL") and "secret" not in done.stderr, done
