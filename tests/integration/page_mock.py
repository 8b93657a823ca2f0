"""The page without the program: the files of src/http/page with the headers of the http room, and an API that answers what the
test says. For what a real service cannot show in a second: hundreds of pipelines, each kind of trouble.
"""
import datetime
import http.server
import json
import pathlib
import random
import re
import threading
import urllib.parse

HTTP = pathlib.Path(__file__).resolve().parent.parent.parent / "src" / "http"
PAGE = HTTP / "page"
TYPES = {".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
# The program's own.
POLICY = "".join(re.findall(r'"([^"]*)"', (HTTP / "server.c").read_text().partition('"Content-Security-Policy",')[2].partition("}")[0]))


def when(seconds=0.0):
    at = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=seconds)
    return at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03}Z"


class PageMock:
    """status: the document of /api/v1/status, to be changed by the test. commands: what was asked for. is_away: connections are
    closed without an answer."""

    def __init__(self, status, token="correct horse"):
        self.status, self.token, self.commands = status, token, []
        self.is_away = self.needs_token_to_read = False
        mock = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                mock.get(self)

            def do_POST(self):
                mock.post(self)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}/"
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)

    def answer(self, handler, status, data, kind="application/json"):
        data = data if isinstance(data, bytes) else json.dumps(data).encode()
        handler.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": len(data), "Cache-Control": "no-cache",
                            "Content-Security-Policy": POLICY, "X-Content-Type-Options": "nosniff"}.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(data)

    def get(self, handler):
        if self.is_away:
            handler.close_connection = True
            return
        path = urllib.parse.urlsplit(handler.path).path
        name = "index.html" if path == "/" else path.removeprefix("/page/")
        if path.startswith("/api/") and self.needs_token_to_read and not self.has_token(handler):
            self.answer(handler, 401, {"error": "reading from another machine needs the token"})
        elif path == "/api/v1/status":
            self.answer(handler, 200, self.status)
        elif found := re.fullmatch(r"/api/v1/pipelines/([^/]+)/history", path):
            self.answer(handler, 200, self.history(urllib.parse.unquote(found.group(1))))
        elif re.fullmatch(r"[\w.]+", name) and (PAGE / name).is_file():
            self.answer(handler, 200, (PAGE / name).read_bytes(), TYPES[pathlib.Path(name).suffix])
        else:
            self.answer(handler, 404, {"error": f"there is no {path}"})

    def post(self, handler):
        body = json.loads(handler.rfile.read(int(handler.headers.get("Content-Length", 0))) or b"{}")
        name, action = re.fullmatch(r"/api/v1/pipelines/([^/]+)/(start|pause|resync)", handler.path).groups()
        if not self.has_token(handler):
            self.answer(handler, 401, {"error": "the token is wrong", "allowed": "Authorization: Bearer with the value of ETL_API_TOKEN"})
        else:
            self.commands.append((urllib.parse.unquote(name), action, body))
            self.answer(handler, 202, {"done": True})

    def has_token(self, handler):
        return handler.headers.get("Authorization") == f"Bearer {self.token}"

    def history(self, name):
        random_ = random.Random(name)
        points, lag = [], 0.4
        for ago in range(3600, 0, -10):
            lag = max(0.15, lag * random_.uniform(0.8, 1.22) + (random_.random() < 0.01) * 20)
            if not 2300 < ago < 2500:
                points.append({"at": when(-ago), "lag_bytes": int(lag * 4e5), "lag_seconds": round(lag, 3)})
        return {"interval_seconds": 10, "points": points}

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


# --- documents, as status.c, job.c and watched_source.c write them ------------------------------------------------


def table(name, state="live", **more):
    return {"schema": "public", "table": name, "state": state, "merge": "key", "rows_copied": 120_000, "rows_streamed": 4_211, "channels": 1,
            "landing_rows_deleted": 0, "values_coerced": 0, **more}


def pipeline(name, state="running", tables=("customers", "orders", "order_lines"), **more):
    return {
        "pipeline": name, "state": state, "at": when(), "process": "etl-stream 4711 on db-host", "takes_commands": True,
        "source": "postgres://etl@db1.example:5432/shop", "destination": "snowflake://ETL@ACCOUNT/DEMO_DB/PUBLIC", "slot": f"etl_{name}",
        "publication": "etl", "epoch": 1, "is_live": True, "positions": {"received": "0/4A3C1F80", "committed": "0/4A3C1F80", "confirmed": "0/4A3C0000", "merged": "0/4A3B9A10"},
        "rows_streamed": 48_211, "rows_sent": 408_211, "appends": 1_911, "bytes_sent": 41_882_113, "bytes_uncompressed": 301_882_113,
        "append_latency_us": 41_000, "commit_latency_us": 310_000, "merges": 211, "merge_took_us": 1_800_000,
        "merge": {"state": "idle", "count": 211, "failures": 0, "landing_rows_deleted": 0, "last": when(-14)},
        "circuit": {"state": "closed"}, "lag": {"bytes": 34_160, "seconds": 0.41},
        "tables": [one if isinstance(one, dict) else table(one) for one in tables], **more}


def copying(name, rows, expected):
    parts = {"ranges": 12, "ranges_read": 12 * rows // expected, "ranges_committed": 0, "rows": rows, "rows_expected": expected,
             "bytes": rows * 210, "blocks": 5000, "blocks_read": 5000 * rows // expected}
    return pipeline(name, is_live=False, tables=[table("events", "copying", copy=parts, rows_copied=rows), table("users", "copied")], copy={
        "tables": 2, "tables_read": 1, "ranges": 13, "ranges_read": 1 + parts["ranges_read"], "connections": 4, "rows": rows, "rows_expected": expected,
        "bytes": rows * 210, "rows_per_second": 84_000.0, "bytes_per_second": 17.6e6, "seconds_left": (expected - rows) // 84_000, "reading": []})


def every_kind():
    """One pipeline of each kind, an alert, a source that is well and one that is not."""
    parked = table("audit", "parked", reason="column payload: a json value of 21 MB is larger than Snowflake's VARIANT takes (16 MB)",
                   remedy="leave the column out of the publication; then: etl-stream pipeline resync billing public.audit")
    slots = [{"slot": "etl_shop", "pipeline_name": "shop", "exists": True, "active": True, "held_back_bytes": 34_160, "wal_status": "reserved",
              "safe_wal_size_bytes": None, "inactive_seconds": 0},
             {"slot": "etl_archive", "pipeline_name": "archive", "exists": True, "active": False, "held_back_bytes": 6_811_000_000,
              "wal_status": "extended", "safe_wal_size_bytes": 3_900_000_000, "inactive_seconds": 86_700}]
    return {
        "service": {"version": "0.1.0", "process": "etl-stream 4711 on db-host", "uptime_seconds": 266_400, "catalog": {"healthy": True}},
        "pipelines": [
            pipeline("shop"), pipeline("billing", tables=["invoices", parked]), copying("events", 31_000_000, 84_000_000),
            pipeline("archive", "paused", is_live=False, lag={"bytes": 6_811_000_000, "seconds": None}, held_back=(
                "slot etl_archive is kept: the source keeps its WAL from 0/4A3C0000 on, which grows until the pipeline is started or removed")),
            pipeline("crm", "waiting", error="connection to server at \"db2.example\" (192.0.2.7), port 5432 failed: FATAL:  password authentication failed for user \"etl\"",
                     reason="28P01", remedy="set the user and password right: etl-stream source edit",
                     retry={"failures": 7, "since": when(-340), "next_try": when(600)}),
            pipeline("stock", "snapshot", tables=[], is_live=False),
        ],
        "sources": [
            {"source": "db1", "up": True, "level": "warning", "wal_size_bytes": 7_211_000_000, "checked_at": when(-21), "slots": slots},
            {"source": "db2", "up": False, "error": "the source does not answer within 10 s.", "checked_at": when(-40), "slots": []}],
        "alerts": [{"type": "slot_held_back", "status": "warning", "source_name": "db1", "pipeline_name": "archive", "since": when(-4000),
                    "message": "slot etl_archive holds back 6.8 GB of WAL on source db1", "remedy": "etl-stream pipeline start archive, or remove it"}],
    }


def many(number):
    """Three tables each; every thirtieth copies, every fiftieth fails."""
    made = []
    for i in range(number):
        name = f"pipeline-{i:03}"
        if i % 30 == 7:
            made.append(copying(name, 1_000_000 + i, 9_000_000))
        elif i % 50 == 11:
            made.append(pipeline(name, "waiting", error="the server ended the connection", reason="57P01", remedy="nothing: it is tried again by itself",
                                 retry={"failures": 2, "since": when(-9), "next_try": when(4)}))
        else:
            made.append(pipeline(name))
    return {"service": {"version": "0.1.0", "catalog": {"healthy": True}}, "pipelines": made, "sources": [], "alerts": []}
