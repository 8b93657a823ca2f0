"""etl-stream verify over every type with its edge values: what is equal is called equal, by digest and value by value."""
import json

import pytest

from program import run_command
from snowflake_client import Snowflake
from test_types_matrix import copy_and_stream

STREAM = ("--merge-interval-seconds", 1, "--poll-interval-seconds", 1)


@pytest.mark.parametrize("form", ["binary", "text"])
def test_every_type_is_equal(source, standin, stream, form):
    snowflake = Snowflake(standin.to)
    columns, count, program = copy_and_stream(source, snowflake, stream, form, *STREAM)

    def verify(code, *options):
        done = run_command("verify", "--from", source.url(), "--to", standin.to, "--json", "--show-values", *options,
                           state=program.state, seconds=300)
        assert done.returncode == code, (done.stdout[-5000:], done.stderr)
        table, = json.loads(done.stdout)["tables"]
        return table

    digest = verify(0)
    assert digest["source_rows"] == digest["target_rows"] == 2 * count
    # What both engines write alike is compared, the rest is named.
    assert {"float8", "json", "int4s", "nested", "hstore"} <= set(digest["only_nulls_compared"])
    assert not {"int8", "numeric", "text", "bpchar", "bytea", "timestamptz", "interval", "numrange", "point"} & set(digest["only_nulls_compared"])
    full = verify(0, "--full")
    assert full["only_nulls_compared"] == [] and full["is_full"]

    # JSON that VARIANT cannot hold is NULL in the target: such ranges are read. But for that both engines write every value alike.
    assert digest["ranges_different"] > 0
    source.sql("update matrix set json = null, jsonb = null")
    assert verify(0)["ranges_different"] == 0

    # A value changed in any column is seen; by digest too where the column is compared.
    matrix = snowflake.qualified("MATRIX")
    names = [name for name, (_, texts) in columns.items() if len(texts) > 1 and name not in ("json", "jsonb")]
    for name in names:
        quoted = '"' + name.upper() + '"'
        snowflake.execute(f"UPDATE {matrix} SET {quoted} = (SELECT {quoted} FROM {matrix} WHERE \"ID\" = 1) WHERE \"ID\" = 1000")
    full = verify(1, "--full", "--limit", 100)
    [row] = full["rows"]
    assert row["key"] == {"id": "1000"}
    assert set(names) - set(row["columns"]) <= {"xmin", "hstore"} | EQUAL_IMAGES, set(names) - set(row["columns"])
    assert verify(1)["changed"] == 1


# Columns whose first two values are the same for the target: NULL both, or equal.
EQUAL_IMAGES = {"numeric", "float4", "float8"}
