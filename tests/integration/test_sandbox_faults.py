"""The stand-in's streaming interface under faults, restarts and kills."""
import asyncio
import concurrent.futures
import json
import os
import pathlib
import random
import shutil
import signal
import sys
import time
import urllib.error

import pytest
from pgserver import scratch_folder
from program import wait_until
from psycopg import sql
from sandbox_fixtures import Client
from standin import ROOT, StandIn
from streaming_box import box, channel, client, ids, make_pipe, numbered, pipe, plain_settings, stall  # noqa: F401 (fixtures)

# ----- faults


def test_fault_before_an_append_takes_nothing(box, pipe, channel):
    box.ask("/faults", {"step": "append.before", "status": 503, "code": "ReceiverSaturated", "skip": 1, "times": 2})
    channel.append(numbered(1, 1), "1")
    for _ in range(2):
        answer = channel.try_append(numbered(2, 2), "2")
        assert (answer.status, answer.code) == (503, "ReceiverSaturated")
    channel.append(numbered(2, 2), "2")
    channel.wait_committed("2")
    assert ids(pipe) == [1, 2]


def test_fault_after_an_append_loses_only_the_answer(box, pipe, channel):
    box.ask("/faults", {"step": "append.after", "reset": True})
    with pytest.raises(ConnectionResetError):
        channel.try_append(numbered(1, 1), "1")
    channel.append(numbered(1, 1), "1")  # the same request again
    channel.append(numbered(2, 2), "2")
    channel.wait_committed("2")
    assert ids(pipe) == [1, 2]
    assert [entry["status"] for entry in box.ask("/log?step=append.after")["requests"][-3:]] == [0, 200, 200]


@pytest.mark.parametrize("step", ["hostname", "token", "open", "status", "drop"])
def test_faults_at_the_other_steps(box, client, pipe, channel, step):
    box.ask("/faults", {"step": step, "status": 500, "body": '"ERR_GENERAL_EXCEPTION_RETRY_REQUEST"'})

    def ask():
        if step == "hostname":
            return client.hostname()
        if step == "token":
            return client.exchange()
        if step == "open":
            return channel.try_open()
        if step == "drop":
            return channel.drop()
        return client.request("POST", pipe.path() + ":bulk-channel-status", b'{"channel_names":["C1"]}', client.ingest_headers())

    answer = ask()
    assert (answer.status, answer.body) == (500, b'"ERR_GENERAL_EXCEPTION_RETRY_REQUEST"')
    assert ask().status == 200


def test_fault_that_waits_and_is_for_one_channel(box, pipe):
    one, two = pipe.channel("ONE"), pipe.channel("TWO")
    one.open()
    two.open()
    two.client = Client(box.told)  # a connection of its own
    two.client.token = one.client.token
    fault = box.add_fault("append.before", delay_ms=500, hold=True, channel="T*")  # a pattern
    started = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        held = pool.submit(two.append, numbered(2, 2), "2")
        wait_until(lambda: box.fault_hits(fault), 60, "the append to be held", pause=0.01)
        one.append(numbered(1, 1), "1")
        wait_until(lambda: time.monotonic() - started > 0.5, 60, "the delay to be over")
        one.append(numbered(2, 2), "2")
        assert not held.done()
        box.remove_faults()
        held.result()
    two.client.close()


def test_failed_commits_are_tried_again(box, pipe, channel):
    box.ask("/faults", {"step": "commit", "status": 500, "times": 2})
    channel.append(numbered(1, 2), "2")
    channel.wait_committed("2")
    assert ids(pipe) == [1, 2]


def test_lost_rows_invalidate_the_channel(box, pipe, channel):
    channel.append(numbered(1, 1), "1")
    channel.wait_committed("1")
    stall(box)
    channel.append(numbered(2, 2), "2")
    assert box.ask("/lose_rows", {"channel": "C1"})["appends"] >= 1
    box.ask("/release", {})
    status = channel.status()
    assert status["channel_status_code"] == "ERR_CHANNEL_MUST_BE_REOPENED_DUE_TO_ROW_SEQ_GAP"
    assert status["last_committed_offset_token"] == "1"
    answer = channel.try_append(numbered(3, 3), "3")
    assert (answer.status, answer.code) == (409, "ERR_CHANNEL_MUST_BE_REOPENED_DUE_TO_ROW_SEQ_GAP")
    assert channel.open()["channel_status_code"] == "SUCCESS"
    channel.append(numbered(2, 3), "3")
    channel.wait_committed("3")
    assert ids(pipe) == [1, 2, 3]


def test_silently_invalidated_channel_shows_only_in_its_status(box, pipe, channel):
    box.ask("/invalidate_channel", {"channel": "C1", "silent": True, "code": "ERR_CHANNEL_HAS_INVALID_ROW_SEQUENCER"})
    channel.append(numbered(1, 1), "1")
    channel.append(numbered(2, 2), "2")
    assert channel.status()["channel_status_code"] == "ERR_CHANNEL_HAS_INVALID_ROW_SEQUENCER"
    channel.open()
    assert ids(pipe) == []


def test_faults_are_checked_and_listed(box):
    for wrong in ({"step": "nowhere", "status": 500}, {"step": "open"}, {"step": "open", "status": "500"}, {"step": "open", "what": 1}):
        with pytest.raises(urllib.error.HTTPError):
            box.ask("/faults", wrong)
    box.ask("/faults", {"step": "open", "status": 500, "times": None})
    assert [fault["step"] for fault in box.ask("/faults")["faults"]] == ["open"]
    assert box.ask("/faults", method="DELETE") == {"removed": 1}


def test_log_and_statistics_hold_no_secret(box, client, channel):
    channel.append(numbered(1, 1), "1")
    channel.wait_committed("1")
    text = json.dumps(box.ask("/log")) + json.dumps(box.ask("/statistics")) + json.dumps(box.ask("/channels"))
    assert client.jwt not in text and client.jwt.rsplit(".", 1)[1] not in text
    assert client.token not in text and client.token.rsplit(".", 1)[1] not in text
    entry = box.ask("/log?path=/rows")["requests"][-1]
    assert (entry["method"], entry["status"], entry["query"]["endOffsetToken"]) == ("POST", 200, "1")
    assert entry["request_bytes"] == len(b'{"ID": 1}\n')


# ----- restarts and kills


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_restart_keeps_tables_channels_tokens_and_accepted_rows(number):
    with StandIn(options=["--commit-delay-ms", "100"]) as standin:
        client = Client(standin.told)
        pipe = make_pipe(client, name="KEPT")
        channel = pipe.channel()
        channel.open()
        channel.append([{"ID": 1}, {"ID": "x"}], "1")
        before = channel.wait_committed("1")
        standin.ask("/stall", {})
        last = channel.token
        channel.append(numbered(2, 3), "3", encoding="zstd")
        token = channel.token
        standin.restart(number)
        client.close()
        # The scoped token is still good, the append can be repeated, the chain of continuation tokens goes on.
        again = channel.try_append(numbered(2, 3), "3", token=last, encoding="zstd")
        assert (again.status, again.json["next_continuation_token"]) == (200, token)
        channel.append(numbered(4, 4), "4")
        status = channel.wait_committed("4")
        assert ids(pipe) == [1, 2, 3, 4]
        assert status["created_on_ms"] == before["created_on_ms"]
        assert (status["rows_inserted"], status["rows_error_count"]) == (4, 1)


def test_kills_while_rows_flow_lose_and_double_nothing():
    with StandIn(options=["--commit-delay-ms", "20"]) as standin:
        client = Client(standin.told)
        pipe = make_pipe(client, name="KILLED")
        channel = pipe.channel()
        channel.open()
        number = 0
        for kill in range(3):
            for step in range(8):
                channel.append(numbered(number * 50 + 1, number * 50 + 50), str(number + 1), encoding="zstd")
                number += 1
                if step == 5:
                    standin.restart(signal.SIGKILL)
                    client.close()
                time.sleep(0.1)
        channel.wait_committed(str(number))
        assert client.sql(f'SELECT COUNT(*), COUNT(DISTINCT "ID"), MAX("ID") FROM {pipe.qualified}') == [[str(number * 50)] * 3]


def test_a_killed_converter_is_replaced():
    with StandIn(options=["--commit-delay-ms", "20"]) as standin:
        client = Client(standin.told)
        pipe = make_pipe(client, name="WORKERS")
        channel = pipe.channel()
        channel.open()
        killed = 0
        for process in pathlib.Path("/proc").glob("[0-9]*"):
            try:
                parent = int((process / "stat").read_text().rpartition(")")[2].split()[1])
                is_worker = (process / "comm").read_text() == "converter\n"
            except OSError:
                continue
            if parent == standin.process.pid and is_worker:
                os.kill(int(process.name), signal.SIGKILL)
                killed += 1
        assert killed == 2
        channel.append(numbered(1, 20_000), "1", encoding="zstd")
        channel.wait_committed("1")
        assert client.sql(f"SELECT COUNT(*) FROM {pipe.qualified}") == [["20000"]]


def test_a_row_that_only_the_server_refuses_is_dropped_alone():
    """The net below the converter: a fault of ours in it must cost one row, not stop the channel."""
    sys.path.insert(0, str(ROOT / "tools" / "sandbox"))
    from snowbox.channels import Append, Channels, Pipe as StoredPipe
    from snowbox.commits import Committer
    from snowbox.faults import FaultPlan, now_ms
    from snowbox.rows import FIELD, Converted, ConverterPool
    from snowbox.sftypes import Type
    from snowbox.storage import Column, Storage

    async def run(folder):
        storage = await Storage.open(folder)
        channels = Channels(storage)
        committer = Committer(storage, channels, FaultPlan(), ConverterPool(), delay_ms=0)
        try:
            await channels.load()
            async with storage.connection() as connection:
                await storage.create_database(connection, "DB")
                columns = [Column("ID", Type.parse("NUMBER(38,0)")), Column("V", Type.parse("VARCHAR(3)"))]
                table = await storage.create_table(connection, "DB", "PUBLIC", "T", columns, error_logging=True)

            def convert(shape, encoding, body):
                future = asyncio.get_running_loop().create_future()
                lines = ["1", "a"], ["x", "b"], ["2", "abcd"], ["3", "c"]
                future.set_result(Converted("".join(FIELD.join(line) + "\n" for line in lines).encode(), parsed=4, inserted=4))
                return future

            committer.pool.convert = convert
            channel = await channels.open(StoredPipe("DB", "PUBLIC", "T-STREAMING"), "C", fail_on_uncommitted_rows=True, offset_token=None)
            append = Append(0, "1", "4", "identity", b"{}\n", now_ms())
            await channels.append(channel, channels.continuation_token(channel), append, "digest")
            await channel.task
            async with storage.connection() as connection:
                cursor = await connection.execute(sql.SQL('SELECT "ID" FROM {} ORDER BY 1').format(storage.relation(table)))
                return channel, [int(row[0]) for row in await cursor.fetchall()]
        finally:
            await committer.close()
            await channels.close()
            await storage.close()

    folder = scratch_folder("etl-standin-")
    try:
        channel, stored = asyncio.run(run(folder))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    assert stored == [1, 3]
    assert (channel.rows_inserted, channel.rows_parsed, channel.rows_error_count, channel.committed_token) == (2, 4, 2, "4")


class Writer:
    """A client that keeps to the rules: after anything but a 200 it opens the channel and goes on after the committed token."""

    def __init__(self, box, pipe, last, chance):
        self.box, self.channel, self.last, self.chance = box, pipe.channel("WRITER"), last, chance
        self.next = 1

    def run(self):
        self.open()
        while True:
            while self.next <= self.last:
                if not self.send():
                    self.open()
            if self.committed() == self.last:
                return
            self.open()

    def send(self):
        until = min(self.last, self.next + self.chance.randrange(30))
        try:
            answer = self.channel.try_append(numbered(self.next, until), f"{until:06d}", start=f"{self.next:06d}",
                                             encoding=self.chance.choice([None, "zstd"]))
        except OSError:
            return False
        if answer.status != 200:
            return False
        self.channel.token = answer.json["next_continuation_token"]
        self.next = until + 1
        return True

    def open(self):
        fail = self.chance.random() < 0.5
        deadline = time.monotonic() + 60
        while True:
            assert time.monotonic() < deadline, "the channel cannot be opened"
            try:
                answer = self.channel.try_open(fail_on_uncommitted_rows=fail)
            except OSError:
                continue
            if answer.status == 200:
                break
            time.sleep(0.02)
        self.channel.token = answer.json["next_continuation_token"]
        self.next = int(answer.json["channel_status"]["last_committed_offset_token"] or 0) + 1

    def committed(self):
        """The last number that is in the table: all of them, or what there is when the channel turns out to be invalid."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                status = self.channel.status()
            except (OSError, AssertionError):
                continue
            done = int(status["last_committed_offset_token"] or 0)
            if done == self.last or status["channel_status_code"] != "SUCCESS":
                return done
            time.sleep(0.02)
        raise AssertionError("the rows are not committed")


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_writer_that_keeps_to_the_rules_loses_and_doubles_nothing(box, pipe, seed):
    chance = random.Random(seed)
    box.ask("/set_limits", {"enabled": False})
    box.ask("/set_commit_delay", {"ms": 15})
    # With how many calls of that step may pass first: 2,500 rows take 85 appends at least, so those act for certain; how often
    # a channel is opened, asked for and committed depends on the others and on the machine.
    appends = (
        ({"step": "append.before", "reset": True}, 60), ({"step": "append.after", "reset": True}, 60),
        ({"step": "append.after", "status": 500}, 60), ({"step": "append.before", "status": 503}, 60),
    )
    others = (
        ({"step": "open", "status": 500}, 5), ({"step": "open", "reset": True}, 5), ({"step": "status", "status": 503}, 2),
        ({"step": "commit", "status": 500}, 20), ({"step": "commit", "lose_rows": True}, 20), ({"step": "commit", "delay_ms": 60}, 20),
    )
    for fault, skip_max in [chance.choice(appends) for _ in range(10)] + [chance.choice(others) for _ in range(15)]:
        box.ask("/faults", {**fault, "skip": chance.randrange(skip_max), "times": chance.randrange(1, 3)})
    writer = Writer(box, pipe, 2500, chance)
    writer.run()
    acted = sum(fault["hits"] for fault in box.ask("/faults")["faults"])
    assert acted >= 10, f"seed {seed}: only {acted} faults acted"
    assert ids(pipe) == list(range(1, 2501)), f"seed {seed}"
