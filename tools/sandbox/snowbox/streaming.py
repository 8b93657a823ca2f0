"""The REST interface of Snowpipe Streaming: paths, headers and bodies. What the requests do is in channels.py and commits.py."""

from __future__ import annotations

import asyncio
import hashlib
import re
import urllib.parse
import uuid

import orjson
from aiohttp import web

from . import channels as channel_module
from . import faults as fault_module
from . import privileges
from .auth import Auth, RequestError
from .channels import Append, Channel, Channels, Pipe
from .faults import ConnectionReset, Fault, FaultPlan, now_ms
from .rows import FOLDABLE_NAME, BodyError, unpack

# 4 MB in Snowflake's documentation: 4 × 1024 × 1024 bytes, as sent over the wire.
WIRE_BYTES_MAX = 4 * 1024 * 1024
STATUS_CHANNELS_MAX = 1_000
IDENTIFIER_CHARACTERS_MAX = 255
OFFSET_TOKEN_CHARACTERS_MAX = 1_024
PIPE_SUFFIX = "-STREAMING"
# The pipe of a table whose name needs no quotes is commonly sent without quotes, hyphen and all.
UNQUOTED_PIPE = re.compile(FOLDABLE_NAME.pattern + "-streaming", re.IGNORECASE)
APPEND_PARAMETERS = frozenset({"continuationToken", "startOffsetToken", "endOffsetToken", "requestId", "retryCount"})
COMMON_PARAMETERS = frozenset({"requestId", "retryCount"})
RESERVED_CHANNEL = "ELASTIC"
STAGE_LIFE_MS = 3_600_000
# Up to here unpacking and hashing is done in the event loop.
INLINE_BYTES_MAX = 32 * 1024


class Streaming:
    def __init__(self, storage, auth: Auth, channels: Channels, faults: FaultPlan, *, binary_format: str):
        self.storage, self.auth, self.channels, self.faults = storage, auth, channels, faults
        self.binary_format = binary_format
        self.answers_json = False  # hostname and token as JSON objects; live Snowflake answers plain text
        # Snowflake's SDK adds its account URL's port to the host it is told; other clients take the host as it is.
        self.answers_port = True

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/v2/streaming/hostname", self.hostname),
            web.post("/oauth/token", self.token),
            web.post("/telemetry/send/sessionless", self.telemetry),
            web.route("*", "/v2/streaming/{tail:.*}", self.dispatch),
        ]

    # ----- account host

    async def hostname(self, request: web.Request) -> web.Response:
        await self._step(request, "hostname")
        self.auth.authenticate(request)
        host = self.auth.ingest_host if self.answers_port else self.auth.ingest_host_name
        return json_response({"hostname": host}) if self.answers_json else web.Response(text=host)

    async def token(self, request: web.Request) -> web.Response:
        await self._step(request, "token")
        if request.content_type != "application/x-www-form-urlencoded":
            raise RequestError(400, "390400", "the content type must be application/x-www-form-urlencoded")
        pairs = urllib.parse.parse_qsl((await request.read()).decode("utf-8", "replace"), keep_blank_values=True)
        token = self.auth.exchange(request, dict(pairs))
        return json_response({"token": token}) if self.answers_json else web.Response(text=token)

    async def telemetry(self, request: web.Request) -> web.Response:
        """Snowflake's SDK sends metrics of its own; nobody reads them here."""
        await request.read()
        return json_response({"code": None, "data": "Log Received", "message": None, "success": True})

    # ----- ingest host

    async def dispatch(self, request: web.Request) -> web.Response:
        # By the path as it was sent: names may hold any character, an encoded slash too.
        segments = request.raw_path.partition("?")[0].split("/")[3:]
        is_data = segments[0] == "data"
        if is_data:
            segments = segments[1:]
        if len(segments) < 6 or segments[0::2][:3] != ["databases", "schemas", "pipes"]:
            raise RequestError(404, "390404", "no such resource")
        method, rest = request.method, segments[6:]
        pipe_segment, _, action = segments[5].partition(":")
        if not is_data and not rest and method == "POST" and action in ("bulk-channel-status", "pipe-info"):
            step = "status" if action == "bulk-channel-status" else "pipe_info"
            handler = self.bulk_status if action == "bulk-channel-status" else self.pipe_info
        elif len(rest) == 2 and rest[0] == "channels" and not is_data and method in ("PUT", "DELETE"):
            step, handler, pipe_segment = ("open", self.open, segments[5]) if method == "PUT" else ("drop", self.drop, segments[5])
        elif len(rest) == 3 and rest[0] == "channels" and rest[2] == "rows" and is_data and method == "POST":
            step, handler, pipe_segment = "append.before", self.append, segments[5]
        else:
            raise RequestError(404, "390404", "no such resource, or not with this method")
        channel_name = identifier(rest[1], "channel") if rest else None
        check_query(request, APPEND_PARAMETERS if step == "append.before" else COMMON_PARAMETERS)
        if step == "append.before":
            # Read before anything is answered: a client that is still sending would see a reset instead of the answer.
            request["body"] = await read_body(request)
        await self._step(request, step, channel_name)
        principal = self.auth.authenticate_scoped(request)
        pipe = Pipe(identifier(segments[1], "database"), identifier(segments[3], "schema"), pipe_identifier(pipe_segment))
        if step == "open":
            await self._require_insert(principal, pipe)
        return await (handler(request, pipe, channel_name) if channel_name is not None else handler(request, pipe))

    async def open(self, request: web.Request, pipe: Pipe, channel_name: str) -> web.Response:
        options = await read_options(request, {"fail_on_uncommitted_rows": bool, "offset_token": str})
        if channel_name == RESERVED_CHANNEL:
            raise RequestError(400, "ERR_INVALID_CHANNEL_NAME", f"{RESERVED_CHANNEL} is reserved")
        offset_token = options.get("offset_token")
        check_offset_token(offset_token)
        channel = await self.channels.open(
            pipe, channel_name, fail_on_uncommitted_rows=options.get("fail_on_uncommitted_rows") or False, offset_token=offset_token
        )
        self.faults.counters["opens"] += 1
        return json_response(
            {"next_continuation_token": self.channels.continuation_token(channel), "channel_status": channel_module.status(channel)}
        )

    async def drop(self, request: web.Request, pipe: Pipe, channel_name: str) -> web.Response:
        options = await read_options(request, {"fail_on_uncommitted_rows": bool})
        channel = self._channel(pipe, channel_name)
        await self.channels.drop(channel, fail_on_uncommitted_rows=options.get("fail_on_uncommitted_rows") or False)
        return json_response({})

    async def append(self, request: web.Request, pipe: Pipe, channel_name: str) -> web.Response:
        body, query = request["body"], request.query
        token = query.get("continuationToken")
        if not token:
            raise RequestError(400, "ERR_MISSING_CONTINUATION_TOKEN", "continuationToken is required")
        start_token, end_token = query.get("startOffsetToken"), query.get("endOffsetToken")
        check_offset_token(start_token)
        check_offset_token(end_token)
        if request.content_type not in ("application/x-ndjson", "application/json"):
            raise RequestError(415, "ERR_UNSUPPORTED_CONTENT_TYPE", "the content type must be application/x-ndjson")
        channel = self._channel(pipe, channel_name)
        encoding = request.headers.get("Content-Encoding", "identity").lower()
        declared = request.headers.get("x-snowflake-uncompressed-content-length")
        check = (inspect_body, encoding, body, declared)
        digest, raw_bytes = check[0](*check[1:]) if len(body) <= INLINE_BYTES_MAX else await asyncio.to_thread(*check)
        self.channels.check_limits(channel, raw_bytes)
        append = Append(0, start_token, end_token, encoding, body, now_ms())
        next_token = await self.channels.append(channel, token, append, digest)
        self.faults.counters["appends"] += 1
        self.faults.counters["append_raw_bytes"] += raw_bytes
        await self._step(request, "append.after", channel_name)
        return json_response({"next_continuation_token": next_token})

    async def bulk_status(self, request: web.Request, pipe: Pipe) -> web.Response:
        names = (await read_options(request, {"channel_names": list})).get("channel_names")
        if not names or not all(isinstance(name, str) for name in names):
            raise RequestError(400, "ERR_INVALID_REQUEST", "channel_names must be an array of names")
        if len(names) > STATUS_CHANNELS_MAX:
            raise RequestError(400, "ERR_GET_CHANNEL_STATUS_TOO_MANY_CHANNELS", f"at most {STATUS_CHANNELS_MAX} channels a request")
        async with self.channels.pool.connection() as connection:
            table = await self.storage.find_table(connection, pipe.database, pipe.schema, pipe.table)
        found = {name: self.channels.find(pipe, name) for name in names}  # case-sensitive here, as documented
        return json_response(
            {"channel_statuses": {name: channel_module.status(one, _status_code(one, table)) for name, one in found.items() if one}}
        )

    async def pipe_info(self, request: web.Request, pipe: Pipe) -> web.Response:
        """What Snowflake's SDK asks for before it opens a channel. There is no cloud stage here."""
        await request.read()
        async with self.channels.pool.connection() as connection:
            table = await self.storage.find_table(connection, pipe.database, pipe.schema, pipe.table)
        if table is None:
            raise RequestError(404, "ERR_PIPE_DOES_NOT_EXIST_OR_NOT_AUTHORIZED", f"pipe {pipe.name} does not exist or is not authorized")
        return json_response(pipe_info(self.binary_format))

    # ----- helpers

    async def _require_insert(self, principal, pipe: Pipe) -> None:
        """INSERT on the table and something on what it is in; of the default pipe nothing, as documented."""
        async with self.channels.pool.connection() as connection:
            held = await privileges.read(connection, principal.role)
        key = ("TABLE", pipe.database, pipe.schema, pipe.table)
        if not held.sees(*key) or not held.has("INSERT", *key):
            raise RequestError(404, "ERR_TABLE_DOES_NOT_EXIST_NOT_AUTHORIZED", f"table {pipe.table} does not exist or is not authorized")

    async def _step(self, request: web.Request, step: str, channel: str | None = None) -> None:
        """Where a fault may act. Raises what the fault asks for."""
        request["step"] = step
        fault = self.faults.take(step, channel)
        if fault is None:
            return
        request["fault"] = fault.id
        await fault_module.delay(fault)
        raise_fault(fault)

    def _channel(self, pipe: Pipe, name: str) -> Channel:
        channel = self.channels.find(pipe, name)
        if channel is None:
            raise RequestError(404, "ERR_CHANNEL_DOES_NOT_EXIST_OR_NOT_AUTHORIZED", f"channel {name} does not exist or is not authorized")
        return channel


class RawAnswer(Exception):
    """A body that a fault wants to be sent as it is."""

    def __init__(self, status: int, body: str):
        super().__init__(body)
        self.status, self.body = status, body


def raise_fault(fault: Fault) -> None:
    if fault.reset:
        raise ConnectionReset
    if fault.status is None:
        return
    if fault.body is not None:
        raise RawAnswer(fault.status, fault.body)
    raise RequestError(fault.status, fault.code or "FAULT", fault.message)


def json_response(value, status: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(value), status=status, content_type="application/json")


def decoded(segment: str) -> str:
    try:
        return urllib.parse.unquote(segment, errors="strict")
    except UnicodeDecodeError:
        raise RequestError(400, "ERR_INVALID_IDENTIFIER", "the path is not UTF-8") from None


def identifier(segment: str, what: str) -> str:
    """The stored form of an SQL identifier in a URL: with its quotes kept as it is, without them in upper case."""
    text = decoded(segment)
    if text.startswith('"'):
        name = text[1:-1].replace('""', '"')
        is_valid = len(text) > 2 and text.endswith('"') and '"' not in text[1:-1].replace('""', "")
    else:
        name, is_valid = text.upper(), FOLDABLE_NAME.fullmatch(text)
    if not is_valid or len(name) > IDENTIFIER_CHARACTERS_MAX:
        raise RequestError(400, "ERR_INVALID_IDENTIFIER", f"not a valid {what} name; quote it where it is not a plain identifier")
    return name


def pipe_identifier(segment: str) -> str:
    text = decoded(segment)
    name = text.upper() if UNQUOTED_PIPE.fullmatch(text) else identifier(segment, "pipe")
    if not name.endswith(PIPE_SUFFIX) or len(name) == len(PIPE_SUFFIX):
        # Only the default pipes of tables are here; nobody runs CREATE PIPE.
        raise RequestError(404, "ERR_PIPE_DOES_NOT_EXIST_OR_NOT_AUTHORIZED", f"pipe {name} does not exist or is not authorized")
    return name


def check_query(request: web.Request, known: frozenset[str]) -> None:
    unknown = set(request.query) - known
    if unknown:
        raise RequestError(400, "ERR_INVALID_REQUEST", f"unknown query parameters: {', '.join(sorted(unknown))}")
    if len(request.query) != len(set(request.query)):
        raise RequestError(400, "ERR_INVALID_REQUEST", "a query parameter is there twice")
    request_id = request.query.get("requestId")
    if request_id is not None:
        try:
            uuid.UUID(request_id)
        except ValueError:
            raise RequestError(400, "ERR_INVALID_REQUEST", "requestId must be a UUID") from None


def check_offset_token(token: str | None) -> None:
    if token is not None and (len(token) > OFFSET_TOKEN_CHARACTERS_MAX or "\0" in token):
        raise RequestError(400, "ERR_INVALID_OFFSET_TOKEN", f"an offset token has at most {OFFSET_TOKEN_CHARACTERS_MAX} characters")


async def read_body(request: web.Request) -> bytes:
    """An append's body, up to the limit. What is over it is still read (a bit), so that the client gets the answer."""
    parts, size = [], 0
    async for part in request.content.iter_any():
        size += len(part)
        if size <= WIRE_BYTES_MAX:
            parts.append(part)
        elif size > 4 * WIRE_BYTES_MAX:
            break
    if size > WIRE_BYTES_MAX:
        raise RequestError(413, "ERR_PAYLOAD_TOO_LARGE", f"the request has more than {WIRE_BYTES_MAX} bytes")
    return b"".join(parts)


async def read_options(request: web.Request, known: dict[str, type]) -> dict:
    """A JSON object with known keys only; nothing at all counts as an empty one."""
    body = await request.read()
    if not body:
        return {}
    try:
        options = orjson.loads(body)
    except ValueError as error:
        raise RequestError(400, "ERR_INVALID_REQUEST", f"the body is not JSON: {error}") from None
    if not isinstance(options, dict) or set(options) - set(known):
        raise RequestError(400, "ERR_INVALID_REQUEST", f"the body must be an object with {', '.join(known)}")
    for name, value in options.items():
        if value is not None and not isinstance(value, known[name]):
            raise RequestError(400, "ERR_INVALID_REQUEST", f"{name} must be a {known[name].__name__}")
    return options


def inspect_body(encoding: str, body: bytes, declared: str | None) -> tuple[str, int]:
    """Digest and size of the rows before compression. Raises RequestError."""
    if encoding not in ("identity", "zstd", "gzip"):
        raise RequestError(400, "ERR_UNSUPPORTED_CONTENT_ENCODING", "Content-Encoding must be zstd or gzip")
    try:
        raw = unpack(encoding, body)
    except BodyError as error:
        raise RequestError(400, "ERR_INVALID_PAYLOAD", str(error)) from None
    if declared is None and encoding != "identity":
        raise RequestError(400, "ERR_INVALID_PAYLOAD", "x-snowflake-uncompressed-content-length is required with Content-Encoding")
    if declared is not None and declared != str(len(raw)):
        raise RequestError(
            400, "ERR_INVALID_PAYLOAD", f"x-snowflake-uncompressed-content-length is {declared[:20]}, the rows have {len(raw)} bytes"
        )
    if not raw.strip():
        raise RequestError(400, "ERR_INVALID_PAYLOAD", "there are no rows")
    if not raw.endswith(b"\n"):
        raise RequestError(400, "ERR_INVALID_PAYLOAD", "every row must be followed by a newline")
    return hashlib.sha256(raw).hexdigest(), len(raw)


def _status_code(channel: Channel, table) -> str:
    if table is None:
        return "ERR_TABLE_DOES_NOT_EXIST_NOT_AUTHORIZED"
    return channel.status_code if table.id == channel.table_id else "ERR_CHANNEL_MUST_BE_REOPENED"


def pipe_info(binary_format: str) -> dict:
    """The form is what Snowflake's SDK reads. The stage is one that nobody can reach: small flushes never use it."""
    stage = {
        "expiry_time_ms": now_ms() + STAGE_LIFE_MS,
        "location_type": "S3",
        "use_s3_regional_url": False,
        "location": "snowbox.invalid/none/",
        "region": "none",
        "endpoint": "",
        "storage_account": "",
        "bucket_name": "snowbox.invalid",
        "path_prefix": "none/",
        "creds": {"AWS_KEY_ID": "none", "AWS_SECRET_KEY": "none", "AWS_TOKEN": "none"},
        "parameters": {
            "max_client_lag_seconds": 1,
            "rowset_flush_threshold_kb": 1024,
            "max_buffered_kb_for_rowset_mode": 4096,
            "rowset_threshold_lookback_seconds": 10,
            "rowset_threshold_ewma_weight": 50,
            "target_file_size_compressed_mb": 16,
            "cpu_throttle_high_watermark_percent": 100,
            "cpu_throttle_low_watermark_percent": 99,
            "mem_throttle_high_watermark_percent": 100,
            "mem_throttle_low_watermark_percent": 99,
        },
    }
    return {
        "rowset_stage_location": stage,
        "durable_stage_location": stage,
        "encryption_info": {"pipe_key": "", "pipe_key_id": 0, "diversifier": ""},
        "parameter_overrides": {"binary_input_format": binary_format},
    }
