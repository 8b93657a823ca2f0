"""The whole way for tables that are told apart by other things than a primary key, under random changes and a kill."""
import random

import compare
import load
import seeds
from snowflake_client import Snowflake

MERGE_OFTEN = ("--merge-interval-seconds", 1)
LARGE = 5000
TABLES = """
create table bag (a int, body text, f float8, price numeric(8, 2), doc jsonb);
alter table bag replica identity full; alter table bag alter body set storage external;
create table swapped (id int primary key deferrable initially deferred, body text);
alter table swapped replica identity full; alter table swapped alter body set storage external;
create table by_code (id int primary key, code text not null, body text);
create unique index by_code_code on by_code (code);
alter table by_code replica identity using index by_code_code; alter table by_code alter body set storage external;
create table mark (id bigint primary key);
create publication etl for table bag, swapped, by_code, mark;
"""


def settle(source, snowflake, program, number):
    """Everything committed up to now is in the targets: one position for all tables."""
    source.sql("insert into mark values (%s)", [number])

    def watch():
        assert program.is_running(), program.tail()
    load.wait_for_row(snowflake, "MARK", f'"ID" = {number}', 90, watch)


def one_change(chance):
    """A random statement; those on `bag` hit one of several equal rows."""
    a, letter = chance.randrange(4), chance.choice("ab")
    body = chance.choice(("null", "''", f"repeat('{letter}', {LARGE})"))
    zeros = ("'0'", "'-0'", "'nan'", "null")
    one = "ctid = (select ctid from bag order by a, ctid offset {} limit 1)".format(chance.randrange(6))
    return chance.choice((
        f"insert into bag values ({a}, {body}, {chance.choice(zeros)}, 1.50, '{{\"a\": [{a}, null]}}')",
        "insert into bag select * from bag order by random() limit 2",
        f"update bag set price = coalesce(price, 0) + 1 where {one}",
        f"update bag set a = a where {one}",
        f"update bag set body = {body} where {one}",
        f"delete from bag where {one}",
        f"insert into swapped select {a}, {body} where not exists (select 1 from swapped where id = {a})",
        "update swapped set id = 3 - id",
        f"delete from swapped where id = {a}",
        f"insert into by_code values ({chance.randrange(10**9)}, '{a}', {body}) on conflict do nothing",
        f"update by_code set id = -id where code = '{a}'",
        f"update by_code set code = code || substr(md5(random()::text), 1, 9), body = case when random() < 0.3 then {body} else body end where code = '{a}'",
        f"delete from by_code where length(code) > 3 and code like '{a}%'",
    ))


def change(source, chance, transactions):
    with source.connect(autocommit=True) as connection:
        for _ in range(transactions):
            with connection.transaction():
                for _ in range(chance.randrange(1, 6)):
                    connection.execute(one_change(chance))


def test_rows_without_a_primary_key_are_followed(source, standin, stream):
    seed = seeds.of_the_day()
    print(f"seed {seed}")
    chance = random.Random(seed)
    source.sql(TABLES)
    change(source, chance, 60)
    snowflake = Snowflake(standin.to)
    program = stream(*MERGE_OFTEN)
    program.wait_for_event("live", 90)
    for number in range(1, 6):
        change(source, chance, 40)
        if number == 3:
            program.kill()
            change(source, chance, 40)
            program = stream(*MERGE_OFTEN)
        settle(source, snowflake, program, number)
        compare.assert_equal(source.conninfo, source.publication, standin.to)
    merges = {table["table"]: table["merge"] for table in program.status()["pipelines"][0]["tables"]}
    assert merges == {"bag": "multiset", "swapped": "multiset", "by_code": "key", "mark": "key"}
    assert program.terminate() == 0


def test_rows_with_coerced_values_still_pair_up(source, standin, stream):
    """What the target's types cannot hold is the same NULL each time: rows removed are found among those added."""
    source.sql("create table bag (n numeric, d date); alter table bag replica identity full;"
               "create table mark (id bigint primary key); create publication etl for table bag, mark;"
               "insert into bag values ('nan', 'infinity'), ('nan', null), (null, null), (null, '2026-01-02'), ('nan', 'infinity')")
    snowflake = Snowflake(standin.to)
    program = stream(*MERGE_OFTEN)
    program.wait_for_event("live", 90)
    source.sql("delete from bag where n = 'nan' and d is null; update bag set d = '-infinity' where d = 'infinity' and n is not null")
    settle(source, snowflake, program, 1)
    rows = snowflake.query(f'select "N", "D" from {snowflake.qualified("BAG")} order by 2 nulls first')
    assert [row[0] for row in rows] == [None] * 4 and [row[1] is None for row in rows] == [True] * 3 + [False]
    source.sql("delete from bag")
    settle(source, snowflake, program, 2)
    assert snowflake.value(f'select count(*) from {snowflake.qualified("BAG")}') == "0"


def test_a_multiset_whose_identity_changes_is_copied_anew(source, standin, stream):
    source.sql("create table bag (a int not null); alter table bag replica identity full;"
               "create table mark (id bigint primary key); create publication etl for table bag, mark; insert into bag values (1), (1)")
    program, snowflake = stream(*MERGE_OFTEN), Snowflake(standin.to)
    program.wait_for_event("live", 90)
    mark = program.mark()
    source.sql("delete from bag where ctid = '(0,1)'; create unique index bag_a on bag (a);"
               "alter table bag replica identity using index bag_a; update bag set a = 2")
    line = program.wait_for_event("resync", 30, table="bag")
    assert "its replica identity changed" in line["message"]
    program.wait_for_event("copied", 60, since=mark, table="bag")
    source.sql("insert into bag values (3), (4); update bag set a = 5 where a = 3; delete from bag where a = 4")
    settle(source, snowflake, program, 1)
    compare.assert_equal(source.conninfo, source.publication, standin.to)
    assert program.terminate() == 0
