"""Every type with its edge values, through the whole program: copied and streamed, in binary and in text, stored as PostgreSQL has them.

What cannot be stored so is in _ETL_COERCED. The comparison (compare.py, compare_values.py) shares nothing with the program.
"""
import json

import psycopg
import pytest

import compare
from program import pipeline_status, wait_until
from snowflake_client import OBJECT_IS_MISSING, Snowflake, SnowflakeError
from versions import MAJOR

MERGE_OFTEN = ("--merge-interval-seconds", 1)
# ALTER ROLE … SET in the way of everything that text depends on.
HOSTILE_SETTINGS = {
    "DateStyle": "'SQL, DMY'", "IntervalStyle": "'postgres_verbose'", "TimeZone": "'Asia/Kathmandu'", "extra_float_digits": "-15",
    "bytea_output": "'escape'", "lc_monetary": "'C.UTF-8'", "search_path": "'pg_catalog, nowhere'", "standard_conforming_strings": "off",
    "quote_all_identifiers": "on", "xmlbinary": "'hex'", "xmloption": "'document'", "statement_timeout": "'1ms'", "lock_timeout": "'1ms'",
    "idle_in_transaction_session_timeout": "'1s'", "row_security": "off", "client_encoding": "'SQL_ASCII'", "array_nulls": "off",
    "default_transaction_read_only": "on", "default_transaction_isolation": "'serializable'", "escape_string_warning": "on",
    "client_min_messages": "'debug5'", "transform_null_equals": "on", "plan_cache_mode": "'force_generic_plan'"}
TYPES = """
create extension hstore; create extension citext; create extension ltree;
create type mood as enum ('sad', 'o''k', 'ha"ppy', '');
create domain whole as int check (value > 0);
create domain price as numeric(8,2);
create domain cheap as price check (value < 100);
create domain days as date[];
create type part as (a int, "B ""q" text, c date);
create type nothing as ();
create type nested as (p part, ps part[], n numeric, j jsonb, f float8, d days, b bytea, e nothing, r int4range, h hstore, m mood);
alter type nested add attribute gone text; alter type nested drop attribute gone; alter type nested add attribute late cheap;
create domain over_nested as nested; create domain feeling as mood; create domain span as int4range; create domain spans as span[];
create type textrange as range (subtype = text);
create table row_source (x int, "Y" text);
"""
ALL_CONTROLS = "".join(map(chr, range(1, 32))) + "\x7f"
TEXTS = ["", " ", " a b ", "NULL", "null", 'q"\\/', ALL_CONTROLS, "äöü€𝄞", "👩‍👩‍👧 e\u0301 \u200b\u2028\u2029\ufeff\U0010ffff",
         "{x}", "a,b", "\\x41", "\\", '"', "'", "(1,2)", "x" * 1_000_000]
DEEP = '{"a":' * 160 + "[" * 80 + "1" + "]" * 80 + "}" * 160  # the stand-in takes 254 levels; Snowflake names no limit
JSON = ["null", '""', "[]", "{}", "0", "-0", "1e300", "5e-324", "1.7976931348623157e308", "true", '"\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e4\\ud834\\udd1e"',
        '{"a": [1, 2.50, null, {"b": "x y"}], "": {}, "ä€": "👩"}', "1" * 38, "0." + "1" * 37, "1" * 39, "1" * 40, '{"n": [0.' + "3" * 40 + "]}",
        "123456789012345678901234567890.12345678", DEEP]
INSTANTS = ["2026-11-23 22:30:00.123", "0001-01-01", "9999-12-31 23:59:59.999999", "1969-12-31 23:59:59.999999", "2000-02-29 24:00:00",
            "infinity", "-infinity", "0044-03-15 12:00:00.5 BC", "10000-01-01", "294276-12-31 23:59:59.999999", "4713-01-01 00:00:00 BC",
            "4714-11-24 00:00:00 BC"]
FLOATS = ["0", "-0", "1", "0.1", "-1e-5", "123456789", "NaN", "Infinity", "-Infinity", "1e15", "1e16"]
# A column for each: its type and the texts of its values. A row has the values of the same place.
COLUMNS = {
    "bool": ("bool", ["t", "f"]),
    "int2": ("int2", ["0", "-1", "32767", "-32768"]),
    "int4": ("int4", ["0", "2147483647", "-2147483648"]),
    "int8": ("int8", ["0", "9223372036854775807", "-9223372036854775808", "999999999999999", "-1000000000000000"]),
    "oid": ("oid", ["0", "4294967295"]),
    "xid8": ("xid8", ["0", "18446744073709551615"]),
    "xid": ("xid", ["0", "4294967295"]),
    "cid": ("cid", ["0", "4294967295"]),
    "tid": ("tid", ["(0,1)", "(4294967295,65535)"]),
    "pg_lsn": ("pg_lsn", ["0/0", "16/B374D848", "FFFFFFFF/FFFFFFFF"]),
    "numeric": ("numeric", ["0", "-0.5", "NaN", "Infinity", "-Infinity", "9" * 29 + "." + "9" * 9, "9" * 30, "1e-9", "1e-10", "-5e-10", "4e-10",
                            "1.0000000000", "9" * 131072, "1e-16383", "-" + "9" * 131072 + "." + "9" * 16383, "1e100", "0.1"]),
    "numeric_10_2": ("numeric(10,2)", ["0", "-99999999.99", "99999999.99", "0.01", "NaN"]),
    "numeric_38_0": ("numeric(38,0)", ["0", "9" * 38, "-" + "9" * 38, "NaN"]),
    "numeric_38_37": ("numeric(38,37)", ["0", "9." + "9" * 37, "-1e-37"]),
    "numeric_39_1": ("numeric(39,1)", ["0", "9" * 38 + ".9", "NaN"]),
    "numeric_1000": ("numeric(1000,500)", ["0", "9" * 500 + "." + "9" * 500]),
    "numeric_5_m3": ("numeric(5,-3)", ["0", "99999000", "-12345678"]),
    "numeric_2_5": ("numeric(2,5)", ["0", "0.00099", "-0.00001"]),
    "numeric_36_m9": ("numeric(36,-9)", ["0", "9" * 30 + "000000000"]),
    "float4": ("float4", [*FLOATS, "3.4028235e38", "-1.1754944e-38", "1.4e-45", "1.1920929e-07"]),
    "float8": ("float8", [*FLOATS, "1.7976931348623157e308", "-2.2250738585072014e-308", "5e-324", "2.220446049250313e-16", "1e23"]),
    "money": ("money", ["0", "0.01", "-0.05", "1234567.89", "92233720368547758.07", "-92233720368547758.08"]),
    "text": ("text", TEXTS),
    "varchar": ("varchar(20)", [text for text in TEXTS if len(text) <= 20]),
    "bpchar": ("char(5)", ["", "a", " b", "ä€𝄞x"]),
    "name": ("name", ["", "a b", 'q"\\', "n" * 63]),
    "char": ('"char"', ["", "a", '"', "\\"]),
    "citext": ("citext", ["", "aB", 'q"\\', "äÖ"]),
    "xml": ("xml", ["", "<a>ä &amp; b</a>", "<?xml version=\"1.0\"?><a b='c'/>"]),
    "mood": ("mood", ["sad", "o'k", 'ha"ppy', ""]),
    "bytea": ("bytea", ["", "\\x00", "\\x5c27ff00", "\\x" + "00ff10" * 300_000]),
    "date": ("date", [text.split(" ")[0] + (" BC" if text.endswith("BC") else "") for text in INSTANTS] + ["5874897-12-31"]),
    "time": ("time", ["00:00", "23:59:59.999999", "24:00:00", "12:30:01.5"]),
    "timetz": ("timetz", ["00:00+00", "24:00:00-15:59", "12:00:00.000001+05:30", "12:00+15:59:59"]),
    "timestamp": ("timestamp", INSTANTS),
    "timestamptz": ("timestamptz", [text.replace("2026-11-23 22:30:00.123", "2026-11-23 22:30:00.123+05:30") for text in INSTANTS]),
    "timestamp_0": ("timestamptz(0)", ["2026-11-23 22:30:00+00"]),
    "interval": ("interval", ["0", "1 year 2 months 3 days 04:05:06.7", "-1 year -2 months", "1 month -3 days 00:00:01", "-00:00:00.000001",
                              "178000000 years", "-178000000 years", "2147483647 days", "2562047788:00:54.775807", "-59.5 seconds"]),
    "uuid": ("uuid", ["A0EEBC99-9c0b-4ef8-bb6d-6bb9bd380a11", "00000000-0000-0000-0000-000000000000"]),
    "json": ("json", [*JSON, '{"a":\n [1,\t2.50],\r\n "b": 1}', '{"a": 1, "a": 2}', '[{"x": {"\\u0061": 1, "a": 2}}]', " true ", "1e400", "1e-400"]),
    "jsonb": ("jsonb", [*JSON, '{"a": 1, "a": 2}']),
    "hstore": ("hstore", ["", 'a=>1, b=>NULL, ""=>""', '"q\\"\\\\"=>"ä€ =>, \\\\"', 'n=>"NULL"']),
    "ltree": ("ltree", ["", "a.b_1.c"]),
    "inet": ("inet", ["0.0.0.0", "10.0.0.1", "10.0.0.1/8", "::", "::1", "::ffff:1.2.3.4", "2001:db8::1/64", "fe80::1:0:0:1"]),
    "cidr": ("cidr", ["10.0.0.0/8", "1.2.3.4/32", "::/0", "2001:db8::/32"]),
    "macaddr": ("macaddr", ["08:00:2b:01:02:03"]),
    "macaddr8": ("macaddr8", ["08:00:2b:01:02:03:04:05"]),
    "bit": ("bit(3)", ["101", "000"]),
    "varbit": ("varbit", ["", "1", "010101010101010101"]),
    "point": ("point", ["(1,2)", "(-0,1e300)", "(NaN,Infinity)"]),
    "line": ("line", ["{1,2,3}"]),
    "lseg": ("lseg", ["[(1,2),(3,4.5)]"]),
    "box": ("box", ["(1,1),(0,0)"]),
    "path": ("path", ["[(1,1),(2,2)]", "((1,1),(2,2),(3,0))"]),
    "polygon": ("polygon", ["((1,1),(2,2),(3,0))"]),
    "circle": ("circle", ["<(1,2),3.5>"]),
    "tsvector": ("tsvector", ["", "a:1A,2B,3C,4 b:16383", "'it''s':3 'back\\\\slash' 'ü x'"]),
    "jsonpath": ("jsonpath", ['$."a"[*] ? (@ > 1)']),
    "int4range": ("int4range", ["[1,5)", "empty", "(,)", "[-2147483648,2147483647)"]),
    "numrange": ("numrange", ["[1.50,2]", "(NaN,)"]),
    "tsrange": ("tsrange", ['["2026-11-23 01:02:03","2026-11-24 00:00:00.5")', "(-infinity,infinity)"]),
    "tstzrange": ("tstzrange", ['["2026-11-23 01:02:03+05","2026-11-24 00:00:00.5+00")']),
    "daterange": ("daterange", ["[2026-11-23,2026-11-25)", "[0044-03-15 BC,10000-01-01)"]),
    "textrange": ("textrange", ['["a b","c""d"]', '["","\\\\"]', "(ä,ö)"]),
    "multirange": ("int4multirange", ["{}", "{[1,2),[5,7)}", "{(,3),[10,)}"]),
    "domain": ("cheap", ["12.5", "-3"]),
    "whole": ("whole", ["7"]),
    "days": ("days", ["{}", "{2026-11-23,NULL}", "{infinity}"]),
    "int4s": ("int4[]", ["{}", "{1,NULL,-3}", "{{1,2},{3,4}}", "{{{{{{1},{NULL}}}}}}", "[0:1]={1,2}", "[-1:0][5:6]={{1,2},{3,4}}"]),
    "texts": ("text[]", ["{}", '{"",NULL,"NULL",null,"a b","q\\"\\\\","{x}","a,b","ä€𝄞"}', '{{a},{"b\\\\c"}}']),
    "numerics": ("numeric[]", ["{1,NaN,1e40,1e-10}", "{1.5}"]),
    "cheaps": ("cheap[]", ["{1.5,NULL}"]),
    "bools": ("bool[]", ["{t,f,NULL}"]),
    "floats": ("float8[]", ["{1.5,NaN,-Infinity,1e300}"]),
    "byteas": ("bytea[]", ['{"\\\\x00ff",NULL}']),
    "timestamptzs": ("timestamptz[]", ['{"2026-11-23 01:02:03+05:30",infinity}']),
    "jsonbs": ("jsonb[]", ['{"{\\"a\\": [1, \\"x,y\\"]}",NULL,"[1, 2]"}']),
    "moods": ("mood[]", ['{sad,"o\'k","ha\\"ppy",""}']),
    "intervals": ("interval[]", ['{"1 day",NULL,"-2 h"}']),
    "ranges": ("int4range[]", ['{"[1,5)",NULL,empty}']),
    "boxes": ("box[]", ["{(1,1),(0,0);(2,2),(1,1)}"]),
    "hstores": ("hstore[]", ['{"a=>1",NULL,"\\"b\\"=>NULL"}']),
    "part": ("part", ["(,,)", '(1,"x ""y\\\\",2026-11-23)', '(1,"",infinity)', '(2,"(a,b)",)']),
    "parts": ("part[]", ["{}", '{"(1,\\"a \\"\\"b\\",2026-11-23)",NULL,"(,,)"}', '{"(1,,infinity)"}', '[0:0]={"(,,)"}']),
    "nested": ("nested", ["(,,,,,,,,,,,)", '("(,,infinity)",,1e40,,,,,,,,,)',
                          '("(1,""a b"",)","{""(2,x,2026-11-23)"",NULL}",1.5,"{""a"": [1]}",NaN,"{2026-11-23}","\\\\x00ff","()"'
                          ',"[1,5)","""a""=>NULL",sad,12.5)']),
    "over_nested": ("over_nested", ['("(1,2,)",,,,,,,,,,,)']),
    "of_table": ("row_source", ['(1,"a b")', "(,)"]),
    "feeling": ("feeling", ["sad", 'ha"ppy', ""]),
    "spans": ("spans", ["{}", '{"[1,5)",NULL,empty}']),
    "int2vector": ("int2vector", ["", "1 2 3"]),
    "oidvector": ("oidvector", ["1 2"]),
}
if MAJOR < 15:  # scales from 0 to the precision only; no more hours than an int holds
    for name in ("numeric_5_m3", "numeric_2_5", "numeric_36_m9"):
        del COLUMNS[name]
    COLUMNS["interval"][1].remove("2562047788:00:54.775807")
if MAJOR >= 17:
    COLUMNS["interval"][1].extend(["infinity", "-infinity"])
# Their binary form is not decoded: with one of them the stream is text.
TEXT_COLUMNS = {"tsquery": ("tsquery", ["'a' & 'b'"]), "tsqueries": ("tsquery[]", ["{'a',NULL,\"'b' | 'c'\"}"]), "snapshot": ("pg_snapshot", ["10:20:15"]),
                "regclass": ("regclass", ["pg_class", "row_source"]), "aclitems": ("aclitem[]", ["{postgres=r/postgres}"])}
TEXT_ONLY = {"int2vector", "oidvector"}  # not decoded either


def literal(text):
    return psycopg.sql.Literal(text).as_string(None)


def make_table(connection, columns):
    listed = ", ".join(f'"{name}" {type_name}' for name, (type_name, _) in columns.items())
    connection.execute(f"create table matrix (id int primary key, {listed}); create publication etl for table matrix")


def insert_rows(connection, columns, first_id):
    """Row by row, as the server reads the texts; the last row is NULL throughout. Returns how many."""
    count = max(len(texts) for _, texts in columns.values()) + 1
    for row in range(count):
        values = [f"{literal(texts[row])}::{type_name}" if row < len(texts) else "null" for type_name, texts in columns.values()]
        connection.execute(f"insert into matrix values ({first_id + row}, {', '.join(values)})")
    return count


def wait_for_rows(snowflake, program, count, seconds=60):
    def is_there():
        assert program.is_running(), program.tail()
        try:
            return snowflake.value(f"select count(*) from {snowflake.qualified('MATRIX')}") == str(count)
        except SnowflakeError as error:
            if error.code != OBJECT_IS_MISSING and error.status < 500:
                raise
            return False
    wait_until(is_there, seconds, f"{count} rows in the target", pause=0.2)


def assert_copy_is_stream(snowflake, columns, count):
    """The same rows were copied and streamed: they landed as the same values, byte for byte but for floats."""
    names = ", ".join(f'"{name.upper()}"' for name in [*columns, "_ETL_COERCED"])
    rows = snowflake.query(f'select "ID", "_ETL_OP", {names} from {snowflake.landing("matrix")} order by "ID"', seconds=300)
    assert [row[1] for row in rows] == ["C"] * count + ["I"] * count
    for copied, streamed in zip(rows[:count], rows[count:]):
        assert int(copied[0]) + 1000 == int(streamed[0])
        for name, one, other in zip([*columns, "_ETL_COERCED"], copied[2:], streamed[2:]):
            assert one == other, f"{name}: copied {one}, streamed {other}"


def copy_and_stream(source, snowflake, stream, form, *options):
    """A table with a column of each type, its edge values copied and then streamed: its columns, how many rows each way brought, and the
    program, which goes on."""
    columns = {**COLUMNS, **TEXT_COLUMNS} if form == "text" else {name: of for name, of in COLUMNS.items() if name not in TEXT_ONLY}
    with source.connect() as connection:
        connection.execute("set datestyle = 'ISO, YMD'")
        connection.execute(TYPES)
        if form == "text":  # the program's role would see everything otherwise
            for name, value in HOSTILE_SETTINGS.items():
                connection.execute(f'alter database "{source.name}" set {name} = {value}')
        make_table(connection, columns)
        count = insert_rows(connection, columns, 0)
        program = stream(*options)
        program.wait_for_event("live", 40)
        assert f"as {form}" in program.wait_for_event("streaming", 40)["message"]
        insert_rows(connection, columns, 1000)
        wait_for_rows(snowflake, program, 2 * count)
        connection.execute(f'alter database "{source.name}" reset all')
    return columns, count, program


@pytest.mark.parametrize("form", ["binary", "text"])
def test_every_type_copied_and_streamed(source, standin, stream, form):
    snowflake = Snowflake(standin.to)
    columns, count, program = copy_and_stream(source, snowflake, stream, form, *MERGE_OFTEN)
    compare.assert_equal(source.conninfo, source.publication, standin.to)
    assert_copy_is_stream(snowflake, columns, count)

    coerced = {name: line for line in program.events("value_coerced") for name in columns if f".{name} (" in line["message"]}
    found = snowflake.query(f'select "_ETL_COERCED" from {snowflake.qualified("MATRIX")} where "_ETL_COERCED" is not null')
    assert {name.upper() for name in coerced} == {name for row in found for name in json.loads(row[0])}
    assert len(coerced) == len(program.events("value_coerced")), "said once for each column"
    count = sum(len(json.loads(row[0])) for row in found)
    program.wait_for_status(lambda status: [table["values_coerced"] for table in pipeline_status(status)["tables"]] == [count], 60,
                            f"{count} coerced values to be shown")


@pytest.mark.parametrize("encoding", ["LATIN1", "EUC_JP"])
def test_types_in_another_encoding(postgres, standin, start_stream, encoding):
    """Text inside of composites, arrays, ranges and hstore is converted, too; names are."""
    name, word = f"encoded_{encoding.lower()}", {"LATIN1": "äöü", "EUC_JP": "日本語"}[encoding]
    postgres.sql(f"create database {name} encoding '{encoding}' template template0 locale 'C'")
    url = postgres.url(name, publication="etl")
    with postgres.connect(name) as connection:
        connection.execute("set client_encoding = 'UTF8'")
        connection.execute(f"""create extension hstore; create extension citext;
            create type part as (a int, "{word}" text); create type textrange as range (subtype = text); create type mood as enum ('{word}');
            create table matrix (id int primary key, c part, cs part[], h hstore, r textrange, m mood, ms mood[], ci citext, j json, x xml);
            create publication etl for table matrix""")

        def insert(number):
            connection.execute(f"""insert into matrix values ({number}, row(1, '{word} "x"'), array[row(2, '{word},')::part], '{word}=>"{word} "',
                '["{word}",)', '{word}', array['{word}']::mood[], '{word}', '{{"{word}": ["{word}"]}}', '<a>{word}</a>')""")
        insert(1)
        program = start_stream(url, standin.to, *MERGE_OFTEN)
        program.wait_for_event("live", 60)
        insert(2)
        wait_for_rows(Snowflake(standin.to), program, 2)
        compare.assert_equal(postgres.url(name), "etl", standin.to)
        assert program.terminate() == 0
    postgres.drop_database(name)


def test_coerced_values_come_and_go(source, standin, stream):
    """_ETL_COERCED in the target: there when it is needed, right after updates, moves and unsent values, after a restart as well."""
    snowflake = Snowflake(standin.to)
    target = snowflake.qualified("MATRIX")

    def has_column():
        return any(column["name"] == "_ETL_COERCED" for column in snowflake.execute(f"select * from {target} limit 0")[0])

    def settle(program, number):
        source.sql("insert into mark values (%s)", [number])
        wait_until(lambda: program.is_running() and snowflake.value(f"select count(*) from {snowflake.qualified('MARK')} where \"ID\" = {number}") == "1",
                   60, "the mark in the target", pause=0.1)
        compare.assert_equal(source.conninfo, source.publication, standin.to)

    large = "1" * 40 + " " * 3000 + "1"  # TOASTed, and too long a number in it
    with source.connect() as connection:
        connection.execute("""create table matrix (id int primary key, d date, j json, n int); alter table matrix alter j set storage external;
            create table bag (d date, n numeric); alter table bag replica identity full; create table mark (id int primary key);
            create publication etl for table matrix, bag, mark; insert into matrix values (1, '2026-11-23', '[]', 0)""")
        program = stream(*MERGE_OFTEN)
        program.wait_for_event("live", 60)
        settle(program, 1)
        assert not has_column()
        connection.execute("insert into matrix values (2, 'infinity', %s, 0), (3, '2026-11-23', '[]', 0); insert into bag values ('infinity', 'NaN')"
                           .replace("%s", literal(f"[{large[:40]}, \"{'x' * 4000}\"]")))
        settle(program, 2)
        assert has_column()
        connection.execute("update matrix set n = 1 where id = 2")                       # j is not sent, its original stays
        connection.execute("update matrix set d = '2026-11-24' where id = 2")
        connection.execute("update matrix set id = 20 where id = 2; update matrix set d = '-infinity' where id = 3")
        connection.execute("insert into bag values ('infinity', 'NaN'), ('-infinity', 'NaN'), ('infinity', 'Infinity')")
        settle(program, 3)
        connection.execute("update matrix set j = '{}' where id = 20; delete from bag where d = 'infinity' and n = 'NaN'")
        connection.execute("update bag set d = '2026-11-23' where d = '-infinity'")
        settle(program, 4)
        program.kill()
        connection.execute("update matrix set n = 5 where id = 3; insert into matrix values (4, '0044-03-15 BC', '[]', 0)")
        program = stream(*MERGE_OFTEN)
        settle(program, 5)
    assert program.terminate() == 0


def test_rows_of_an_earlier_life_get_their_column(source, standin, stream):
    """Killed between landing and merge: the next life has coerced nothing itself, and the merge notices."""
    snowflake = Snowflake(standin.to)
    with source.connect() as connection:
        connection.execute("create table matrix (id int primary key, d date); create publication etl for table matrix")
        program = stream("--merge-interval-seconds", 86400)
        program.wait_for_event("live", 60)
        connection.execute("insert into matrix values (1, 'infinity')")
        wait_until(lambda: snowflake.value(f"select count(*) from {snowflake.landing('matrix')}") == "1", 60, "the row in the landing table")
        wait_until(lambda: source.value("select confirmed_flush_lsn > pg_current_wal_lsn() - 1 from pg_replication_slots where database = %s",
                                        [source.name]), 60, "the row confirmed")
        program.kill()
        program = stream(*MERGE_OFTEN)
        wait_for_rows(snowflake, program, 1)
        compare.assert_equal(source.conninfo, source.publication, standin.to)
    assert program.terminate() == 0


@pytest.mark.parametrize("unbounded", ["varchar", "float"])
def test_numeric_without_precision(source, standin, start_stream, unbounded):
    texts = ["0", "1.50", "NaN", "-Infinity", "0.1", "1e300", "1e400", "1e-400", "9" * 131072, "123456789012345678901234567890.123"]
    snowflake = Snowflake(standin.to)
    with source.connect() as connection:
        connection.execute("create table matrix (id int primary key, n numeric, ns numeric[]); create publication etl for table matrix")

        def insert(first):
            for number, text in enumerate(texts, first):
                connection.execute("insert into matrix values (%s, %s::numeric, array[%s::numeric])", [number, text, text])
        insert(0)
        program = start_stream(source.url(), standin.to + f"&numeric_unbounded={unbounded}", *MERGE_OFTEN)
        program.wait_for_event("live", 60)
        insert(100)
        wait_for_rows(snowflake, program, 2 * len(texts))
        described, _ = snowflake.execute(f"select * from {snowflake.qualified('MATRIX')} limit 0")
        assert {column["name"]: column["type"].lower() for column in described}["N"] == {"varchar": "text", "float": "real"}[unbounded]
        coerced_column = '"_ETL_COERCED"' if unbounded == "float" else "NULL"
        for number, value, elements, coerced in snowflake.query(
                f'select "ID", "N", "NS", {coerced_column} from {snowflake.qualified("MATRIX")}'):
            text = source.value("select n::text from matrix where id = %s", [int(number)])
            if unbounded == "varchar":
                assert (value, json.loads(elements)) == (text, [text])
                continue
            double = float(text)
            originals = json.loads(coerced or "{}")
            if text in ("NaN", "-Infinity"):
                assert float(value) != float(value) if text == "NaN" else float(value) == double
            elif abs(double) == float("inf"):
                assert value is None and originals["N"] == text
            else:
                assert float(value) == double
                assert originals.get("N") == (None if text in ("0", "1.50", "0.1") or text.startswith("1000") else text)
    assert program.terminate() == 0


@pytest.mark.parametrize("rule", ["truncate", "fail"])
def test_oversized_values(source, standin, start_stream, rule):
    """VARCHAR and VARIANT of 16 MB, BINARY of 8: a value above goes by the option."""
    snowflake = Snowflake(standin.to)
    with source.connect() as connection:
        connection.execute("""create table matrix (id int primary key, t text, b bytea, j jsonb); create table mark (id int primary key);
            create publication etl for table matrix, mark""")
        program = start_stream(source.url(), standin.to + f"&oversized={rule}", *MERGE_OFTEN, "--memory-mb", 256)
        program.wait_for_event("live", 60)
        connection.execute("insert into matrix values (1, repeat('x', 16777216), repeat('y', 8388608)::bytea, '[]')")
        connection.execute("""insert into matrix values (2, repeat('xä', 5592406) || 'y', repeat('y', 8388609)::bytea,
                           to_jsonb(repeat('z', 16777215)))""")
        if rule == "fail":
            program.wait_for_event("parked", 60)

            def parked():  # the status is published a moment after the line
                return [table for table in program.status()["pipelines"][0]["tables"] if (table["table"], table["state"]) == ("matrix", "parked")]
            table, = wait_until(parked, 30, "the status of the parked table")
            assert "too large" in table["reason"]
        else:
            wait_for_rows(snowflake, program, 2)
            found = snowflake.query('select LENGTH("T"), LENGTH("B"), "J" is null, "_ETL_COERCED" from '
                                    f'{snowflake.qualified("MATRIX")} order by "ID"')
            assert found[0][0] == "16777216" and found[0][3] is None
            assert found[1][0] == "11184811"
            assert json.loads(found[1][3]) == {"T": "16777219 bytes", "B": "8388609 bytes", "J": "16777217 bytes"}
    assert program.terminate() == 0
