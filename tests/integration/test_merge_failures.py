"""Merges that fail: one table's trouble stays its own, and what is no table's is nobody's."""
from program import pipeline_status, wait_until
from snowflake_client import Snowflake
from test_merge_options import settle
from versions import since

MERGE_OFTEN = ("--merge-interval-seconds", 1)
TABLES = [f"t{number}" for number in range(9)]


def make_tables(source, more=""):
    for name in TABLES:
        source.sql(f"create table {name} (id int primary key, body text, n int); insert into {name} values (1, 'a', 1)")
    source.sql(f"create table mark (id bigint primary key); create publication etl for table mark, {', '.join(TABLES)}{more}")


def states(program):
    return {table["table"]: table for table in program.status()["pipelines"][0]["tables"]}


def wait_for_parked(program, *names):
    """Table → reason, once these are parked and no others: the status is saved a moment after what it tells of."""
    def find():
        found = {name: table["reason"] for name, table in states(program).items() if table["state"] == "parked"}
        return found if set(found) == set(names) else None
    return wait_until(find, 60, f"{names} to be parked")


def count(snowflake, table):
    return int(snowflake.value(f"select count(*) from {snowflake.qualified(table.upper())}"))


def test_a_table_that_makes_the_merge_fail_is_parked_and_the_others_go_on(source, standin, stream):
    make_tables(source)
    snowflake = Snowflake(standin.to)
    program = stream(*MERGE_OFTEN)
    program.wait_for_event("live", 60)
    snowflake.execute(f'alter table {snowflake.qualified("T3")} drop column "BODY"')
    snowflake.execute(f'drop table {snowflake.qualified("T7")}')
    for name in TABLES:
        source.sql(f"insert into {name} values (2, 'b', 2)")
    settle(source, snowflake, program, 1)
    parked = wait_for_parked(program, "t3", "t7")
    assert all("its merge fails: " in reason and "etl-stream pipeline resync" in reason for reason in parked.values()), parked
    assert 'BODY' in parked["t3"] and "public.t3" in parked["t3"]
    assert all(count(snowflake, name) == 2 for name in TABLES if name not in parked)
    # Nothing else was merged while it was looked for, and nothing is lost behind it.
    source.sql("insert into t0 values (3, 'c', 3)")
    settle(source, snowflake, program, 2)
    assert count(snowflake, "t0") == 3
    assert program.terminate() == 0


def test_a_failure_that_passes_parks_nobody(source, standin, stream):
    """Snowflake's internal errors, one after the other, in merges and in the tries that look for a table."""
    make_tables(source)
    snowflake = Snowflake(standin.to)
    program = stream(*MERGE_OFTEN, "--table-error-retry-max-attempts", 0)
    program.wait_for_event("live", 60)
    fault = standin.add_fault("sql.execute", status=500, times=4, skip=1)
    source.sql("insert into t0 values (2, 'b', 2)")
    wait_until(lambda: standin.fault_hits(fault) == 4, 60, "all of the faults")
    settle(source, snowflake, program, 1)
    assert program.events("merge_failed") and not program.events("parked")
    assert count(snowflake, "t0") == 2
    assert program.terminate() == 0


def test_a_state_that_cannot_be_read_is_told(source, standin, stream):
    """Killed while its merge runs: how that ended only the state table tells."""
    source.sql("create table t0 (id int primary key); create table mark (id bigint primary key); create publication etl for table mark, t0")
    snowflake = Snowflake(standin.to)
    program = stream(*MERGE_OFTEN)
    program.wait_for_event("live", 60)
    fault = standin.add_fault("sql.execute", times=None, hold=True)
    source.sql("insert into t0 values (2)")
    wait_until(lambda: standin.fault_hits(fault), 60, "the merge to be sent")
    program.kill()
    standin.remove_faults()
    state = snowflake.qualified(f"_ETL_STATE_{source.name}_etl", snowflake.landing_schema)
    snowflake.execute(f'alter table {state} rename column "WRITER" to "AWAY"')
    program = stream(*MERGE_OFTEN)
    line = program.wait_for_event("merge_unresolved", 60)
    assert "cannot be read" in line["message"] and "WRITER" in line["message"]
    told = wait_until(lambda: pipeline_status(program.status()).get("error"), 60, "the status to tell of it")
    assert "nothing is merged while the state table cannot be read" in told
    snowflake.execute(f'alter table {state} rename column "AWAY" to "WRITER"')
    settle(source, snowflake, program, 1)
    wait_until(lambda: "error" not in pipeline_status(program.status()), 60, "nothing to be wrong any more")
    assert len(program.events("merge_unresolved")) == 1 and count(snowflake, "t0") == 1
    assert program.terminate() == 0


@since(15, "row filters")
def test_a_row_that_enters_a_row_filter_resynchronises_its_table(source, standin, stream):
    """The server sends it as an INSERT without the large value, which was never sent before."""
    source.sql("create table filtered (id int not null, n int not null, body text); create unique index filtered_i on filtered (id, n);"
               "alter table filtered replica identity using index filtered_i; alter table filtered alter body set storage external;"
               "create table mark (id bigint primary key); create publication etl for table mark, filtered where (n > 0);"
               "insert into filtered values (1, 1, repeat('a', 5000)), (2, 0, repeat('b', 5000))")
    snowflake = Snowflake(standin.to)
    program = stream(*MERGE_OFTEN)
    program.wait_for_event("live", 60)
    source.sql("update filtered set n = 5 where id = 2")
    line = program.wait_for_event("resync", 60)
    assert "not known at the destination" in line["message"]
    settle(source, snowflake, program, 1)
    wait_until(lambda: snowflake.query(f'select "ID", "N", LENGTH("BODY") from {snowflake.qualified("FILTERED")} order by 1')
               == [["1", "1", "5000"], ["2", "5", "5000"]], 60, "the table's rows")
    wait_until(lambda: states(program)["filtered"]["state"] == "live", 60, "the table to be live again")
    assert program.terminate() == 0


def test_a_merge_beyond_the_limit_of_a_statement_is_made_of_procedures(source, standin, stream):
    """Built so that a statement may have 9,000 bytes: one transaction all the same, and a table that fails is found in it."""
    make_tables(source)
    snowflake = Snowflake(standin.to)
    program = stream(*MERGE_OFTEN, without="merge_text_fits")
    program.wait_for_event("live", 60)
    for name in TABLES:
        source.sql(f"insert into {name} values (2, 'b', 2)")
    settle(source, snowflake, program, 1)
    assert all(count(snowflake, name) == 2 for name in TABLES)
    snowflake.execute(f'alter table {snowflake.qualified("T5")} drop column "BODY"')
    with source.connect(autocommit=False) as connection:
        for name in TABLES:
            connection.execute(f"update {name} set n = 9 where id = 1")
    settle(source, snowflake, program, 2)
    wait_for_parked(program, "t5")
    nines = {snowflake.value(f'select count(*) from {snowflake.qualified(name.upper())} where "N" = 9') for name in TABLES if name != "t5"}
    assert nines == {"1"}

    def texts():
        return [one["text"].lstrip()[:24] for one in standin.ask("/statements?limit=100000")["log"] if one["outcome"] == "success"]
    wait_until(lambda: texts().count("DROP PROCEDURE IF EXISTS") >= 2, 60, "what was made to be dropped, too")
    assert program.terminate() == 0
    ran = texts()
    assert ran.count("CREATE OR REPLACE PROCED") >= 2 and any(text.startswith("CALL") for text in ran)
