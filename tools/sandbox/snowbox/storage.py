"""The tables: a private PostgreSQL cluster, and a catalog of what Snowflake would know of the objects in it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import psycopg
from psycopg import sql
from psycopg_pool import AsyncConnectionPool

from . import sftypes
from .cluster import Cluster, ClusterError

__all__ = ["Column", "Table", "Storage", "StorageError", "ClusterError", "physical_name"]

IDENTIFIER_BYTES_MAX = 255
POSTGRES_IDENTIFIER_BYTES_MAX = 63
# PostgreSQL's own columns, which a table cannot have again.
SYSTEM_COLUMNS = frozenset({"tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"})
CONNECTIONS_MAX = 96
# What a new Snowflake account has.
DEFAULT_WAREHOUSE = "COMPUTE_WH"

# The columns of an error table, as Snowflake's documentation of error tables lists them.
ERROR_COLUMNS = (
    ("TIMESTAMP", "TIMESTAMP_LTZ(9)"),
    ("QUERY_ID", "VARCHAR(16777216)"),
    ("ERROR_CODE", "NUMBER(38,0)"),
    ("ERROR_METADATA", "VARIANT"),
    ("ERROR_DATA", "VARIANT"),
)

# Field and row separators, and SQL NULL, inside copy_rows before its text is escaped as COPY wants it.
_FIELD, _ROW, _NULL = "\x1f", "\x1e", "\x1d"
_COPY_ROWS_BLOCK = 5_000


class StorageError(RuntimeError):
    """What the caller asked for cannot be: the message says why."""


@dataclass(frozen=True)
class Column:
    name: str
    type: sftypes.Type
    nullable: bool = True
    default: str | None = None  # Snowflake's text of it; the streaming side does not apply it
    comment: str = ""
    collation: str | None = None  # "": none. None: not said, so that it is the table's default, or its schema's

    def type_text(self) -> str:
        return self.type.sql() + (f" COLLATE '{self.collation}'" if self.collation else "")


@dataclass(frozen=True)
class Table:
    id: int  # new with every CREATE, also CREATE OR REPLACE
    database: str
    schema: str
    name: str
    columns: tuple[Column, ...]
    transient: bool
    error_logging: bool
    schema_evolution: bool
    comment: str
    created_on_ms: int
    owner: str
    retention_days: int = 1


def physical_name(name: str) -> str:
    """PostgreSQL's name for an identifier: the same, unless PostgreSQL could not hold it or has it itself.

    Depends on nothing but the name, so that columns, aliases and references agree. A long name keeps its beginning and
    gets a hash of the whole.
    """
    if len(name.encode()) <= POSTGRES_IDENTIFIER_BYTES_MAX and name not in SYSTEM_COLUMNS and "~" not in name:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:16]
    head = name.encode()[: POSTGRES_IDENTIFIER_BYTES_MAX - 17].decode(errors="ignore")
    return f"{head}~{digest}"


class Storage:
    def __init__(self, cluster: Cluster, pool: AsyncConnectionPool):
        self.cluster = cluster
        self.pool = pool

    @classmethod
    async def open(cls, directory: Path, template: Path | None = None) -> "Storage":
        """Starts the private cluster; on first use makes it (see Cluster) and the system tables. Raises ClusterError."""
        cluster = Cluster(Path(directory).resolve(), template)
        await cluster.start()
        pool = AsyncConnectionPool(
            cluster.conninfo(), min_size=2, max_size=CONNECTIONS_MAX, timeout=60, kwargs={"autocommit": True}, reset=_reset, open=False
        )
        await pool.open(wait=True)
        storage = cls(cluster, pool)
        try:
            async with storage.connection() as connection:
                for name in ("catalog.sql", "functions.sql"):
                    await connection.execute(Path(__file__).with_name(name).read_text())
                await storage.create_warehouse(connection, DEFAULT_WAREHOUSE)
        except BaseException:
            await storage.close()
            raise
        return storage

    async def close(self) -> None:
        await self.pool.close(timeout=5)
        await self.cluster.stop()

    @asynccontextmanager
    async def connection(self):
        """A psycopg.AsyncConnection in autocommit mode, from a pool; use connection.transaction() for more than one statement."""
        async with self.pool.connection() as connection:
            yield connection

    async def create_database(self, connection, name: str, *, owner: str = "SYSADMIN", comment: str = "") -> bool:
        """A database with a schema PUBLIC; False if it is there already. Names here and below are as stored: folded already."""
        cursor = await connection.execute(
            "WITH made AS (INSERT INTO snowbox.databases (name, owner, comment) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING RETURNING database_id) "
            "INSERT INTO snowbox.schemas (database_id, name, owner) SELECT database_id, 'PUBLIC', %s FROM made",
            (name, owner, comment, owner),
        )
        return cursor.rowcount == 1

    async def create_schema(self, connection, database: str, name: str, *, owner: str = "SYSADMIN", comment: str = "", transient=False, retention=1) -> bool:
        """False if it is there already. The database must be there."""
        cursor = await connection.execute(
            "INSERT INTO snowbox.schemas (database_id, name, owner, comment, transient, retention) "
            "SELECT database_id, %s, %s, %s, %s, %s FROM snowbox.databases WHERE name = %s ON CONFLICT DO NOTHING",
            (name, owner, comment, transient, retention, database),
        )
        return cursor.rowcount == 1

    async def create_warehouse(self, connection, name: str) -> None:
        await connection.execute("INSERT INTO snowbox.warehouses (name) VALUES (%s) ON CONFLICT DO NOTHING", (name,))

    async def find_schema(self, connection, database: str, schema: str) -> int | None:
        cursor = await connection.execute(
            "SELECT schema_id FROM snowbox.schemas JOIN snowbox.databases d USING (database_id) WHERE d.name = %s AND schemas.name = %s", (database, schema)
        )
        row = await cursor.fetchone()
        return row[0] if row else None

    async def find_table(self, connection, database: str, schema: str, name: str) -> Table | None:
        tables = await self.list_tables(connection, database, schema, name)
        return tables[0] if tables else None

    async def list_tables(self, connection, database: str | None = None, schema: str | None = None, name: str | None = None) -> list[Table]:
        cursor = await connection.execute(
            """
            SELECT t.table_id, d.name, s.name, t.name, t.transient, t.error_logging, t.schema_evolution, t.comment,
                   (extract(epoch FROM t.created_on) * 1000)::bigint, t.owner, t.retention,
                   (SELECT json_agg(json_build_array(c.name, c.type_text, c.nullable, c.default_text, c.comment, c.collated_by) ORDER BY c.position)
                      FROM snowbox.columns c WHERE c.table_id = t.table_id)
              FROM snowbox.tables t JOIN snowbox.schemas s USING (schema_id) JOIN snowbox.databases d USING (database_id)
             WHERE (%s::text IS NULL OR d.name = %s) AND (%s::text IS NULL OR s.name = %s) AND (%s::text IS NULL OR t.name = %s)
             ORDER BY d.name, s.name, t.name
            """,
            (database, database, schema, schema, name, name),
        )
        return [_table(row) for row in await cursor.fetchall()]

    def relation(self, table: Table) -> sql.Identifier:
        return sql.Identifier("rows", f"t{table.id}")

    def error_relation(self, table: Table) -> sql.Identifier | None:
        """The rows of ERROR_TABLE(table), with the columns of ERROR_COLUMNS; None without ERROR_LOGGING."""
        return sql.Identifier("rows", f"e{table.id}") if table.error_logging else None

    def column(self, name: str) -> sql.Identifier:
        return sql.Identifier(physical_name(name))

    async def create_table(
        self,
        connection,
        database: str,
        schema: str,
        name: str,
        columns: Sequence[Column],
        *,
        transient: bool = False,
        error_logging: bool = False,
        schema_evolution: bool = False,
        comment: str = "",
        owner: str = "SYSADMIN",
        retention_days: int = 1,
        ddl_collation: str | None = None,
    ) -> Table:
        """Makes the table. The caller has made sure that the schema is there and the name free, and holds a transaction."""
        schema_id = await self.find_schema(connection, database, schema)
        if schema_id is None:
            raise StorageError(f"schema {database}.{schema} does not exist")
        cursor = await connection.execute(
            "INSERT INTO snowbox.tables (schema_id, name, transient, error_logging, schema_evolution, comment, owner, retention, ddl_collation) "
            "VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s) RETURNING table_id",
            (schema_id, name, transient, error_logging, schema_evolution, comment, owner, retention_days, ddl_collation),
        )
        table_id = (await cursor.fetchone())[0]
        columns = await self._collated(connection, table_id, columns)
        await self._insert_columns(connection, table_id, 0, columns)
        definitions = sql.SQL(", ").join(_definition(column) for column in columns)
        await connection.execute(sql.SQL("CREATE TABLE {} ({})").format(sql.Identifier("rows", f"t{table_id}"), definitions))
        if error_logging:
            await self.create_error_table(connection, table_id)
        return await self.find_table(connection, database, schema, name)

    async def create_error_table(self, connection, table_id: int) -> None:
        columns = sql.SQL(", ").join(_definition(Column(name, sftypes.Type.parse(text))) for name, text in ERROR_COLUMNS)
        await connection.execute(sql.SQL("CREATE TABLE IF NOT EXISTS {} ({})").format(sql.Identifier("rows", f"e{table_id}"), columns))

    async def _collated(self, connection, table_id: int, columns: Sequence[Column]) -> list[Column]:
        """The columns with the collation that they get; PostgreSQL is told of those that compare otherwise."""
        cursor = await connection.execute(
            "SELECT coalesce(t.ddl_collation, s.ddl_collation) FROM snowbox.tables t JOIN snowbox.schemas s USING (schema_id) WHERE table_id = %s", (table_id,)
        )
        default = (await cursor.fetchone())[0]
        collated = [replace(c, collation=("" if c.type.kind != "VARCHAR" else default if c.collation is None else c.collation)) for c in columns]
        for name in {column.collation for column in collated} - {""}:
            await connection.execute(
                sql.SQL("CREATE COLLATION IF NOT EXISTS {} (provider = icu, locale = {}, deterministic = false)").format(
                    sql.Identifier("snowbox", name), sql.Literal(sftypes.COLLATIONS[name])
                )
            )
        return collated

    async def _insert_columns(self, connection, table_id: int, first: int, columns: Sequence[Column]) -> None:
        async with connection.cursor() as cursor:
            await cursor.executemany(
                "INSERT INTO snowbox.columns (table_id, position, name, type_text, nullable, default_text, comment, collated_by) VALUES (%s, %s, %s, %s, %s, %s, %s, %s)",
                [(table_id, first + index, c.name, c.type.sql(), c.nullable, c.default, c.comment, c.collation or "") for index, c in enumerate(columns)],
            )

    async def drop_table(self, connection, table: Table) -> None:
        await connection.execute("DELETE FROM snowbox.tables WHERE table_id = %s", (table.id,))
        await connection.execute(
            sql.SQL("DROP TABLE IF EXISTS {}, {}").format(sql.Identifier("rows", f"t{table.id}"), sql.Identifier("rows", f"e{table.id}"))
        )

    async def add_columns(self, connection, table: Table, columns: Sequence[Column]) -> Table:
        """Adds columns at the end, all nullable or with what the caller fills in; answers the table as it is then. Columns that are there already are left alone."""
        async with connection.transaction():
            await connection.execute("SELECT 1 FROM snowbox.tables WHERE table_id = %s FOR UPDATE", (table.id,))
            current = await self.find_table(connection, table.database, table.schema, table.name)
            if current is None or current.id != table.id:
                raise StorageError(f"table {table.name} is not there any more")
            held = {column.name for column in current.columns}
            missing = [column for column in columns if column.name not in held]
            if missing:
                missing = await self._collated(connection, table.id, missing)
                # Beyond the last one: where a column was dropped, there are fewer than positions.
                cursor = await connection.execute("SELECT max(position) + 1 FROM snowbox.columns WHERE table_id = %s", (table.id,))
                await self._insert_columns(connection, table.id, (await cursor.fetchone())[0], missing)
                additions = sql.SQL(", ").join(sql.SQL("ADD COLUMN ") + _definition(column) for column in missing)
                await connection.execute(sql.SQL("ALTER TABLE {} {}").format(self.relation(table), additions))
            return await self.find_table(connection, table.database, table.schema, table.name)

    async def copy_rows(self, connection, table: Table, column_indexes: Sequence[int], rows: Iterable[Sequence[str | None]]) -> int:
        """Appends rows of values in storage form (see sftypes), one a named column; the other columns become NULL. Answers their number.

        Part of the caller's transaction, if it has one. A value that does not fit fails the whole call: convert and check before.
        """
        names = sql.SQL(", ").join(self.column(table.columns[index].name) for index in column_indexes)
        return await self._copy(connection, sql.SQL("COPY {} ({}) FROM STDIN").format(self.relation(table), names), rows)

    async def copy_errors(self, connection, table: Table, rows: Iterable[Sequence[str | None]]) -> int:
        """The same for the error table: rows of values in storage form in the order of ERROR_COLUMNS."""
        return await self._copy(connection, sql.SQL("COPY {} FROM STDIN").format(self.error_relation(table)), rows)

    async def _copy(self, connection, statement, rows) -> int:
        rows = rows if isinstance(rows, (list, tuple)) else list(rows)
        async with connection.cursor() as cursor:
            async with cursor.copy(statement) as copy:
                for start in range(0, len(rows), _COPY_ROWS_BLOCK):
                    await copy.write(_copy_text(rows[start : start + _COPY_ROWS_BLOCK]))
            return cursor.rowcount


async def _reset(connection) -> None:
    """What a session leaves behind must not reach the next user of its connection."""
    if connection.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
        await connection.rollback()
    await connection.set_autocommit(True)
    await connection.execute("RESET ALL; SELECT pg_advisory_unlock_all()")


def _table(row) -> Table:
    *head, columns = row
    table_id, database, schema, name, transient, error_logging, schema_evolution, comment, created_on_ms, owner, retention = head
    columns = columns if isinstance(columns, list) else json.loads(columns or "[]")
    return Table(
        table_id,
        database,
        schema,
        name,
        tuple(Column(c[0], sftypes.Type.parse(c[1]), c[2], c[3], c[4], c[5]) for c in columns),
        transient,
        error_logging,
        schema_evolution,
        comment,
        created_on_ms,
        owner,
        retention,
    )


def storage_type(column: Column) -> sql.Composable:
    collation = sql.SQL(" COLLATE {}").format(sql.Identifier("snowbox", column.collation)) if column.collation else sql.SQL("")
    return sql.SQL(column.type.storage) + collation


def _definition(column: Column) -> sql.Composable:
    name = sql.Identifier(physical_name(column.name))
    check = column.type.check(psycopg_quoted(physical_name(column.name)))
    return (
        sql.SQL("{} {}").format(name, storage_type(column))
        + (sql.SQL("") if column.nullable else sql.SQL(" NOT NULL"))
        + (sql.SQL(" CHECK ({})").format(sql.SQL(check)) if check else sql.SQL(""))
    )


def psycopg_quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _copy_text(rows: Sequence[Sequence[str | None]]) -> str:
    """Rows in COPY's text form. Escapes the whole block at once; falls back to value by value where a value holds one of the separators."""
    block = _ROW.join([_FIELD.join([_NULL if value is None else value for value in row]) for row in rows])
    fields = len(rows[0]) if rows else 0
    nulls = sum(row.count(None) for row in rows)
    if block.count(_ROW) != len(rows) - 1 or block.count(_FIELD) != len(rows) * (fields - 1) or block.count(_NULL) != nulls:
        return "".join("\t".join("\\N" if value is None else _escaped(value) for value in row) + "\n" for row in rows)
    return _escaped(block).replace(_FIELD, "\t").replace(_ROW, "\n").replace(_NULL, "\\N") + "\n"


def _escaped(text: str) -> str:
    if "\\" in text:
        text = text.replace("\\", "\\\\")
    return text.replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t")
