"""A receiver of alerts: keeps every body as it came, and misbehaves as told."""
import http.server
import json
import threading
import time

from program import Timeout


class AlertReceiver:
    """faults: statuses for the next posts, or "cut" (the connection is closed without an answer); then 200. hang: none is answered."""

    def __init__(self, faults=()):
        self.faults = list(faults)
        self.hang = False
        self.tries = []  # every body, in order, taken or not
        self.taken = []  # (body, as JSON), of those that were answered with 200
        self.headers = []
        self._news = threading.Condition()
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                receiver._take(self)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.handle_error = lambda *_: None  # a sender that did not wait for the answer
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    @property
    def url(self):
        return f"http://ops:secret@127.0.0.1:{self.port}/hook/secret?token=secret"

    def _take(self, handler):
        body = handler.rfile.read(int(handler.headers["Content-Length"])).decode()
        with self._news:
            self.tries.append(body)
            self.headers.append(dict(handler.headers))
            fault = self.faults.pop(0) if self.faults else None
            if fault is None and not self.hang:
                self.taken.append((body, json.loads(body)))
            self._news.notify_all()
            while self.hang:
                self._news.wait()
        if fault == "cut":
            handler.close_connection = True
            return
        handler.send_response(fault or 200)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    def of(self, kind, **members):
        """The taken alerts of a type whose members are these."""
        with self._news:
            return [alert for _, alert in self.taken
                    if alert["type"] == kind and all(alert.get(name) == value for name, value in members.items())]

    def wait_for(self, kind, seconds=60, count=1, **members):
        deadline = time.monotonic() + seconds
        while True:
            found = self.of(kind, **members)
            if len(found) >= count:
                return found[count - 1]
            with self._news:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise Timeout(f"no {kind} {members} within {seconds} s, only {[alert for _, alert in self.taken]}")
                self._news.wait(min(left, 0.2))

    def wait_for_tries(self, count, seconds=60):
        deadline = time.monotonic() + seconds
        with self._news:
            while len(self.tries) < count:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise Timeout(f"{len(self.tries)} of {count} posts within {seconds} s")
                self._news.wait(left)

    def release(self):
        """Answers those that hang."""
        with self._news:
            self.hang = False
            self._news.notify_all()

    def close(self):
        self.release()
        self.server.shutdown()
        self.server.server_close()
