"""A receiver of the http destination: keeps what it acknowledged, and misbehaves as told."""
import collections
import gzip
import http.server
import json
import threading
import time

import zstandard


class Post:
    """One request with rows, as it came."""

    def __init__(self, headers, rows, answered):
        self.headers, self.rows, self.answered = headers, rows, answered
        self.kind, self.table = headers["X-ETL-Kind"], headers.get("X-ETL-Table")
        self.first, self.last = headers.get("X-ETL-First-Seq"), headers.get("X-ETL-Last-Seq")
        self.at = time.monotonic()


def decode(headers, body):
    encoding = headers.get("Content-Encoding")
    if encoding == "gzip":
        return gzip.decompress(body)
    if encoding == "zstd":
        return zstandard.ZstdDecompressor().decompressobj().decompress(body)
    assert encoding is None, encoding
    return body


class Receiver:
    """fault(post) → a status, (status, headers, body), "stall" (until released), "cut", or None for 200."""

    def __init__(self, context=None):
        self.lock = threading.Lock()
        self.posts = []      # acknowledged, in the order of their answers
        self.refused = []
        self.busy = collections.Counter()
        self.busy_most = 0   # tables at a time
        self.broken_rules = []
        self.fault = lambda post: None
        self.released = threading.Event()
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.server.daemon_threads = True
        self.scheme = "http"
        if context:
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
            self.scheme = "https"
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def url(self, path="/ingest", **query):
        listed = "&".join(f"{name}={value}" for name, value in query.items())
        return f"{self.scheme}://127.0.0.1:{self.port}{path}" + (f"?{listed}" if listed else "")

    def close(self):
        self.released.set()
        self.server.shutdown()
        self.server.server_close()

    def rows(self, table, schema="public"):
        with self.lock:
            return [row for post in self.posts if post.table == f"{schema}.{table}" for row in post.rows]

    def of(self, *kinds):
        with self.lock:
            return [post for post in self.posts if post.kind in kinds]

    def _enter(self, table):
        with self.lock:
            self.busy[table] += 1
            if self.busy[table] > 1:
                self.broken_rules.append(f"two requests of {table} at a time")
            self.busy_most = max(self.busy_most, sum(count > 0 for count in self.busy.values()))

    def _leave(self, table):
        with self.lock:
            self.busy[table] -= 1

    def _handler(receiver):
        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                table = self.headers.get("X-ETL-Table")
                if table:
                    receiver._enter(table)
                self.answer(body, table)

            def answer(self, body, table):
                rows = [json.loads(line) for line in decode(self.headers, body).splitlines()]
                post = Post(self.headers, rows, None)
                post.path = self.path
                try:
                    told = receiver.fault(post)
                    if told == "stall":
                        receiver.released.wait(60)
                finally:
                    if table:
                        receiver._leave(table)  # before the answer: the next request may follow at once
                if told == "cut":
                    self.close_connection = True
                    self.connection.close()
                    return
                if told == "stall":
                    self.close_connection = True
                    return
                status, headers, text = told if isinstance(told, tuple) else (told or 200, {}, "")
                with receiver.lock:
                    (receiver.posts if 200 <= status < 300 else receiver.refused).append(post)
                payload = text.encode()
                self.send_response(status)
                for name, value in {**headers, "Content-Length": len(payload)}.items():
                    self.send_header(name, str(value))
                self.end_headers()
                self.wfile.write(payload)

            def log_message(self, *_):
                pass
        return Handler
