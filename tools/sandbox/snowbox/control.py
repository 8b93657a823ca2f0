"""The control port: faults, stalls, clocks, and what tests want to know. Plain HTTP and JSON on the loopback interface."""

from __future__ import annotations

from dataclasses import asdict

import orjson
from aiohttp import web

from . import channels as channel_module
from .auth import RequestError
from .faults import FaultError
from .streaming import json_response


class Control:
    def __init__(self, auth, channels, committer, streaming, faults, sql):
        self.auth, self.channels, self.committer, self.streaming, self.faults, self.sql = auth, channels, committer, streaming, faults, sql

    def app(self) -> web.Application:
        app = web.Application(middlewares=[_errors])
        app.add_routes(
            [
                web.get("/", self.index),
                web.get("/log", self.log),
                web.delete("/log", self.clear_log),
                web.get("/statistics", self.statistics),
                web.get("/statements", self.statements),
                web.get("/channels", self.list_channels),
                web.get("/faults", self.list_faults),
                web.post("/faults", self.add_fault),
                web.delete("/faults", self.remove_faults),
                web.delete("/faults/{id}", self.remove_faults),
                web.post("/stall", self.stall),
                web.post("/release", self.release),
                web.post("/set_commit_delay", self.set_commit_delay),
                web.post("/invalidate_channel", self.invalidate_channel),
                web.post("/lose_rows", self.lose_rows),
                web.post("/set_limits", self.set_limits),
                web.post("/set_token_life", self.set_token_life),
                web.post("/set_clock", self.set_clock),
                web.post("/revoke_tokens", self.revoke_tokens),
                web.post("/set_answers", self.set_answers),
            ]
        )
        return app

    async def index(self, request: web.Request) -> web.Response:
        return json_response({"resources": sorted({f"{route.method} {route.resource.canonical}" for route in request.app.router.routes()})})

    async def log(self, request: web.Request) -> web.Response:
        """The newest `limit` requests (default: all that are kept), oldest first; `step` and `path` (part of it) choose."""
        step, path, limit = request.query.get("step"), request.query.get("path", ""), int(request.query.get("limit", "0"))
        entries = [asdict(entry) for entry in self.faults.log if path in entry.path and step in (None, entry.step)]
        return json_response({"requests": entries[-limit:]})

    async def clear_log(self, request: web.Request) -> web.Response:
        self.faults.log.clear()
        self.faults.counters.clear()
        return json_response({})

    async def statistics(self, request: web.Request) -> web.Response:
        channels = self.channels.find_by_name(None)
        return json_response(
            {
                **self.faults.counters,
                "channels": len(channels),
                "buffered_appends": sum(len(channel.buffered) for channel in channels),
                "buffered_bytes": self.channels.buffered_bytes,
                "commit_delay_ms": self.committer.delay_ms,
                "is_stalled": self.committer.is_stalled,
            }
        )

    async def statements(self, request: web.Request) -> web.Response:
        """The SQL statements that were executed, oldest first: text, start, end, outcome, and the warehouse that each one needed."""
        limit = int(request.query.get("limit", "0"))
        statistics = self.sql.statistics()
        return json_response({**statistics, "log": statistics["log"][-limit:]})

    async def list_channels(self, request: web.Request) -> web.Response:
        extra = ("client_sequencer", "row_sequencer", "is_silent", "is_stalled", "table_id")
        return json_response(
            {
                "channels": [
                    {
                        **channel_module.status(channel),
                        **{name: getattr(channel, name) for name in extra},
                        "buffered_appends": len(channel.buffered),
                    }
                    for channel in self.channels.find_by_name(request.query.get("channel"))
                ]
            }
        )

    async def list_faults(self, request: web.Request) -> web.Response:
        return json_response({"faults": self.faults.list()})

    async def add_fault(self, request: web.Request) -> web.Response:
        return json_response(asdict(self.faults.add(await _options(request, None))))

    async def remove_faults(self, request: web.Request) -> web.Response:
        identifier = request.match_info.get("id")
        return json_response({"removed": self.faults.remove(int(identifier) if identifier else None)})

    async def stall(self, request: web.Request) -> web.Response:
        return await self._set_stalled(request, True)

    async def release(self, request: web.Request) -> web.Response:
        return await self._set_stalled(request, False)

    async def _set_stalled(self, request: web.Request, is_stalled: bool) -> web.Response:
        """All commits, or those of one channel. Releasing all releases the single ones too."""
        name = (await _options(request, {"channel"})).get("channel")
        if name is None:
            self.committer.is_stalled = is_stalled
        for channel in self._named(name) if name is not None or not is_stalled else []:
            channel.is_stalled = is_stalled
        await self.committer.changed()
        return json_response({})

    async def set_commit_delay(self, request: web.Request) -> web.Response:
        self.committer.delay_ms = _number(await _options(request, {"ms"}), "ms")
        await self.committer.changed()
        return json_response({})

    async def invalidate_channel(self, request: web.Request) -> web.Response:
        """`silent`: appends go on answering 200 and their rows vanish; else they are refused with 409 and the code."""
        options = await _options(request, {"channel", "code", "silent", "lose_rows"})
        channels = self._named(options.get("channel"))
        for channel in channels:
            await self.channels.invalidate(
                channel,
                options.get("code", "ERR_CHANNEL_MUST_BE_REOPENED"),
                is_silent=bool(options.get("silent")),
                lose_rows=bool(options.get("lose_rows")),
            )
        return json_response({"channels": len(channels)})

    async def lose_rows(self, request: web.Request) -> web.Response:
        """Rows that were answered 200 and are not committed are gone; the channel must be reopened."""
        options = await _options(request, {"channel", "code"})
        channels = self._named(options.get("channel"))
        code = options.get("code", "ERR_CHANNEL_MUST_BE_REOPENED_DUE_TO_ROW_SEQ_GAP")
        lost = sum(len(channel.buffered) for channel in channels)
        for channel in channels:
            await self.channels.invalidate(channel, code, is_silent=False, lose_rows=True)
        return json_response({"channels": len(channels), "appends": lost})

    async def set_limits(self, request: web.Request) -> web.Response:
        self.channels.limits_enabled = bool((await _options(request, {"enabled"})).get("enabled"))
        return json_response({})

    async def set_token_life(self, request: web.Request) -> web.Response:
        self.auth.token_life_seconds = _number(await _options(request, {"seconds"}), "seconds")
        return json_response({})

    async def set_clock(self, request: web.Request) -> web.Response:
        """How far ahead of the real time the clock is by which tokens are judged."""
        self.auth.clock_offset_seconds = float((await _options(request, {"offset_seconds"})).get("offset_seconds", 0))
        return json_response({})

    async def revoke_tokens(self, request: web.Request) -> web.Response:
        self.auth.revoke_tokens()
        return json_response({})

    async def set_answers(self, request: web.Request) -> web.Response:
        """`json`: hostname and token as JSON objects (documented) or as plain text (seen live). `port`: whether the hostname has one."""
        options = await _options(request, {"json", "port"})
        self.streaming.answers_json = bool(options.get("json", self.streaming.answers_json))
        self.streaming.answers_port = bool(options.get("port", self.streaming.answers_port))
        return json_response({})

    def _named(self, name: str | None) -> list:
        channels = self.channels.find_by_name(name)
        if name is not None and not channels:
            raise FaultError(f"no channel {name}")
        return channels


@web.middleware
async def _errors(request: web.Request, handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except (ValueError, TypeError, RequestError) as error:
        return json_response({"error": str(error)}, 400)


async def _options(request: web.Request, known: set[str] | None) -> dict:
    body = await request.read()
    options = orjson.loads(body) if body else {}
    if not isinstance(options, dict) or (known is not None and set(options) - known):
        raise FaultError(f"the body must be a JSON object with {', '.join(sorted(known or ()))}")
    return options


def _number(options: dict, name: str) -> int:
    value = options.get(name)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise FaultError(f"{name} must be a number")
    return value
