"""A session: one PostgreSQL connection with Snowflake's rules of transactions, parameters and locks.

Isolation is READ COMMITTED, one snapshot a statement. INSERT and streaming ingest wait for nobody; UPDATE, DELETE, MERGE and
TRUNCATE of one table wait for each other, as they do in Snowflake: an advisory lock on the table's id, taken before the
statement's snapshot. So no statement ever sees half of another, and PostgreSQL never re-evaluates a row in mid-statement.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager

import psycopg
from sqlglot.tokens import Token, TokenType

from . import dialect, errors, privileges, procedures
from .conversions import TEXT, Value, assign, cast, quote_literal
from .expressions import Scope
from .objects import DDL, Objects
from .results import Result
from .sftypes import Type
from .statements import Statement, parse_statement
from .storage import Column, Storage

RESULT_BYTES_MAX = 256 * 1024 * 1024
VERSION = "9.36.2"

# name -> (default, the check of a new value). What is not here is not a parameter; what has one possible value cannot be changed.
PARAMETERS = {
    "AUTOCOMMIT": (True, lambda value: value is True),
    "BINARY_INPUT_FORMAT": ("HEX", lambda value: value == "HEX"),
    "BINARY_OUTPUT_FORMAT": ("HEX", lambda value: value == "HEX"),
    "ERROR_ON_NONDETERMINISTIC_MERGE": (True, lambda value: value is True),
    "ERROR_ON_NONDETERMINISTIC_UPDATE": (False, lambda value: isinstance(value, bool)),
    "LOCK_TIMEOUT": (43200, lambda value: isinstance(value, int) and value >= 0),
    "MULTI_STATEMENT_COUNT": (1, lambda value: str(value).isdigit()),
    "QUERY_TAG": ("", lambda value: isinstance(value, str) and len(value) <= 2000),
    "STATEMENT_QUEUED_TIMEOUT_IN_SECONDS": (0, lambda value: isinstance(value, int) and value >= 0),
    "STATEMENT_TIMEOUT_IN_SECONDS": (172800, lambda value: isinstance(value, int) and 0 <= value <= 604800),
    "TIMESTAMP_TYPE_MAPPING": ("TIMESTAMP_NTZ", lambda value: value == "TIMESTAMP_NTZ"),
    # Snowflake's default, and a trap: CURRENT_TIMESTAMP() written into a TIMESTAMP_NTZ is California's wall clock.
    "TIMEZONE": ("America/Los_Angeles", lambda value: isinstance(value, str)),
    "TRANSACTION_ABORT_ON_ERROR": (False, lambda value: value is False),
}


class Session:
    """Runs statements one after the other. `facts` of the principal: user, role, roles, account.

    `recorder` hears of each statement; `hit` is awaited at the fault steps sql.execute and sql.before_commit.
    """

    def __init__(self, storage: Storage, connection, principal: dict, recorder=None, hit=None):
        self.storage = storage
        self.connection = connection
        self.user, self.role, self.roles, self.account = (principal[key] for key in ("user", "role", "roles", "account"))
        self.auth = principal.get("auth")
        self.privileges = privileges.Privileges(False, frozenset({self.role}))
        self.database: str | None = None
        self.schema: str | None = None
        self.warehouse: str | None = None
        self.parameters = {name: default for name, (default, _) in PARAMETERS.items()}
        self.in_transaction = False
        self.procedure_depth = 0
        self.is_canceled = False
        self.deadline: float | None = None  # of the request, by the monotonic clock
        self.timeout_seconds = 0
        self.objects = Objects(storage, self)
        self.recorder = recorder
        self.hit = hit

    # What the session is set to

    async def start(self, database: str | None, schema: str | None, warehouse: str | None, role: str | None) -> None:
        """The context that a request names; names as they are stored. An unknown one is simply not current, as in Snowflake."""
        if role:
            self.use_role(role)
        self.privileges = await privileges.read(self.connection, self.role)
        cursor = await self.connection.execute(
            "SELECT (SELECT name FROM snowbox.databases WHERE name = %s), (SELECT name FROM snowbox.warehouses WHERE name = %s)", (database, warehouse)
        )
        self.database, self.warehouse = await cursor.fetchone()
        if self.warehouse and not self.privileges.has("USAGE", "WAREHOUSE", self.warehouse):
            self.warehouse = None
        wanted = schema or "PUBLIC"
        if self.database and await self.storage.find_schema(self.connection, self.database, wanted) is not None:
            self.schema = wanted

    def use_role(self, role: str) -> None:
        granted = self.auth.users[self.user].roles if self.auth else self.roles
        if role not in granted:
            raise errors.SnowflakeError("390189", "42501", f"Role '{role}' specified in the connect string is not granted to this user.")
        self.role = role

    def set_parameter(self, name: str, value) -> None:
        if name not in PARAMETERS:
            raise errors.SnowflakeError("001423", "22023", f"SQL compilation error:\ninvalid property '{name}' for 'SESSION'")
        if not PARAMETERS[name][1](value):
            raise errors.SnowflakeError("001008", "22023", f"SQL compilation error:\ninvalid value [{value}] for parameter '{name}'")
        self.parameters[name] = value

    def complete(self, parts) -> tuple[str, str, str]:
        return dialect.Compiler(None, self.database, self.schema).complete(list(parts))

    def facts(self) -> dict[str, str | None]:
        return {
            "user": self.user,
            "role": self.role,
            "account": self.account,
            "warehouse": self.warehouse,
            "version": VERSION,
            "database": self.database,
            "schema": self.schema,
            "roles": self.privileges.roles,
        }

    def check_default(self, column: Column) -> str:
        """PostgreSQL's text of a column's DEFAULT, after making sure that it is an expression of constants."""
        if column.default is None:
            return f"NULL::{column.type.storage}"
        text = f"SELECT {column.default}"
        compiler = dialect.Compiler(dialect.parse(text, dialect.tokenize(text)), self.database, self.schema)
        compiler.compile({}, self.facts(), {}, [])
        return assign(compiler.queries.value(compiler.node.expressions[0], Scope()), column.type, column.name).sql

    # Running

    async def run(self, text: str, tokens: list[Token], *, variables: dict[str, Value] | None = None, bindings: list[Value] = (), source: str | None = None) -> Result:
        """One statement. `variables` are there inside a scripting block only; `source` is the text that the tokens are places in."""
        started = time.time()
        entry = {"text": text, "started_ms": int(started * 1000), "warehouse": None, "kind": ""}
        try:
            source = text if source is None else source
            statement = parse_statement(tokens, source)
            entry["kind"] = statement.kind
            if statement.kind in ("QUERY", "DML"):
                compiled = await self._compile(source, tokens, variables or {}, list(bindings))
                entry["kind"] = compiled.kind
                if compiled.needs_warehouse:
                    if self.warehouse is None:
                        raise errors.no_warehouse()
                    entry["warehouse"] = self.warehouse
                result = await self._execute(compiled)
            elif statement.kind == "CALL":
                result = await procedures.do_call(self, statement, variables or {})
            else:
                if bindings:
                    raise errors.compilation("002049", "42601", "Bindings are for queries and DML")
                result = await self._control(statement)
            entry["outcome"] = "success"
            entry["rows"] = result.row_count if result.kind in ("INSERT", "UPDATE", "DELETE", "MERGE") else len(result.rows)
            return result
        except errors.SnowflakeError as error:
            entry["outcome"] = f"{error.code}: {error.message}"
            raise
        finally:
            entry["ended_ms"] = int(time.time() * 1000)
            entry.setdefault("outcome", "interrupted")
            if self.recorder:
                self.recorder(entry)

    async def _control(self, statement: Statement) -> Result:
        kind = statement.kind
        if self.privileges.is_limited:
            self.privileges = await privileges.read(self.connection, self.role)
        if self.procedure_depth and self.in_transaction:
            procedures.refuse(kind, kind in DDL)
        if kind == "BEGIN":
            if self.in_transaction:
                raise errors.unsupported("BEGIN inside an open transaction")
            await self._postgres("BEGIN")
            self.in_transaction = True
            return Result.status("Statement executed successfully.", kind)
        if kind in ("COMMIT", "ROLLBACK"):
            await self.finish(commit=kind == "COMMIT")
            return Result.status("Statement executed successfully.", kind)
        if kind == "ALTER SESSION":
            if self.in_transaction:
                raise errors.unsupported("ALTER SESSION inside an open transaction")
            for name in statement.unset:
                self.set_parameter(name, PARAMETERS.get(name, (None,))[0])
            for name, value in statement.set.items():
                self.set_parameter(name, value)
            return Result.status("Statement executed successfully.", kind)
        if kind == "EXECUTE IMMEDIATE":
            return await self.execute_immediate(statement.text)
        if kind in DDL:
            await self.finish(commit=True)
        return await self._atomic(lambda: self.objects.run(self.connection, statement), changes=kind in DDL or kind == "TRUNCATE")

    async def execute_immediate(self, text: str) -> Result:
        from .scripting import is_block, run_block

        tokens = dialect.tokenize(text)
        while tokens and tokens[-1].token_type == TokenType.SEMICOLON:
            tokens = tokens[:-1]
        if is_block(tokens):
            return await run_block(self, tokens, text)
        if any(token.token_type == TokenType.SEMICOLON for token in tokens):
            raise errors.unsupported("several statements in EXECUTE IMMEDIATE without a block")
        return await self.run(text, tokens)

    async def finish(self, *, commit: bool) -> None:
        if self.in_transaction:
            if commit and self.hit:
                await self.hit("sql.before_commit")
            if commit:
                self._check_interrupted()
            await self._postgres("COMMIT" if commit else "ROLLBACK")
            self.in_transaction = False

    async def _compile(self, text: str, tokens: list[Token], variables: dict[str, Value], bindings: list[Value]) -> dialect.Compiled:
        node = dialect.parse(text, tokens)
        compiler = dialect.Compiler(node, self.database, self.schema)
        tables = {key: await self.storage.find_table(self.connection, *key) for key in compiler.table_keys()}
        if self.privileges.is_limited:
            self.privileges = await privileges.read(self.connection, self.role)  # what was made meanwhile is the role's own
            tables = {key: table if self.privileges.has("SELECT", "TABLE", *key) and self.privileges.sees("TABLE", *key) else None for key, table in tables.items()}
        return compiler.compile(tables, self.facts(), variables, bindings)

    async def _execute(self, compiled: dialect.Compiled) -> Result:
        if self.hit:
            await self.hit("sql.execute")
        return await self._atomic(lambda: self._run_compiled(compiled), changes=compiled.kind != "SELECT")

    async def _run_compiled(self, compiled: dialect.Compiled) -> Result:
        if compiled.kind == "SELECT":
            return Result(compiled.columns, await self._fetch(compiled.sql), "SELECT")
        relation = f"rows.t{compiled.target.id}"
        if compiled.kind != "INSERT":
            await self.connection.execute("SELECT pg_advisory_xact_lock(%s)", (compiled.target.id,))
        counts = (
            "SELECT pg_stat_get_xact_tuples_inserted(r), pg_stat_get_xact_tuples_updated(r), pg_stat_get_xact_tuples_deleted(r) "
            f"FROM (SELECT to_regclass('{relation}')::oid AS r) AS o"
        )
        before = await (await self.connection.execute(counts)).fetchone()
        await self.connection.execute(compiled.sql.encode())
        after = await (await self.connection.execute(counts)).fetchone()
        return Result.changed(compiled.kind, *(int(b) - int(a) for a, b in zip(before, after)))

    async def _fetch(self, sql: str) -> list[list[str | None]]:
        cursor = await self.connection.execute(sql.encode())
        raw = cursor.pgresult
        rows, size = [], 0
        width = range(raw.nfields)
        for index in range(raw.ntuples):
            row = [raw.get_value(index, column) for column in width]
            size += sum(len(value) for value in row if value is not None)
            rows.append([None if value is None else value.decode() for value in row])
            if size > RESULT_BYTES_MAX:
                raise errors.unsupported(f"a result of more than {RESULT_BYTES_MAX} bytes")
        return rows

    async def evaluate(self, sql: str) -> str | None:
        """The value of an expression, outside of any table."""
        return (await self._atomic(lambda: self._fetch(f"SELECT {sql}")))[0][0]

    async def _atomic(self, work, *, changes: bool = False):
        """The statement by itself: in a transaction of its own, or with a savepoint in the open one, which a failure leaves open."""
        opening, closing, undoing = ("SAVEPOINT s", "RELEASE s", "ROLLBACK TO s; RELEASE s") if self.in_transaction else ("BEGIN", "COMMIT", "ROLLBACK")
        async with self._interruptible():
            await self.connection.execute(f"{opening}; {self._settings()}")
            try:
                result = await work()
                if changes and not self.in_transaction and self.hit:
                    await self.hit("sql.before_commit")
                self._check_interrupted()
                await self.connection.execute(closing)
                return result
            except BaseException as error:
                if not self.connection.closed and not isinstance(error, asyncio.CancelledError):
                    await self.connection.execute(undoing)
                raise

    async def _postgres(self, statement: str) -> None:
        try:
            await self.connection.execute(statement)
        except psycopg.Error as error:
            raise errors.from_postgres(error) from None

    def _settings(self) -> str:
        """Limits that hold from here: transactional in PostgreSQL, so they are set again for each statement."""
        lock_ms = self.parameters["LOCK_TIMEOUT"] * 1000 or 1
        limit = self.parameters["STATEMENT_TIMEOUT_IN_SECONDS"] or 604800
        remaining_ms = limit * 1000
        if self.deadline is not None:
            remaining_ms = min(remaining_ms, max(1, int((self.deadline - time.monotonic()) * 1000)))
        zone = quote_literal(self.parameters["TIMEZONE"])
        # Snowflake joins by hash. PostgreSQL takes what comes out of a CTE with window functions for a handful of rows and would
        # choose nested loops: minutes instead of seconds for a merge of some 10,000 rows.
        return f"SET LOCAL enable_nestloop = off; SET LOCAL lock_timeout = {min(lock_ms, 2**31 - 1)}; SET LOCAL statement_timeout = {remaining_ms}; SET LOCAL TIME ZONE {zone}"

    def _check_interrupted(self) -> None:
        """A cancel or the end of the time that came while PostgreSQL was not at work."""
        if self.is_canceled:
            raise errors.canceled()
        if self.deadline is not None and time.monotonic() >= self.deadline:
            raise errors.timed_out(self.timeout_seconds)

    @asynccontextmanager
    async def _interruptible(self):
        self._check_interrupted()
        try:
            yield
        except psycopg.errors.QueryCanceled:
            raise self._interruption() from None
        except psycopg.errors.UndefinedTable as error:
            raise errors.missing_object("Table", str(error.diag.message_primary)) from None
        except psycopg.Error as error:
            raise errors.from_postgres(error) from None

    def _interruption(self) -> errors.SnowflakeError:
        if self.is_canceled:
            return errors.canceled()
        seconds = self.timeout_seconds if self.deadline is not None and time.monotonic() >= self.deadline - 0.05 else self.parameters["STATEMENT_TIMEOUT_IN_SECONDS"]
        return errors.timed_out(seconds)

    async def cancel(self) -> None:
        self.is_canceled = True
        await self.connection.cancel_safe()

    async def end(self) -> None:
        """What is not committed is gone."""
        if not self.connection.closed:
            await self.connection.execute("ROLLBACK")
        self.in_transaction = False


def binding_value(kind: str, text: str | None) -> Value:
    """A binding of the SQL API. Dates and times come as TEXT: their own types count milliseconds, which nobody needs here."""
    types = {"TEXT": TEXT, "FIXED": None, "REAL": Type("FLOAT"), "BOOLEAN": Type("BOOLEAN"), "BINARY": Type("BINARY", length=67_108_864)}
    if kind not in types:
        raise errors.unsupported(f"a binding of type {kind}")
    if text is None:
        return Value("NULL::text", None)
    value = Value(f"{quote_literal(text)}::text", Type("VARCHAR", length=max(1, len(text))), constant=text)
    if kind == "FIXED":
        fraction = len(text.partition(".")[2])
        return cast(value, Type("NUMBER", precision=38, scale=min(37, fraction)))
    return value if kind == "TEXT" else cast(value, types[kind])
