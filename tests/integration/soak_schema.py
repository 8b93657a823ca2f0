"""Random tables: from a seed's dice to definitions and statements on them. Pure: no server, no clock.

A Table knows its columns and says which statements make sense on it; soak_steps.py puts them together to transactions.
Keys come from small sets, so that rows are met again and again, collide, change places and come back.
"""
import dataclasses

WIDE = ("create function wide(seed int, pieces int) returns text language sql immutable as "
        "$$ select string_agg(md5(seed::text || '.' || piece), '') from generate_series(1, pieces) piece $$")
TYPES = """
create type mood as enum ('sad', 'it''s ok', 'é');
create type pair as (a int, b text);
create domain positive as numeric(9, 3) check (value is null or value >= 0);
"""


def quote(text):
    return "'" + text.replace("'", "''") + "'"


def name_of(text):
    return '"' + text.replace('"', '""') + '"'


WORDS = ("", "a", "A", " a ", "naïve", "tab\there", "line\nbreak", 'quo"te', "it's", "back\\slash", "雪", "😀", "e\u0301", "null", "\u0001")
# Type → what a random value of it is, as SQL. NULL is added elsewhere.
VALUES = {
    "smallint": lambda dice: str(dice.choice((0, 1, -32768, 32767))),
    "int": lambda dice: str(dice.choice((0, 7, -1, 2147483647, -2147483648))),
    "bigint": lambda dice: str(dice.choice((0, 1, 9007199254740993, 9223372036854775807, -9223372036854775807))),
    "numeric(12,2)": lambda dice: str(dice.randrange(-10**6, 10**6) / 100),
    "numeric": lambda dice: dice.choice(("0", "1.0", "1.00", "1e28", "0.000000001", "'NaN'", "1e40", "-12345678901234567890.123456789")),
    "numeric(38,5)": lambda dice: dice.choice(("0", "123456789012345678901234567890123.12345", "-0.00001")),
    "real": lambda dice: dice.choice(("0", "'-0'", "1.5", "3.4028235e38", "1e-45", "'NaN'", "'Infinity'")),
    "float8": lambda dice: dice.choice(("0", "'-0'", "0.1", "1e308", "5e-324", "'NaN'", "'-Infinity'", "1.7976931348623157e308")),
    "text": lambda dice: quote(dice.choice(WORDS)),
    "varchar(30)": lambda dice: quote(dice.choice(WORDS)),
    "char(5)": lambda dice: quote(dice.choice(("", "a", "ab c", "12345"))),
    "bool": lambda dice: dice.choice(("true", "false")),
    "bytea": lambda dice: dice.choice((r"'\x'", r"'\x00ff'", r"'\xdeadbeef'")),
    "date": lambda dice: dice.choice(("'2026-01-31'", "'0001-01-01'", "'9999-12-31'", "'infinity'", "'0044-03-15 BC'", "'10000-01-01'")),
    "time": lambda dice: dice.choice(("'00:00'", "'23:59:59.999999'", "'12:00:00.5'", "'24:00'")),
    "timestamp": lambda dice: dice.choice(("'2026-01-31 12:00:00.000001'", "'1969-12-31 23:59:59.5'", "'infinity'", "'294276-12-31'")),
    "timestamptz": lambda dice: dice.choice(("'2026-03-29 02:30:00+02'", "'1970-01-01 00:00Z'", "'-infinity'", "'4713-01-01 BC'")),
    "timetz": lambda dice: dice.choice(("'12:00+02'", "'23:59:59.999999-08'")),
    "interval": lambda dice: dice.choice(("'1 day'", "'24 hours'", "'-1 mon 3 days 04:05:06.789'", "'0'")),
    "uuid": lambda dice: f"'0000000{dice.randrange(6)}-0000-4000-8000-00000000abcd'",
    "json": lambda dice: dice.choice(("'{\"a\": 1, \"b\": [1.50, null, \"x\"]}'", "'{}'", "'null'", "'[]'", "'\"s\"'", "'1e2'", "'{\"a\":1,\"a\":2}'")),
    "jsonb": lambda dice: dice.choice(("'{\"a\": 1.0}'", "'{\"a\": 1}'", "'[1, [2, []]]'", "'null'", "'\"é\\u0001\"'", "'12345678901234567890.5'")),
    "int[]": lambda dice: dice.choice(("'{}'", "'{1,2,null}'", "'{{1,2},{3,4}}'", "'[0:1]={1,2}'")),
    "text[]": lambda dice: dice.choice(("'{}'", "'{\"a b\",null,\"null\",\"\"}'", "'{😀}'")),
    "numeric(9,3)[]": lambda dice: dice.choice(("'{1.5,null}'", "'{}'")),
    "inet": lambda dice: dice.choice(("'10.0.0.1/8'", "'::1'", "'192.168.0.0/32'")),
    "macaddr": lambda dice: "'08:00:2b:01:02:03'",
    "money": lambda dice: dice.choice(("'12.34'", "'-1000000'")),
    "bit varying": lambda dice: dice.choice(("B''", "B'10110'")),
    "mood": lambda dice: quote(dice.choice(("sad", "it's ok", "é"))),
    "pair": lambda dice: dice.choice(("row(1, 'x')::pair", "row(null, null)::pair", "row(2, 'it''s \"q\", \\ ')::pair")),
    "positive": lambda dice: str(dice.randrange(10**6) / 1000),
    "int4range": lambda dice: dice.choice(("'[1,5)'", "'empty'", "'(,3]'")),
    "xml": lambda dice: "'<a b=\"c\">é</a>'",
}
# Types of keys, each with few values, all of which Snowflake can hold.
KEYS = {
    "int": lambda dice: str(dice.randrange(1, 13)),
    "bigint": lambda dice: str(dice.choice((1, 2, 3, 5, 9007199254740993, -4))),
    "smallint": lambda dice: str(dice.randrange(1, 6)),
    "text": lambda dice: quote(dice.choice(("", "a", "A", " a", "ü", "it's", "雪", "x" * 40, 'a"b', "a\\b"))),
    "varchar(12)": lambda dice: quote(dice.choice(("k1", "k2", "K2", "k3 ", ""))),
    "char(4)": lambda dice: quote(dice.choice(("a", "ab", "abcd", ""))),
    "uuid": lambda dice: f"'0000000{dice.randrange(6)}-0000-4000-8000-000000000001'",
    "date": lambda dice: dice.choice(("'2026-01-01'", "'1969-12-31'", "'9999-12-31'")),
    "timestamptz": lambda dice: dice.choice(("'2026-01-01 00:00Z'", "'2026-01-01 00:00:00.000001Z'", "'1960-01-01 00:00Z'")),
    "numeric(8,2)": lambda dice: dice.choice(("1", "1.5", "-2.25", "0")),
    "numeric": lambda dice: dice.choice(("1", "1.0", "1.00", "2.5", "0")),
    "bytea": lambda dice: dice.choice((r"'\x'", r"'\x00'", r"'\x0001'")),
    "bool": lambda dice: dice.choice(("true", "false")),
    "mood": lambda dice: quote(dice.choice(("sad", "it's ok", "é"))),
}
STORAGES = ("plain", "main", "external", "extended")
HUGE_FROM = 1000  # keys of huge transactions begin here
COLUMN_NAMES = ("body", "Mixed", "with space", "sel\"ect", "order", "naïve", "a.b", "x", "group", "$1")
TABLE_NAMES = ("plain", "Mixed Case", "dot.ted", 'quo"ted', "Ünï", "select", "t", "under_score", "long" * 15, "table$")


@dataclasses.dataclass
class Column:
    name: str
    type: str
    in_key: bool = False
    storage: str | None = None  # one of STORAGES: a wide one
    not_null: bool = False
    fixed: str | None = None    # a generated column's expression

    @property
    def quoted(self):
        return name_of(self.name)

    def value(self, dice):
        if self.in_key:
            return KEYS[self.type](dice)
        if not self.not_null and dice.random() < 0.15:
            return "null"
        if self.storage:
            # Plain never leaves the row; the others do when they do not fit, which repeat() compresses back into it.
            seed, small = dice.randrange(1000), self.storage == "plain"
            if not small and dice.random() < 0.004:
                return f"wide({seed}, 40000)"  # more than a megabyte
            return dice.choice((f"wide({seed}, {1 if small else 150})", f"repeat('{seed % 10}', {300 if small else 20000})",
                                "'short'", f"wide({seed}, {2 if small else 400})"))
        return VALUES[self.type](dice)


@dataclasses.dataclass
class Table:
    """kind: key, index (a replica identity of its own), full (with a key), bag (FULL without a key), deferred (FULL, the key
    is deferrable), append (no identity), partitioned, inherited, child (of `parent`, by foreign key)."""
    name: str
    kind: str
    columns: list
    parent: str | None = None
    roots: tuple = ()      # further names of its rows: partitions
    serial: bool = False
    is_full: bool = False  # REPLICA IDENTITY FULL on a partitioned table or on parts of it

    @property
    def quoted(self):
        return name_of(self.name)

    @property
    def keys(self):
        return [column for column in self.columns if column.in_key]

    @property
    def set_columns(self):
        return [column for column in self.columns if not column.fixed]

    @property
    def has_changes(self):
        return self.kind != "append"

    @property
    def has_conflicts(self):
        """ON CONFLICT DO NOTHING may be used: PostgreSQL refuses it over a deferrable key."""
        return self.kind not in ("deferred", "bag", "append")

    def where(self, dice):
        """A condition: one key, or a share of all rows."""
        keys = self.keys
        if self.kind == "bag" and dice.random() < 0.6:
            return f"ctid = (select ctid from {self.quoted} order by {self.columns[0].quoted}, ctid offset {dice.randrange(6)} limit 1)"
        if keys and dice.random() < 0.7:
            return " and ".join(f"{column.quoted} = {column.value(dice)}" for column in keys[:dice.randrange(len(keys)) + 1])
        if dice.random() < 0.1:
            return "true"
        what = (keys or self.columns)[0]
        return f"abs(hashtext({what.quoted}::text)::bigint) % {dice.choice((2, 3, 5))} = 0"

    def row(self, dice):
        return "(" + ", ".join(column.value(dice) for column in self.set_columns) + ")"

    def insert(self, dice):
        columns = ", ".join(column.quoted for column in self.set_columns)
        rows = [self.row(dice) for _ in range(dice.choice((1, 1, 2, 5)))]
        if self.kind in ("bag", "append") and dice.random() < 0.4:
            rows.append(rows[0])
        end = ""
        if self.has_conflicts:
            end = " on conflict do nothing"
            others = [column for column in self.set_columns if not column.in_key]
            if others and self.kind == "key" and dice.random() < 0.3:
                changed = dice.sample(others, dice.randrange(len(others)) + 1)
                end = (f" on conflict ({', '.join(column.quoted for column in self.keys)}) do update set "
                       + ", ".join(f"{column.quoted} = excluded.{column.quoted}" for column in changed))
                rows = rows[:1]
        return f"insert into {self.quoted} ({columns}) values {', '.join(rows)}{end}"

    def duplicate(self, dice):
        """More of the same rows; only where nothing tells rows apart."""
        columns = ", ".join(column.quoted for column in self.set_columns)
        return f"insert into {self.quoted} ({columns}) select {columns} from {self.quoted} limit {dice.randrange(1, 4)}"

    def update(self, dice):
        columns = [column for column in self.set_columns if not column.in_key] or self.set_columns
        chosen = dice.sample(columns, min(len(columns), dice.choice((1, 1, 2, 9))))
        sets = []
        for column in chosen:
            itself = dice.random() < 0.2
            sets.append(f"{column.quoted} = {column.quoted if itself else column.value(dice)}")
        return f"update {self.quoted} set {', '.join(sets)} where {self.where(dice)}"

    def move(self, dice):
        """A key change; other columns may change with it."""
        column = dice.choice(self.keys or self.set_columns)
        sets = [f"{column.quoted} = {column.value(dice)}"]
        others = [one for one in self.set_columns if not one.in_key and one is not column]
        if others and dice.random() < 0.3:
            other = dice.choice(others)
            sets.append(f"{other.quoted} = {other.value(dice)}")
        return f"update {self.quoted} set {', '.join(sets)} where {self.where(dice)}"

    def swap(self, dice):
        """Two keys change places by way of a third, which is freed for it."""
        column = self.keys[0]
        values = list(dict.fromkeys(column.value(dice) for _ in range(12)))[:3]
        if len(values) < 3:
            return [self.move(dice)]
        first, second, spare = values

        def rename(old, new):
            return f"update {self.quoted} set {column.quoted} = {new} where {column.quoted} = {old}"
        return [f"delete from {self.quoted} where {column.quoted} = {spare}", rename(first, spare), rename(second, first),
                rename(spare, second)]

    def chain(self, dice):
        column = self.keys[0]
        return [f"update {self.quoted} set {column.quoted} = {column.value(dice)} where {column.quoted} = {column.value(dice)}"
                for _ in range(dice.randrange(2, 5))]

    def swap_at_once(self):
        """One statement; only a deferrable key allows it."""
        column = self.keys[0]
        return f"update {self.quoted} set {column.quoted} = 13 - {column.quoted} where {column.quoted} between 1 and 12"

    def delete(self, dice):
        return f"delete from {self.quoted} where {self.where(dice)}"

    def reinsert(self, dice):
        """Rows that go and come back in one statement, their large values with them."""
        columns = ", ".join(column.quoted for column in self.set_columns)
        return (f"with gone as (delete from {self.quoted} where {self.where(dice)} returning {columns}) "
                f"insert into {self.quoted} ({columns}) select {columns} from gone")

    def huge(self, dice, rows):
        """Many rows at once, or the end of them; only with a single whole number as the key."""
        column = self.keys[0]
        begin = HUGE_FROM + rows * dice.randrange(3)
        match dice.randrange(4):
            case 0:
                return f"delete from {self.quoted} where {column.quoted} >= {HUGE_FROM}"
            case 1:
                other = dice.choice([one for one in self.set_columns if not one.in_key] or [column])
                value = other.quoted if other.in_key else other.value(dice)
                return f"update {self.quoted} set {other.quoted} = {value} where {column.quoted} >= {begin}"
        names = ", ".join(one.quoted for one in self.set_columns)
        width = dice.choice((1, 1, 10, 120))
        values = ", ".join("g" if one is column else one.value(dice) if not one.storage else f"wide(g, {width if one.storage != 'plain' else 1})" for one in self.set_columns)
        return f"insert into {self.quoted} ({names}) select {values} from generate_series({begin}, {begin + rows - 1}) g on conflict do nothing"

    def fill(self, dice, rows):
        """Rows that are there before the first copy, some of them in the way of other keys."""
        if self.kind == "append" or self.kind == "bag":
            names = ", ".join(one.quoted for one in self.set_columns)
            values = ", ".join(f"wide(g, {dice.choice((3, 40))})" if one.storage else one.value(dice) for one in self.set_columns)
            return f"insert into {self.quoted} ({names}) select {values} from generate_series(1, {rows}) g"
        if not self.can_be_huge():
            return None
        names = ", ".join(one.quoted for one in self.set_columns)
        values = ", ".join("g" if one.in_key else f"wide(g, {dice.choice((3, 40, 100)) if one.storage != 'plain' else 2})" if one.storage
                           else one.value(dice) for one in self.set_columns)
        return f"insert into {self.quoted} ({names}) select {values} from generate_series({HUGE_FROM}, {HUGE_FROM + rows - 1}) g"

    def can_be_huge(self):
        return self.kind in ("key", "full", "partitioned") and len(self.keys) == 1 and self.keys[0].type in ("int", "bigint")

    def can_chain(self):
        return len(self.keys) > 0 and self.kind in ("key", "index", "full", "partitioned", "inherited")


def make_columns(dice, kind):
    """Key columns first; names are drawn without repetition, also not in another case."""
    names = list(COLUMN_NAMES)
    dice.shuffle(names)
    columns = []
    if kind not in ("bag", "append"):
        types = ["int"] if kind in ("partitioned", "deferred") or dice.random() < 0.4 else [dice.choice(list(KEYS))]
        if kind != "deferred":
            types += [dice.choice(list(KEYS)) for _ in range(dice.choice((0, 0, 1, 2)))]
        columns = [Column(f"k{number}", type_name, in_key=True) for number, type_name in enumerate(types, 1)]
    for _ in range(dice.choice((1, 2, 2, 3))):
        columns.append(Column(names.pop(), "text", storage=dice.choice(STORAGES)))
    for _ in range(dice.randrange(0, 5)):
        columns.append(Column(names.pop(), dice.choice(list(VALUES))))
    if dice.random() < 0.15:
        columns.append(Column("made", "text", fixed="repeat('x', 3)"))
    return columns


def _body(table, extra=()):
    lines = []
    for column in table.columns:
        lines.append(f"{column.quoted} {column.type}" + (" not null" if column.in_key or column.not_null else "")
                     + (f" generated always as ({column.fixed}) stored" if column.fixed else ""))
    return ", ".join([*lines, *extra])


def _storages(name, table):
    return [f"alter table {name} alter column {column.quoted} set storage {column.storage}" for column in table.columns if column.storage]


def _key(table):
    return ", ".join(column.quoted for column in table.keys)


def _partitions(dice, table):
    """The root partitioned by its first key; a default part takes what no other does, and may be partitioned again."""
    names = [f"{table.name[:40]}_p{number}" for number in range(3)]
    how = dice.choice(("range", "list", "hash"))
    root, (first, second, rest) = table.quoted, map(name_of, names)
    if how == "hash":
        parts = [f"create table {name} partition of {root} for values with (modulus 3, remainder {number})"
                 for number, name in enumerate((first, second, rest))]
    elif how == "range":
        parts = [f"create table {first} partition of {root} for values from (minvalue) to (5)",
                 f"create table {second} partition of {root} for values from (5) to (9)",
                 f"create table {rest} partition of {root} default"]
    else:
        parts = [f"create table {first} partition of {root} for values in (1, 2, 3, 4)",
                 f"create table {second} partition of {root} for values in (5, 6)",
                 f"create table {rest} partition of {root} default"]
    if how != "hash" and dice.random() < 0.5:
        # One that was a table before: its columns have another order and other numbers.
        columns = list(table.columns)
        dice.shuffle(columns)
        other = dataclasses.replace(table, columns=columns)
        parts[1:2] = [f"create table {second} (dropped text, {_body(other)})", f"alter table {second} drop column dropped",
                      f"alter table {root} attach partition {second} for values {'in (5, 6)' if how == 'list' else 'from (5) to (9)'}"]
    if how == "range" and dice.random() < 0.4:
        names += [f"{table.name[:40]}_p2_{number}" for number in range(2)]
        parts[-1] = f"create table {rest} partition of {root} default partition by hash ({_key(table)})"
        parts += [f"create table {name_of(name)} partition of {rest} for values with (modulus 2, remainder {number})"
                  for number, name in enumerate(names[3:])]
    table.roots = tuple(names)
    return how, parts


def definition(dice, table):
    """The statements that make it."""
    name, key = table.quoted, _key(table)
    primary = f"primary key ({key})"
    match table.kind:
        case "key" | "child":
            if table.parent:
                primary += f", foreign key (k1) references {name_of(table.parent)} (k1) on delete cascade on update cascade"
            lines = [f"create table {name} ({_body(table, [primary])})"]
        case "index":
            lines = [f"create table {name} ({_body(table, ['spare int'] if dice.random() < 0.5 else ['spare serial primary key'])})",
                     f"create unique index identity_{table.name.encode().hex()[:20]} on {name} ({key})",
                     f"alter table {name} replica identity using index identity_{table.name.encode().hex()[:20]}"]
        case "full":
            lines = [f"create table {name} ({_body(table, [primary])})", f"alter table {name} replica identity full"]
        case "deferred":
            lines = [f"create table {name} ({_body(table, [primary + ' deferrable initially deferred'])})",
                     f"alter table {name} replica identity full"]
        case "bag":
            lines = [f"create table {name} ({_body(table)})", f"alter table {name} replica identity full"]
        case "append":
            lines = [f"create table {name} ({_body(table)})"]
            if dice.random() < 0.5:
                lines.append(f"alter table {name} replica identity nothing")
        case "partitioned":
            how, parts = _partitions(dice, table)
            lines = [f"create table {name} ({_body(table, [primary])}) partition by {how} ({table.keys[0].quoted})", *parts]
            if dice.random() < 0.2:
                table.is_full = True
                # Often each for itself: the server sends old rows by the partitions' identities.
                share = dice.choice((1, 0.6))
                lines += [f"alter table {one} replica identity full" for one in (name, *map(name_of, table.roots)) if dice.random() < share]
        case "inherited":
            child = name_of(table.name[:40] + "_heir")
            table.roots = (table.name[:40] + "_heir",)
            lines = [f"create table {name} ({_body(table, [primary])})",
                     f"create table {child} (more text, {primary}) inherits ({name})"]
    lines += _storages(name, table)
    if table.kind in ("key", "full", "bag") and dice.random() < 0.3:
        # A gap in the attribute numbers.
        lines[0] = lines[0].replace(f"create table {name} (", f"create table {name} (gone int, ", 1)
        lines.append(f"alter table {name} drop column gone")
    return lines
