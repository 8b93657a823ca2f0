"""What goes away comes back: PostgreSQL, Snowflake, the network between; and what an idle pipeline does not do."""
import signal
import urllib.parse

import pytest

import load
from program import TRAPS_PROGRAM, pipeline_status, wait_until
from proxy import Proxy
from snowflake_client import Snowflake
from test_pipeline import MERGE_OFTEN, assert_no_stream_row_twice, make_tables, settle


@pytest.fixture
def loaded(own_postgres, standin, start_stream):
    """A program that is live, with a load on a server of its own; stopped and compared at the end."""
    make_tables(own_postgres, 100)
    loads = [load.Load(own_postgres.conninfo, seed, rate=40).start() for seed in (11, 12)]
    yield own_postgres, standin, start_stream, loads
    for one in loads:
        one.close()


def wait_for_more_commits(loads, count=60):
    before = sum(one.book.committed for one in loads)
    wait_until(lambda: sum(one.book.committed for one in loads) >= before + count, 60, "commits of the load")


def finish(own_postgres, standin, program, loads):
    for one in loads:
        one.stop()
    settle(own_postgres, standin, program, 120)
    assert_no_stream_row_twice(standin)
    assert program.terminate() == 0


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_postgresql_restarts(loaded, mode):
    own_postgres, standin, start_stream, loads = loaded
    program = start_stream(own_postgres.url(), standin.to, *MERGE_OFTEN)
    program.wait_for_event("live", 60)
    for _ in range(2):
        wait_for_more_commits(loads)
        mark = program.mark()
        own_postgres.server.restart(mode)
        program.wait_for_event("streaming", 60, since=mark)
    wait_for_more_commits(loads)
    finish(own_postgres, standin, program, loads)


@pytest.mark.parametrize("number, times", [(signal.SIGTERM, 1), (signal.SIGKILL, 2)])
def test_snowflake_restarts(loaded, number, times):
    own_postgres, standin, start_stream, loads = loaded
    # Each opens the circuit, which is half a minute otherwise.
    program = start_stream(own_postgres.url(), standin.to, *MERGE_OFTEN, binary=TRAPS_PROGRAM, ETL_TRAP="circuit_tenths")
    program.wait_for_event("live", 60)
    for _ in range(times):
        wait_for_more_commits(loads)
        standin.restart(number)
    wait_for_more_commits(loads)
    finish(own_postgres, standin, program, loads)


@pytest.mark.parametrize("fault", [
    {"step": "append.before", "status": 503}, {"step": "append.after", "status": 500}, {"step": "append.after", "reset": True},
    {"step": "append.before", "status": 429}, {"step": "status", "status": 503}, {"step": "open", "status": 500},
    {"step": "sql.submit.before", "status": 503}, {"step": "sql.submit.after", "reset": True}, {"step": "sql.poll", "status": 500},
    {"step": "commit", "lose_rows": True},
], ids=lambda fault: f"{fault['step']}-{fault.get('status') or ('reset' if 'reset' in fault else 'lost')}")
def test_snowflake_fails_for_a_while(source, standin, stream, fault):
    make_tables(source, 50)
    work = load.Load(source.conninfo, 21, rate=60).start()
    try:
        program = stream(*MERGE_OFTEN)
        program.wait_for_event("live", 60)
        number = standin.add_fault(fault["step"], **{"times": 3, **{name: value for name, value in fault.items() if name != "step"}})
        if fault["step"] == "open":  # something has to make it open again
            standin.add_fault("append.after", status=500)
        wait_until(lambda: standin.fault_hits(number) >= 1, 60, "the fault to be met", pause=0.1)
        wait_for_more_commits([work], 40)
        work.stop()
        standin.remove_faults()  # what is left of it would meet the test's own queries
        settle(source, standin, program, 120)
        assert_no_stream_row_twice(standin)
        assert program.terminate() == 0
    finally:
        work.close()


def test_a_login_that_is_refused_for_a_while_costs_no_copy(source, standin, stream):
    """The key is replaced at Snowflake first, the user is locked, a proxy says 403: it passes, and nothing is lost by it."""
    make_tables(source, 50)
    program = stream(*MERGE_OFTEN, "--table-error-retry-max-attempts", 0)
    program.wait_for_event("live", 60)
    work = load.Load(source.conninfo, 22, rate=60).start()
    try:
        for refusals, told in (({"token": 401, "sql.submit.before": 401}, "RSA_PUBLIC_KEY_FP"),
                               ({"open": 403, "append.before": 403}, "the role needs OWNERSHIP")):
            faults = [standin.add_fault(step, status=status, message="not now", times=None) for step, status in refusals.items()]
            standin.ask("/revoke_tokens", {})
            wait_until(lambda: standin.fault_hits(faults[0]) >= 4, 60, "it to try again and again", pause=0.1)
            program.wait_for_status(lambda status: any(told in table.get("trouble", "") for table in pipeline_status(status)["tables"]),
                                    60, "the trouble in the status")
            standin.remove_faults()
            with source.connect() as connection:
                mark = load.write_mark(connection)
            load.wait_for_mark(Snowflake(standin.to), mark, 120)
        work.stop()
        settle(source, standin, program, 120)
        program.wait_for_status(lambda status: not any("trouble" in table for table in pipeline_status(status)["tables"]), 60,
                                "no trouble in the status")
        assert not [event for name in ("table_retry", "parked", "resync", "copy_again") for event in program.events(name)]
        assert_no_stream_row_twice(standin)
        assert program.terminate() == 0
    finally:
        work.close()


def through(url, port):
    """The same URL, by way of a proxy's port."""
    parts = urllib.parse.urlsplit(url)
    return urllib.parse.urlunsplit(parts._replace(netloc=f"{parts.netloc.rsplit(':', 1)[0]}:{port}"))


def test_connections_to_postgresql_are_cut(source, standin, start_stream):
    make_tables(source, 50)
    proxy = Proxy("127.0.0.1", source.server.port)
    work = load.Load(source.conninfo, 31, rate=60).start()
    try:
        program = start_stream(through(source.url(), proxy.port), standin.to, *MERGE_OFTEN)
        program.wait_for_event("live", 60)
        for _ in range(3):
            wait_for_more_commits([work], 20)
            mark = program.mark()
            proxy.cut()
            program.wait_for_event("streaming", 60, since=mark)
        work.stop()
        settle(source, standin, program, 120)
        assert_no_stream_row_twice(standin)
        assert program.terminate() == 0
    finally:
        work.close()
        proxy.close()


def test_an_idle_pipeline_wakes_no_warehouse(source, standin, stream):
    make_tables(source, 10)
    source.sql("CREATE TABLE unpublished (id int)")
    program = stream(*MERGE_OFTEN)
    settle(source, standin, program)
    woken = standin.ask("/statements")["warehouse_statements"]
    position = pipeline_status(program.status())["positions"]["confirmed"]
    for number in range(3):  # the database is busy, our tables are not: the position moves on, no statement is sent
        source.sql("INSERT INTO unpublished SELECT generate_series(1, 100)")

        def has_moved():
            nonlocal position
            now = pipeline_status(program.status())["positions"]["confirmed"]
            moved, position = now != position, now
            return moved
        wait_until(has_moved, 30, "the confirmed position to follow", pause=0.2)
    ours = [one for one in standin.ask("/statements")["log"][woken:] if "MERGE" in one["text"]]
    assert standin.ask("/statements")["warehouse_statements"] == woken, ours
    assert program.terminate() == 0


def test_one_table_is_parked_and_the_others_run_on(source, standin, stream):
    make_tables(source, 20)
    source.sql("CREATE TABLE extra (id numeric PRIMARY KEY, v text)")
    source.sql("ALTER PUBLICATION etl ADD TABLE extra")
    program = stream(*MERGE_OFTEN)
    program.wait_for_event("live", 60)
    source.sql("INSERT INTO extra VALUES ('NaN', 'a key that no NUMBER holds')")
    program.wait_for_event("parked", 30)
    load.Load(source.conninfo, seed=41).run(20)
    with source.connect() as connection:
        mark = load.write_mark(connection)
    load.wait_for_mark(Snowflake(standin.to), mark, 60)
    program.wait_for_status(lambda status: any(
        one["table"] == "extra" and one["state"] == "parked" and "is part of the key" in one["reason"]
        for one in pipeline_status(status)["tables"]), 60, "the table to be shown as parked")
    assert program.terminate() == 0


@pytest.mark.unsanitized
def test_a_giant_row_gives_its_memory_back(source, standin, stream):
    make_tables(source, 10)
    source.sql("CREATE TABLE large (id int PRIMARY KEY, v text)")
    source.sql("ALTER PUBLICATION etl ADD TABLE large")
    program = stream(*MERGE_OFTEN)
    program.wait_for_event("live", 60)
    source.sql("INSERT INTO large VALUES (1, repeat('0123456789', 1200000))")
    program.wait_for_event("giant_row", 60)
    program.wait_for_event("streaming", 60, count=2)
    settle(source, standin, program, 120)
    assert program.terminate() == 0
