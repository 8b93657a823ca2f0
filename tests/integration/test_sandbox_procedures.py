"""Stored procedures of the stand-in: what merges need of them, and what Snowflake refuses."""
import pytest
from test_sandbox_sql import Db, box, client, db  # noqa: F401 (fixtures)

CREATE = "CREATE OR REPLACE PROCEDURE p(x VARCHAR) RETURNS VARCHAR LANGUAGE SQL EXECUTE AS CALLER AS $$ {} $$"


def make(db, body):
    db.run(CREATE.format(body))


def test_a_procedure_runs_in_the_callers_transaction(db):
    db.run("CREATE TABLE t (a INTEGER)")
    make(db, "BEGIN INSERT INTO t VALUES (1); RETURN 'done ' || x; END;")
    assert db.value("CALL p('now')") == "done now"
    # A rollback of the caller takes the procedure's rows along.
    db.run(db.block("BEGIN TRANSACTION;", "CALL p('x');", "ROLLBACK;"))
    assert db.value("SELECT COUNT(*) FROM t") == "1"
    db.run(db.block("BEGIN TRANSACTION;", "CALL p('x');", "COMMIT;"))
    assert db.value("SELECT COUNT(*) FROM t") == "2"


def test_it_cannot_end_the_callers_transaction(db):
    db.run("CREATE TABLE t (a INTEGER)")
    for statement in ("COMMIT;", "ROLLBACK;", "CREATE TABLE u (a INTEGER);", "DROP PROCEDURE p(VARCHAR);"):
        make(db, f"BEGIN INSERT INTO t VALUES (1); {statement} RETURN 'x'; END;")
        assert "different scope" in db.error(db.block("BEGIN TRANSACTION;", "CALL p('x');", "COMMIT;"))["message"], statement
        assert db.value("SELECT COUNT(*) FROM t") == "0"
    make(db, "BEGIN BEGIN TRANSACTION; COMMIT; RETURN 'x'; END;")
    assert db.code(db.block("BEGIN TRANSACTION;", "CALL p('x');", "COMMIT;")) == "000002"


def test_its_exceptions_reach_the_caller(db):
    db.run("CREATE TABLE t (a INTEGER)")
    make(db, "DECLARE etl_mine EXCEPTION (-20010, 'etl_mine: it was me'); BEGIN INSERT INTO t VALUES (1); IF (x = 'bad') THEN RAISE etl_mine; END IF; RETURN 'x'; END;")
    error = db.error(db.block("BEGIN TRANSACTION;", "CALL p('bad');", "COMMIT;"))
    assert "ETL_MINE" in error["message"] and "etl_mine: it was me" in error["message"]
    assert db.value("SELECT COUNT(*) FROM t") == "0"
    assert "STATEMENT_ERROR" in error["message"]


def test_it_sees_its_arguments_and_nothing_else(db):
    make(db, "BEGIN RETURN outside; END;")
    assert db.code(db.block("CALL p('x');", declare="outside VARCHAR DEFAULT 'o';", handler="")) == "000904"
    make(db, "BEGIN RETURN x || '!'; END;")
    assert db.value("CALL p('it''s')") == "it's!"
    db.run(db.block("CALL p(:mine);", declare="mine VARCHAR DEFAULT 'o';", handler=""))


@pytest.mark.parametrize("text", [
    "CREATE PROCEDURE p() RETURNS VARCHAR LANGUAGE SQL AS $$ BEGIN RETURN 1; END; $$",  # as its owner
    "CREATE PROCEDURE p() RETURNS VARCHAR LANGUAGE JAVASCRIPT EXECUTE AS CALLER AS $$ BEGIN RETURN 1; END; $$",
    "CREATE PROCEDURE p RETURNS VARCHAR LANGUAGE SQL EXECUTE AS CALLER AS $$ BEGIN RETURN 1; END; $$",
    "CREATE PROCEDURE p() RETURNS VARCHAR LANGUAGE SQL EXECUTE AS CALLER AS $$ SELECT 1 $$",
    "CREATE PROCEDURE p() RETURNS VARCHAR LANGUAGE SQL EXECUTE AS CALLER AS $$ BEGIN RETURN 1 END $$",
    "CREATE PROCEDURE nowhere.p() RETURNS VARCHAR LANGUAGE SQL EXECUTE AS CALLER AS $$ BEGIN RETURN 1; END; $$",
    "DROP PROCEDURE p", "DROP PROCEDURE p()", "CALL p", "CALL p()",
])
def test_what_snowflake_would_not_take_is_refused(db, text):
    assert db.code(text)


def test_create_replace_and_drop(db):
    make(db, "BEGIN RETURN 'one'; END;")
    assert db.code(CREATE.replace("OR REPLACE ", "").format("BEGIN RETURN 'two'; END;")) == "002002"
    make(db, "BEGIN RETURN 'two'; END;")
    assert db.value("CALL p('')") == "two"
    assert db.code("CALL p()") == "002140"
    assert db.code("DROP PROCEDURE p()") == "002003"
    db.run("DROP PROCEDURE p(VARCHAR)")
    db.run("DROP PROCEDURE IF EXISTS p(VARCHAR)")
    assert db.code("CALL p('')") == "002140"
