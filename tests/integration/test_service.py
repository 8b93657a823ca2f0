"""Several pipelines in one process: each for itself, following what is changed in the catalog."""
import json
import pathlib
import re
import statistics
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from cryptography.hazmat.primitives import serialization

import compare
import load
from program import wait_until
from service import PostgresCatalog
from snowflake_client import Snowflake

POLL = ("--poll-interval-seconds", 1)
STANDIN_DATABASE = "DEMO_DB"
PASSPHRASE = "a passphrase in a row"


class Sources:
    """Databases in the shared server, each with the tables of the load."""

    def __init__(self, postgres, make):
        self.postgres, self.make = postgres, make


@pytest.fixture
def sources(postgres):
    from conftest import Source, numbers
    made = []

    def make(customers=30):
        name = f"source_{next(numbers)}"
        postgres.create_database(name)
        one = Source(postgres, name)
        made.append(one)
        with one.connect() as connection:
            load.create_tables(connection, one.publication)
            load.fill(connection, customers)
        return one
    yield make
    for one in made:
        postgres.drop_database(one.name)


def schema_url(standin, schema):
    return standin.to.replace("/PUBLIC?", f"/{schema}?")


def make_destination(catalog, standin, name):
    """A schema of its own for targets and landing tables: pipelines with equal tables do not meet."""
    schema = name.upper()
    Snowflake(standin.to).execute(f'CREATE SCHEMA "{STANDIN_DATABASE}"."{schema}"')
    catalog.add_destination(name, standin.to, schema=schema, landing=f"{schema}_LANDING")
    return schema_url(standin, schema)


def settle(source, target, seconds=60):
    with source.connect() as connection:
        mark = load.write_mark(connection)
    load.wait_for_mark(Snowflake(target), mark, seconds, lambda: None)
    compare.assert_equal(source.conninfo, source.publication, target)


def wait_live(service, *names, seconds=120):
    for name in names:
        wait_until(lambda name=name: service.pipeline(name).get("is_live"), seconds, f"{name} to be live", pause=0.2)


@pytest.mark.threads
def test_six_pipelines_of_which_one_fails_and_one_floods(sources, standin, start_service):
    service = start_service(*POLL)
    catalog = start_service.catalog
    one, two = sources(), sources()
    targets = {}
    for number, source in enumerate((one, one, two, two, one, two), 1):
        name = f"p{number}"
        if number < 3:
            catalog.add_source(f"s{number}", source)
        targets[name] = (source, make_destination(catalog, standin, f"d{number}"))
    catalog.execute("UPDATE sources SET pg_database = ? WHERE name = 's2'", (two.name,))
    for number, (name, (source, _)) in enumerate(targets.items(), 1):
        user = "s1" if source is one else "s2"
        catalog.add_pipeline(name, user, f"d{number}")
    # One that can never run: nobody of that name may sign in.
    catalog.add_source("s_bad", one, user="nobody_there")
    catalog.add_pipeline("p_bad", "s_bad", "d1")
    wait_live(service, *targets)
    # A flood in one table of its own, which only p1 and its neighbours on the same source read.
    loads = [load.Load(source.conninfo, seed, rate=30).start() for seed, source in ((1, one), (2, two))]
    # Whenever it is tried again it is "starting", with the error of before.
    bad = wait_until(lambda: (found := service.pipeline("p_bad")).get("error") and found["state"] in ("waiting", "failed") and found, 60, "p_bad to say why")
    assert "nobody_there" in bad["error"] and bad["remedy"], bad
    for one_load in loads:
        assert one_load.stop().committed > 0
    for name, (source, target) in targets.items():
        settle(source, target)
    assert service.terminate() == 0
    assert "nobody_there" in "".join(line["message"] for line in service.lines)


def test_a_flood_does_not_hold_up_a_quiet_neighbour(sources, standin, start_service):
    # Both on one worker: only the bounded turn keeps the quiet one prompt.
    service = start_service(*POLL, "--workers", 1)
    catalog = start_service.catalog
    busy, quiet = sources(10), sources(10)
    for name, source in (("busy", busy), ("quiet", quiet)):
        catalog.add_source(name, source)
        make_destination(catalog, standin, name)
        catalog.add_pipeline(name, name, name, settings={"merge_interval_seconds": 3600})
    wait_live(service, "busy", "quiet")
    busy.sql("CREATE TABLE flood (id bigint PRIMARY KEY, filler text)")
    busy.sql(f"ALTER PUBLICATION {busy.publication} ADD TABLE flood")
    service.wait_for_event("copied", 60, table="flood")
    stop = threading.Event()

    def flood():
        with busy.connect() as connection:
            first = 0
            while not stop.is_set():
                connection.execute("INSERT INTO flood SELECT i, repeat(md5(i::text), 4) FROM generate_series(%s::bigint, %s::bigint) AS i",
                                   (first, first + 19999))
                first += 20000
    thread = threading.Thread(target=flood)
    landing = Snowflake(schema_url(standin, "QUIET"))
    quiet.sql("CREATE TABLE pulse (id int PRIMARY KEY)")
    quiet.sql(f"ALTER PUBLICATION {quiet.publication} ADD TABLE pulse")
    service.wait_for_event("copied", 60, table="pulse")
    thread.start()
    try:
        flooded = wait_until(lambda: service.pipeline("busy").get("rows_streamed", 0) > 50000 or None, 60, "the flood")
        assert flooded
        latencies = []
        for i in range(8):
            before = service.pipeline("quiet")["rows_streamed"]
            began = time.monotonic()
            quiet.sql(f"INSERT INTO pulse VALUES ({i})")
            query = f'SELECT COUNT(*) FROM "{STANDIN_DATABASE}"."QUIET_LANDING"."LANDING_PULSE" WHERE "ID" = {i}'
            wait_until(lambda: int(landing.value(query)) == 1, 30, "the row to arrive", pause=0.02)
            latencies.append(time.monotonic() - began)
            assert service.pipeline("quiet")["rows_streamed"] >= before
    finally:
        stop.set()
        thread.join()
    print("latencies of the quiet pipeline:", ", ".join(f"{one:.2f} s" for one in latencies))
    assert statistics.median(latencies) < 15, latencies
    assert service.terminate() == 0


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_plain_sql_takes_effect_within_the_poll_interval(postgres, sources, standin, start_service, tmp_path, kind):
    if kind == "postgres":
        start_service.catalog = PostgresCatalog(postgres, "service_catalog")
    service = start_service(*POLL)
    catalog = start_service.catalog
    source = sources()
    catalog.add_source("shop", source)
    target = make_destination(catalog, standin, "wh")
    catalog.add_pipeline("p", "shop", "wh", status="PAUSE")
    assert service.wait_for_state("p", "paused", 20)
    catalog.set_status("p", "START")
    wait_live(service, "p")
    settle(source, target)
    # Paused: nothing moves, and it says what it holds back.
    catalog.set_status("p", "PAUSE")
    paused = service.wait_for_state("p", "paused", 20)
    assert "is kept" in paused["held_back"] and paused["slot"] in paused["held_back"]
    slots = "SELECT active FROM pg_replication_slots WHERE database = current_database()"
    wait_until(lambda: source.sql(slots) == [(False,)], 30, "the slot to be free")
    load.Load(source.conninfo, 5).run(20)
    catalog.set_status("p", "START")
    service.wait_for_state("p", "running", 30)
    settle(source, target)
    # Changed: restarts by itself.
    began = service.mark()
    catalog.execute("UPDATE pipelines SET batch_max_size = 17 WHERE name = 'p'")
    service.wait_for_event("changed", 20, since=began)
    service.wait_for_event("streaming", 30, since=began)
    settle(source, target)
    # Wrong: says so, and the service lives on.
    catalog.execute("UPDATE destinations SET snowflake_private_key_path = '/nowhere/key.p8'")
    wrong = service.wait_for_state("p", "failed", 30)
    assert "/nowhere/key.p8" in wrong["error"] and wrong["retry"]["failures"] >= 1 and wrong["remedy"]
    wait_until(lambda: re.search(r"^  failed \d+ times? since 20\S+Z", service.command("status", "p").stdout, re.MULTILINE), 30, "a person to see it")
    # Mended, by the same key in an encrypted file whose passphrase is in the row.
    key = serialization.load_pem_private_key(pathlib.Path(standin.told["key_file"]).read_bytes(), None)
    encrypted = tmp_path / "encrypted.p8"
    encrypted.touch(0o600)
    encrypted.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                            serialization.BestAvailableEncryption(PASSPHRASE.encode())))
    catalog.execute("UPDATE destinations SET snowflake_private_key_path = ?, snowflake_private_key_passphrase = ?", (str(encrypted), PASSPHRASE))
    service.wait_for_state("p", "running", 30)
    settle(source, target)
    # Deleted: stops.
    catalog.execute("DELETE FROM pipelines")
    wait_until(lambda: source.sql("SELECT active FROM pg_replication_slots WHERE database = current_database()")
               == [(False,)], 20, "the slot to be free")
    # `status` has it no more, the log says what is left of it, and inserted again it goes on where it stopped.
    wait_until(lambda: service.pipeline("p") == {}, 60, "it to be gone from the status")
    left = service.wait_for_event("left_behind", 60, pipeline="p")["message"]
    assert "SELECT pg_drop_replication_slot('etl_p')" in left and source.name in left and "landing tables" in left, left
    assert "has run but is not configured" in service.command("pipeline", "remove", "p", "--yes").stderr
    load.Load(source.conninfo, 6).run(20)
    again = service.mark()
    catalog.add_pipeline("p", "shop", "wh")
    settle(source, target)
    assert "copied" not in {line.get("event") for line in service.lines[again:]}
    # Deleted, by the cascade of its source, while no service runs: gone at once, and the next one tells.
    assert service.terminate() == 0
    catalog.execute("DELETE FROM sources")
    wait_until(lambda: service.pipeline("p") == {}, 30, "it to be gone from the status")
    service = start_service(*POLL)
    service.wait_for_event("left_behind", 60, pipeline="p")
    assert service.pipeline("p") == {} and service.terminate() == 0
    assert PASSPHRASE not in service.tail(10000)


def test_start_pause_and_resync_under_load(sources, standin, start_service):
    service = start_service(*POLL)
    catalog = start_service.catalog
    source = sources(60)
    catalog.add_source("shop", source)
    target = make_destination(catalog, standin, "wh")
    catalog.add_pipeline("p", "shop", "wh", status="PAUSE")
    assert service.command("pipeline", "start", "p").returncode == 0
    wait_live(service, "p")
    busy = load.Load(source.conninfo, 21, rate=40).start()
    try:
        for round_number in range(2):
            done = service.command("pipeline", "pause", "p", *(["--json"] if round_number else []))
            assert done.returncode == 0 and "is kept" in done.stdout, done
            if round_number:
                told = json.loads(done.stdout)
                assert (told["done"], told["pipeline"], told["state"]) == (True, "p", "paused") and "\n" not in told["message"]
            # Its reader ends a moment later: a start that finds the slot taken says so, and tries again.
            wait_until(lambda: not source.value("SELECT count(*) FROM pg_replication_slots WHERE active AND database = current_database()"), 60,
                       "the slot to be free")
            assert service.command("pipeline", "start", "p").returncode == 0
            mark = service.mark()
            done = service.command("pipeline", "resync", "p", *(["orders", "public.customers"] if round_number else []))
            assert done.returncode == 0, done
            assert ("2 tables are" if round_number else "4 tables are") in done.stdout
            service.wait_for_event("copied", 90, since=mark, table="orders")
    finally:
        assert busy.stop().committed > 0
    for table in load.TABLES:  # each joins the merge when its own copy is complete
        service.wait_for_table("p", table, "live")
    settle(source, target, 120)
    assert service.terminate() == 0


def test_what_run_began_alone_goes_on_in_the_service(source, standin, start_stream, start_service):
    """Under the same name and with the same state file: nothing is copied again."""
    source.sql("CREATE TABLE words (id int PRIMARY KEY); INSERT INTO words VALUES (1)")
    source.sql(f"CREATE PUBLICATION {source.publication} FOR TABLE words")
    alone = start_stream(source.url(), standin.to, "--merge-interval-seconds", 1)
    alone.wait_for_event("live", 60)
    assert alone.terminate() == 0
    source.sql("INSERT INTO words VALUES (2)")
    catalog, name = start_service.catalog, f"{source.name}_{source.publication}"
    catalog.add_source("shop", source)
    catalog.add_destination("wh", standin.to)
    catalog.add_pipeline(name, "shop", "wh")
    service = start_service(*POLL)
    wait_until(lambda: len(Snowflake(standin.to).query('SELECT 1 FROM "DEMO_DB"."PUBLIC"."WORDS"')) == 2, 60, "the row of meanwhile")
    assert not service.events("copied")
    assert source.value("SELECT count(*) FROM pg_replication_slots WHERE database = current_database()") == 1
    assert service.terminate() == 0


def test_a_resync_shows_the_old_content_until_the_new_is_complete(sources, standin, start_service):
    service = start_service(*POLL)
    catalog = start_service.catalog
    source = sources(10)
    source.sql("CREATE TABLE big (id int PRIMARY KEY, version int NOT NULL, filler text)")
    source.sql("INSERT INTO big SELECT i, 1, repeat('x', 200) FROM generate_series(1, 20000) AS i")
    source.sql(f"ALTER PUBLICATION {source.publication} ADD TABLE big")
    catalog.add_source("shop", source)
    target = make_destination(catalog, standin, "wh")
    catalog.add_pipeline("p", "shop", "wh")
    wait_live(service, "p")
    seen, stop = set(), threading.Event()

    def read():
        snowflake = Snowflake(target)
        while not stop.is_set():
            seen.add(tuple(snowflake.query('SELECT COUNT(*), SUM("VERSION"), MIN("VERSION") FROM "WH"."BIG"')[0]))
    reader = threading.Thread(target=read)
    reader.start()
    try:
        for version in (2, 3):
            # The whole table in one transaction; the stream brings it too, and the copy takes the other way.
            source.sql(f"UPDATE big SET version = {version}")
            before = service.mark()
            assert service.command("pipeline", "resync", "p", "big").returncode == 0
            # The others merge on meanwhile.
            source.sql("UPDATE customers SET notes = 'while it is copied'")
            service.wait_for_event("copied", 90, since=before, table="big")
            service.wait_for_table("p", "big", "live", 60)
            settle(source, target, 90)
    finally:
        stop.set()
        reader.join()
    complete = {(20000, 20000 * version, version) for version in (1, 2, 3)}
    assert {tuple(int(value) for value in row) for row in seen} <= complete, seen
    assert service.terminate() == 0


@pytest.mark.parametrize("end", ["paused", "removed"])
def test_a_resync_that_waits_for_a_pipeline_is_answered_when_that_will_not_run(sources, standin, start_service, end):
    service = start_service(*POLL)
    catalog = start_service.catalog
    source = sources(10)
    catalog.add_source("shop", source)
    make_destination(catalog, standin, "wh")
    catalog.execute("UPDATE destinations SET snowflake_private_key_path = '/nowhere.p8'")
    catalog.add_pipeline("p", "shop", "wh")
    service.wait_for_state("p", "failed")
    with ThreadPoolExecutor(1) as pool:
        resync = pool.submit(service.command, "pipeline", "resync", "p")
        # Held, as the pipeline is about to be tried again: taken from the table, and not answered.
        wait_until(lambda: [tuple(row) for row in catalog.execute("SELECT state FROM etl_commands")] == [("taken",)], 60, "the command to be taken")
        assert not resync.done()
        if end == "paused":
            assert service.command("pipeline", "pause", "p").returncode == 0
        else:
            catalog.execute("DELETE FROM pipelines WHERE name = 'p'")
        done = resync.result(timeout=60)
    assert done.returncode == 1 and f"the pipeline was {end} before it ran again" in done.stderr, done
    assert service.terminate() == 0


def test_a_parked_table_is_brought_back_by_resync(sources, standin, start_service):
    service = start_service(*POLL)
    catalog = start_service.catalog
    source = sources(10)
    catalog.add_source("shop", source)
    target = make_destination(catalog, standin, "wh")
    # A table in the way, which is not ours: unattended, it parks that one table, with the statement that mends it.
    Snowflake(target).execute('CREATE TABLE "WH"."ORDERS" ("X" INT)')
    catalog.add_pipeline("p", "shop", "wh", table_error_retry_max_attempts=1, table_error_retry_delay_ms=200)
    parked = service.wait_for_table("p", "orders", "parked", 60)
    assert "RENAME TO" in parked["remedy"] and "pipeline resync p public.orders" in parked["remedy"], parked
    service.wait_for_table("p", "customers", "live", 60)
    Snowflake(target).execute('ALTER TABLE "WH"."ORDERS" RENAME TO "WH"."ORDERS_OLD"')
    done = service.command("pipeline", "resync", "p", "public.orders")
    assert done.returncode == 0 and "1 table is" in done.stdout, done
    service.wait_for_table("p", "orders", "live", 60)
    settle(source, target)
    misspelt = service.command("pipeline", "resync", "p", "ordres")
    assert misspelt.returncode == 2 and "no table" in misspelt.stderr
    assert service.command("pipeline", "pause", "nobody").returncode == 2
    assert service.terminate() == 0
    # Without a service it says so, and takes effect at the next start.
    done = service.command("pipeline", "resync", "p", "orders")
    assert done.returncode == 0 and "no service runs" in done.stdout, done
    again = start_service(*POLL)
    again.wait_for_event("resync", 60, table="orders")
    settle(source, target)
    assert again.terminate() == 0


def test_a_lost_slot_is_said_and_with_resync_everything_is_copied_anew(sources, standin, start_service):
    service = start_service(*POLL)
    catalog = start_service.catalog
    source = sources(10)
    catalog.add_source("shop", source)
    target = make_destination(catalog, standin, "wh")
    catalog.add_pipeline("p", "shop", "wh")
    wait_live(service, "p")

    def drop_slot():
        with source.connect() as connection:
            connection.execute("SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = 'etl_p'")
            def dropped():
                try:
                    connection.execute("SELECT pg_drop_replication_slot('etl_p')")
                    return True
                except Exception as error:  # it was taken again meanwhile
                    assert "active" in str(error), error
                    connection.execute("SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots "
                                       "WHERE slot_name = 'etl_p' AND active")
                    return False
            wait_until(dropped, 30, "the slot to be dropped", pause=0.01)
    drop_slot()
    lost = service.wait_for_state("p", "failed", 60)
    assert lost["retry"]["failures"] >= 1 and "--on-slot-lost resync" in lost["remedy"], lost
    load.Load(source.conninfo, 31).run(10)
    catalog.set("pipeline", "p", "on_slot_lost", "resync")
    service.wait_for_event("new_epoch", 60)
    service.wait_for_state("p", "running", 60)
    settle(source, target, 90)
    assert service.terminate() == 0
