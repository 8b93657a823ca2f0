"""pipeline remove: what it says it leaves is what is left, and on the source nothing is."""
import contextlib
import json
import os
import re
import time

import pytest

import load
from program import Timeout, run_command, wait_until
from service import PostgresCatalog
from snowflake_client import Snowflake
from test_service import POLL, make_destination, settle, sources, wait_live  # noqa: F401

LANDING = "WH_LANDING"


@pytest.fixture
def shop(sources, standin, start_service):
    """A service with one live pipeline "p" from "shop" to "wh"."""
    service = start_service(*POLL)
    catalog = start_service.catalog
    source = sources(20)
    catalog.add_source("shop", source)
    make_destination(catalog, standin, "wh")
    catalog.add_pipeline("p", "shop", "wh")
    wait_live(service, "p")
    return service, source, Snowflake(standin.to)


def tables_in(snowflake, schema):
    columns, rows = snowflake.execute(f'SHOW TABLES IN SCHEMA "DEMO_DB"."{schema}"')
    name = [column["name"] for column in columns].index("name")
    return sorted(row[name] for row in rows)


def ours_on_the_source(source):
    """Slots, and walsenders, whose end the server sees a moment after ours."""
    def senders():
        return source.sql("SELECT pid, state FROM pg_stat_activity WHERE datname = current_database() AND backend_type = 'walsender'")
    with contextlib.suppress(Timeout):
        wait_until(lambda: not senders(), 60, "the walsenders to end")
    return source.sql("SELECT slot_name, active FROM pg_replication_slots WHERE database = current_database()") + senders()


def catalog_rows(catalog):
    return {table: catalog.execute(f"SELECT COUNT(*) FROM {table}")[0][0]
            for table in ("pipelines", "etl_pipelines", "etl_tables", "etl_status")}


def test_removal_leaves_what_it_says(shop, standin, start_service):
    service, source, snowflake = shop
    targets = tables_in(snowflake, "WH")
    landings = [name for name in tables_in(snowflake, LANDING) if name.startswith("LANDING_")]
    assert len(targets) == len(landings) == len(load.TABLES)
    asked = service.command("pipeline", "remove", "p", stdin="")
    assert asked.returncode == 2 and "--yes says that it is meant" in asked.stderr and "slot etl_p is dropped" in asked.stdout
    assert service.pipeline("p")["state"] == "running", "asking changes nothing"
    done = service.command("pipeline", "remove", "p", "--yes")
    assert done.returncode == 0, done
    assert "slot etl_p dropped" in done.stdout and "channels dropped" in done.stdout
    assert f"{len(landings)} landing tables" in done.stdout and "stay" in done.stdout
    assert ours_on_the_source(source) == []
    assert source.value("SELECT count(*) FROM pg_publication") == 1
    assert [channel for channel in standin.channels() if LANDING in str(channel)] == []
    assert tables_in(snowflake, "WH") == targets
    assert tables_in(snowflake, LANDING) == landings
    assert set(catalog_rows(start_service.catalog).values()) == {0}
    assert service.is_running() and service.terminate() == 0
    assert not service.events("left_behind"), "as nothing is that was not told"


def test_removal_with_landing_tables_and_without_a_service(shop, standin, start_service):
    service, source, snowflake = shop
    targets = tables_in(snowflake, "WH")
    assert service.terminate() == 0
    done = service.command("pipeline", "remove", "p", "--yes", "--drop-landing")
    assert done.returncode == 0, done
    assert "landing tables" in done.stdout and "dropped" in done.stdout
    assert ours_on_the_source(source) == []
    assert tables_in(snowflake, LANDING) == [] and tables_in(snowflake, "WH") == targets
    assert [channel for channel in standin.channels() if LANDING in str(channel)] == []
    assert set(catalog_rows(start_service.catalog).values()) == {0}
    again = service.command("pipeline", "remove", "p", "--yes")
    assert again.returncode == 2 and 'no pipeline' in again.stderr.lower(), again


def killed_in_its_copy(sources, standin, start_service):
    """A service that was killed when the big table's copy had some channels open; the rows on their way are gone with them."""
    service = start_service(*POLL)
    catalog = start_service.catalog
    source = sources(5)
    source.sql("CREATE TABLE big (id int PRIMARY KEY, filler text);"
               "INSERT INTO big SELECT n, repeat(md5(n::text), 20) FROM generate_series(1, 20000) n;"
               f"ALTER PUBLICATION {source.publication} ADD TABLE big; ANALYZE big")
    catalog.add_source("shop", source)
    target = make_destination(catalog, standin, "wh")
    standin.ask("/stall", {})
    catalog.add_pipeline("p", "shop", "wh", settings={"copy_range_mb": 1})
    wait_until(lambda: len(standin.copy_channels()) >= 8, 60, "the copy's channels")
    service.kill()
    standin.ask("/lose_rows", {})
    standin.ask("/release", {})
    return source, catalog, target


def test_channels_of_a_copy_that_was_given_up_are_dropped(sources, standin, start_service):
    source, catalog, target = killed_in_its_copy(sources, standin, start_service)
    left = standin.copy_channels()
    done = run_command("pipeline", "remove", "p", "--yes", state=start_service.catalog.path, seconds=100)
    assert done.returncode == 0, done
    dropped = int(re.search(r"(\d+) channels? dropped", done.stdout).group(1))
    assert dropped >= len(left) and standin.channels() == []
    assert ours_on_the_source(source) == []


def test_a_later_copy_drops_what_earlier_ones_have_left(sources, standin, start_service):
    """The second try has one range only, so that it does not use the names of the others."""
    source, catalog, target = killed_in_its_copy(sources, standin, start_service)
    catalog.set("pipeline", "p", "copy_range_mb", 1000)
    # One of them is refused first, and is looked for again.
    left = min(name for name in standin.copy_channels() if not name.endswith("_C0"))
    standin.add_fault("drop", status=400, code="ERR_FAULT", channel=left)
    service = start_service(*POLL)
    wait_live(service, "p")
    numbers = iter(range(1000000, 2000000))

    def are_gone():
        source.sql(f"INSERT INTO big VALUES ({next(numbers)}, '')")  # they are looked for after a merge
        return not standin.copy_channels()
    # Rows that may still be on their way to one of them are waited for two minutes (design: opening over uncommitted rows).
    wait_until(are_gone, 240, "the channels to be dropped", pause=0.5)
    service.wait_for_line(lambda line: line.get("event") == "copy_channel_left" and left in line["message"], 60, f"{left} to be told of")
    settle(source, target)
    assert service.terminate() == 0


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_beside_a_pipeline_that_runs_alone(sources, standin, start_stream, start_service, postgres, kind):
    """What run --from --to runs is copied anew at a command, but cannot be paused: a removal says at once who it is, and changes nothing."""
    name = f"catalog_{os.urandom(4).hex()}"
    catalog = start_service.catalog if kind == "sqlite" else PostgresCatalog(postgres, name)
    source = sources(10)
    try:
        program = start_stream(source.url(), standin.to, "--name", "p", "--merge-interval-seconds", 1, **catalog.environment)
        program.wait_for_event("live", 90)

        def command(*words):
            return run_command("pipeline", *words, state=program.state, seconds=100, **catalog.environment)
        # It is in no table of pipelines, and is told all the same what can be done to it.
        mark = program.mark()
        done = command("resync", "p", "orders")
        assert done.returncode == 0 and "1 table is copied anew" in done.stdout, done
        program.wait_for_event("copied", 60, since=mark, table="orders")
        for word, answer in (("pause", "stop that process to pause it"), ("start", "it runs already")):
            done = command(word, "p")
            assert done.returncode == 2 and f"process {program.pid} on " in done.stderr and answer in done.stderr, done
        assert command("resync", "q").returncode == 2
        # Its ends are known to its command line only: what can be done is told.
        done = command("remove", "p", "--yes")
        assert done.returncode == 2 and "pipeline add p" in done.stderr and "pg_drop_replication_slot('etl_p')" in done.stderr, done
        catalog.add_source("shop", source)
        make_destination(catalog, standin, "wh")
        catalog.add_pipeline("p", "shop", "wh")

        def remove(*options):
            return run_command("pipeline", "remove", "p", "--yes", *options, state=program.state, seconds=100, **catalog.environment)
        began = time.monotonic()
        done = remove()
        assert done.returncode == 1 and time.monotonic() - began < 60, done  # it does not wait for an answer
        assert f"process {program.pid} on " in done.stderr and "cannot be paused" in done.stderr and "--force" in done.stderr
        assert program.is_running() and catalog.execute("SELECT COUNT(*) FROM pipelines")[0][0] == 1
        assert program.terminate() == 0
        wait_until(lambda: not program.status()["pipelines"][0]["is_running"], 60, "its session at the catalog's server to end")
        done = remove()
        assert done.returncode == 0 and "is removed" in done.stdout, done
        assert ours_on_the_source(source) == []
    finally:
        if kind == "postgres":
            postgres.drop_database(name)


def test_the_slot_is_kept_where_that_is_asked(shop, standin, start_service):
    service, source, snowflake = shop
    asked = service.command("pipeline", "remove", "p", "--keep-slot", "--json", stdin="")
    assert asked.returncode == 2 and asked.stdout == "" and "slot etl_p is kept" in asked.stderr and "--yes" in asked.stderr, asked
    done = service.command("pipeline", "remove", "p", "--yes", "--keep-slot", "--json")
    told = json.loads(done.stdout)
    assert done.returncode == 0 and told["done"] and told["pipeline"] == "p" and told["message"] == "pipeline p is removed", done
    steps = "\n".join(told["steps"])
    assert "stopping it in the running service" in steps and "channels dropped" in steps and "slot" not in steps, done
    assert [name for name, _ in ours_on_the_source(source)] == ["etl_p"]
    assert [channel for channel in standin.channels() if LANDING in str(channel)] == []
    assert set(catalog_rows(start_service.catalog).values()) == {0}
    source.drop_slot("etl_p")
    assert service.terminate() == 0


def test_an_end_that_cannot_be_reached_is_said_and_forced(shop, standin, start_service):
    service, source, snowflake = shop
    catalog = start_service.catalog
    standin.stop()
    failed = service.command("pipeline", "remove", "p", "--yes", seconds=200)
    assert failed.returncode == 1, failed
    assert "slot etl_p dropped" in failed.stdout
    assert "remain in destination wh" in failed.stderr and "by hand" in failed.stderr and "--force" in failed.stderr
    assert ours_on_the_source(source) == []
    assert catalog_rows(catalog)["pipelines"] == 1
    forced = service.command("pipeline", "remove", "p", "--yes", "--force", seconds=200)
    assert forced.returncode == 1 and "is removed" in forced.stdout, forced
    assert "was gone already" in forced.stdout
    assert set(catalog_rows(catalog).values()) == {0}
    assert service.terminate() == 0
