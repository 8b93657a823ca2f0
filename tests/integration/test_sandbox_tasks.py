"""Tasks, roles and grants of the stand-in: what a takeover from the first etl-stream asks of them."""
import pytest

import first_program
from test_sandbox_sql import Db, box, client, db  # noqa: F401 (fixtures)

TASK = "CREATE TASK t WAREHOUSE = etl_wh SCHEDULE = '60 MINUTES' AS SELECT 1"


def shown(db, statement, **more):
    answer = db.run(statement, **more)
    names = [column["name"] for column in answer["resultSetMetaData"]["rowType"]]
    return [dict(zip(names, row)) for row in answer["data"]]


def test_a_task_is_made_suspended_and_shown_with_what_it_runs(db):
    db.run(TASK)
    (task,) = shown(db, f'SHOW TASKS IN SCHEMA "DEMO_DB"."{db.schema}"')
    assert task["name"] == "T" and task["state"] == "suspended" and task["definition"] == "SELECT 1"
    assert task["schedule"] == "60 MINUTES" and task["warehouse"] == "ETL_WH" and task["owner"] == "ETL_ROLE"
    assert task["schema_name"] == db.schema and task["predecessors"] == "[]"
    db.run("ALTER TASK t RESUME")
    assert shown(db, "SHOW TASKS LIKE 't'")[0]["state"] == "started"
    db.run("ALTER TASK IF EXISTS t SUSPEND")
    db.run("ALTER TASK t SUSPEND")
    assert shown(db, "SHOW TASKS")[0]["last_suspended_reason"] == "USER_SUSPENDED"
    db.run("DROP TASK t")
    assert shown(db, "SHOW TASKS") == [] and db.code("ALTER TASK t SUSPEND") == "002003"
    db.run("ALTER TASK IF EXISTS t SUSPEND")
    db.run("DROP TASK IF EXISTS t")


@pytest.mark.parametrize("statement, code", [
    ("CREATE TASK t WAREHOUSE = etl_wh SCHEDULE = '60' AS SELECT 1", "001008"),
    ("CREATE TASK t WAREHOUSE = etl_wh SCHEDULE = '9 SECONDS' AS SELECT 1", "001008"),
    ("CREATE TASK t WAREHOUSE = etl_wh AS SELECT 1", "001008"),
    ("CREATE TASK t WAREHOUSE = nowhere SCHEDULE = '60 MINUTES' AS SELECT 1", "002003"),
    ("CREATE TASK t WAREHOUSE = etl_wh SCHEDULE = '60 MINUTES'", "001003"),
    ("CREATE TASK t WAREHOUSE = etl_wh SCHEDULE = '60 MINUTES' AS nonsense", "001003"),
    ("CREATE OR REPLACE TASK IF NOT EXISTS t WAREHOUSE = etl_wh SCHEDULE = '60 MINUTES' AS SELECT 1", "002184"),
    ("ALTER TASK t STOP", "001003"),
    ("SHOW TASKS IN SCHEMA nowhere", "002043"),
])
def test_what_is_refused(db, statement, code):
    assert db.code(statement) == code


def test_the_first_programs_own_statements(db):
    class Snowflake:
        database = "DEMO_DB"

        @staticmethod
        def execute(statement):
            return db.run(statement)

    first_program.make_table(Snowflake, db.schema, db.schema, "orders", {"id": "INTEGER", "note": "VARCHAR"}, "id")
    (task,) = shown(db, "SHOW TASKS")
    assert task["name"] == "ETL_MERGE_ORDERS_TASK" and task["state"] == "started"
    assert task["definition"].startswith("BEGIN\n") and task["definition"].endswith("END")
    assert "LANDING_ORDERS" in task["definition"] and "-- Clean up" in task["definition"]
    assert [row["name"] for row in shown(db, "DESCRIBE TABLE landing_orders")] == ["id", "note", "OPERATION", "SEQUENCE", "TIMESTAMP"]


def test_who_may_do_what_with_a_task(db):
    other = {"role": "PUBLIC"}
    db.run(TASK)
    assert shown(db, "SHOW TASKS", **other) == [] and db.code("ALTER TASK t SUSPEND", **other) == "002003"
    db.run("GRANT MONITOR ON TASK t TO ROLE public")
    assert len(shown(db, "SHOW TASKS", **other)) == 1
    assert db.code("ALTER TASK t RESUME", **other) == "003001"
    db.run("GRANT OPERATE ON TASK t TO ROLE public")
    db.run("ALTER TASK t RESUME", **other)
    assert db.code("DROP TASK t", **other) == "003001"
    assert db.code("GRANT SELECT ON TASK t TO ROLE public") == "003008"


def test_grants_go_with_the_table_and_not_with_its_name(db):
    def granted(name):
        return sorted((row["privilege"], row["grantee_name"], row["grant_option"]) for row in shown(db, f"SHOW GRANTS ON TABLE {name}"))
    owned = ("OWNERSHIP", "ETL_ROLE", "true")
    db.run("CREATE ROLE IF NOT EXISTS reader")
    db.run("CREATE TABLE t (a INTEGER)")
    assert granted("t") == [owned]
    db.run("GRANT SELECT, INSERT ON TABLE t TO ROLE reader")
    db.run("GRANT SELECT ON TABLE t TO ROLE reader WITH GRANT OPTION")
    assert granted("t") == [("INSERT", "READER", "false"), owned, ("SELECT", "READER", "true")]
    assert shown(db, "SHOW GRANTS ON TABLE t")[0]["name"] == f"DEMO_DB.{db.schema}.T"
    db.run("ALTER TABLE t RENAME TO t_before")
    db.run("CREATE TABLE t (a INTEGER)")
    assert granted("t") == [owned] and len(granted("t_before")) == 3
    assert db.code("GRANT SELECT ON TABLE t TO ROLE nobody") == "002003"
    assert db.code("GRANT OPERATE ON TABLE t TO ROLE reader") == "003008"
    assert db.code("GRANT SELECT ON TABLE t TO ROLE reader", role="PUBLIC") == "003001"
    assert db.code("SHOW GRANTS ON TABLE nowhere") == "002003"
