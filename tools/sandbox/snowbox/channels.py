"""Channels: their state in the cluster, the order of appends, and the commits that follow later.

The rules that everything here keeps:
- The committed offset token, the counters and the rows of an append change in one PostgreSQL transaction.
- An accepted append is written to the cluster before its answer, so that a kill of the stand-in loses nothing.
- A continuation token is right for exactly one append: the next. Only the last accepted one may be repeated, unchanged.
- Opening bumps the client sequencer, which makes every token given out before stale.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
import time
from collections import deque
from dataclasses import dataclass, field

from psycopg_pool import AsyncConnectionPool

from .auth import RequestError
from .faults import now_ms

CONNECTIONS_MAX = 16
CHANNELS_PER_PIPE_MAX = 2_000
APPENDS_PER_SECOND_MAX = 10
BYTES_PER_SECOND_MAX = 20_000_000
# What all channels together may hold before it is committed, as it came over the wire.
BUFFERED_BYTES_MAX = 512 * 1024 * 1024
HEALTHY = "SUCCESS"
STALE = RequestError(
    400, "STALE_CONTINUATION_TOKEN_SEQUENCER", "Channel sequencer in the continuation token is stale. Please reopen the channel"
)

TABLES = """
CREATE SCHEMA IF NOT EXISTS streaming;
CREATE TABLE IF NOT EXISTS streaming.secret (secret bytea NOT NULL);
CREATE TABLE IF NOT EXISTS streaming.channels (
    channel_id       bigserial PRIMARY KEY,
    database         text NOT NULL,
    schema           text NOT NULL,
    pipe             text NOT NULL,
    name             text NOT NULL,
    table_id         bigint NOT NULL,
    created_on_ms    bigint NOT NULL,
    status_code      text NOT NULL DEFAULT 'SUCCESS',
    -- An invalidated channel that goes on answering 200 and throws the rows away.
    is_silent        boolean NOT NULL DEFAULT false,
    client_sequencer bigint NOT NULL DEFAULT 0,
    row_sequencer    bigint NOT NULL DEFAULT 0,
    last_append      text,
    committed_token  text,
    rows_inserted    bigint NOT NULL DEFAULT 0,
    rows_parsed      bigint NOT NULL DEFAULT 0,
    rows_error_count bigint NOT NULL DEFAULT 0,
    last_error_offset_upper_bound text,
    last_error_message            text,
    last_error_timestamp_ms       bigint,
    latency_ms       double precision NOT NULL DEFAULT 0,
    UNIQUE (database, schema, pipe, name)
);
-- Accepted, not committed: the body as it came.
CREATE TABLE IF NOT EXISTS streaming.appends (
    channel_id    bigint NOT NULL REFERENCES streaming.channels ON DELETE CASCADE,
    row_sequencer bigint NOT NULL,
    start_token   text,
    end_token     text,
    encoding      text NOT NULL,
    body          bytea NOT NULL,
    accepted_ms   bigint NOT NULL,
    PRIMARY KEY (channel_id, row_sequencer)
);
ALTER TABLE streaming.appends ALTER COLUMN body SET STORAGE EXTERNAL;
"""

# Columns of streaming.channels that a commit changes, and all that change.
COMMIT_STATE = (
    "committed_token",
    "rows_inserted",
    "rows_parsed",
    "rows_error_count",
    "last_error_offset_upper_bound",
    "last_error_message",
    "last_error_timestamp_ms",
    "latency_ms",
)
STATE = ("status_code", "is_silent", "client_sequencer", "row_sequencer", "last_append", *COMMIT_STATE)


@dataclass(frozen=True)
class Pipe:
    """The default pipe of a table: <TABLE>-STREAMING. Names as they are stored."""

    database: str
    schema: str
    name: str

    @property
    def table(self) -> str:
        return self.name[: -len("-STREAMING")]


@dataclass
class Append:
    row_sequencer: int
    start_token: str | None
    end_token: str | None
    encoding: str
    body: bytes
    accepted_ms: int


class Allowance:
    """A token bucket that may be overdrawn once: a large request passes while anything is left, and is paid off afterwards."""

    def __init__(self, per_second: float):
        self.per_second, self.left, self.at = per_second, per_second, time.monotonic()

    def take(self, amount: float) -> None:
        self.left -= amount

    def refilled(self) -> float:
        now = time.monotonic()
        self.left = min(self.per_second, self.left + (now - self.at) * self.per_second)
        self.at = now
        return self.left


@dataclass
class Channel:
    id: int
    pipe: Pipe
    name: str
    table_id: int
    created_on_ms: int
    status_code: str = HEALTHY
    is_silent: bool = False
    client_sequencer: int = 0
    row_sequencer: int = 0  # of the last accepted append
    last_append: str | None = None  # what identifies it, see Channels.append
    committed_token: str | None = None
    rows_inserted: int = 0
    rows_parsed: int = 0
    rows_error_count: int = 0
    last_error_offset_upper_bound: str | None = None
    last_error_message: str | None = None
    last_error_timestamp_ms: int | None = None
    latency_ms: float = 0
    # Below: not kept in the cluster.
    buffered: deque[Append] = field(default_factory=deque)
    is_opening: bool = False
    is_stalled: bool = False
    is_dropped: bool = False
    # A commit holds the first, an append the second, what changes the channel itself both, in this order. So appends are taken
    # while a commit runs, and nothing is discarded under a commit.
    commit_lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    state_lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    task: asyncio.Task | None = None
    requests: Allowance = field(default_factory=lambda: Allowance(APPENDS_PER_SECOND_MAX))
    bytes: Allowance = field(default_factory=lambda: Allowance(BYTES_PER_SECOND_MAX))

    @property
    def key(self) -> tuple[Pipe, str]:
        return self.pipe, self.name



class Channels:
    """All channels of all pipes. `on_accepted(channel)` is told when a channel has something to commit."""

    def __init__(self, storage):
        self.storage = storage
        self.by_key: dict[tuple[Pipe, str], Channel] = {}
        self.limits_enabled = True
        self.buffered_bytes = 0
        self.on_accepted = lambda channel: None
        self._secret = b""
        # Not the storage's pool: its connections are reset after every use, which costs as much as an append.
        self.pool = AsyncConnectionPool(
            storage.cluster.conninfo(), min_size=2, max_size=CONNECTIONS_MAX, kwargs={"autocommit": True}, open=False
        )

    async def load(self) -> None:
        """Makes the tables on first use, and reads what an earlier run left."""
        await self.pool.open(wait=True)
        async with self.pool.connection() as connection:
            await connection.execute(TABLES)
            await connection.execute(
                "INSERT INTO streaming.secret SELECT %s WHERE NOT EXISTS (SELECT 1 FROM streaming.secret)", (secrets.token_bytes(32),)
            )
            cursor = await connection.execute("SELECT secret FROM streaming.secret")
            self._secret = (await cursor.fetchone())[0]
            cursor = await connection.execute(
                f"SELECT channel_id, database, schema, pipe, name, table_id, created_on_ms, {', '.join(STATE)} FROM streaming.channels"
            )
            channels = {}
            for identifier, database, schema, pipe, name, table_id, created_on_ms, *state in await cursor.fetchall():
                channel = Channel(identifier, Pipe(database, schema, pipe), name, table_id, created_on_ms, *state)
                channels[identifier] = self.by_key[channel.key] = channel
            cursor = await connection.execute(
                "SELECT channel_id, row_sequencer, start_token, end_token, encoding, body, accepted_ms "
                "FROM streaming.appends ORDER BY channel_id, row_sequencer"
            )
            for identifier, *rest in await cursor.fetchall():
                append = Append(*rest)
                channels[identifier].buffered.append(append)
                self.buffered_bytes += len(append.body)
        for channel in channels.values():
            if channel.buffered:
                self.on_accepted(channel)

    async def close(self) -> None:
        await self.pool.close(timeout=5)

    def find(self, pipe: Pipe, name: str) -> Channel | None:
        return self.by_key.get((pipe, name))

    def find_by_name(self, name: str | None) -> list[Channel]:
        """For the control port: all channels, or those with a name, whatever their pipe."""
        return [channel for channel in self.by_key.values() if name is None or channel.name == name]

    def continuation_token(self, channel: Channel, row_sequencer: int | None = None) -> str:
        """The token that the append after `row_sequencer` (default: the last accepted one) must bring."""
        row = channel.row_sequencer if row_sequencer is None else row_sequencer
        text = f"{channel.id}_{channel.client_sequencer}_{row}"
        seal = hmac.digest(self._secret, text.encode(), "sha256").hex()[:16]
        return f"{channel.client_sequencer}_{row}_{seal}"

    # ----- open

    async def open(self, pipe: Pipe, name: str, *, fail_on_uncommitted_rows: bool, offset_token: str | None) -> Channel:
        channel = self.by_key.get((pipe, name))
        async with self.pool.connection() as connection:
            table = await self.storage.find_table(connection, pipe.database, pipe.schema, pipe.table)
        if table is None:
            raise RequestError(404, "ERR_TABLE_DOES_NOT_EXIST_NOT_AUTHORIZED", f"table {pipe.table} does not exist or is not authorized")
        if channel is not None and channel.is_opening:
            raise RequestError(409, "ERR_OPEN_CHANNEL_IN_PROGRESS", "the channel is being opened by another request")
        if channel is None:
            return await self._create(pipe, name, table.id, offset_token)
        channel.is_opening = True
        try:
            return await self._reopen(channel, table.id, fail_on_uncommitted_rows, offset_token)
        finally:
            channel.is_opening = False

    async def _create(self, pipe: Pipe, name: str, table_id: int, offset_token: str | None) -> Channel:
        if sum(channel.pipe == pipe for channel in self.by_key.values()) >= CHANNELS_PER_PIPE_MAX:
            raise RequestError(400, "ERR_TOO_MANY_CHANNELS", f"a pipe has at most {CHANNELS_PER_PIPE_MAX} channels")
        created = now_ms()
        async with self.pool.connection() as connection:
            cursor = await connection.execute(
                "INSERT INTO streaming.channels (database, schema, pipe, name, table_id, created_on_ms, committed_token) "
                "VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING RETURNING channel_id",
                (pipe.database, pipe.schema, pipe.name, name, table_id, created, offset_token),
            )
            row = await cursor.fetchone()
        if row is None:
            raise RequestError(409, "ERR_OPEN_CHANNEL_IN_PROGRESS", "the channel is being opened by another request")
        channel = Channel(row[0], pipe, name, table_id, created, committed_token=offset_token)
        self.by_key[channel.key] = channel
        return channel

    async def _reopen(self, channel: Channel, table_id: int, fail_on_uncommitted_rows: bool, offset_token: str | None) -> Channel:
        if channel.buffered and fail_on_uncommitted_rows and channel.table_id == table_id:
            raise _uncommitted()
        async with channel.commit_lock, channel.state_lock:
            if channel.is_dropped:
                raise RequestError(409, "ERR_OPEN_CHANNEL_IN_PROGRESS", "the channel was dropped meanwhile")
            if channel.table_id != table_id:
                # The table is another one now: so are its pipe and its channels, with nothing committed and nothing counted.
                await self._forget(channel)
                return await self._create(channel.pipe, channel.name, table_id, offset_token)
            # Setting the token of a channel that has one is not documented beyond the word; a client must not depend on it.
            if offset_token is not None and offset_token != channel.committed_token:
                raise RequestError(400, "ERR_OFFSET_TOKEN_OF_EXISTING_CHANNEL", "offset_token is taken only when the channel is new")
            if channel.buffered and fail_on_uncommitted_rows:
                raise _uncommitted()
            async with self.pool.connection() as connection, connection.transaction():
                await connection.execute("DELETE FROM streaming.appends WHERE channel_id = %s", (channel.id,))
                await connection.execute(
                    "UPDATE streaming.channels SET client_sequencer = client_sequencer + 1, row_sequencer = 0, last_append = NULL, "
                    "status_code = %s, is_silent = false WHERE channel_id = %s",
                    (HEALTHY, channel.id),
                )
            self._discard_buffered(channel)
            channel.client_sequencer += 1
            channel.row_sequencer, channel.last_append = 0, None
            channel.status_code, channel.is_silent = HEALTHY, False
        return channel

    # ----- append

    def check_limits(self, channel: Channel, raw_bytes: int) -> None:
        """Refuses what Snowflake would throttle; counts what passes."""
        if self.buffered_bytes >= BUFFERED_BYTES_MAX:
            raise RequestError(429, "ReceiverSaturated", "too much is waiting to be committed")
        if not self.limits_enabled:
            return
        if channel.requests.refilled() < 1:
            raise RequestError(429, "ReceiverSaturated", f"more than {APPENDS_PER_SECOND_MAX} appends a second on this channel")
        if channel.bytes.refilled() <= 0:
            raise RequestError(429, "ReceiverSaturated", f"more than {BYTES_PER_SECOND_MAX} uncompressed bytes a second on this channel")
        channel.requests.take(1)
        channel.bytes.take(raw_bytes)

    async def append(self, channel: Channel, token: str, append: Append, digest: str) -> str:
        """Takes the append, or recognises the last one; answers the next continuation token. `append.row_sequencer` is set here."""
        # A repeat is the same request: same place in the order, same offsets, same rows.
        identity = hashlib.sha256(repr((append.start_token, append.end_token, digest)).encode()).hexdigest()
        async with channel.state_lock:
            if channel.is_dropped:
                raise RequestError(404, "ERR_CHANNEL_DOES_NOT_EXIST_OR_NOT_AUTHORIZED", "the channel does not exist or is not authorized")
            is_last = channel.row_sequencer > 0 and token == self.continuation_token(channel, channel.row_sequencer - 1)
            if is_last and channel.last_append == identity:
                return self.continuation_token(channel)
            if token != self.continuation_token(channel):
                raise STALE
            if channel.status_code != HEALTHY and not channel.is_silent:
                raise RequestError(409, channel.status_code, "the channel is not valid any more; reopen it")
            append.row_sequencer = channel.row_sequencer + 1
            await self._write_append(channel, append, identity)
            channel.row_sequencer, channel.last_append = append.row_sequencer, identity
            if not channel.is_silent:
                channel.buffered.append(append)
                self.buffered_bytes += len(append.body)
                self.on_accepted(channel)
            return self.continuation_token(channel)

    async def _write_append(self, channel: Channel, append: Append, identity: str) -> None:
        update = "UPDATE streaming.channels SET row_sequencer = %s, last_append = %s WHERE channel_id = %s"
        parameters = (append.row_sequencer, identity, channel.id)
        async with self.pool.connection() as connection:
            if channel.is_silent:
                await connection.execute(update, parameters)
                return
            # One statement, so one transaction and one round trip.
            await connection.execute(
                f"WITH accepted AS ({update}) "
                "INSERT INTO streaming.appends (channel_id, row_sequencer, start_token, end_token, encoding, body, accepted_ms) "
                "VALUES (%s, %s, %s, %s, %s, %b, %s)",
                (
                    *parameters,
                    channel.id,
                    append.row_sequencer,
                    append.start_token,
                    append.end_token,
                    append.encoding,
                    append.body,
                    append.accepted_ms,
                ),
            )

    # ----- drop, invalidate, lose

    async def drop(self, channel: Channel, *, fail_on_uncommitted_rows: bool) -> None:
        if channel.buffered and fail_on_uncommitted_rows:
            raise _uncommitted()
        async with channel.commit_lock, channel.state_lock:
            if channel.buffered and fail_on_uncommitted_rows:
                raise _uncommitted()
            await self._forget(channel)

    async def _forget(self, channel: Channel) -> None:
        """Needs both locks."""
        async with self.pool.connection() as connection:
            await connection.execute("DELETE FROM streaming.channels WHERE channel_id = %s", (channel.id,))
        self._discard_buffered(channel)
        channel.is_dropped = True
        if self.by_key.get(channel.key) is channel:
            del self.by_key[channel.key]

    async def invalidate(self, channel: Channel, status_code: str, *, is_silent: bool, lose_rows: bool) -> None:
        """The channel must be reopened; with `lose_rows` what was accepted and not committed is gone."""
        async with channel.commit_lock:
            await self.invalidate_in_commit(channel, status_code, is_silent=is_silent, lose_rows=lose_rows)

    async def invalidate_in_commit(self, channel: Channel, status_code: str, *, is_silent: bool, lose_rows: bool) -> None:
        """The same for a caller that holds the commit lock already."""
        async with channel.state_lock, self.pool.connection() as connection, connection.transaction():
            await connection.execute(
                "UPDATE streaming.channels SET status_code = %s, is_silent = %s WHERE channel_id = %s", (status_code, is_silent, channel.id)
            )
            if lose_rows:
                await connection.execute("DELETE FROM streaming.appends WHERE channel_id = %s", (channel.id,))
            channel.status_code, channel.is_silent = status_code, is_silent
            if lose_rows:
                self._discard_buffered(channel)

    def _discard_buffered(self, channel: Channel) -> None:
        self.buffered_bytes -= sum(len(append.body) for append in channel.buffered)
        channel.buffered.clear()

    def release_buffered(self, channel: Channel, count: int) -> None:
        for _ in range(count):
            self.buffered_bytes -= len(channel.buffered.popleft().body)


def _uncommitted() -> RequestError:
    return RequestError(409, "ERR_CHANNEL_HAS_UNCOMMITTED_DATA", "the channel has rows that are not committed yet")


def status(channel: Channel, status_code: str | None = None) -> dict:
    """The fields of a channel status. Documentation and clients know some of them under two names: both are given."""
    return {
        "database_name": channel.pipe.database,
        "schema_name": channel.pipe.schema,
        "pipe_name": channel.pipe.name,
        "channel_name": channel.name,
        "channel_status_code": status_code or channel.status_code,
        "last_committed_offset_token": channel.committed_token,
        "created_on_ms": channel.created_on_ms,
        "rows_inserted": channel.rows_inserted,
        "rows_parsed": channel.rows_parsed,
        "rows_error_count": channel.rows_error_count,
        "rows_errors": channel.rows_error_count,
        "last_error_offset_upper_bound": channel.last_error_offset_upper_bound,
        "last_error_message": channel.last_error_message,
        "last_error_timestamp": channel.last_error_timestamp_ms,
        "last_error_timestamp_ms": channel.last_error_timestamp_ms,
        "snowflake_avg_processing_latency_ms": round(channel.latency_ms),
        "last_refreshed_on_ms": now_ms(),
    }
