"""Commits: what was accepted becomes rows, a while after the answer.

Every channel with something accepted has a task here. It waits until the oldest append is due (commit delay, stall), takes what
is due in order, converts it, and writes rows, refused rows, token and counters in one transaction.
"""

from __future__ import annotations

import asyncio
import datetime
import logging
import uuid

import orjson
import psycopg
from psycopg import sql

from . import faults as fault_module
from .channels import COMMIT_STATE, Append, Channel, Channels
from .faults import CommitFault, FaultPlan, now_ms
from .rows import COPY_OPTIONS, ColumnShape, Converted, ConverterPool, RowError, TableShape
from .sftypes import Type
from .storage import Column

log = logging.getLogger("snowbox.commits")

# Accepted bytes (as they came over the wire) that one commit takes at most.
COMMIT_BYTES_MAX = 6 * 1024 * 1024
COMMITS_AT_ONCE_MAX = 4
RETRY_SECONDS = 0.2
LATENCY_WEIGHT = 0.2
PAYLOAD_CHARACTERS_MAX = 16_000_000


class NewColumns(Exception):
    """Rows have keys that are to become columns; nothing was written."""


class Committer:
    def __init__(self, storage, channels: Channels, faults: FaultPlan, pool: ConverterPool, *, delay_ms: int, binary_format: str = "HEX"):
        self.storage, self.channels, self.faults = storage, channels, faults
        self.delay_ms = delay_ms
        self.binary_format = binary_format
        self.is_stalled = False
        self.pool = pool
        self._changed = asyncio.Condition()
        self._turns = asyncio.Semaphore(COMMITS_AT_ONCE_MAX)
        self._is_closing = False
        channels.on_accepted = self._on_accepted

    async def close(self) -> None:
        """Ends after the commits that are under way; what is accepted stays for the next run."""
        self._is_closing = True
        tasks = [channel.task for channel in self.channels.by_key.values() if channel.task]
        await self.changed()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def changed(self) -> None:
        """A delay, a stall or a channel was changed from outside: every task looks again."""
        async with self._changed:
            self._changed.notify_all()

    def _on_accepted(self, channel: Channel) -> None:
        if channel.task is None or channel.task.done():
            channel.task = asyncio.create_task(self._run(channel))

    async def _run(self, channel: Channel) -> None:
        while channel.buffered and not self._is_closing:
            wait_seconds = self._wait_seconds(channel)
            if wait_seconds > 0:
                async with self._changed:
                    try:
                        await asyncio.wait_for(self._changed.wait(), wait_seconds)
                    except asyncio.TimeoutError:
                        pass
                continue
            try:
                async with self._turns, channel.commit_lock:
                    if channel.buffered and not channel.is_dropped:
                        await self._commit(channel)
            except CommitFault:
                await asyncio.sleep(RETRY_SECONDS)
            except (psycopg.Error, OSError) as error:
                log.warning("channel %s: commit failed, will be tried again: %s", channel.name, error)
                await asyncio.sleep(RETRY_SECONDS)
            except Exception:
                # A channel must never stand still unseen: a fault of ours shows in the log and in the statistics.
                log.exception("channel %s: commit failed, will be tried again", channel.name)
                self.faults.counters["internal_errors"] += 1
                self.pool.mend()
                await asyncio.sleep(RETRY_SECONDS)

    def _wait_seconds(self, channel: Channel) -> float:
        if self.is_stalled or channel.is_stalled:
            return 3600
        return (channel.buffered[0].accepted_ms + self.delay_ms - now_ms()) / 1000

    async def _commit(self, channel: Channel) -> None:
        fault = self.faults.take("commit", channel.name)
        await fault_module.delay(fault)
        if fault is not None and fault.lose_rows:
            await self.channels.invalidate_in_commit(
                channel, fault.code or "ERR_CHANNEL_MUST_BE_REOPENED_DUE_TO_ROW_SEQ_GAP", is_silent=False, lose_rows=True
            )
            return
        if fault is not None and (fault.status or fault.reset):
            raise CommitFault(fault.message)
        appends = self._due(channel)
        while not await self._commit_appends(channel, appends):
            pass

    def _due(self, channel: Channel) -> list[Append]:
        latest, size, due = now_ms() - self.delay_ms, 0, []
        for append in channel.buffered:
            if due and (append.accepted_ms > latest or size + len(append.body) > COMMIT_BYTES_MAX):
                break
            due.append(append)
            size += len(append.body)
        return due

    async def _commit_appends(self, channel: Channel, appends: list[Append]) -> bool:
        """One try; False if the table got new columns and it has to be done again."""
        pipe = channel.pipe
        async with self.channels.pool.connection() as connection:
            table = await self.storage.find_table(connection, pipe.database, pipe.schema, pipe.table)
            if table is None or table.id != channel.table_id:
                # As Snowflake does it: the table under the channel is gone, the appends were answered 200, the rows are lost.
                await self._lose(channel, "ERR_TABLE_DOES_NOT_EXIST_NOT_AUTHORIZED" if table is None else "ERR_CHANNEL_MUST_BE_REOPENED")
                return True
            shape = TableShape(
                tuple(ColumnShape(column.name, column.type, column.nullable) for column in table.columns),
                table.schema_evolution,
                self.binary_format,
            )
            # All are converted at once, as many as there are workers; the server takes the first while the next are in work.
            futures = [self.pool.convert(shape, append.encoding, append.body) for append in appends]
            try:
                async with connection.transaction():
                    batches = await self._copy(connection, table, futures)
                    updated = await self._write_state(connection, channel, table, appends, batches)
            except NewColumns:
                found = [(await future).new_columns for future in futures]
                columns = {name: text for new_columns in found for name, text in new_columns.items()}
                await self.storage.add_columns(connection, table, [Column(name, Type.parse(text)) for name, text in columns.items()])
                return False
            except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn):
                return False  # dropped or altered between the look and the COPY: look again
            except (psycopg.DataError, psycopg.IntegrityError) as error:
                log.warning("table %s: a converted batch was refused, rows are taken one by one: %s", table.name, error)
                batches = [await future for future in futures]
                async with connection.transaction():
                    for batch in batches:
                        await self._copy_singly(connection, table, batch)
                    updated = await self._write_state(connection, channel, table, appends, batches)
        for name, value in updated.items():
            setattr(channel, name, value)
        self.channels.release_buffered(channel, len(appends))
        self.faults.counters["rows_committed"] += sum(batch.inserted for batch in batches)
        self.faults.counters["rows_refused"] += sum(len(batch.errors) for batch in batches)
        self.faults.counters["commits"] += 1
        return True

    async def _lose(self, channel: Channel, status_code: str) -> None:
        self.faults.counters["appends_lost"] += len(channel.buffered)
        await self.channels.invalidate_in_commit(channel, status_code, is_silent=True, lose_rows=True)

    def _copy_statement(self, table) -> sql.Composed:
        names = sql.SQL(", ").join(self.storage.column(column.name) for column in table.columns)
        return sql.SQL("COPY {} ({}) FROM STDIN " + COPY_OPTIONS).format(self.storage.relation(table), names)

    async def _copy(self, connection, table, futures: list[asyncio.Future]) -> list[Converted]:
        """Raises NewColumns where schema evolution has to come first."""
        batches = []
        async with connection.cursor() as cursor, cursor.copy(self._copy_statement(table)) as copy:
            for future in futures:
                batches.append(await future)
                if batches[-1].new_columns:
                    raise NewColumns
                if batches[-1].copy:
                    await copy.write(batches[-1].copy)
        return batches

    async def _copy_singly(self, connection, table, batch: Converted) -> None:
        """The slow way, when the server refuses what the converter let through: only that row is dropped."""
        statement = self._copy_statement(table)
        for line in batch.copy.splitlines(keepends=True):
            try:
                async with connection.transaction(), connection.cursor() as cursor, cursor.copy(statement) as copy:
                    await copy.write(line)
            except (psycopg.DataError, psycopg.IntegrityError) as error:
                batch.inserted -= 1
                batch.errors.append(RowError(100038, str(error.diag.message_primary or error), None, "", "json"))

    async def _write_state(self, connection, channel: Channel, table, appends: list[Append], batches: list[Converted]) -> dict:
        """The channel as it is after this commit; the caller takes the values over when the transaction has ended."""
        updated = {name: getattr(channel, name) for name in COMMIT_STATE}
        for append, batch in zip(appends, batches):
            updated["rows_inserted"] += batch.inserted
            updated["rows_parsed"] += batch.parsed
            updated["rows_error_count"] += len(batch.errors)
            if append.end_token is not None:
                updated["committed_token"] = append.end_token
            if batch.errors:
                updated["last_error_offset_upper_bound"] = append.end_token
                updated["last_error_message"] = batch.errors[-1].message
                updated["last_error_timestamp_ms"] = now_ms()
                if table.error_logging:
                    await self.storage.copy_errors(connection, table, _error_rows(channel, append, batch.errors))
        latency = now_ms() - appends[0].accepted_ms
        updated["latency_ms"] += (latency - updated["latency_ms"]) * (LATENCY_WEIGHT if channel.rows_parsed else 1)
        assignments = ", ".join(f"{name} = %s" for name in COMMIT_STATE)
        await connection.execute(f"UPDATE streaming.channels SET {assignments} WHERE channel_id = %s", (*updated.values(), channel.id))
        await connection.execute(
            "DELETE FROM streaming.appends WHERE channel_id = %s AND row_sequencer <= %s", (channel.id, appends[-1].row_sequencer)
        )
        return updated


def _error_rows(channel: Channel, append: Append, errors: list[RowError]) -> list[tuple[str | None, ...]]:
    """Rows of the error table, with the fields that Snowflake documents for a streaming load."""
    at = datetime.datetime.now(datetime.timezone.utc).isoformat()
    query_id = str(uuid.uuid4())
    rows = []
    for error in errors:
        metadata = {
            "service": "snowpipe_streaming",
            "error_message": error.message,
            "error_source": error.column,
            "details": {
                "pipe_name": channel.pipe.name,
                "channel_name": channel.name,
                "offset_token_lower_bound": append.start_token,
                "offset_token_upper_bound": append.end_token,
                "error_data_truncated": len(error.payload) > PAYLOAD_CHARACTERS_MAX,
                "error_data_content_type": error.content_type,
            },
        }
        # jsonb cannot hold U+0000, which an unreadable payload may contain.
        data = {"$1": error.payload[:PAYLOAD_CHARACTERS_MAX].replace("\0", "\ufffd")}
        rows.append((at, query_id, str(error.number), orjson.dumps(metadata).decode(), orjson.dumps(data).decode()))
    return rows
