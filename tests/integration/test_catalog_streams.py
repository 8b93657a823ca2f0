"""Streams with PostgreSQL as the catalog: kills, the catalog away, frozen processes."""
import os
import signal
import time

import pytest

import load
from http_side import Client, ports_of
from pgserver import PgServer
from program import run_command, wait_until
from test_pipeline import MERGE_OFTEN, assert_no_stream_row_twice, make_tables, settle

CLAIM_SECONDS = 60  # after 10 without a heartbeat the server ends the session; this machine is busy


@pytest.fixture(scope="module")
def catalog_server():
    with PgServer() as server:
        yield server


@pytest.fixture
def variables(catalog_server):
    name = "catalog_" + os.urandom(4).hex()
    catalog_server.start()
    catalog_server.create_database(name)
    yield {"CONFIG_DB_HOST": "127.0.0.1", "CONFIG_DB_PORT": catalog_server.port, "CONFIG_DB_DATABASE": name}
    catalog_server.start()
    catalog_server.drop_database(name)


def wait_until_left(catalog_server, variables):
    """The sessions of a process that was killed end when the server looks at them next; until then the pipeline is claimed."""
    others = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s"
    wait_until(lambda: catalog_server.value(others, [variables["CONFIG_DB_DATABASE"]]) == 0, 60, "the end of the killed one's sessions")


def test_kills_lose_and_double_nothing(source, standin, stream, variables, tmp_path, catalog_server):
    make_tables(source, 100)
    writer = load.Load(source.conninfo, seed=5, rate=40).start()
    for number in range(4):
        program = stream(*MERGE_OFTEN, **variables)
        program.wait_for_event("streaming" if number else "live", 90)
        before = writer.book.committed
        wait_until(lambda: writer.book.committed >= before + 30, 60, "commits of the load")
        program.kill()
        wait_until_left(catalog_server, variables)
    writer.stop()
    program = stream(*MERGE_OFTEN, **variables)
    settle(source, standin, program, 120)
    assert_no_stream_row_twice(standin)
    def is_told():
        status = run_command("status", "--json", state=tmp_path / "none.db", **variables)
        assert status.returncode == 0, status.stderr
        return '"state": "running"' in status.stdout
    wait_until(is_told, 60, "the status to say that it runs", pause=0.2)
    assert program.terminate() == 0
    assert not list(tmp_path.glob("*.db")), "no file was made"


def test_the_catalog_goes_away_and_comes_back(source, standin, stream, variables, catalog_server):
    make_tables(source, 100)
    source.sql("CREATE TABLE altered (id int PRIMARY KEY); ALTER PUBLICATION etl ADD TABLE altered")
    program = stream(*MERGE_OFTEN, "--poll-interval-seconds", 5, HEALTH_ADDR="127.0.0.1:0", **variables)
    program.wait_for_event("live", 90)
    client = Client(ports_of(program)[1])

    def shown():
        return client.get("/api/v1/status").json["pipelines"][0]

    def newest_look():
        time.sleep(0.05)
        return source.value("SELECT max(query_start) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() "
                            "AND backend_type = 'client backend'")
    is_behind = "SELECT confirmed_flush_lsn <= %s::pg_lsn FROM pg_replication_slots WHERE database = current_database() AND NOT temporary"
    for mode in ("fast", "immediate"):
        mark = program.mark()
        catalog_server.stop(mode)
        away = source.value("SELECT pg_current_wal_insert_lsn()::text")  # nothing from here on is durable while it is away
        load.Load(source.conninfo, seed=7).run(5)  # it has to be back within half a minute
        program.wait_for_event("save_failed", 60, since=mark)
        wait_until(lambda: shown().get("error"), 60, "the failure to be shown")
        # A table that begins anew waits for the catalog; the source is not asked about it over and over meanwhile.
        source.sql(f"ALTER TABLE altered ADD COLUMN of_{mode} uuid DEFAULT gen_random_uuid(); INSERT INTO altered VALUES ({len(mode)})")
        program.wait_for_event("resync", 60, since=mark, table="altered")
        looks = {newest_look() for _ in range(20)}
        assert len(looks) < 10, "a look each time"
        load.Load(source.conninfo, seed=8).run(5)
        assert source.value(is_behind, [away]), "nothing is confirmed that is not durable"
        catalog_server.start()
        program.wait_for_event("catalog_back", 60, since=mark)
        wait_until(lambda: "error" not in shown(), 60, "the failure not to be shown any more")
        program.wait_for_event("copied", 60, since=mark, table="altered")
        wait_until(lambda: not source.value(is_behind, [away]), 60, "the position to move on")
    settle(source, standin, program)
    assert len(program.events("save_failed")) < 20, "said once, not at every try"
    assert program.events("claim_lost") == []
    assert program.terminate() == 0


def test_a_pipeline_that_runs_elsewhere_is_not_started(source, standin, stream, variables):
    make_tables(source, 20)
    program = stream(*MERGE_OFTEN, **variables)
    program.wait_for_event("live", 90)
    second = run_command("run", "--from", source.url(), "--to", standin.to, state="unused.db", **variables)
    assert second.returncode == 1 and f"runs in another process: process {program.pid} on " in second.stderr
    assert program.terminate() == 0


def test_a_frozen_process_loses_its_claim(source, standin, stream, variables):
    make_tables(source, 50)
    frozen = stream(*MERGE_OFTEN, **variables)
    frozen.wait_for_event("live", 90)
    frozen.signal(signal.SIGSTOP)
    load.Load(source.conninfo, seed=9).run(20)

    def claimed():
        program = stream(*MERGE_OFTEN, **variables)
        wait_until(lambda: not program.is_running() or program.events("starting"), 30, "the claim's answer")
        if program.is_running():
            return program
        # Frozen in the middle of a save it holds its rows as well, until the server ends an idle transaction.
        wait_until(lambda: any("runs in another process" in line or "statement timeout" in line for line in program.other), 10,
                   "why it ended")
        return None
    second = wait_until(claimed, CLAIM_SECONDS, "the frozen process to lose its claim", pause=1)
    # The frozen process's walsender still has the slot, and answers the server's TCP: who has the later claim ends it.
    second.wait_for_event("evicted", 90)
    second.wait_for_event("streaming", 90)
    frozen.signal(signal.SIGCONT)
    wait_until(lambda: not frozen.is_running(), 60, "the process that woke up to end")
    assert frozen.process.returncode == 1
    wait_until(lambda: any("claimed by another process" in line for line in frozen.other), 10, "why it ended")
    settle(source, standin, second)
    assert_no_stream_row_twice(standin)
    assert second.terminate() == 0
