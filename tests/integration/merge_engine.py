"""The SQL side of the stand-in, in this process, and the program's own text of DDL and merge.

Each statement is a request: a session of its own, ended afterwards. Rows are landed through the stand-in's conversion of
streamed NDJSON. Tables are read from the storage, past the SQL under test.
"""
import asyncio
import json
import pathlib
import shutil
import subprocess
import sys
import threading

import psycopg

from merge_model import JSON_NULL
from pgserver import scratch_folder

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tools" / "sandbox"))
from snowbox import dialect, errors, rows  # noqa: E402
from snowbox.session import Session  # noqa: E402
from snowbox.storage import Storage  # noqa: E402

DATABASE, LANDING_SCHEMA, SCHEMA, PIPELINE, WRITER = "D", "ETL_SCHEMA", "S", "p", "00000000000000A1"
PRINCIPAL = {"user": "ETL", "role": "SYSADMIN", "roles": ["SYSADMIN"], "account": "SANDBOX"}
SnowflakeError = errors.SnowflakeError


class TextTool:
    """tests/sf/merge_text.c: what the program would send."""

    def __init__(self, folder, flags=()):
        embedded = [folder / "embedded_sql.c", folder / "embedded_sql.h"]
        sql = sorted((ROOT / "src").rglob("*.sql"))
        subprocess.run([sys.executable, ROOT / "tools" / "embed_sql.py", *embedded, *sql], check=True)
        sources = [*sorted((ROOT / "src/base").glob("*.c")), *sorted((ROOT / "src/model").glob("*.c")),
                   *sorted((ROOT / "src/encode").glob("*.c")), *sorted((ROOT / "src/sinks/snowflake").glob("sf_merge*.c")),
                   ROOT / "src/sinks/snowflake/sf_names.c", ROOT / "src/sinks/snowflake/sf_ddl.c",
                   ROOT / "src/sinks/snowflake/sf_naming.c", ROOT / "tests/sf/merge_text.c"]
        packages = subprocess.run(["pkg-config", "--cflags", "--libs", "jansson", "libcrypto", "libzstd"], check=True,
                                  capture_output=True, text=True).stdout.split()
        program = folder / "merge_text"
        includes = [f"-I{ROOT / 'src'}", f"-I{ROOT / 'tests'}"]
        subprocess.run(["cc", "-std=gnu17", "-D_GNU_SOURCE", '-DETL_VERSION="0"', "-g", *flags, *includes,
                        f"-I{folder}", *map(str, sources), str(embedded[0]), "-o", str(program), *packages, "-lpthread", "-lm"],
                       check=True)
        self.process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, window, tables):
        print(json.dumps({**window, "tables": tables}), file=self.process.stdin, flush=True)
        return json.loads(self.process.stdout.readline())

    def close(self):
        self.process.stdin.close()
        assert self.process.wait(60) == 0


def describe(name, shape, **merge):
    """A table as merge_text reads it."""
    columns = [{"name": c.name, "oid": c.oid, "number": c.number, "key_position": c.key_position, "kind": c.kind,
                "precision": c.precision, "scale": c.scale} for c in shape.columns]
    return {"schema": "public", "table": name, "target_schema": SCHEMA, "identity": shape.identity, "columns": columns,
            "highest_committed": "", "is_first": False, "copy_lsn": 0, "copied_rows": 0, "may_have_unchanged": True,
            "may_have_moved": True, **merge}


def window(state_from, start, below, **more):
    return {"database": DATABASE, "landing_schema": LANDING_SCHEMA, "pipeline": PIPELINE, "epoch": 1, "state_from": state_from,
            "writer": WRITER, "from": start, "below": below, "commit_wall_us": 0, "lock_timeout_s": 60,
            "now_wall_us": 0, "landing_retention_s": 2**32 - 1, "clean_position": "", "text_size_max": 0, **more}


class Engine:
    def __init__(self):
        self.folder = scratch_folder("etl-merge-")
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        self.tables = {}
        self.wait(self._open())

    def wait(self, coroutine, seconds=120):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(seconds)

    async def _open(self):
        self.storage = await Storage.open(self.folder)
        async with self.storage.connection() as connection:
            await self.storage.create_database(connection, DATABASE)
            await self.storage.create_warehouse(connection, "W")
            for schema in (SCHEMA, LANDING_SCHEMA):
                await self.storage.create_schema(connection, DATABASE, schema)

    def close(self):
        self.wait(self.storage.close())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)
        shutil.rmtree(self.folder, ignore_errors=True)

    def run(self, text):
        return self.wait(self._run(text))

    async def _run(self, text):
        async with self.storage.connection() as connection:
            session = Session(self.storage, connection, PRINCIPAL)
            await session.start(DATABASE, SCHEMA, "W", None)
            try:
                return await session.run(text, dialect.tokenize(text))
            finally:
                await session.end()

    def create(self, statements):
        """Makes the tables of a description that are not there yet; one that is there in another form is made anew."""
        for statement in statements:
            head, name = statement.split(" (", 1)[0], statement.split(" (", 1)[0].rsplit("TABLE ", 1)[1]
            if self.tables.get(head) == statement:
                continue
            if head in self.tables:
                self.run(f"DROP TABLE {name}")
            self.run(statement)
            self.tables[head] = statement

    def empty(self):
        """All tables as they were made: much quicker than making them again."""
        self.wait(self._empty())

    async def _empty(self):
        async with self.storage.connection() as connection:
            tables = await self.storage.list_tables(connection, DATABASE)
            for table in tables:
                await connection.execute(psycopg.sql.SQL("DELETE FROM {}").format(self.storage.relation(table)))

    async def _find(self, connection, schema, name):
        table = await self.storage.find_table(connection, DATABASE, schema, name)
        assert table is not None, name
        return table

    def land(self, name, lines):
        """Streams the lines into the landing table; none may be refused."""
        self.wait(self._land(name, lines))

    async def _land(self, name, lines):
        async with self.storage.connection() as connection:
            table = await self._find(connection, LANDING_SCHEMA, name)
            shape = rows.TableShape(tuple(rows.ColumnShape(c.name, c.type, c.nullable) for c in table.columns), False)
            body = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode()
            converted = rows.convert_batch(shape, "identity", body)
            assert not converted.errors, converted.errors[0]
            assert converted.inserted == len(lines)
            columns = psycopg.sql.SQL(", ").join(self.storage.column(c.name) for c in table.columns)
            statement = psycopg.sql.SQL("COPY {} ({}) FROM STDIN " + rows.COPY_OPTIONS).format(self.storage.relation(table), columns)
            async with connection.cursor() as cursor, cursor.copy(statement) as copy:
                await copy.write(converted.copy)

    def read(self, schema, name, columns):
        """Rows as dictionaries: bytes, Decimal, datetime, and parsed JSON with JSON_NULL apart from None."""
        return self.wait(self._read(schema, name, columns))

    async def _read(self, schema, name, columns):
        async with self.storage.connection() as connection:
            table = await self._find(connection, schema, name)
            parts = [psycopg.sql.SQL("{}::text" if c.kind in ("VARIANT", "ARRAY") else "{}").format(self.storage.column(c.target_name))
                     for c in columns]
            query = psycopg.sql.SQL("SELECT {} FROM {}").format(psycopg.sql.SQL(", ").join(parts), self.storage.relation(table))
            found = await (await connection.execute(query)).fetchall()
        return [{c.name: read_value(c, value) for c, value in zip(columns, row)} for row in found]


def read_value(column, value):
    if value is None or column.kind not in ("VARIANT", "ARRAY"):
        return value
    parsed = json.loads(value)
    return JSON_NULL if parsed is None else parsed
