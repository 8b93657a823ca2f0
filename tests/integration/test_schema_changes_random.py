"""Random definitions in random order amid changes of rows, restarts and kills: in the end source and target are equal."""
import random

import pytest

import seeds
from test_schema_changes import OPTIONS, settle
from test_schema_changes_tables import make, start

TYPES = {"int": "{i}", "bigint": "{i}", "varchar(30)": "'v{i}'", "text": "repeat('t', {i} * 30)", "numeric(8,2)": "{i}.25", "numeric(12,2)": "{i}.25",
         "numeric(12,4)": "{i}.0625", "timestamp": "timestamp '2026-01-01' + {i} * interval '1 hour'", "jsonb": "'{{\"i\": {i}}}'",
         "boolean": "{i} % 2 = 0", "int[]": "array[{i}, {i}]", "bytea": "'\\x00ff'"}
SEEDS = (7, seeds.of_the_day())


class Table:
    def __init__(self, name, rng, parts=0):
        self.name, self.rng, self.columns, self.made, self.rows, self.parts = name, rng, {}, 0, 0, parts

    def create(self):
        self.columns = {"a": "int", "b": "text", "c": "numeric(8,2)"}
        made = f"create table {self.name} (id bigint primary key, a int, b text, c numeric(8,2))" + (" partition by hash (id)" if self.parts else "")
        return ";".join([made, *(f"create table {self.name}_{part} partition of {self.name} for values with (modulus {self.parts}, remainder {part})"
                                 for part in range(self.parts))])

    def write(self):
        kind, self.rows = self.rng.choice(["insert", "insert", "update", "update", "delete", "truncate"] if self.rng.random() < 0.3 else ["insert", "update"]), self.rows + 1
        if kind == "delete":
            return f"delete from {self.name} where id % 11 = {self.rng.randrange(11)}"
        if kind == "truncate":
            return f"truncate {self.name}"
        values = {name: TYPES[of].format(i=self.rows % 90) for name, of in self.columns.items() if self.rng.random() < 0.8}
        if kind == "insert" or not values:
            return f"insert into {self.name} ({', '.join(['id', *values])}) values ({', '.join([str(self.rows), *values.values()])})"
        return f"update {self.name} set {', '.join(f'{name} = {value}' for name, value in values.items())} where id % 5 = {self.rng.randrange(5)}"

    def change(self):
        kind = self.rng.choice(["add", "add", "drop", "rename", "type", "type", "identity"])
        name = self.rng.choice(list(self.columns)) if self.columns else None
        if kind == "add" or name is None:
            self.made += 1
            new, of = self.rng.choice([f"n{self.made}", "a", "b", "x"]), self.rng.choice(list(TYPES))
            if new in self.columns:
                new = f"n{self.made}"
            self.columns[new] = of
            default = self.rng.choice(["", f" default {TYPES[of].format(i=7)}", " not null default " + TYPES[of].format(i=3)])
            return f"alter table {self.name} add column {new} {of}{default}"
        if kind == "drop":
            del self.columns[name]
            return f"alter table {self.name} drop column {name}"
        if kind == "rename":
            self.made += 1
            self.columns[f"r{self.made}"] = self.columns.pop(name)
            return f"alter table {self.name} rename column {name} to r{self.made}"
        if kind == "identity":
            return f"alter table {self.name} replica identity {self.rng.choice(['full', 'default'])}"
        of = self.rng.choice(list(TYPES))
        self.columns[name] = of
        return (f"alter table {self.name} alter column {name} drop not null, alter column {name} drop default;"
                f"alter table {self.name} alter column {name} type {of} using {TYPES[of].format(i=5)}")


def step(source, rng, tables):
    """Some statements, of one or of several transactions."""
    with source.connect(autocommit=False) as connection:
        for _ in range(rng.randint(1, 8)):
            table = rng.choice(tables)
            for statement in (table.change() if rng.random() < 0.15 else table.write()).split(";"):
                connection.execute(statement)
            if rng.random() < 0.5:
                connection.commit()


@pytest.mark.parametrize("seed", SEEDS)
def test_random_definitions(seed, source, standin, stream):
    print(f"SEED={seed}")
    rng = random.Random(seed)
    tables = [Table(f"w{number}", random.Random(seed * 10 + number), 2 if number == 2 else 0) for number in range(3)]
    make(source, ";".join(table.create() for table in tables), *(table.name for table in tables), via_root=rng.random() < 0.5)
    program = start(stream)
    for _ in range(6):
        for _ in range(rng.randint(3, 10)):
            step(source, rng, tables)
        choice = rng.random()
        if choice < 0.3:
            program.kill()
            step(source, rng, tables)
            program = stream(*OPTIONS)
        elif choice < 0.5:
            assert program.terminate() == 0
            step(source, rng, tables)
            program = stream(*OPTIONS)
        elif choice < 0.8:
            settle(source, standin, program)
    settle(source, standin, program)
    assert not program.events("parked")
    assert program.terminate() == 0
