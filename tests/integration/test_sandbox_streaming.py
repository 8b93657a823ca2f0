"""The stand-in's streaming interface: order, offsets, commits, open and drop, tables under channels."""
import concurrent.futures
import json
import time

import pytest
from program import patience, wait_until
from sandbox_fixtures import Client, Pipe
from streaming_box import COLUMNS, box, channel, client, ids, make_pipe, numbered, pipe, plain_settings, stall  # noqa: F401 (fixtures)

# ----- order and offsets


def test_rows_are_committed_after_the_answer_with_their_token(box, pipe, channel):
    stall(box)
    channel.append(numbered(1, 3), "3", start="1")
    assert channel.status()["last_committed_offset_token"] is None
    assert ids(pipe) == []
    box.ask("/release", {})
    status = channel.wait_committed("3")
    assert (status["rows_inserted"], status["rows_parsed"], status["rows_error_count"]) == (3, 3, 0)
    assert ids(pipe) == [1, 2, 3]


def test_commit_delay_holds_back_the_commit(box, channel):
    box.ask("/set_commit_delay", {"ms": 700})
    started = time.monotonic()
    channel.append(numbered(1, 1), "1")
    channel.wait_committed("1")
    assert time.monotonic() - started >= 0.7


def test_one_channel_can_be_stalled_while_another_commits(box, pipe):
    one, two = pipe.channel("ONE"), pipe.channel("TWO")
    one.open()
    two.open()
    stall(box, "ONE")
    one.append(numbered(1, 1), "1")
    two.append(numbered(2, 2), "2")
    two.wait_committed("2")
    assert one.status()["last_committed_offset_token"] is None
    box.ask("/release", {"channel": "ONE"})
    one.wait_committed("1")


def test_repeat_of_the_last_append_is_recognised(pipe, channel):
    token = channel.token
    first = channel.try_append(numbered(1, 2), "2", token=token)
    again = channel.try_append(numbered(1, 2), "2", token=token)
    assert (first.status, again.status) == (200, 200)
    assert first.json == again.json
    channel.token = again.json["next_continuation_token"]
    channel.append(numbered(3, 3), "3")
    channel.wait_committed("3")
    assert ids(pipe) == [1, 2, 3]


def test_repeat_compressed_otherwise_is_the_same_append(pipe, channel):
    token = channel.token
    first = channel.try_append(numbered(1, 2), "2", token=token, encoding="zstd")
    again = channel.try_append(numbered(1, 2), "2", token=token, encoding="gzip")
    assert first.json == again.json
    channel.wait_committed("2")
    assert ids(pipe) == [1, 2]


@pytest.mark.parametrize("rows, start, end", [(numbered(1, 3), "1", "2"), (numbered(1, 2), "1", "3"), (numbered(1, 2), "0", "2")])
def test_repeat_with_anything_changed_is_stale(channel, rows, start, end):
    token = channel.token
    assert channel.try_append(numbered(1, 2), "2", start="1", token=token).status == 200
    answer = channel.try_append(rows, end, start=start, token=token)
    assert (answer.status, answer.code) == (400, "STALE_CONTINUATION_TOKEN_SEQUENCER")


def test_only_the_last_append_can_be_repeated(channel):
    token = channel.token
    channel.append(numbered(1, 1), "1")
    channel.append(numbered(2, 2), "2")
    answer = channel.try_append(numbered(1, 1), "1", token=token)
    assert (answer.status, answer.code) == (400, "STALE_CONTINUATION_TOKEN_SEQUENCER")


def test_forged_tokens_are_refused(pipe, channel):
    sequencer, row, seal = channel.token.split("_")
    forged = [f"{sequencer}_{int(row) + 1}_{seal}", f"{int(sequencer) + 1}_{row}_{seal}", f"{sequencer}_{row}", "0_1", "x", "é" * 500]
    for token in forged:
        answer = channel.try_append(numbered(1, 1), "1", token=token)
        assert (answer.status, answer.code) == (400, "STALE_CONTINUATION_TOKEN_SEQUENCER"), token
    other = pipe.channel("OTHER")
    other.open()
    answer = channel.try_append(numbered(1, 1), "1", token=other.token)
    assert answer.code == "STALE_CONTINUATION_TOKEN_SEQUENCER"
    assert channel.try_append(numbered(1, 1), "1").status == 200


def test_opening_makes_every_earlier_token_stale(pipe, channel):
    channel.append(numbered(1, 1), "1")
    channel.wait_committed("1")
    zombie = pipe.channel()
    zombie.token = channel.token
    status = channel.open(fail_on_uncommitted_rows=True)
    assert status["last_committed_offset_token"] == "1"
    answer = zombie.try_append(numbered(9, 9), "9")
    assert (answer.status, answer.code) == (400, "STALE_CONTINUATION_TOKEN_SEQUENCER")
    channel.append(numbered(2, 2), "2")
    channel.wait_committed("2")
    assert ids(pipe) == [1, 2]


def test_a_repeat_is_stale_after_an_open(channel):
    token = channel.token
    channel.append(numbered(1, 1), "1")
    channel.wait_committed("1")
    channel.open()
    assert channel.try_append(numbered(1, 1), "1", token=token).code == "STALE_CONTINUATION_TOKEN_SEQUENCER"


def test_concurrent_appends_with_one_token_are_taken_once(box, client, pipe, channel):
    token, channel_count = channel.token, 6

    def append(number):
        own = Client(box.told)
        own.token = client.token
        rival = Pipe(own, pipe.table).channel()
        return number, rival.try_append([{"ID": number}], str(number), token=token)

    with concurrent.futures.ThreadPoolExecutor(channel_count) as threads:
        answers = list(threads.map(append, range(channel_count)))
    winners = [number for number, answer in answers if answer.status == 200]
    assert len(winners) == 1
    channel.wait_committed(str(winners[0]))
    assert ids(pipe) == winners


# ----- open and drop


def test_open_over_uncommitted_rows_is_refused_or_discards_them(box, pipe, channel):
    channel.append(numbered(1, 1), "1")
    channel.wait_committed("1")
    stall(box)
    channel.append(numbered(2, 3), "3")
    answer = channel.try_open(fail_on_uncommitted_rows=True)
    assert (answer.status, answer.code) == (409, "ERR_CHANNEL_HAS_UNCOMMITTED_DATA")
    # A refused open changes nothing: the writer's token is still good.
    channel.append(numbered(4, 4), "4")
    status = channel.open(fail_on_uncommitted_rows=False)
    assert status["last_committed_offset_token"] == "1"
    box.ask("/release", {})
    channel.append(numbered(5, 5), "5")
    channel.wait_committed("5")
    assert ids(pipe) == [1, 5]


def test_open_discards_by_default(box, pipe, channel):
    stall(box)
    channel.append(numbered(1, 1), "1")
    assert channel.open()["last_committed_offset_token"] is None
    box.ask("/release", {})
    assert ids(pipe) == []


def test_offset_token_of_a_new_channel(pipe):
    channel = pipe.channel("NEW")
    assert channel.open(offset_token="floor")["last_committed_offset_token"] == "floor"
    assert channel.status()["last_committed_offset_token"] == "floor"
    # The same again, after a lost answer, changes nothing; another one is refused.
    assert channel.open(offset_token="floor")["last_committed_offset_token"] == "floor"
    answer = channel.try_open(offset_token="other")
    assert answer.status == 400
    assert channel.open(offset_token=None)["last_committed_offset_token"] == "floor"


def test_open_in_progress_is_a_conflict(box, client, channel):
    fault = box.add_fault("commit", hold=True)
    channel.append(numbered(1, 1), "1")
    wait_until(lambda: box.fault_hits(fault), 60, "the commit to be held", pause=0.01)  # and with it the first open

    def reopen():
        own = Client(box.told)
        own.token = client.token
        return Pipe(own, channel.pipe.table).channel().try_open()

    with concurrent.futures.ThreadPoolExecutor(2) as threads:
        opening = [threads.submit(reopen) for _ in range(2)]
        concurrent.futures.wait(opening, patience(60), concurrent.futures.FIRST_COMPLETED)
        box.remove_faults()
        answers = [future.result() for future in opening]
    assert sorted(answer.status for answer in answers) == [200, 409]
    assert {answer.code for answer in answers if answer.status == 409} == {"ERR_OPEN_CHANNEL_IN_PROGRESS"}


def test_dropped_channel_is_gone(box, pipe, channel):
    stall(box)
    channel.append(numbered(1, 1), "1")
    assert channel.drop(fail_on_uncommitted_rows=True).code == "ERR_CHANNEL_HAS_UNCOMMITTED_DATA"
    box.ask("/release", {})
    created = channel.wait_committed("1")["created_on_ms"]
    assert channel.drop(fail_on_uncommitted_rows=True).status == 200
    assert pipe.status("C1") == {}
    assert channel.try_append(numbered(2, 2), "2").status == 404
    assert channel.drop().status == 404
    status = channel.open()
    assert status["last_committed_offset_token"] is None
    assert status["rows_inserted"] == 0
    assert status["created_on_ms"] > created
    assert ids(pipe) == [1]


@pytest.mark.parametrize("body", [b'{"fail_on_uncommitted_rows":1}', b'{"what":true}', b"[]", b"{", b'{"offset_token":7}'])
def test_open_with_a_wrong_body_is_refused(channel, body):
    assert channel.try_open(body=body).status == 400


def test_open_names_what_is_missing(client, pipe):
    assert Pipe(client, "NO_SUCH").channel().try_open().code == "ERR_TABLE_DOES_NOT_EXIST_NOT_AUTHORIZED"
    assert Pipe(client, pipe.table, database="NO_SUCH").channel().try_open().status == 404
    assert pipe.channel("ELASTIC").try_open().status == 400
    for path in (f"/v2/streaming/databases/DEMO_DB/schemas/PUBLIC/pipes/{pipe.table}/channels/C", "/v2/streaming/databases/DEMO_DB"):
        assert client.request("PUT", path, b"{}", client.ingest_headers()).status == 404


def test_identifiers_in_urls(client):
    name = 'we"ird/ Näme:bulk-x'
    pipe = make_pipe(client, name=name)
    channel = pipe.channel("%22my%20channel%22")
    channel.open()
    channel.append(numbered(1, 1), "1")
    deadline = time.monotonic() + 60
    while pipe.status("my channel")["my channel"]["last_committed_offset_token"] != "1":
        assert time.monotonic() < deadline
    assert ids(pipe) == [1]
    # Without quotes a name folds to upper case; a lower-case one in quotes is another one.
    plain = make_pipe(client, name="FOLDED")
    path = "/v2/streaming/databases/demo_db/schemas/public/pipes/folded-streaming/channels/lower"
    assert client.request("PUT", path, b"{}", client.ingest_headers()).json["channel_status"]["channel_name"] == "LOWER"
    assert plain.status("LOWER", "lower").keys() == {"LOWER"}
    assert Pipe(client, "folded").channel().try_open().status == 404


def test_a_pipe_has_channels_up_to_the_limit_of_a_status_request(client, pipe):
    path = pipe.path() + ":bulk-channel-status"
    body = json.dumps({"channel_names": [f"C{number}" for number in range(1001)]}).encode()
    assert client.request("POST", path, body, client.ingest_headers()).code == "ERR_GET_CHANNEL_STATUS_TOO_MANY_CHANNELS"
    for wrong in (b"{}", b'{"channel_names":[1]}', b'{"channel_names":"C"}'):
        assert client.request("POST", path, wrong, client.ingest_headers()).status == 400


# ----- tables under channels


@pytest.mark.parametrize("statement, code", [
    ("CREATE OR REPLACE TABLE {0} ({1})", "ERR_CHANNEL_MUST_BE_REOPENED"),
    ("DROP TABLE {0}", "ERR_TABLE_DOES_NOT_EXIST_NOT_AUTHORIZED"),
])
def test_a_table_replaced_or_dropped_under_a_channel_loses_rows_silently(client, pipe, channel, statement, code):
    channel.append(numbered(1, 1), "1")
    created = channel.wait_committed("1")["created_on_ms"]
    client.sql(statement.format(pipe.qualified, COLUMNS))
    channel.append(numbered(2, 2), "2")
    channel.append(numbered(3, 3), "3")
    status = channel.status()
    assert (status["channel_status_code"], status["last_committed_offset_token"]) == (code, "1")
    time.sleep(0.3)
    channel.append(numbered(4, 4), "4")
    assert channel.status()["last_committed_offset_token"] == "1"
    if code == "ERR_CHANNEL_MUST_BE_REOPENED":
        assert ids(pipe) == []
        status = channel.open()
        assert status["last_committed_offset_token"] is None
        assert status["created_on_ms"] > created
        channel.append(numbered(5, 5), "5")
        channel.wait_committed("5")
        assert ids(pipe) == [5]
    else:
        assert channel.try_open().status == 404


def test_delete_and_added_columns_do_not_disturb_a_channel(client, pipe, channel):
    channel.append(numbered(1, 2), "2")
    channel.wait_committed("2")
    client.sql(f'DELETE FROM {pipe.qualified} WHERE "ID" = 1')
    client.sql(f'ALTER TABLE {pipe.qualified} ADD COLUMN "EXTRA" VARCHAR(5)')
    channel.append([{"ID": 3, "EXTRA": "new"}], "3")
    channel.wait_committed("3")
    assert pipe.rows('"ID", "EXTRA"') == [["2", None], ["3", "new"]]
