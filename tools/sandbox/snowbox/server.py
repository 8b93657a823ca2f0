"""The HTTP servers: Snowflake's interfaces over TLS, and the control port."""

from __future__ import annotations

import asyncio
import email.utils
import logging
import time

from aiohttp import web

from . import faults as fault_module
from .auth import RequestError, check_headers
from .faults import ConnectionReset, FaultPlan, LogEntry
from .streaming import RawAnswer, json_response, raise_fault

log = logging.getLogger("snowbox.server")

# Above the limit of an append, so that what is over it can be answered; a statement's text is limited by the SQL API itself.
BODY_BYTES_MAX = 64 * 1024 * 1024
SQL_PREFIX = "/api/v2/statements"
# Query parameters that the log may show: none of them is a secret.
LOGGED_PARAMETERS = frozenset({"continuationToken", "startOffsetToken", "endOffsetToken", "requestId", "retryCount", "retry", "async", "partition"})
SHUTDOWN_SECONDS = 5


def make_app(faults: FaultPlan, routes: list[web.RouteDef], clock=time.time) -> web.Application:
    app = web.Application(client_max_size=BODY_BYTES_MAX, middlewares=[_observing(faults, clock)])
    app.add_routes(routes)
    return app


def _observing(faults: FaultPlan, clock):
    """The outermost layer: header checks, faults of the SQL API, errors as JSON, the log."""

    @web.middleware
    async def observe(request: web.Request, handler) -> web.StreamResponse:
        started = time.monotonic()
        code = None
        try:
            check_headers(request)
            response = await (_sql_with_faults(request, handler, faults) if request.path.startswith(SQL_PREFIX) else handler(request))
        except RequestError as error:
            code = error.code
            response = json_response({"code": error.code, "message": error.message}, error.status)
        except RawAnswer as answer:
            response = web.Response(text=answer.body, status=answer.status, content_type="application/json")
        except ConnectionReset:
            _record(faults, request, None, started, "RESET")
            fault_module.reset_connection(request)
            # Never reaches the client: the connection is gone.
            return web.Response(status=500)
        except web.HTTPException as error:
            response = json_response({"code": f"390{error.status}", "message": error.reason}, error.status)
        except (asyncio.CancelledError, ConnectionError):
            _record(faults, request, None, started, "CLIENT_GONE")
            raise
        except Exception:
            log.exception("%s %s", request.method, request.path)
            faults.counters["internal_errors"] += 1
            response = json_response({"code": "ERR_INTERNAL", "message": "the stand-in failed; see its log"}, 500)
        response.headers["Date"] = email.utils.formatdate(clock(), usegmt=True)
        _record(faults, request, response, started, code)
        return response

    return observe


async def _sql_with_faults(request: web.Request, handler, faults: FaultPlan) -> web.StreamResponse:
    if request.method == "POST":
        step = "sql.cancel" if request.path.endswith("/cancel") else "sql.submit.before"
    else:
        step = "sql.poll"
    await _act(request, faults, step)
    response = await handler(request)
    if step == "sql.submit.before":
        await _act(request, faults, "sql.submit.after")
    return response


async def _act(request: web.Request, faults: FaultPlan, step: str) -> None:
    request["step"] = step
    fault = faults.take(step)
    if fault is not None:
        request["fault"] = fault.id
        await fault_module.delay(fault)
        raise_fault(fault)


def _record(faults: FaultPlan, request: web.Request, response, started: float, code: str | None) -> None:
    faults.record(
        LogEntry(
            at_ms=fault_module.now_ms(),
            method=request.method,
            path=request.raw_path.partition("?")[0],
            query={name: value for name, value in request.query.items() if name in LOGGED_PARAMETERS},
            status=response.status if response is not None else 0,
            request_bytes=len(request["body"]) if "body" in request else request.content_length or 0,
            response_bytes=response.content_length or 0 if response is not None else 0,
            duration_ms=round((time.monotonic() - started) * 1000, 3),
            user_agent=request.headers.get("User-Agent", ""),
            token_type=request.headers.get("X-Snowflake-Authorization-Token-Type", ""),
            step=request.get("step", ""),
            fault=request.get("fault"),
            code=code,
        )
    )


async def listen(app: web.Application, host: str, port: int, ssl_context=None) -> tuple[web.AppRunner, int]:
    """Serves until the runner is cleaned up; answers the port, which the system chooses for 0."""
    # Bodies are unpacked by us: size and completeness have to be checked before and after.
    runner = web.AppRunner(app, access_log=None, auto_decompress=False, handle_signals=False, shutdown_timeout=SHUTDOWN_SECONDS)
    await runner.setup()
    site = web.TCPSite(runner, host, port, ssl_context=ssl_context, backlog=512)
    await site.start()
    return runner, site._server.sockets[0].getsockname()[1]
