"""The stand-in's SQL side: Snowflake's rules where they bite, seen through the SQL API as a client sees it."""
import concurrent.futures
import contextlib
import json
import subprocess
import time
import uuid

import pytest

from program import patience, wait_until
from sandbox_fixtures import Client
from standin import ROOT, StandIn

WAREHOUSE = "ETL_WH"


@pytest.fixture(scope="module")
def box():
    with StandIn(options=["--commit-delay-ms", "20"]) as standin:
        yield standin


class Db:
    """A schema of its own for each test, and short ways to ask."""

    def __init__(self, box, schema, client=None):
        self.box, self.schema, self.client = box, schema, client or Client(box.told)

    def post(self, text, query="", **more):
        body = {"statement": text, "timeout": 60, "warehouse": WAREHOUSE, "database": "DEMO_DB", "schema": self.schema, **more}
        body = {name: value for name, value in body.items() if value is not None}
        headers = {**self.client.account_headers(), "Content-Type": "application/json"}
        return self.client.request("POST", f"/api/v2/statements{query}", json.dumps(body).encode(), headers)

    def get(self, path):
        return self.client.request("GET", path, headers=self.client.account_headers())

    def wait(self, answer, seconds=30):
        deadline = time.monotonic() + patience(seconds)
        while answer.status == 202:
            assert time.monotonic() < deadline
            time.sleep(0.02)
            answer = self.get(answer.json["statementStatusUrl"])
        return answer

    def run(self, text, **more):
        answer = self.wait(self.post(text, **more))
        assert answer.status == 200, answer
        return answer.json

    def rows(self, text, **more):
        return self.run(text, **more)["data"]

    def value(self, text, **more):
        return self.rows(text, **more)[0][0]

    def error(self, text, **more):
        answer = self.wait(self.post(text, **more))
        assert answer.status == 422, answer
        return answer.json

    def code(self, text, **more):
        return self.error(text, **more)["code"]

    @contextlib.contextmanager
    def held(self, text, step="sql.before_commit", request_id=None, **more):
        """The answer to a statement that is held at that step while the block runs, and goes on after it."""
        fault = self.box.add_fault(step, hold=True, times=1, **more)
        answer = self.post(text, "?async=true" + (f"&requestId={request_id}" if request_id else ""))
        assert answer.status == 202, answer
        wait_until(lambda: self.box.fault_hits(fault), 60, "a statement to be held", pause=0.01)
        try:
            yield answer
        finally:
            self.box.remove_faults()

    def block(self, *steps, declare="", handler="WHEN OTHER THEN ROLLBACK; RAISE;"):
        declared = f"DECLARE {declare} " if declare else ""
        caught = f" EXCEPTION {handler}" if handler else ""
        return f"EXECUTE IMMEDIATE $$ {declared}BEGIN {' '.join(steps)}{caught} END; $$"


@pytest.fixture(scope="module")
def client(box):
    client = Client(box.told)
    yield client
    client.close()


@pytest.fixture
def db(box, client):
    box.remove_faults()
    schema = f"S{uuid.uuid4().hex[:8].upper()}"
    made = Db(box, schema, client)
    made.run(f'CREATE SCHEMA "DEMO_DB"."{schema}"')
    return made


@pytest.fixture(scope="module")
def shared(box, client):
    """One schema with a table t (a INTEGER), for statements that change nothing."""
    made = Db(box, "SHARED", client)
    made.run('CREATE SCHEMA "DEMO_DB"."SHARED"')
    made.run("CREATE TABLE t (a INTEGER)")
    return made


# ----- the merge block


STATE = 'CREATE TABLE "STATE" ("PIPELINE" VARCHAR(100), "POSITION" VARCHAR(26), "MERGED_AT" TIMESTAMP_TZ(6))'
LANDING = ('CREATE TRANSIENT TABLE "LANDING_T" ("ID" NUMBER(38,0), "NAME" VARCHAR(16777216), "J" VARIANT, "_ETL_OP" VARCHAR(1), "_ETL_SEQ" VARCHAR(26), '
           '"_ETL_OLD_KEY" ARRAY, "_ETL_UNCHANGED" ARRAY, "_ETL_COERCED" VARIANT) DATA_RETENTION_TIME_IN_DAYS = 1 ENABLE_SCHEMA_EVOLUTION = TRUE')
TARGET = 'CREATE TABLE "T" ("ID" NUMBER(38,0), "NAME" VARCHAR(16777216), "J" VARIANT)'

MERGE_BLOCK = """EXECUTE IMMEDIATE $$
DECLARE
  etl_fenced EXCEPTION (-20001, 'etl-stream: another writer has merged');
  etl_behind EXCEPTION (-20002, 'etl-stream: the landing table is behind');
  etl_seen VARCHAR;
  etl_count INTEGER;
  etl_from VARCHAR DEFAULT '';
BEGIN
  ALTER SESSION SET LOCK_TIMEOUT = 60;
  BEGIN TRANSACTION;
  UPDATE "STATE" SET "POSITION" = '{to}', "MERGED_AT" = CURRENT_TIMESTAMP() WHERE "PIPELINE" = 'p' AND "POSITION" = '{since}';
  IF (SQLROWCOUNT <> 1) THEN
    RAISE etl_fenced;
  END IF;
  SELECT MAX("_ETL_SEQ") INTO :etl_seen FROM "LANDING_T" WHERE "_ETL_SEQ" >= '{since}' AND "_ETL_SEQ" < '{to}';
  IF (etl_seen IS NULL OR etl_seen < '{seen}') THEN
    RAISE etl_behind;
  END IF;
  SELECT COUNT(*) INTO :etl_count FROM "LANDING_T" WHERE "_ETL_OP" = 'C' AND "_ETL_SEQ" = '{since}';
  IF (etl_count <> 0) THEN RAISE etl_behind; END IF;
  SELECT COALESCE(MAX("_ETL_SEQ"), '') INTO :etl_from FROM "LANDING_T" WHERE "_ETL_OP" = 'T' AND "_ETL_SEQ" >= '{since}' AND "_ETL_SEQ" < '{to}';
  IF (etl_from <> '') THEN DELETE FROM "T"; END IF;
  MERGE INTO "T" AS t USING (
    WITH e AS (
      SELECT "_ETL_SEQ" AS "#SEQ", IFF("_ETL_OP" = 'D', 'D', 'P') AS "#DO", "ID", "NAME", "J" FROM "LANDING_T"
       WHERE "_ETL_OP" <> 'T' AND "_ETL_SEQ" >= '{since}' AND "_ETL_SEQ" < '{to}' AND "_ETL_SEQ" > :etl_from
      UNION ALL
      SELECT "_ETL_SEQ", 'D', "_ETL_OLD_KEY"[0]::NUMBER(38,0), NULL, NULL FROM "LANDING_T"
       WHERE "_ETL_SEQ" >= '{since}' AND "_ETL_SEQ" < '{to}' AND "_ETL_SEQ" > :etl_from AND "_ETL_OLD_KEY" IS NOT NULL
    )
    SELECT * FROM e QUALIFY ROW_NUMBER() OVER (PARTITION BY "ID" ORDER BY "#SEQ" DESC, "#DO" DESC) = 1
  ) AS s ON t."ID" = s."ID"
  WHEN MATCHED AND s."#DO" = 'D' THEN DELETE
  WHEN MATCHED THEN UPDATE SET "NAME" = s."NAME", "J" = s."J"
  WHEN NOT MATCHED AND s."#DO" = 'P' THEN INSERT ("ID", "NAME", "J") VALUES (s."ID", s."NAME", s."J");
  COMMIT;
  RETURN 'merged';
EXCEPTION
  WHEN OTHER THEN
    ROLLBACK;
    RAISE;
END;
$$"""


@pytest.fixture
def merging(db):
    for text in (STATE, LANDING, TARGET):
        db.run(text)
    db.run("""INSERT INTO "STATE" ("PIPELINE", "POSITION") SELECT 'p', '00' WHERE NOT EXISTS (SELECT 1 FROM "STATE" WHERE "PIPELINE" = 'p')""")
    return db


def land(db, *rows):
    """rows: (ID, NAME, JSON text, op, sequence, old key)."""
    def literal(value):
        return "NULL" if value is None else str(value) if isinstance(value, int) else "'" + value.replace("'", "''") + "'"

    listed = ", ".join(f"({', '.join(map(literal, row))})" for row in rows)
    db.run('INSERT INTO "LANDING_T" ("ID", "NAME", "J", "_ETL_OP", "_ETL_SEQ", "_ETL_OLD_KEY") SELECT column1, column2, PARSE_JSON(column3), column4, column5, '
           f"PARSE_JSON(column6)::ARRAY FROM VALUES {listed}")


def test_merge_block_merges_and_moves_the_position(merging):
    land(merging, (1, "a", '{"k":1}', "I", "01", None), (2, "b", "null", "I", "02", None), (1, "a2", None, "U", "03", None), (5, "moved", None, "U", "04", "[2]"),
         (7, "gone", None, "I", "05", None), (7, None, None, "D", "06", None))
    assert merging.rows(MERGE_BLOCK.format(since="00", to="10", seen="06")) == [["merged"]]
    assert merging.rows('SELECT "ID", "NAME", "J" FROM "T" ORDER BY 1') == [["1", "a2", None], ["5", "moved", None]]
    assert merging.rows('SELECT "POSITION", "MERGED_AT" IS NOT NULL FROM "STATE"') == [["10", "true"]]
    land(merging, (1, "lost", None, "U", "11", None), (0, None, None, "T", "12", None), (9, "after", "[null]", "I", "13", None))
    merging.run(MERGE_BLOCK.format(since="10", to="20", seen="13"))
    assert merging.rows('SELECT "ID", "NAME", "J" FROM "T"') == [["9", "after", "[\n  null\n]"]]


def test_merge_block_that_is_fenced_leaves_nothing(merging):
    land(merging, (1, "a", None, "I", "01", None))
    error = merging.error(MERGE_BLOCK.format(since="07", to="10", seen="01"))
    assert error["code"] == "-20001" and error["sqlState"] == "P0001"
    assert error["message"].startswith("Uncaught exception of type 'ETL_FENCED' on line 13 at position 4 : etl-stream: another writer")
    assert merging.error(MERGE_BLOCK.format(since="00", to="10", seen="02"))["code"] == "-20002"
    assert merging.rows('SELECT (SELECT COUNT(*) FROM "T"), "POSITION" FROM "STATE"') == [["0", "00"]]


def test_statement_error_in_block_rolls_back_and_keeps_its_code(merging):
    error = merging.error(merging.block("BEGIN TRANSACTION;", 'DELETE FROM "STATE";', 'INSERT INTO "T" ("ID") SELECT \'x\'::NUMBER;', "COMMIT;"))
    assert error["code"] == "100038" and "'STATEMENT_ERROR'" in error["message"]
    assert merging.value('SELECT COUNT(*) FROM "STATE"') == "1"


def test_block_without_handler_ends_its_transaction(merging):
    merging.error(merging.block("BEGIN TRANSACTION;", 'DELETE FROM "STATE";', "RAISE e;", declare="e EXCEPTION (-20005, 'x');", handler=""))
    assert merging.value('SELECT COUNT(*) FROM "STATE"') == "1"


def test_block_as_single_quoted_literal_and_bare(db):
    assert db.rows("EXECUTE IMMEDIATE 'BEGIN RETURN \\'it\\'\\'s\\'; END'") == [["it's"]]
    assert db.rows("DECLARE n INTEGER DEFAULT 2; BEGIN n := n * 3; RETURN n; END;") == [["6"]]


def test_scripting_flow(db):
    text = """DECLARE n NUMBER(10,0) DEFAULT 3; word VARCHAR; BEGIN
      IF (n = 1) THEN word := 'one'; ELSEIF (n = 3) THEN word := 'three'; ELSE word := 'many'; END IF;
      BEGIN LET inner_value INTEGER := n + 1; word := word || inner_value; EXCEPTION WHEN OTHER THEN NULL; END;
      CREATE TABLE counted (a INTEGER);
      INSERT INTO counted SELECT :n;
      BEGIN SELECT 1/0; EXCEPTION WHEN STATEMENT_ERROR THEN word := word || SQLCODE; END;
      RETURN word || SQLROWCOUNT;
    END;"""
    assert db.rows(text) == [["three41000511"]]


@pytest.mark.parametrize(
    "step",
    ["FOR i IN 1 TO 3 DO NULL; END FOR;", "WHILE (TRUE) DO NULL; END WHILE;", "SELECT 1 INTO x;", "RAISE;", "y := 1;", "RETURN", "IF TRUE THEN NULL; END IF;",
     "PERFORM 1;", "SELECT 1 INTO :x, :x;", "SELECT :nothing;", "COMMIT TRANSACTIONS;", "EXECUTE IMMEDIATE 'SELECT 1';"],
)
def test_scripting_grammar_is_strict(shared, step):
    shared.error(f"DECLARE x INTEGER; BEGIN {step} END;")


# ----- MERGE


def test_merge_with_two_source_rows_for_one_target_row_is_refused(db):
    db.run("CREATE TABLE t (id INTEGER, n VARCHAR)")
    db.run("INSERT INTO t VALUES (1, 'a'), (2, 'b')")
    twice = "MERGE INTO t USING (SELECT 1 AS i UNION ALL SELECT 1) s ON t.id = s.i WHEN MATCHED THEN "
    for action in ("UPDATE SET n = 'z'", "DELETE"):
        error = db.error(twice + action)
        assert (error["code"], error["sqlState"]) == ("100090", "42P18") and "Duplicate row detected" in error["message"]
    assert db.rows("SELECT * FROM t ORDER BY 1") == [["1", "a"], ["2", "b"]]
    # A second source row that no clause takes is fine; two rows that match nothing are two inserts.
    db.run("MERGE INTO t USING (SELECT 1 AS i, 'x' AS w UNION ALL SELECT 1, 'no') s ON t.id = s.i WHEN MATCHED AND s.w = 'x' THEN UPDATE SET n = s.w")
    answer = db.run("MERGE INTO t USING (SELECT 9 AS i UNION ALL SELECT 9) s ON t.id = s.i WHEN NOT MATCHED THEN INSERT (id) VALUES (s.i)")
    assert answer["data"] == [["2", "0", "0"]] and answer["stats"]["numRowsInserted"] == 2
    assert [column["name"] for column in answer["resultSetMetaData"]["rowType"]] == ["number of rows inserted", "number of rows updated", "number of rows deleted"]


def test_merges_of_one_table_at_once_do_not_double(db):
    db.run("CREATE TABLE t (id INTEGER, n INTEGER)")
    merge = ("MERGE INTO t USING (SELECT column1 AS i FROM VALUES (1), (2), (3)) s ON t.id = s.i "
             "WHEN MATCHED THEN UPDATE SET n = t.n + 1 WHEN NOT MATCHED THEN INSERT (id, n) VALUES (s.i, 1)")
    others = [Db(db.box, db.schema) for _ in range(8)]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for future in [pool.submit(other.run, merge) for other in others]:
            future.result()
    for other in others:
        other.client.close()
    assert db.rows("SELECT id, n FROM t ORDER BY 1") == [["1", "8"], ["2", "8"], ["3", "8"]]


# ----- transactions and sessions


def several(db, *statements):
    return db.wait(db.post("; ".join(statements), parameters={"MULTI_STATEMENT_COUNT": "0"}))


def test_failed_statement_leaves_the_transaction_open(db):
    db.run("CREATE TABLE t (a INTEGER)")
    block = db.block("BEGIN TRANSACTION;", "INSERT INTO t VALUES (1);", "BEGIN INSERT INTO t SELECT 'x'::INTEGER; EXCEPTION WHEN OTHER THEN NULL; END;",
                     "INSERT INTO t VALUES (2);", "COMMIT;")
    db.run(block)
    assert db.rows("SELECT a FROM t ORDER BY 1") == [["1"], ["2"]]


def test_session_ends_with_its_request(db):
    db.run("CREATE TABLE t (a INTEGER)")
    answer = several(db, "BEGIN", "INSERT INTO t VALUES (1)", "SELECT COUNT(*) FROM t")
    assert answer.status == 200 and len(answer.json["statementHandles"]) == 3
    assert db.get(f"/api/v2/statements/{answer.json['statementHandles'][2]}").json["data"] == [["1"]]
    assert db.value("SELECT COUNT(*) FROM t") == "0"
    assert several(db, "BEGIN", "INSERT INTO t VALUES (1)", "INSERT INTO t SELECT 'x'::INTEGER", "COMMIT").status == 422
    assert db.value("SELECT COUNT(*) FROM t") == "0"
    assert several(db, "BEGIN", "INSERT INTO t VALUES (1)", "COMMIT").status == 200
    assert db.value("SELECT COUNT(*) FROM t") == "1"


def test_ddl_commits_the_open_transaction(db):
    db.run("CREATE TABLE t (a INTEGER)")
    several(db, "BEGIN", "INSERT INTO t VALUES (1)", "CREATE TABLE u (a INTEGER)", "ROLLBACK")
    assert db.value("SELECT COUNT(*) FROM t") == "1"


def test_each_statement_reads_what_is_committed_when_it_starts(db):
    db.run("CREATE TABLE t (a INTEGER)")
    db.run("CREATE TABLE seen (first INTEGER, second INTEGER)")
    text = db.block("BEGIN TRANSACTION;", "SELECT COUNT(*) INTO :x FROM t;", "SELECT 1 INTO :z;", "SELECT COUNT(*) INTO :y FROM t;",
                    "INSERT INTO seen SELECT :x, :y;", "COMMIT;", declare="x INTEGER; y INTEGER; z INTEGER;")
    with db.held(text, "sql.execute", skip=2) as waiting:
        other = Db(db.box, db.schema)
        other.run("INSERT INTO t VALUES (1)")
        other.client.close()
    assert db.wait(waiting).status == 200
    assert db.rows("SELECT * FROM seen") == [["0", "1"]]


def test_lock_timeout_names_the_lock(db):
    db.run("CREATE TABLE t (a INTEGER)")
    db.run("INSERT INTO t VALUES (1)")
    with db.held("DELETE FROM t") as holder:
        error = db.error("UPDATE t SET a = 2", parameters={"LOCK_TIMEOUT": "1"})
        assert error["sqlState"] == "57014" and "LOCK_TIMEOUT" in error["message"]
        # INSERT waits for nobody.
        db.run("INSERT INTO t VALUES (3)")
    assert db.wait(holder).status == 200
    assert db.rows("SELECT a FROM t") == [["3"]]


# ----- the SQL API


def test_asynchronous_execution_is_polled(db):
    answer = db.post("SELECT 1", "?async=true")
    assert answer.status == 202 and answer.code == "333334"
    answer = db.wait(answer)
    assert answer.json["data"] == [["1"]] and answer.code == "090001"
    assert db.get(f"/api/v2/statements/{uuid.uuid4()}").status == 404


def test_request_id_runs_once_also_while_it_runs(db):
    db.run("CREATE TABLE t (a INTEGER)")
    request_id = uuid.uuid4()
    with db.held("INSERT INTO t VALUES (1)", "sql.execute", request_id=request_id) as first:
        again = db.post("INSERT INTO t VALUES (1)", f"?async=true&requestId={request_id}&retry=true")
        assert again.json["statementHandle"] == first.json["statementHandle"] and again.status == 202
    assert db.wait(again).status == 200
    third = db.post("INSERT INTO t VALUES (1)", f"?requestId={request_id}&retry=true")
    assert third.json["statementHandle"] == first.json["statementHandle"]
    assert db.value("SELECT COUNT(*) FROM t") == "1"
    # Without retry=true it is another request, whatever its id.
    db.run("INSERT INTO t VALUES (2)")
    assert db.post("INSERT INTO t VALUES (3)", "?requestId=nonsense").status == 400


def test_answer_that_was_lost_is_had_by_retrying(db):
    db.run("CREATE TABLE t (a INTEGER)")
    request_id = uuid.uuid4()
    db.box.add_fault("sql.submit.after", reset=True, times=1)
    with pytest.raises(OSError):
        db.post("INSERT INTO t VALUES (1)", f"?requestId={request_id}")
    db.run("SELECT 1")
    answer = db.post("INSERT INTO t VALUES (1)", f"?requestId={request_id}&retry=true")
    assert answer.status == 200 and answer.json["data"] == [["1"]]
    assert db.value("SELECT COUNT(*) FROM t") == "1"


def test_request_id_is_remembered_over_a_kill(tmp_path):
    with StandIn() as box:
        db, request_id = Db(box, "PUBLIC"), uuid.uuid4()
        db.run("CREATE TABLE t (a INTEGER)")
        assert db.post("INSERT INTO t VALUES (1)", f"?requestId={request_id}").status == 200
        box.kill()
        box.start()
        db = Db(box, "PUBLIC")
        assert db.post("INSERT INTO t VALUES (1)", f"?requestId={request_id}&retry=true").json["data"] == [["1"]]
        assert db.value("SELECT COUNT(*) FROM t") == "1"


def test_statement_timeout_is_408(db):
    db.run("CREATE TABLE t (a INTEGER)")
    with db.held("UPDATE t SET a = 1") as holder:
        answer = db.post("UPDATE t SET a = 2", timeout=1)
        assert answer.status == 408 and answer.code == "000630"
    assert db.wait(holder).status == 200
    assert db.error("SELECT 1 / 0", parameters={"STATEMENT_TIMEOUT_IN_SECONDS": "5"})["code"] == "100051"


def test_cancel(db):
    db.run("CREATE TABLE t (a INTEGER)")
    db.run("INSERT INTO t VALUES (1)")
    with db.held("UPDATE t SET a = 2") as holder:
        waiting = db.post("UPDATE t SET a = 3", "?async=true")
        time.sleep(0.1)  # it may have come to the lock, or be on its way
        other = Db(db.box, db.schema)
        cancelled = other.client.request("POST", waiting.json["statementStatusUrl"] + "/cancel", b"", other.client.account_headers())
        assert cancelled.status == 200
        other.client.close()
        assert db.wait(waiting).code == "000604"
    assert db.wait(holder).status == 200
    assert db.rows("SELECT a FROM t") == [["2"]]


@pytest.mark.parametrize(
    "change",
    [{"statement": ""}, {"statement": 1}, {"timeout": "60"}, {"timeout": -1}, {"surprise": 1}, {"bindings": [1]}, {"bindings": {"2": {"type": "TEXT", "value": "x"}}},
     {"parameters": {"DATE_OUTPUT_FORMAT": "YYYY"}}],
)
def test_wrong_request_is_400(shared, change):
    assert shared.post(**{"text": "SELECT 1", **{("text" if name == "statement" else name): value for name, value in change.items()}}).status == 400


def test_bindings(db):
    assert db.rows("SELECT ? || '!', ? + 1", bindings={"1": {"type": "TEXT", "value": "it's"}, "2": {"type": "FIXED", "value": "41"}}) == [["it's!", "42"]]
    db.error("SELECT ?")
    db.error("SELECT 1", bindings={"1": {"type": "TEXT", "value": "x"}})


def test_several_statements_need_their_number(db):
    assert db.code("SELECT 1; SELECT 2") == "000008"
    assert db.post("SELECT 1; SELECT 2", parameters={"MULTI_STATEMENT_COUNT": "2"}).status == 200
    assert db.post("SELECT 1; SELECT 2", parameters={"MULTI_STATEMENT_COUNT": "0"}, warehouse=None).code == "000606"


def test_large_result_comes_in_partitions(db):
    db.run("CREATE TABLE t (a INTEGER, b VARCHAR)")
    db.run("INSERT INTO t WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100) SELECT a.i * 1000 + b.i, REPLACE(LPAD_TEXT.p, 'x', 'yyyyyyyyyy') "
           "FROM n AS a CROSS JOIN n AS b CROSS JOIN (SELECT 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx' AS p) AS LPAD_TEXT")
    answer = db.run("SELECT * FROM t")
    parts = answer["resultSetMetaData"]["partitionInfo"]
    assert len(parts) > 1 and sum(part["rowCount"] for part in parts) == 10_000
    rows = answer["data"] + [row for index in range(1, len(parts)) for row in db.get(f"{answer['statementStatusUrl']}?partition={index}").json["data"]]
    assert len({row[0] for row in rows}) == 10_000
    assert db.get(f"{answer['statementStatusUrl']}?partition=99").status == 400


def test_without_warehouse_only_what_needs_none(db):
    for text in ("SELECT CURRENT_ACCOUNT(), CURRENT_USER(), CURRENT_ROLE(), CURRENT_WAREHOUSE(), CURRENT_VERSION()", "SHOW DATABASES LIKE 'DEMO%'",
                 "CREATE TABLE t (a INTEGER)", "DESCRIBE TABLE t", "ALTER TABLE t ADD COLUMN b DATE"):
        db.run(text, warehouse=None)
    assert db.value("SELECT CURRENT_WAREHOUSE()", warehouse=None) is None
    for text in ("SELECT * FROM t", "INSERT INTO t (a) VALUES (1)", "DELETE FROM t"):
        assert db.code(text, warehouse=None) == "000606"
    assert db.code(db.block("DELETE FROM t;"), warehouse="NO_SUCH_WAREHOUSE") == "000606"


def test_executed_statements_can_be_read(db):
    db.run("CREATE TABLE t (a INTEGER)")
    before = db.box.ask("/statements")
    db.run("SELECT CURRENT_VERSION()", warehouse=None)
    db.run("SELECT COUNT(*) FROM t")
    db.error("SELECT nothing FROM t")
    after = db.box.ask("/statements")
    assert after["statements"] == before["statements"] + 3 and after["warehouse_statements"] == before["warehouse_statements"] + 1
    entries = after["log"][-3:]
    assert [entry["warehouse"] for entry in entries] == [None, WAREHOUSE, None]
    assert entries[1]["text"] == "SELECT COUNT(*) FROM t" and entries[1]["outcome"] == "success" and entries[1]["ended_ms"] >= entries[1]["started_ms"]
    assert entries[2]["outcome"].startswith("000904")


# ----- types, values, limits


def test_result_encodings(db):
    db.run("CREATE TABLE t (n NUMBER(10,2), f FLOAT, v VARCHAR(10), b BINARY(8), x BOOLEAN, d DATE, tm TIME(6), ts TIMESTAMP_NTZ(6), tz TIMESTAMP_TZ(6), j VARIANT)")
    db.run("""INSERT INTO t SELECT 1.5, 0.1, 'ü', TO_BINARY('00ff', 'HEX'), TRUE, '1969-12-31', '01:02:03.5', '1969-12-31 23:59:59.25',
              '2024-02-03 04:05:06.789 +02:00', PARSE_JSON('{"b":[1,2.50],"a":null}')""")
    answer = db.run("SELECT * FROM t")
    assert answer["data"] == [["1.50", "0.1", "ü", "00FF", "true", "-1", "3723.500000000", "-0.750000000", "1706925906.789000000 1440",
                               '{\n  "a": null,\n  "b": [\n    1,\n    2.5\n  ]\n}']]
    types = [column["type"] for column in answer["resultSetMetaData"]["rowType"]]
    assert types == ["fixed", "real", "text", "binary", "boolean", "date", "time", "timestamp_ntz", "timestamp_tz", "variant"]
    assert answer["resultSetMetaData"]["rowType"][0]["scale"] == 2


@pytest.mark.parametrize(
    "type_, value, stored",
    [
        ("NUMBER(4,1)", "12.25", "12.3"), ("NUMBER(4,1)", "-12.25", "-12.3"), ("NUMBER(3,0)", "999.4", "999"), ("NUMBER(3,0)", "999.5", None),
        ("NUMBER(38,0)", "99999999999999999999999999999999999999", "99999999999999999999999999999999999999"), ("NUMBER(38,0)", "'1e38'", None),
        ("VARCHAR(3)", "'abc'", "abc"), ("VARCHAR(3)", "'abcd'", None), ("VARCHAR(3)", "'äöü'", "äöü"), ("VARCHAR(3)", "'abc '", None),
        ("BINARY(2)", "TO_BINARY('0001', 'HEX')", "0001"), ("BINARY(2)", "TO_BINARY('000102', 'HEX')", None), ("BINARY(2)", "'00'", None),
        ("DATE", "'9999-12-31'", "2932896"), ("DATE", "'10000-01-01'", None), ("DATE", "'0000-12-31'", None), ("DATE", "'2023-02-29'", None), ("DATE", "'infinity'", None),
        ("TIMESTAMP_NTZ(6)", "'0001-01-01 00:00:00'", "-62135596800.000000000"), ("TIMESTAMP_NTZ(3)", "'2000-01-01 00:00:00.9996'", "946684800.999000000"),
        ("TIMESTAMP_NTZ(6)", "'2000-01-01 00:00:00.0000001'", None), ("TIME(6)", "'24:00:00'", None), ("TIME(6)", "'23:59:59.999999'", "86399.999999000"),
        ("BOOLEAN", "'yes'", "true"), ("BOOLEAN", "'maybe'", None), ("FLOAT", "'NaN'", "NaN"), ("FLOAT", "'x'", None),
        ("VARIANT", "'text'", None), ("ARRAY", "PARSE_JSON('[1]')", None), ("VARIANT", "PARSE_JSON('null')", "null"),
        ("NUMBER(38,0)", "'NaN'::FLOAT", None), ("NUMBER(5,0)", "TRUE", "1"),
    ],
)
def test_values_meet_their_column(shared, type_, value, stored):
    shared.run(f"CREATE OR REPLACE TABLE u (a {type_})")
    insert = f"INSERT INTO u SELECT {value}"
    if stored is None:
        shared.error(insert)
        assert shared.value("SELECT COUNT(*) FROM u") == "0"
    else:
        shared.run(insert)
        assert shared.value("SELECT a FROM u") == stored


@pytest.mark.parametrize("type_", ["NUMBER(39,0)", "NUMBER(5,6)", "VARCHAR(134217729)", "VARCHAR(0)", "BINARY(67108865)", "TIME(10)", "JSONB", "UUID", "INT8", "SERIAL", "TEXT[]", "FLOAT(3)", "DATE(1)"])
def test_types_outside_of_snowflakes_are_refused(shared, type_):
    shared.error(f"CREATE TABLE v (a {type_})")


def test_json_null_is_not_sql_null(db):
    db.run("CREATE TABLE t (id INTEGER, j VARIANT)")
    db.run("INSERT INTO t SELECT column1, PARSE_JSON(column2) FROM VALUES (1, 'null'), (2, NULL), (3, '{\"a\":null}')")
    assert db.rows("SELECT id, j IS NULL, IS_NULL_VALUE(j), j::VARCHAR, j:a IS NULL, IS_NULL_VALUE(j:a) FROM t ORDER BY id") == [
        ["1", "false", "true", None, "true", None], ["2", "true", None, None, "true", None], ["3", "false", "false", '{"a":null}', "false", "true"]]


def test_variant_keeps_38_digits(db):
    digits = "12345678901234567890123456789012345678"
    assert db.rows(f"""SELECT PARSE_JSON('[{digits}]')[0], PARSE_JSON('[{digits}]')[0]::NUMBER(38,0), PARSE_JSON('[{digits}]')[0] = PARSE_JSON('{digits}'),
                       PARSE_JSON('[0.10]')[0]::VARCHAR""") == [[digits, digits, "true", "0.1"]]


def test_array_and_variant_access(db):
    assert db.rows("""SELECT a[0]::NUMBER(38,0), a[1]::VARCHAR, a[2]::TIMESTAMP_TZ(6), a[3]::DATE, a[4]::FLOAT, a[5]::BOOLEAN, a[9], a[6]::VARCHAR
                      FROM (SELECT PARSE_JSON('[1,"x","2024-01-01T00:00:00Z","2024-01-02",1.5,true,null]')::ARRAY AS a)""") == [
        ["1", "x", "1704067200.000000000 1440", "19724", "1.5", "true", None, None]]
    assert db.rows("""SELECT ARRAY_CONTAINS(3::VARIANT, a), ARRAY_CONTAINS(4::VARIANT, a), ARRAY_CONTAINS('x'::VARIANT, a), ARRAY_SIZE(a), ARRAY_CONTAINS(3::VARIANT, NULL::ARRAY)
                      FROM (SELECT PARSE_JSON('[1,3,"x"]')::ARRAY AS a)""") == [["true", "false", "true", "3", None]]
    assert db.code("SELECT ARRAY_CONTAINS(3, PARSE_JSON('[3]')::ARRAY)") == "001044"


def test_max_by_ignores_rows_without_an_order(db):
    db.run("CREATE TABLE t (k INTEGER, x INTEGER, v VARIANT, n VARCHAR)")
    db.run("INSERT INTO t SELECT column1, column2, PARSE_JSON(column3), column4 FROM VALUES (1, 1, '1', 'a'), (1, 3, NULL, NULL), (1, NULL, '9', 'z'), (1, 2, '2', 'b'), (2, NULL, '5', 'q')")
    assert db.rows("SELECT k, MAX_BY(v, x), MIN_BY(v, x), MAX_BY(n, x), MIN_BY(n, x), COUNT_IF(x > 1) FROM t GROUP BY k ORDER BY k") == [
        ["1", None, "1", None, "a", "2"], ["2", None, None, None, None, "0"]]


def test_windows(db):
    db.run("CREATE TABLE t (k INTEGER, x INTEGER)")
    db.run("INSERT INTO t VALUES (1, 1), (1, 2), (1, NULL), (2, 5)")
    assert db.rows("""SELECT k, x, SUM(IFF(x > 1, 1, 0)) OVER (PARTITION BY k ORDER BY x ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS s, ROW_NUMBER() OVER (ORDER BY k, x DESC) AS r,
                      FIRST_VALUE(x) OVER (PARTITION BY k ORDER BY x) FROM t ORDER BY k, x""") == [
        ["1", "1", "0", "3", "1"], ["1", "2", "1", "2", "1"], ["1", None, "1", "1", "1"], ["2", "5", "1", "4", "5"]]
    assert db.rows("SELECT * FROM t QUALIFY COUNT(*) OVER (PARTITION BY k) = 1") == [["2", "5"]]
    assert db.rows("SELECT k, ROW_NUMBER() OVER (PARTITION BY k ORDER BY x DESC NULLS LAST) AS r FROM t QUALIFY r = 1 ORDER BY k DESC") == [["2", "1"], ["1", "1"]]
    assert db.code("SELECT ROW_NUMBER() OVER (PARTITION BY k) FROM t") == "002303"
    db.error("SELECT * FROM t QUALIFY k = 1")


def test_recursion_stops_at_100(db):
    text = "WITH RECURSIVE r (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r WHERE n < {}) SELECT MAX(n) FROM r"
    assert db.value(text.format(101)) == "101"
    assert "max iteration count (100)" in db.error(text.format(102))["message"]
    for term in ("SELECT MAX(n) FROM r", "SELECT n FROM r LEFT JOIN (SELECT 1 AS i) AS x ON n = i", "SELECT DISTINCT n FROM r", "SELECT ROW_NUMBER() OVER (ORDER BY n) FROM r"):
        db.error(f"WITH RECURSIVE r (n) AS (SELECT 1 UNION ALL {term}) SELECT * FROM r")
    db.error("WITH RECURSIVE r (n) AS (SELECT 1 UNION SELECT n + 1 FROM r WHERE n < 3) SELECT * FROM r")


def test_recursive_chain_of_keys(db):
    db.run("CREATE TABLE moves (old_key INTEGER, new_key INTEGER, name VARCHAR(20))")
    db.run("INSERT INTO moves VALUES (1, 2, 'a'), (2, 3, 'b'), (7, 8, 'c')")
    assert db.rows("""WITH RECURSIVE chain AS (SELECT old_key AS root, new_key AS current_key, name FROM moves WHERE old_key = 1
                        UNION ALL SELECT c.root, m.new_key, m.name FROM chain AS c JOIN moves AS m ON m.old_key = c.current_key)
                      SELECT root, current_key, name FROM chain ORDER BY current_key""") == [["1", "2", "a"], ["1", "3", "b"]]


def test_base64(db):
    assert db.rows("SELECT BASE64_DECODE_BINARY('AP8='), TRY_BASE64_DECODE_BINARY('AP8='), TRY_BASE64_DECODE_BINARY('AP8'), TRY_BASE64_DECODE_BINARY(NULL), BASE64_DECODE_BINARY('')") == [
        ["00FF", "00FF", None, None, ""]]
    db.error("SELECT BASE64_DECODE_BINARY('A')")


def test_arithmetic_and_conversion(db):
    assert db.rows("SELECT 10 / 4, 1.50 * 2, 7 % 4, 1 + 0.25, -2.5::NUMBER(3,0), 2.5::NUMBER(3,0), 1::VARCHAR || TRUE, EQUAL_NULL(NULL, NULL), IFF(NULL, 1, 2), 1.10::VARCHAR") == [
        ["2.500000", "3.00", "3", "1.25", "-3", "3", "1true", "true", "2", "1.10"]]
    assert db.rows("SELECT NULLIF(1, 1), NVL(NULL, 'x'), GREATEST(1, NULL), COALESCE(NULL, 2, 3), 'a' LIKE '_', 'a_' LIKE 'a^_' ESCAPE '^', SUBSTR('hello', -3, 2), LENGTH('äö')") == [
        [None, "x", None, "2", "true", "true", "ll", "2"]]


def test_time_zone_of_a_session_is_californias_by_default(db):
    hours = "SELECT ROUND((DATE_TEXT.a - 0) , 0) FROM (SELECT 1 AS a) AS DATE_TEXT"
    assert db.value(hours) == "1"
    rows = db.rows("SELECT '2024-01-01 00:00:00'::TIMESTAMP_TZ(0), '2024-01-01 00:00:00'::TIMESTAMP_TZ(0)", parameters={"TIMEZONE": "UTC"})
    assert rows[0][0] == "1704067200.000000000 1440"
    assert db.value("SELECT '2024-01-01 00:00:00'::TIMESTAMP_LTZ(0)") == "1704096000.000000000"


# ----- names and objects


def test_names_fold_unless_quoted(db):
    db.run('CREATE TABLE Mixed (a INTEGER, "b" INTEGER)')
    db.run('INSERT INTO mixed (A, "b") VALUES (1, 2)')
    assert [column["name"] for column in db.run('SELECT A, "b" FROM "MIXED"')["resultSetMetaData"]["rowType"]] == ["A", "b"]
    assert db.code("SELECT b FROM mixed") == "000904"
    assert db.code('SELECT * FROM "Mixed"') == "002003"


def test_long_and_awkward_names(db):
    long, other = "L" * 255, "L" * 254 + "M"
    db.run(f'CREATE TABLE "{long}" ("{long}" INTEGER, "{other}" INTEGER, "xmin" INTEGER, "a""b" INTEGER, "~x" INTEGER, "ä" INTEGER)')
    db.run(f'INSERT INTO "{long}" VALUES (1, 2, 3, 4, 5, 6)')
    answer = db.run(f'SELECT * FROM "{long}"')
    assert [column["name"] for column in answer["resultSetMetaData"]["rowType"]] == [long, other, "xmin", 'a"b', "~x", "ä"]
    assert db.rows(f'SELECT t."{other}", t."xmin", t."~x" FROM "{long}" AS t QUALIFY ROW_NUMBER() OVER (ORDER BY "{long}") = 1') == [["2", "3", "5"]]
    assert db.code(f'CREATE TABLE "{"L" * 256}" (a INTEGER)') == "000109"


def test_show_and_describe(db):
    db.run("CREATE TRANSIENT TABLE landing_a (a NUMBER(10,2) NOT NULL, b VARCHAR(5) DEFAULT 'x' COMMENT 'why') DATA_RETENTION_TIME_IN_DAYS = 1 ENABLE_SCHEMA_EVOLUTION = TRUE COMMENT = 'etl-stream p'")
    db.run("CREATE TABLE landingxb (a INTEGER)")

    def shown(text):
        answer = db.run(text, warehouse=None)
        names = [column["name"] for column in answer["resultSetMetaData"]["rowType"]]
        return [dict(zip(names, row)) for row in answer["data"]]

    tables = shown(f"SHOW TABLES LIKE 'landing\\\\_%' IN SCHEMA \"DEMO_DB\".\"{db.schema}\"")
    assert [table["name"] for table in tables] == ["LANDING_A"]
    assert tables[0]["kind"] == "TRANSIENT" and tables[0]["comment"] == "etl-stream p" and tables[0]["rows"] == "0" and tables[0]["enable_schema_evolution"] == "Y"
    columns = shown("DESCRIBE TABLE landing_a")
    assert [(column["name"], column["type"], column["null?"], column["default"], column["comment"]) for column in columns] == [
        ("A", "NUMBER(10,2)", "N", None, None), ("B", "VARCHAR(5)", "Y", "'x'", "why")]
    assert {"created_on", "name", "owner", "comment"} <= set(shown("SHOW DATABASES LIKE 'demo_db'")[0])
    assert [row["name"] for row in shown(f"SHOW SCHEMAS LIKE '{db.schema}' IN DATABASE \"DEMO_DB\"")] == [db.schema]
    assert [row["name"] for row in shown(f"SHOW WAREHOUSES LIKE '{WAREHOUSE}'")] == [WAREHOUSE]
    assert shown("SHOW TABLES LIKE 'NOTHING'") == []
    assert shown(f"SHOW CHANNELS LIKE 'ETL%' IN SCHEMA \"DEMO_DB\".\"{db.schema}\"") == []
    assert db.code('SHOW CHANNELS IN SCHEMA "DEMO_DB"."NOTHING"') == "002043"
    assert db.code('SHOW TABLES IN SCHEMA "DEMO_DB"."NOTHING"') == "002043"
    assert db.code("DESCRIBE TABLE nothing") == "002003"


def test_alter_table(db):
    db.run("CREATE TABLE t (a INTEGER)")
    db.run("INSERT INTO t VALUES (1)")
    db.run('ALTER TABLE t ADD COLUMN "B" VARCHAR(3)')
    db.run("ALTER TABLE t ADD COLUMN c INTEGER NOT NULL DEFAULT 7")
    assert db.code("ALTER TABLE t ADD COLUMN b DATE") == "001430"
    db.run("INSERT INTO t (a) VALUES (2)")
    assert db.rows("SELECT * FROM t ORDER BY a") == [["1", None, "7"], ["2", None, "7"]]
    db.run("ALTER TABLE t ALTER COLUMN b SET DATA TYPE VARCHAR(10)")
    db.run("INSERT INTO t VALUES (3, '0123456789', 1)")
    assert db.code("ALTER TABLE t ALTER COLUMN b SET DATA TYPE VARCHAR(5)") == "002108"
    db.run("ALTER TABLE t RENAME COLUMN b TO bb")
    db.run(f'ALTER TABLE t RENAME TO "DEMO_DB"."{db.schema}"."U"')
    db.run("ALTER TABLE u DROP COLUMN c")
    assert db.rows("SELECT a, bb FROM u WHERE a = 3") == [["3", "0123456789"]]
    assert db.code("SELECT * FROM t") == "002003"
    db.run("ALTER TABLE u SET COMMENT = 'moved'")
    db.run("DROP TABLE IF EXISTS u")
    db.run("DROP TABLE IF EXISTS u")
    assert db.code("DROP TABLE u") == "002003"


def test_collation_is_a_default_of_columns_that_come(db):
    """Table before schema, and a column's own before both; those that are there keep theirs, also in a table that is made like theirs."""
    def types(name):
        return [row[1] for row in db.rows(f"DESCRIBE TABLE {name}")]
    db.run("CREATE TABLE plain (k VARCHAR(5))")
    db.run(f"ALTER SCHEMA {db.schema} SET DEFAULT_DDL_COLLATION = 'en-ci'")
    db.run("CREATE TABLE folded (k VARCHAR(5), n INT, e VARCHAR(5) COLLATE '')")
    db.run("CREATE TABLE exact (k VARCHAR(5)) DEFAULT_DDL_COLLATION = ''")
    db.run("CREATE TABLE copied LIKE plain")
    db.run("ALTER TABLE plain ADD COLUMN later VARCHAR(5), never VARCHAR(5) COLLATE ''")
    db.run("ALTER TABLE exact ADD COLUMN later VARCHAR(5)")
    db.run("ALTER TABLE folded ALTER k SET DATA TYPE VARCHAR(9)")
    assert types("folded") == ["VARCHAR(9) COLLATE 'en-ci'", "NUMBER(38,0)", "VARCHAR(5)"]
    assert types("plain") == ["VARCHAR(5)", "VARCHAR(5) COLLATE 'en-ci'", "VARCHAR(5)"]
    assert types("exact") == ["VARCHAR(5)"] * 2 and types("copied") == ["VARCHAR(5)"]
    for name, found in ("folded", "2"), ("exact", "1"):
        db.run(f"INSERT INTO {name} (k) SELECT 'a' UNION ALL SELECT 'A'")
        assert db.value(f"SELECT COUNT(*) FROM {name} WHERE k = 'a'") == found
    db.run(f"ALTER SCHEMA {db.schema} SET DEFAULT_DDL_COLLATION = ''")


def test_create_table_variants(db):
    db.run("CREATE TABLE t (a INTEGER PRIMARY KEY, b INTEGER, UNIQUE (b))")
    db.run("INSERT INTO t VALUES (1, 1), (1, 1)")
    db.run("CREATE TABLE IF NOT EXISTS t (x DATE)")
    assert db.code("CREATE TABLE t (x DATE)") == "002002"
    db.run("CREATE OR REPLACE TABLE t (x DATE)")
    assert db.rows("SELECT * FROM t") == []
    for text in ("CREATE TABLE u (a INTEGER) COMPRESSION = TRUE", "CREATE TABLE u (a INTEGER, A DATE)", "CREATE OR REPLACE TABLE IF NOT EXISTS u (a INTEGER)", "CREATE TABLE u ()",
                 "CREATE TRANSIENT TABLE u (a INTEGER) DATA_RETENTION_TIME_IN_DAYS = 2", "CREATE TABLE u (order INTEGER)", "CREATE UNLOGGED TABLE u (a INTEGER)",
                 "CREATE TABLE u (a INTEGER) WITH (fillfactor = 70)", "CREATE TABLE u AS SELECT 1", "CREATE TABLE u (a INTEGER DEFAULT nothing)"):
        db.error(text)


def test_dml_into_a_table_with_error_logging_is_refused(db):
    db.run("CREATE TABLE t (a INTEGER) ERROR_LOGGING = TRUE")
    for text in ("INSERT INTO t VALUES (1)", "UPDATE t SET a = 1", "MERGE INTO t USING (SELECT 1 AS i) s ON t.a = s.i WHEN NOT MATCHED THEN INSERT (a) VALUES (1)"):
        assert "ERROR_LOGGING" in db.error(text)["message"]
    db.run("DELETE FROM t WHERE a < 1")
    answer = db.run("SELECT * FROM ERROR_TABLE(t)")
    assert [column["name"] for column in answer["resultSetMetaData"]["rowType"]] == ["TIMESTAMP", "QUERY_ID", "ERROR_CODE", "ERROR_METADATA", "ERROR_DATA"]


# ----- what is not Snowflake's


@pytest.mark.parametrize(
    "text",
    [
        "SELECT * FROM t ON CONFLICT DO NOTHING", "INSERT INTO t VALUES (1) ON CONFLICT DO NOTHING", "INSERT INTO t VALUES (1) RETURNING a", "SELECT 1::jsonb", "SELECT '1'::int8", "SELECT 1::uuid",
        "SELECT DISTINCT ON (a) a FROM t", "SELECT COUNT(*) FILTER (WHERE a > 1) FROM t", "SELECT a == 1 FROM t", "SELECT a <=> 1 FROM t", "SELECT a -> 1 FROM t", "SELECT generate_series(1, 2)",
        "SELECT string_agg('a', 'b')", "SELECT IF(TRUE, 1, 2)", "SELECT arg_max(a, a) FROM t", "SELECT ISNULL(a) FROM t", "SELECT a IS TRUE FROM t", "SELECT pg_sleep(1)", "SELECT * FROM pg_class",
        "SELECT * FROM generate_series(1, 2)", "SELECT a FROM t FOR UPDATE", "SELECT a FROM t LIMIT a", "SELECT now()", "SELECT E'a'", "SELECT a ~ 'x' FROM t", "SELECT ARRAY[1]", "SELECT (SELECT 1, 2)",
        "SELECT a FROM t NATURAL JOIN t AS u", "VACUUM", "LOCK TABLE t", "SET x = 1", "COPY t FROM STDIN", "EXPLAIN SELECT 1", "TABLE t", "VALUES (1)", "SELECT 1 AS", "SELECT FROM t", "SELEC 1",
        "SELECT a FROM t GROUP BY 2", "SELECT b FROM t", "SELECT x.a FROM t", "SELECT a FROM t, t AS u", "SELECT a FROM nothing", "SELECT 'a' + DATE '2020-01-01'", "UPDATE t SET a = 1 FROM t AS u",
        "DELETE FROM t RETURNING a", "TRUNCATE t RESTART IDENTITY", "CREATE INDEX i ON t (a)", "DO $$ BEGIN END $$", "BEGIN ISOLATION LEVEL SERIALIZABLE", "SELECT 1; SELECT 2",
        "MERGE INTO t USING t AS s ON TRUE WHEN NOT MATCHED BY SOURCE THEN DELETE", "MERGE INTO t USING t AS s ON TRUE WHEN MATCHED THEN DO NOTHING", "INSERT INTO t SELECT 1, 2",
        "INSERT INTO t (a) VALUES (PARSE_JSON('1'))", "INSERT INTO t (a, a) VALUES (1, 1)", "SELECT a FROM t ORDER BY 9", "SELECT COUNT(COUNT(*)) FROM t", "SELECT a, COUNT(*) FROM t",
        "SELECT 123456789012345678901234567890123456789",
    ],
)
def test_what_snowflake_refuses_is_refused(shared, text):
    answer = shared.post(text)
    assert answer.status in (400, 422), answer
    assert "stand-in failed" not in answer.json["message"] and "internal error" not in answer.json["message"], answer


def test_limit_of_the_text(db):
    assert db.code("SELECT '" + "x" * 1_048_570 + "'") == "000030"
    assert db.value("SELECT LENGTH('" + "x" * 1_000_000 + "')") == "1000000"


def test_names_of_other_objects_need_to_be_there(db):
    assert db.code("SELECT * FROM NO_DB.PUBLIC.T") == "002003"
    assert db.code('CREATE TABLE "DEMO_DB"."NOTHING"."T" (a INTEGER)') == "002003"
    assert db.code("CREATE TABLE t (a INTEGER)", database=None, schema=None) == "090105"
    assert db.error("SELECT 1", role="NO_SUCH_ROLE")["code"] == "390189"


def test_query_tool(box):
    tool = ROOT / "tools" / "sandbox" / "sql"
    done = subprocess.run([tool, "--directory", box.folder, "--csv", "SELECT 1 AS a, '2024-02-03'::DATE AS d, NULL AS n; SELECT 'x'"], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "A,D,N\n1,2024-02-03,\n'X'\nx\n"
    failed = subprocess.run([tool, "--to", box.to, "SELECT nothing"], capture_output=True, text=True, timeout=60)
    assert failed.returncode == 1 and "000904" in failed.stderr


def test_compare_and_set_fences_the_second_of_two_at_once(merging):
    """Two writers from the same position: the one that waits for the other's transaction sees its position, and is fenced."""
    land(merging, (1, "a", None, "I", "01", None))
    with merging.held(MERGE_BLOCK.format(since="00", to="10", seen="01")) as first:
        second = merging.post(MERGE_BLOCK.format(since="00", to="10", seen="01"), "?async=true")
        time.sleep(0.3)  # it waits for the first one's transaction: nothing is to happen meanwhile
        assert merging.get(second.json["statementStatusUrl"]).status == 202
    assert merging.wait(second).code == "-20001"
    assert merging.wait(first).status == 200
    assert merging.rows('SELECT "ID", "NAME" FROM "T"') == [["1", "a"]]


def test_readers_see_a_merge_whole_or_not_at_all(merging):
    """While a block has merged and not yet committed, one statement over its tables sees the state before."""
    land(merging, (1, "a", None, "I", "01", None))
    together = 'SELECT (SELECT COUNT(*) FROM "T"), (SELECT MAX("POSITION") FROM "STATE")'
    with merging.held(MERGE_BLOCK.format(since="00", to="10", seen="01")) as first:
        assert merging.rows(together) == [["0", "00"]]
    assert merging.wait(first).status == 200
    assert merging.rows(together) == [["1", "10"]]


# ----- what etl-stream verify asks


def test_md5_as_numbers(shared):
    """md5('abc') is 900150983cd24fb0d6963f7d28e17f72: two numbers of 64 bits without a sign."""
    assert shared.rows("SELECT MD5_NUMBER_UPPER64('abc'), MD5_NUMBER_LOWER64('abc')") == [[str(0x900150983cd24fb0), str(0xd6963f7d28e17f72)]]
    assert shared.rows("SELECT MD5_NUMBER_UPPER64(NULL), SUM(MD5_NUMBER_LOWER64(c)) FROM (SELECT 'abc' AS c UNION ALL SELECT 'abc') AS s") == [
        [None, str(2 * 0xd6963f7d28e17f72)]]


def format_of(shared, value, form):
    return shared.value(f"SELECT TO_CHAR(v, '{form}') FROM (SELECT {value} AS v) AS s")


def test_moments_by_format(shared):
    assert format_of(shared, "'2026-01-02'::DATE", "YYYY-MM-DD") == "2026-01-02"
    assert format_of(shared, "'01:02:03.5'::TIME(6)", "HH24:MI:SS.FF6") == "01:02:03.500000"
    assert format_of(shared, "'0001-01-02 23:00:00.000001'::TIMESTAMP_NTZ(6)", "YYYY-MM-DD HH24:MI:SS.FF6") == "0001-01-02 23:00:00.000001"
    assert format_of(shared, "'2026-01-02 23:00:00Z'::TIMESTAMP_TZ(6)", "YYYY-MM-DD HH24:MI:SS.FF6TZHTZM") == "2026-01-02 23:00:00.000000+0000"
    assert shared.value("SELECT TO_CHAR(1.5::NUMBER(10,2))") == "1.50"


@pytest.mark.parametrize("value, form", [("'2026-01-02'::DATE", "HH24"), ("'01:02'::TIME", "YYYY"), ("1", "YYYY"), ("'2026-01-02'::DATE", "YYYY x"),
                                         ("'2026-01-02 00:00:00'::TIMESTAMP_NTZ", "SSTZHTZM")])
def test_formats_that_do_not_fit(shared, value, form):
    shared.error(f"SELECT TO_CHAR(v, '{form}') FROM (SELECT {value} AS v) AS s")
