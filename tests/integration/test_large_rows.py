"""Rows that no append can hold, as Snowflake takes 4 MiB at a time after compression: shortened by the destination's `oversized`."""
import base64
import json
import random

import pytest

from program import pipeline_status, run_command, wait_until
from snowflake_client import Snowflake

MB = 1 << 20
OPTIONS = ("--merge-interval-seconds", 1, "--poll-interval-seconds", 1, "--memory-mb", 256)
SELECT = 'select "ID", LENGTH("A"), LENGTH("B"), LENGTH("C"), "NOTE", "_ETL_COERCED" from {} order by "ID"'


def noise(seed, size):
    """Text that compresses to three quarters."""
    return base64.b64encode(random.Random(seed).randbytes(size * 3 // 4)).decode()


def make(source, more=""):
    source.sql("create table large (id int primary key, a text, b text, c bytea, note text); create table mark (id int primary key);"
               f"{more} create publication etl for table large, mark")


def insert(source, number, a, b=0, c=0):
    with source.connect() as connection:
        connection.execute("insert into large values (%s, %s, %s, %s, %s)",
                           (number, noise(number, a) if a else None, noise(-number, b) if b else None,
                            random.Random(number).randbytes(c) if c else None, f"row {number}"))


def rows(snowflake, count):
    name = snowflake.qualified("LARGE")
    found = wait_until(lambda: (found := snowflake.query(SELECT.format(name))) and len(found) == count and found, 60, "the rows")
    return [(*row[:5], json.loads(row[5]) if row[5] else None) for row in found]


def expected(rule):
    """A row that fits stays; of another one values above the largest power of two that makes it fit are shortened."""
    kept = (lambda size: str(size)) if rule == "truncate" else lambda size: None
    return [
        ("1", str(5 * MB), None, None, "row 1", None),  # 3.8 MB compressed
        ("2", kept(2 * MB), str(MB), None, "row 2", {"A": f"{7 * MB} bytes"}),
        ("3", kept(MB), kept(MB), None, "row 3", {"A": f"{3 * MB} bytes", "B": f"{3 * MB} bytes", "C": f"{3 * MB} bytes"}),
    ]


@pytest.mark.parametrize("rule", ["null", "truncate"])
def test_a_row_that_no_append_holds_is_shortened(source, standin, start_stream, rule):
    make(source, "create table loose (a text, note text);")
    source.sql("alter publication etl add table loose")
    insert(source, 1, 5 * MB)
    insert(source, 2, 7 * MB, MB)
    insert(source, 3, 3 * MB, 3 * MB, 3 * MB)
    source.sql("insert into loose select a, note from large where id in (1, 2)")
    to = standin.to if rule == "null" else standin.to + f"&oversized={rule}"
    program = start_stream(source.url(), to, *OPTIONS)
    program.wait_for_event("live", 90)
    snowflake = Snowflake(standin.to)
    copied = rows(snowflake, 3)
    print(copied)
    first, second, third = expected(rule)
    assert copied[0] == first and copied[1] == second
    # Which power of two is for the compression to say; the same for all of the row, and for the stream.
    assert copied[2][4:] == third[4:] and copied[2][1] == copied[2][2]
    assert (copied[2][1] is None) if rule == "null" else int(copied[2][1]) in (MB, 2 * MB)
    # The same rows by the stream, beside small ones.
    source.sql("update large set id = id + 10")
    insert(source, 4, 100)
    streamed = rows(snowflake, 4)
    assert streamed[0] == ("4", "100", None, None, "row 4", None)
    source.sql("delete from large where id = 4")
    streamed = rows(snowflake, 3)
    assert [row[1:] for row in streamed[1:]] == [row[1:] for row in copied[1:]] and streamed[0][0] == "11"
    table, = [one for one in pipeline_status(program.status())["tables"] if one["table"] == "large"]
    assert table["state"] == "live" and table["values_coerced"] >= 4
    assert program.events("value_coerced")
    verify_it(source, to, program, snowflake)
    assert program.terminate() == 0


def verify_it(source, to, program, snowflake):
    """What was shortened as promised is no difference; what else is changed is one."""
    def counts(code, *more):
        done = run_command("verify", "--from", source.url(), "--to", to, "--json", *more, state=program.state, seconds=120)
        assert done.returncode == code, (done.stdout[-3000:], done.stderr)
        return {table["table"]: (table["missing"], table["extra"], table["changed"]) for table in json.loads(done.stdout)["tables"]}
    same = {"large": (0, 0, 0), "loose": (0, 0, 0), "mark": (0, 0, 0)}
    assert counts(0) == same and counts(0, "--full") == same
    large, loose = snowflake.qualified("LARGE"), snowflake.qualified("LOOSE")
    snowflake.execute(f'update {large} set "B" = \'b\' where "ID" = 12')
    snowflake.execute(f'update {large} set "_ETL_COERCED" = NULL where "ID" = 13')
    snowflake.execute(f'update {loose} set "NOTE" = \'other\' where "NOTE" = \'row 2\'')
    assert counts(1, "--full") == {**same, "large": (0, 0, 2), "loose": (1, 1, 0)}


def test_it_parks_its_table_where_that_is_asked(source, standin, start_stream):
    make(source)
    program = start_stream(source.url(), standin.to + "&oversized=fail", *OPTIONS)
    program.wait_for_event("live", 90)
    insert(source, 1, 7 * MB)
    program.wait_for_event("parked", 60)
    def reason():
        table, = [one for one in pipeline_status(program.status())["tables"] if one["table"] == "large"]
        return table.get("reason")
    why = wait_until(reason, 20, "the status to say why")
    assert "does not fit the 4194304 bytes" in why and "oversized=truncate" in why
    source.sql("insert into mark values (1)")
    wait_until(lambda: Snowflake(standin.to).query(f'select "ID" from {Snowflake(standin.to).qualified("MARK")}'), 30, "the others")
    assert program.terminate() == 0


def test_equal_rows_that_are_counted_are_not_shortened(source, standin, start_stream):
    """What is removed later would have to be shortened alike."""
    make(source, "alter table large drop constraint large_pkey; alter table large replica identity full;")
    program = start_stream(source.url(), standin.to, *OPTIONS)
    program.wait_for_event("live", 90)
    insert(source, 1, 7 * MB)
    line = program.wait_for_event("parked", 60)
    assert "compared by all its values" in line["message"]
    assert program.terminate() == 0
