"""Types of extensions that have servers of their own here: pgvector's (a server that a package brings) and PostGIS's (Debian's, for 15)."""
import json
import subprocess

import pytest

from conftest import Source
from pgserver import PgServer
from program import ROOT, wait_until
from snowflake_client import Snowflake, SnowflakeError
from versions import MAJOR

MERGE_OFTEN = ("--merge-interval-seconds", 1)


@pytest.fixture(scope="module")
def vector_server():
    """Whatever version the other tests run against: this one comes with the extension."""
    told = subprocess.run([ROOT / "tools/bootstrap", "postgres", "vector"], check=True, stdout=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL)
    with PgServer(server_bin=told.stdout.strip()) as server:
        yield server


def numbers(text):
    """A JSON array's numbers as doubles: in an ARRAY 1e38 may come back as 39 digits."""
    return text and json.loads(text, parse_int=float)


def wait_for_rows(snowflake, program, table, count):
    def is_there():
        assert program.is_running(), program.tail()
        try:
            return snowflake.value(f"select count(*) from {snowflake.qualified(table)}") == str(count)
        except SnowflakeError as error:
            if error.status == 200:
                raise
            return False
    wait_until(is_there, 60, f"{count} rows in {table}", pause=0.2)


def copy_and_stream(source, standin, start_stream, insert, count, form):
    """The same rows copied and streamed; returns the columns' values of both, as the target has them."""
    insert(0)
    program = start_stream(source.url(), standin.to, *MERGE_OFTEN)
    program.wait_for_event("live", 60)
    assert f"as {form}" in program.wait_for_event("streaming", 40)["message"]
    insert(1000)
    snowflake = Snowflake(standin.to)
    wait_for_rows(snowflake, program, "TYPED", 2 * count)
    assert program.events("value_coerced") == []
    described, rows = snowflake.execute(f'select * from {snowflake.qualified("TYPED")} order by "ID"')
    assert program.terminate() == 0
    copied, streamed = rows[:count], rows[count:]
    assert [row[1:] for row in copied] == [row[1:] for row in streamed]
    return {column["name"]: column["type"].lower() for column in described}, copied


@pytest.mark.parametrize("form", ["binary", "text"])
def test_vectors(vector_server, standin, start_stream, form):
    vector_server.create_database(form)
    source = Source(vector_server, form)
    sparse = "s sparsevec(5)," if form == "text" else ""  # its binary form is not decoded
    source.sql(f"""create extension vector;
        create table typed (id int primary key, v vector(3), h halfvec(3), any_size vector, vs vector(2)[], {sparse} n halfvec);
        create publication etl for table typed""")
    rows = [("[1,2,3]", "[1,-0.5,65504]", "[0]", '{"[1,2]",NULL,"[3,4]"}', "[5.9604645e-08]"),
            ("[0.1,-1e-38,3.4028235e+38]", "[0.1,1e-5,-0]", "[" + ",".join(f"{i / 7}" for i in range(2000)) + "]", "{}", "[1e4]"),
            (None, None, None, None, None)]

    def insert(first):
        for number, (v, h, any_size, vs, n) in enumerate(rows, first):
            source.sql("insert into typed (id, v, h, any_size, vs, n) values (%s, %s, %s, %s, %s, %s)", [number, v, h, any_size, vs, n])
        if form == "text":
            source.sql("update typed set s = '{1:1.5,3:-2}/5' where id = %s", [first])
    types, found = copy_and_stream(source, standin, start_stream, insert, len(rows), form)
    assert [types[name] for name in ("V", "H", "ANY_SIZE", "VS", "N")] == ["array"] * 5
    names = list(types)
    for row in found:
        values = dict(zip(names, row))
        texts = source.sql("select v::text, h::text, any_size::text, n::text, to_json(vs::text[]) from typed where id = %s", [int(values["ID"])])[0]
        for name, text in zip(("V", "H", "ANY_SIZE", "N"), texts):
            assert numbers(values[name]) == numbers(text), name
        parts = texts[4]
        assert numbers(values["VS"]) == (parts and [numbers(part) for part in parts])
    if form == "text":
        assert types["S"] == "text" and dict(zip(names, found[0]))["S"] == "{1:1.5,3:-2}/5"


@pytest.mark.skipif(MAJOR != 15, reason=f"PostgreSQL {MAJOR}: PostGIS is installed for Debian's 15")
def test_geometry_and_geography(source, standin, start_stream):
    """The server's text: EWKB in hex."""
    source.sql("""create extension postgis;
        create table typed (id int primary key, g geometry, p geometry(PointZ, 4326), e geography(LineString, 4326), gs geometry[], b box2d);
        create publication etl for table typed""")
    rows = [("POINT(1 2)", "SRID=4326;POINT Z (1 2 3)", "LINESTRING(-71 42, 8.5 47.25)", ["POINT(0 0)", None, "POLYGON((0 0,1 0,1 1,0 0))"], "BOX(0 0,1 1)"),
            ("GEOMETRYCOLLECTION(POINT EMPTY, LINESTRING(1 2,3 4))", "SRID=4326;POINT Z EMPTY", "LINESTRING EMPTY", [], "BOX(-1 -1,1e10 0.5)"),
            (None, None, None, None, None)]

    def insert(first):
        for number, row in enumerate(rows, first):
            source.sql("insert into typed select %s, %s::geometry, %s::geometry, %s::geography, %s::text[]::geometry[], %s::box2d", [number, *row])
    types, found = copy_and_stream(source, standin, start_stream, insert, len(rows), "text")
    assert types == {"ID": "fixed", "G": "text", "P": "text", "E": "text", "GS": "array", "B": "text"}
    for row in found:
        texts = source.sql("select g::text, p::text, e::text, to_json(gs::text[]), b::text from typed where id = %s", [int(row[0])])[0]
        assert (row[1], row[2], row[3], row[4] and json.loads(row[4]), row[5]) == texts
