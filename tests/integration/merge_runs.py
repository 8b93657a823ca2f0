"""Landing, merging and comparing: a Run takes a World (merge_model.py) through the merge on an Engine (merge_engine.py)."""
import datetime
import decimal
import json

from merge_engine import DATABASE, LANDING_SCHEMA, PIPELINE, SCHEMA, SnowflakeError, describe, window
from merge_model import EPOCH, JSON_NULL, Coerced, Column, World, position

NOWHERE = position(0, 0)  # the state of a pipeline that was never merged


def canonical(column, value):
    """Equal values look equal, whichever type brought them."""
    if isinstance(value, Coerced):
        value = None
    if value is None or value is JSON_NULL:
        return repr(value)
    if column.kind in ("VARIANT", "ARRAY"):
        return json.dumps(value, sort_keys=True)
    if column.kind == "NUMBER":
        return str(decimal.Decimal(value).normalize())
    if column.kind == "FLOAT":
        return repr(float(value) + 0.0)  # -0 is equal to 0
    if isinstance(value, datetime.datetime) and value.tzinfo:
        return repr(value.astimezone(datetime.timezone.utc).replace(tzinfo=None))
    return repr(value)


def coerced_of(shape, row):
    """What _ETL_COERCED holds, or should."""
    if COERCED.name in row:
        return row[COERCED.name] or {}
    return {column.target_name: row[column.name].original for column in shape.columns if isinstance(row.get(column.name), Coerced)}


def as_tuple(shape, row, columns):
    return *(canonical(column, row.get(column.name)) for column in columns), json.dumps(coerced_of(shape, row), sort_keys=True)


def as_set(shape, rows):
    return sorted(as_tuple(shape, row, shape.columns) for row in rows)


COERCED = Column("_ETL_COERCED", "VARIANT", 0)
DELETED_AT = Column("_ETL_DELETED_AT", "TIMESTAMP_TZ", 0)


def wall_time(lsn):
    """A commit's time: a millisecond a byte of WAL."""
    return datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc) + datetime.timedelta(milliseconds=lsn)


class Run:
    """text_size_max: a longer merge is made of procedures. marks: deleted rows stay in the targets, marked. has_times: landing rows hold their commit's time."""

    def __init__(self, engine, tool, world, mutate=None, rng=None, marks=False, has_times=False, text_size_max=0):
        self.marks, self.has_times, self.text_size_max = marks, has_times, text_size_max
        self.procedures = 0  # made by the last merge
        self.marked = {name: {} for name in world.tables}  # key → (row, when it went or None): what the target should hold
        self.engine, self.tool, self.world, self.mutate, self.rng = engine, tool, world, mutate, rng
        self.state, self.merged = NOWHERE, 0
        self.landed = {name: 0 for name in world.tables}     # stream rows of commits below it are in the landing table
        self.highest = {name: "" for name in world.tables}
        self.copies = {}                                     # table → (LSN, rows)
        self.copied_at = {}                                  # table → LSN of its newest copy
        texts = self._ask(0, [describe(name, table.shape, **self.columns(name)) for name, table in world.tables.items()])
        engine.create([texts["state"], *texts["ddl"]])
        engine.empty()
        engine.run(texts["init"])
        engine.run(texts["fence"])

    def _ask(self, below, tables, **more):
        wall_us = (wall_time(below) - datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)) // datetime.timedelta(microseconds=1)
        return self.tool.ask(window(self.state, self.merged, below, **{"commit_wall_us": wall_us, "text_size_max": self.text_size_max, **more}), tables)

    def is_marked(self, name):
        return self.marks and bool(self.world.tables[name].shape.key)

    def columns(self, name):
        """Columns of ours that the tables have besides the usual ones."""
        return {"marks_deletes": self.is_marked(name), "has_deleted_at": self.is_marked(name), "has_commit_at": self.has_times,
                "has_coerced": bool(self.world.coerced)}

    def read_columns(self, name):
        return [*self.world.tables[name].shape.columns, *([COERCED] if self.world.coerced else [])]

    def landing(self, name):
        return "LANDING_" + self.target(name)

    def target(self, name):
        return "".join(c.upper() if c.isascii() else c for c in name)

    def land(self, name, lines):
        if self.has_times:
            lines = [line if line["_ETL_OP"] == "C" else
                     {**line, "_ETL_COMMIT_AT": f"{wall_time(int(line['_ETL_SEQ'][2:18], 16)):%Y-%m-%d %H:%M:%S.%fZ}"} for line in lines]
        self.engine.land(self.landing(name), lines)

    def copy(self, name, lsn, count=None):
        lines = self.world.copied(name, lsn)
        self.land(name, lines)
        self.copies[name] = (lsn, len(lines) if count is None else count)
        self.copied_at[name] = lsn

    def stream(self, name, end, duplicates=0.0):
        lines = self.world.streamed(name, self.landed[name], end)
        if lines:
            self.highest[name] = lines[-1]["_ETL_SEQ"]
        if duplicates:  # an append that was sent again after it had been taken
            lines = lines + [line for line in lines if self.rng.random() < duplicates]
            self.rng.shuffle(lines)
        self.land(name, lines)
        self.landed[name] = max(self.landed[name], end)

    def description(self, name, **more):
        shape = self.world.tables[name].shape
        facts = {"highest_committed": self.highest[name]}
        if name in self.copies:
            lsn, count = self.copies[name]
            facts.update(is_first=True, copy_lsn=lsn, copied_rows=count)
        return describe(name, shape, **{**self.columns(name), **facts, **more})

    def hints(self, name, below):
        """What may be said of the window: the program's hints may promise too little, never too much."""
        start = self.copies[name][0] if name in self.copies else self.merged
        lines = self.world.streamed(name, start, below)
        if not self.world.tables[name].shape.key:
            return {}
        found = {"may_have_unchanged": any("_ETL_UNCHANGED" in line for line in lines),
                 "may_have_moved": any("_ETL_OLD_KEY" in line for line in lines)}
        return {hint: value or self.rng.random() < 0.3 for hint, value in found.items()}

    def text(self, below, tables, **more):
        answer = self._ask(below, tables, **more)
        assert "merge" in answer, answer.get("error")
        self.procedures = len(answer["procedures"])
        for statement in answer["procedures"]:
            self.engine.run(self.mutate(statement) if self.mutate else statement)
        return self.mutate(answer["merge"]) if self.mutate else answer["merge"]

    def clean(self, position):
        """Deletes what is not kept of the landing tables."""
        tables = [self.description(name) for name in self.world.tables]
        for statement in self._ask(self.merged, tables, clean_position=position)["clean"]:
            self.engine.run(self.mutate(statement) if self.mutate else statement)

    def landed_sequences(self, name):
        result = self.engine.run(f'SELECT "_ETL_SEQ" FROM "{DATABASE}"."{LANDING_SCHEMA}"."{self.landing(name)}" ORDER BY 1')
        return [row[0] for row in result.rows]

    def merge(self, below, names=None, window_more=None, **more):
        """`more` changes the description of every table. Answers what the block answers."""
        names = list(self.world.tables) if names is None else names
        hints = {name: self.hints(name, below) if self.rng else {} for name in names}
        result = self.engine.run(self.text(below, [self.description(name, **{**hints[name], **more}) for name in names], **(window_more or {})))
        for name in filter(self.is_marked, names):
            self._mark(name, below)
        self.state, self.merged = position(below), below
        for name in names:
            self.copies.pop(name, None)
        return result.rows[0][0]

    def _mark(self, name, below):
        """What the merge should do to a table whose deleted rows stay."""
        held, start = self.marked[name], self.copies[name][0] if name in self.copies else self.merged
        truncates = [line for line in self.world.streamed(name, start, below) if line["_ETL_OP"] == "T"] if self.has_times else []
        unseen_at = wall_time(int(truncates[-1]["_ETL_SEQ"][2:18], 16) if truncates else below)  # went without a change of their own
        if name in self.copies:
            for key, (row, at) in held.items():
                held[key] = (row, at or unseen_at)
            for row in self.world.content_below(name, start):
                held[self.world.tables[name].shape.key_of(row)] = (row, None)
        for lsn, key, row, lives in self.world.fates[name]:
            if start <= lsn < below:
                held[key] = (row, None if lives else unseen_at if lives is None else wall_time(lsn if self.has_times else below))

    def marked_rows(self, name):
        """Rows with their mark: found, and expected."""
        shape = self.world.tables[name].shape
        columns = [*shape.columns, DELETED_AT]
        found = self.engine.read(SCHEMA, self.target(name), [*self.read_columns(name), DELETED_AT])
        expected = [{**row, DELETED_AT.name: at} for row, at in self.marked[name].values()]
        return tuple(sorted(as_tuple(shape, row, columns) for row in rows) for rows in (found, expected))

    def rows(self, name):
        shape = self.world.tables[name].shape
        if self.is_marked(name):
            columns = [*self.read_columns(name), DELETED_AT]
            return as_set(shape, [row for row in self.engine.read(SCHEMA, self.target(name), columns) if row[DELETED_AT.name] is None])
        return as_set(shape, self.engine.read(SCHEMA, self.target(name), self.read_columns(name)))

    def check(self, name, lsn=None):
        lsn = self.merged if lsn is None else lsn
        shape = self.world.tables[name].shape
        found, expected = self.rows(name), as_set(shape, self.world.content_below(name, lsn))
        if self.is_marked(name):
            marked, expected_marked = self.marked_rows(name)
            assert marked == expected_marked, (f"{name}, marked, at {lsn:x}: too many {[r for r in marked if r not in expected_marked][:4]}, "
                                               f"missing {[r for r in expected_marked if r not in marked][:4]}")
        assert found == expected, (f"{name} at {lsn:x}: too many {[row for row in found if row not in expected][:4]}, "
                                   f"missing {[row for row in expected if row not in found][:4]}, "
                                   f"{len(found)} rows instead of {len(expected)}")

    def check_all(self):
        for name in self.world.tables:
            self.check(name)

    def check_state(self):
        result = self.engine.run(f'SELECT "POSITION" FROM "{DATABASE}"."{LANDING_SCHEMA}"."_ETL_STATE_{PIPELINE}"')
        assert result.rows == [[self.state]], (result.rows, self.state)

    def must_fail(self, word, below, names=None, text=None, **more):
        """The merge fails with that word in its message and changes nothing."""
        names = list(self.world.tables) if names is None else names
        before = {name: self.rows(name) for name in self.world.tables}
        text = text or self.text(below, [self.description(name, **more) for name in names])
        try:
            self.engine.run(text)
        except SnowflakeError as error:
            assert word.lower() in str(error).lower(), f"{word} is not in: {error}"
        else:
            raise AssertionError(f"the merge did not fail with {word}")
        for name, rows in before.items():
            assert self.rows(name) == rows, f"{name} was changed by a merge that failed with {word}"
        self.check_state()


# Scripted histories: each scenario has its own keys, so that all of them run in one table, step by step. ----------------

LARGE = "L" * 60


def large(mark):
    return mark + LARGE


SCENARIOS = {
    "value in target": [("insert", "a", large("1")), ("touch", "a"), ("touch", "a")],
    "value in an update": [("insert", "a", large("1")), ("set", "a", large("2")), ("touch", "a"), ("touch", "a")],
    "NULL in an update": [("insert", "a", large("1")), ("set", "a", None), ("touch", "a")],
    "NULL late": [("insert", "a", large("1")), (), (), ("set", "a", None), ("touch", "a")],
    "NULL, then moved": [("insert", "a", large("1")), ("set", "a", None), ("move", "a", "b"), ("touch", "b")],
    "small value": [("insert", "a", large("1")), ("set", "a", "small"), ("touch", "a")],
    "from NULL to large": [("insert", "a", None), ("set", "a", large("2")), ("touch", "a"), ("move", "a", "b")],
    "moved": [("insert", "a", large("1")), (), ("move", "a", "b"), ("touch", "b")],
    "set, then moved": [("insert", "a", large("1")), ("set", "a", large("2")), ("move", "a", "b"), ("touch", "b")],
    "moved and set at once": [("insert", "a", large("1")), ("move", "a", "b", large("2")), ("touch", "b"), ("move", "b", "c")],
    "chain": [("insert", "a", large("1")), ("move", "a", "b"), ("move", "b", "c"), ("touch", "c"), ("move", "c", "d")],
    "chain in one transaction": [("insert", "a", large("1")), [("move", "a", "b"), ("touch", "b"), ("move", "b", "c"), ("move", "c", "d")],
                                 ("touch", "d")],
    "there and back": [("insert", "a", large("1")), ("move", "a", "b"), ("move", "b", "a"), ("touch", "a")],
    "swap": [("insert", "a", large("1")), ("insert", "b", large("2")), [("move", "a", "c"), ("move", "b", "a"), ("move", "c", "b")],
             ("touch", "a")],
    "another row under the key": [("insert", "a", large("1")), ("delete", "a"), ("insert", "a", large("2")), ("touch", "a")],
    "another row at once": [("insert", "a", large("1")), [("delete", "a"), ("insert", "a", large("2"))], ("touch", "a")],
    "into a key that was left": [("insert", "a", large("1")), ("insert", "b", large("2")), ("move", "b", "c"), ("move", "a", "b"),
                                 ("touch", "b")],
    "into a key that was deleted": [("insert", "a", large("1")), ("insert", "b", large("2")), ("delete", "b"), ("move", "a", "b"),
                                    ("touch", "b")],
    "moved and deleted": [("insert", "a", large("1")), ("move", "a", "b"), ("delete", "b"), ("insert", "b", large("3"))],
    "another row in the old place": [("insert", "a", large("1")), ("move", "a", "b"), ("insert", "a", large("2")), ("touch", "a"),
                                     ("touch", "b")],
    "columns at different times": [("insert", "a", large("1"), large("r")), ("set", "a", large("2")), ("set_other", "a", large("q")),
                                   ("move", "a", "b"), ("touch", "b")],
    "one column NULL, one unsent": [("insert", "a", large("1"), large("r")), ("set_other", "a", None), ("move", "a", "b"), ("touch", "b")],
    "left alone": [("insert", "a", large("1"))],
    "gone in its transaction": [(), [("insert", "a", large("1")), ("delete", "a")], (), [("insert", "a", large("2")), ("move", "a", "b")]],
    "deleted early": [("insert", "a", large("1")), ("delete", "a")],
    "deleted late": [("insert", "a", large("1")), (), (), (), ("delete", "a")],
    "moved late": [("insert", "a", large("1")), (), (), (), (), ("move", "a", "b"), ("move", "b", "c")],
    "inserted late": [(), (), (), (), (), ("insert", "a", large("1")), ("touch", "a")],
    "spelled anew": [("insert", "a", large("1")), ("respell", "a"), ("touch", "a"), ("respell", "a")],
}


class Names:
    """Columns of a shape that a scenario speaks of: the key, a large one, another large one, and one to touch."""

    def __init__(self, shape):
        self.shape = shape
        free = [column for column in shape.columns if column.key_position < 0]
        self.body = next(c for c in free if c.kind == "VARCHAR")
        self.other = next((c for c in free if c is not self.body and c.kind in ("BINARY", "VARIANT", "ARRAY")), None)
        self.touched = next((c for c in free if c not in (self.body, self.other)), None)

    def other_value(self, text):
        if text is None:
            return None
        return {"BINARY": text.encode(), "VARIANT": {"x": text}, "ARRAY": list(text)}[self.other.kind]


def scenario_operations(names, make_key, number, step, count):
    """The operations of one step of scenario `number`, on its own keys. `count` makes touched values differ."""
    shape = names.shape

    def key(letter):
        return make_key(number, "abcd".index(letter))

    def key_tuple(letter):
        return shape.key_of(key(letter))

    for verb, *rest in ([step] if isinstance(step, tuple) and step else step or []):
        letter = rest[0]
        if verb == "insert":
            row = {column.name: None for column in shape.columns}
            row.update(key(letter))
            row[names.body.name] = rest[1]
            if names.other:
                row[names.other.name] = names.other_value(rest[2] if len(rest) > 2 else None)
            yield ("insert", row)
        elif verb == "delete":
            yield ("delete", key_tuple(letter))
        elif verb == "touch":
            yield ("update", key_tuple(letter), {names.touched.name: count} if names.touched and names.touched.kind == "NUMBER" else {})
        elif verb == "set":
            yield ("update", key_tuple(letter), {names.body.name: rest[1]})
        elif verb == "set_other":
            yield ("update", key_tuple(letter), {names.other.name: names.other_value(rest[1])} if names.other else {})
        elif verb == "respell":
            yield ("update", key_tuple(letter), {}, True)
        else:
            changes = key(rest[1])
            if len(rest) > 2:
                changes[names.body.name] = rest[2]
            yield ("update", key_tuple(letter), changes)


def scripted_world(rng, shape, make_key, scenarios=None):
    world, names = World(rng, [shape]), Names(shape)
    scripts = [(number, SCENARIOS[name]) for number, name in enumerate(SCENARIOS) if scenarios is None or name in scenarios]
    for step in range(max(len(script) for _, script in scripts)):
        operations = []
        for number, script in scripts:
            if step < len(script):
                operations += [(shape.name, *operation) for operation in scenario_operations(names, make_key, number, script[step], step)]
        world.commit(*operations)
    return world


def number_key(number, letter):
    return {"id": 10 * number + letter}


__all__ = ["EPOCH", "NOWHERE", "Run", "SCENARIOS", "scripted_world", "number_key"]
