"""Compares every table of a publication with its copy in Snowflake, value by value.

It shares no code with the program under test: PostgreSQL is read through psycopg as the server's text, Snowflake through
snowflake_client.py. The source is read in one snapshot; whoever calls this has stopped the writers and waited until
everything was merged.

As a program: compare.py SOURCE_URL PUBLICATION TARGET_URL
"""
import collections
import dataclasses
import json
import sys
import time

import psycopg
from psycopg import sql

from compare_values import SOURCE_SETTINGS, Kind, Unfit
from snowflake_client import Snowflake, SnowflakeError

FETCH_ROWS = 20000
DIFFERENCES_SHOWN = 5
COERCED, DELETED_AT = "_ETL_COERCED", "_ETL_DELETED_AT"


def target_name(name):
    """Only ASCII letters are put in upper case."""
    return "".join(letter.upper() if letter.isascii() else letter for letter in name)


@dataclasses.dataclass
class Column:
    name: str
    kind: Kind
    in_key: bool


@dataclasses.dataclass
class TableReport:
    name: str
    source_rows: int = 0
    target_rows: int = 0
    differences: list = dataclasses.field(default_factory=list)  # the first of them, as text
    difference_count: int = 0
    seconds: float = 0

    @property
    def is_equal(self):
        return self.difference_count == 0

    def add(self, text):
        self.difference_count += 1
        if len(self.differences) < DIFFERENCES_SHOWN:
            self.differences.append(text)

    def __str__(self):
        head = (f"{self.name}: {self.source_rows} rows, {'equal' if self.is_equal else 'NOT EQUAL'}"
                f"{'' if self.source_rows == self.target_rows else f' ({self.target_rows} in the target)'}")
        if self.is_equal:
            return head
        return "\n".join([f"{head}, {self.difference_count} differences", *("    " + text for text in self.differences)])


TABLES = """
select n.nspname, c.relname, c.oid,
       coalesce((select array_agg(name) from jsonb_array_elements_text(to_jsonb(t) -> 'attnames') as name), '{}'),  -- 15 on
       to_jsonb(t) ->> 'rowfilter'
  from pg_publication_tables t join pg_namespace n on n.nspname = t.schemaname
  join pg_class c on c.relname = t.tablename and c.relnamespace = n.oid
 where t.pubname = %s order by 1, 2
"""
TYPE = """
select t.typname, t.typtype::text, t.typbasetype, t.typtypmod, t.typrelid, e.oid, e.typdelim::text
  from pg_type t left join pg_type e on e.oid = t.typelem and e.typarray = t.oid where t.oid = %s
"""
FIELDS = """
select a.attname, a.atttypid, a.atttypmod from pg_attribute a
 where a.attrelid = %s and a.attnum > 0 and not a.attisdropped order by a.attnum
"""
COLUMNS = """
select a.attname, a.atttypid, a.atttypmod, coalesce(a.attnum = any (i.indkey), false),
       a.attgenerated = '' or current_setting('server_version_num')::int >= 180000  -- which sends generated ones that it names
  from pg_attribute a left join pg_index i on i.indrelid = a.attrelid and i.indisprimary
 where a.attrelid = %s and a.attnum > 0 and not a.attisdropped order by a.attnum
"""


def read_kind(connection, oid, modifier):
    """A type and what it is made of; the modifier of an array is its elements'."""
    name, category, base, base_modifier, relation, element, delimiter = connection.execute(TYPE, [oid]).fetchone()
    if category == "d":
        return read_kind(connection, base, base_modifier)
    if element is not None:
        return Kind(name, element=read_kind(connection, element, modifier), delimiter=delimiter)
    if category == "c":
        fields = connection.execute(FIELDS, [relation]).fetchall()
        return Kind(name, fields=[(field, read_kind(connection, *of_type)) for field, *of_type in fields])
    return Kind(name, modifier)


def read_columns(connection, oid, published):
    return [Column(name, read_kind(connection, type_oid, modifier), in_key)
            for name, type_oid, modifier, in_key, may_be_sent in connection.execute(COLUMNS, [oid]).fetchall()
            if may_be_sent and (not published or name in published)]


def expected_row(columns, texts):
    """A source row as the target should have it, and what _ETL_COERCED should say of it."""
    values, coerced = [], {}
    for column, text in zip(columns, texts):
        value = column.kind.source(text)
        if isinstance(value, Unfit):
            coerced[target_name(column.name)] = value.text
            value = value.nearest
        values.append(value)
    return tuple(values), frozenset(coerced.items())


def read_source(connection, schema, table, columns, part=None, row_filter=None):
    """Rows as the server's own text: psycopg's loaders have no part in it. part: (column, from, below) of a whole number."""
    kind = connection.execute("select relkind::text from pg_class where oid = format('%%I.%%I', %s::text, %s::text)::regclass",
                              [schema, table]).fetchone()[0]
    statement = sql.SQL("declare compared cursor for select {} from {}{}").format(
        sql.SQL(", ").join(map(sql.Identifier, (column.name for column in columns))),
        sql.SQL("" if kind == "p" else "only "), sql.Identifier(schema, table))  # what inherits from it is a table of its own
    statement += sql.SQL(" where ({})").format(sql.SQL(row_filter or "true"))
    if part:
        statement += sql.SQL(" and {0} >= {1} and {0} < {2}").format(sql.Identifier(part[0]), part[1], part[2])
    rows = collections.Counter()
    with connection.cursor() as cursor:
        cursor.execute(statement)
        count = FETCH_ROWS
        while count == FETCH_ROWS:
            result = cursor.execute(f"fetch forward {FETCH_ROWS} from compared").pgresult
            count = result.ntuples
            for row in range(count):
                texts = [result.get_value(row, column) for column in range(result.nfields)]
                rows[expected_row(columns, [None if text is None else text.decode() for text in texts])] += 1
        cursor.execute("close compared")
    return rows


def read_target(snowflake, target, columns, report, part=None):
    described, _ = snowflake.execute(f"SELECT * FROM {target} LIMIT 0")
    there = {column["name"]: column["type"].lower() for column in described}
    missing = [column.name for column in columns if target_name(column.name) not in there]
    if missing:
        report.add(f"the target has no column {', '.join(missing)}")
        return None
    for column in columns:
        wanted, found = column.kind.target_type(), there[target_name(column.name)]
        if found != wanted:
            report.add(f"column {column.name} is {found}, not {wanted}")
            return None
    names = [target_name(column.name) for column in columns] + [COERCED] * (COERCED in there)
    listed = ", ".join('"' + name.replace('"', '""') + '"' for name in names)
    rows = collections.Counter()
    conditions = [f'"{target_name(part[0])}" >= {part[1]} AND "{target_name(part[0])}" < {part[2]}'] if part else []
    if DELETED_AT in there:
        conditions.append(f'"{DELETED_AT}" IS NULL')  # with soft deletes the others are no rows of the source
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    for row in snowflake.query(f"SELECT {listed} FROM {target}{where}", seconds=600):
        coerced = json.loads(row[-1]) if COERCED in there and row[-1] is not None else {}
        rows[tuple(column.kind.target(text) for column, text in zip(columns, row)),
             frozenset((target_name(name), str(text)) for name, text in coerced.items())] += 1
    return rows


def describe(columns, expected, found):
    parts = [f"{column.name}: source {a!r}, target {b!r}"
             for column, a, b in zip(columns, expected[0], found[0]) if a != b]
    if expected[1] != found[1]:
        parts.append(f"coerced: source {dict(expected[1])}, target {dict(found[1])}")
    return "; ".join(parts)


def compare_rows(report, columns, source, target):
    missing, extra = source - target, target - source
    key = [index for index, column in enumerate(columns) if column.in_key]
    by_key = {}
    if key:
        by_key = {tuple(row[0][index] for index in key): row for row in extra if extra[row] > 0}
    for row, count in missing.items():
        partner = by_key.get(tuple(row[0][index] for index in key)) if key else None
        if count > 0 and partner is not None and extra[partner] > 0:
            extra[partner] -= 1
            where = ", ".join(f"{columns[index].name} = {row[0][index]}" for index in key)
            report.add(f"{where}: {describe(columns, row, partner)}")
        elif count > 0:
            report.add(f"missing {count}×: {readable(columns, row)}")
    for row, count in extra.items():
        if count > 0:
            report.add(f"too many {count}×: {readable(columns, row)}")


def readable(columns, row):
    text = ", ".join(f"{column.name}={value!r}" for column, value in zip(columns, row[0]))
    return text if len(text) < 400 else text[:400] + "…"


def compare_table(connection, snowflake, schema, table, oid, published, part=None, row_filter=None):
    report, started = TableReport(f"{schema}.{table}"), time.monotonic()
    columns = read_columns(connection, oid, published)
    source = read_source(connection, schema, table, columns, part, row_filter)
    report.source_rows = source.total()
    try:
        target = read_target(snowflake, snowflake.qualified(target_name(table)), columns, report, part)
    except SnowflakeError as error:
        report.add(f"the target cannot be read: {error}")
        target = None
    if target is not None:
        report.target_rows = target.total()
        compare_rows(report, columns, source, target)
    report.seconds = time.monotonic() - started
    return report


def compare(source_url, publication, target_url, on_table=None, parts_of=None):
    """One TableReport a table, in order. parts_of(schema, table) → the parts that a table too large for this machine's memory
    is compared in, which together hold all that its column can hold; a report each."""
    snowflake = Snowflake(target_url)
    options = " ".join(f"-c {name}={value.replace(' ', chr(92) + ' ')}" for name, value in SOURCE_SETTINGS.items()
                       if name != "client_encoding")
    reports = []
    with psycopg.connect(source_url, options=options, client_encoding="UTF8") as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        for schema, table, oid, published, row_filter in connection.execute(TABLES, [publication]).fetchall():
            for part in parts_of and parts_of(schema, table) or [None]:
                reports.append(compare_table(connection, snowflake, schema, table, oid, published, part, row_filter))
                if on_table:
                    on_table(reports[-1])
    if not reports:
        raise ValueError(f"publication {publication} has no tables")
    return reports


def assert_equal(source_url, publication, target_url):
    unequal = [report for report in compare(source_url, publication, target_url) if not report.is_equal]
    assert not unequal, "\n".join(map(str, unequal))


def main(source_url, publication, target_url):
    reports = compare(source_url, publication, target_url, on_table=print)
    return 0 if all(report.is_equal for report in reports) else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
