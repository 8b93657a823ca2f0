"""The SQL API: POST /api/v2/statements, its status, its partitions, its cancel.

A request is a session. Its statements run in a task of their own, so that they go on when the client hangs up, and the
request id of a submission is remembered together with it: a retry finds the first one, whether it has ended or not.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections import deque
from dataclasses import dataclass, field

import orjson
from aiohttp import web
from sqlglot.tokens import Token, TokenType

from . import dialect, errors, tasks
from .conversions import TEXT
from .faults import delay
from .results import Result, encode_rows, row_type
from .scripting import is_block
from .session import PARAMETERS, Session, binding_value
from .storage import Storage

log = logging.getLogger("snowbox.sqlapi")

SYNCHRONOUS_SECONDS_MAX = 45
TIMEOUT_SECONDS_MAX = 604_800
STATEMENTS_KEPT_MAX = 2_000
LOG_ENTRIES_MAX = 20_000
LOG_TEXT_MAX = 20_000
PARTITION_BYTES_MAX = 8 * 1024 * 1024
STORED_BYTES_MAX = 1024 * 1024
BODY_FIELDS = frozenset({"statement", "timeout", "database", "schema", "warehouse", "role", "bindings", "parameters"})
_RESULT_PARAMETERS = frozenset(
    {"BINARY_OUTPUT_FORMAT", "DATE_OUTPUT_FORMAT", "TIME_OUTPUT_FORMAT", "TIMESTAMP_OUTPUT_FORMAT", "CLIENT_RESULT_CHUNK_SIZE", "USE_CACHED_RESULT", "ROWS_PER_RESULTSET"}
)


class BadRequest(Exception):
    """The request itself is wrong: HTTP 400."""

    def __init__(self, message: str, code: str = "390400"):
        super().__init__(message)
        self.code = code


@dataclass
class Execution:
    """One submitted statement (or one statement of several), until long after its end."""

    handle: str
    user: str
    text: str
    created_on_ms: int
    task: asyncio.Task | None = None
    session: Session | None = None
    result: Result | None = None
    error: errors.SnowflakeError | None = None
    children: list["Execution"] = field(default_factory=list)
    done: asyncio.Event = field(default_factory=asyncio.Event)
    is_cancel_wanted: bool = False
    partitions: list[list] | None = None
    request_id: str | None = None
    stored: tuple[int, bytes] | None = None  # the answer as it was given before a restart


@dataclass
class Submission:
    """What a request asked for, checked."""

    text: str
    statements: list[list[Token]]
    timeout_seconds: int
    context: dict[str, str | None]
    parameters: dict
    bindings: list
    is_multiple: bool = False


class SqlApi:
    def __init__(self, storage: Storage, auth, faults=None):
        self.storage = storage
        self.auth = auth
        self.faults = faults
        self.executions: dict[str, Execution] = {}
        self.by_request: dict[tuple[str, str], Execution] = {}
        self.entries: deque[dict] = deque(maxlen=LOG_ENTRIES_MAX)
        self.statement_count = 0
        self.wake_count = 0

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/api/v2/statements", self.submit),
            web.get("/api/v2/statements/{handle}", self.status),
            web.post("/api/v2/statements/{handle}/cancel", self.cancel),
        ]

    def statistics(self) -> dict:
        """What was executed, newest last; `warehouse` names the one that a statement woke or kept awake."""
        return {"statements": self.statement_count, "warehouse_statements": self.wake_count, "log": list(self.entries)}

    def _record(self, entry: dict) -> None:
        self.statement_count += 1
        self.wake_count += entry["warehouse"] is not None
        self.entries.append({**entry, "text": entry["text"][:LOG_TEXT_MAX]})

    async def _hit(self, step: str) -> None:
        """The fault steps inside an execution; those around a request (sql.submit, sql.poll) are the server's."""
        fault = self.faults.take(step)
        if fault is None:
            return
        await delay(fault)
        if fault.status is not None or fault.reset:
            raise errors.SnowflakeError(fault.code or "000603", "XX000", fault.message)

    # Requests

    async def submit(self, request: web.Request) -> web.StreamResponse:
        principal = self.auth.authenticate(request)
        is_async = _flag(request, "async")
        request_id = request.query.get("requestId")
        try:
            if request_id is not None:
                uuid.UUID(request_id)
        except ValueError:
            return _answer(400, {"code": "390400", "message": f"requestId is not a UUID: {request_id[:60]}"})
        # Read first: between looking for an earlier submission and taking note of this one nothing else may run.
        body = await request.read()
        is_retry = request_id is not None and _flag(request, "retry")
        earlier = await self._stored(principal.user, request_id=request_id) if is_retry and (principal.user, request_id) not in self.by_request else None
        execution = (self.by_request.get((principal.user, request_id)) or earlier) if is_retry else None
        if execution is None:
            try:
                submission = _parse_body(body, request.content_type)
            except BadRequest as error:
                return _answer(400, {"code": error.code, "message": str(error)})
            except errors.SnowflakeError as error:
                return _failure(self._new(principal.user, ""), error)
            execution = self._new(principal.user, submission.text)
            if request_id:
                execution.request_id = request_id
                self.by_request[principal.user, request_id] = execution
            execution.task = asyncio.create_task(self._execute(execution, submission, principal))
        if not is_async:
            try:
                await asyncio.wait_for(execution.done.wait(), SYNCHRONOUS_SECONDS_MAX)
            except asyncio.TimeoutError:
                pass
        return self._response(execution)

    async def status(self, request: web.Request) -> web.StreamResponse:
        execution = await self._find(request)
        if execution is None:
            return _answer(404, {"code": "000709", "sqlState": "02000", "message": f"Statement {request.match_info['handle'][:60]} not found"})
        partition = request.query.get("partition", "0")
        if not partition.isdigit():
            return _answer(400, {"code": "390400", "message": "partition must be a number"})
        return self._response(execution, int(partition))

    async def cancel(self, request: web.Request) -> web.StreamResponse:
        execution = await self._find(request)
        if execution is None:
            return _answer(404, {"code": "000709", "sqlState": "02000", "message": f"Statement {request.match_info['handle'][:60]} not found"})
        if execution.done.is_set():
            error = errors.SnowflakeError("000605", "02000", "Identified SQL statement is not currently executing.")
            return _failure(execution, error)
        execution.is_cancel_wanted = True
        if execution.session is not None:
            await execution.session.cancel()
        await execution.done.wait()
        return _answer(200, {**_head(execution), "code": "000604", "sqlState": "57014", "message": "SQL execution canceled"})

    async def _find(self, request: web.Request) -> Execution | None:
        principal = self.auth.authenticate(request)
        handle = request.match_info["handle"]
        execution = self.executions.get(handle) or await self._stored(principal.user, handle=handle)
        return execution if execution is not None and execution.user == principal.user else None

    async def _stored(self, user: str, *, handle: str | None = None, request_id: str | None = None) -> Execution | None:
        """A request of before a restart. One that was running then has ended: nobody can say more about it than that."""
        async with self.storage.connection() as connection:
            cursor = await connection.execute(
                "SELECT handle, created_on_ms, status, body, request_id FROM snowbox.requests WHERE user_name = %s AND (handle = %s OR request_id = %s) "
                "ORDER BY created_on_ms DESC LIMIT 1",
                (user, handle, request_id),
            )
            row = await cursor.fetchone()
        if row is None:
            return None
        if row[0] in self.executions:
            return self.executions[row[0]]
        execution = Execution(row[0], user, "", row[1], request_id=row[4])
        if row[2] is None:
            execution.error = errors.SnowflakeError("000603", "XX000", "SQL execution internal error: interrupted by a restart, with or without effect")
        else:
            execution.stored = row[2], row[3].encode()
        execution.done.set()
        return execution

    def _new(self, user: str, text: str) -> Execution:
        execution = Execution(str(uuid.uuid4()), user, text, int(time.time() * 1000))
        self.executions[execution.handle] = execution
        if len(self.executions) > STATEMENTS_KEPT_MAX:
            oldest = next((handle for handle, kept in self.executions.items() if kept.done.is_set()), None)
            if oldest:
                gone = self.executions.pop(oldest)
                self.by_request = {key: kept for key, kept in self.by_request.items() if kept is not gone}
        return execution

    # Execution

    async def _execute(self, execution: Execution, submission: Submission, principal) -> None:
        try:
            async with self.storage.connection() as connection:
                if execution.request_id:
                    await connection.execute(
                        "INSERT INTO snowbox.requests (handle, user_name, request_id, created_on_ms) VALUES (%s, %s, %s, %s)",
                        (execution.handle, execution.user, execution.request_id, execution.created_on_ms),
                    )
                await self._run_session(execution, submission, principal, connection)
        except errors.SnowflakeError as error:
            execution.error = error
        except Exception:
            log.exception("statement %s failed in the stand-in: %s", execution.handle, execution.text[:500])
            execution.error = errors.SnowflakeError("000603", "XX000", "SQL execution internal error: the stand-in failed; see its log")
        finally:
            for child in execution.children:
                if not child.done.is_set():
                    child.error = child.error or errors.canceled()
                    child.done.set()
            execution.session = None
            if execution.request_id:
                await self._store(execution)
            execution.done.set()

    async def _store(self, execution: Execution) -> None:
        """Keeps the answer. One that is too long to keep is one that a retry may have to ask for again under a new id."""
        answer = self._outcome(execution, 0)
        if len(answer.body) > STORED_BYTES_MAX:
            return
        try:
            async with self.storage.connection() as connection:
                await connection.execute(
                    "UPDATE snowbox.requests SET status = %s, body = %s WHERE handle = %s", (answer.status, answer.body.decode(), execution.handle)
                )
        except Exception:
            log.exception("the answer to %s could not be kept", execution.handle)

    async def _run_session(self, execution: Execution, submission: Submission, principal, connection) -> None:
        facts = {"user": principal.user, "role": getattr(principal, "role", "") or principal.role_default, "roles": principal.roles}
        session = Session(self.storage, connection, {**facts, "account": getattr(self.auth, "account", "SANDBOX"), "auth": self.auth}, self._record, self._hit if self.faults else None)
        execution.session = session
        session.is_canceled = execution.is_cancel_wanted
        if submission.timeout_seconds:
            session.timeout_seconds = submission.timeout_seconds
            session.deadline = time.monotonic() + submission.timeout_seconds
        context = submission.context
        try:
            await session.start(context["database"], context["schema"], context["warehouse"], context["role"])
            for name, value in submission.parameters.items():
                session.set_parameter(name, value)
            if not submission.is_multiple:
                execution.result = await self._run_one(session, submission.statements[0], submission.text, submission.bindings)
                return
            await self._run_several(execution, session, submission)
        finally:
            await session.end()

    async def _run_one(self, session: Session, tokens: list[Token], text: str, bindings: list) -> Result:
        if is_block(tokens):
            return await session.execute_immediate(text)
        part = text[tokens[0].start : tokens[-1].end + 1]
        return await session.run(part, tokens, bindings=bindings, source=text)

    async def _run_several(self, execution: Execution, session: Session, submission: Submission) -> None:
        """One after the other in one session; the first that fails ends them all, its transaction with it."""
        if session.warehouse is None:
            raise errors.no_warehouse()
        for tokens in submission.statements:
            child = self._new(execution.user, submission.text[tokens[0].start : tokens[-1].end + 1])
            execution.children.append(child)
            try:
                child.result = await session.run(child.text, tokens, source=submission.text)
            except errors.SnowflakeError as error:
                child.error = error
                raise
            finally:
                child.done.set()
        execution.result = Result([("multiple statement execution", TEXT)], [["Multiple statements executed successfully."]], "MULTIPLE")

    # Answers

    def _response(self, execution: Execution, partition: int = 0) -> web.StreamResponse:
        if not execution.done.is_set():
            message = "Asynchronous execution in progress. Use provided query id to perform query monitoring and management."
            return _answer(202, {**_head(execution), "code": "333334", "sqlState": None, "message": message})
        return self._outcome(execution, partition)

    def _outcome(self, execution: Execution, partition: int) -> web.Response:
        if execution.stored is not None:
            return web.Response(body=execution.stored[1], status=execution.stored[0], content_type="application/json")
        if execution.error is not None:
            return _failure(execution, execution.error)
        result = execution.result
        if execution.partitions is None:
            execution.partitions = _partitions(encode_rows(result))
        if partition >= len(execution.partitions):
            return _answer(400, {"code": "390400", "message": f"there is no partition {partition}"})
        if partition:
            return _answer(200, {"data": execution.partitions[partition]})
        body = {
            "resultSetMetaData": {
                "numRows": len(result.rows),
                "format": "jsonv2",
                "partitionInfo": [{"rowCount": len(part), "uncompressedSize": sum(len(cell or "") for row in part for cell in row)} for part in execution.partitions],
                "rowType": [row_type(name, type_) for name, type_ in result.columns],
            },
            "data": execution.partitions[0],
            "code": "090001",
            **_head(execution),
            "sqlState": "00000",
            "message": "Statement executed successfully.",
            "requestId": execution.handle,
        }
        if result.stats:
            body["stats"] = result.stats
        if execution.children:
            body["statementHandles"] = [child.handle for child in execution.children]
        return _answer(200, body)


def routes(storage: Storage, auth, faults=None) -> list[web.RouteDef]:
    return SqlApi(storage, auth, faults).routes()


def _flag(request: web.Request, name: str) -> bool:
    return request.query.get(name, "false").lower() == "true"


def _head(execution: Execution) -> dict:
    return {
        "statementHandle": execution.handle,
        "createdOn": execution.created_on_ms,
        "statementStatusUrl": f"/api/v2/statements/{execution.handle}",
    }


def _failure(execution: Execution, error: errors.SnowflakeError) -> web.Response:
    execution.error = error
    execution.done.set()
    status = 408 if error.code == "000630" else 422
    return _answer(status, {"code": error.code, "message": error.message, "sqlState": error.sql_state, **_head(execution)})


def _answer(status: int, body: dict) -> web.Response:
    return web.Response(body=orjson.dumps(body), status=status, content_type="application/json")


def _partitions(rows: list[list[str | None]]) -> list[list]:
    parts, part, size = [], [], 0
    for row in rows:
        part.append(row)
        size += sum(len(cell or "") + 3 for cell in row)
        if size > PARTITION_BYTES_MAX:
            parts.append(part)
            part, size = [], 0
    return parts + [part] if part or not parts else parts


def _parse_body(body: bytes, content_type: str) -> Submission:
    """The request's JSON, every field checked. Stricter than Snowflake in one thing: an unknown field is refused."""
    if content_type != "application/json":
        raise BadRequest("Content-Type must be application/json")
    try:
        fields = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"the body is not JSON: {error}") from None
    if not isinstance(fields, dict) or set(fields) - BODY_FIELDS:
        raise BadRequest(f"unknown fields: {', '.join(sorted(set(fields) - BODY_FIELDS))}" if isinstance(fields, dict) else "the body must be a JSON object")
    text = fields.get("statement")
    if not isinstance(text, str) or not text.strip():
        raise BadRequest("statement is needed, as a string")
    timeout = fields.get("timeout", 0)
    if isinstance(timeout, bool) or not isinstance(timeout, int) or not 0 <= timeout <= TIMEOUT_SECONDS_MAX:
        raise BadRequest("timeout must be a number of seconds up to 604800")
    context = {}
    for name in ("database", "schema", "warehouse", "role"):
        value = fields.get(name)
        if value is not None and not isinstance(value, str):
            raise BadRequest(f"{name} must be a string")
        context[name] = value or None
    parameters = dict(fields.get("parameters") or {})
    count_wanted = str(parameters.pop("MULTI_STATEMENT_COUNT", "1"))
    if not count_wanted.isdigit():
        raise BadRequest("MULTI_STATEMENT_COUNT must be a number")
    statements = _split(text)
    if int(count_wanted) not in (0, len(statements)):
        raise errors.SnowflakeError("000008", "0A000", f"Actual statement count {len(statements)} did not match the desired statement count {count_wanted}.")
    is_multiple = len(statements) > 1
    bindings = _bindings(fields.get("bindings"))
    if is_multiple and bindings:
        raise errors.SnowflakeError("000002", "0A000", "Bindings are not supported in multi-statement requests")
    return Submission(text, statements, timeout, context, _parameters(parameters), bindings, is_multiple)


def _split(text: str) -> list[list[Token]]:
    """The statements of a text. One that is a scripting block stays whole, also as the body of a task."""
    tokens = dialect.tokenize(text)
    while tokens and tokens[-1].token_type == TokenType.SEMICOLON:
        tokens = tokens[:-1]
    if not tokens:
        raise errors.SnowflakeError("000900", "42601", "SQL compilation error:\nEmpty SQL statement.")
    if is_block(tokens) or is_block(tasks.body(tokens)):
        return [tokens]
    statements: list[list[Token]] = [[]]
    for token in tokens:
        if token.token_type == TokenType.SEMICOLON:
            statements.append([])
        else:
            statements[-1].append(token)
    if any(not statement for statement in statements):
        raise errors.SnowflakeError("000900", "42601", "SQL compilation error:\nEmpty SQL statement.")
    return statements


def _parameters(given: dict) -> dict:
    """Session parameters come as strings; they are given the type of the parameter's default."""
    parameters = {}
    for name, value in given.items():
        name = name.upper()
        if name == "ROWS_PER_RESULTSET" and str(value) == "0":
            continue  # all of them, as it is done here
        if name in _RESULT_PARAMETERS:
            raise BadRequest(f"the stand-in always answers in the default formats: leave out the parameter {name}")
        default = PARAMETERS.get(name, (None,))[0]
        if isinstance(default, bool) and isinstance(value, str):
            value = {"true": True, "false": False}.get(value.lower(), value)
        elif isinstance(default, int) and isinstance(value, str) and value.isdigit():
            value = int(value)
        parameters[name] = value
    return parameters


def _bindings(given) -> list:
    if not given:
        return []
    if not isinstance(given, dict) or sorted(given, key=lambda key: int(key) if key.isdigit() else 0) != [str(i + 1) for i in range(len(given))]:
        raise BadRequest('bindings must be an object with the keys "1", "2", …')
    values = []
    for index in range(len(given)):
        binding = given[str(index + 1)]
        if not isinstance(binding, dict) or set(binding) != {"type", "value"} or not (binding["value"] is None or isinstance(binding["value"], str)):
            raise BadRequest(f'binding {index + 1} must be {{"type": …, "value": …}} with a string as its value')
        values.append(binding_value(binding["type"], binding["value"]))
    return values
