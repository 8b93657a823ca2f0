"""The stand-in's streaming interface: order, offsets, commits, refused rows, limits, tokens, faults, kills."""
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
import uuid

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from pgserver import scratch_folder
from psycopg import sql
from sandbox_fixtures import Client, Pipe, make_jwt
from standin import ROOT, StandIn

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
    box.ask("/faults", {"step": "commit", "delay_ms": 700})
    channel.append(numbered(1, 1), "1")
    time.sleep(0.2)  # the commit, and with it the first open, waits for the fault's delay

    def reopen():
        own = Client(box.told)
        own.token = client.token
        return Pipe(own, channel.pipe.table).channel().try_open()

    with concurrent.futures.ThreadPoolExecutor(2) as threads:
        answers = [future.result() for future in [threads.submit(reopen) for _ in range(2)]]
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
    deadline = time.monotonic() + 10
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


# ----- rows


def test_bad_rows_are_dropped_and_counted_and_kept_in_the_error_table(client):
    pipe = make_pipe(client, options="ERROR_LOGGING = TRUE")
    channel = pipe.channel()
    channel.open()
    lines = [b'{"ID":1}', b'{"ID":"x"}', b'{"ID":2,"NAME":"12345678901"}', b"not json", b"[1]", b'{"ID":3,"NAME":"\xff"}', b'{"ID":4}']
    channel.append(b"\n".join(lines) + b"\n", "b", start="a")
    status = channel.wait_committed("b")
    assert (status["rows_inserted"], status["rows_parsed"], status["rows_error_count"], status["rows_errors"]) == (2, 7, 5, 5)
    assert status["last_error_offset_upper_bound"] == "b"
    assert status["last_error_message"]
    assert abs(status["last_error_timestamp_ms"] - time.time() * 1000) < 60_000
    assert ids(pipe) == [1, 4]
    kept = client.sql(f"SELECT ERROR_METADATA, ERROR_DATA FROM ERROR_TABLE({pipe.qualified})")
    assert len(kept) == 5
    details = [json.loads(row[0])["details"] for row in kept]
    assert {(one["offset_token_lower_bound"], one["offset_token_upper_bound"], one["channel_name"]) for one in details} == {("a", "b", "C1")}
    assert sorted(one["error_data_content_type"] for one in details) == ["binary-base64", "json", "json", "json", "json-invalid"]
    # The counter never goes back: not with a good batch, not with an open.
    channel.append(numbered(5, 5), "c")
    assert channel.wait_committed("c")["rows_error_count"] == 5
    assert channel.open()["rows_error_count"] == 5


def test_keys_match_columns_as_snowflake_does(client):
    pipe = make_pipe(client, '"ID" NUMBER(38,0), "lower" VARCHAR(10), "D" VARCHAR(10) DEFAULT \'x\', "J" VARIANT, "A" ARRAY')
    channel = pipe.channel()
    channel.open()
    channel.append([
        {"id": 1, "LOWER": "no", "unknown": 1},
        {"Id": 2, "lower": "yes"},
        {"id": 9, "ID": 3, "J": None, "A": "text"},
        {"ID": 4, "J": "text", "A": None},
    ], "1")
    assert channel.wait_committed("1")["rows_error_count"] == 0
    rows = pipe.rows('"ID", "lower", "D", "J", "A"')
    assert [(*row[:3], *(value and json.dumps(json.loads(value)) for value in row[3:])) for row in rows] == [
        ("1", None, None, None, None),
        ("2", "yes", None, None, None),
        ("3", None, None, "null", '["text"]'),  # an explicit null into VARIANT is a JSON null
        ("4", None, None, '"text"', None),
    ]


def test_schema_evolution_adds_columns(client):
    pipe = make_pipe(client, '"ID" NUMBER(38,0)', "ENABLE_SCHEMA_EVOLUTION = TRUE")
    channel = pipe.channel()
    channel.open()
    channel.append([{"ID": 1, "new_one": "text", "none": None}, {"ID": 2, "NEW_ONE": "more", "odd name": 7}], "1")
    assert channel.wait_committed("1")["rows_error_count"] == 0
    assert pipe.rows('"ID", "NEW_ONE", "odd name"') == [["1", "text", None], ["2", "more", "7"]]


# type, values that are taken with what they read back as, values that are dropped
CONVERSIONS = [
    ("NUMBER(38,0)", [(7, "7"), ("-12345678901234567890123456789012345678", None), (12345678901234567890, None), (1.4, "1"), (2.5, "3"),
                      (-2.5, "-3"), ("1e3", "1000"), ("7.5", "8")], ["", "abc", " 1", "1_0", True, [1], 10**38, "1" * 39, "NaN", 1e39]),
    ("NUMBER(10,2)", [(1.005, "1.01"), ("99999999.99", None), ("-0.004", "0.00"), (99999999, "99999999.00")], [100000000, 99999999.995, "1e8"]),
    ("NUMBER(38,9)", [("12345678901234567890123456789.123456789", None)], ["123456789012345678901234567890"]),
    ("FLOAT", [(1.5, "1.5"), (3, "3"), ("2.25", "2.25")], ["abc", True, {}, "1e999", "nan", "inf"]),
    ("VARCHAR(5)", [("abcde", None), ("äöü€𝄞", None), ("", None), (" a ", None), (12, "12"), (True, "true"), ("a\n\t\\", None)], ["abcdef", 123456]),
    ("BOOLEAN", [(True, "true"), (False, "false"), ("true", "true"), ("FALSE", "false")], [1, 0, "1", "yes", "t", []]),
    ("BINARY(3)", [("0aFF", "0AFF"), ("", "")], ["0", "xx", "01020304", 12, "AAECAw=="]),
    ("VARCHAR(50)", [({"a": [1]}, '{"a":[1]}')], []),
]
TIME_CONVERSIONS = [
    ("DATE", ["2024-02-29", "0001-01-01", "9999-12-31"], ["2023-02-29", "2024-1-1", "20240101", "2024-01-01 00:00:00", 19000, "0000-01-01", "10000-01-01"]),
    ("TIME(6)", ["00:00:00", "23:59:59.999999", "10:20:30.5"], ["24:00:00", "10:20:30Z", "10:20:30+01", "10:20", 5, "10:20:30.x"]),
    ("TIMESTAMP_NTZ(6)", ["2024-02-29 10:20:30.123456", "2024-02-29T10:20:30"],
     ["2024-02-29 10:20:30Z", "2024-02-30 00:00:00", "2024-02-29", "2024-02-29 24:00:00", 1700000000, "infinity", "2024-02-29 10:20:30+02:00"]),
    ("TIMESTAMP_TZ(6)", ["2024-02-29 10:20:30.123456Z", "2024-02-29T10:20:30+02:00", "2024-02-29 10:20:30 -0730"],
     ["2024-02-29 10:20:30", "2024-02-29 10:20:30+25:00", "2024-02-29 10:20:30 UTC", 1700000000]),
]


@pytest.mark.parametrize("type_, taken, dropped", CONVERSIONS, ids=[f"{index}-{one[0]}" for index, one in enumerate(CONVERSIONS)])
def test_conversions(client, type_, taken, dropped):
    pipe = make_pipe(client, f'"N" NUMBER(38,0), "V" {type_}')
    channel = pipe.channel()
    channel.open()
    channel.append([{"N": number, "V": value} for number, (value, _) in enumerate(taken)], "1")
    assert channel.wait_committed("1")["rows_error_count"] == 0
    expected = [[str(number), str(value) if told is None else told] for number, (value, told) in enumerate(taken)]
    read = '"V"' if type_ != "FLOAT" else 'TO_VARCHAR("V")'
    assert pipe.rows(f'"N", {read}', '"N"') == expected
    for number, value in enumerate(dropped, 1):
        time.sleep(0.1)  # ten appends a second
        channel.append([{"N": 100, "V": value}], f"d{number}")
        assert channel.wait_committed(f"d{number}")["rows_error_count"] == number, value


@pytest.mark.parametrize("type_, taken, dropped", TIME_CONVERSIONS, ids=[one[0] for one in TIME_CONVERSIONS])
def test_conversions_of_dates_and_times(client, type_, taken, dropped):
    pipe = make_pipe(client, f'"N" NUMBER(38,0), "V" {type_}')
    channel = pipe.channel()
    channel.open()
    channel.append([{"N": number, "V": value} for number, value in enumerate(taken + dropped)], "1")
    status = channel.wait_committed("1")
    assert [int(row[0]) for row in pipe.rows('"N"')] == list(range(len(taken)))
    assert status["rows_error_count"] == len(dropped)
    for number, value in enumerate(taken):
        assert client.sql(f'SELECT COUNT(*) FROM {pipe.qualified} WHERE "N" = {number} AND "V" = \'{value}\'::{type_}') == [["1"]]


def test_long_numbers_keep_their_digits(client):
    pipe = make_pipe(client, '"N" NUMBER(38,18), "J" VARIANT, "F" FLOAT')
    channel = pipe.channel()
    channel.open()
    channel.append(b'{"N":12345678901234567890.123456789012345678,"F":0.12345678901234567,"J":{"F":0.1234567890123456789012}}\n', "1")
    assert channel.wait_committed("1")["rows_error_count"] == 0
    row = pipe.rows('"N", "J"')[0]
    assert row[0] == "12345678901234567890.123456789012345678"
    assert "0.1234567890123456789012" in row[1]


def test_not_null_columns(client):
    pipe = make_pipe(client, '"ID" NUMBER(38,0) NOT NULL, "V" VARCHAR(5)')
    channel = pipe.channel()
    channel.open()
    channel.append([{"ID": 1}, {"V": "x"}, {"ID": None}], "1")
    assert channel.wait_committed("1")["rows_error_count"] == 2
    assert ids(pipe) == [1]


def test_characters_that_copy_could_trip_over(client):
    pipe = make_pipe(client, '"ID" NUMBER(38,0), "V" VARCHAR(100), "J" VARIANT')
    channel = pipe.channel()
    channel.open()
    texts = ["\\N", "\\.", "\x1d", "a\x1fb\x1ec\x1d", "\\u0000", "tab\tnew\nline\rend\\", '"quoted"', "\x7f\x01", "ends with \\"]
    channel.append([{"ID": number, "V": text, "J": {text: text}} for number, text in enumerate(texts)], "1")
    assert channel.wait_committed("1")["rows_error_count"] == 0
    rows = pipe.rows('"V", "J"', '"ID"')
    assert [row[0] for row in rows] == texts
    assert [json.loads(row[1]) for row in rows] == [{text: text} for text in texts]
    channel.append([{"ID": 100, "V": "a\0b"}, {"ID": 101, "J": ["\0"]}, {"ID": 102, "V": "\x1f"}], "2")
    assert channel.wait_committed("2")["rows_error_count"] == 2


# ----- bodies and limits


@pytest.mark.parametrize("encoding", [None, "zstd", "gzip"])
def test_encodings(pipe, channel, encoding):
    channel.append(b'\n{"ID":1}\r\n\n  \n{"ID":2}\n\n', "1", encoding=encoding)
    assert channel.wait_committed("1")["rows_parsed"] == 2
    assert ids(pipe) == [1, 2]


@pytest.mark.parametrize("rows, headers", [
    (b'{"ID":1}', {}),
    (b"", {}),
    (b"\n \n", {}),
    (b'{"ID":1}\n', {"Content-Encoding": "zstd", "x-snowflake-uncompressed-content-length": "9"}),
    (b'{"ID":1}\n', {"Content-Encoding": "br"}),
    (b'{"ID":1}\n', {"x-snowflake-uncompressed-content-length": "10"}),
])
def test_wrong_bodies_are_refused(channel, rows, headers):
    assert channel.try_append(rows, "1", headers=headers).status == 400
    assert channel.try_append(numbered(1, 1), "1").status == 200


def test_declared_length_is_checked_and_needed(channel):
    for declared in ("8", "", "nine"):
        answer = channel.try_append(numbered(1, 1), "1", encoding="zstd", headers={"x-snowflake-uncompressed-content-length": declared})
        assert answer.status == 400, declared
    whole = channel.try_append(numbered(1, 100), "1", encoding="zstd")
    assert whole.status == 200


def test_content_type_and_unknown_parameters_are_refused(channel):
    assert channel.try_append(numbered(1, 1), "1", headers={"Content-Type": "text/csv"}).status == 415
    assert channel.try_append(numbered(1, 1), "1", what="x").status == 400
    assert channel.try_append(numbered(1, 1), "1", requestId="x").status == 400
    assert channel.try_append(numbered(1, 1), "1", requestId=str(uuid.uuid4()), retryCount="1").status == 200


def test_four_megabytes_on_the_wire(pipe, channel):
    limit = 4 * 1024 * 1024
    row = b'{"ID":1,"ignored":"' + b"x" * 1000 + b'"}\n'
    body = row * (limit // len(row) + 1)
    assert channel.try_append(body, "1").status == 413
    body = row * (limit // len(row))
    body = body[:-1] + b" " * (limit - len(body)) + b"\n"
    assert len(body) == limit
    channel.append(body, "1")
    channel.wait_committed("1")
    assert channel.try_append(body + b"\n", "2").status == 413


def test_ten_requests_a_second(box, pipe, channel):
    answers = []
    started = time.monotonic()
    for number in range(1, 40):
        answer = channel.try_append(numbered(number, number), str(number))
        answers.append(answer.status)
        if answer.status == 200:
            channel.token = answer.json["next_continuation_token"]
            last = str(number)
    seconds = time.monotonic() - started
    assert set(answers) == {200, 429}
    assert answers.count(200) <= 10 + 10 * seconds + 1
    time.sleep(0.15)
    channel.wait_committed(last)
    box.ask("/set_limits", {"enabled": False})
    channel.token = channel.try_append(numbered(50, 50), "50").json["next_continuation_token"]
    assert [channel.try_append(numbered(51, 51), "51", token=channel.token).status for _ in range(20)] == [200] * 20


def test_twenty_megabytes_a_second(channel):
    body = (b'{"ID":1,"ignored":"' + b"x" * 1000 + b'"}\n') * 50_000
    channel.append(body, "1", encoding="zstd")  # more than a second's worth: passes, and is paid off afterwards
    assert channel.try_append(numbered(2, 2), "2").status == 429
    deadline = time.monotonic() + 20
    while channel.try_append(numbered(2, 2), "2").status == 429:
        assert time.monotonic() < deadline
        time.sleep(0.1)


# ----- who asks


def test_jwt_is_checked(box, client):
    now = int(time.time())
    stranger = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    assert client.hostname().status == 200
    wrong = {
        "expired": make_jwt(client.key, iat=now - 4000, exp=now - 500),
        "longer than an hour": make_jwt(client.key, iat=now, exp=now + 3601),
        "from the future": make_jwt(client.key, iat=now + 600, exp=now + 1200),
        "without exp": make_jwt(client.key, exp=None),
        "other account": make_jwt(client.key, account="OTHER"),
        "other user": make_jwt(client.key, user="NOBODY"),
        "lower case": make_jwt(client.key, user="etl"),
        "unknown key": make_jwt(stranger),
        "issuer of another key": make_jwt(stranger, iss=f"SANDBOX.ETL.{make_jwt(client.key)}"),
        "no fingerprint": make_jwt(client.key, iss="SANDBOX.ETL"),
        "algorithm": make_jwt(client.key, alg="none"),
        "signature": client.jwt[:-8] + "AAAAAAAA",
        "no jwt": "abc",
    }
    for what, jwt in wrong.items():
        answer = client.hostname(jwt)
        assert (answer.status, answer.code) == (401, "390144"), what
        assert client.exchange(jwt).status == 401, what
    assert client.request("GET", "/v2/streaming/hostname").status == 401


def test_times_in_milliseconds_are_taken(client):
    now = int(time.time() * 1000)
    assert client.hostname(make_jwt(client.key, iat=now, exp=now + 600_000)).status == 200
    assert client.hostname(make_jwt(client.key, iat=now - 4_000_000, exp=now - 500_000)).status == 401


def test_scoped_token_in_every_documented_form(box, client):
    for answer in (
        client.exchange(),
        client.exchange(in_header=True),
        client.exchange(in_header=True, assertion=client.jwt),
        client.exchange(scope=f"{client.host} session:role:ETL_ROLE"),
        client.exchange(jwt=make_jwt(client.key, scp="session:role:ETL_ROLE")),
    ):
        assert answer.status == 200, answer
        assert answer.body.count(b".") == 2
    box.ask("/set_answers", {"json": True})
    assert client.exchange().json["token"].count(".") == 2
    assert client.hostname().json == {"hostname": client.host}
    assert client.exchange(scope="elsewhere.example").status == 400
    assert client.exchange(grant_type="client_credentials").status == 400
    assert client.exchange(scope=f"{client.host} session:role:ACCOUNTADMIN").code == "390189"
    assert client.exchange(jwt=make_jwt(client.key, scp="session:role:ACCOUNTADMIN")).code == "390189"


def test_scoped_tokens_expire_and_can_be_revoked(box, client, channel):
    box.ask("/set_token_life", {"seconds": 30})
    client.renew_token()
    channel.append(numbered(1, 1), "1")
    box.ask("/set_clock", {"offset_seconds": 31})
    answer = channel.try_append(numbered(2, 2), "2")
    assert (answer.status, answer.code) == (401, "390318")
    client.renew_token()
    channel.append(numbered(2, 2), "2")
    box.ask("/revoke_tokens", {})
    assert channel.try_append(numbered(3, 3), "3").code == "390303"
    client.renew_token()
    channel.append(numbered(3, 3), "3")


def test_tokens_are_not_interchangeable(client, pipe):
    scoped = client.renew_token()
    assert client.hostname(scoped).status == 401
    answer = client.request("PUT", pipe.channel().path, b"{}", client.account_headers())
    assert answer.status == 401
    answer = client.request("PUT", pipe.channel().path, b"{}", {"Authorization": f"Bearer {client.jwt}"})
    assert (answer.status, answer.code) == (401, "390303")


def test_headers_that_snowflake_wants(client):
    answer = client.request("GET", "/v2/streaming/hostname", headers=client.account_headers(), without=("Accept",))
    assert (answer.status, answer.code) == (400, "391902")
    answer = client.request("GET", "/v2/streaming/hostname", headers={**client.account_headers(), "Accept": "text/csv"})
    assert answer.code == "391902"
    assert client.request("GET", "/v2/streaming/hostname", headers=client.account_headers(), without=("User-Agent",)).status == 400


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


def test_fault_with_a_delay_and_for_one_channel(box, pipe):
    one, two = pipe.channel("ONE"), pipe.channel("TWO")
    one.open()
    two.open()
    box.ask("/faults", {"step": "append.before", "delay_ms": 400, "channel": "TWO"})
    started = time.monotonic()
    one.append(numbered(1, 1), "1")
    assert time.monotonic() - started < 0.35
    two.append(numbered(2, 2), "2")
    assert time.monotonic() - started >= 0.4


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
        for process in pathlib.Path("/proc").glob("[0-9]*"):
            try:
                parent = int((process / "stat").read_text().rpartition(")")[2].split()[1])
                is_worker = b"multiprocessing.spawn" in (process / "cmdline").read_bytes()
            except OSError:
                continue
            if parent == standin.process.pid and is_worker:
                os.kill(int(process.name), signal.SIGKILL)
        channel.append(numbered(1, 20_000), "1", encoding="zstd")
        channel.wait_committed("1", 30)
        assert client.sql(f"SELECT COUNT(*) FROM {pipe.qualified}") == [["20000"]]


def test_a_row_that_only_the_server_refuses_is_dropped_alone():
    """The net below the converter: a fault of ours in it must cost one row, not stop the channel."""
    sys.path.insert(0, str(ROOT / "tools" / "sandbox"))
    from snowbox.channels import Append, Channels, Pipe as StoredPipe
    from snowbox.commits import Committer
    from snowbox.faults import FaultPlan, now_ms
    from snowbox.rows import FIELD, Converted
    from snowbox.sftypes import Type
    from snowbox.storage import Column, Storage

    async def run(folder):
        storage = await Storage.open(folder)
        channels = Channels(storage)
        committer = Committer(storage, channels, FaultPlan(), delay_ms=0)
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
        deadline = time.monotonic() + 30
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
        deadline = time.monotonic() + 30
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
    kinds = (
        {"step": "append.before", "reset": True}, {"step": "append.after", "reset": True}, {"step": "append.after", "status": 500},
        {"step": "append.before", "status": 503}, {"step": "open", "status": 500}, {"step": "open", "reset": True},
        {"step": "status", "status": 503}, {"step": "commit", "status": 500}, {"step": "commit", "lose_rows": True},
        {"step": "commit", "delay_ms": 60},
    )
    added = [box.ask("/faults", {**chance.choice(kinds), "skip": chance.randrange(60), "times": chance.randrange(1, 3)}) for _ in range(25)]
    writer = Writer(box, pipe, 2500, chance)
    writer.run()
    acted = sum(fault["hits"] for fault in box.ask("/faults")["faults"])
    assert len(added) == 25 and acted >= 10, f"seed {seed}: only {acted} faults acted"
    assert ids(pipe) == list(range(1, 2501)), f"seed {seed}"
