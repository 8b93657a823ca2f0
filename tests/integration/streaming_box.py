"""Fixtures of the tests of the stand-in's streaming interface: one stand-in a module, a new table a test.

A test module imports them by name; `plain_settings` and what a fixture asks for must be among them.
"""
import pytest
from sandbox_fixtures import Client, Pipe
from standin import StandIn

COLUMNS = '"ID" NUMBER(38,0), "NAME" VARCHAR(10), "J" VARIANT'


@pytest.fixture(scope="module")
def box():
    with StandIn(options=["--commit-delay-ms", "50"]) as standin:
        yield standin


@pytest.fixture(autouse=True)
def plain_settings(request):
    """Whatever a test sets in the shared stand-in is undone."""
    yield
    if "box" in request.fixturenames:
        standin = request.getfixturevalue("box")
        if standin.is_running():
            standin.ask("/faults", method="DELETE")
            for path, body in (
                ("/release", {}),
                ("/set_commit_delay", {"ms": 50}),
                ("/set_clock", {"offset_seconds": 0}),
                ("/set_token_life", {"seconds": 600}),
                ("/set_limits", {"enabled": True}),
                ("/set_answers", {"json": False, "port": True}),
            ):
                standin.ask(path, body)


@pytest.fixture
def client(box):
    client = Client(box.told)
    yield client
    client.close()


tables = iter(range(1, 10_000))


def make_pipe(client, columns=COLUMNS, options="", name=None):
    pipe = Pipe(client, name or f"T{next(tables)}")
    client.sql(f"CREATE TABLE {pipe.qualified} ({columns}) {options}")
    return pipe


@pytest.fixture
def pipe(client):
    return make_pipe(client)


@pytest.fixture
def channel(pipe):
    channel = pipe.channel()
    channel.open()
    return channel


def ids(pipe):
    return [int(row[0]) for row in pipe.rows('"ID"') if row[0] is not None]


def stall(box, name=None):
    box.ask("/stall", {"channel": name} if name else {})


def numbered(first, last):
    return [{"ID": number} for number in range(first, last + 1)]
