"""Options of the merge in the running program."""
import datetime

from program import pipeline_status, run_command, wait_until
from snowflake_client import OBJECT_IS_MISSING, Snowflake, SnowflakeError
from test_channels import channels_of

MERGE_OFTEN = ("--merge-interval-seconds", 1)
SETUP = ("create table orders (id int primary key, what text); create table events (what text); create table mark (id bigint primary key);"
         "create publication etl for table orders, events, mark; insert into orders values (1, 'a'), (2, 'b'), (3, 'c')")


def settle(source, snowflake, program, number):
    """Everything committed up to now is in the targets: one position for all tables."""
    source.sql("insert into mark values (%s)", [number])
    settled(snowflake, program, number)


def settled(snowflake, program, number):
    def is_there():
        assert program.is_running(), program.tail()
        try:
            return snowflake.value(f'select count(*) from {snowflake.qualified("MARK")} where "ID" = {number}') == "1"
        except SnowflakeError as error:
            if error.code != OBJECT_IS_MISSING and error.status < 500:
                raise
            return False
    wait_until(is_there, 60, "the mark in the target", pause=0.1)


def orders(snowflake, marked=True):
    mark = ', IFF("_ETL_DELETED_AT" IS NULL, 0, 1)' if marked else ""
    return [tuple(row) for row in snowflake.query(f'select "ID", "WHAT"{mark} from {snowflake.qualified("ORDERS")} order by "ID"')]


def test_deleted_rows_stay_marked_with_their_time(source, standin, stream):
    source.sql(SETUP)
    snowflake = Snowflake(standin.to)
    program = stream(*MERGE_OFTEN, "--soft-deletes", "--landing-commit-time")
    program.wait_for_event("live", 60)
    with source.connect(autocommit=False) as connection:
        connection.execute("delete from orders where id = 1")
        connection.execute("update orders set id = 9 where id = 2")
    settle(source, snowflake, program, 1)
    assert orders(snowflake) == [("1", "a", "1"), ("2", "b", "1"), ("3", "c", "0"), ("9", "b", "0")]
    times = snowflake.query(f'select "O"."_ETL_DELETED_AT" from {snowflake.qualified("ORDERS")} as "O" join {snowflake.landing("orders")} as "L" '
                            'on "L"."_ETL_COMMIT_AT" = "O"."_ETL_DELETED_AT"')
    assert len(times) == 4, "both marks have the time of their commit, which brought two rows"
    commits = snowflake.query(f'select "_ETL_COMMIT_AT" from {snowflake.landing("orders")} where "_ETL_OP" <> \'C\'')
    assert commits and all(row[0] is not None for row in commits)
    assert {row[0] for row in snowflake.query(f'select "_ETL_COMMIT_AT" from {snowflake.landing("orders")} where "_ETL_OP" = \'C\'')} == {None}
    source.sql("insert into orders values (1, 'again'); truncate events; truncate mark")
    source.sql("truncate orders; insert into orders values (3, 'new')")
    settle(source, snowflake, program, 2)
    assert orders(snowflake) == [("1", "again", "1"), ("2", "b", "1"), ("3", "new", "0"), ("9", "b", "1")]
    assert any("append-only" in line["message"] for line in program.events("soft_deletes"))
    assert program.terminate() == 0


def test_no_time_is_told_that_is_later_than_what_was_merged(source, standin, stream):
    source.sql(SETUP)
    snowflake = Snowflake(standin.to)
    program = stream(*MERGE_OFTEN, "--soft-deletes")
    program.wait_for_event("live", 60)
    held = {table: standin.add_fault("append.before", hold=True, times=None, channel=channels_of(standin, table)[0]["channel_name"])
            for table in ("orders", "events")}
    source.sql("delete from orders where id = 1")
    between = source.value("select clock_timestamp()")
    source.sql("insert into events values ('later')")
    wait_until(lambda: all(standin.fault_hits(number) for number in held.values()), 60, "both rows to be on their way")
    standin.ask(f"/faults/{held['orders']}", method="DELETE")
    wait_until(lambda: orders(snowflake)[0] == ("1", "a", "1"), 60, "the deletion to be merged")
    state = snowflake.qualified(f"_ETL_STATE_{source.name}_etl", snowflake.landing_schema)
    times = snowflake.query(f'select "COMMIT_AT" from {state} union all select "_ETL_DELETED_AT" from {snowflake.qualified("ORDERS")} where "ID" = 1')
    assert len(times) == 2 and all(float(row[0].split()[0]) <= between.timestamp() for row in times), (times, between)
    standin.remove_faults()
    settle(source, snowflake, program, 1)
    assert program.terminate() == 0


def test_soft_deletes_may_be_turned_on_and_off(source, standin, stream):
    source.sql(SETUP)
    snowflake = Snowflake(standin.to)
    program = stream(*MERGE_OFTEN)
    program.wait_for_event("live", 60)
    source.sql("delete from orders where id = 1")
    settle(source, snowflake, program, 1)
    assert orders(snowflake, marked=False) == [("2", "b"), ("3", "c")]
    assert program.terminate() == 0

    program = stream(*MERGE_OFTEN, "--soft-deletes", "--landing-commit-time")
    source.sql("delete from orders where id in (2, 3)")
    settle(source, snowflake, program, 2)
    assert orders(snowflake) == [("2", "b", "1"), ("3", "c", "1")]
    assert program.terminate() == 0

    program = stream(*MERGE_OFTEN)
    source.sql("insert into orders values (2, 'back'), (4, 'd')")
    source.sql("delete from orders where id = 4")
    settle(source, snowflake, program, 3)
    assert orders(snowflake) == [("2", "back", "0"), ("3", "c", "1")]
    assert program.terminate() == 0


def test_soft_deletes_are_refused_without_a_key(source, standin, stream):
    source.sql("create table bag (a int); alter table bag replica identity full; create table mark (id bigint primary key);"
               "create publication etl for table bag, mark; insert into bag values (1)")
    program = stream(*MERGE_OFTEN, "--soft-deletes")
    line = program.wait_for_event("parked", 30)
    assert "cannot be marked as deleted" in line["message"] and "give it a primary key" in line["message"]
    program.wait_for_event("live", 60)
    status = program.wait_for_status(lambda one: one["pipelines"] and one["pipelines"][0].get("is_live"))
    states = {table["table"]: table["state"] for table in status["pipelines"][0]["tables"]}
    assert states == {"bag": "parked", "mark": "live"}


# --- times of day ------------------------------------------------------------------------------------------------------

def window(start, end):
    """A window from so many minutes from now to so many, in UTC."""
    now = datetime.datetime.now(datetime.timezone.utc)
    return "-".join(f"{now + datetime.timedelta(minutes=minutes):%H:%M}" for minutes in (start, end))


def woke_a_warehouse(standin):
    return [one["text"] for one in standin.ask("/statements?limit=1000")["log"] if one["warehouse"]]


def test_outside_of_the_merge_windows_no_warehouse_wakes(source, standin, stream, tmp_path):
    source.sql(SETUP)
    snowflake = Snowflake(standin.to)
    program = stream(*MERGE_OFTEN, "--merge-windows", window(60, 120))
    program.wait_for_event("copied", 60, count=3)
    source.sql("insert into orders values (4, 'd')")
    program.wait_for_status(lambda one: one["pipelines"] and all(
        table["state"] == "copied" for table in one["pipelines"][0]["tables"]) and pipeline_status(one)["merge"]["state"] == "waiting",
        60, "every table copied and the merge to wait")
    landed = f'select count(*) from {snowflake.landing("orders")} where "_ETL_OP" = \'I\''
    wait_until(lambda: Snowflake(standin.to).value(landed) == "1", 30, "the row to land")
    # The state table is made and read once at the very first start; nothing else.
    ours = [text for text in woke_a_warehouse(standin) if landed[:20] not in text and "count(*)" not in text]
    assert ours and all("_ETL_STATE" in text for text in ours), ours
    said = run_command("status", state=tmp_path / "state.db").stdout
    assert "merges wait for their time of day, the next may begin at" in said
    assert program.kill() != 0

    # A restart with a merge to be resolved asks nothing either, until the time has come.
    before = len(woke_a_warehouse(standin))
    program = stream(*MERGE_OFTEN, "--merge-windows", window(60, 120))
    program.wait_for_event("streaming", 30)
    assert len(woke_a_warehouse(standin)) == before
    assert program.terminate() == 0
    program = stream(*MERGE_OFTEN, "--merge-windows", window(-60, 60) + ",00:00-00:01")
    program.wait_for_event("live", 60)
    settle(source, snowflake, program, 1)
    assert orders(snowflake, marked=False) == [("1", "a"), ("2", "b"), ("3", "c"), ("4", "d")]
    assert program.terminate() == 0


def test_a_bad_merge_window_is_refused_at_once(source, standin, tmp_path):
    done = run_command("run", "--from", source.url(), "--to", standin.to, "--merge-windows", "8-20", state=tmp_path / "none.db")
    assert done.returncode == 2
    assert 'merge_windows is "8-20"' in done.stderr and "08:00-20:00" in done.stderr
    assert not (tmp_path / "none.db").exists()


# --- merges that run long -------------------------------------------------------------------------------------------------

def test_nothing_waits_for_a_merge_that_runs_long(source, standin, stream):
    """Killed in the middle of one, the program streams again at once; the merge is found to have been done."""
    source.sql(SETUP)
    snowflake = Snowflake(standin.to)
    program = stream(*MERGE_OFTEN)
    program.wait_for_event("live", 60)
    standin.add_fault("sql.before_commit", hold=True, times=1)
    source.sql("insert into orders values (4, 'd')")
    status = program.wait_for_status(lambda one: one["pipelines"] and one["pipelines"][0]["merge"]["state"] == "running"
                                     and one["pipelines"][0]["merge"]["seconds"] >= 1, 30)
    merge = pipeline_status(status)["merge"]
    assert merge["tables"] == 1 and merge["first_merges"] == 0 and merge["since"] and merge["up_to"]
    source.sql("insert into orders values (5, 'e')")  # rows go on to land meanwhile
    landed = f'select count(*) from {snowflake.landing("orders")} where "ID" = {{}}'
    wait_until(lambda: snowflake.value(landed.format(5)) == "1", 10, "a row to land while a merge runs")
    assert not program.events("merge_resolved")
    program.kill()
    program = stream(*MERGE_OFTEN)
    source.sql("insert into orders values (6, 'f')")
    wait_until(lambda: snowflake.value(landed.format(6)) == "1", 10, "a row to land while the earlier merge runs")
    assert not program.events("merge_resolved")
    standin.remove_faults()
    resolved = program.wait_for_event("merge_resolved", 60)
    assert "had been done" in resolved["message"]
    settle(source, snowflake, program, 1)
    assert [row[0] for row in orders(snowflake, marked=False)] == ["1", "2", "3", "4", "5", "6"]
    assert program.terminate() == 0


def test_a_merge_whose_answers_are_lost_runs_once(source, standin, stream):
    source.sql(SETUP)
    snowflake = Snowflake(standin.to)
    program = stream(*MERGE_OFTEN)
    program.wait_for_event("live", 60)
    standin.add_fault("sql.before_commit", hold=True, times=1)  # so that it is asked for
    faults = [standin.add_fault("sql.submit.after", reset=True, times=2), standin.add_fault("sql.poll", status=503, times=1)]
    source.sql("insert into orders values (4, 'd')")
    wait_until(lambda: [standin.fault_hits(fault) for fault in faults] == [2, 1], 60, "all of the faults")
    standin.remove_faults()
    settle(source, snowflake, program, 1)
    assert not program.events("merge_failed")
    assert [row[0] for row in orders(snowflake, marked=False)] == ["1", "2", "3", "4"]
    assert program.terminate() == 0


# --- landing rows that are not kept -------------------------------------------------------------------------------------

def landed(snowflake, table):
    return int(snowflake.value(f"select count(*) from {snowflake.landing(table)}"))


def test_merged_landing_rows_are_deleted_after_their_retention(source, standin, stream):
    source.sql(SETUP)
    snowflake = Snowflake(standin.to)
    program = stream(*MERGE_OFTEN, "--landing-retention", "2s")
    program.wait_for_event("live", 60)
    number = 0

    def merge_on():
        nonlocal number
        number += 1
        source.sql("insert into orders values (%s, 'x')", [100 + number])
        settle(source, snowflake, program, number)
        return program.events("cleaned")
    wait_until(lambda: sum(line["table"] == "orders" for line in merge_on()) >= 2, 60, "landing rows to be deleted")
    assert landed(snowflake, "orders") < 3 + number

    def has_told(found):
        status = pipeline_status(found)
        deleted = {table["table"]: table["landing_rows_deleted"] for table in status["tables"]}
        return deleted["orders"] >= 4 and sum(deleted.values()) == status["merge"]["landing_rows_deleted"]
    program.wait_for_status(has_told, 60, "the status to tell how many")
    # A restart goes on without the rows that are gone, and an idle pipeline wakes nothing to delete the rest.
    assert program.terminate() == 0
    program = stream(*MERGE_OFTEN, "--landing-retention", "2s")
    program.wait_for_event("streaming", 30)
    source.sql("update orders set what = 'y' where id = 1; delete from orders where id = 2")
    settle(source, snowflake, program, number + 1)
    assert orders(snowflake, marked=False)[:2] == [("1", "y"), ("3", "c")]
    assert not program.events("merge_failed")
    assert program.terminate() == 0


def test_landing_rows_of_a_table_that_left_are_deleted_too(source, standin, stream):
    """Those of a parked one stay until it is live again."""
    source.sql(SETUP + "; create table odd (id numeric primary key); insert into odd values (1); alter publication etl add table odd;")
    snowflake = Snowflake(standin.to)
    options = (*MERGE_OFTEN, "--landing-retention", "2s", "--poll-interval-seconds", 1)
    program = stream(*options)
    program.wait_for_event("live", 60)
    number = 0

    def merge_on():
        nonlocal number
        number += 1
        settle(source, snowflake, program, number)
    # In one transaction, and so in one merge: what is cleaned then are older rows.
    source.sql("insert into orders values (100, 'last'); insert into odd values (2); insert into mark values (0)")
    settled(snowflake, program, 0)
    source.sql("alter publication etl drop table orders; insert into odd values ('NaN')")
    program.wait_for_event("table_left", 30, table="orders")
    program.wait_for_event("parked", 30, table="odd")
    # A restart forgets nothing of it. What the last merge had left to be deleted is deleted by its end.
    assert program.terminate() == 0
    kept = landed(snowflake, "odd")
    assert landed(snowflake, "orders") > 0 and kept > 0
    program = stream(*options)
    program.wait_for_event("streaming", 30)
    wait_until(lambda: merge_on() or landed(snowflake, "orders") == 0, 60, "the landing rows to be deleted")
    assert landed(snowflake, "odd") == kept
    # Somebody drops the landing table: the others are cleaned all the same.
    snowflake.execute(f"drop table {snowflake.landing('orders')}")
    for _ in range(2):  # the first time it may go between a look at it and the deleting
        failures, before = len(program.events("clean_up")), len(program.events("cleaned"))
        wait_until(lambda: merge_on() or len(program.events("cleaned")) > before, 60, "further rows to be deleted")
    assert len(program.events("clean_up")) == failures
    assert program.terminate() == 0


def test_landing_rows_are_kept_for_ever_if_asked(source, standin, stream):
    source.sql(SETUP)
    snowflake = Snowflake(standin.to)
    program = stream(*MERGE_OFTEN, "--landing-retention", "forever")
    program.wait_for_event("live", 60)
    for number in range(1, 5):
        settle(source, snowflake, program, number)
    assert landed(snowflake, "mark") == 4 and landed(snowflake, "orders") == 3
    assert not program.events("cleaned")
    assert program.terminate() == 0
