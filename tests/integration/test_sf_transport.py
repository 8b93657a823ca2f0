"""The transport to Snowflake (sign-in, statements, one channel) against the stand-in: tests/sf/sf_transport.c writes rows
1 … N through faults, kills and other writers; afterwards each row is in the landing table exactly once.
"""
import concurrent.futures
import itertools
import os
import queue
import random
import re
import signal
import subprocess
import threading
import time

import pytest

from pgserver import scratch_folder
from program import SANITIZER_OPTIONS, SANITIZER_REPORT, wait_until
from sandbox_fixtures import Client, Pipe
from snowflake_client import Snowflake
from standin import ROOT, StandIn

FLAGS = ["-std=gnu17", "-D_GNU_SOURCE", "-DETL_TRAPS", '-DETL_VERSION="0.1.0"', "-g", "-O1", "-fno-omit-frame-pointer",
         "-fsanitize=address,undefined", "-fno-sanitize-recover=all", f"-I{ROOT / 'src'}"]
SOURCES = [*sorted((ROOT / "src/base").glob("*.c")), *(source for room in ("io", "model") for source in sorted((ROOT / "src" / room).glob("*.c"))),
           ROOT / "src/encode/zstd_frame.c", ROOT / "src/sinks/append_meter.c",
           *(ROOT / f"src/sinks/snowflake/sf_{name}.c" for name in ("config", "key", "secret", "http", "auth", "sql", "channel",
                                                                  "channel_open", "channel_refused", "channel_batch", "pipe")),
           ROOT / "tests/sf/sf_transport.c"]
schemas = (f"RAW_{number}" for number in itertools.count(1))


@pytest.fixture(scope="module")
def tool(tmp_path_factory):
    """Built with the sanitizers and with traps, whatever build the other tests run against."""
    folder = tmp_path_factory.mktemp("transport")

    def compile_one(source):
        target = folder / ("_".join(source.parts[-2:]) + ".o")
        done = subprocess.run(["cc", *FLAGS, "-c", source, "-o", target], text=True, capture_output=True)
        assert done.returncode == 0, done.stderr
        return target

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        objects = list(pool.map(compile_one, SOURCES))
    program = folder / "sf_transport"
    subprocess.run(["cc", *FLAGS, *objects, "-o", program, *"-lcurl -lcrypto -lzstd -ljansson -lpthread -lm".split()], check=True)
    return program


@pytest.fixture(scope="module")
def shared():
    with StandIn() as standin:
        yield standin


@pytest.fixture
def snowflake(shared):
    shared.ask("/set_commit_delay", {"ms": 100})
    yield shared
    shared.remove_faults()
    shared.ask("/release", {})
    shared.ask("/set_token_life", {"seconds": 600})


class Transport:
    """A table of its own; runs of the tool that share a state file."""

    def __init__(self, tool, standin, schema):
        self.tool, self.standin, self.schema = tool, standin, schema
        self.to = f"{standin.to}&landing_schema={schema}"
        self.folder = scratch_folder("etl-transport-")
        self.process = None
        self.stderr = ""

    def start(self, rows, rows_a_second=1_000_000, *options, to=None, without=None, **environment):
        self.lines, self.seen = queue.Queue(), []
        more = {"ETL_TRAP": without or "circuit_tenths"}  # faults open the circuit again and again, for half a minute otherwise
        self.process = subprocess.Popen(
            [self.tool, to or self.to, self.folder / "state", str(rows), str(rows_a_second), *options], text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env={"PATH": os.environ["PATH"], **SANITIZER_OPTIONS, **more, **environment})
        self.stderr = ""
        threading.Thread(target=self._read, args=(self.process.stdout,), daemon=True).start()
        self.errors = threading.Thread(target=self._read_errors, args=(self.process.stderr,), daemon=True)
        self.errors.start()
        return self

    def _read(self, stream):
        for line in stream:
            self.lines.put(line.rstrip("\n"))
        self.lines.put(None)

    def _read_errors(self, stream):
        for line in stream:
            self.stderr += line

    def wait(self, word, seconds=60):
        """The next event of that name."""
        deadline = time.monotonic() + seconds
        while True:
            line = self.lines.get(timeout=max(0.1, deadline - time.monotonic()))
            assert line is not None, f"ended without '{word}': {self.seen} {self.stderr}"
            self.seen.append(line)
            if line.split(" ")[0] == word:
                return line
            assert line.split(" ")[0] not in ("failed", "start", "statement"), line

    def kill(self):
        self.process.kill()
        self.process.wait(60)
        self.errors.join(60)

    def finish(self, seconds=300):
        self.process.wait(seconds)
        self.errors.join(60)
        while (line := self.lines.get(timeout=60)) is not None:
            self.seen.append(line)
        assert not SANITIZER_REPORT.search(self.stderr), self.stderr
        return self.process.returncode

    def run(self, rows, *arguments, **options):
        self.start(rows, *arguments, **options)
        code = self.finish()
        assert code == 0, (self.seen, self.stderr)
        return self.figures()

    def figures(self):
        line = next(line for line in self.seen if line.startswith("stats "))
        return {name: float(value) for name, value in (pair.split("=") for pair in line.split()[1:])}

    def failure(self):
        return next((line for line in self.seen if line.split(" ")[0] in ("failed", "start", "statement")), "")

    def table(self):
        return f'"DEMO_DB"."{self.schema}"."LANDING_t"'

    def assert_exactly(self, rows, without=()):
        answer = Snowflake(self.to).query(f'SELECT COUNT(*), COUNT(DISTINCT "ID"), MIN("ID"), MAX("ID") FROM {self.table()}')[0]
        count = rows - len(without)
        assert [int(value) for value in answer] == [count, count, 1, rows], self.seen[-5:]


@pytest.fixture
def transport(tool, snowflake):
    made = Transport(tool, snowflake, next(schemas))
    yield made
    if made.process.poll() is None:
        made.kill()


def requests_of(standin, step):
    return [entry for entry in standin.ask("/log")["requests"] if entry["step"].startswith(step)]


def test_rows_arrive_and_limits_are_kept(transport, snowflake):
    snowflake.ask("/log", method="DELETE")
    figures = transport.run(500_000)
    transport.assert_exactly(500_000)
    assert figures["reopens"] == figures["retries"] == figures["rewinds"] == 0
    appends = requests_of(snowflake, "append")
    assert len(appends) == figures["appends"]
    assert {entry["status"] for entry in snowflake.ask("/log")["requests"]} <= {200, 202}  # never throttled
    for entry in appends:
        names = list(entry["query"])
        assert names == ["startOffsetToken", "endOffsetToken", "continuationToken", "requestId", "retryCount"]
        assert entry["user_agent"].startswith("etl-stream/") and entry["token_type"] == "OAUTH"
    for entry in snowflake.ask("/log")["requests"]:
        assert re.fullmatch("[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", entry["query"]["requestId"])


def test_many_small_batches_are_never_throttled(transport, snowflake):
    snowflake.ask("/log", method="DELETE")
    for rows in range(3_000, 18_000, 3_000):  # who stands still sends fewer and larger ones, and was not near the limit
        figures = transport.run(rows, 500)
        transport.assert_exactly(rows)
        assert figures["retries"] == 0
        if figures["appends"] > 20:  # of 48, eight a second
            break
    assert figures["appends"] > 20
    assert not [entry for entry in requests_of(snowflake, "append") if entry["status"] == 429]


def test_restart_goes_on_after_the_committed_token(transport):
    transport.run(1_000)
    transport.run(2_500)
    assert "opened 00000000000000001000" in transport.seen
    transport.assert_exactly(2_500)
    (transport.folder / "state").unlink()  # the catalog never heard of the channel
    transport.run(3_000)
    assert "opened 00000000000000002500" in transport.seen
    transport.assert_exactly(3_000)


FAULTS = [{"step": "append.before", "status": 503}, {"step": "append.before", "reset": True}, {"step": "append.before", "status": 429},
          {"step": "append.before", "status": 500, "code": "ERR_GENERAL_EXCEPTION_RETRY_REQUEST"},
          {"step": "append.after", "status": 503}, {"step": "append.after", "reset": True}, {"step": "append.after", "status": 504},
          {"step": "append.after", "status": 404}, {"step": "append.before", "status": 410}, {"step": "append.before", "status": 409}, {"step": "open", "status": 503}, {"step": "open", "reset": True},
          {"step": "open", "status": 409, "code": "ERR_OPEN_CHANNEL_IN_PROGRESS"}, {"step": "status", "status": 503},
          {"step": "status", "reset": True}, {"step": "status", "status": 404}, {"step": "token", "status": 503},
          {"step": "commit", "status": 500}, {"step": "commit", "lose_rows": True}, {"step": "hostname", "reset": True}]


@pytest.mark.timeout(1200)  # the circuit is waited for again and again
@pytest.mark.parametrize("seed", [1, 2])
def test_faults_at_every_step_lose_and_double_nothing(transport, snowflake, seed):
    chosen = random.Random(seed)
    snowflake.ask("/set_token_life", {"seconds": 8})
    transport.start(24_000, 2_000)
    while transport.process.poll() is None:
        for _ in range(chosen.randint(1, 3)):
            fault = dict(chosen.choice(FAULTS))
            snowflake.add_fault(fault.pop("step"), **fault, times=chosen.randint(1, 2), skip=chosen.randint(0, 2))
        if chosen.random() < 0.2:
            snowflake.ask("/revoke_tokens", {})
        time.sleep(chosen.uniform(0.1, 0.8))
        if chosen.random() < 0.3:
            snowflake.remove_faults()
    assert transport.finish() == 0, (transport.failure(), transport.stderr[-3000:])
    snowflake.remove_faults()
    transport.assert_exactly(24_000)
    print(seed, transport.figures())


def test_sigkill_at_any_instant(transport, snowflake):
    chosen = random.Random(7)
    snowflake.ask("/set_commit_delay", {"ms": 400})
    for _ in range(12):
        transport.start(30_000, 3_000)
        time.sleep(chosen.uniform(0.2, 2.0))
        transport.kill()
    transport.run(30_000)
    transport.assert_exactly(30_000)


def test_standin_killed_and_back(transport, tool):
    with StandIn() as own:
        one = Transport(tool, own, "RAW")
        one.start(20_000, 4_000)
        one.wait("committed")
        for _ in range(3):
            own.restart(signal.SIGKILL)
            time.sleep(1)
        assert one.finish() == 0, one.stderr[-3000:]
        one.assert_exactly(20_000)
    transport.run(1)


def other_writer(snowflake, transport):
    return Pipe(Client(snowflake.told), "LANDING_t", schema=transport.schema).channel("ETL_TRANSPORT")


def has_rows_on_their_way(transport, snowflake):
    return any(one["buffered_appends"] for one in snowflake.channels() if transport.schema in str(one))


def wait_for_rows_on_their_way(transport, snowflake):
    wait_until(lambda: has_rows_on_their_way(transport, snowflake), 60, "rows that are taken and not committed")


def test_writer_that_opens_the_channel_once_is_survived(transport, snowflake):
    transport.run(2_000)
    snowflake.ask("/stall", {"channel": "ETL_TRANSPORT"})  # from now on it cannot come to its end
    transport.start(20_000, 8_000)
    wait_for_rows_on_their_way(transport, snowflake)
    other_writer(snowflake, transport).open(fail_on_uncommitted_rows=False)  # discards what we had there
    snowflake.ask("/release", {"channel": "ETL_TRANSPORT"})
    assert transport.finish() == 0, transport.failure()
    assert transport.figures()["reopens"] >= 1
    transport.assert_exactly(20_000)


def test_writer_that_goes_on_fences(transport, snowflake):
    transport.start(1_000_000, 1_000)
    transport.wait("committed")
    other = other_writer(snowflake, transport)
    deadline = time.monotonic() + 120
    while transport.process.poll() is None and time.monotonic() < deadline:
        opened = other.try_open(fail_on_uncommitted_rows=False)
        assert opened.status in (200, 409), opened  # 409: the other one is about to open it
        time.sleep(0.3)
    assert transport.finish() == 1
    assert transport.failure().startswith("failed fenced"), transport.failure()
    assert "another program writes to channel ETL_TRANSPORT" in transport.failure()


def test_refused_rows_are_told_also_after_a_restart(transport):
    transport.start(3_000, 1_000_000, "bad-row=1234")
    assert transport.finish() == 1
    assert transport.failure().startswith("failed data"), transport.failure()
    assert "refused 1 row(s)" in transport.failure()
    # Counted since the state was kept, not since the channel is open.
    transport.start(3_000)
    assert transport.finish() == 1
    assert "refused 1 row(s)" in transport.failure()
    transport.start(3_000, without="errors_count_since_kept")
    assert transport.finish() == 0
    transport.assert_exactly(3_000, without=[1234])


def test_rows_lost_after_the_answer_are_sent_again(transport, snowflake):
    transport.run(2_000)
    snowflake.ask("/stall", {"channel": "ETL_TRANSPORT"})  # from now on it cannot come to its end
    transport.start(20_000, 8_000)
    for _ in range(2):
        wait_for_rows_on_their_way(transport, snowflake)
        snowflake.ask("/lose_rows", {"channel": "ETL_TRANSPORT", "code": "ERR_CHANNEL_MUST_BE_REOPENED"})
        transport.wait("rewind")
    snowflake.ask("/release", {"channel": "ETL_TRANSPORT"})
    assert transport.finish() == 0, transport.failure()
    transport.assert_exactly(20_000)


def test_replaced_table_is_a_loss(transport):
    transport.run(2_000)
    snowflake_sql = Snowflake(transport.to)
    snowflake_sql.execute(f'CREATE OR REPLACE TRANSIENT TABLE {transport.table()} ("ID" NUMBER(38,0), "NAME" VARCHAR(1000))')
    transport.start(3_000)
    assert transport.finish() == 1
    assert transport.failure().startswith("failed lost"), transport.failure()


def test_dropped_table_is_named(transport):
    transport.run(100)
    Snowflake(transport.to).execute(f"DROP TABLE {transport.table()}")
    transport.start(200, 1_000_000, "no-setup")
    assert transport.finish(60) == 1
    assert transport.failure().startswith("failed config"), transport.failure()
    assert "LANDING_t-STREAMING" in transport.failure()


def test_long_stall_waits_and_loses_nothing(transport, snowflake):
    transport.run(1_000)
    snowflake.ask("/stall", {})
    snowflake.ask("/log", method="DELETE")
    transport.start(6_000, 5_000)
    wait_until(lambda: len(requests_of(snowflake, "status")) >= 10 and has_rows_on_their_way(transport, snowflake), 60,
               "it to ask again and again what is committed")
    transport.kill()
    snowflake.ask("/log", method="DELETE")
    transport.start(8_000, 4_000)  # opens over uncommitted rows: 409 until they are committed
    wait_until(lambda: [entry["status"] for entry in requests_of(snowflake, "open")].count(409) >= 3, 60, "it to be refused again and again")
    snowflake.ask("/release", {})
    assert transport.finish() == 0, transport.failure()
    transport.assert_exactly(8_000)


@pytest.mark.parametrize("change, part", [
    (("ETL@", "NOBODY@"), "RSA_PUBLIC_KEY_FP"),
    (("@SANDBOX", "@OTHER"), "RSA_PUBLIC_KEY_FP"),
    (("role=ETL_ROLE", "role=NOT_MINE"), "NOT_MINE"),
    (("/DEMO_DB/", "/NO_DB/"), "NO_DB"),
    (("/etl_key.p8", "/missing.p8"), "No such file"),
    (("/tls/ca.pem", "/etl_key.p8"), "certificate"),
])
def test_wrong_destination_is_one_line(transport, change, part):
    transport.start(1, to=transport.to.replace(*change))
    assert transport.finish() != 0
    assert re.match(r"(start|statement|failed) config ", transport.failure()), transport.seen
    assert part in transport.failure()


def test_host_that_does_not_answer_is_tried_again(transport):
    transport.start(1, to=re.sub(r"host=127.0.0.1:\d+", "host=127.0.0.1:9", transport.to))
    wait_until(lambda: "trying again" in transport.stderr, 60, "it to say that it tries again")
    assert transport.process.poll() is None
    transport.kill()


def test_channel_outlives_its_token(transport, snowflake):
    snowflake.ask("/set_token_life", {"seconds": 3})
    snowflake.ask("/log", method="DELETE")
    transport.run(8_000, 1_000)
    transport.assert_exactly(8_000)
    assert len(requests_of(snowflake, "token")) >= 3
    # Renewed a fifth of its two sure seconds ahead. Who stood still for so long finds it expired, and has another one then.
    log = snowflake.ask("/log")["requests"]
    stood_still = any(after["at_ms"] - before["at_ms"] > 300 for before, after in zip(log, log[1:]))
    assert stood_still or not [entry for entry in log if entry["status"] == 401], log


def test_statement_runs_once_whatever_happens_to_its_answer(transport, snowflake):
    for fault in ({"step": "sql.submit.after", "reset": True}, {"step": "sql.submit.before", "status": 503},
                  {"step": "sql.poll", "reset": True}, {"step": "sql.submit.after", "status": 500}):
        snowflake.add_fault(fault.pop("step"), **fault, times=2)
    transport.run(100)
    transport.assert_exactly(100)
