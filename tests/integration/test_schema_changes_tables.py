"""Changes of tables as wholes: names, partitions, enums, what a publication sends of them; and those that must not cost a copy."""
import re

import load
import pytest
from program import pipeline_status, wait_until
from snowflake_client import Snowflake, SnowflakeError
from test_merge_options import window
from test_schema_changes import OPTIONS, settle
from test_tables_come_and_go import wait_for_table
from versions import since

VIA_ROOT = "alter publication {} set (publish_via_partition_root = true)"
PARTITIONED = """create table parts (id int, k int, v text, primary key (id, k)) partition by list (k);
create table parts_1 partition of parts for values in (1); create table parts_2 partition of parts for values in (2);
create table parts_3 partition of parts for values in (3); create table loose (id int, k int, v text, primary key (id, k));
insert into parts select i, 1 + i % 3, 'v' || i from generate_series(1, 300) i;
insert into loose select i, 4, 'loose' from generate_series(1, 50) i"""


def make(source, text, *published, via_root=False):
    with source.connect() as connection:
        load.create_tables(connection, source.publication)
        load.fill(connection, 20)
        for statement in text.split(";"):
            connection.execute(statement)
        if via_root:
            connection.execute(VIA_ROOT.format(source.publication))
        for table in published:
            connection.execute(f"alter publication {source.publication} add table {table}")


def run(source, text):
    with source.connect() as connection:
        for statement in text.split(";"):
            connection.execute(statement)


def start(stream):
    program = stream(*OPTIONS)
    program.wait_for_event("live", 60)
    return program


def rest(source, standin, program):
    """Settled, and looked at since: whatever there was to notice was noticed."""
    settle(source, standin, program)
    mark = program.mark()
    run(source, f"alter publication {source.publication} drop table order_events")
    program.wait_for_event("table_left", 30, since=mark, table="order_events")
    run(source, f"alter publication {source.publication} add table order_events")
    settle(source, standin, program)


def count(standin, table):
    return int(Snowflake(standin.to).value(f'SELECT COUNT(*) FROM "{table}"'))


def ask(standin, statement):
    """Its rows; none while a table or a column is not there."""
    try:
        return Snowflake(standin.to).query(statement)
    except SnowflakeError:
        return []


def resynced(program):
    return {line["table"]: re.sub(r".* is copied anew: ", "", line["message"]) for line in program.events("resync")}


def test_what_changes_no_row_costs_no_copy(source, standin, stream):
    make(source, "create type mood as enum ('good', 'bad'); create table calm (id int primary key, note text default 'x', m mood);"
                 "insert into calm select i, 'n', 'good' from generate_series(1, 100) i", "calm")
    program = start(stream)
    # Between two looks a new file and new column entries look like a rewrite, so they come one after the other.
    files = ["vacuum full calm", "cluster calm using calm_pkey", "truncate calm", "reindex table calm", "create index by_note on calm (note)"]
    entries = ["comment on column calm.note is 'c'", "grant select on calm to public", "alter table calm alter column note set statistics 500",
               "alter table calm alter column note set default 'y'", "analyze calm", "alter type mood add value 'new'", "drop index by_note"]
    for first, changes in ((1000, files), (2000, entries)):
        for number, change in enumerate(changes):
            run(source, change)
            run(source, f"insert into calm (id) values ({first + number})")
        rest(source, standin, program)
    run(source, "insert into calm (id, m) values (3000, 'new')")
    settle(source, standin, program)
    assert "calm" not in resynced(program) and not program.events("parked")
    assert program.terminate() == 0
    run(source, "vacuum full calm; alter type mood add value 'newest'; comment on column calm.note is 'd'; create index on calm (m);"
                "insert into calm (id, m) values (4000, 'newest')")
    again = start(stream)
    settle(source, standin, again)
    assert "calm" not in resynced(again)
    assert again.terminate() == 0


def test_labels_and_attributes_of_types(source, standin, stream):
    make(source, "create type mood as enum ('good', 'bad'); create type place as (x int, y int); create domain somewhere as place; create table spot (x int);"
                 "create table felt (id int primary key, m mood, note text); create table at_place (id int primary key, p place);"
                 "create table trips (id int primary key, stops place[], goal somewhere, by spot);"
                 "insert into felt values (1, 'good'), (2, 'bad'); insert into at_place values (1, row(1, 2));"
                 "insert into trips values (1, array[row(1, 2)::place], row(3, 4), row(1))", "felt", "at_place", "trips")
    program = start(stream)
    # The server describes a table to the stream once, and not again when a type that it uses changes.
    run(source, "insert into at_place values (2, row(1, 2)); insert into trips values (2, array[row(1, 2)::place], null)")
    # A row of the new form may be the first to tell, or a look. A column that is replaced by its like is described alike.
    mark = program.mark()
    run(source, "begin; alter type mood rename value 'bad' to 'worse'; alter table felt drop column note; alter table felt add column note text;"
                "insert into felt values (3, 'worse', 'new'); alter type place add attribute z int; alter table spot add column y int;"
                "insert into trips values (3, array[row(1, 2, 3)::place], row(4, 5, 6), row(1, 2)); commit")
    for table in ("felt", "at_place", "trips"):
        program.wait_for_event("copied", 60, since=mark, table=table)
    assert "label" in resynced(program)["felt"]
    run(source, "insert into felt values (4, 'worse'); insert into at_place values (3, row(1, 2, 3)); insert into trips values (4, null, row(1, 2, 3))")
    # It changes again between the reading of the definition and the copy, whose snapshot waits for a transaction that is open.
    mark = program.mark()
    with source.connect() as connection:
        connection.execute("begin; insert into felt values (5, 'good')")
        run(source, "alter type place drop attribute y")
        wait_until(lambda: source.value("select count(*) from pg_replication_slots where temporary and database = current_database()"), 60,
                   "a copy to wait")
        run(source, "alter type place add attribute t text")
        connection.execute("commit")
    run(source, "insert into at_place values (4, row(1, 3, 'four')); insert into trips values (5, array[row(1, 3, null)::place], null)")
    for table in ("at_place", "trips"):
        program.wait_for_event("copied", 60, since=mark, table=table)
    settle(source, standin, program)
    assert not program.events("parked") and len(program.events("streaming")) == 1 and program.terminate() == 0
    # While nothing runs: rows of before and of after.
    run(source, "insert into at_place values (5, row(4, 5, 'five')); insert into trips values (6, array[row(4, 5, 'six')::place], null);"
                "alter type mood rename value 'worse' to 'worst'; alter type place rename attribute z to height; alter type place drop attribute t;"
                "alter type mood add value 'best'; insert into felt values (6, 'worst'), (7, 'best');"
                "insert into at_place values (6, row(4, 5)); insert into trips values (7, array[row(4, 5)::place], row(6, 7))")
    again = start(stream)
    settle(source, standin, again)
    assert resynced(again).keys() == {"felt", "at_place", "trips"}
    assert not again.events("parked") and again.terminate() == 0


AWAY_AND_BACK = """begin; alter table parts detach partition parts_2; update parts_2 set v = 'unseen'; delete from parts_2 where id % 7 = 0;
insert into parts_2 values ({}, 2, 'unseen'); alter table parts attach partition parts_2 for values in (2); commit"""


def test_partitions_of_a_table_that_is_published_as_a_whole(source, standin, stream):
    make(source, PARTITIONED, "parts", via_root=True)
    program = start(stream)
    # A partition that is made empty costs nothing.
    run(source, "create table parts_9 partition of parts for values in (9); insert into parts values (9000, 9, 'nine')")
    rest(source, standin, program)
    assert "parts" not in resynced(program)
    for change in ("alter table parts attach partition loose for values in (4)", AWAY_AND_BACK.format(5001), "alter table parts detach partition parts_2",
                   "truncate parts_1", "drop table parts_3", "truncate parts"):
        mark = program.mark()
        run(source, change)
        program.wait_for_event("resync", 30, since=mark, table="parts")
        run(source, "insert into parts select max(id) + 1, 9, 'more' from (select coalesce(max(id), 0) as id from parts) m")
        settle(source, standin, program)
    # The rows of one that is made, filled and truncated come, and what takes them away does not.
    program.freeze()
    mark = program.mark()
    run(source, "create table parts_7 partition of parts for values in (7); insert into parts values (7000, 7, 'seven'); truncate parts_7")
    program.thaw()
    program.wait_for_event("resync", 30, since=mark, table="parts")
    settle(source, standin, program)
    assert not program.events("parked") and program.terminate() == 0
    # The same while nothing runs.
    run(source, "create table late (id int, k int, v text, primary key (id, k)); insert into late values (1, 5, 'late');"
                "alter table parts attach partition late for values in (5)")
    again = start(stream)
    settle(source, standin, again)
    assert "partitions" in resynced(again)["parts"]
    assert again.terminate() == 0
    run(source, AWAY_AND_BACK.format(5002).replace("parts_2", "late").replace("2", "5"))
    again = start(stream)
    settle(source, standin, again)
    assert "partitions" in resynced(again)["parts"]
    assert again.terminate() == 0


def test_partitions_that_are_published_one_by_one(source, standin, stream):
    make(source, PARTITIONED, "parts")
    program = start(stream)
    run(source, "alter table parts attach partition loose for values in (4)")
    program.wait_for_event("table_added", 30, table="loose")
    settle(source, standin, program)
    run(source, "truncate parts_1; insert into parts values (9001, 1, 'again'); truncate parts; insert into parts values (9002, 2, 'x')")
    rest(source, standin, program)
    run(source, AWAY_AND_BACK.format(5001))
    program.wait_for_event("resync", 30, table="parts_2")
    settle(source, standin, program)
    run(source, "alter table parts detach partition parts_2")
    program.wait_for_event("table_left", 30, table="parts_2")
    settle(source, standin, program)
    assert resynced(program).keys() - {"order_events"} == {"parts_2"} and not program.events("parked")
    assert program.terminate() == 0
    # The same while nothing runs.
    run(source, "drop table parts_3; alter table parts detach partition loose; create table parts_5 partition of parts for values in (5);"
                "insert into parts values (9003, 5, 'five'), (9004, 1, 'one'); truncate parts_1; insert into parts values (9005, 1, 'one again')")
    again = start(stream)
    settle(source, standin, again)
    assert count(standin, "PARTS_5") == 1 and not resynced(again)
    again.wait_for_event("table_left", 60, table="loose")  # when what was committed before is merged
    assert {line["table"] for line in again.events("table_left")} == {"parts_3", "loose"} and again.terminate() == 0


def test_publish_via_partition_root_is_changed(source, standin, stream):
    make(source, PARTITIONED, "parts")
    program = start(stream)
    run(source, VIA_ROOT.format(source.publication))
    run(source, "insert into parts values (9000, 1, 'by the root')")
    program.wait_for_event("table_added", 30, table="parts")
    program.wait_for_event("table_left", 30, table="parts_1")
    settle(source, standin, program)
    run(source, VIA_ROOT.format(source.publication).replace("true", "false"))
    run(source, "insert into parts values (9001, 2, 'by itself')")
    program.wait_for_event("table_left", 30, table="parts")
    settle(source, standin, program)
    assert not resynced(program).keys() & {"customers", "orders"}  # nothing was missing of those
    assert not program.events("parked") and program.terminate() == 0
    # The same while nothing runs.
    run(source, VIA_ROOT.format(source.publication))
    run(source, "insert into parts values (9002, 1, 'by the root again')")
    again = start(stream)
    settle(source, standin, again)
    assert not resynced(again).keys() & {"customers", "orders"} and again.terminate() == 0


def test_operations_that_the_publication_leaves_out(source, standin, stream):
    """The server does not send them, and says nothing: it is told while it lasts, and made good when it is over."""
    make(source, "create table plain (id int primary key, note text)", "plain")
    some, everything = (f"alter publication {source.publication} set (publish = '{operations}')"
                        for operations in ("insert", "insert, update, delete, truncate"))
    unsent = "update customers set name = 'unsent'; delete from order_lines where order_id % 2 = 0; insert into plain select count(*), 'n' from plain"
    program = start(stream)
    mark = program.mark()
    run(source, some)
    program.wait_for_event("publication_partial", 30, since=mark)
    wait_until(lambda: pipeline_status(program.status()).get("reason") == "publication_partial", 30, "the status to tell it")
    run(source, unsent)
    wait_until(lambda: count(standin, "PLAIN") == 1, 60, "what is published")
    run(source, everything)
    program.wait_for_event("resync", 30, since=mark, table="customers")
    settle(source, standin, program)
    assert "left out" in resynced(program)["customers"]
    wait_until(lambda: "publication_partial" not in str(program.status()), 60, "the status not to tell it any more")
    assert not program.events("parked") and program.terminate() == 0
    # Away and back while nothing ran: only the publication's entry tells.
    run(source, f"{some}; {unsent}; {everything}")
    again = start(stream)
    settle(source, standin, again)
    assert "altered back" in resynced(again)["customers"] and again.terminate() == 0


def test_a_table_that_is_renamed_is_copied_to_the_target_of_its_new_name(source, standin, stream):
    make(source, "create table guest (id int primary key, note text); insert into guest values (1, 'one'), (2, 'two')", "guest")
    program = start(stream)
    run(source, "insert into guest values (3, 'three'); alter table guest rename to visitor; insert into visitor values (4, 'four')")
    program.wait_for_event("table_renamed", 30)
    settle(source, standin, program)
    assert count(standin, "VISITOR") == 4 and count(standin, "GUEST") in (2, 3)
    # Back again, and into another schema, while nothing runs.
    assert program.terminate() == 0
    run(source, "alter table visitor rename to guest; insert into guest values (5, 'five')")
    again = start(stream)
    settle(source, standin, again)
    assert count(standin, "GUEST") == 5
    assert again.terminate() == 0
    run(source, "create schema hotel; alter table guest set schema hotel; insert into hotel.guest values (6, 'six')")
    # The target has the same name in Snowflake and goes on.
    third = start(stream)
    settle(source, standin, third)
    assert count(standin, "GUEST") == 6
    run(source, "alter table hotel.guest set schema public; insert into guest values (7, 'seven')")
    third.wait_for_event("table_renamed", 30, count=2)
    settle(source, standin, third)
    assert not third.events("parked") and third.terminate() == 0


def test_two_tables_that_take_each_others_names(source, standin, stream):
    make(source, "create table hot (id int primary key, note text); insert into hot values (1, 'was hot');"
                 "create table cold (id int primary key, amount numeric(10, 2)); insert into cold values (7, 7.5), (8, 8.5)", "hot", "cold")
    program = start(stream)
    run(source, "begin; alter table hot rename to tmp; alter table cold rename to hot; alter table tmp rename to cold; commit;"
                "insert into hot values (9, 9.5); insert into cold values (2, 'is cold')")
    settle(source, standin, program)
    assert not program.events("parked") and program.terminate() == 0
    run(source, "begin; alter table hot rename to tmp; alter table cold rename to hot; alter table tmp rename to cold; commit;"
                "insert into cold values (10, 10.5); insert into hot values (3, 'hot again')")
    again = start(stream)
    settle(source, standin, again)
    assert not again.events("parked") and again.terminate() == 0


def test_a_table_takes_the_name_of_one_that_is_gone(source, standin, stream):
    two = "create table {0} (id int primary key, note text); insert into {0} values (1, 'of {0}')"
    make(source, f"{two.format('shop')}; {two.format('shop_new')}", "shop", "shop_new")
    program = start(stream)
    run(source, "insert into shop values (2, 'last'); begin; alter table shop rename to shop_old; alter table shop_new rename to shop;"
                "drop table shop_old; commit; insert into shop values (3, 'of the new one')")
    settle(source, standin, program)
    # The name is free for a while before another takes it.
    run(source, f"{two.format('shop_newer')}; alter publication {source.publication} add table shop_newer")
    wait_for_table(program, "shop_newer", "live")
    mark = program.mark()
    run(source, "drop table shop")
    program.wait_for_event("table_left", 30, since=mark, table="shop")
    run(source, "alter table shop_newer rename to shop; insert into shop values (4, 'of the newest')")
    settle(source, standin, program)
    assert not program.events("parked") and program.terminate() == 0


def test_a_table_takes_the_name_of_one_that_is_not_copied_and_merged_yet(source, standin, stream):
    """The first merge waits for all tables: this one, which waits for the other, must not wait for that."""
    make(source, "create table shop (id int primary key); create table shop_new (id int primary key); insert into shop_new values (7)",
         "shop", "shop_new")
    program = stream(*OPTIONS, "--merge-windows", window(60, 120))
    wait_for_table(program, "shop", "copied")
    wait_for_table(program, "shop_new", "copied")
    mark = program.mark()
    run(source, "begin; alter table shop rename to shop_old; alter table shop_new rename to shop; drop table shop_old; commit")
    program.wait_for_event("name_awaited", 30, since=mark, table="shop_new")
    program.wait_for_event("copied", 60, since=mark, table="shop")
    assert program.terminate() == 0
    again = stream(*OPTIONS)
    settle(source, standin, again)
    assert count(standin, "SHOP") == 1 and again.terminate() == 0


def test_a_table_takes_the_name_of_one_that_is_parked(source, standin, stream):
    make(source, "create table odd (id numeric primary key, n int); create table even (id numeric primary key, n int); insert into even values (2)",
         "odd", "even")
    program = start(stream)
    run(source, "insert into odd values ('NaN')")
    program.wait_for_event("parked", 30, table="odd")
    run(source, "begin; alter table odd rename to tmp; alter table even rename to odd; alter table tmp rename to even; commit; insert into odd values (4)")
    wait_until(lambda: ask(standin, 'SELECT COUNT(*) FROM "ODD" WHERE "ID" IN (2, 4)') == [["2"]], 60, "the table that is called so now")
    run(source, "alter table even rename to strange; create table even (id int primary key, n int); insert into even values (8);"
                f"alter publication {source.publication} add table even")
    wait_until(lambda: ask(standin, 'SELECT "ID" FROM "EVEN"') == [["8"]], 60, "the new table's row")
    wait_for_table(program, "strange", "parked")
    assert program.terminate() == 0


def test_a_table_that_is_made_anew_under_its_name(source, standin, stream):
    make(source, "create table guest (id int primary key, note text); insert into guest values (1, 'one')", "guest")
    program = start(stream)
    run(source, f"drop table guest; create table guest (note int primary key, id text); insert into guest values (7, 'new');"
                f"alter publication {source.publication} add table guest")
    settle(source, standin, program)
    assert not program.events("parked") and program.terminate() == 0
    run(source, f"drop table guest; create table guest (id bigint primary key, note text, more date); insert into guest values (8, 'newer', now());"
                f"alter publication {source.publication} add table guest")
    again = start(stream)
    settle(source, standin, again)
    assert not again.events("parked") and again.terminate() == 0


def test_a_table_is_made_anew_just_before_the_connection_breaks(source, standin, stream):
    """The stream starts again with the new table before anybody has seen the old one leave."""
    source.sql("create table thing (id int primary key, note text); insert into thing values (1, 'old'), (2, 'old');"
               "create table other (id int primary key); create publication etl for table thing, other")
    program = stream("--merge-interval-seconds", 1, "--poll-interval-seconds", 3)
    program.wait_for_event("live", 60)
    source.sql("drop table thing; create table thing (id int primary key, remark text, n int); insert into thing values (1, 'new', 7);"
               "alter publication etl add table thing")
    source.sql("select pg_terminate_backend(active_pid) from pg_replication_slots where database = current_database()")
    wait_until(lambda: [row[0] for row in ask(standin, 'SELECT "REMARK" FROM "THING"')] == ["new"], 60, "the new table's row")
    assert not program.events("parked")
    assert program.terminate() == 0


def test_a_table_is_added_to_a_database_of_another_encoding(own_postgres, standin, start_stream):
    """What we ask of the catalog while the stream runs is understood whatever the encoding is."""
    own_postgres.server.sql("create database latin template template0 encoding 'LATIN1'")
    source = type(own_postgres)(own_postgres.server, "latin")
    source.sql("create table thing (id int primary key, note text); create table late (id int primary key, note text);"
               "insert into late values (1, 'é'); create publication etl for table thing")
    program = start_stream(source.url(), standin.to, *OPTIONS)
    program.wait_for_event("live", 60)
    source.sql("alter publication etl add table late")
    wait_until(lambda: ask(standin, 'SELECT "NOTE" FROM "LATE"') == [["é"]], 60, "the new table's row")
    assert not program.events("look_failed")
    assert program.terminate() == 0


def test_a_column_of_a_domain_stays_while_another_changes(source, standin, stream):
    source.sql("create domain positive as numeric(9, 3) check (value >= 0); create domain named as text;"
               "create table thing (id int primary key, price positive, names named[], n int); insert into thing values (1, 1.5, '{a}', 7);"
               "create publication etl for table thing")
    program = stream("--merge-interval-seconds", 1, "--poll-interval-seconds", 1)
    program.wait_for_event("live", 60)
    source.sql("alter table thing alter column n type bigint; insert into thing values (2, 2.5, '{b}', 5000000000)")
    wait_until(lambda: ask(standin, 'SELECT COUNT(*) FROM "THING" WHERE "N" >= 7') == [["2"]], 60, "the widened value")
    assert program.is_running() and not program.events("parked")
    assert program.terminate() == 0


@since(15, "column lists and row filters")
def test_what_the_publication_sends_of_a_table(source, standin, stream):
    make(source, "create table some_rows (id int primary key, a int, b text); insert into some_rows select i, i, 'b' from generate_series(1, 100) i")
    name = source.publication
    run(source, f"alter publication {name} add table some_rows where (id > 50)")
    program = start(stream)
    tables = "customers, orders, order_lines, order_events"

    def followed(definition, rows):
        mark = program.mark()
        run(source, f"alter publication {name} set table {tables}, some_rows {definition}")
        program.wait_for_event("resync", 30, since=mark, table="some_rows")
        program.wait_for_event("copied", 60, since=mark, table="some_rows")  # what the status tells may be of before
        wait_for_table(program, "some_rows", "live")
        run(source, "update some_rows set a = a + 1 where id % 10 = 0")
        wait_until(lambda: count(standin, "SOME_ROWS") == rows, 60, f"{rows} rows")

    followed("where (id > 20)", 80)
    followed("", 100)
    settle(source, standin, program)
    followed("(id, b)", 100)
    followed("", 100)
    settle(source, standin, program)
    assert not program.events("parked") and program.terminate() == 0
    # Taken out and put in again, and another filter, while nothing ran.
    run(source, f"alter publication {name} drop table some_rows; insert into some_rows values (500, 5, 'unseen'); alter publication {name} add table some_rows")
    again = start(stream)
    settle(source, standin, again)
    assert "publication" in resynced(again)["some_rows"]
    assert again.terminate() == 0


def unlogged_and_back(source, number):
    source.sql(f"begin; alter table parts_1 set unlogged; update parts_1 set v = 'unseen {number}' where id % 2 = 0; delete from parts_1 where id = {3 * number};"
               f"insert into parts_1 values ({1000 + number}, 1, 'unseen'); alter table parts_1 set logged; commit")


@pytest.mark.parametrize("for_all", [True, False], ids=["for_all_tables", "partition"])
def test_a_table_that_was_unlogged_between_two_looks(source, standin, stream, for_all):
    """PostgreSQL refuses that of a table which a publication names, not of others that it sends; and it sends nothing of what changes meanwhile."""
    if for_all:
        make(source, PARTITIONED)
        source.sql(f"drop publication {source.publication}; create publication {source.publication} for all tables")
    else:
        make(source, PARTITIONED, "parts")
    program = start(stream)
    source.sql("vacuum full parts_1")
    source.sql("cluster parts_1 using parts_1_pkey")
    source.sql("create table parts_4 partition of parts for values in (4)")
    program.wait_for_event("table_added", 60, table="parts_4")  # by a look that saw the other as well
    assert "parts_1" not in resynced(program)
    unlogged_and_back(source, 1)
    program.wait_for_event("resync", 60, table="parts_1")
    settle(source, standin, program)
    assert "UNLOGGED" in resynced(program)["parts_1"]
    assert program.terminate() == 0
    source.sql("vacuum full parts_2")
    unlogged_and_back(source, 2)
    again = start(stream)
    settle(source, standin, again)
    assert resynced(again).keys() == {"parts_1"}
    assert not again.events("parked") and again.terminate() == 0
