"""Options of the merge in the running program."""
from program import wait_until
from snowflake_client import OBJECT_IS_MISSING, Snowflake, SnowflakeError

MERGE_OFTEN = ("--merge-interval-seconds", 1)
SETUP = ("create table orders (id int primary key, what text); create table events (what text); create table mark (id bigint primary key);"
         "create publication etl for table orders, events, mark; insert into orders values (1, 'a'), (2, 'b'), (3, 'c')")


def settle(source, snowflake, program, number):
    """Everything committed up to now is in the targets: one position for all tables."""
    source.sql("insert into mark values (%s)", [number])

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
