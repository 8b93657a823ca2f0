"""The table of merge cases: identity × operations (and with them where an unsent value sits) × where windows are cut.

Every cell is a table of a real PostgreSQL. All cells go through their steps together, a transaction a step, while `etl-stream
tail` writes what the program would land: the server's own messages, the program's own lines. Then, for every pair of cuts,
the landed rows are merged by the program's own text on the SQL engine of the stand-in, and each target is compared with
what PostgreSQL held at that position.
"""
import json
import subprocess

import pytest

import merge_engine
from merge_model import Column, Shape, SourceTable
from merge_runs import Run, as_set
from program import PROGRAM, environment

LARGE = "repeat('{0}', 4000)"
COLUMNS = "id int {key}, code text not null, body text, raw bytea, n int, doc jsonb, f float8, price numeric(12, 2)"
IDENTITIES = {
    "default key": ("primary key", "", "key", ["id"]),
    "other index": ("primary key", "create unique index {0}_code on {0} (code, n); alter table {0} alter n set not null; "
                    "alter table {0} replica identity using index {0}_code", "key", ["code", "n"]),
    "full with key": ("primary key", "alter table {0} replica identity full", "full", ["id"]),
    "full, deferrable key": ("primary key deferrable initially deferred", "alter table {0} replica identity full", "full", []),
    "deferrable key": ("primary key deferrable initially deferred", "", "nothing", []),
    "full without key": ("", "alter table {0} replica identity full", "full", []),
    "nothing": ("", "", "nothing", []),
}


def row(number, mark, n=0):
    body, raw = LARGE.format(mark), f"convert_to({LARGE.format(mark.upper())}, 'UTF8')"
    return f"insert into {{0}} values ({number}, 'k{number}', {body}, {raw}, {n}, '{{\"a\": [{number}, null]}}', 0.1, 1.5);"


def touch(number):
    return f"update {{0}} set price = price + 1, f = case f when 0.1 then 'nan' else 0.1 end where id = {number};"


def move(number, to, more=""):
    return f"update {{0}} set id = {to}, code = 'k{to}'{more} where id = {number};"


def set_body(number, mark):
    return f"update {{0}} set body = {LARGE.format(mark)} where id = {number};"


def delete(number):
    return f"delete from {{0}} where id = {number};"


TRUNCATE = "truncate {0};"
TWIN = "insert into {0} select * from {0} where id = 1 limit 1;"
# Name → the steps. Those in PLAIN need neither an update nor a delete; those in TWINS need equal rows.
OPERATIONS = {
    "value in the target": [row(1, "a"), touch(1), touch(1), touch(1)],
    "value in an update": [row(1, "a"), set_body(1, "b"), touch(1), touch(1)],
    "NULL in an update": [row(1, "a"), "update {0} set body = null where id = 1;", touch(1), set_body(1, "c")],
    "columns at different times": [row(1, "a"), set_body(1, "b"), "update {0} set raw = '\\x00ff' where id = 1;", move(1, 2) + touch(2)],
    "moved": [row(1, "a"), move(1, 2), touch(2), move(2, 3)],
    "moved and set at once": [row(1, "a"), move(1, 2, ", body = 'small'"), touch(2), move(2, 1)],
    "chain in one transaction": [row(1, "a"), move(1, 2) + touch(2) + move(2, 3) + move(3, 4), touch(4), delete(4)],
    "swapped by a third key": [row(1, "a") + row(2, "b"), move(1, 9) + move(2, 1) + move(9, 2), touch(1), touch(2)],
    "into a key that was left": [row(1, "a") + row(2, "b"), move(2, 3) + move(1, 2), touch(2), row(1, "c") + touch(3)],
    "another row under the key": [row(1, "a"), delete(1) + row(1, "b"), touch(1), delete(1)],
    "gone in its transaction": [row(1, "a"), row(2, "b") + delete(2) + row(3, "c") + move(3, 2), touch(2), delete(1) + touch(2)],
    "truncated amid changes": [row(1, "a") + row(2, "b"), touch(1) + TRUNCATE + row(1, "c"), touch(1), TRUNCATE + row(3, "d") + touch(3)],
    "twins": [row(1, "a") + TWIN + TWIN, touch(1), "delete from {0} where ctid = (select min(ctid) from {0});" + TWIN,
              "delete from {0} where ctid = (select max(ctid) from {0});" + TWIN + TWIN],
    "rows": [row(1, "a"), row(2, "b") + row(3, "c"), "", row(4, "d")],
    "rows and truncates": [row(1, "a") + TRUNCATE, row(2, "b") + row(3, "c"), TRUNCATE + row(4, "d"), row(5, "e")],
    "equal rows": [row(1, "a") + TWIN, TWIN, "", TWIN + TRUNCATE + row(1, "a") + TWIN],
    "swapped at once": [row(1, "a") + row(2, "b"), "update {0} set id = 3 - id, code = 'k' || (3 - id);", touch(1), touch(2)],
}
PLAIN, TWINS, DEFERRED = {"rows", "rows and truncates", "equal rows"}, {"twins", "equal rows"}, {"swapped at once"}
STEPS = 4


def cells():
    for identity in IDENTITIES:
        for operations in OPERATIONS:
            has_key = IDENTITIES[identity][0] != ""
            if operations in TWINS and has_key or operations in DEFERRED and identity != "full, deferrable key":
                continue
            if IDENTITIES[identity][2] != "nothing" or operations in PLAIN:
                yield identity, operations


CELLS = list(cells())


def shape_of(name, identity):
    _, _, kind, key = IDENTITIES[identity]
    kinds = (("id", "NUMBER"), ("code", "VARCHAR"), ("body", "VARCHAR"), ("raw", "BINARY"), ("n", "NUMBER"), ("doc", "VARIANT"),
             ("f", "FLOAT"), ("price", "NUMBER"))
    return Shape(name, kind, [Column(column, of, number, key.index(column) if column in key else -1, 12 if column == "price" else 38,
                                     2 if column == "price" else 0) for number, (column, of) in enumerate(kinds, 1)])


class Recorded:
    """What merge_model.World would tell, of a real PostgreSQL: the lines that tail wrote, the rows that SELECT gave."""

    coerced = 0.0  # no value that its target's type cannot hold

    def __init__(self, cells):
        self.names = {cell: f"cell_{number:02}" for number, cell in enumerate(cells)}
        self.tables = {name: SourceTable(name, shape_of(name, cell[0])) for cell, name in self.names.items()}
        self.lines = {name: [] for name in self.tables}
        self.history = []  # (position, {table: rows})

    def streamed(self, name, start, end):
        return [line for line in self.lines[name] if start <= int(line["_ETL_SEQ"][2:18], 16) < end]

    def content_below(self, name, position):
        return next(content for at, content in self.history if at == position)[name]

    def copied(self, name, lsn):
        line = self.tables[name].line
        return [{**line("C", row), "_ETL_SEQ": f"01{lsn:016X}00000000"} for row in self.content_below(name, lsn)]

    def remember(self, connection):
        content = {}
        for name, table in self.tables.items():
            cursor = connection.execute(f"select * from {name}")
            content[name] = [dict(zip([column.name for column in table.shape.columns], found)) for found in cursor.fetchall()]
        (lsn,) = connection.execute("select (pg_current_wal_insert_lsn() - '0/0')::bigint").fetchone()
        self.history.append((lsn, content))


def record(source, tmp_path):
    recorded = Recorded(CELLS)
    for (identity, _), name in recorded.names.items():
        key, more, _, _ = IDENTITIES[identity]
        source.sql(f"create table {name} ({COLUMNS.format(key=key)})")
        source.sql(f"alter table {name} alter body set storage external, alter raw set storage external")
        if more:
            source.sql(more.replace("{0}", name))
    source.sql(f"create table mark (id int); create publication etl for table mark, {', '.join(recorded.tables)}")
    tail = subprocess.Popen([PROGRAM, "tail", source.url()], env=environment(tmp_path / "state.db"), text=True,
                            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        assert "reading changes" in tail.stderr.readline()
        with source.connect(autocommit=True) as connection:
            connection.execute("insert into mark values (0)")  # the slot is there when its first change comes out
            read_lines(tail, recorded, 0)
            for step in range(STEPS):
                with connection.transaction():
                    for (_, operations), name in recorded.names.items():
                        for statement in OPERATIONS[operations][step].replace("{0}", name).split(";")[:-1]:
                            connection.execute(statement)
                recorded.remember(connection)
            connection.execute("insert into mark values (1)")
            read_lines(tail, recorded, 1)
    finally:
        tail.terminate()
        tail.wait(60)
        tail.stdout.close()
        tail.stderr.close()
    return recorded


def read_lines(tail, recorded, mark):
    for text in tail.stdout:
        line = json.loads(text)
        name = line.pop("_ETL_TABLE").removeprefix("public.")
        if name == "mark" and line["ID"] == mark:
            return
        recorded.lines[name].append(line)
    raise AssertionError(tail.stderr.read())


@pytest.fixture(scope="module")
def recorded(postgres, tmp_path_factory):
    from conftest import Source
    postgres.create_database("merge_table")
    yield record(Source(postgres, "merge_table"), tmp_path_factory.mktemp("tail"))
    postgres.drop_database("merge_table")


@pytest.fixture(scope="module")
def engine():
    engine = merge_engine.Engine()
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def tool(tmp_path_factory):
    tool = merge_engine.TextTool(tmp_path_factory.mktemp("merge_text"))
    yield tool
    tool.close()


def test_the_table_is_large_and_holds_what_it_should(recorded):
    print(f"{len(CELLS)} cells")
    assert len(CELLS) >= 60
    assert {identity for identity, _ in CELLS} == set(IDENTITIES)
    found = {cell: {line["_ETL_OP"] for line in recorded.lines[name]} for cell, name in recorded.names.items()}
    unsent = {cell[0] for cell, name in recorded.names.items() if any("_ETL_UNCHANGED" in line for line in recorded.lines[name])}
    moved = {cell[0] for cell, name in recorded.names.items() if any("_ETL_OLD_KEY" in line for line in recorded.lines[name])}
    assert unsent == {"default key", "other index"}, "only with FULL does the server send every value"
    assert moved == {"default key", "other index", "full with key"}
    for (identity, operations), kinds in found.items():
        assert "U" not in kinds or IDENTITIES[identity][3], "an update without a key was not split"
        assert "T" in kinds or "truncate" not in " ".join(OPERATIONS[operations]), (identity, operations)


CUTS = [(copy_at, cut) for copy_at in range(STEPS) for cut in range(copy_at, STEPS)]


@pytest.mark.parametrize("copy_at, cut", CUTS)
def test_every_cell_equals_postgres(recorded, engine, tool, copy_at, cut):
    """Copied after one step, first merge after another, then merged to the end."""
    run = Run(engine, tool, recorded)
    places = [position for position, _ in recorded.history]
    for name in recorded.tables:
        run.stream(name, places[-1])
        run.copy(name, places[copy_at])
    for place in dict.fromkeys((places[cut], places[-1])):
        run.merge(place)
        wrong = {cell: run.rows(name) for cell, name in recorded.names.items()
                 if run.rows(name) != as_set(recorded.tables[name].shape, recorded.content_below(name, place))}
        assert not wrong, wrong
