"""The stand-in's streaming interface: which rows it takes, converts, drops and counts."""
import json
import time

import pytest
from streaming_box import box, channel, client, ids, make_pipe, numbered, pipe, plain_settings  # noqa: F401 (fixtures)

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
                      (-2.5, "-3"), ("1e3", "1000"), ("7.5", "8"), ("9" * 38, None), ("-" + "9" * 38, None)], ["", "abc", " 1", "1_0", True, [1], 10**38, "1" * 39, "NaN", 1e39]),
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
