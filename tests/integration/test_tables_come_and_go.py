"""Tables that join a running pipeline and leave it: the stream is never restarted for it, and nothing is missing."""
import contextlib

import pytest

import compare
import load
from program import pipeline_status, wait_until
from snowflake_client import Snowflake

OPTIONS = ("--merge-interval-seconds", 1, "--poll-interval-seconds", 1, "--table-error-retry-delay-ms", 500)
STREAMED_ONCE = 1


def make_tables(source, customers=50):
    with source.connect() as connection:
        load.create_tables(connection, source.publication)
        load.fill(connection, customers)


def settle(source, standin, program, seconds=60):
    with source.connect() as connection:
        mark = load.write_mark(connection)
    load.wait_for_mark(Snowflake(standin.to), mark, seconds, lambda: None)
    compare.assert_equal(source.conninfo, source.publication, standin.to)


def table_status(program, name):
    status = program.status()
    tables = status["pipelines"][0].get("tables", []) if status and status["pipelines"] else []
    return next((table for table in tables if table["table"] == name), {})


def wait_for_table(program, name, state, seconds=60):
    return wait_until(lambda: (found := table_status(program, name)).get("state") == state and found, seconds,
                      f"{name} to be {state}", pause=0.2)


@contextlib.contextmanager
def every_slot_taken(source):
    source.sql("DO $$ BEGIN FOR i IN 1..1000 LOOP PERFORM pg_create_physical_replication_slot('taken_' || i); END LOOP;"
               "EXCEPTION WHEN configuration_limit_exceeded THEN NULL; END $$")
    try:
        yield
    finally:
        source.sql("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name LIKE 'taken_%'")


@pytest.mark.threads
def test_a_table_that_is_added_is_copied_and_followed(source, standin, stream):
    make_tables(source)
    source.sql("CREATE TABLE late (id int PRIMARY KEY, note text)")
    source.sql("INSERT INTO late SELECT i, 'before ' || i FROM generate_series(1, 500) AS i")
    program = stream(*OPTIONS)
    program.wait_for_event("live", 60)
    busy = load.Load(source.conninfo, 11, rate=40).start()
    try:
        source.sql(f"ALTER PUBLICATION {source.publication} ADD TABLE late")
        # Written while it joins: in the copy or in the stream, in exactly one of them.
        for i in range(501, 700):
            source.sql(f"INSERT INTO late VALUES ({i}, 'while')")
            source.sql(f"UPDATE late SET note = 'changed' WHERE id = {i - 300}")
        wait_for_table(program, "late", "live")
    finally:
        assert busy.stop().committed > 0
    source.sql("DELETE FROM late WHERE id % 7 = 0")
    settle(source, standin, program)
    assert len(program.events("streaming")) == STREAMED_ONCE
    assert program.terminate() == 0


def test_a_table_that_is_taken_out_keeps_its_target_and_is_copied_anew_when_it_returns(source, standin, stream):
    make_tables(source)
    source.sql("CREATE TABLE guest (id int PRIMARY KEY, note text)")
    source.sql(f"ALTER PUBLICATION {source.publication} ADD TABLE guest")
    source.sql("INSERT INTO guest VALUES (1, 'one'), (2, 'two')")
    program = stream(*OPTIONS)
    program.wait_for_event("live", 60)
    source.sql("INSERT INTO guest VALUES (3, 'three')")
    source.sql(f"ALTER PUBLICATION {source.publication} DROP TABLE guest")
    left = wait_for_table(program, "guest", "unpublished")
    assert "its target stays" in left["reason"]
    assert int(Snowflake(standin.to).value('SELECT COUNT(*) FROM "GUEST"')) == 3
    source.sql("UPDATE guest SET note = 'unseen'")
    source.sql("DELETE FROM guest WHERE id = 1")
    # Its copy cannot begin at first: that shows, and does no more once it has passed.
    def shown_error():
        return pipeline_status(program.status()).get("error", "")
    with every_slot_taken(source):
        source.sql(f"ALTER PUBLICATION {source.publication} ADD TABLE guest")
        wait_until(lambda: "slots are in use" in shown_error(), 60, "the failure to be shown", pause=0.2)
    wait_for_table(program, "guest", "live")
    wait_until(lambda: shown_error() == "", 60, "the failure not to be shown any more", pause=0.2)
    source.sql("INSERT INTO guest VALUES (4, 'four')")
    settle(source, standin, program)
    assert len(program.events("streaming")) == STREAMED_ONCE
    assert program.terminate() == 0


def landed(standin, table, condition="TRUE"):
    snowflake = Snowflake(standin.to)
    return int(snowflake.value(f"SELECT COUNT(*) FROM {snowflake.landing(table)} WHERE {condition}"))


def test_what_was_not_merged_when_a_table_left_while_nothing_ran(source, standin, stream):
    """It is merged as a running pipeline does; of a table that is not as it was its landing rows stay."""
    make_tables(source)
    names = ("guest", "part", "gone")
    for name in names:
        source.sql(f"CREATE TABLE {name} (id int PRIMARY KEY, note text); INSERT INTO {name} VALUES (1, 'one')")
        source.sql(f"ALTER PUBLICATION {source.publication} ADD TABLE {name}")
    program = stream("--merge-interval-seconds", 3600, "--poll-interval-seconds", 1)
    program.wait_for_event("live", 60)
    for name in names:
        source.sql(f"INSERT INTO {name} VALUES (2, 'landed')")
    wait_until(lambda: all(landed(standin, name, "\"_ETL_OP\" = 'I'") for name in names), 60, "the rows to land")
    assert program.terminate() == 0
    source.sql("INSERT INTO guest VALUES (3, 'in the slot')")
    source.sql(f"ALTER PUBLICATION {source.publication} DROP TABLE guest, part; ALTER TABLE part RENAME note TO remark; DROP TABLE gone")
    source.sql("INSERT INTO guest VALUES (4, 'not in the stream')")
    again = stream(*OPTIONS, "--landing-retention", "2s")
    again.wait_for_event("table_left", 60, count=3)
    snowflake = Snowflake(standin.to)
    assert [snowflake.value(f'SELECT COUNT(*) FROM "{name.upper()}"') for name in names] == ["3", "1", "1"]
    left = wait_for_table(again, "gone", "unpublished")
    assert left["reason_code"] == "left_unmerged" and "landing rows stay" in left["reason"]
    wait_for_table(again, "guest", "unpublished")

    def merge_on():
        source.sql("UPDATE customers SET name = name || '.' WHERE id = 1")
        return landed(standin, "guest") == 0
    wait_until(merge_on, 60, "the landing rows that were merged to be deleted", pause=0.5)
    before = len(again.events("cleaned"))
    wait_until(lambda: merge_on() and len(again.events("cleaned")) > before, 60, "further rows to be deleted", pause=0.5)
    assert landed(standin, "gone") > 0 and landed(standin, "part") > 0
    settle(source, standin, again)
    assert again.terminate() == 0


def test_a_table_taken_out_and_put_in_again_between_two_looks_is_copied_anew(source, standin, stream):
    make_tables(source)
    source.sql("CREATE TABLE guest (id int PRIMARY KEY, note text)")
    source.sql(f"ALTER PUBLICATION {source.publication} ADD TABLE guest")
    program = stream(*OPTIONS)
    program.wait_for_event("live", 60)
    wait_until(lambda: program.status()["pipelines"][0]["state"] == "running", 30, "running")
    program.wait_for_event("merged", 30)
    for number in range(1, 6):
        mark = program.mark()
        with source.connect() as connection:
            connection.execute(f"ALTER PUBLICATION {source.publication} DROP TABLE guest")
            connection.execute(f"INSERT INTO guest VALUES ({number}, 'not in the stream')")
            connection.execute(f"ALTER PUBLICATION {source.publication} ADD TABLE guest")
        seen = program.wait_for_line(lambda line: line.get("event") in ("resync", "table_left") and line.get("table") == "guest", 60,
                                     "the change to be noticed", since=mark)
        if seen["event"] == "resync":
            break  # otherwise a look fell between the two: again
        program.wait_for_event("copied", 60, since=mark, table="guest")
        wait_for_table(program, "guest", "live")
    assert seen["event"] == "resync"
    program.wait_for_event("copied", 60, since=mark, table="guest")  # what the status tells may be of before
    wait_for_table(program, "guest", "live")
    settle(source, standin, program)
    assert program.terminate() == 0


def test_a_table_made_anew_under_its_name_is_followed(source, standin, stream):
    make_tables(source)
    source.sql("CREATE TABLE guest (id int PRIMARY KEY, note text)")
    source.sql("INSERT INTO guest VALUES (1, 'old')")
    source.sql(f"ALTER PUBLICATION {source.publication} ADD TABLE guest")
    program = stream(*OPTIONS)
    program.wait_for_event("live", 60)
    with source.connect() as connection:
        connection.execute("DROP TABLE guest")
        connection.execute("CREATE TABLE guest (id int PRIMARY KEY, note text)")
        connection.execute("INSERT INTO guest VALUES (7, 'new')")
        connection.execute(f"ALTER PUBLICATION {source.publication} ADD TABLE guest")
    snowflake = Snowflake(standin.to)
    wait_until(lambda: int(snowflake.value('SELECT COUNT(*) FROM "GUEST" WHERE "ID" = 7')) == 1, 60, "the new table's row")
    settle(source, standin, program)
    assert program.terminate() == 0


def test_a_missing_privilege_is_tried_again_until_it_is_granted(own_postgres, standin, start_stream):
    source = own_postgres
    make_tables(source)
    source.sql("CREATE ROLE reader LOGIN REPLICATION")
    source.sql("GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader")
    source.sql("GRANT USAGE ON SCHEMA public TO reader")
    url = source.url().replace("postgres://" + source.url().split("://")[1].split("@")[0], "postgres://reader")
    # As often as it takes to look at it and to grant what is missing, whoever stands still meanwhile.
    program = start_stream(url, standin.to, *OPTIONS, "--table-error-retry-max-attempts", 1000)
    program.wait_for_event("live", 60)
    source.sql("CREATE TABLE hidden (id int PRIMARY KEY)")
    source.sql("INSERT INTO hidden VALUES (1), (2)")
    source.sql(f"ALTER PUBLICATION {source.publication} ADD TABLE hidden")
    program.wait_for_event("table_retry", 30, table="hidden", count=2)
    trouble = wait_until(lambda: table_status(program, "hidden").get("retry"), 20, "the trouble to show")
    assert "GRANT SELECT" in trouble["error"] and trouble["failures"] >= 1 and trouble["parked_after"] == 1001
    source.sql("GRANT SELECT ON hidden TO reader")
    assert "retry" not in wait_for_table(program, "hidden", "live")
    settle(source, standin, program)
    assert program.terminate() == 0


def test_a_table_that_fails_too_often_is_parked_and_the_others_run_on(own_postgres, standin, start_stream):
    source = own_postgres
    make_tables(source)
    source.sql("CREATE ROLE reader LOGIN REPLICATION")
    source.sql("GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader")
    source.sql("GRANT USAGE ON SCHEMA public TO reader")
    url = source.url().replace("postgres://" + source.url().split("://")[1].split("@")[0], "postgres://reader")
    program = start_stream(url, standin.to, *OPTIONS, "--table-error-retry-max-attempts", 2,
                           "--table-error-retry-delay-ms", 200)
    program.wait_for_event("live", 60)
    source.sql("CREATE TABLE hidden (id int PRIMARY KEY)")
    source.sql(f"ALTER PUBLICATION {source.publication} ADD TABLE hidden")
    program.wait_for_event("parked", 30, table="hidden")
    assert len(program.events("table_retry")) == 2
    parked = wait_for_table(program, "hidden", "parked")
    assert "GRANT SELECT" in parked["reason"]
    source.sql(f"ALTER PUBLICATION {source.publication} DROP TABLE hidden")
    wait_for_table(program, "hidden", "unpublished")
    settle(source, standin, program)
    assert program.terminate() == 0
