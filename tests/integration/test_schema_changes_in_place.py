"""Definitions that change while the table's rows stay: no copy, and the targets show at every merge what the source showed."""
import pytest

import load
from program import wait_until
from snowflake_client import Snowflake
from test_schema_changes import OPTIONS, make, run, settle, Case, TABLE

KEPT = {
    "add": Case("alter table thing add column extra int", "insert into thing (id, extra) values (1000, 7); update thing set extra = id where id < 10"),
    "add_default": Case("update thing set name = 'n' where id = 5; alter table thing add column extra int not null default 42",
                        "update thing set name = 'm' where id = 6; insert into thing (id, extra) values (1000, 7), (1001, default)",
                        target='SELECT COUNT(*) FROM "THING" WHERE "EXTRA" = 42', gives="201"),
    "add_defaults": Case("""alter table thing add column a text default 'it''s "ü" \\ 5', add column b boolean default true, add column c numeric(20, 4) default -12.5,
                            add column d double precision default 1e-7, add column e varchar(3) default '', add column f bigint default 9007199254740993""",
                         "update thing set b = false, a = null where id = 3"),
    "add_and_default_for_others": Case("alter table thing add column extra int; alter table thing alter column extra set default 5", "insert into thing (id) values (1000)"),
    "add_default_and_another": Case("alter table thing add column extra int default 5; alter table thing alter column extra set default 6",
                                    "insert into thing (id) values (1000)"),
    "add_large_default": Case("alter table thing add column extra text default repeat('0123456789', 400)", "update thing set name = 'm' where id < 5"),
    "drop": Case("alter table thing drop column note", "update thing set name = 'n' where id < 10; insert into thing (id) values (1000)",
                 target='SELECT COUNT(*) FROM "THING" WHERE "NOTE" IS NOT NULL AND "ID" = 1000', gives="0"),
    "drop_and_add": Case("alter table thing drop column note, add column remark int default 3", "insert into thing (id) values (1000)"),
    "widen_varchar": Case("alter table thing alter column name type varchar(200)", "insert into thing (id, name) values (1000, repeat('w', 150))"),
    "varchar_to_text": Case("alter table thing alter column name type text", "insert into thing (id, name) values (1000, repeat('w', 150))"),
    "numeric_wider": Case("alter table thing alter column amount type numeric(14, 2)", "insert into thing (id, amount) values (1000, 999999999999.25)"),
    "quiet": Case("alter table thing add column extra int default 3", "select", target='SELECT SUM("EXTRA") FROM "THING"', gives="600"),
    "no_key": Case("alter table thing add column extra int default 3", "update thing set extra = 4 where id = 3; delete from thing where id in (5, 6)",
                   table=TABLE.replace("primary key", "") + "; alter table thing replica identity full"),
    "append_only": Case("alter table thing add column extra int default 3", "insert into thing (id) values (1000)", table=TABLE.replace("primary key", "")),
    "large_values": Case("update thing set name = 'x' where id < 50; alter table thing add column extra text default 'e'",
                         "update thing set name = 'y' where id < 20; update thing set extra = repeat('z', 9000) where id < 10; update thing set name = 'v' where id < 5",
                         fill="insert into thing select i, 'name ' || i, i, 'n', now(), null, (select string_agg(md5((i * 1000 + k)::text), '') from generate_series(1, 200) k) from generate_series(1, 60) i"),
}


def copied(program, name):
    return [event for event in program.events("resync") if event.get("table") == f"t_{name}"]


def test_columns_that_change_without_a_copy(source, standin, stream):
    make(source, KEPT)
    program = stream(*OPTIONS)
    program.wait_for_event("live", 60)
    for name, case in KEPT.items():
        run(source, name, case.change)
        run(source, name, case.after)
    settle(source, standin, program)
    target = Snowflake(standin.to)
    for name, case in KEPT.items():
        if case.target:
            wait_until(lambda: str(target.value(case.target.replace("THING", f"T_{name.upper()}"))) == case.gives, 30, name)
        assert not copied(program, name), copied(program, name)
    assert len(program.events("streaming")) == 1 and not program.events("parked")
    assert program.terminate() == 0
