"""What PostgreSQL and DuckDB do where Snowflake's rules bite: the experiments behind docs/sandbox.md.

    PYTHONPATH=tools/sandbox .venv/bin/python tools/sandbox/experiments/database_choice.py

Makes a PostgreSQL cluster of its own and throws it away. DuckDB takes part if it is installed (it is not among the pins).
"""

import asyncio
import subprocess
import sys
import tempfile
from pathlib import Path

import psycopg

from snowbox.cluster import Cluster

TWICE = "MERGE INTO m USING (VALUES (1, 10), (1, 20)) AS s (i, v) ON m.id = s.i WHEN MATCHED "
COUNT_UP = "MERGE INTO m USING (VALUES (5)) AS s (i) ON m.id = s.i WHEN MATCHED THEN UPDATE SET n = m.n + 1 WHEN NOT MATCHED THEN INSERT VALUES (s.i, 1)"


def told(name: str, result) -> None:
    print(f"  {name}: {result}")


async def ask(connection, statement: str):
    try:
        cursor = await connection.execute(statement)
        return await cursor.fetchall() if cursor.description else cursor.statusmessage
    except psycopg.Error as error:
        return f"{error.diag.sqlstate} {error.diag.message_primary}"


async def postgres(a, b) -> None:
    for name, connection, statement in (
        ("a failed statement", a, "BEGIN; CREATE TABLE t (a integer)"),
        ("in a transaction", a, "INSERT INTO t SELECT 'x'::integer"),
        ("the next one", a, "INSERT INTO t VALUES (1)"),
        ("ROLLBACK, and again with a savepoint", a, "ROLLBACK; CREATE TABLE t (a integer); BEGIN; SAVEPOINT s"),
        ("a failed statement", a, "INSERT INTO t SELECT 'x'::integer"),
        ("back to the savepoint", a, "ROLLBACK TO s"),
        ("the next one", a, "INSERT INTO t VALUES (1)"),
        ("COMMIT", a, "COMMIT"),
        ("READ COMMITTED: begin", a, "BEGIN"),
        ("first count", a, "SELECT count(*) FROM t"),
        ("another session inserts", b, "INSERT INTO t VALUES (2)"),
        ("second count", a, "SELECT count(*) FROM t"),
        ("COMMIT", a, "COMMIT"),
        ("a row to merge into", a, "CREATE TABLE m (id integer, n integer); INSERT INTO m VALUES (1, 0)"),
        ("two source rows, update", a, TWICE + "THEN UPDATE SET n = s.v"),
        ("two source rows, delete", a, TWICE + "THEN DELETE"),
        ("two source rows, one of which no clause takes", a, TWICE + "AND s.v = 10 THEN UPDATE SET n = s.v"),
        ("two merges at once: first begins", a, "BEGIN"),
        ("first merges", a, COUNT_UP),
        ("second merges meanwhile", b, COUNT_UP),
        ("first commits", a, "COMMIT"),
        ("the rows", a, "SELECT * FROM m WHERE id = 5"),
    ):
        told(name, await ask(connection, statement))
    await ask(a, "DELETE FROM m WHERE id = 5; BEGIN; SELECT pg_advisory_xact_lock(1)")
    await ask(a, COUNT_UP)

    async def second():
        await ask(b, "BEGIN; SELECT pg_advisory_xact_lock(1)")
        await ask(b, COUNT_UP)
        return await ask(b, "COMMIT")

    waiting = asyncio.create_task(second())
    await asyncio.sleep(0.3)
    await ask(a, "COMMIT")
    await waiting
    told("the same with a lock taken before each statement", await ask(a, "SELECT * FROM m WHERE id = 5"))


async def run_postgres() -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o711)
        cluster = Cluster(Path(folder) / "state")
        await cluster.start()
        try:
            a, b = [await psycopg.AsyncConnection.connect(cluster.conninfo(), autocommit=True) for _ in range(2)]
            print("PostgreSQL", (await ask(a, "SHOW server_version"))[0][0])
            await postgres(a, b)
            await a.close()
            await b.close()
        finally:
            await cluster.stop()


def run_duckdb() -> None:
    try:
        import duckdb
    except ImportError:
        print("DuckDB: not installed")
        return
    print("DuckDB", duckdb.__version__)

    def run(connection, statement):
        try:
            return connection.execute(statement).fetchall()
        except duckdb.Error as error:
            return f"{type(error).__name__}: {str(error).splitlines()[0]}"

    with tempfile.TemporaryDirectory() as folder:
        file = f"{folder}/x.duckdb"
        main = duckdb.connect(file)
        a, b = main.cursor(), main.cursor()
        for name, connection, statement in (
            ("a failed statement", a, "CREATE TABLE t (a INTEGER); BEGIN; INSERT INTO t VALUES (0); INSERT INTO t SELECT 'x'::INTEGER"),
            ("the next one", a, "INSERT INTO t VALUES (1)"),
            ("a savepoint", b, "SAVEPOINT s"),
            ("two reads in a transaction: first", a, "ROLLBACK; BEGIN; SELECT count(*) FROM t"),
            ("another session inserts", b, "INSERT INTO t VALUES (2)"),
            ("second", a, "SELECT count(*) FROM t"),
            ("two source rows, update", a, "COMMIT; CREATE TABLE m (id INTEGER, n INTEGER); INSERT INTO m VALUES (1, 0); " + TWICE + "THEN UPDATE SET n = s.v"),
            ("the row", a, "SELECT * FROM m"),
            ("two writers of one row: first", a, "BEGIN; UPDATE m SET n = 1"),
            ("second", b, "UPDATE m SET n = 2"),
        ):
            told(name, run(connection, statement))
        other = subprocess.run([sys.executable, "-c", f"import duckdb; duckdb.connect({file!r}, read_only=True)"], capture_output=True, text=True)
        told("a second process that only reads", other.stderr.strip().splitlines()[-1][:90] if other.returncode else "opened")


if __name__ == "__main__":
    asyncio.run(run_postgres())
    run_duckdb()
