"""Reads the rows that a file or http destination was given and folds them into what the tables hold, by the rules of
docs/destinations.md. Shares nothing with the program."""
import base64
import collections
import datetime
import decimal
import json
import uuid

# The tables of load.py and their keys; without a key a table is append-only.
KEYS = {"customers": ("id",), "orders": ("id",), "order_lines": ("order_id", "line_number"), "order_events": ()}


def instant(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))


def number(value):
    return decimal.Decimal(str(value))


# Type of the source → from the landed JSON value to what psycopg reads.
READERS = {"numeric": number, "timestamp with time zone": instant, "timestamp without time zone": datetime.datetime.fromisoformat,
           "date": datetime.date.fromisoformat, "uuid": uuid.UUID, "bytea": base64.b64decode, "bigint": int, "integer": int}


def columns_of(connection, table):
    """(name, type, attribute number) of each column."""
    return connection.execute(
        "select attname, format_type(atttypid, null), attnum from pg_attribute where attrelid = %s::regclass and attnum > 0 "
        "and not attisdropped order by attnum", [table]).fetchall()


def fold(rows, columns, key):
    """What the table holds after all rows: a Counter of tuples. rows are dicts, as landed, in any order."""
    copies = [row["_ETL_SEQ"] for row in rows if row["_ETL_OP"] == "C"]
    copied = max(copies, default="")
    names = [name.upper() for name, _, _ in columns]
    numbers = {number: name.upper() for name, _, number in columns}
    held = {}
    appended = []

    def values(row):
        return {name: row.get(name) for name in names}

    for row in rows:
        if row["_ETL_OP"] == "C" and row["_ETL_SEQ"] == copied:
            appended.append(values(row))
            held[tuple(row[name.upper()] for name in key)] = appended[-1]
    stream = {row["_ETL_SEQ"]: row for row in rows if row["_ETL_OP"] != "C" and row["_ETL_SEQ"] >= copied}
    for _, row in sorted(stream.items()):
        if row["_ETL_OP"] == "T":
            held.clear()
            appended.clear()
            continue
        name = tuple(row.get(name.upper()) for name in key)
        before = held.pop(tuple(row["_ETL_OLD_KEY"]) if "_ETL_OLD_KEY" in row else name, None)
        if row["_ETL_OP"] == "D":
            continue
        after = values(row)
        for attribute in row.get("_ETL_UNCHANGED", []):
            after[numbers[attribute]] = before[numbers[attribute]]
        held[name] = after
        appended.append(after)
    found = held.values() if key else appended
    readers = {name.upper(): READERS.get(kind, lambda value: value) for name, kind, _ in columns}
    return collections.Counter(
        freeze(tuple(None if row[name] is None else readers[name](row[name]) for name in names)) for row in found)


def freeze(row):
    return tuple(json.dumps(value, sort_keys=True) if isinstance(value, (list, dict)) else value for value in row)


def source_rows(connection, table, columns):
    listed = ", ".join('"' + name.replace('"', '""') + '"' for name, _, _ in columns)
    return collections.Counter(freeze(row) for row in connection.execute(f"select {listed} from {table}").fetchall())


def assert_equal(source, rows_of, tables=KEYS):
    """rows_of(table) → the landed rows of a table."""
    with source.connect() as connection:
        connection.execute("set timezone = 'UTC'")
        for table in tables:
            columns = columns_of(connection, table)
            expected, found = source_rows(connection, table, columns), fold(rows_of(table), columns, KEYS[table])
            missing, extra = expected - found, found - expected
            assert not missing and not extra, f"{table}: missing {list(missing)[:3]}, too many {list(extra)[:3]}"


def has_mark(rows, mark):
    return any(int(row.get("ORDER_ID", 0)) == -mark for row in rows)


def stream_sequences(rows):
    return collections.Counter(row["_ETL_SEQ"] for row in rows if row["_ETL_OP"] != "C")
