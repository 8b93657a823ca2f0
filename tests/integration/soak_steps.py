"""From a seed to a scenario: definitions, options and steps. Pure: the same seed gives the same scenario, without a server or a clock.

A scenario is JSON: {"seed", "tables": [names], "definitions": [{"table", "sql"}], "options": [...],
"publication", "encoding", "clients", "schema_changes", "common": [definitions that every scenario has],
"journal": [names under which the journal is published], "steps": [...]}. A step is one of

    {"do": "tx", "client": 0, "guarded": bool, "body": [{"table", "sql"} | {"savepoint": [...], "keep": bool}], "end": END}
                                      END: commit, rollback, commit prepared, rollback prepared
    {"do": "stop", "signal": "KILL" | "TERM", "at": STEP of the stand-in or null}   our program; at: once the stand-in holds such a request
    {"do": "start", "options": [...]}                                              what follows the common options
    {"do": "server", "mode": "fast" | "immediate"}                                 PostgreSQL restarts
    {"do": "backends", "which": SQL condition on pg_stat_activity}                 are terminated
    {"do": "standin", "signal": "KILL" | "TERM"}                                   the stand-in restarts
    {"do": "fault", "options": {...}}                                              of the stand-in
    {"do": "control", "path": "/stall", "body": {...}}                             of the stand-in
    {"do": "wait", "ms": 20}                                                       lets things run; no condition hangs on it
    {"do": "live"}                                                                 lets every table become live, if it does soon
    {"do": "settle"}                                                               lets everything so far be merged, if it is soon
    {"do": "merges", "count": 2}                                                   lets that many merges happen, if they do soon
    {"do": "check"}                                                                quiesce, then source and target are equal

guarded: each statement in a savepoint, so that one that fails takes back only itself. Statements of the invariants are
not guarded: without them the transaction is no more. Transactions of one client are in order, those of several interleave.
"""
import random

import soak_schema
from soak_schema import Column, Table, definition, name_of

KINDS = ("key", "key", "index", "full", "bag", "deferred", "append", "partitioned", "partitioned", "inherited")
ACCOUNTS, BALANCE, SHARE = 8, 1000, 100
MARK = "soak_mark"


class Sizes:
    """How much of everything."""

    def __init__(self, steps=60, clients=3, tables=4, huge_rows=3000, filled_rows=4000, server_restarts=True, schema_changes=False,
                 has_parts=True):
        """has_parts: the server knows column lists and row filters, as 15 and later do."""
        self.has_parts = has_parts
        self.steps, self.clients, self.tables, self.huge_rows, self.filled_rows = steps, clients, tables, huge_rows, filled_rows
        self.server_restarts, self.schema_changes = server_restarts, schema_changes


SHORT = Sizes(steps=40, tables=3, huge_rows=800, filled_rows=500)


def _options(dice):
    options = ["--merge-interval-seconds", dice.choice((0, 1, 1, 2)), "--poll-interval-seconds", dice.choice((1, 2)),
               "--table-error-retry-delay-ms", 300]
    for name, values in (("--memory-mb", (8, 32)), ("--channels-per-table", (1, 2, 16)), ("--batch-max-size", (1, 7, 1000)),
                         ("--batch-max-fill-ms", (1, 100, 1000)), ("--max-table-sync-workers", (1, 2, 4)), ("--copy-range-mb", (1, 1, 128)), ("--copy-rate-limit", (1, 4)),
                         ("--landing-retention", ("1s", "forever")), ("--decoding-work-mem-kb", (64,))):
        if dice.random() < 0.4:
            options += [name, dice.choice(values)]
    if dice.random() < 0.2:
        options.append("--landing-commit-time")
    return options


class Invariants:
    """Tables between which something holds after every commit, so that a mixture of two commits shows.

    tally has a row a client, which counts the client's rows in journal; accounts_left and accounts_right hold a constant sum. Where
    definitions change these tables get columns as well, of kinds that are followed in place; they get other names and go. One of them,
    share, has a default in both accounts tables, and a constant sum from then on. The journal may be partitioned then.
    """

    def __init__(self, dice, clients, is_keyed, may_have_parts, via_root):
        self.clients, self.via_root = clients, via_root
        self.journal = "key" if is_keyed else dice.choice(("key", "append", "bag"))
        self.has_parts = may_have_parts
        if may_have_parts:
            self.journal = "key"
        self.has_share, self.widths, self.added = False, {}, 0
        # What may be renamed, and whether it has a default. The journal's note stays the third column, so that it can be filled.
        self.more = {"tally": {}, **{name: {"note": False} for name in ("journal", "accounts_left", "accounts_right")}}
        self.note = "note"

    @property
    def published_journal(self):
        return [f"journal_{number}" for number in range(2)] if self.has_parts and not self.via_root else ["journal"]

    def definitions(self):
        key = ", primary key (client, n)" if self.journal == "key" else ""
        yield "tally", "create table tally (client int primary key, n bigint not null)"
        yield "tally", f"insert into tally select c, 0 from generate_series(0, {self.clients - 1}) c"
        yield "journal", f"create table journal (client int not null, n bigint not null, note text{key}){' partition by hash (client)' * self.has_parts}"
        for number in range(2 * self.has_parts):
            yield "journal", f"create table journal_{number} partition of journal for values with (modulus 2, remainder {number})"
        yield "journal", "alter table journal alter column note set storage external"
        if self.journal == "bag":
            yield "journal", "alter table journal replica identity full"
        for side in ("accounts_left", "accounts_right"):
            yield side, f"create table {side} (id int primary key, balance bigint not null, note text)"
            yield side, f"insert into {side} select i, {BALANCE}, wide(i, 200) from generate_series(1, {ACCOUNTS}) i"

    def statements(self, dice, client):
        count = "update tally set n = n + 1 where client = {0}; insert into journal select client, n, {1} from tally where client = {0}"
        yield {"table": "journal", "sql": count.format(client, dice.choice(("null", "'x'", f"wide({dice.randrange(99)}, 150)")))}
        if dice.random() < 0.5:
            give, take = dice.sample(("accounts_left", "accounts_right"), 2)
            amount, who, whom = dice.randrange(1, 99), dice.randrange(1, ACCOUNTS + 1), dice.randrange(1, ACCOUNTS + 1)
            yield {"table": give, "sql": f"update {give} set balance = balance - {amount} where id = {who}; "
                                         f"update {take} set balance = balance + {amount} where id = {whom}"}
        if self.has_share and dice.random() < 0.4:
            give, take = dice.sample(("accounts_left", "accounts_right"), 2)
            amount, who, whom = dice.randrange(1, 9), dice.randrange(1, ACCOUNTS + 1), dice.randrange(1, ACCOUNTS + 1)
            yield {"table": give, "sql": f"update {give} set share = share - {amount} where id = {who}; "
                                         f"update {take} set share = share + {amount} where id = {whom}"}
        if dice.random() < 0.1 and self.journal != "append":
            undo = ("with gone as (delete from journal where client = {0} and n = (select n from tally where client = {0}) returning 1) "
                    "update tally set n = n - (select count(*) from gone) where client = {0}")
            yield {"table": "journal", "sql": undo.format(client)}
        # The truncate of a table that is published as a whole is not sent: it is copied anew when a look has noticed it.
        if dice.random() < 0.02 and not (self.has_parts and self.via_root):
            yield {"table": "journal", "sql": "truncate journal; update tally set n = 0"}

    def change(self, dice):
        """Statements of one transaction that change columns, and the table that they are of."""
        table = dice.choice(("tally", "journal", "accounts_left", "accounts_right"))
        if not self.has_share and dice.random() < 0.3:
            self.has_share = True
            return "accounts_left", [f"alter table {side} add column share bigint not null default {SHARE}" for side in ("accounts_left", "accounts_right")]
        more = self.more[table]
        gone = [name for name in more if (table, name) != ("journal", self.note)]
        kinds = [(self._add, 2), (self._rename, 3 * bool(more)), (self._drop, 4 * bool(gone)), (self._widen, 2 * (table in self.widths))]
        kind, = dice.choices(*zip(*kinds))
        return table, [kind(dice, table, gone)]

    def _add(self, dice, table, _):
        self.added += 1
        name = f"more{self.added}"
        kind, default = dice.choice((("int", ""), ("text", " default 'd'"), ("bigint", " not null default 5"), ("boolean", " default true"), ("varchar(20)", "")))
        if table == "journal" and self.has_parts and self.via_root:
            default = ""  # its partitions keep it, so the table would be copied
        self.more[table][name] = default != ""
        if kind == "varchar(20)":
            self.widths[table] = name
        return f"alter table {table} add column {name} {kind}{default}"

    def _widen(self, dice, table, _):
        return f"alter table {table} alter column {self.widths.pop(table)} type {dice.choice(('varchar(40)', 'text'))}"

    def _rename(self, dice, table, _):
        more = self.more[table]
        old = dice.choice(list(more))
        self.added += 1
        new = f"other{self.added}"
        more[new] = more.pop(old)
        if self.widths.get(table) == old:
            self.widths[table] = new
        if (table, old) == ("journal", self.note):
            self.note = new
        return f"alter table {table} rename column {old} to {new}"

    def _drop(self, dice, table, gone):
        """One with a default makes its table be copied, so it is rare."""
        plain = [name for name in gone if not self.more[table][name]]
        old = dice.choice(plain if plain and dice.random() < 0.95 else gone)
        if self.more[table][old] and dice.random() < 0.8:
            return self._rename(dice, table, gone)
        del self.more[table][old]
        if self.widths.get(table) == old:
            del self.widths[table]
        return f"alter table {table} drop column {old}"


class Generator:
    def __init__(self, seed, sizes):
        self.seed, self.sizes, self.dice = seed, sizes, random.Random(seed)
        self.via_root = self.dice.random() < 0.5
        self.for_all_tables = self.dice.random() < 0.3
        self.soft_deletes = self.dice.random() < 0.15
        self.tables, self.definitions, self.added, self._published_parts = [], [], 0, {}
        may_have_parts = sizes.schema_changes and random.Random(f"{seed}: parts of the journal").random() < 0.4
        self.invariants = Invariants(self.dice, sizes.clients, self.soft_deletes, may_have_parts, self.via_root)

    # Definitions

    def _define(self, table):
        self.tables.append(table)
        self.definitions += [{"table": table.name, "sql": text} for text in definition(self.dice, table)]
        filled = table.fill(self.dice, self.sizes.filled_rows) if self.dice.random() < 0.3 else None
        if filled:
            self.definitions.append({"table": table.name, "sql": filled})

    def _make_tables(self):
        dice = self.dice
        names = list(soak_schema.TABLE_NAMES)
        dice.shuffle(names)
        keyed = [kind for kind in KINDS if kind not in ("bag", "deferred", "append")]
        for kind in dice.choices(keyed if self.soft_deletes else KINDS, k=self.sizes.tables):
            self._define(Table(names.pop(), kind, soak_schema.make_columns(dice, kind)))
        if dice.random() < 0.4:
            parent = Table("family", "key", [Column("k1", "int", in_key=True), Column("body", "text", storage="external")])
            child = Table("family_child", "child", [Column("k1", "int", in_key=True), Column("k2", "smallint", in_key=True),
                                                    Column("body", "text", storage="external")], parent="family")
            self._define(parent)
            self._define(child)
        if dice.random() < 0.3:
            self.definitions.append({"table": "counted", "sql": "create table counted (id serial primary key, note text)"})
            self.tables.append(Table("counted", "key", [Column("note", "text")], serial=True))
        if self.for_all_tables:
            self.definitions.append({"table": "unlogged", "sql": "create unlogged table unlogged (id int primary key, note text)"})

    def _published(self):
        """The publication; partitions and heirs come with their root."""
        via = f"publish_via_partition_root = {str(self.via_root).lower()}"
        if self.for_all_tables:
            return f"create publication etl for all tables with ({via})"
        names = ["tally", "journal", "accounts_left", "accounts_right", MARK, *(table.name for table in self.tables)]
        self._published_parts = {table.name: part for table in self.tables if (part := self._part_of(table))}
        return {"with": via, "tables": names, "parts": self._published_parts}

    def _part_of(self, table):
        """A column list or a row filter, or both. PostgreSQL wants a filter's columns in the replica identity."""
        dice, text = self.dice, ""
        if not self.sizes.has_parts or table.serial or table.parent or table.kind in ("inherited", "append") or table.kind == "partitioned" and not self.via_root:
            return text
        if dice.random() < 0.15 and table.kind in ("key", "index", "partitioned") and not table.is_full:
            others = [column for column in table.set_columns if not column.in_key]
            chosen = [column for column in table.set_columns if column.in_key or column in dice.sample(others, len(others) // 2 + 1)]
            text = f" ({', '.join(column.quoted for column in chosen)})"
        column = dice.choice(table.keys or table.set_columns)
        if dice.random() < 0.15 and column.type not in ("mood", "pair", "positive"):  # a filter may not use types of one's own
            what = column.quoted if column.type in ("int", "bigint", "smallint") else f"length({column.quoted})" if column.type == "text" else None
            text += f" where ({what} % 2 = 0)" if what else f" where ({column.quoted} is not null)"
        return text

    # Transactions

    def _on_counted(self, table):
        return self.dice.choice((f"insert into counted (note) values ({self.dice.randrange(99)})", "update counted set note = note || 'x' where id = 1",
                                 "delete from counted where id % 3 = 0", "truncate counted restart identity"))

    def _on_table(self, table):
        """One or more statements that belong together."""
        dice = self.dice
        if table.serial:
            return [self._on_counted(table)]
        choices = [(lambda: [table.insert(dice)], 6)]
        if table.kind in ("bag", "append"):
            choices.append((lambda: [table.duplicate(dice)], 2))
        if table.has_changes:
            choices += [(lambda: [table.update(dice)], 6), (lambda: [table.move(dice)], 3), (lambda: [table.delete(dice)], 3),
                        (lambda: [table.reinsert(dice)], 1)]
        if table.can_chain():
            choices += [(lambda: table.swap(dice), 2), (lambda: table.chain(dice), 2)]
        if table.kind == "deferred":
            choices.append((lambda: [table.swap_at_once()], 3))
        if table.can_be_huge():
            choices.append((lambda: [table.huge(dice, self.sizes.huge_rows)], 0.4))
        functions, weights = zip(*choices)
        return dice.choices(functions, weights)[0]()

    def _truncate(self):
        dice = self.dice
        chosen = dice.sample(self.tables, min(len(self.tables), dice.choice((1, 1, 2))))
        listed = ", ".join(("only " if dice.random() < 0.1 and table.kind == "inherited" else "") + table.quoted for table in chosen)
        # The truncate of one partition is not sent where the root is published: only a look at the catalog can notice it.
        if chosen[0].roots and dice.random() < 0.3 and len(chosen) == 1 and (not self.via_root or self.sizes.schema_changes):
            listed = name_of(dice.choice(chosen[0].roots))
        return {"table": chosen[0].name, "sql": f"truncate {listed}{dice.choice(('', ' restart identity'))} cascade"}

    def _heir(self, table):
        """Something on an inherited table's child alone."""
        dice, keys, heir = self.dice, table.keys, name_of(table.roots[0])
        names = ", ".join(column.quoted for column in table.set_columns)
        return dice.choice((f"insert into {heir} ({names}, more) values {table.row(dice)[:-1]}, 'm') on conflict do nothing",
                            f"update {heir} set more = 'n' where {keys[0].quoted} = {keys[0].value(dice)}"))

    def _action(self):
        dice = self.dice
        if dice.random() < 0.03:
            return [self._truncate()]
        if self.for_all_tables and dice.random() < 0.03:
            return [{"table": "unlogged", "sql": "insert into unlogged select g, 'u' from generate_series(1, 50) g on conflict do nothing"}]
        if dice.random() < 0.03:
            return [{"table": "temporary", "sql": "create temporary table if not exists passing (a int primary key); insert into passing "
                                                  "select count(*) from passing; update passing set a = a + 1000"}]
        table = dice.choice(self.tables)
        if table.kind == "inherited" and dice.random() < 0.3:
            return [{"table": table.name, "sql": self._heir(table)}]
        return [{"table": table.name, "sql": text} for text in self._on_table(table)]

    def _body(self):
        dice, body = self.dice, []
        for _ in range(dice.choice((0, 1, 1, 2, 3, 6))):
            if dice.random() < 0.12:
                inner = [statement for _ in range(dice.randrange(1, 3)) for statement in self._action()]
                body.append({"savepoint": inner, "keep": dice.random() < 0.3})
            else:
                body += self._action()
        return body

    def _transaction(self):
        dice = self.dice
        client = dice.randrange(self.sizes.clients)
        end = dice.choices(("commit", "rollback", "commit prepared", "rollback prepared"), (20, 2, 2, 1))[0]
        body = self._body()
        if any(statement.get("table") == "temporary" for statement in body):
            end = "commit"  # PREPARE refuses temporary tables
        where = dice.randrange(len(body) + 1)
        body[where:where] = list(self.invariants.statements(dice, client))
        return {"do": "tx", "client": client, "guarded": dice.random() < 0.7, "body": body, "end": end}

    # Changes of definitions. The generator's tables change with them; a statement that was made for a definition that is not
    # there yet, or not any more, fails.

    def _other_columns(self, table):
        return [column for column in table.set_columns if not column.in_key]

    def _add_column(self, table):
        dice = self.dice
        self.added += 1
        column = Column(f"added{dice.choice((self.added, self.added, 1))}", dice.choice(list(soak_schema.VALUES)))
        if column.name in (one.name for one in table.columns):
            return []
        default = dice.choice(("", "", f" default {column.value(dice)}", f" not null default {soak_schema.VALUES[column.type](dice)}"))
        column.not_null = "not null" in default
        if dice.random() < 0.15:
            column, default = Column(column.name, "float8"), " default random()"
        table.columns.append(column)
        return [f"alter table {table.quoted} add column {column.quoted} {column.type}{default}"]

    def _drop_column(self, table):
        others = self._other_columns(table)
        if len(others) < 2:
            return []
        column = self.dice.choice(others)
        table.columns.remove(column)
        return [f"alter table {table.quoted} drop column {column.quoted}"]

    def _rename_column(self, table):
        self.added += 1
        column = self.dice.choice(table.set_columns)
        old, column.name = column.quoted, f"renamed{self.added}"
        return [f"alter table {table.quoted} rename column {old} to {column.quoted}"]

    def _change_type(self, table):
        widened = {"smallint": "int", "int": "bigint", "bigint": "numeric", "varchar(30)": "text", "real": "float8", "numeric(12,2)": "numeric(38,5)",
                   "date": "timestamp", "json": "jsonb", "char(5)": "text", "inet": "text", "uuid": "text", "bool": "text", "positive": "numeric"}
        chosen = [column for column in self._other_columns(table) if column.type in widened]
        if not chosen:
            return []
        column = self.dice.choice(chosen)
        column.type = widened[column.type]
        return [f"alter table {table.quoted} alter column {column.quoted} type {column.type} using {column.quoted}::{column.type}"]

    def _recreate(self, table):
        """Dropped and made again, with other columns perhaps."""
        self.tables[self.tables.index(table)] = other = Table(table.name, table.kind, soak_schema.make_columns(self.dice, table.kind))
        publish = [] if self.for_all_tables else [f"alter publication etl add table {table.quoted}"]
        return [f"drop table {table.quoted} cascade", *definition(self.dice, other), *publish]

    def _leave_and_return(self, table):
        if self.for_all_tables:
            return []
        return [f"alter publication etl drop table {table.quoted}", "-- then", f"alter publication etl add table {table.quoted}"]

    def _rewrite(self, table):
        if table.kind not in ("key", "full"):
            return []
        return [f"cluster {table.quoted} using {name_of(table.name[:58] + '_pkey')}"]

    def _rename_table(self, table):
        """Its target gets another name, and so may take one that a table had before."""
        if table.roots or table.name not in soak_schema.TABLE_NAMES:
            return []
        free = [name for name in (*soak_schema.TABLE_NAMES, "renamed", "Re named") if name.upper() not in {one.name.upper() for one in self.tables}]
        old, table.name = table.quoted, self.dice.choice(free)
        return [f"alter table {old} rename to {table.quoted}"]

    def _change_identity(self, table):
        """Of one that has a key; others get FULL, or nothing, and are multisets or append-only from then on."""
        if table.kind in ("bag", "append"):
            if self.soft_deletes:
                return []
            table.kind = "append" if table.kind == "bag" else "bag"
            return [f"alter table {table.quoted} replica identity {'full' if table.kind == 'bag' else 'nothing'}"]
        if table.kind not in ("key", "full"):
            return []
        self.added += 1
        index = f"identity_{self.added}"
        columns = ", ".join(column.quoted for column in reversed(table.keys))
        return self.dice.choice(([f"alter table {table.quoted} replica identity full"], [f"alter table {table.quoted} replica identity default"],
                                 [f"create unique index {index} on {table.quoted} ({columns})",
                                  f"alter table {table.quoted} replica identity using index {index}"]))

    def _change_primary_key(self, table):
        """The same columns in another order: another index and, by default, another identity."""
        if table.kind not in ("key", "full") or len(table.keys) < 2:
            return []
        self.added += 1
        columns = ", ".join(column.quoted for column in self.dice.sample(table.keys, len(table.keys)))
        drop = (f"do $$ begin execute (select format('alter table %s drop constraint %I', conrelid::regclass, conname) from pg_constraint "
                f"where conrelid = {soak_schema.quote(table.quoted)}::regclass and contype = 'p'); end $$")
        return [drop, f"alter table {table.quoted} add constraint key_{self.added} primary key ({columns})"]

    def _add_value(self, table):
        """To the type of some column, of this table or another."""
        self.added += 1
        return [f"alter type mood add value {soak_schema.quote(f'value {self.added}')} {self.dice.choice(('', 'before ' + soak_schema.quote('sad')))}"]

    def _detach_and_attach(self, table):
        """A partition that goes with its rows and comes back; also changed meanwhile."""
        if table.kind != "partitioned":
            return []
        part = name_of(table.roots[2])
        bounds = dict(range="default", list="default", hash="for values with (modulus 3, remainder 2)")
        how = next(one["sql"] for one in self.definitions if one["table"] == table.name and " partition by " in one["sql"])
        how = next(name for name in bounds if f"partition by {name}" in how)
        meanwhile = self.dice.choice(("-- then", f"delete from {part} where ctid in (select ctid from {part} limit 3)"))
        return [f"alter table {table.quoted} detach partition {part}", meanwhile,
                f"alter table {table.quoted} attach partition {part} {bounds[how]}"]

    def _schema_change(self):
        """Steps: transactions of definitions alone, with others in between where there are two."""
        dice = self.dice
        if dice.random() < 0.6:
            table, statements = self.invariants.change(dice)
            return [{"do": "live"},  # what is being copied is copied again
                    *([{"do": "settle"}] if dice.random() < 0.7 else []),  # so is what changes again before it was followed
                    {"do": "tx", "client": dice.randrange(self.sizes.clients), "guarded": False, "end": "commit",
                     "body": [{"table": table, "sql": text} for text in ("set local lock_timeout = '10s'", *statements)]},
                    *(self._transaction() for _ in range(dice.randrange(1, 4)))]
        parts = self._published_parts
        tables = [table for table in self.tables if not (table.serial or table.parent or table.name == "family" or table.name in parts)]
        if not tables:
            return []
        table = dice.choice(tables)
        changes = [self._add_column, self._add_column, self._drop_column, self._rename_column, self._change_type, self._recreate,
                   self._leave_and_return, self._rewrite, self._detach_and_attach, self._rename_table, self._change_identity,
                   self._change_primary_key, self._add_value]
        statements = dice.choice(changes)(table)
        steps, body = [], []
        for text in [*statements, "-- then"]:
            if text != "-- then":
                body.append({"table": table.name, "sql": text})
                continue
            if body:
                steps.append({"do": "tx", "client": dice.randrange(self.sizes.clients), "guarded": False, "end": "commit",
                              "body": [{"table": table.name, "sql": "set local lock_timeout = '10s'"}, *body]})
                steps += [self._transaction() for _ in range(dice.randrange(3))]
            body = []
        return steps

    # What happens around them

    def _fault(self):
        dice = self.dice
        step = dice.choice(("append.before", "append.after", "append.after", "status", "commit", "commit", "open", "token", "hostname",
                            "sql.submit.before", "sql.submit.after", "sql.poll", "drop"))
        if step == "commit":
            what = dice.choice(({"lose_rows": True}, {"lose_rows": True}, {"status": 500}, {"delay_ms": dice.randrange(50, 900)}))
        else:
            what = dice.choice(({"reset": True}, {"status": dice.choice((429, 500, 503))}, {"delay_ms": dice.randrange(20, 900)}))
        return {"do": "fault", "options": {"step": step, **what, "skip": dice.choice((0, 0, 1, 3)), "times": dice.choice((1, 1, 2, 4))}}

    def _control(self):
        dice = self.dice
        path, body = dice.choice((("/lose_rows", {}), ("/invalidate_channel", {}), ("/invalidate_channel", {"silent": True, "lose_rows": True}),
                                  ("/revoke_tokens", {}), ("/set_token_life", {"seconds": dice.choice((3, 3600))}), ("/stall", {}), ("/release", {}), ("/set_commit_delay", {"ms": dice.choice((0, 50, 300, 1500))})))
        return {"do": "control", "path": path, "body": body}

    def _stop_and_start(self):
        dice, between = self.dice, []
        at = dice.choice((None, None, "append.before", "append.after", "commit", "status", "open", "sql.submit.before", "sql.submit.after", "sql.execute"))
        if dice.random() < 0.4:
            between = [self._transaction() for _ in range(dice.randrange(1, 5))]
        changed = dice.choice((["--memory-mb", dice.choice((8, 32)), "--channels-per-table", dice.choice((1, 3, 16))], ["--landing-commit-time"],
                               ["--batch-max-size", dice.choice((1, 1000)), "--max-table-sync-workers", 1])) if dice.random() < 0.3 else []
        return [{"do": "stop", "signal": dice.choice(("KILL", "KILL", "TERM")), "at": at}, *between, {"do": "start", "options": changed}]

    def _verify(self):
        return {"do": "verify", "full": self.dice.random() < 0.5}

    def _event(self):
        dice = self.dice
        kinds = [("fault", 6), ("control", 2), ("stop", 4), ("wait", 6), ("backends", 2), ("check", 1.5), ("verify", 1.5)]
        if self.sizes.server_restarts:
            kinds += [("server", 0.8), ("standin", 0.4)]
        if self.sizes.schema_changes:
            kinds.append(("schema", 14))
        names, weights = zip(*kinds)
        match dice.choices(names, weights)[0]:
            case "schema":
                return self._schema_change()
            case "fault":
                return [self._fault()]
            case "control":
                return [self._control()]
            case "stop":
                return self._stop_and_start()
            case "wait":
                return [dice.choice(({"do": "wait", "ms": dice.choice((1, 20, 100, 400))}, {"do": "merges", "count": dice.choice((1, 1, 2, 4))}))]
            case "backends":
                return [{"do": "backends", "which": dice.choice(("backend_type = 'walsender'", "application_name like 'etl-stream%'", "true"))}]
            case "verify":
                return [self._verify()]
            case "standin":
                return [{"do": "standin", "signal": dice.choice(("KILL", "TERM"))}]
            case "server":
                return [{"do": "server", "mode": dice.choice(("fast", "immediate"))}]
        return [{"do": "check"}]

    def make(self):
        dice = self.dice
        self._make_tables()
        publication = self._published()
        options = _options(dice) + (["--soft-deletes"] if self.soft_deletes else [])
        steps = []
        if dice.random() < 0.7:
            steps += [self._transaction() for _ in range(dice.randrange(1, 12))]  # before the copy
        steps.append({"do": "start", "options": []})
        for _ in range(self.sizes.steps):
            steps += [self._transaction() for _ in range(dice.choice((1, 1, 2, 6)))] if dice.random() < 0.7 else self._event()
        # Once without faults: then it has a result.
        steps += [{"do": "check"}, self._verify(), *(self._transaction() for _ in range(dice.randrange(4, 12)))]
        return {"seed": self.seed, "tables": [table.name for table in self.tables],
                "definitions": self.definitions, "common": [sql for _, sql in self.invariants.definitions()],
                "journal": self.invariants.published_journal, "publication": publication, "options": options, "schema_changes": self.sizes.schema_changes, "encoding": self.dice.choice(("UTF8", "UTF8", "UTF8", "LATIN1")), "steps": [*steps, {"do": "check"}], "clients": self.sizes.clients}


def make(seed, sizes=SHORT):
    return Generator(seed, sizes).make()


def script(scenario):
    """A scenario to read: SQL, with what else happens as comments."""
    lines = [f"-- seed {scenario['seed']}; etl-stream run {' '.join(map(str, scenario['options']))}", soak_schema.WIDE + ";", soak_schema.TYPES.strip()]
    lines += [text + ";" for text in scenario["common"]] + [one["sql"] + ";" for one in scenario["definitions"]]
    lines.append(publication_sql(scenario) + ";")
    for number, step in enumerate(scenario["steps"]):
        if step["do"] != "tx":
            rest = " ".join(f"{name}={value}" for name, value in step.items() if name != "do")
            lines.append(f"-- {number}: {step['do']} {rest}".rstrip())
            continue
        lines.append(f"-- {number}: client {step['client']}{', each statement in a savepoint' * step['guarded']}")
        lines.append("begin;")
        for part in step["body"]:
            if "savepoint" in part:
                end = "release" if part["keep"] else "rollback to"
                lines += ["savepoint s;", *("  " + one["sql"] + ";" for one in part["savepoint"]), f"{end} s;"]
            else:
                lines.append(part["sql"] + ";")
        lines.append(step["end"] + ";")
    return "\n".join(lines)


def publication_sql(scenario):
    publication = scenario["publication"]
    if isinstance(publication, str):
        return publication
    listed = ", ".join(name_of(name) + publication["parts"].get(name, "") for name in publication["tables"])
    return f"create publication etl for table {listed} with ({publication['with']})"
