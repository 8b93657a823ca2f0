"""The http destination: every row at least once, in order, whatever the receiver answers."""
import collections
import os
import pathlib
import random
import ssl
import sys
import threading
import time

import pytest

import landed_rows
import load
from program import ROOT, run_command, wait_until
from receiver import Receiver
from test_pipeline import make_tables

SEED = int(os.environ.get("HTTP_SEED", "20261125"))


@pytest.fixture
def receiver():
    receiver = Receiver()
    yield receiver
    receiver.close()


@pytest.fixture
def stream_http(source, receiver, start_stream):
    def start(*options, query=None, **environment):
        return start_stream(source.url(), receiver.url(**(query or {})), *options, **environment)
    return start


@pytest.fixture
def rows_table(source):
    source.sql("create table rows (id int primary key, body text)")
    source.sql(f"create publication {source.publication} for table rows")


def settle(source, receiver, program, seconds=60):
    program.wait_for_event("live", seconds)  # positions do not wait for copies
    with source.connect() as connection:
        mark = load.write_mark(connection)

    def is_there():
        assert program.is_running(), program.tail()
        return landed_rows.has_mark(receiver.rows("order_events"), mark)
    wait_until(is_there, seconds, "the last row at the receiver")
    lsn = source.value("select pg_current_wal_lsn()::text")
    source.sql("select pg_logical_emit_message(true, 'etl', 'settle')")
    wait_until(lambda: source.value("select bool_and(confirmed_flush_lsn >= %s::pg_lsn) from pg_replication_slots "
                                    "where database = current_database()", [lsn]), seconds, "the slot to be confirmed")


def assert_posts_are_sound(receiver):
    assert not receiver.broken_rules, receiver.broken_rules[:3]
    for post in receiver.of("stream", "copy"):
        assert int(post.headers["X-ETL-Rows"]) == len(post.rows) > 0
        assert post.rows[0]["_ETL_SEQ"] == post.first and post.rows[-1]["_ETL_SEQ"] == post.last
        assert post.headers["Content-Type"] == "application/x-ndjson"
        assert post.headers["User-Agent"].startswith("etl-stream/")


def assert_in_order(receiver):
    """Without a restart in between, and so without repetition."""
    newest = collections.defaultdict(str)
    for post in receiver.of("stream"):
        for row in post.rows:
            assert row["_ETL_SEQ"] > newest[post.table]
            newest[post.table] = row["_ETL_SEQ"]


@pytest.mark.threads
@pytest.mark.parametrize("compression", ["none", "gzip", "zstd"])
def test_the_receiver_gets_copy_and_stream(source, receiver, stream_http, compression):
    make_tables(source, 300)
    loads = [load.Load(source.conninfo, seed, rate=40, truncates=True).start() for seed in (1, 2)]

    def wait_for_another(post):
        """The first requests with rows wait for one another: they must be under way side by side."""
        deadline = time.monotonic() + 20  # less than the program's patience with one
        while post.kind != "hello" and receiver.busy_most < 2 and time.monotonic() < deadline:
            time.sleep(0.002)
    receiver.fault = wait_for_another
    program = stream_http(query={"compression": compression, "tenant": "7"})
    program.wait_for_event("live", 60)
    books = [one.stop() for one in loads]
    assert all(book.committed > 0 for book in books)
    settle(source, receiver, program)
    landed_rows.assert_equal(source, receiver.rows)
    assert_posts_are_sound(receiver)
    assert_in_order(receiver)
    assert receiver.busy_most > 1, "tables are served side by side"
    copied = collections.Counter(row_table for post in receiver.of("copy") for row_table in [post.table] * len(post.rows))
    told = {post.table: int(post.headers["X-ETL-Rows"]) for post in receiver.of("copy-complete")}
    assert told == {f"public.{name}": copied[f"public.{name}"] for name in load.TABLES}
    assert {post.path for post in receiver.of("stream", "copy", "hello")} == {"/ingest?tenant=7"}, "ours are not sent"
    encodings = {post.headers.get("Content-Encoding", "none") for post in receiver.of("stream", "copy")}
    assert encodings == {compression}
    assert program.terminate() == 0


def test_kills_lose_nothing_at_the_receiver(source, receiver, stream_http):
    chance = random.Random(SEED)
    print(f"HTTP_SEED={SEED}")
    make_tables(source, 2000)
    loads = [load.Load(source.conninfo, SEED + number, rate=60, truncates=True).start() for number in range(2)]
    for life in range(8):
        program = stream_http()
        if life == 0:
            wait_until(lambda: receiver.of("copy"), 60, "a copy under way", pause=0.002)
        elif life == 1:  # or none is left to copy, where the first life was longer
            program.wait_for_line(lambda line: line.get("event") in ("copied", "live"), 60, "a table that is copied")
        else:
            program.wait_for_event("streaming", 30)
            wanted = sum(one.book.committed for one in loads) + chance.randrange(1, 90)
            wait_until(lambda: sum(one.book.committed for one in loads) > wanted, 30, "commits")
        program.kill()
    for one in loads:
        one.stop()
    program = stream_http()
    settle(source, receiver, program)
    landed_rows.assert_equal(source, receiver.rows)
    # What comes twice is the same twice.
    for table in load.TABLES:
        seen = {}
        for row in receiver.rows(table):
            if row["_ETL_OP"] != "C":
                assert seen.setdefault(row["_ETL_SEQ"], row) == row
    assert program.terminate() == 0


def test_a_receiver_that_fails_gets_the_same_rows_again(source, receiver, stream_http):
    make_tables(source, 30)
    chance = random.Random(SEED)
    faults = [500, 502, 503, 429, 408, "cut", "stall"]
    left, calls = [], collections.Counter()

    def misbehave(*answers):
        left[:] = chance.sample(answers, len(answers))

    def fault(post):
        told = left.pop() if left and post.kind != "hello" else None
        calls[told] += 1
        return told
    receiver.fault = fault
    # A copied row that is taken after the program has given its request up comes twice, and copied rows have no sequence of their own:
    # while they are copied the time-out is one that no machine exceeds, and so nothing stalls.
    misbehave(500, 429, "cut", *[None] * 3)
    program = stream_http()
    program.wait_for_event("live", 60)
    assert program.terminate() == 0
    misbehave(*faults, *faults, *[None] * 8)
    # A machine that stands still opens the circuit, for half a minute otherwise.
    program = stream_http(query={"http_timeout_ms": 2000}, without="circuit_tenths")
    work = load.Load(source.conninfo, seed=5, truncates=True)
    work.run(60)
    wait_until(lambda: not left or not work.run(1), 120, "posts enough for all of the faults", pause=0.02)
    settle(source, receiver, program)
    receiver.fault = lambda post: None
    landed_rows.assert_equal(source, receiver.rows)
    assert_posts_are_sound_but_stalls(receiver)
    assert not program.events("resync") and not program.events("copied")
    assert all(calls[fault] > 0 for fault in faults), calls


def assert_posts_are_sound_but_stalls(receiver):
    """A stalled request is still busy here when the program has given it up."""
    receiver.broken_rules.clear()
    assert_posts_are_sound(receiver)


def test_trouble_shows_after_the_attempts_and_ends(source, receiver, stream_http, rows_table):
    program = stream_http(query={"http_retry_attempts": 2})
    program.wait_for_event("live", 30)
    receiver.fault = lambda post: (500, {}, "the database is\nlocked")
    source.sql("insert into rows values (1, 'x')")
    line = program.wait_for_event("destination_trouble", 30)
    assert "status 500: the database is locked" in line["message"]
    with receiver.lock:
        assert len(receiver.refused) >= 2
    status = program.wait_for_status(lambda status: "trouble" in status["pipelines"][0]["tables"][0], what="the trouble")
    assert "status 500" in status["pipelines"][0]["tables"][0]["trouble"]
    shown = run_command("status", state=program.state).stdout
    assert "status 500" in shown, shown
    receiver.fault = lambda post: None
    # On a machine that is busy the circuit may have opened meanwhile, for half a minute.
    wait_until(lambda: receiver.rows("rows"), 90, "the row")
    program.wait_for_event("destination_mended", 30)
    assert [row["ID"] for row in receiver.rows("rows")] == [1]
    assert program.terminate() == 0


def test_trouble_that_begins_late_shows_at_once(source, receiver, stream_http, rows_table):
    """Nothing but the trouble changes in a status that was at rest."""
    program = stream_http(query={"http_retry_attempts": 1, "http_timeout_ms": 150000})
    program.wait_for_event("live", 30)
    is_told = threading.Event()

    def fault(post):
        is_told.wait(120)
        return (500, {}, "the database is locked")
    receiver.fault = fault
    source.sql("insert into rows values (1, 'x')")
    newest = {"at": None, "since": 0}

    def is_at_rest(status):
        if status["pipelines"][0]["at"] != newest["at"]:
            newest.update(at=status["pipelines"][0]["at"], since=time.monotonic())
        return status["pipelines"][0]["rows_streamed"] == 1 and time.monotonic() - newest["since"] > 4
    status = program.wait_for_status(is_at_rest, what="a status at rest")
    assert "trouble" not in status["pipelines"][0]["tables"][0]
    is_told.set()
    program.wait_for_event("destination_trouble", 30)
    began = time.monotonic()
    program.wait_for_status(lambda status: "trouble" in status["pipelines"][0]["tables"][0], what="the trouble")
    assert time.monotonic() - began < 40, "as late as one that does not change"
    receiver.fault = lambda post: None
    assert program.terminate() == 0


def test_retry_after_is_honoured(source, receiver, stream_http, rows_table):
    program = stream_http()
    program.wait_for_event("live", 30)
    answers = iter([(503, {"Retry-After": 2}, ""), (429, {"Retry-After": 1}, "")])
    refused = []

    def fault(post):
        refused.append(time.monotonic())
        return next(answers, None)
    receiver.fault = fault
    source.sql("insert into rows values (1, 'x')")
    wait_until(lambda: receiver.rows("rows"), 30, "the row")
    assert refused[1] - refused[0] >= 1.95 and refused[2] - refused[1] >= 0.95, refused


def test_a_table_that_is_refused_is_parked_alone(source, receiver, stream_http, rows_table):
    source.sql("create table others (id int primary key)")
    source.sql(f"alter publication {source.publication} add table others")
    program = stream_http()
    program.wait_for_event("live", 30)
    receiver.fault = lambda post: (422, {}, '{"error": "no such column BODY"}') if post.table == "public.rows" else None
    source.sql("insert into rows values (1, 'x')")
    source.sql("insert into others values (1)")
    line = program.wait_for_event("parked", 30)
    assert "status 422" in line["message"] and "no such column BODY" in line["message"]
    wait_until(lambda: receiver.rows("others"), 30, "the other table's row")
    status = program.wait_for_status(
        lambda status: any(table["state"] == "parked" for table in status["pipelines"][0]["tables"]), what="a parked table")
    reasons = {table["table"]: table.get("reason", "") for table in status["pipelines"][0]["tables"]}
    assert "status 422" in reasons["rows"] and reasons["others"] == ""
    assert program.terminate() == 0


@pytest.mark.parametrize("answer, text", [
    ((401, {}, "who are you"), "refuses access (status 401: who are you); it may want a token: token_env=VARIABLE"),
    ((404, {}, ""), "status 404"),
    ((302, {"Location": "/elsewhere"}, ""), "redirect (status 302), which is not followed"),
])
def test_a_receiver_that_cannot_serve_ends_the_start(source, receiver, tmp_path, rows_table, answer, text):
    receiver.fault = lambda post: answer
    done = run_command("run", "--from", source.url(), "--to", receiver.url(), state=tmp_path / "state.db")
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 2 and text in last, done.stderr
    found = run_command("check", "--from", source.url(), "--to", receiver.url(), state=tmp_path / "state.db")
    assert found.returncode == 1 and text in found.stdout
    assert source.value("select count(*) from pg_replication_slots where database = current_database()") == 0
    with receiver.lock:
        assert {post.kind for post in receiver.refused} == {"hello"}


def test_access_that_is_lost_later_is_waited_for(source, receiver, stream_http, rows_table):
    program = stream_http(query={"http_retry_attempts": 0})
    program.wait_for_event("live", 30)
    receiver.fault = lambda post: 403
    source.sql("insert into rows values (1, 'x')")
    assert "refuses access" in program.wait_for_event("destination_trouble", 30)["message"]
    receiver.fault = lambda post: None
    wait_until(lambda: receiver.rows("rows"), 30, "the row")
    assert not program.events("parked")


def test_the_token_is_sent_and_never_shown(source, receiver, stream_http, rows_table, tmp_path):
    token = "t0ken-very-secret-1234"
    program = stream_http(query={"token_env": "INGEST_TOKEN"}, INGEST_TOKEN=token)
    program.wait_for_event("live", 30)
    source.sql("insert into rows values (1, 'x')")
    wait_until(lambda: receiver.rows("rows"), 30, "the row")
    with receiver.lock:
        assert {post.headers["Authorization"] for post in receiver.posts} == {f"Bearer {token}"}
    assert token not in program.tail(1000)
    assert program.terminate() == 0
    held = b"".join(path.read_bytes() for path in pathlib.Path(program.state).parent.glob("state.db*"))
    assert token.encode() not in held
    cases = {receiver.url(token_env="INGEST_TOKEN"): "INGEST_TOKEN, which token_env names, is not set",
             "http://example.com/x?token_env=A": "in the clear", "https://me:pw@host/": "before an @",
             receiver.url(compression="lzma"): "allowed are none, gzip and zstd",
             receiver.url(http_timeout_ms=0): "http_timeout_ms", "https://": "names no host"}
    for url, text in cases.items():
        done = run_command("run", "--from", source.url(), "--to", url, state=tmp_path / "other.db")
        assert done.returncode == 2 and text in done.stderr.strip().splitlines()[-1], (url, done.stderr)
        assert "pw" not in done.stderr


def test_tls_is_verified(source, tmp_path, rows_table, start_stream):
    sys.path.insert(0, str(ROOT / "tools" / "sandbox"))
    try:
        from snowbox.tls import make_identity
    finally:
        sys.path.pop(0)
    identity = make_identity(tmp_path / "tls", ["127.0.0.1"])
    assert isinstance(identity.context, ssl.SSLContext)
    receiver = Receiver(identity.context)
    try:
        done = run_command("run", "--from", source.url(), "--to", receiver.url(), state=tmp_path / "state.db")
        assert done.returncode == 2 and "certificate" in done.stderr.strip().splitlines()[-1], done.stderr
        program = start_stream(source.url(), receiver.url(ca_file=identity.ca_file))
        program.wait_for_event("live", 30)
        source.sql("insert into rows values (1, 'x')")
        wait_until(lambda: receiver.rows("rows"), 30, "the row")
        assert program.terminate() == 0
    finally:
        receiver.close()


def test_another_url_gets_everything_anew(source, receiver, start_stream, rows_table):
    source.sql("insert into rows select i, 'x' from generate_series(1, 5) i")
    program = start_stream(source.url(), receiver.url("/first"))
    program.wait_for_event("live", 30)
    assert program.terminate() == 0
    program = start_stream(source.url(), receiver.url("/second"))
    program.wait_for_event("resync", 30)
    program.wait_for_event("copied", 30)
    wait_until(lambda: [post for post in receiver.of("copy-complete") if post.path == "/second"], 30, "the copy")
    second = [row["ID"] for post in receiver.of("copy") if post.path == "/second" for row in post.rows]
    assert sorted(second) == [1, 2, 3, 4, 5]


def test_another_kind_of_destination_gets_everything_anew(source, receiver, start_stream, rows_table, tmp_path):
    source.sql("insert into rows select i, 'x' from generate_series(1, 5) i")
    program = start_stream(source.url(), f"file:{tmp_path / 'files'}")
    program.wait_for_event("live", 30)
    assert program.terminate() == 0
    program = start_stream(source.url(), receiver.url())
    assert "another kind" in program.wait_for_event("new_epoch", 30)["message"]
    program.wait_for_event("live", 30)
    source.sql("insert into rows values (6, 'x')")
    wait_until(lambda: any(row["ID"] == 6 for row in receiver.rows("rows")), 30, "the next row")
    assert sorted(row["ID"] for row in receiver.rows("rows")) == [1, 2, 3, 4, 5, 6]
    wait_until(lambda: source.value("select count(*) from pg_replication_slots where database = current_database()") == 1, 60,
               "the copy's own slot to be gone")
    assert program.terminate() == 0
