"""Definitions that change while the table's rows stay: no copy, and the targets show at every merge what the source showed."""
import contextlib
import threading

import pytest

from program import pipeline_status, wait_until
from snowflake_client import Snowflake, SnowflakeError
from test_schema_changes import OPTIONS, TABLE, Case, make, run, settle
from test_schema_changes_tables import start

LARGE = "(select string_agg(md5((i * 1000 + k)::text), '') from generate_series(1, 200) k)"
KEPT = {
    "add": Case("alter table thing add column extra int", "insert into thing (id, extra) values (1000, 7); update thing set extra = id where id < 10"),
    "add_default": Case("update thing set name = 'n' where id = 5; alter table thing add column extra int not null default 42",
                        "update thing set name = 'm' where id = 6; insert into thing (id, extra) values (1000, 7), (1001, default)",
                        target='SELECT COUNT(*) FROM "THING" WHERE "EXTRA" = 42', gives="201"),
    "add_defaults": Case("""alter table thing add column a text default 'it''s "ü" \\ 5', add column b boolean default true, add column c numeric(20, 4) default -12.5,
                            add column d double precision default 1e-7, add column e varchar(3) default '', add column f bigint default 9007199254740993,
                            add column g box default '(1,1),(0,0)';
                            alter table thing alter column f set default 6, alter column a drop default""",
                         "update thing set b = false, a = null where id = 3; insert into thing (id) values (1000)"),
    "widen": Case("alter table thing alter column name type varchar(200), alter column amount type numeric(14, 2), alter column short type text",
                  "insert into thing (id, name, amount, short) values (1000, repeat('w', 150), 999999999999.25, repeat('s', 90))",
                  table=TABLE.replace("body text", "body text, short varchar(5)")),
    "quiet": Case("alter table thing add column extra int default 3", "select", target='SELECT SUM("EXTRA") FROM "THING"', gives="600"),
    "no_key": Case("alter table thing add column extra int default 3", "update thing set extra = 4 where id = 3; delete from thing where id in (5, 6)",
                   table=TABLE.replace("primary key", "") + "; alter table thing replica identity full"),
    "append_only": Case("alter table thing add column extra int default 3", "insert into thing (id) values (1000)", table=TABLE.replace("primary key", "")),
    "rename": Case("update thing set name = 'n' where id = 5; alter table thing rename column note to remark",
                   "update thing set name = 'm', remark = 'r' where id < 9; insert into thing (id, remark) values (1000, 's'); delete from thing where id = 7",
                   target="SELECT COUNT(*) FROM \"THING\" WHERE \"REMARK\" = 'note'", gives="192"),
    "rename_key": Case("alter table thing rename column id to number",
                       "update thing set number = 5000 where number = 3; update thing set name = 'x' where number in (4, 5000); delete from thing where number = 6;"
                       "insert into thing (number) values (1000)"),
    "rename_no_key": Case("update thing set note = 'b' where id < 9; alter table thing rename column note to remark",
                          "update thing set remark = 'z' where id = 3; delete from thing where id in (5, 6)",
                          table=TABLE.replace("primary key", "") + "; alter table thing replica identity full"),
    "rename_large": Case("update thing set name = 'x' where id < 50; alter table thing rename column body to content",
                         "update thing set name = 'y' where id < 20; update thing set content = repeat('z', 9000) where id < 10; update thing set name = 'v' where id < 5",
                         fill=f"insert into thing select i, 'name ' || i, i, 'n', now(), null, {LARGE} from generate_series(1, 60) i"),
    "rename_and_more": Case("""begin; alter table thing rename column note to remark; alter table thing add column extra int not null default 7, alter column name type text;
                               alter table thing rename column amount to total; commit""",
                            "insert into thing (id, total) values (1000, 5); update thing set total = total + 1, remark = 'r' where id < 5"),
    # What the rows held stays with them; those that are inserted later have NULL.
    "drop": Case("update thing set name = 'n' where id = 5; alter table thing drop column note", "update thing set name = 'n' where id < 10; insert into thing (id) values (1000)",
                 target='SELECT COUNT("NOTE") FROM "THING"', gives="200"),
    "drop_no_key": Case("alter table thing drop column note", "update thing set name = 'z' where id = 3; delete from thing where id in (5, 6); insert into thing (id) values (7)",
                        table=TABLE.replace("primary key", "") + "; alter table thing replica identity full"),
    "drop_and_more": Case("begin; alter table thing drop column tags, add column extra int default 3; alter table thing rename column note to remark; commit",
                          "insert into thing (id, remark) values (1000, 'r'); update thing set extra = id where id < 9"),
    # _ETL_COERCED tells of another column than those that change.
    "coerced_elsewhere": Case("update thing set amount = 'NaN' where id = 3; alter table thing rename column note to remark; alter table thing drop column body",
                              "update thing set name = 'n' where id < 10; insert into thing (id, amount) values (1000, 'NaN')"),
    "large_values": Case("update thing set name = 'x' where id < 50; alter table thing add column extra text default repeat('0123456789', 400)",
                         "update thing set name = 'y' where id < 20; update thing set extra = repeat('z', 9000) where id < 10; update thing set name = 'v' where id < 5",
                         fill=f"insert into thing select i, 'name ' || i, i, 'n', now(), null, {LARGE} from generate_series(1, 60) i"),
}
# In one transaction with rows before, or beyond what is followed.
COPIED = {
    "rows_before_it": Case("begin; insert into thing (id) values (900); alter table thing add column extra int default 5; insert into thing (id) values (901); commit"),
    "volatile": Case("alter table thing add column extra uuid default gen_random_uuid()"),
    "date": Case("alter table thing add column extra date default date '2026-01-02'"),
    "json": Case("""alter table thing add column extra jsonb default '{"a": [1, null]}'""", "insert into thing (id, extra) values (1000, '[]')"),
    "not_a_number": Case("alter table thing add column extra numeric(10, 2) default 'NaN'", "insert into thing (id, extra) values (1000, 7)"),
    "drop_key": Case("alter table thing drop column id", "insert into thing (name) values ('z')"),
    "drop_coerced": Case("update thing set amount = 'NaN' where id = 3; alter table thing drop column amount"),
    "rename_coerced": Case("update thing set amount = 'NaN' where id = 3; alter table thing rename column amount to total", "insert into thing (id, total) values (1000, 'NaN')"),
    "swapped": Case("begin; alter table thing rename column note to tmp; alter table thing rename column name to note; alter table thing rename column tmp to name; commit"),
    "old_name_again": Case("begin; alter table thing rename column note to remark; alter table thing add column note int default 5; commit"),
    "name_of_one_that_left": Case("alter table thing drop column note; alter table thing rename column name to note"),
    "dropped_and_added": Case("alter table thing drop column note; alter table thing add column note text"),
    "rows_in_between": Case("alter table thing add column a int default 1; insert into thing (id) values (900); alter table thing add column b int default 2;"
                            "insert into thing (id) values (901); alter table thing drop column a"),
    "came_and_went": Case("alter table thing add column a int default 1; insert into thing (id, a) values (900, 2); alter table thing drop column a",
                          "insert into thing (id) values (901)"),
}
# A look between one of their steps and the next would follow each of them by itself.
UNSEEN = ("rows_in_between", "came_and_went")


def copied(program, name):
    return [event["message"] for event in program.events("resync") if event.get("table") == f"t_{name}"]


@contextlib.contextmanager
def standing_still(program):
    program.freeze()
    try:
        yield
    finally:
        program.thaw()


def check(source, standin, program, cases):
    settle(source, standin, program)
    target = Snowflake(standin.to)
    for name, case in cases.items():
        if case.target:
            wait_until(lambda: str(target.value(case.target.replace("THING", f"T_{name.upper()}"))) == case.gives, 60, name)
    assert len(program.events("streaming")) == 1 and not program.events("parked")


def test_columns_that_change_without_a_copy(source, standin, stream):
    make(source, {**KEPT, **COPIED})
    program = start(stream)
    for name, case in {**KEPT, **COPIED}.items():
        with standing_still(program) if name in UNSEEN else contextlib.nullcontext():
            run(source, name, case.change)
        run(source, name, case.after)
    check(source, standin, program, KEPT)
    for name in KEPT:
        assert not copied(program, name)
    for name in COPIED:
        assert copied(program, name), name
    # A default stays with its column in Snowflake: when it leaves the source, rows that come later show NULL all the same.
    run(source, "quiet", "alter table thing drop column extra; insert into thing (id) values (1000)")
    # Under the name of a column that the target has kept, old rows must not show what it held.
    run(source, "drop", "alter table thing add column note text; insert into thing (id) values (1001)")
    settle(source, standin, program)
    assert copied(program, "quiet") and copied(program, "drop")
    wait_until(lambda: str(Snowflake(standin.to).value('SELECT COUNT(*) FROM "T_QUIET" WHERE "ID" = 1000 AND "EXTRA" IS NULL')) == "1", 60, "NULL")
    # A stream in binary cannot read this type: it is begun again in text.
    run(source, "quiet", "alter table thing add column words tsquery; insert into thing (id, words) values (1002, 'a & b'); update thing set words = 'c' where id = 5")
    settle(source, standin, program)
    assert program.events("streaming")[-1]["message"].endswith("as text") and not program.events("parked")
    assert program.terminate() == 0


def test_columns_that_change_without_a_copy_while_it_is_down(source, standin, stream):
    cases = {name: KEPT[name] for name in ("add", "add_default", "quiet", "widen", "rename", "rename_key", "rename_no_key", "rename_and_more")}
    make(source, cases)
    program = start(stream)
    for name in cases:
        run(source, name, "update thing set body = 'before' where id < 30")
    assert program.terminate() == 0
    for name, case in cases.items():
        run(source, name, "update thing set body = 'meanwhile' where id < 20")
        run(source, name, case.change)
        run(source, name, case.after)
    again = stream(*OPTIONS)
    check(source, standin, again, cases)
    assert not any(copied(again, name) for name in cases)
    assert again.terminate() == 0


class Reader(threading.Thread):
    """Every row has 42 more in extra than in amount, from the change on; before, nobody changes the amount."""

    def __init__(self, snowflake):
        super().__init__(daemon=True)
        self.snowflake, self.ended, self.seen, self.wrong = snowflake, threading.Event(), 0, []

    def run(self):
        while not self.ended.wait(0.05):
            try:
                rows = self.snowflake.query('SELECT COUNT(*), COUNT_IF("EXTRA" IS NULL OR "EXTRA" - "AMOUNT" <> 42) FROM "T_PAIR"')
            except SnowflakeError:
                continue  # there is no such column yet
            self.seen += 1
            if rows[0][1] != "0":
                self.wrong.append(rows)


def test_readers_never_see_a_default_missing(source, standin, stream):
    case = Case("", table="create table thing (id int primary key, amount int not null, note text)", fill="insert into thing select i, 0, 'n' from generate_series(1, 300) i")
    make(source, {"pair": case})
    program = start(stream)
    reader = Reader(Snowflake(standin.to))
    reader.start()
    for number in range(20):
        run(source, "pair", f"update thing set note = '{number}' where id % 7 = {number % 7}")
    # While the merge that has to come first takes its time, the status says what the stream waits for and how far behind it is.
    held = standin.add_fault("sql.before_commit", hold=True, times=1)
    run(source, "pair", "update thing set note = 'held' where id = 1")
    wait_until(lambda: standin.fault_hits(held), 60, "a merge to be held")
    run(source, "pair", "alter table thing add column extra int not null default 42")
    program.wait_for_status(lambda status: "following" in pipeline_status(status), what="the stream to wait")
    source.sql("create table unpublished as select repeat('x', 100) as v from generate_series(1, 10000)")

    def is_behind(status):
        one = pipeline_status(status)
        return one.get("following") and one["lag"]["seconds"] > 2 and one["lag"]["bytes"] > 10**6

    shown = pipeline_status(program.wait_for_status(is_behind, what="a lag in seconds and bytes"))
    assert shown["following"]["tables"] == ["public.t_pair"] and "merge" in shown["following"]["waits_for"]
    standin.remove_faults()
    program.wait_for_status(lambda status: "following" not in (one := pipeline_status(status)) and one["lag"]["seconds"] < 2, 60)
    for number in range(20):
        run(source, "pair", f"update thing set amount = amount + 1, extra = extra + 1 where id % 5 = {number % 5}; insert into thing values ({1000 + number}, 5, 'new', 47)")
    settle(source, standin, program)
    wait_until(lambda: reader.seen > 2, 60, "a look of the reader")
    reader.ended.set()
    reader.join(60)
    assert not reader.wrong and not copied(program, "pair")
    assert program.terminate() == 0


STATEMENTS = {"landing": 'LANDING_T_PAIR" ADD COLUMN', "question": "SELECT COUNT(*) FROM", "name": '"T_PAIR" RENAME COLUMN', "target": '"T_PAIR" ADD COLUMN'}


@pytest.mark.parametrize("moment", ["schema_change", *STATEMENTS, "schema_followed"])
def test_killed_while_columns_change(moment, source, standin, stream):
    case = Case("", table="create table thing (id int primary key, amount numeric(9, 2) not null, note text, gone text)",
                fill="insert into thing select i, 0, 'n', 'g' from generate_series(1, 300) i; update thing set amount = 'NaN' where id = 2")
    make(source, {"pair": case})
    program = start(stream)
    mark = program.mark()
    run(source, "pair", "update thing set note = 'b' where id < 50")
    run(source, "pair", "begin; alter table thing add column extra int not null default 42, drop column gone; alter table thing rename column note to remark; commit;"
                        "update thing set extra = 1, remark = 'r' where id = 1; insert into thing values (1000, 1, 'x', 43)")
    if moment in STATEMENTS:
        wait_until(lambda: any(STATEMENTS[moment] in one["text"] and ("GET(" in one["text"] or moment != "question")
                               for one in standin.ask("/statements?limit=500")["log"]), 60, moment)
    else:
        program.wait_for_event(moment, 60, since=mark)
    program.kill()
    again = stream(*OPTIONS)
    settle(source, standin, again)
    assert not again.events("parked") and again.terminate() == 0
