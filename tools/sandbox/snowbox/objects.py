"""What DDL, SHOW, DESCRIBE and USE do to the catalog. Each function runs inside a transaction of the session's connection."""

from __future__ import annotations

import dataclasses
import datetime
import re

import psycopg
from psycopg import sql

from . import errors, grants, privileges, procedures, tasks
from .conversions import NUMBER, TEXT, TIMESTAMP_LTZ
from .results import Result
from .sftypes import Type
from .statements import Statement
from .storage import Column, Storage, Table, physical_name, storage_type

_SHOWN_TIME = "created_on"


class Objects:
    """The object statements of one session. `session` gives current database and schema, role, and takes USE's."""

    def __init__(self, storage: Storage, session):
        self.storage = storage
        self.session = session

    async def run(self, connection, statement: Statement) -> Result:
        return await _HANDLERS[statement.kind](self, connection, statement)

    # Names

    def _table_key(self, path: tuple[str, ...]) -> tuple[str, str, str]:
        return self.session.complete((None,) * (3 - len(path)) + tuple(path))

    async def _table(self, connection, statement: Statement, path=None) -> Table | None:
        key = self._table_key(path or statement.path)
        table = await self.storage.find_table(connection, *key)
        if table is None and not statement.facts.get("if_exists"):
            raise errors.missing_object("Table", ".".join(key))
        if table is not None:
            self.session.privileges.require("SELECT" if statement.kind == "DESCRIBE TABLE" else "OWNERSHIP", "TABLE", *key)
        return table

    async def _schema_key(self, connection, path: tuple[str, ...]) -> tuple[str, str]:
        database = path[0] if len(path) == 2 else self.session.database
        if len(path) > 2 or not database:
            raise errors.compilation("090105", "22000", "Cannot perform operation. This session does not have a current database.")
        if not await self._has_database(connection, database):
            raise errors.missing_object("Database", database)
        return database, path[-1]

    async def _has_database(self, connection, name: str) -> bool:
        cursor = await connection.execute("SELECT FROM snowbox.databases WHERE name = %s", (name,))
        return cursor.rowcount == 1

    def _one(self, path: tuple[str, ...]) -> str:
        if len(path) != 1:
            raise errors.syntax(".")
        return path[0]

    # CREATE and DROP

    async def create_database(self, connection, statement: Statement) -> Result:
        name = self._one(statement.path)
        if statement.replace:
            await self._drop_database(connection, name)
        made = await self.storage.create_database(connection, name, owner=self.session.role, comment=statement.options.get("COMMENT", ""))
        if not made and not statement.if_not_exists:
            raise errors.compilation("002002", "42710", f"Object '{name}' already exists.")
        if made:
            self.session.database, self.session.schema = name, "PUBLIC"
        return Result.status(f"Database {name} successfully created." if made else f"{name} already exists, statement succeeded.")

    async def create_schema(self, connection, statement: Statement) -> Result:
        database, name = await self._schema_key(connection, statement.path)
        if not (statement.if_not_exists and await self.storage.find_schema(connection, database, name) is not None):
            self.session.privileges.require("CREATE SCHEMA", "DATABASE", database)
        if statement.replace:
            await self._drop_schema(connection, database, name)
        made = await self.storage.create_schema(
            connection,
            database,
            name,
            owner=self.session.role,
            comment=statement.options.get("COMMENT", ""),
            transient=statement.transient,
            retention=statement.options.get("DATA_RETENTION_TIME_IN_DAYS", 1),
        )
        if not made and not statement.if_not_exists:
            raise errors.compilation("002002", "42710", f"Object '{database}.{name}' already exists.")
        if made:
            self.session.database, self.session.schema = database, name
            await self._set_ddl_collation(connection, database, name, statement.options)
        return Result.status(f"Schema {name} successfully created." if made else f"{name} already exists, statement succeeded.")

    async def alter_schema(self, connection, statement: Statement) -> Result:
        database, name = await self._schema_key(connection, statement.path)
        if await self.storage.find_schema(connection, database, name) is None:
            raise errors.missing_object("Schema", f"{database}.{name}")
        await self._set_ddl_collation(connection, database, name, statement.options)
        return Result.status("Statement executed successfully.")

    async def _set_ddl_collation(self, connection, database: str, name: str, options: dict) -> None:
        """Of columns that come: those that are there keep theirs."""
        schema_id = await self.storage.find_schema(connection, database, name)
        await connection.execute("UPDATE snowbox.schemas SET ddl_collation = %s WHERE schema_id = %s", (options.get("DEFAULT_DDL_COLLATION", ""), schema_id))

    async def create_warehouse(self, connection, statement: Statement) -> Result:
        name = self._one(statement.path)
        await self.storage.create_warehouse(connection, name)
        await self._set_warehouse(connection, name, statement.options, None)
        self.session.warehouse = name
        return Result.status(f"Warehouse {name} successfully created.")

    async def create_table(self, connection, statement: Statement) -> Result:
        database, schema, name = self._table_key(statement.path)
        options = statement.options
        retention = options.get("DATA_RETENTION_TIME_IN_DAYS", 1)
        if not 0 <= retention <= (1 if statement.transient else 90):
            raise errors.compilation("001008", "22023", f"invalid value [{retention}] for parameter 'DATA_RETENTION_TIME_IN_DAYS'")
        if await self.storage.find_schema(connection, database, schema) is None:
            raise errors.missing_object("Schema", f"{database}.{schema}")
        for column in statement.columns:
            self.session.check_default(column)
        self.session.privileges.require("CREATE TABLE", "SCHEMA", database, schema)
        if not await self._make_way(connection, statement, database, schema, name):
            return Result.status(f"{name} already exists, statement succeeded.")
        await self.storage.create_table(
            connection,
            database,
            schema,
            name,
            statement.columns,
            transient=statement.transient,
            error_logging=options.get("ERROR_LOGGING", False),
            schema_evolution=options.get("ENABLE_SCHEMA_EVOLUTION", False),
            comment=options.get("COMMENT", ""),
            owner=self.session.role,
            retention_days=retention,
            ddl_collation=options.get("DEFAULT_DDL_COLLATION"),
        )
        return Result.status(f"Table {name} successfully created.")

    async def _make_way(self, connection, statement, database, schema, name) -> bool:
        """Whether a table of that name is to be made; one that is replaced is dropped."""
        # Two sessions that create the same table at once: the second waits here and then finds it.
        await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 1))", ("\x01".join((database, schema, name)),))
        existing = await self.storage.find_table(connection, database, schema, name)
        if existing is None:
            return True
        if statement.if_not_exists:
            return False
        if not statement.replace:
            raise errors.compilation("002002", "42710", f"Object '{database}.{schema}.{name}' already exists.")
        await self.storage.drop_table(connection, existing)
        return True

    async def create_table_like(self, connection, statement: Statement) -> Result:
        """Columns, defaults and nullability of the source, none of its rows, comment or parameters."""
        database, schema, name = self._table_key(statement.path)
        source = await self.storage.find_table(connection, *self._table_key(statement.source))
        if source is None:
            raise errors.missing_object("Table", ".".join(statement.source))
        self.session.privileges.require("CREATE TABLE", "SCHEMA", database, schema)
        if await self.storage.find_schema(connection, database, schema) is None:
            raise errors.missing_object("Schema", f"{database}.{schema}")
        if not await self._make_way(connection, statement, database, schema, name):
            return Result.status(f"{name} already exists, statement succeeded.")
        await self.storage.create_table(connection, database, schema, name, source.columns, owner=self.session.role)
        return Result.status(f"Table {name} successfully created.")

    async def drop_table(self, connection, statement: Statement) -> Result:
        table = await self._table(connection, statement)
        if table is None:
            return Result.status("Drop statement executed successfully (already dropped).")
        await self.storage.drop_table(connection, table)
        return Result.status(f"{table.name} successfully dropped.")

    async def drop_schema(self, connection, statement: Statement) -> Result:
        database, name = await self._schema_key(connection, statement.path)
        if not await self._drop_schema(connection, database, name) and not statement.if_exists:
            raise errors.missing_object("Schema", f"{database}.{name}")
        return Result.status(f"{name} successfully dropped.")

    async def _drop_schema(self, connection, database: str, name: str) -> bool:
        for table in await self.storage.list_tables(connection, database, name):
            await self.storage.drop_table(connection, table)
        schema_id = await self.storage.find_schema(connection, database, name)
        cursor = await connection.execute("DELETE FROM snowbox.schemas WHERE schema_id = %s", (schema_id,))
        return cursor.rowcount == 1

    async def drop_database(self, connection, statement: Statement) -> Result:
        name = self._one(statement.path)
        if not await self._drop_database(connection, name) and not statement.if_exists:
            raise errors.missing_object("Database", name)
        return Result.status(f"{name} successfully dropped.")

    async def _drop_database(self, connection, name: str) -> bool:
        for table in await self.storage.list_tables(connection, name):
            await self.storage.drop_table(connection, table)
        cursor = await connection.execute("DELETE FROM snowbox.databases WHERE name = %s", (name,))
        return cursor.rowcount == 1

    async def drop_warehouse(self, connection, statement: Statement) -> Result:
        cursor = await connection.execute("DELETE FROM snowbox.warehouses WHERE name = %s", (self._one(statement.path),))
        if cursor.rowcount == 0 and not statement.if_exists:
            raise errors.missing_object("Warehouse", statement.path[0])
        return Result.status(f"{statement.path[0]} successfully dropped.")

    async def truncate(self, connection, statement: Statement) -> Result:
        table = await self._table(connection, statement)
        if table is not None:
            await connection.execute("SELECT pg_advisory_xact_lock(%s)", (table.id,))
            await connection.execute(sql.SQL("DELETE FROM {}").format(self.storage.relation(table)))
        return Result.status("Statement executed successfully.")

    # ALTER TABLE

    async def alter_rename(self, connection, statement: Statement) -> Result:
        table = await self._table(connection, statement)
        if table is not None:
            database, schema, name = self._table_key(statement.to)
            schema_id = await self.storage.find_schema(connection, database, schema)
            if schema_id is None:
                raise errors.missing_object("Schema", f"{database}.{schema}")
            try:
                await connection.execute("UPDATE snowbox.tables SET schema_id = %s, name = %s WHERE table_id = %s", (schema_id, name, table.id))
            except psycopg.errors.UniqueViolation:
                raise errors.compilation("002002", "42710", f"Object '{name}' already exists.") from None
        return Result.status("Statement executed successfully.")

    async def alter_swap(self, connection, statement: Statement) -> Result:
        """Both names change in one transaction; what belongs to a table (comment, grants) goes with it."""
        table = await self._table(connection, statement)
        if table is not None:
            other = await self.storage.find_table(connection, *self._table_key(statement.to))
            if other is None:
                raise errors.missing_object("Table", ".".join(statement.to))
            if table.transient != other.transient:
                raise errors.compilation("000002", "0A000", "Swapping a transient table with a permanent one is not done here")
            update = "UPDATE snowbox.tables SET schema_id = (SELECT schema_id FROM snowbox.schemas JOIN snowbox.databases d USING (database_id) WHERE d.name = %s AND schemas.name = %s), name = %s WHERE table_id = %s"
            await connection.execute("UPDATE snowbox.tables SET name = %s WHERE table_id = %s", (f"\x01{table.id}", table.id))
            await connection.execute(update, (table.database, table.schema, table.name, other.id))
            await connection.execute(update, (other.database, other.schema, other.name, table.id))
        return Result.status("Statement executed successfully.")

    async def alter_rename_column(self, connection, statement: Statement) -> Result:
        table = await self._table(connection, statement)
        if table is not None:
            # Schema evolution may be adding a column of that name at this moment.
            await connection.execute("SELECT 1 FROM snowbox.tables WHERE table_id = %s FOR UPDATE", (table.id,))
            table = await self._table(connection, statement)
            self._column(table, statement.column)
            if any(column.name == statement.to for column in table.columns):
                raise errors.compilation("002025", "42S21", f"duplicate column name '{statement.to}'")
            await connection.execute("UPDATE snowbox.columns SET name = %s WHERE table_id = %s AND name = %s", (statement.to, table.id, statement.column))
            await connection.execute(
                sql.SQL("ALTER TABLE {} RENAME COLUMN {} TO {}").format(
                    self.storage.relation(table), self.storage.column(statement.column), self.storage.column(statement.to)
                )
            )
        return Result.status("Statement executed successfully.")

    def _column(self, table: Table, name: str) -> Column:
        for column in table.columns:
            if column.name == name:
                return column
        raise errors.compilation("000904", "42000", f"invalid identifier '{name}'")

    async def alter_add(self, connection, statement: Statement) -> Result:
        table = await self._table(connection, statement)
        if table is None:
            return Result.status("Statement executed successfully.")
        # Schema evolution may be adding columns at this moment: what it has added is there, and an error below.
        await connection.execute("SELECT 1 FROM snowbox.tables WHERE table_id = %s FOR UPDATE", (table.id,))
        table = await self._table(connection, statement)
        held = {column.name for column in table.columns}
        for column in statement.columns:
            if column.name in held and not statement.if_not_exists:
                raise errors.compilation("001430", "42601", f"column '{column.name}' already exists")
            if not column.nullable and column.default is None:
                raise errors.compilation("002039", "22000", f"Non-nullable column '{column.name}' cannot be added without a default")
        missing = [column for column in statement.columns if column.name not in held]
        # The rows that are there get the default, then the constraint can hold.
        relaxed = [dataclasses.replace(c, nullable=True) for c in missing]
        await self.storage.add_columns(connection, table, relaxed)
        for column in missing:
            if column.default is not None:
                value = self.session.check_default(column)
                update = sql.SQL("UPDATE {} SET {} = {}").format(self.storage.relation(table), self.storage.column(column.name), sql.SQL(value))
                await connection.execute(update)
            if not column.nullable:
                await connection.execute(sql.SQL("ALTER TABLE {} ALTER COLUMN {} SET NOT NULL").format(self.storage.relation(table), self.storage.column(column.name)))
                await connection.execute("UPDATE snowbox.columns SET nullable = false WHERE table_id = %s AND name = %s", (table.id, column.name))
        return Result.status("Statement executed successfully.")

    async def alter_drop(self, connection, statement: Statement) -> Result:
        table = await self._table(connection, statement)
        for name in statement.columns if table is not None else ():
            if statement.column_if_exists and all(column.name != name for column in table.columns):
                continue
            self._column(table, name)
            if len(table.columns) == len(statement.columns):
                raise errors.compilation("002262", "42601", "a table keeps at least one column")
            await connection.execute("DELETE FROM snowbox.columns WHERE table_id = %s AND name = %s", (table.id, name))
            await connection.execute(sql.SQL("ALTER TABLE {} DROP COLUMN {}").format(self.storage.relation(table), self.storage.column(name)))
        return Result.status("Statement executed successfully.")

    async def alter_set(self, connection, statement: Statement) -> Result:
        table = await self._table(connection, statement)
        columns = {
            "COMMENT": "comment",
            "ERROR_LOGGING": "error_logging",
            "ENABLE_SCHEMA_EVOLUTION": "schema_evolution",
            "DATA_RETENTION_TIME_IN_DAYS": "retention",
            "DEFAULT_DDL_COLLATION": "ddl_collation",
        }
        for name, value in statement.options.items() if table is not None else ():
            if name == "DATA_RETENTION_TIME_IN_DAYS" and not 0 <= value <= (1 if table.transient else 90):
                raise errors.compilation("001008", "22023", f"invalid value [{value}] for parameter '{name}'")
            if name in columns:
                await connection.execute(
                    sql.SQL("UPDATE snowbox.tables SET {} = %s WHERE table_id = %s").format(sql.Identifier(columns[name])), (value, table.id)
                )
            if name == "ERROR_LOGGING" and value:
                await self.storage.create_error_table(connection, table.id)
        return Result.status("Statement executed successfully.")

    async def alter_type(self, connection, statement: Statement) -> Result:
        """Only what Snowflake allows: a longer VARCHAR or BINARY, a NUMBER of higher precision and the same scale."""
        table = await self._table(connection, statement)
        if table is not None:
            column = self._column(table, statement.column)
            old, new = column.type, statement.type
            wider = old.kind == new.kind and (
                old.kind in ("VARCHAR", "BINARY") and new.length >= old.length or old.kind == "NUMBER" and new.scale == old.scale and new.precision >= old.precision
            )
            if not wider and old != new:
                raise errors.compilation("002108", "22000", f"cannot change column {column.name} from type {old.sql()} to {new.sql()}")
            await self._replace_type(connection, table, column, new)
        return Result.status("Statement executed successfully.")

    async def _replace_type(self, connection, table: Table, column: Column, new: Type) -> None:
        await connection.execute("UPDATE snowbox.columns SET type_text = %s WHERE table_id = %s AND name = %s", (new.sql(), table.id, column.name))
        relation, name = self.storage.relation(table), self.storage.column(column.name)
        cursor = await connection.execute(
            "SELECT conname FROM pg_constraint c JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = ANY (c.conkey) "
            "WHERE c.contype = 'c' AND c.conrelid = to_regclass(%s) AND a.attname = %s",
            (f"rows.t{table.id}", physical_name(column.name)),
        )
        for (constraint,) in await cursor.fetchall():
            await connection.execute(sql.SQL("ALTER TABLE {} DROP CONSTRAINT {}").format(relation, sql.Identifier(constraint)))
        changed = dataclasses.replace(column, type=new)
        await connection.execute(sql.SQL("ALTER TABLE {} ALTER COLUMN {} TYPE {}").format(relation, name, storage_type(changed)))
        check = new.check(name.as_string(connection))
        if check:
            await connection.execute(sql.SQL("ALTER TABLE {} ADD CHECK ({})").format(relation, sql.SQL(check)))

    async def alter_nullable(self, connection, statement: Statement) -> Result:
        table = await self._table(connection, statement)
        if table is not None:
            column = self._column(table, statement.column)
            await connection.execute("UPDATE snowbox.columns SET nullable = true WHERE table_id = %s AND name = %s", (table.id, column.name))
            await connection.execute(sql.SQL("ALTER TABLE {} ALTER COLUMN {} DROP NOT NULL").format(self.storage.relation(table), self.storage.column(column.name)))
        return Result.status("Statement executed successfully.")

    async def alter_warehouse(self, connection, statement: Statement) -> Result:
        cursor = await connection.execute("SELECT FROM snowbox.warehouses WHERE name = %s", (self._one(statement.path),))
        if cursor.rowcount != 1:
            raise errors.missing_object("Warehouse", statement.path[0])
        self.session.privileges.require("OPERATE" if statement.state else "MODIFY", "WAREHOUSE", statement.path[0])
        await self._set_warehouse(connection, statement.path[0], statement.options, statement.state)
        return Result.status("Statement executed successfully.")

    async def _set_warehouse(self, connection, name: str, options: dict, state: str | None) -> None:
        if "AUTO_SUSPEND" in options:
            await connection.execute("UPDATE snowbox.warehouses SET auto_suspend = %s WHERE name = %s", (options["AUTO_SUSPEND"], name))
        if "AUTO_RESUME" in options:
            await connection.execute("UPDATE snowbox.warehouses SET auto_resume = %s WHERE name = %s", (options["AUTO_RESUME"], name))
        if state or options.get("INITIALLY_SUSPENDED"):
            await connection.execute("UPDATE snowbox.warehouses SET state = %s WHERE name = %s", (state or "SUSPENDED", name))

    # USE

    async def use(self, connection, statement: Statement) -> Result:
        kind = statement.kind.split()[1]
        if kind == "SCHEMA":
            database, name = await self._schema_key(connection, statement.path)
            if await self.storage.find_schema(connection, database, name) is None:
                raise errors.compilation("002043", "02000", "Object does not exist, or operation cannot be performed.")
            self.session.database, self.session.schema = database, name
        elif kind == "DATABASE":
            name = self._one(statement.path)
            if not await self._has_database(connection, name):
                raise errors.compilation("002043", "02000", "Object does not exist, or operation cannot be performed.")
            has_public = await self.storage.find_schema(connection, name, "PUBLIC") is not None
            self.session.database, self.session.schema = name, "PUBLIC" if has_public else None
        elif kind == "WAREHOUSE":
            cursor = await connection.execute("SELECT FROM snowbox.warehouses WHERE name = %s", (self._one(statement.path),))
            if cursor.rowcount != 1:
                raise errors.compilation("002043", "02000", "Object does not exist, or operation cannot be performed.")
            self.session.warehouse = statement.path[0]
        else:
            self.session.use_role(self._one(statement.path))
        return Result.status("Statement executed successfully.")

    # SHOW and DESCRIBE

    async def show_databases(self, connection, statement: Statement) -> Result:
        cursor = await connection.execute("SELECT created_on::text, name, owner, comment FROM snowbox.databases ORDER BY name")
        rows = [
            [created, name, "N", "Y" if name == self.session.database else "N", "", owner, comment, "", "1", "STANDARD", "ROLE"]
            for created, name, owner, comment in await cursor.fetchall()
            if _like(name, statement.pattern) and self._shows(statement, "DATABASE", name)
        ]
        names = "name is_default is_current origin owner comment options retention_time kind owner_role_type"
        return _shown(names, rows)

    async def show_schemas(self, connection, statement: Statement) -> Result:
        wanted = await self._within(connection, statement)
        cursor = await connection.execute(
            "SELECT s.created_on::text, s.name, d.name, s.owner, s.comment, s.transient, s.retention FROM snowbox.schemas s JOIN snowbox.databases d USING (database_id) ORDER BY d.name, s.name"
        )
        rows = [
            [created, name, "N", "Y" if (database, name) == (self.session.database, self.session.schema) else "N", database, owner, comment]
            + ["TRANSIENT" if transient else "", str(retention), "ROLE"]
            for created, name, database, owner, comment, transient, retention in await cursor.fetchall()
            if _like(name, statement.pattern) and (not wanted or wanted[0] == database) and self._shows(statement, "SCHEMA", database, name)
        ]
        return _shown("name is_default is_current database_name owner comment options retention_time owner_role_type", rows)

    async def show_tables(self, connection, statement: Statement) -> Result:
        wanted = await self._within(connection, statement)
        rows = []
        for table in await self.storage.list_tables(connection, *(wanted + (None, None))[:2]):
            if not _like(table.name, statement.pattern) or not self.session.privileges.sees("TABLE", table.database, table.schema, table.name):
                continue
            cursor = await connection.execute(sql.SQL("SELECT count(*)::text FROM {}").format(self.storage.relation(table)))
            (count,) = await cursor.fetchone()
            created = datetime.datetime.fromtimestamp(table.created_on_ms / 1000, datetime.timezone.utc).isoformat()
            row = [created, table.name, table.database, table.schema, "TRANSIENT" if table.transient else "TABLE", table.comment, "", count, "0"]
            row += [table.owner, str(table.retention_days), "OFF", "OFF", "OFF", "N", "Y" if table.schema_evolution else "N", "ROLE", "N", "N", "N"]
            rows.append(row)
        names = "name database_name schema_name kind comment cluster_by rows bytes owner retention_time automatic_clustering change_tracking search_optimization"
        return _shown(names + " is_external enable_schema_evolution owner_role_type is_event is_hybrid is_iceberg", rows, {"rows": NUMBER, "bytes": NUMBER})

    async def show_columns(self, connection, statement: Statement) -> Result:
        wanted = await self._within(connection, statement)
        rows = []
        for table in await self.storage.list_tables(connection, *(wanted + (None, None, None))[:3]):
            for column in table.columns:
                if _like(column.name, statement.pattern):
                    rows.append([table.name, table.schema, column.name, column.type_text(), "true" if column.nullable else "NOT_NULL", column.default or "", "COLUMN", "", column.comment, table.database])
        names = "table_name schema_name column_name data_type null? default kind expression comment database_name"
        return Result([(name, TEXT) for name in names.split()], rows, "SHOW", len(rows))

    async def show_channels(self, connection, statement: Statement) -> Result:
        """Those of tables that are there. The columns are those of Snowflake's documentation of the command."""
        wanted, pipe = await self._within(connection, statement), None
        if statement.within == "PIPE":
            wanted, pipe = wanted[:2], wanted[2]
        tables = {table.id: table for table in await self.storage.list_tables(connection, *(wanted + (None, None, None))[:3])}
        cursor = await connection.execute(
            "SELECT table_id, name, pipe, created_on_ms, client_sequencer::text, row_sequencer::text, committed_token FROM streaming.channels ORDER BY pipe, name"
        )
        rows = []
        for table_id, name, of_pipe, created_ms, client, row, token in await cursor.fetchall():
            table = tables.get(table_id)
            if table is not None and pipe in (None, of_pipe) and _like(name, statement.pattern):
                created = datetime.datetime.fromtimestamp(created_ms / 1000, datetime.timezone.utc).isoformat()
                rows.append([created, name, table.database, table.schema, table.name, client, row, token])
        return _shown("name database_name schema_name table_name client_sequencer row_sequencer offset_token", rows)

    async def show_warehouses(self, connection, statement: Statement) -> Result:
        cursor = await connection.execute(
            "SELECT name, owner, comment, created_on::text, state, nullif(auto_suspend, 0)::text, auto_resume::text FROM snowbox.warehouses ORDER BY name"
        )
        rows = [
            [name, state, "STANDARD", "X-Small", "N", "Y" if name == self.session.warehouse else "N", suspend, resume, created, owner, comment]
            for name, owner, comment, created, state, suspend, resume in await cursor.fetchall()
            if _like(name, statement.pattern) and self._shows(statement, "WAREHOUSE", name)
        ]
        names = "name state type size is_default is_current auto_suspend auto_resume created_on owner comment"
        types = {"created_on": TIMESTAMP_LTZ, "auto_suspend": NUMBER}
        return Result([(name, types.get(name, TEXT)) for name in names.split()], rows, "SHOW", len(rows))

    async def show_parameters(self, connection, statement: Statement) -> Result:
        rows = [[key, str(value).lower() if isinstance(value, bool) else str(value), "", "SESSION", "", ""] for key, value in sorted(self.session.parameters.items()) if _like(key, statement.pattern)]
        return Result([(name, TEXT) for name in ("key", "value", "default", "level", "description", "type")], rows, "SHOW", len(rows))

    def _shows(self, statement: Statement, kind: str, *path: str) -> bool:
        """What the role may see; with WITH PRIVILEGES, what it holds all of these on."""
        found = self.session.privileges
        return found.sees(kind, *path) and all(found.has(privilege, kind, *path) for privilege in statement.wanted)

    async def _within(self, connection, statement: Statement) -> tuple[str, ...]:
        """Database, schema and table that SHOW is limited to; empty for the whole account."""
        path = statement.path
        if statement.within == "PIPE":
            return self._table_key(path)
        if statement.within == "TABLE":
            table = await self._table(connection, statement)
            return table.database, table.schema, table.name
        if statement.within == "SCHEMA":
            database, schema = await self._schema_key(connection, path)
            if await self.storage.find_schema(connection, database, schema) is None or not self.session.privileges.sees("SCHEMA", database, schema):
                raise errors.compilation("002043", "02000", "Object does not exist, or operation cannot be performed.")
            return database, schema
        if statement.within == "DATABASE":
            name = self._one(path)
            if not await self._has_database(connection, name) or not self.session.privileges.sees("DATABASE", name):
                raise errors.compilation("002043", "02000", "Object does not exist, or operation cannot be performed.")
            return (name,)
        if statement.within == "ACCOUNT":
            return ()
        return tuple(part for part in (self.session.database, self.session.schema if statement.kind != "SHOW SCHEMAS" else None) if part)

    async def describe(self, connection, statement: Statement) -> Result:
        table = await self._table(connection, statement)
        names = "name|type|kind|null?|default|primary key|unique key|check|expression|comment|policy name|privacy domain"
        rows = [
            [column.name, column.type_text(), "COLUMN", "Y" if column.nullable else "N", column.default, "N", "N", None, None, column.comment or None, None, None]
            for column in table.columns
        ]
        return Result([(name, TEXT) for name in names.split("|")], rows, "DESCRIBE", len(rows))


def _shown(names: str, rows: list, types: dict | None = None) -> Result:
    columns = [(_SHOWN_TIME, TIMESTAMP_LTZ)] + [(name, (types or {}).get(name, TEXT)) for name in names.split()]
    return Result(columns, rows, "SHOW", len(rows))


def _like(name: str, pattern: str | None) -> bool:
    """SHOW … LIKE: without regard to case; % and _ as in SQL, a backslash before one makes it plain."""
    if pattern is None:
        return True
    parts, index = [], 0
    while index < len(pattern):
        mark = pattern[index]
        if mark == "\\" and index + 1 < len(pattern):
            index += 1
            parts.append(re.escape(pattern[index]))
        else:
            parts.append({"%": ".*", "_": "."}.get(mark, re.escape(mark)))
        index += 1
    return re.fullmatch("".join(parts), name, re.IGNORECASE | re.DOTALL) is not None


_HANDLERS = {
    "GRANT PRIVILEGE": privileges.do_grant,
    "REVOKE PRIVILEGE": privileges.do_grant,
    "GRANT ROLE": privileges.do_grant_role,
    "REVOKE ROLE": privileges.do_grant_role,
    "ALTER USER": privileges.do_alter_user,
    "CREATE DATABASE": Objects.create_database,
    "CREATE SCHEMA": Objects.create_schema,
    "ALTER SCHEMA": Objects.alter_schema,
    "CREATE WAREHOUSE": Objects.create_warehouse,
    "CREATE TABLE": Objects.create_table,
    "CREATE TABLE LIKE": Objects.create_table_like,
    "CREATE PROCEDURE": procedures.do_create,
    "DROP PROCEDURE": procedures.do_drop,
    "CREATE TASK": tasks.do_create,
    "ALTER TASK": tasks.do_alter,
    "DROP TASK": tasks.do_drop,
    "CREATE ROLE": grants.do_create_role,
    "GRANT": grants.do_grant,
    "DROP TABLE": Objects.drop_table,
    "DROP SCHEMA": Objects.drop_schema,
    "DROP DATABASE": Objects.drop_database,
    "DROP WAREHOUSE": Objects.drop_warehouse,
    "TRUNCATE": Objects.truncate,
    "ALTER TABLE RENAME": Objects.alter_rename,
    "ALTER TABLE SWAP": Objects.alter_swap,
    "ALTER TABLE RENAME COLUMN": Objects.alter_rename_column,
    "ALTER TABLE ADD": Objects.alter_add,
    "ALTER TABLE DROP": Objects.alter_drop,
    "ALTER TABLE SET": Objects.alter_set,
    "ALTER TABLE SET TYPE": Objects.alter_type,
    "ALTER TABLE DROP NOT NULL": Objects.alter_nullable,
    "ALTER WAREHOUSE": Objects.alter_warehouse,
    "USE DATABASE": Objects.use,
    "USE SCHEMA": Objects.use,
    "USE WAREHOUSE": Objects.use,
    "USE ROLE": Objects.use,
    "SHOW DATABASES": Objects.show_databases,
    "SHOW SCHEMAS": Objects.show_schemas,
    "SHOW TABLES": Objects.show_tables,
    "SHOW COLUMNS": Objects.show_columns,
    "SHOW CHANNELS": Objects.show_channels,
    "SHOW TASKS": tasks.do_show,
    "SHOW GRANTS": grants.do_show,
    "SHOW WAREHOUSES": Objects.show_warehouses,
    "SHOW PARAMETERS": Objects.show_parameters,
    "DESCRIBE TABLE": Objects.describe,
}
# What commits an open transaction before it runs.
DDL = frozenset(kind for kind in _HANDLERS if kind.split()[0] in ("CREATE", "DROP", "ALTER", "GRANT", "REVOKE"))
