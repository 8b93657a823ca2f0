"""A source of changes that keeps its own books: what PostgreSQL would send, and what the tables hold at every position.

Shares no code with the program and none with the stand-in. A World performs transactions on its tables; each row change
becomes the line that the program would land, with the rules of pgoutput for what is not sent: a large value that an
update leaves alone (TOAST) is "unchanged", also when the update moves the row to another key.
"""
import base64
import copy
import datetime
import decimal
import json
import math

EPOCH = 1
JSON_NULL = type("JsonNull", (), {"__repr__": lambda self: "JSON_NULL", "__deepcopy__": lambda self, memo: self})()
LARGE_FROM = 24  # characters, bytes or elements: what this model takes for "stored out of line"


class Coerced:
    """A value that the target's type cannot hold: NULL there, and the original in _ETL_COERCED."""

    def __init__(self, original):
        self.original = original

    def __eq__(self, other):
        return isinstance(other, Coerced) and self.original == other.original

    def __repr__(self):
        return f"Coerced({self.original!r})"


class Column:
    def __init__(self, name, kind, number, key_position=-1, precision=0, scale=0):
        self.name, self.kind, self.number, self.key_position = name, kind, number, key_position
        self.precision, self.scale = precision, scale

    OIDS = {"NUMBER": 23, "VARCHAR": 25, "BINARY": 17, "VARIANT": 3802, "ARRAY": 1009, "DATE": 1082, "TIMESTAMP_TZ": 1184,
            "TIMESTAMP_NTZ": 1114, "BOOLEAN": 16, "FLOAT": 701, "TIME": 1083}

    @property
    def oid(self):
        return 1700 if self.scale else self.OIDS[self.kind]

    @property
    def target_name(self):
        return "".join(c.upper() if c.isascii() else c for c in self.name)

    def is_large(self, value):
        if value is None or value is JSON_NULL:
            return False
        if isinstance(value, Coerced):
            return self.kind in ("VARCHAR", "BINARY", "VARIANT", "ARRAY") and len(value.original) >= LARGE_FROM
        if self.kind in ("VARCHAR", "BINARY", "ARRAY"):
            return len(value) >= LARGE_FROM
        return self.kind == "VARIANT" and len(json.dumps(value)) >= LARGE_FROM

    def to_json(self, value):
        """The value in the NDJSON line (never called with None)."""
        if value is JSON_NULL:
            return None
        if self.kind == "NUMBER":
            digits = len(decimal.Decimal(value).as_tuple().digits)
            return str(value) if digits > 15 else (float(value) if self.scale else int(value))
        if self.kind == "BINARY":
            return base64.b64encode(value).decode()
        if self.kind == "TIMESTAMP_TZ":
            return value.strftime("%Y-%m-%d %H:%M:%S.%fZ")
        if self.kind in ("DATE", "TIMESTAMP_NTZ", "TIME"):
            return str(value)
        if self.kind == "FLOAT" and not math.isfinite(value):
            return {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}[str(value)]
        return value

    def common_value(self, rng):
        """One of a handful, so that rows are equal by chance: for tables in which nothing tells them apart."""
        if rng.random() < 0.3:
            return None
        few = rng.randrange(3)
        if self.kind == "FLOAT":
            return rng.choice((0.0, -0.0, math.nan, math.inf, 0.1))
        if self.kind == "VARCHAR":
            return ("", "it's", "x" * (LARGE_FROM + 5))[few]
        if self.kind == "VARIANT":
            return (JSON_NULL, {"a": 1, "b": [None, "x"]}, "null")[few]
        if self.kind == "ARRAY":
            return ([], [None], ["z"] * (LARGE_FROM + 1))[few]
        return self._random_key(rng)

    def random_value(self, rng, key=False):
        if key:
            return self._random_key(rng)
        if rng.random() < 0.15:
            return None
        mark, size = rng.getrandbits(32), rng.choice((3, 3, LARGE_FROM + 20))
        if self.kind == "VARCHAR":
            return f"{mark:x}".ljust(size, "x")[:max(size, 8)]
        if self.kind == "BINARY":
            return (f"{mark:x}".encode() + b"\x00\xff\\" + b"y" * size)[:max(size, 8)]
        if self.kind == "ARRAY":
            return [f"{mark:x}", None, 'q"\\'] + ["z"] * (size - 3)
        if self.kind == "VARIANT":
            return rng.choice((JSON_NULL, mark, {"a": mark}, {"a": [mark, "b" * size, None]}, "s" * size))
        return self._random_key(rng)

    def _random_key(self, rng):
        few = rng.randrange(5)
        if self.kind == "NUMBER":
            return decimal.Decimal(few) / 2 if self.scale else few
        if self.kind == "VARCHAR":
            return ("a", "A", "it's", 'k"\\ ', "ä")[few]
        if self.kind == "BINARY":
            return (b"", b"\x00", b"a", b"\xff\\", b"ab")[few]
        if self.kind == "VARIANT":
            return ({"k": 1}, {"k": 2}, [1], "k", 5)[few]
        if self.kind == "DATE":
            return datetime.date(2024, 2, 25) + datetime.timedelta(days=few)
        if self.kind == "TIMESTAMP_TZ":
            return datetime.datetime(2024, 2, 29, 23, 59, 59, 999995 + few, datetime.timezone.utc)
        if self.kind == "TIMESTAMP_NTZ":
            return datetime.datetime(2024, 2, 29, 23, 59, 59, few)
        if self.kind == "TIME":
            return datetime.time(23, 59, few, few)
        if self.kind == "BOOLEAN":
            return few % 2 == 0
        return few / 4


class Shape:
    """Identity (key, full with a key, nothing) and columns of a table."""

    def __init__(self, name, identity, columns):
        self.name, self.identity, self.columns = name, identity, columns
        self.key = [column.name for column in sorted((c for c in columns if c.key_position >= 0), key=lambda c: c.key_position)]
        self.by_name = {column.name: column for column in columns}

    def key_of(self, row):
        return tuple(hashable(row[name]) for name in self.key)

    def key_json(self, row):
        return [self.by_name[name].to_json(row[name]) for name in self.key]


def hashable(value):
    return json.dumps(value, sort_keys=True) if isinstance(value, (dict, list)) else value


def seq(lsn, ordinal, epoch=EPOCH):
    return f"{epoch:02X}{lsn:016X}{ordinal:08X}"


def position(lsn, epoch=EPOCH):
    return f"{epoch:02X}{lsn:016X}"


class Impossible(Exception):
    """PostgreSQL would refuse that operation."""


class SourceTable:
    """Rows by key; without a key they are a list, in which an operation names a row by its place."""

    def __init__(self, name, shape):
        self.name, self.shape = name, shape
        self.rows = {} if shape.key else []
        self.fates = []  # since the last commit: (key, row, whether it lives from now on; None: truncated)

    def line(self, op, row=None, unchanged=(), old_key=None):
        line = {"_ETL_OP": op}
        for column in self.shape.columns:
            value = (row or {}).get(column.name)
            if column.name in unchanged or value is None:
                continue
            if isinstance(value, Coerced):
                line.setdefault("_ETL_COERCED", {})[column.target_name] = value.original
            else:
                line[column.target_name] = column.to_json(value)
        if unchanged:
            line["_ETL_UNCHANGED"] = [column.number for column in self.shape.columns if column.name in unchanged]
        if old_key is not None:
            line["_ETL_OLD_KEY"] = old_key
        return line

    def find(self, key):
        if not self.shape.key:
            if not self.rows:
                raise Impossible("no row")
            return self.rows[key % len(self.rows)]
        if key not in self.rows:
            raise Impossible(f"no row {key}")
        return self.rows[key]

    def insert(self, row):
        if not self.shape.key:
            self.rows.append(row)
        elif self.shape.key_of(row) in self.rows:
            raise Impossible(f"duplicate key {self.shape.key_of(row)}")
        else:
            self.rows[self.shape.key_of(row)] = row
            self.fates.append((self.shape.key_of(row), row, True))
        return self.line("I", row)

    def enter(self, row, unchanged):
        """A row that enters a row filter: an INSERT that lacks a value which was never sent before."""
        self.rows[self.shape.key_of(row)] = row
        return self.line("I", row, unchanged)

    def update(self, key, changes, respell=False):
        """`respell`: the key is written in another way (1.0 → 1.00): PostgreSQL sends the old one, Snowflake sees no change."""
        old = self.find(key)
        new = {**old, **changes}
        if not self.shape.key:
            self.rows[key % len(self.rows)] = new
            return [self.line("D", old), self.line("I", new)]
        new_key = self.shape.key_of(new)
        if new_key != key and new_key in self.rows:
            raise Impossible(f"duplicate key {new_key}")
        unchanged = [] if self.shape.identity == "full" else [
            c.name for c in self.shape.columns if c.key_position < 0 and c.name not in changes and c.is_large(old[c.name])]
        del self.rows[key]
        self.rows[new_key] = new
        self.fates += [(key, old, False)] * (key != new_key) + [(new_key, new, True)]
        return self.line("U", new, unchanged, self.shape.key_json(old) if new_key != key or respell else None)

    def delete(self, key):
        old = self.find(key)
        if not self.shape.key:
            del self.rows[key % len(self.rows)]
            return self.line("D", old)
        del self.rows[key]
        self.fates.append((key, old, False))
        return self.line("D", {name: old[name] for name in self.shape.key})

    def truncate(self):
        self.fates += [(key, row, None) for key, row in self.rows.items()] if self.shape.key else []
        self.rows = {} if self.shape.key else []
        return self.line("T")

    def content(self):
        return copy.deepcopy(list(self.rows.values()) if self.shape.key else self.rows)


class World:
    """Tables, their history, and what the program would have landed of it."""

    def __init__(self, rng, shapes, coerced=0.0):
        """coerced: how often a random value is one that the target's type cannot hold."""
        self.rng, self.coerced = rng, coerced
        self.tables = {f"{shape.name}": SourceTable(shape.name, shape) for shape in shapes}
        self.lsn = 0x1000
        self.commits = []  # (lsn, [(table, line)])
        self.fates = {name: [] for name in self.tables}  # (lsn, key, row, whether it lives from then on)
        self.history = [(0, {name: table.content() for name, table in self.tables.items()})]

    def commit(self, *operations):
        """Each operation: (table name, method, arguments…). Impossible ones are left out."""
        self.lsn += self.rng.choice((1, 8, 200))
        lines, number = [], 0
        for name, method, *arguments in operations:
            try:
                made = getattr(self.tables[name], method)(*copy.deepcopy(arguments))
            except Impossible:
                continue
            number += self.rng.choice((1, 1, 3))  # messages of tables that are not ours count too
            for half, line in enumerate(made if isinstance(made, list) else [made]):
                lines.append((name, {**line, "_ETL_SEQ": seq(self.lsn, 2 * number + half)}))
        self.commits.append((self.lsn, lines))
        for name, table in self.tables.items():
            self.fates[name] += [(self.lsn, key, copy.deepcopy(row), lives) for key, row, lives in table.fates]
            table.fates = []
        self.history.append((self.lsn, {name: table.content() for name, table in self.tables.items()}))
        return self.lsn

    def content_below(self, name, lsn):
        """What a snapshot at that position holds: the commits below it."""
        return [content for at, content in self.history if at < lsn or at == 0][-1][name]

    def copied(self, name, lsn):
        shape = self.tables[name].shape
        return [{**SourceTable(name, shape).line("C", row), "_ETL_SEQ": seq(lsn, 0)} for row in self.content_below(name, lsn)]

    def streamed(self, name, start, end):
        return [line for lsn, lines in self.commits if start <= lsn < end for owner, line in lines if owner == name]

    # Random histories -------------------------------------------------------------------------------------------

    def random_commit(self, truncate_chance=0.03):
        names = list(self.tables)
        operations = []
        for _ in range(self.rng.choice((1, 1, 2, 4))):
            operations += self._random_operations(self.rng.choice(names), truncate_chance)
        return self.commit(*operations)

    def _spoil(self, shape, row):
        for column in shape.columns:
            if column.key_position < 0 and self.coerced and self.rng.random() < self.coerced:
                row[column.name] = Coerced(self.rng.choice(("NaN", "it's \"x\"", "L" * (LARGE_FROM + 9), "M" * 99)))
        return row

    def _random_operations(self, name, truncate_chance):
        rng, table = self.rng, self.tables[name]
        shape = table.shape
        row = self._spoil(shape, {c.name: c.random_value(rng, key=c.key_position >= 0) for c in shape.columns})
        if rng.random() < truncate_chance:
            return [(name, "truncate")]
        if shape.identity == "full" and not shape.key:
            return self._bag_operations(name, table)
        if not shape.key:
            return [(name, "insert", row)]
        key = rng.choice(list(table.rows)) if table.rows else None
        others = [c for c in shape.columns if c.key_position < 0]
        some = {c.name: row[c.name] for c in others if rng.random() < 0.4}
        key_values = {part: row[part] for part in shape.key}
        choice = rng.choice(("insert", "insert", "update", "update", "update", "move", "move", "delete", "again", "back"))
        if choice == "insert" or key is None:
            return [(name, "insert", row)]
        if choice == "update":
            return [(name, "update", key, some)]
        if choice == "move":
            return [(name, "update", key, {**key_values, **(some if rng.random() < 0.5 else {})})]
        if choice == "delete":
            return [(name, "delete", key)]
        old = table.rows[key]
        old_values = {part: old[part] for part in shape.key}
        if choice == "again":  # the same key is another row now
            return [(name, "delete", key), (name, "insert", {**row, **old_values})]
        return [(name, "update", key, key_values), (name, "update", shape.key_of({**old, **key_values}), old_values)]


    def _bag_operations(self, name, table):
        rng, shape = self.rng, table.shape
        row = self._spoil(shape, {c.name: c.common_value(rng) for c in shape.columns})
        place = rng.randrange(1000)
        some = {c.name: row[c.name] for c in shape.columns if rng.random() < 0.3}
        choice = rng.choice(("insert", "insert", "twin", "twin", "update", "update", "delete", "delete"))
        if choice == "insert" or not table.rows:
            return [(name, "insert", row)]
        if choice == "twin":
            return [(name, "insert", table.rows[place % len(table.rows)])] * rng.choice((1, 2))
        if choice == "update":  # some of them change nothing: a row is removed and comes in again
            return [(name, "update", place, some)]
        return [(name, "delete", place)]


SHAPES = {
    "plain": Shape("plain", "key", [
        Column("id", "NUMBER", 1, 0, 38), Column("body", "VARCHAR", 2), Column("n", "NUMBER", 3, -1, 38)]),
    "wide": Shape("wide", "key", [
        Column("body", "VARCHAR", 2), Column("id", "NUMBER", 3, 0, 38), Column("raw", "BINARY", 5),
        Column("doc", "VARIANT", 6), Column("tags", "ARRAY", 9), Column("at", "TIMESTAMP_TZ", 10), Column("ok", "BOOLEAN", 11)]),
    # The key's order is not the columns', and the columns hold what SQL text must quote.
    "pair": Shape("pair", "key", [
        Column("B$$", "VARCHAR", 1, 1), Column("it's", "VARCHAR", 2), Column('a"\\', "NUMBER", 4, 0, 38),
        Column("ö", "VARIANT", 7)]),
    "full": Shape("full", "full", [
        Column("id", "NUMBER", 1, 0, 38), Column("body", "VARCHAR", 2), Column("raw", "BINARY", 3)]),
    "only_key": Shape("only_key", "key", [Column("a", "NUMBER", 1, 0, 38), Column("b", "DATE", 2, 1)]),
    "bytes_key": Shape("bytes_key", "key", [Column("k", "BINARY", 1, 0), Column("body", "VARCHAR", 2)]),
    "json_key": Shape("json_key", "key", [Column("k", "VARIANT", 1, 0), Column("body", "VARCHAR", 2)]),
    "time_key": Shape("time_key", "key", [
        Column("k", "TIMESTAMP_TZ", 1, 0), Column("t", "TIME", 2, 1), Column("body", "VARCHAR", 3), Column("l", "TIMESTAMP_NTZ", 4)]),
    "decimal_key": Shape("decimal_key", "key", [
        Column("k", "NUMBER", 1, 0, 20, 4), Column("f", "FLOAT", 2, 1), Column("body", "VARCHAR", 3)]),
    "bag": Shape("bag", "full", [
        Column("a", "NUMBER", 1, -1, 38), Column("body", "VARCHAR", 2), Column("f", "FLOAT", 4), Column("n", "NUMBER", 5, -1, 12, 2)]),
    "wide_bag": Shape("wide_bag", "full", [
        Column("doc", "VARIANT", 1), Column("tags", "ARRAY", 2), Column("raw", "BINARY", 3), Column("at", "TIMESTAMP_TZ", 4),
        Column("ok", "BOOLEAN", 5), Column("day", "DATE", 6), Column("t", "TIME", 7), Column("l", "TIMESTAMP_NTZ", 8)]),
    "events": Shape("events", "nothing", [
        Column("at", "TIMESTAMP_TZ", 1), Column("what", "VARCHAR", 2), Column("raw", "BINARY", 3)]),
}
