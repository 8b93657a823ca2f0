"""The same datum as binary and as text gives the same JSON, and what does not fit keeps PostgreSQL's own text.

The encoder under test is the program's (encode_values.c over src/encode); values and their texts come from a real server.
The expectations are computed here from the server's text by other means than the program's.
"""
import decimal
import json
import os
import pathlib
import random
import struct
import subprocess
import sys

import psycopg
import pytest
from psycopg import pq

from versions import MAJOR, since

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
SETTINGS = {"datestyle": "ISO, YMD", "intervalstyle": "iso_8601", "timezone": "UTC", "extra_float_digits": "1",
            "bytea_output": "hex"}
SEED = int(os.environ.get("TYPES_SEED", "20261123"))
COUNT = int(os.environ.get("TYPES_COUNT", "3000"))

decimal.getcontext().prec = 2000


@pytest.fixture(scope="module")
def encode(tmp_path_factory):
    program = tmp_path_factory.mktemp("encode") / "encode_values"
    sources = [str(path) for room in ("base", "model", "encode") for path in (ROOT / "src" / room).glob("*.c")]
    subprocess.run(["cc", "-std=gnu17", "-D_GNU_SOURCE", "-O1", "-g", "-fsanitize=address,undefined",
                    "-fno-sanitize-recover=all", "-I", str(ROOT / "src"), "-o", str(program),
                    str(ROOT / "tests/integration/encode_values.c"), *sources, "-lzstd", "-lm"], check=True)

    def run(requests):
        lines = "".join(f"{head} {form} {value.hex()}\n" for head, form, value in requests)
        done = subprocess.run([program], input=lines.encode(), stdout=subprocess.PIPE, check=True)
        answers = [tuple(line.split("\t")) for line in done.stdout.decode().split("\n")[:-1]]
        assert len(answers) == len(requests)
        return answers
    return run


class Datum:
    """One value: both of its forms as the server sends them, and what became of each."""

    def __init__(self, text, from_binary, from_text):
        self.text, self.from_binary, self.from_text = text, from_binary, from_text
        self.outcome, self.json, self.original = from_binary


def fetch(connection, statement, result_format):
    result = connection.pgconn.exec_params(statement.encode(), None, result_format=result_format)
    assert result.status == pq.ExecStatus.TUPLES_OK, result.error_message
    return [result.get_value(row, 0) for row in range(result.ntuples)], result.ftype(0), result.fmod(0)


def types_query():
    """The part of the program's own catalog query that takes a column's type apart."""
    text = (ROOT / "src/pg/sql/publication_tables.sql").read_text().replace("%", "%%")
    parts = text[text.index("type_parts ("):text.index("select\n    p.nspname")]
    return f"with recursive columns(atttypid, atttypmod) as (select %s::oid, %s::int), {parts} select nodes from type_texts"


def type_head(connection, oid, modifier, encoding="UTF8", unbounded=0, oversized=0, size_max=0):
    nodes, = connection.execute(types_query(), [oid, modifier]).fetchone()
    nodes = nodes if isinstance(nodes, bytes) else nodes.encode()  # text of a connection in SQL_ASCII is bytes
    return f"{oid} {modifier} {unbounded} {oversized} {size_max} {nodes.hex()} {encoding}"


def encode_query(connection, encode, statement, **options):
    texts, oid, modifier = fetch(connection, statement, 0)
    binaries, _, _ = fetch(connection, statement, 1)
    head = type_head(connection, oid, modifier, **options)
    pairs = [(binary, text) for binary, text in zip(binaries, texts) if text is not None]
    answers = encode([(head, form, value) for pair in pairs for form, value in zip("BT", pair)])
    return [Datum(text, *answers[2 * index:2 * index + 2]) for index, (_, text) in enumerate(pairs)]


def text_head(type_oid, encoding):
    return f"{type_oid} -1 0 0 0 {f'{type_oid} -1 b , 1 &quot;t&quot; &quot;&quot;'.replace('&quot;', chr(34)).encode().hex()} {encoding}"


@pytest.fixture
def run(source, encode):
    connection = source.connect()
    for name, value in SETTINGS.items():
        connection.execute("select set_config(%s, %s, false)", [name, value])

    def run_query(statement, **options):
        data = encode_query(connection, encode, statement, **options)
        assert data
        for datum in data:
            assert datum.from_binary == datum.from_text, (statement, datum.text)
            assert datum.outcome in "WC", (statement, datum.text, datum.from_binary)
            if datum.outcome == "C":
                assert json.loads(datum.original) == datum.text.decode(), statement
            if datum.json:
                assert "\n" not in datum.json
                json.loads(datum.json)
        return data
    run_query.connection = connection
    yield run_query
    connection.close()


def values(type_name, *texts):
    rows = ", ".join("(" + psycopg.sql.Literal(text).as_string(None) + ")" for text in texts)
    return f"select v::{type_name} from (values {rows}) t(v)"


def jsons(data):
    return [datum.json for datum in data]


def random_numerics(generator):
    for _ in range(COUNT):
        digits = generator.choice([1, 3, 5, 15, 16, 30, 38, 60])
        integer = str(generator.randrange(10 ** generator.randrange(digits + 1)))
        fraction = "".join(generator.choice("0059") for _ in range(generator.randrange(20)))
        yield generator.choice(["", "-"]) + integer + ("." + fraction if fraction else "")


def check_number(datum, precision, scale):
    exact = decimal.Decimal(datum.text.decode())
    nearest = exact.quantize(decimal.Decimal(1).scaleb(-scale), rounding=decimal.ROUND_HALF_UP)
    fits = abs(nearest) < decimal.Decimal(10) ** (precision - scale)
    assert (datum.outcome == "W") == (fits and nearest == exact), datum.text
    if not fits:
        assert datum.json == ""
        return
    digits = sum(character.isdigit() for character in datum.json)
    assert decimal.Decimal(datum.json.strip('"')) == nearest
    assert datum.json.startswith('"') == (digits > 15), datum.json


def test_integers(run):
    assert jsons(run(values("int2", "0", "-1", "32767", "-32768"))) == ["0", "-1", "32767", "-32768"]
    assert jsons(run(values("int4", "0", "2147483647", "-2147483648"))) == ["0", "2147483647", "-2147483648"]
    assert jsons(run(values("int8", "999999999999999", "1000000000000000", "-999999999999999", "-9223372036854775808"))
                 ) == ["999999999999999", '"1000000000000000"', "-999999999999999", '"-9223372036854775808"']
    assert jsons(run(values("oid", "0", "4294967295"))) == ["0", "4294967295"]
    assert jsons(run(values("xid8", "0", "18446744073709551615"))) == ["0", '"18446744073709551615"']
    assert jsons(run(values("bool", "t", "f"))) == ["true", "false"]


def test_numeric_unbounded(run):
    texts = list(random_numerics(random.Random(SEED)))
    texts += ["0", "0.0", "-0.5", "9" * 29 + "." + "9" * 9, "9" * 29 + "." + "9" * 10, "9" * 30, "1e-9", "1e-10", "5e-10",
              "-4e-10", "1e28", "1e100", "123456789012345", "1234567890123456", "10000", "1.0000000000", "1e-16383"]
    for datum in run(values("numeric", *texts)):
        check_number(datum, 38, 9)
    for datum in run(values("numeric", "NaN", "Infinity", "-Infinity")):
        assert (datum.outcome, datum.json) == ("C", "")


ANY_SCALE = since(15, "numeric scales outside of 0 to the precision")


@pytest.mark.parametrize("precision, scale", [(10, 2), (38, 0), (38, 37), (5, 5), (1, 0), pytest.param(2, 5, marks=ANY_SCALE),
                                              pytest.param(20, -3, marks=ANY_SCALE)])
def test_numeric_bounded(run, precision, scale):
    generator = random.Random(SEED + precision)
    texts = []
    for _ in range(200):
        scaled = generator.randrange(10 ** precision) * generator.choice([1, -1])
        texts.append(f"{decimal.Decimal(scaled).scaleb(-scale):f}")
    for datum in run(values(f"numeric({precision},{scale})", *texts)):
        check_number(datum, max(precision - min(scale, 0), scale), max(scale, 0))
    assert run(values(f"numeric({precision},{scale})", "NaN"))[0].outcome == "C"


def test_numeric_too_wide_is_text(run):
    for type_name in ("numeric(39,0)", "numeric(50,38)", *(["numeric(30,-9)"] if MAJOR >= 15 else [])):
        for datum in run(values(type_name, "0", "-12", "NaN")):
            assert (datum.outcome, json.loads(datum.json)) == ("W", datum.text.decode())


@pytest.mark.parametrize("type_name, code, bits", [("float8", "d", 64), ("float4", "f", 32)])
def test_floats_are_printed_as_the_server_does(run, type_name, code, bits):
    generator = random.Random(SEED)
    texts = ["0", "-0", "1e15", "1e14", "1e6", "123456.7", "1e-4", "1e-5", "0.1", "0.3", "3.4028235e38", "1e23", "100"]
    smallest = {"d": 5e-324, "f": 1.4e-45}[code]
    texts += [repr(smallest)]
    while len(texts) < COUNT:
        number, = struct.unpack(code, struct.pack("I" if bits == 32 else "Q", generator.getrandbits(bits)))
        if number == number and abs(number) != float("inf"):
            texts.append(repr(number))
    for datum in run(values(type_name, *texts)):
        assert (datum.outcome, datum.json) == ("W", datum.text.decode())
    assert jsons(run(values(type_name, "NaN", "Infinity", "-Infinity"))) == ['"NaN"', '"Infinity"', '"-Infinity"']


def test_text_kinds(run):
    texts = ["", " a b ", 'q"\\/', "tab\tline\nreturn\r\b\f\x01\x1f\x7f", "äöü€𝄞", "NULL", "x" * 5000, "\\x41"]
    for type_name in ("text", "varchar", "varchar(6000)", "bpchar", "name"):
        for datum in run(values(type_name, *texts)):
            assert (datum.outcome, json.loads(datum.json)) == ("W", datum.text.decode())
    assert jsons(run(values("char(5)", "ab"))) == ['"ab   "']
    assert jsons(run(values('"char"', "", "a", '"', "\\"))) == ['""', '"a"', '"\\""', '"\\\\"']
    octal = [f"\\{n:03o}" if n >= 0x80 else chr(n) if n else "" for n in range(256)]
    bytes_query = "from generate_series(0, 255) n, lateral (select (n - 256 * (n / 128))::\"char\") t(c) order by n"
    assert [json.loads(datum.json) for datum in run(f"select c {bytes_query}")] == octal
    assert [json.loads(datum.json) for datum in run(f"select array[c, 'b', null] {bytes_query}")] == [[one, "b", None] for one in octal]
    if MAJOR >= 16:  # before, the server's text of such an array is no text in UTF-8
        assert run("select array_fill((-28)::\"char\", array[1], array[0])")[0].outcome == "C"
    assert jsons(run(values("xml", "<a>ä &amp; b</a>"))) == ['"<a>ä &amp; b</a>"']
    run.connection.execute("create type mood as enum ('sad', 'o''k', 'ha\"ppy')")
    assert jsons(run(values("mood", "sad", "o'k", 'ha"ppy'))) == ['"sad"', '"o\'k"', '"ha\\"ppy"']
    assert jsons(run(values("uuid", "A0EEBC99-9c0b-4ef8-bb6d-6bb9bd380a11"))) == ['"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"']


def test_bytea(run):
    import base64
    for datum in run("select (decode(repeat('00ff10', n), 'hex') || '\\xab'::bytea) from generate_series(0, 300) n "
                     "union all select ''::bytea union all select '\\xabcd'"):
        assert base64.b64decode(json.loads(datum.json)) == bytes.fromhex(datum.text.decode()[2:])


def test_dates_and_times(run):
    assert jsons(run(values("date", "2026-11-23", "0001-01-01", "9999-12-31", "2000-02-29"))) == [
        '"2026-11-23"', '"0001-01-01"', '"9999-12-31"', '"2000-02-29"']
    for datum in run(values("date", "infinity", "-infinity", "0044-03-15 BC", "10000-01-01", "5874897-12-31", "4713-01-01 BC")):
        assert (datum.outcome, datum.json) == ("C", "")
    assert jsons(run(values("time", "00:00", "23:59:59.999999", "12:30:01.5"))) == [
        '"00:00:00.000000"', '"23:59:59.999999"', '"12:30:01.500000"']
    assert run(values("time", "24:00:00"))[0].outcome == "C"
    assert jsons(run(values("timestamp", "2026-11-23 22:30:00.123", "0001-01-01", "9999-12-31 23:59:59.999999"))) == [
        '"2026-11-23 22:30:00.123000"', '"0001-01-01 00:00:00.000000"', '"9999-12-31 23:59:59.999999"']
    assert jsons(run(values("timestamptz", "2026-11-23 22:30:00.123+05:30", "1969-12-31 23:59:59.999999+00"))) == [
        '"2026-11-23 17:00:00.123000Z"', '"1969-12-31 23:59:59.999999Z"']
    for type_name in ("timestamp", "timestamptz"):
        for datum in run(values(type_name, "infinity", "-infinity", "0044-03-15 12:00:00.5 BC", "10000-01-01",
                                "294276-12-31 23:59:59.999999", "4713-01-01 00:00:00 BC")):
            assert (datum.outcome, datum.json) == ("C", "")
    for type_name, step in (("timestamp", "37:11:17.000123"), ("timestamptz", "901:01:59.9")):
        for datum in run(f"select '1890-01-01'::{type_name} + n * '{step}'::interval from generate_series(1, 3000) n"):
            text = datum.text.decode().removesuffix("+00")
            whole, _, fraction = text.partition(".")
            assert datum.json.strip('"Z') == f"{whole}.{fraction:0<6}"
    run("select '0001-01-01'::date + n * 997 from generate_series(0, 3000) n")


def test_timestamptz_text_of_any_zone(run):
    run.connection.execute("set timezone = 'Asia/Kathmandu'")
    statement = values("timestamptz", "2026-11-23 22:30:00.123+00", "1900-01-01 00:00:00+00")
    assert jsons(run(statement)) == ['"2026-11-23 22:30:00.123000Z"', '"1900-01-01 00:00:00.000000Z"']


def test_json(run):
    texts = ['{"a":\n [1,\t2.50, -0],\r\n "b": "x\\ny\\"", "c": null, "d": {"e": []}}', "null", '"text"', "12345678901234567890",
             "0." + "1" * 37, "1" * 38, "1e5", "-1.5E-7", "1.7976931348623157e+308", "[]", '"\\u0041\\ud834\\udd1e"', " true "]
    for type_name in ("json", "jsonb"):
        for datum in run(values(type_name, *texts)):
            assert datum.outcome == "W", datum.text
            assert json.loads(datum.json, parse_float=str, parse_int=str) == json.loads(datum.text, parse_float=str, parse_int=str)
        for datum in run(values(type_name, "1" * 39, '{"a": [0.' + "1" * 39 + "]}", "1." + "3" * 40)):
            assert (datum.outcome, datum.json) == ("C", "")
    # Beyond a double, or with more digits than one keeps at that size.
    for datum in run(values("json", "1e400", "1e-400", "1.23456789012345678901e300", "12345678901234567e100")):
        assert (datum.outcome, datum.json) == ("C", "")
    # Half of a surrogate pair, which only json lets through.
    assert jsons(run(values("json", '["\\ud800", "\\udc00a", "\\ud800\\ud834\\udd1e"]'))) == [
        '["\\ufffd", "\\ufffda", "\\ufffd\\ud834\\udd1e"]']


def test_arrays(run):
    assert jsons(run(values("int4[]", "{}", "{1,NULL,-3}", "{{1,2},{3,4},{5,6}}", "{{{1},{2}}}"))) == [
        "[]", "[1,null,-3]", "[[1,2],[3,4],[5,6]]", "[[[1],[2]]]"]
    assert jsons(run(values("int8[]", "{1000000000000000}"))) == ['["1000000000000000"]']
    tricky = ["", "a b", 'q"\\', "NULL", "null", "{x}", "a,b", "ä€", "\n\t\v", "=", "[1:1]={x}"]
    for type_name in ("text[]", "varchar[]", "name[]"):
        data = run(f"select array[{', '.join(psycopg.sql.Literal(text).as_string(None) for text in tricky)}]::{type_name}")
        assert json.loads(data[0].json) == tricky
    assert jsons(run(values("bool[]", "{t,f,NULL}"))) == ["[true,false,null]"]
    assert jsons(run(values("numeric(5,2)[]", "{1,2.5,NULL}"))) == ["[1.00,2.50,null]"]
    assert jsons(run(values("float8[]", "{1.5,NaN,1e300}"))) == ['[1.5,"NaN",1e+300]']
    assert jsons(run(values("bytea[]", '{"\\\\x00ff",NULL}'))) == ['["AP8=",null]']
    assert jsons(run(values("date[]", "{2026-11-23}"))) == ['["2026-11-23"]']
    assert jsons(run(values("timestamp[]", '{"2026-11-23 01:02:03"}'))) == ['["2026-11-23 01:02:03.000000"]']
    assert jsons(run("""select array['{"a":[1,"x,y"]}', 'null', NULL]::jsonb[]""")) == ['[{"a": [1, "x,y"]},null,null]']
    assert jsons(run("""select array['{"a":\n1}']::json[]""")) == ['[{"a": 1}]']
    assert jsons(run(values("uuid[]", "{A0EEBC999c0b4ef8bb6d6bb9bd380a11}"))) == ['["a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"]']
    run.connection.execute("create domain ints as int[]; create domain square as box")
    assert jsons(run("select array['{1,2}', null, '{}', '{{NULL}}']::ints[]")) == ["[[1,2],null,[],[[null]]]"]
    assert jsons(run(values("square[]", "{(1,1),(0,0);NULL;(2,2),(1,1)}"))) == ['["(1,1),(0,0)",null,"(2,2),(1,1)"]']
    run.connection.execute("create type colour as enum ('red', 'light blue')")
    assert jsons(run(values("colour[]", '{red,"light blue"}'))) == ['["red","light blue"]']


def test_arrays_that_do_not_fit_keep_the_servers_text(run):
    for type_name, text, expected in [
            ("int4[]", "[0:1]={1,2}", "[1,2]"), ("int4[]", "[-1:0][5:6]={{1,2},{3,4}}", "[[1,2],[3,4]]"),
            ("numeric[]", "{1,NaN,1e40,1e-10}", "[1,null,null,0.000000000]"),
            ("date[]", '{infinity,"0044-03-15 BC",2026-11-23}', '[null,null,"2026-11-23"]'),
            ("timestamptz[]", '{-infinity,"0044-03-15 00:00:00+00 BC"}', "[null,null]"),
            ("time[]", "{24:00:00,12:00:00}", '[null,"12:00:00.000000"]'),
            ("text[]", '[2:6]={NULL,"NULL","","a\\"b\\\\c","d e"}', '[null,"NULL","","a\\"b\\\\c","d e"]'),
            ("bytea[]", '[0:1]={"\\\\x00ff","\\\\x"}', '["AP8=",""]'),
            ("float4[]", "[0:2]={1.1,NaN,1e30}", '[1.1,"NaN",1e+30]'), ("bool[]", "[0:1]={t,f}", "[true,false]"),
            ("uuid[]", "[0:0]={A0EEBC999c0b4ef8bb6d6bb9bd380a11}", '["a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"]'),
            ("jsonb[]", '[0:0]={"{\\"a\\": 1}"}', '[{"a": 1}]'), ("int8[]", "[0:1]={-9223372036854775808,NULL}",
                                                                 '["-9223372036854775808",null]'),
            ("oid[]", "[0:0]={4294967295}", "[4294967295]"), ("timestamp[]", '[0:0]={"2026-11-23 01:02:03.5"}',
                                                              '["2026-11-23 01:02:03.500000"]')]:
        datum, = run(values(type_name, text))
        assert (datum.outcome, datum.json) == ("C", expected), text


def test_domains_are_their_base_type(run):
    run.connection.execute("create domain price as numeric(8,2); create domain cheap as price check (value < 100)")
    assert jsons(run(values("cheap", "12.5", "-3"))) == ["12.50", "-3.00"]


def test_other_types_are_the_servers_text(run, encode):
    for type_name, text in [("tsquery", "a & b"), ("int2vector", "1 2 3"), ("regclass", "pg_class"), ("pg_snapshot", "10:20:15")]:
        datum, = encode_query(run.connection, encode, values(type_name, text))
        assert datum.from_binary[0] == "-"
        assert (datum.from_text[0], json.loads(datum.from_text[1])) == ("W", datum.text.decode())
    datum, = encode_query(run.connection, encode, values("tsquery[]", '{a,NULL,"b | c"}'))
    assert datum.from_text[:2] == ("W", '["\'a\'",null,"\'b\' | \'c\'"]')


def printed(run, type_name, *texts):
    """Types of which Snowflake gets the server's text, which we print from binary."""
    for datum in run(values(type_name, *texts)):
        assert (datum.outcome, json.loads(datum.json)) == ("W", datum.text.decode())


def test_intervals(run):
    printed(run, "interval", "0", "1 year 2 months 3 days 04:05:06.7", "-1 year -2 months", "1 month -3 days 00:00:01", "-00:00:00.000001",
            "-1 day 24:00:00", "178000000 years", "-178000000 years", "2147483647 days", "59.999999 seconds", "-59.5 seconds", "100:00:00",
            "-01:30", "13 months", "-13 months", "1 microsecond", "10 seconds", "2147483647 hours", "-2147483648 hours")
    generator = random.Random(SEED)
    printed(run, "interval", *(f"{generator.randrange(-30, 30)} months {generator.randrange(-40, 40)} days "
                               f"{decimal.Decimal(generator.randrange(-10 ** 12, 10 ** 12)).scaleb(-6):f} seconds" for _ in range(1000)))


def test_intervals_at_their_limits(run):
    """Infinite from 17 on, though the parts are the same bytes; before, a number of years."""
    days = ["178956970 years 7 months 2147483647 days", "-178956970 years -8 months -2147483648 days"]
    printed(run, "interval", *days, f"{days[0]} 2147483647 hours", f"{days[1]} -2147483648 hours")
    if MAJOR >= 17:
        printed(run, "interval", "infinity", "-infinity")
    elif MAJOR >= 15:  # 14 cannot print more hours than that
        for one, time in zip(days, ["'2562047788 hours'::interval + '54.775807 seconds'", "'-2562047788 hours'::interval - '54.775808 seconds'"]):
            datum, = run(f"select '{one}'::interval + ({time})")
            assert (datum.outcome, json.loads(datum.json)) == ("W", datum.text.decode())


def test_network_types(run):
    generator = random.Random(SEED)
    v6 = ["::", "::1", "::2", "1::", "::ffff:1.2.3.4", "::1.2.3.4", "::1:2.3.4.5", "1:0:0:2:0:0:0:3", "1:0:0:2:0:0:3:4", "1:0:2:3:4:5:6:7",
          "::ffff:0:0", "::1:0", "0:0:0:0:0:ffff:0:1", "2001:db8::1", "fe80::1", "0:1::", "::100", "1:2:3:4:5:6::"]
    v6 += [":".join(f"{generator.choice([0, 0, 1, 0xffff, generator.randrange(65536)]):x}" for _ in range(8)) for _ in range(1000)]
    v4 = ["0.0.0.0", "255.255.255.255", "10.0.0.1"] + [".".join(str(generator.randrange(256)) for _ in range(4)) for _ in range(50)]
    printed(run, "inet", *v6, *v4, *(f"{address}/{generator.randrange(129)}" for address in v6[:100]),
            *(f"{address}/{generator.randrange(33)}" for address in v4))
    printed(run, "cidr", "10.0.0.0/8", "1.2.3.4/32", "::/0", "2001:db8::/32", "::1/128", "0.0.0.0/0")
    printed(run, "macaddr", "08:00:2b:01:02:03", "ff:ff:ff:ff:ff:ff")
    printed(run, "macaddr8", "08:00:2b:01:02:03:04:05", "08002b010203")


def test_other_types_printed_from_binary(run):
    printed(run, "money", "0", "0.01", "-0.05", "12.5", "1234.5", "-1234567.89", "999.99", "92233720368547758.07", "-92233720368547758.08")
    printed(run, "timetz", "12:00:00+02", "24:00:00-15:59", "00:00:00.000001+05:30", "23:59:59.5-00:00:01", "12:00+15:59:59", "01:02:03Z")
    printed(run, "bit(3)", "101", "000")
    printed(run, "varbit", "", "1", "0101010101010101011", "1" * 64)
    printed(run, "pg_lsn", "0/0", "16/B374D848", "FFFFFFFF/FFFFFFFF")
    printed(run, "xid", "0", "4294967295")
    printed(run, "tid", "(0,1)", "(4294967295,65535)")
    printed(run, "point", "(1,2)", "(-0,1e300)", "(NaN,Infinity)", "(0.1,-Infinity)")
    printed(run, "line", "{1,2,3}", "{-1,0.5,1e-300}")
    printed(run, "lseg", "[(1,2),(3,4.5)]")
    printed(run, "box", "(1,1),(0,0)")
    printed(run, "path", "[(1,1),(2,2)]", "((1,1),(2,2),(3,0))")
    printed(run, "polygon", "((1,1),(2,2),(3,0))")
    printed(run, "circle", "<(1,2),3.5>")
    printed(run, "tsvector", "", "a b", "a:1A,2B,3C,4 b:16383", "'it''s':3 'back\\\\slash' 'ü x'")
    printed(run, "jsonpath", '$."a"[*] ? (@ > 1)')
    printed(run, "refcursor", "c")
    assert jsons(run(values("interval[]", '{"1 day",NULL,"2 h"}'))) == ['["P1D",null,"PT2H"]']
    assert jsons(run(values("box[]", "{(1,1),(0,0);(2,2),(1,1)}"))) == ['["(1,1),(0,0)","(2,2),(1,1)"]']
    assert run(values("box[]", "[0:0]={(1,1),(0,0)}"))[0].outcome == "C"


def test_ranges(run):
    printed(run, "int4range", "[1,5)", "empty", "(,)", "(,5)", "[1,)", "[-2147483648,2147483647)")
    printed(run, "int8range", "[1,5]")
    printed(run, "numrange", "[1.50,2]", "(NaN,)", "(0.1,Infinity)")
    printed(run, "daterange", "[2026-11-23,2026-11-25)", "[-infinity,infinity]", "[0044-03-15 BC,10000-01-01)")
    printed(run, "tsrange", '["2026-11-23 01:02:03","2026-11-24 00:00:00.5")', "(-infinity,infinity)")
    printed(run, "tstzrange", '["2026-11-23 01:02:03+05","2026-11-24 00:00:00.5+00")')
    printed(run, "int4multirange", "{}", "{[1,2),[5,7)}", "{(,3),[10,)}")
    printed(run, "tsmultirange", '{["2026-11-23 01:02:03","2026-11-24 00:00:00.5")}')
    run.connection.execute("create type textrange as range (subtype = text)")
    printed(run, "textrange", '["a b","c""d"]', '("","\\\\")', "[a,b)", '["(","[["]', "(ä,ö)", '["a,b",c)')
    printed(run, "textmultirange", "{}", '{["a,b","c""d"),["{x","{y\\\\")}', '{(,""],[" ","("),["[,]",)}')
    assert jsons(run(values("int4range[]", '{"[1,5)",NULL,empty}'))) == ['["[1,5)",null,"empty"]']


def test_composites(run):
    run.connection.execute("""
        create domain whole as int check (value is not null);
        create domain ints as int[];
        create type part as (a int, "B ""q" text, c date);
        create type nothing as ();
        create type one as (x text);
        create type whole_t as (id whole, p part, ps part[], n numeric, j jsonb, f float8, t ints, b bytea, e nothing, r int4range, o bool);
        alter type whole_t add attribute gone text; alter type whole_t drop attribute gone;
        alter type whole_t add attribute late text;
        create domain over_part as part""")
    tricky = ["", "a b", 'q"\\', "NULL", "(x)", "a,b", "ä€", "\n\t\v", "'", "\x01"]
    for text in tricky:
        datum, = run(f"select row(1, {psycopg.sql.Literal(text).as_string(None)}, null)::part")
        assert (datum.outcome, json.loads(datum.json)) == ("W", {"a": 1, 'B "q': text, "c": None})
    assert jsons(run("select row(null, null, null)::part")) == [
        '{"a":null,"B \\"q":null,"c":null}']
    assert jsons(run("select row()::nothing")) == ["{}"]
    assert jsons(run("select row(null)::one union all select row('')::one")) == ['{"x":null}', '{"x":""}']
    assert jsons(run("select row(2, 'x', '2026-11-23')::over_part")) == ['{"a":2,"B \\"q":"x","c":"2026-11-23"}']
    datum, = run("""select row(7, row(1, 'x "y"', null), array[row(1, '(', null)::part, null, row(null, '{"', '2026-11-23')::part], 1.5,
                    '{"a": [1, "x,(y)"]}', 'NaN', '{1,NULL}', '\\x00ff', row()::nothing, '[1,5)', true, 'l')::whole_t""")
    assert datum.outcome == "W"
    assert json.loads(datum.json) == {
        "id": 7, "p": {"a": 1, 'B "q': 'x "y"', "c": None},
        "ps": [{"a": 1, 'B "q': "(", "c": None}, None, {"a": None, 'B "q': '{"', "c": "2026-11-23"}], "n": 1.5,
        "j": {"a": [1, "x,(y)"]}, "f": "NaN", "t": [1, None], "b": "AP8=", "e": {}, "r": "[1,5)", "o": True, "late": "l"}
    # What does not fit is null or the nearest value inside; the whole is kept as text.
    datum, = run("""select row(1, row(1, 'a "b', 'infinity'), array[row(1, ' ', '2026-11-23')::part], 'NaN', null, 1, '[0:1]={1,2}',
                    null, null, null, false, null)::whole_t""")
    assert datum.outcome == "C"
    found = json.loads(datum.json)
    assert (found["p"]["c"], found["n"], found["t"], found["p"]["a"]) == (None, None, [1, 2], 1)
    run.connection.execute("create type deep as (a part[], b one)")
    datum, = run("""select array[row(array[row(1, 'x"\\y', 'infinity')::part], row('z'))::deep]""")
    assert datum.outcome == "C" and json.loads(datum.json)[0]["a"][0]["c"] is None


def test_types_of_extensions(run):
    run.connection.execute("create extension hstore; create extension citext; create extension ltree")
    assert jsons(run("""select hstore(array['b','a','','q"\\'], array['1',null,'ä,=>','x y']) union all select ''::hstore""")) == [
        '{"":"ä,=>","a":null,"b":"1","q\\"\\\\":"x y"}', "{}"]
    assert jsons(run("""select array['a=>1'::hstore, null, 'b=>NULL, "c,d"=>"{"']""")) == ['[{"a":"1"},null,{"b":null,"c,d":"{"}]']
    assert jsons(run(values("citext", "aB", ""))) == ['"aB"', '""']
    assert jsons(run(values("citext[]", "{aB,NULL}"))) == ['["aB",null]']
    printed(run, "ltree", "", "a.b_1.c")
    printed(run, "lquery", "a.*{1,2}.b")
    printed(run, "ltxtquery", "a & b*")


def test_numeric_without_precision_by_the_option(run):
    texts = ["0", "1.5", "-123456789012345678901234567890.123", "0.1", "1e100", "NaN", "Infinity", "1e-400", "1e400", "-0.30000", "1" + "0" * 300]
    for datum in run(values("numeric", *texts), unbounded=1):
        assert (datum.outcome, json.loads(datum.json)) == ("W", datum.text.decode())
    for datum in run(values("numeric", *texts), unbounded=2):
        text = datum.text.decode()
        if text in ("NaN", "Infinity"):
            assert (datum.outcome, datum.json) == ("W", f'"{text}"')
            continue
        number = float(text)
        is_same = abs(number) != float("inf") and decimal.Decimal(repr(number)) == decimal.Decimal(text)
        assert datum.outcome == ("W" if is_same else "C"), text
        assert datum.json == "" if abs(number) == float("inf") else float(datum.json) == number


def test_oversized_values_by_the_option(run, encode):
    rule = {"null": 0, "truncate": 1, "fail": 2}
    for name, type_name, text, expected in [
            ("null", "text", "0123456789a", ("C", "", '"11 bytes"')), ("truncate", "text", "0123456789a", ("C", '"0123456789"', '"11 bytes"')),
            ("fail", "text", "0123456789a", ("O", "", "")), ("truncate", "text", "01234567ä€", ("C", '"01234567ä"', '"13 bytes"')),
            ("truncate", "text", '"\n€€€€', ("C", '"\\"\\n€€"', '"14 bytes"')), ("truncate", "text", "12345678€", ("C", '"12345678"', '"11 bytes"')),
            ("truncate", "bytea", "\\x" + "00" * 11, ("C", "", '"11 bytes"')), ("fail", "bytea", "\\x" + "00" * 11, ("O", "", "")),
            ("truncate", "jsonb", '"01234567890"', ("C", "", '"13 bytes"')), ("fail", "int4[]", "{1,2,3,4,5,6}", ("O", "", None)),
            ("null", "int4[]", "{1,2,3,4,5,6}", ("C", "", '"13 bytes"')), ("null", "text[]", '{"a\\"b","c d"}', ("C", "", '"14 bytes"')),
            ("fail", "text", "0123456789", ("W", '"0123456789"', "")), ("truncate", "inet", "100.100.100.100", ("C", '"100.100.10"', '"15 bytes"'))]:
        datum, = encode_query(run.connection, encode, values(type_name, text), oversized=rule[name], size_max=10)
        for outcome, value, original in (datum.from_binary, datum.from_text):
            assert outcome == expected[0], (name, type_name, text)
            if outcome != "O":
                assert (value, original) == expected[1:], (name, type_name, text)
    datum, = encode_query(run.connection, encode, values("numeric", "123456789.12"), unbounded=1, size_max=10)
    assert datum.from_binary == datum.from_text == ("C", "", '"12 bytes"')


def server_encodings():
    return ["LATIN1", "LATIN2", "LATIN5", "LATIN7", "LATIN9", "LATIN10", "ISO_8859_5", "ISO_8859_6", "ISO_8859_7", "ISO_8859_8",
            "WIN866", "WIN874", "WIN1250", "WIN1251", "WIN1252", "WIN1253", "WIN1254", "WIN1255", "WIN1256", "WIN1257",
            "WIN1258", "KOI8R", "KOI8U"]


@pytest.mark.parametrize("encoding", server_encodings())
def test_one_byte_encodings_are_converted_as_the_server_does(run, encode, encoding):
    answers = encode([(text_head(25, encoding), "B", bytes([byte])) for byte in range(1, 256)])
    for byte, (outcome, value, original) in enumerate(answers, start=1):
        try:
            expected = run.connection.execute("select convert_from(%s, %s)", [bytes([byte]), encoding]).fetchone()[0]
        except psycopg.errors.UntranslatableCharacter:
            expected = None
        if expected is not None:
            assert (outcome, json.loads(value)) == ("W", expected), hex(byte)
        elif outcome == "C":
            assert (json.loads(value), json.loads(original)) == ("\ufffd", f"\\x{byte:02x}"), hex(byte)


def euc_characters(encoding):
    """Every character that the encoding's form allows; of EUC_TW's planes those that the server converts."""
    row = [bytes([byte]) for byte in range(0xa1, 0xff)]
    pairs = [first + second for first in row for second in row]
    longer = {"EUC_JP": [b"\x8e" + one for one in row[:63]] + [b"\x8f" + pair for pair in pairs],
              "EUC_TW": [b"\x8e" + plane + pair for plane in row[:2] for pair in pairs]}
    longer["EUC_JIS_2004"] = longer["EUC_JP"]
    return pairs + longer.get(encoding, [])


CONVERTED = """
    create or replace function pg_temp.converted(characters bytea[], encoding name) returns setof text language plpgsql as $$
    begin
        return query select string_to_table(convert_from(string_agg(one, '\\x0a'), encoding), e'\\n') from unnest(characters) one;
    exception when untranslatable_character then
        if array_length(characters, 1) = 1 then
            return next null;
        else
            return query select converted from unnest(characters) one, pg_temp.converted(array[one], encoding) converted;
        end if;
    end $$"""


@pytest.mark.parametrize("encoding, text", [("EUC_JP", "日本語テキスト"), ("EUC_KR", "한국어"), ("EUC_CN", "中文文本"),
                                            ("EUC_TW", "中文文本"), ("EUC_JIS_2004", "日本語か゚")])
def test_wider_encodings_are_converted_as_the_server_does(run, encode, encoding, text):
    stored = run.connection.execute("select convert_to(%s, %s)", ["a\"" + text * 400 + "\nz", encoding]).fetchone()[0]
    (outcome, value, _), = encode([(text_head(25, encoding), "T", stored)])
    assert (outcome, json.loads(value)) == ("W", "a\"" + text * 400 + "\nz")
    (outcome, value, original), = encode([(text_head(25, encoding), "T", b"a\xffb" + stored[-3:-2])])
    assert outcome == "C" and json.loads(value).startswith("a\ufffdb")
    assert json.loads(original) == "\\x" + (b"a\xffb" + stored[-3:-2]).hex()


@pytest.mark.parametrize("encoding", ["EUC_JP", "EUC_KR", "EUC_CN", "EUC_TW", "EUC_JIS_2004"])
def test_every_character_of_wider_encodings_is_converted_as_the_server_does(run, encode, encoding):
    characters = euc_characters(encoding)
    run.connection.execute(CONVERTED)
    expected = [text for first in range(0, len(characters), 94) for text, in run.connection.execute(
        "select pg_temp.converted(%s, %s)", [characters[first:first + 94], encoding])]
    assert len(expected) == len(characters)
    known = [(one, text) for one, text in zip(characters, expected) if text is not None]
    assert len(known) > 7000
    (_, value, _), (_, joined, _) = encode([(text_head(25, encoding), "T", separator.join(one for one, _ in known)) for separator in (b"|", b"")])
    differing = [(one.hex(), text, ours) for (one, text), ours in zip(known, json.loads(value).split("|"), strict=True) if text != ours]
    assert not differing, differing[:20]
    assert json.loads(joined) == "".join(text for _, text in known)


def test_bytes_that_are_not_utf8_are_shown_as_hex(encode):
    for type_oid, form in (("25", "B"), ("25", "T"), ("1043", "B")):
        (outcome, value, original), = encode([(text_head(type_oid, "SQL_ASCII"), form, b"a\xe4\xff\xc3\xa4")])
        assert (outcome, json.loads(value), json.loads(original)) == ("C", "a\ufffd\ufffdä", "\\x61e4ffc3a4")


def test_bytes_that_are_no_text_inside_of_other_values(postgres, encode):
    postgres.sql("create database no_text encoding 'SQL_ASCII' template template0 locale 'C'")
    with postgres.connect("no_text") as connection:
        connection.execute(r"""create extension hstore; create type part as (a int, "B" text); create domain label as text; create type mood as enum (e'\xe4', 'b');
            create type textrange as range (subtype = text)""")
        for statement, expected in [
                (r"row(1, e'a\xe4\"')::part", {"a": 1, "B": 'a\ufffd"'}), (r"array[e'\xe4', 'b', e'\xff,\xff\xc3\xa4']", ["\ufffd", "b", "\ufffd,\ufffdä"]),
                (r"array[row(null, e'\xe4')::part, null]", [{"a": None, "B": "\ufffd"}, None]), (r"e'\xe4'::mood", "\ufffd"),
                (r"array[e'\xe4', 'b']::mood[]", ["\ufffd", "b"]), (r"e'\xe4'::label", "\ufffd"), (r"textrange(e'\xe4', e'\xff x')", '[\ufffd,"\ufffd x")'),
                (r"e'{\"\xe4\": [\"\xff\"]}'::json", {"\ufffd": ["\ufffd"]}), (r"e'{\"\xe4\": [\"\xff\"]}'::jsonb", {"\ufffd": ["\ufffd"]}),
                (r"hstore(e'\xe4', e'b\xff')", {"\ufffd": "b\ufffd"}), (r"hstore(array['a', 'b', e'\xe4'], array[null, e'\xff', ''])",
                                                                      {"a": None, "b": "\ufffd", "\ufffd": ""}),
                # Keys that were not equal, and would be
                (r"e'{\"\xe4\": 1, \"\xff\": 2}'::jsonb", None), (r"hstore(array[e'\xe4', e'\xff'], array['1', '2'])", None),
                (r"array[hstore(array[e'\xe4', 'a', e'\xff'], array['1', 'b', '2']), hstore('a', 'b')]", [None, {"a": "b"}]),
                (r"array[e'{\"a\": {\"\xe4\": 1, \"\xff\": 2}}', '1']::jsonb[]", [None, 1])]:
            datum, = encode_query(connection, encode, "select " + statement, encoding="SQL_ASCII")
            assert datum.from_binary == datum.from_text, statement
            assert (datum.outcome, datum.json and json.loads(datum.json)) == ("C", expected or ""), statement
            assert json.loads(datum.original) == "\\x" + datum.text.hex(), statement
    postgres.drop_database("no_text")


if __name__ == "__main__":
    sys.exit(pytest.main([__file__]))
