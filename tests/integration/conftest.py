"""Fixtures of the integration tests.

`postgres` is one server for the whole run; a test gets a database of its own in it (`source`). A test that stops,
crashes or reconfigures its server asks for `own_postgres`. `standin` is the stand-in for Snowflake with nothing in it.
`stream` starts the program from `source` to `standin`; it ends with the test, and a sanitizer's report fails the test.
"""
import itertools
import pathlib
import re
import signal

import pytest

import pgroom
import pgserver
from alert_receiver import AlertReceiver
from pgserver import PgServer
from program import TRAPS_PROGRAM, Program, wait_until
from service import Catalog, Service
from standin import StandIn

# Begun first: a file is run by one of pytest's processes, and none should be left with one of these at the end.
LONG_FILES = ("test_outages.py", "test_verify.py", "test_consistency.py", "test_pg_room.py", "test_copy_room.py", "test_merge_cases.py",
              "test_traps.py", "test_channels.py", "test_types_matrix.py", "test_types_binary_text.py", "test_sf_transport.py", "test_kill.py",
              "test_copy_at_size.py", "test_service.py", "test_schema_changes_tables.py", "test_schema_changes.py", "test_catalog_streams.py",
              "test_merge_table.py", "test_schema_changes_in_place.py", "test_two_services.py", "test_types_extensions.py", "test_verify_types.py")

# What depends on the version of PostgreSQL, and so is run against each (the marker `server`): the tests of these files whose names match.
# That a test fails without its rule is shown on one version only.
WITHOUT_A_RULE = r"\[(?!None\])\w+\]$"
OF_SERVER = {
    "test_pg_room.py": rf"test_(?!.*{WITHOUT_A_RULE})|test_a_rewrite", "test_traps.py": "test_(?!without)", "test_postgres_versions.py": "test_",
    "test_samples.py": "test_", "test_types_binary_text.py": "test_", "test_types_matrix.py": "test_(every_type|types_in_another)",
    "test_kill.py": "test_", "test_pipeline.py": "test_tables_are_equal",
    "test_schema_changes_tables.py": "test_(partitions|what_the_publication)", "test_partitions.py": "test_",
    "test_monitor.py": "test_(slots_of|wal_alert)", "test_changes.py": r"test_\w+\[leaves", "test_differential.py": r"test_source_and_target\S*\[42\]"}
# What takes long of it and has not differed between the versions in the middle.
AT_THE_EDGES = {"test_pg_room.py", "test_kill.py", "test_types_binary_text.py", "test_schema_changes_tables.py", "test_partitions.py", "test_monitor.py"}

pgserver.keep_scratch_in_memory()
numbers = itertools.count(1)

# A run that is ended ends what it started; by default SIGTERM would leave the servers, as nothing of atexit's runs then.
signal.signal(signal.SIGTERM, lambda *_: pytest.exit("ended by SIGTERM", returncode=143))
# In the background of a shell SIGINT is ignored, which what is started here would inherit.
signal.signal(signal.SIGINT, signal.default_int_handler)


class Source:
    """A database of a server, with one publication."""

    publication = "etl"

    def __init__(self, server, name):
        self.server, self.name = server, name

    def sql(self, text, parameters=None):
        return self.server.sql(text, parameters, dbname=self.name)

    def value(self, text, parameters=None):
        return self.server.value(text, parameters, dbname=self.name)

    def connect(self, **parameters):
        return self.server.connect(self.name, **parameters)

    def drop_slot(self, name):
        """Its reader has ended, which the server may see a moment later."""
        wait_until(lambda: not self.value("select count(*) from pg_replication_slots where slot_name = %s and active", [name]), 60,
                   f"slot {name} to be free")
        self.sql("select pg_drop_replication_slot(%s)", [name])

    @property
    def conninfo(self):
        return self.server.url(self.name)

    def url(self, **query):
        """What `etl-stream run --from` takes."""
        return self.server.url(self.name, **{"publication": self.publication, **query})


@pytest.fixture(scope="session")
def postgres():
    with PgServer() as server:
        yield server


@pytest.fixture
def source(postgres):
    name = f"source_{next(numbers)}"
    postgres.create_database(name)
    yield Source(postgres, name)
    postgres.drop_database(name)


@pytest.fixture
def own_postgres():
    """A server that the test may stop and crash, and a database in it."""
    with PgServer() as server:
        server.create_database("source")
        yield Source(server, "source")


@pytest.fixture(scope="session")
def shared_standin():
    with StandIn() as standin:
        yield standin


@pytest.fixture
def standin():
    with StandIn() as standin:
        yield standin


@pytest.fixture(scope="session")
def room_program(tmp_path_factory):
    return pgroom.build(tmp_path_factory.mktemp("pg_room"))


@pytest.fixture
def room(room_program):
    """room(url, command, …) → Room; all are closed at the end."""
    rooms = []

    def start(url, *arguments, **options):
        rooms.append(pgroom.Room(room_program, url, *arguments, **options))
        return rooms[-1]

    yield start
    for one in rooms:
        one.close()


class Streams:
    """Starts programs over one state file; closes them all."""

    def __init__(self, folder):
        self.folder, self.started = folder, []
        self.state = folder / "state.db"

    def __call__(self, source_url, target_url, *options, without=None, **environment):
        """without: the name of a rule to take out, to show that a test fails then."""
        if without:
            environment.update(binary=TRAPS_PROGRAM, ETL_TRAP=without)
        program = Program(source_url, target_url, environment.pop("state", self.state), options, **environment).start()
        self.started.append(program)
        return program


@pytest.fixture
def start_stream(tmp_path: pathlib.Path):
    """start_stream(from_url, to_url, *options, **environment) → Program."""
    streams = Streams(tmp_path)
    yield streams
    for program in streams.started:
        program.close()
    reports = [report for report in (program.sanitizer_reports() for program in streams.started) if report]
    assert not reports, "\n".join(reports)


@pytest.fixture
def start_service(start_stream):
    """start_service(*options, **environment) → Service, over this test's catalog. Its catalog is start_service.catalog."""
    def start(*options, **environment):
        service = Service(start_stream.state, options, **start.catalog.environment, **environment).start()
        start_stream.started.append(service)
        service.wait_for_event("starting")
        return service
    start.catalog = Catalog(start_stream.state)
    return start


@pytest.fixture
def alert_receiver():
    receiver = AlertReceiver()
    yield receiver
    receiver.close()


@pytest.fixture
def stream(source, standin, start_stream):
    """stream(*options, **environment) → Program, from this test's source to this test's stand-in."""
    def start(*options, **environment):
        return start_stream(source.url(), standin.to, *options, **environment)
    return start


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """A test that failed shows what the programs, the stand-in and the server said last."""
    outcome = yield
    report = outcome.get_result()
    if not report.failed:
        return
    shared = item.funcargs.get("postgres")
    if shared and not shared.is_running():
        report.sections.append(("the server, which has ended", shared.log_tail()))
    if report.when != "call":
        return
    for name in ("start_stream", "standin", "own_postgres"):
        thing = item.funcargs.get(name)
        if name == "start_stream" and thing:
            for number, program in enumerate(thing.started, 1):
                report.sections.append((f"program {number}", program.tail()))
        elif name == "standin" and thing:
            report.sections.append(("stand-in", thing.log_tail()))
        elif name == "own_postgres" and thing:
            report.sections.append(("server", thing.server.log_tail()))


def pytest_collection_modifyitems(items):
    for item in items:
        if {"start_stream", "stream"} & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.program)
        if re.match(OF_SERVER.get(item.path.name, "(?!)"), item.name):
            item.add_marker(pytest.mark.server)
            if item.path.name in AT_THE_EDGES:
                item.add_marker(pytest.mark.edges)
    items.sort(key=lambda item: LONG_FILES.index(item.path.name) if item.path.name in LONG_FILES else len(LONG_FILES))
