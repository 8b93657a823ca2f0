"""Which tables are followed, how they are called in Snowflake, and what happens to tables that are in the way."""
import pytest

from program import pipeline_status, run_command, wait_until
from snowflake_client import Snowflake, SnowflakeError
from test_pipeline import MERGE_OFTEN

AWKWARD = ("select", "two words", 'quo"ted', "dots.in.it", "Größe 雪", "x" * 63, "table", "it's", "semi;colon", "back\\slash",
           "order", "100", "_", "MiXed")


def quoted(*names):
    return ".".join('"' + name.replace('"', '""') + '"' for name in names)
VALUE = 'Wert "x"'  # a column


class Targets:
    def __init__(self, standin):
        self.snowflake = Snowflake(standin.to)

    def sql(self, statement):
        return self.snowflake.query(statement)

    def rows(self, name, schema=None, columns='"ID"'):
        return sorted(self.sql(f"SELECT {columns} FROM {self.snowflake.qualified(name, schema)}"))

    def ids(self, name, schema=None, column="ID"):
        return [int(row[0]) for row in self.rows(name, schema, quoted(column))]

    def exists(self, name, schema=None):
        try:
            self.rows(name, schema, "1")
            return True
        except SnowflakeError:
            return False

    def wait_for(self, ids, name, schema=None, column="ID"):
        def is_there():
            try:
                return self.ids(name, schema, column) == ids
            except SnowflakeError:
                return False
        wait_until(is_there, 40, f"{ids} in {name}", pause=0.2)

    def tables(self, schema=None):
        return {row[1] for row in self.sql(f"SHOW TABLES IN SCHEMA {quoted(self.snowflake.database, schema or self.snowflake.schema)}")}


@pytest.fixture
def targets(standin):
    return Targets(standin)


def fold(name):
    return "".join(chr(ord(c) - 32) if "a" <= c <= "z" else c for c in name)


def make(source, *names, rows=1):
    """Tables with an id, published."""
    for name in names:
        schema = name[0]
        source.sql(f"create schema if not exists {quoted(schema)}")
        source.sql(f"create table {quoted(*name)} (id int primary key)")
        source.sql(f"insert into {quoted(*name)} select i from generate_series(1, {rows}) i")
    listed = ", ".join(quoted(*name) for name in names)
    source.sql(f"create publication {source.publication} for table {listed}")


def tables_of(status):
    return {f'{table["schema"]}.{table["table"]}': table for table in pipeline_status(status).get("tables", [])}


def wait_for_states(program, expected):
    """The status is saved a moment after what it tells of."""
    program.wait_for_status(lambda status: {name: table["state"] for name, table in tables_of(status).items()} == expected, 60, str(expected))


# --- choosing -----------------------------------------------------------------------------------------------------


def test_tables_are_chosen_by_patterns(source, standin, stream, targets):
    make(source, ("public", "a"), ("public", "ab"), ("public", "tmp_x"), ("sales", "a"))
    program = stream(*MERGE_OFTEN, "--tables", "public.*,!tmp_?,nothing.*")
    program.wait_for_event("live", 60)
    warned = [line["message"] for line in program.events("tables_pattern")]
    assert len(warned) == 1 and '"nothing.*"' in warned[0]
    wait_for_states(program, {"public.a": "live", "public.ab": "live"})
    for table in ("public.a", "public.ab", "public.tmp_x", "sales.a"):
        source.sql(f"insert into {table} values (2)")
    targets.wait_for([1, 2], "A")
    targets.wait_for([1, 2], "AB")
    assert not targets.exists("TMP_X")
    # One that is added later is chosen by the same patterns.
    source.sql("create table public.abc (id int primary key)")
    source.sql("create table public.tmp_y (id int primary key)")
    source.sql(f"alter publication {source.publication} add table public.abc, public.tmp_y")
    source.sql("insert into abc values (7)")
    source.sql("insert into tmp_y values (7)")
    targets.wait_for([7], "ABC")
    wait_for_states(program, {"public.a": "live", "public.ab": "live", "public.abc": "live"})
    # And one that is called otherwise from now on.
    source.sql("alter table tmp_y rename to abcd")
    targets.wait_for([7], "ABCD")
    assert program.terminate() == 0


def test_a_table_that_is_chosen_again_is_copied_anew(source, standin, stream, targets):
    make(source, ("public", "a"), ("public", "b"))
    program = stream(*MERGE_OFTEN)
    program.wait_for_event("live", 60)
    assert program.terminate() == 0
    program = stream(*MERGE_OFTEN, "--tables", "a")
    program.wait_for_event("streaming", 60)
    source.sql("insert into a values (2)")
    source.sql("insert into b values (2)")
    targets.wait_for([1, 2], "A")
    wait_for_states(program, {"public.a": "live", "public.b": "unpublished"})
    assert "no longer chosen from publication" in str(program.status())
    assert [line.get("table") for line in program.events("table_left")] == ["b"]
    assert program.terminate() == 0
    assert targets.ids("B") == [1]
    program = stream(*MERGE_OFTEN)
    targets.wait_for([1, 2], "B")  # what came while it was not followed is there
    assert program.terminate() == 0


def test_text_is_told_apart_whatever_the_collation_of_the_schemas(source, standin, stream, targets):
    """Tables, columns that come, and the table that takes a target's place."""
    for schema in targets.snowflake.schema, targets.snowflake.landing_schema:
        targets.sql(f"CREATE SCHEMA IF NOT EXISTS {quoted('DEMO_DB', schema)}")
        targets.sql(f"ALTER SCHEMA {quoted('DEMO_DB', schema)} SET DEFAULT_DDL_COLLATION = 'en-ci'")
    source.sql("create table words (word text primary key, n int); insert into words values ('a', 1), ('A', 2);"
               f"create publication {source.publication} for table words")
    program = stream(*MERGE_OFTEN, "--poll-interval-seconds", 1)
    program.wait_for_event("live", 60)

    def words(columns, *expected):
        wait_until(lambda: targets.rows("WORDS", columns=columns) == sorted(map(list, expected)), 40, f"{expected}", pause=0.2)
    source.sql("insert into words values ('b', 3), ('B', 4)")
    source.sql("update words set n = 5 where word = 'A'")
    words('"WORD", "N"', ("A", "5"), ("B", "4"), ("a", "1"), ("b", "3"))
    mark = program.mark()
    source.sql("alter table words add column note text")
    source.sql("update words set note = word")
    program.wait_for_event("schema_followed", 60, since=mark)
    words('"WORD", "NOTE"', ("A", "A"), ("B", "B"), ("a", "a"), ("b", "b"))
    source.sql("alter table words alter n type text using chr(95 + n)")
    source.sql("insert into words values ('c', 'x', ''), ('C', 'x', '')")
    words('"WORD", "N"', ("A", "d"), ("B", "c"), ("C", "x"), ("a", "`"), ("b", "b"), ("c", "x"))
    for name, schema in ("WORDS", targets.snowflake.schema), ("LANDING_WORDS", targets.snowflake.landing_schema):
        assert not [row for row in targets.sql(f"DESCRIBE TABLE {quoted('DEMO_DB', schema, name)}") if "COLLATE" in row[1]]
    assert program.terminate() == 0
    # One that is there all the same is found.
    words = quoted("DEMO_DB", targets.snowflake.schema, "WORDS")
    targets.sql(f"ALTER TABLE {words} DROP COLUMN NOTE")
    targets.sql(f"ALTER TABLE {words} ADD COLUMN NOTE VARCHAR COLLATE 'en-ci'")
    found = run_command("check", "--from", source.url(), "--to", standin.to, state=program.state)
    assert found.returncode == 1 and "column \"NOTE\"" in found.stdout and "COLLATE 'en-ci'" in found.stdout, found


def test_wrong_choices_are_refused(source, standin, tmp_path):
    make(source, ("public", "a"))
    cases = {"zzz": 'patterns "zzz" choose none of the 1 table of', "a,,b": "chooses no table", ".a": "chooses no table"}
    for patterns, text in cases.items():
        for command, code in (("run", 2), ("check", 1)):
            done = run_command(command, "--from", source.url(), "--to", standin.to, "--tables", patterns,
                               state=tmp_path / "state.db")
            assert done.returncode == code and text in done.stdout + done.stderr, (command, patterns, done)
    found = run_command("check", "--from", source.url(), "--to", standin.to, "--tables", "a,b*", state=tmp_path / "state.db")
    assert found.returncode == 0 and '"b*"' in found.stdout and "1 of 1 are chosen" in found.stdout, found.stdout


def test_a_table_that_is_not_chosen_need_not_be_readable(source, standin, stream, targets):
    make(source, ("public", "a"), ("public", "secret"))
    role = "reader_" + source.name
    source.sql(f"create role {role} login replication")
    source.sql(f"grant select on public.a to {role}")
    try:
        program = stream(*MERGE_OFTEN, "--tables", "!secret", PGUSER=role)
        program.wait_for_event("live", 60)
        assert targets.ids("A") == [1]
        assert program.terminate() == 0
    finally:
        for slot, in source.sql("select slot_name from pg_replication_slots where database = current_database()"):
            source.drop_slot(slot)
        source.sql(f"drop owned by {role}")
        source.sql(f"drop role {role}")


# --- names -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", ["upper", "preserve"])
def test_awkward_names_work(source, standin, stream, targets, case):
    for name in AWKWARD:
        source.sql(f"create table {quoted(name)} ({quoted(name)} int primary key, {quoted(VALUE)} text, body text)")
        source.sql(f"alter table {quoted(name)} alter column body set storage external")
        source.sql(f"insert into {quoted(name)} values (1, 'a', repeat('y', 5000))")
    listed = ", ".join(map(quoted, AWKWARD))
    source.sql(f"create publication {source.publication} for table {listed}")
    program = stream(*MERGE_OFTEN, "--identifier-case", case)
    program.wait_for_event("live", 60)
    for name in AWKWARD:
        source.sql(f"insert into {quoted(name)} values (2, 'b', 'z')")
        source.sql(f"update {quoted(name)} set {quoted(name)} = 3, {quoted(VALUE)} = 'c' where {quoted(name)} = 1")
    shown = (lambda name: name) if case == "preserve" else fold
    for name in AWKWARD:
        targets.wait_for([2, 3], shown(name), column=shown(name))
        moved = targets.sql(f'SELECT {quoted(shown(VALUE))}, LENGTH({quoted(shown("body"))}) '
                            f'FROM {targets.snowflake.qualified(shown(name))} WHERE {quoted(shown(name))} = 3')
        assert moved == [["c", "5000"]], name
    assert set(map(shown, AWKWARD)) <= targets.tables()
    assert program.terminate() == 0


def test_case_is_preserved_where_it_tells_names_apart(source, standin, stream, targets):
    source.sql('create table "T" (id int primary key, "Id" text, "ID" text)')
    source.sql('create table t (id int primary key)')
    source.sql('insert into "T" values (1, %s, %s)', ["x", "y"])
    source.sql("insert into t values (5)")
    source.sql(f'create publication {source.publication} for table "T", t')
    program = stream(*MERGE_OFTEN, "--identifier-case", "preserve")
    program.wait_for_event("live", 60)
    source.sql('update "T" set "Id" = %s', ["z"])
    wait_until(lambda: targets.rows("T", columns='"id", "Id", "ID"') == [["1", "z", "y"]], 30, "the update")
    assert targets.ids("t", column="id") == [5]
    assert program.terminate() == 0


def test_collisions_park_the_second_and_name_the_option(source, standin, stream, targets):
    make(source, ("public", "a"), ("sales", "a"), ("public", "b"), ("public", "B"))
    source.sql('create table folds (id int primary key, "X" text, x text)')
    source.sql(f"alter publication {source.publication} add table folds")
    found = run_command("check", "--from", source.url(), "--to", standin.to, state="/nonexistent/state.db")
    assert found.returncode == 1
    for text in ("target_naming = schema_table keeps them apart", "identifier_case = preserve keeps them apart",
                 'columns X and x would both be "X"'):
        assert text in found.stdout, found.stdout
    program = stream(*MERGE_OFTEN)
    program.wait_for_event("live", 60)
    def find_parked(status):
        return [name for name, table in tables_of(status).items() if table["state"] == "parked"]
    parked = find_parked(program.wait_for_status(lambda status: len(find_parked(status)) == 3, 60, "three parked tables"))
    assert "public.folds" in parked
    assert len({"public.a", "sales.a"} & set(parked)) == 1 and len({"public.b", "public.B"} & set(parked)) == 1
    assert targets.ids("A") == [1]
    assert program.terminate() == 0


@pytest.mark.parametrize("naming, case, names", [
    ("schema_table", "upper", {("PUBLIC_A", None), ("SALES_A", None)}),
    ("schema", "upper", {("A", "PUBLIC"), ("A", "SALES")}),
    ("schema", "preserve", {("a", "public"), ("a", "sales")}),
])
def test_naming_keeps_schemas_apart(source, standin, stream, targets, naming, case, names):
    make(source, ("public", "a"), ("sales", "a"), rows=3)
    program = stream(*MERGE_OFTEN, "--target-naming", naming, "--identifier-case", case)
    program.wait_for_event("live", 60)
    column = "id" if case == "preserve" else "ID"
    for name, schema in names:
        assert targets.ids(name, schema, column) == [1, 2, 3]
    source.sql("insert into sales.a values (4)")
    [(name, schema)] = [pair for pair in names if "sales" in "".join(filter(None, pair)).lower()]
    targets.wait_for([1, 2, 3, 4], name, schema, column)
    landing = {table for table in targets.tables(targets.snowflake.landing_schema) if table.startswith("LANDING_")}
    assert landing == ({"LANDING_public_a", "LANDING_sales_a"} if case == "preserve" else {"LANDING_PUBLIC_A", "LANDING_SALES_A"})
    assert program.terminate() == 0


def test_another_naming_makes_new_tables_and_leaves_the_old(source, standin, stream, targets):
    make(source, ("public", "a"), rows=2)
    program = stream(*MERGE_OFTEN)
    program.wait_for_event("live", 60)
    assert program.terminate() == 0
    source.sql("insert into a values (3)")
    program = stream(*MERGE_OFTEN, "--target-naming", "schema_table")
    targets.wait_for([1, 2, 3], "PUBLIC_A")
    source.sql("insert into a values (4)")
    targets.wait_for([1, 2, 3, 4], "PUBLIC_A")
    assert targets.ids("A") == [1, 2]
    assert program.terminate() == 0


def test_a_target_that_was_dropped_is_copied_anew(source, standin, stream, targets):
    make(source, ("public", "a"), ("public", "b"), rows=2)
    program = stream(*MERGE_OFTEN)
    program.wait_for_event("live", 60)
    program.kill()
    targets.sql(f'DROP TABLE {targets.snowflake.qualified("A")}')
    program = stream(*MERGE_OFTEN)
    assert "is not there (any more)" in program.wait_for_event("resync", 60)["message"]
    source.sql("insert into a values (3)")
    targets.wait_for([1, 2, 3], "A")
    assert targets.ids("B") == [1, 2]
    assert program.terminate() == 0


# --- what is in the way ------------------------------------------------------------------------------------------


def foreign(targets, name, schema=None):
    targets.sql(f'CREATE TABLE {targets.snowflake.qualified(name, schema)} ("ID" NUMBER(38,0))')
    targets.sql(f"INSERT INTO {targets.snowflake.qualified(name, schema)} VALUES (99)")


def test_tables_in_the_way_are_kept(source, standin, stream, targets, tmp_path):
    make(source, ("public", "a"), ("public", "b"))
    foreign(targets, "A")
    done = run_command("run", "--from", source.url(), "--to", standin.to, state=tmp_path / "other.db")
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 2 and "was not made by etl-stream" in last and "RENAME TO" in last
    assert "existing_tables = replace" in last
    assert targets.ids("A") == [99]


def test_tables_in_the_way_are_renamed_aside(source, standin, stream, targets):
    make(source, ("public", "a"), ("public", "b"))
    targets.sql(f'CREATE SCHEMA IF NOT EXISTS {quoted(targets.snowflake.database, targets.snowflake.landing_schema)}')
    foreign(targets, "A")
    foreign(targets, "LANDING_B", targets.snowflake.landing_schema)
    program = stream(*MERGE_OFTEN, "--existing-tables", "replace")
    program.wait_for_event("live", 60)
    assert len(program.events("renamed_aside")) == 2
    assert targets.ids("A") == [1] and targets.ids("B") == [1]
    [aside] = [name for name in targets.tables() if name.startswith("A_BEFORE_20")]
    assert targets.ids(aside) == [99]
    [aside] = [name for name in targets.tables(targets.snowflake.landing_schema) if name.startswith("LANDING_B_BEFORE_20")]
    assert targets.ids(aside, targets.snowflake.landing_schema) == [99]
    assert program.terminate() == 0
    program = stream(*MERGE_OFTEN, "--existing-tables", "replace")
    program.wait_for_event("streaming", 60)
    assert not program.events("renamed_aside"), "ours are never renamed"
    assert program.terminate() == 0


def test_a_target_of_another_pipeline_is_never_taken(source, standin, start_stream, stream, targets, tmp_path):
    make(source, ("public", "a"))
    program = stream(*MERGE_OFTEN)
    program.wait_for_event("live", 60)
    done = run_command("run", "--from", source.url(slot="second"), "--to", standin.to, "--name", "second",
                       "--existing-tables", "replace", state=tmp_path / "other.db")
    assert done.returncode == 2 and "belongs to another pipeline" in done.stderr.strip().splitlines()[-1]
    assert program.terminate() == 0


def test_a_schema_that_may_not_be_made_is_told(source, standin, tmp_path):
    make(source, ("sales", "a"))
    # Looks: sign-in, schema, warehouse; the target's schema, the landing table. Then the state's five, and the schema again.
    standin.add_fault("sql.submit.before", skip=11, status=422, code="003001",
                      message="SQL access control error: Insufficient privileges to operate on database")
    done = run_command("run", "--from", source.url(), "--to", standin.to, "--target-naming", "schema", state=tmp_path / "state.db")
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 2 and 'schema "' in last and "cannot be made; mend it with: CREATE SCHEMA" in last, last
