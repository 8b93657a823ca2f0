"""What a partitioned table, published by its root, has in its partitions: identities of their own, and such as nothing is sent of."""
import load
from program import pipeline_status, run_command
from snowflake_client import Snowflake
from test_schema_changes import OPTIONS, settle
from test_tables_come_and_go import wait_for_table

LARGE = "(select string_agg(md5(i::text), '') from generate_series({0}, {0} + 200) as i)"


def make(source, *statements, via_root=True):
    with source.connect() as connection:
        load.create_tables(connection)
        for statement in statements:
            connection.execute(statement)
        published = "for all tables" if via_root else "for table parts, order_events"
        connection.execute(f"create publication {source.publication} {published} with (publish_via_partition_root = {via_root})")


def partitioned(name, key):
    return (f"create table {name} (id int not null, k int not null, n int not null, v text{key}) partition by list (k)",
            f"create table {name}_1 partition of {name} for values in (1)", f"create table {name}_2 partition of {name} for values in (2)",
            f"alter table {name}_1 alter v set storage external", f"alter table {name}_2 alter v set storage external",
            f"insert into {name} select i, 1 + i % 2, i, {LARGE.format('i * 300')} from generate_series(1, 40) i")


def change(source, name):
    """Keys that change beside large values which do not, rows that change and go, rows that move to the other partition."""
    for statement in ("update {0} set id = id + 1000 where id % 3 = 0", "update {0} set n = -n where id % 3 = 1", "delete from {0} where id % 7 = 0",
                      "update {0} set k = 3 - k where id % 5 = 0", "insert into {0} values (5000, 1, 1, 'new')"):
        source.sql(statement.format(name))


def test_partitions_that_send_enough(source, standin, stream):
    make(source, *partitioned("whole", ", primary key (id, k)"), "alter table whole replica identity full",
         *partitioned("mixed", ", primary key (id, k)"), "alter table mixed_1 replica identity full",
         *partitioned("counted", ""), *(f"alter table counted{part} replica identity full" for part in ("", "_1", "_2")),
         *partitioned("indexed", ", unique (n, k)"), "alter table indexed replica identity using index indexed_n_k_key",
         *(f"alter table indexed_{part} replica identity using index indexed_{part}_n_k_key" for part in (1, 2)))
    program = stream(*OPTIONS)
    program.wait_for_event("live", 60)
    settle(source, standin, program)
    for name in ("whole", "mixed", "counted", "indexed"):
        change(source, name)
    source.sql("create table mixed_3 partition of mixed for values in (3); insert into mixed values (1, 3, 3, 'three'); update mixed set n = 4 where k = 3")
    settle(source, standin, program)
    assert not program.events("parked") and not program.events("resync")
    assert program.terminate() == 0


def test_partitions_whose_rows_could_not_be_found(source, standin, stream):
    """Parked before a wrong row arrives, with the statement that mends it."""
    other = "alter table {0}_2 alter n set not null; alter table {0}_2 add unique (n); alter table {0}_2 replica identity using index {0}_2_n_key"
    make(source, *partitioned("odd", ", primary key (id, k)"), other.format("odd"),
         *partitioned("later", ", primary key (id, k)"), *partitioned("less", ""), "alter table less replica identity full",
         "alter table less_1 replica identity full", "alter table less_2 add primary key (id)",
         *partitioned("appended", ""), "alter table appended_1 add primary key (id)")
    program = stream(*OPTIONS)
    program.wait_for_event("live", 60)
    for name in ("odd", "less"):
        parked = program.wait_for_event("parked", 60, table=name)
        assert f"ALTER TABLE public.{name}_2 REPLICA IDENTITY FULL" in parked["message"]
    wait_for_table(program, "later", "live")
    # One that changes while it runs.
    source.sql(other.format("later"))
    assert "ALTER TABLE public.later_2 REPLICA IDENTITY FULL" in program.wait_for_event("parked", 60, table="later")["message"]
    # Append-only, until something comes that is more than that.
    source.sql("insert into appended values (100, 1, 1, 'new')")
    wait_for_table(program, "appended", "live")
    source.sql("update appended_1 set n = 5 where id = 100")
    program.wait_for_event("parked", 60, table="appended")
    for name in ("odd", "later", "less"):
        source.sql(f"alter table {name}_2 replica identity full")
    source.sql("alter table appended replica identity full; alter table appended_1 replica identity full; alter table appended_2 replica identity full")
    done = run_command("pipeline", "resync", f"{source.name}_{source.publication}", "odd", "later", "less", "appended", state=program.state)
    assert done.returncode == 0, done.stderr
    for name in ("odd", "later", "less", "appended"):
        wait_for_table(program, name, "live")
        change(source, name)
    settle(source, standin, program)
    assert program.terminate() == 0


UNSENT = ("create table parts (id int, k int, v text, primary key (id, k)) partition by list (k)", "create table parts_1 partition of parts for values in (1)",
          "create unlogged table parts_2 partition of parts for values in (2)", "insert into parts select i, 1 + i % 2, 'v' from generate_series(1, 40) i")


def test_partitions_of_which_nothing_is_sent(source, standin, stream):
    make(source, *UNSENT)
    program = stream(*OPTIONS)
    program.wait_for_event("live", 60)
    assert "public.parts_2" in program.events("partition_unsent")[0]["message"]
    settle(source, standin, program)
    source.sql("update parts set v = 'later'")
    source.sql("alter table parts_2 set logged")
    program.wait_for_event("resync", 60, table="parts")
    settle(source, standin, program)
    assert len(program.events("partition_unsent")) == 1 and program.terminate() == 0


def test_partitions_of_which_nothing_is_sent_are_no_tables(source, standin, stream):
    """The server names them among the publication's when it publishes the partitions one by one."""
    make(source, UNSENT[0].replace(", primary key (id, k)", ""), *UNSENT[1:], "create foreign data wrapper nothing", "create server nowhere foreign data wrapper nothing",
         "create foreign table parts_3 partition of parts for values in (3) server nowhere", via_root=False)
    assert {"parts_2", "parts_3"} <= {name for name, in source.sql("select tablename from pg_publication_tables")}
    program = stream(*OPTIONS)
    program.wait_for_event("live", 60)
    program.wait_for_status(lambda status: {table["table"] for table in pipeline_status(status)["tables"]} == {"parts_1", "order_events"}, 60, "two tables")
    source.sql("alter table parts_2 set logged")
    program.wait_for_event("table_added", 60, table="parts_2")
    wait_for_table(program, "parts_2", "live")
    assert program.terminate() == 0
