"""Faults on demand, and what tests ask about: the request log and counters.

A fault is kept by step. Steps: hostname, token, open, append.before (nothing is taken), append.after (taken, the answer is
lost), status, drop, pipe_info, commit, sql.submit.before, sql.submit.after (run, the answer is lost), sql.poll, sql.cancel; and inside an
execution sql.execute and sql.before_commit: a delay there, or an error that fails the statement.
"""

from __future__ import annotations

import asyncio
import fnmatch
import itertools
import socket
import struct
import time
from collections import Counter, deque
from dataclasses import asdict, dataclass, field

STEPS = frozenset(
    {
        "hostname",
        "token",
        "open",
        "append.before",
        "append.after",
        "status",
        "drop",
        "pipe_info",
        "commit",
        "sql.submit.before",
        "sql.submit.after",
        "sql.poll",
        "sql.cancel",
        "sql.execute",
        "sql.before_commit",
    }
)
LOG_ENTRIES_MAX = 50_000


class FaultError(ValueError):
    """A fault that was asked for makes no sense; the message says why."""


class ConnectionReset(Exception):
    """The connection is to be reset instead of answered."""


class CommitFault(Exception):
    """A commit is to fail this time."""


@dataclass
class Fault:
    """What happens at a step, after `skip` hits, for `times` hits (None: until it is removed)."""

    id: int
    step: str
    status: int | None = None
    code: str | None = None
    message: str = "fault on demand"
    body: str | None = None  # sent as it is, instead of {"code", "message"}
    delay_ms: int = 0
    hold: bool = False  # waits until the fault is removed
    reset: bool = False
    lose_rows: bool = False  # commit only: the buffered rows are lost and the channel is invalidated
    skip: int = 0
    times: int | None = 1
    channel: str | None = None  # only requests of this channel, or of those that match it (fnmatch)
    hits: int = 0  # how often it has acted
    seen: int = 0  # how often its step was reached

    def __post_init__(self) -> None:
        self.removed = asyncio.Event()


@dataclass
class LogEntry:
    at_ms: int
    method: str
    path: str
    query: dict[str, str]
    status: int
    request_bytes: int
    response_bytes: int
    duration_ms: float
    user_agent: str
    token_type: str
    step: str
    fault: int | None
    code: str | None


@dataclass
class FaultPlan:
    faults: dict[int, Fault] = field(default_factory=dict)
    log: deque = field(default_factory=lambda: deque(maxlen=LOG_ENTRIES_MAX))
    counters: Counter = field(default_factory=Counter)
    _ids: itertools.count = field(default_factory=lambda: itertools.count(1))

    def add(self, options: dict) -> Fault:
        known = {"step", "status", "code", "message", "body", "delay_ms", "hold", "reset", "lose_rows", "skip", "times", "channel"}
        unknown = set(options) - known
        if unknown:
            raise FaultError(f"unknown options: {', '.join(sorted(unknown))}; known: {', '.join(sorted(known))}")
        if options.get("step") not in STEPS:
            raise FaultError(f"step must be one of {', '.join(sorted(STEPS))}")
        for name in ("status", "delay_ms", "skip", "times"):
            value = options.get(name)
            if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 0):
                raise FaultError(f"{name} must be a number")
        if not any(options.get(name) for name in ("status", "delay_ms", "hold", "reset", "lose_rows")):
            raise FaultError("a fault needs status, delay_ms, hold, reset or lose_rows")
        if options.get("lose_rows") and options["step"] != "commit":
            raise FaultError("lose_rows belongs to the step commit")
        fault = Fault(next(self._ids), **options)
        self.faults[fault.id] = fault
        return fault

    def remove(self, identifier: int | None) -> int:
        """Removes one fault, or all; answers how many there were."""
        doomed = [identifier] if identifier is not None else list(self.faults)
        removed = [fault for one in doomed if (fault := self.faults.pop(one, None)) is not None]
        for fault in removed:
            fault.removed.set()
        return len(removed)

    def list(self) -> list[dict]:
        return [asdict(fault) for fault in self.faults.values()]

    def take(self, step: str, channel: str | None = None) -> Fault | None:
        """The fault that acts on this hit of the step, counted as used; the oldest wins."""
        self.counters["step." + step] += 1
        taken = None
        for fault in list(self.faults.values()):
            if fault.step != step or (fault.channel is not None and not fnmatch.fnmatchcase(channel or "", fault.channel)):
                continue
            fault.seen += 1
            if taken is None and fault.seen > fault.skip and (fault.times is None or fault.hits < fault.times):
                fault.hits += 1
                taken = fault
        return taken

    def record(self, entry: LogEntry) -> None:
        self.log.append(entry)
        self.counters["requests"] += 1
        self.counters[f"status.{entry.status}"] += 1
        self.counters["request_bytes"] += entry.request_bytes


async def delay(fault: Fault | None) -> None:
    if fault is not None and fault.delay_ms:
        await asyncio.sleep(fault.delay_ms / 1000)
    if fault is not None and fault.hold:
        await fault.removed.wait()


def reset_connection(request) -> None:
    """Ends the connection with a TCP reset, so that the client sees ECONNRESET and no answer."""
    transport = request.transport
    if transport is None:
        return
    raw = transport.get_extra_info("socket")
    if raw is not None:
        # Linger on, zero seconds: close() sends RST and drops what was not sent.
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


def now_ms() -> int:
    return int(time.time() * 1000)
