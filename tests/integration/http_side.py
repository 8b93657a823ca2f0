"""The HTTP side of a running program, as a client sees it: where it listens, requests, raw connections."""
import http.client
import json
import re
import socket

from program import wait_until

LISTENS = {"METRICS_ADDR": "127.0.0.1:0", "HEALTH_ADDR": "127.0.0.1:0"}  # ports that the system picks
TOKEN = "a-token-of-more-than-16-letters"
JSON = {"Content-Type": "application/json"}
BEARER = {"Authorization": f"Bearer {TOKEN}"}


def ports_of(program):
    """(metrics, health): the ports that the program's log names; None where it does not listen."""
    program.wait_for_event("starting")
    found = {}
    for line in program.events("listening"):
        kind = "metrics" if line["message"].startswith("metrics on") else "health"
        found[kind] = int(re.search(r"http://\S+:(\d+) ", line["message"]).group(1))
    return found.get("metrics"), found.get("health")


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def text(self):
        return self.body.decode()

    def __repr__(self):
        return f"{self.status} {self.text}"


class Client:
    """One connection for each request, or, as a context, one for all."""

    def __init__(self, port, host="127.0.0.1", seconds=60):
        self.host, self.port, self.seconds = host, port, seconds
        self.kept = None

    def __enter__(self):
        self.kept = http.client.HTTPConnection(self.host, self.port, timeout=self.seconds)
        return self

    def __exit__(self, *_):
        self.kept.close()
        self.kept = None

    def ask(self, method, path, body=None, **headers):
        connection = self.kept or http.client.HTTPConnection(self.host, self.port, timeout=self.seconds)
        try:
            connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
            answer = connection.getresponse()
            return Answer(answer.status, answer.headers, answer.read())
        finally:
            if connection is not self.kept:
                connection.close()

    def get(self, path, **headers):
        return self.ask("GET", path, **headers)

    def post(self, path, value=None, **headers):
        return self.ask("POST", path, json.dumps({} if value is None else value),
                        **{**JSON, **BEARER, **headers})

    def open(self, text=b""):
        """A raw connection that has sent text."""
        raw = socket.create_connection((self.host, self.port), timeout=self.seconds)
        raw.sendall(text)
        return raw


def other_address():
    """An address of this machine that is not loopback; None: it has none."""
    for family, far in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect((far, 9))  # sends nothing: the route tells which address would be ours
                found = probe.getsockname()[0]
            except OSError:
                continue
        if not found.startswith("127.") and found != "::1":
            return found
    return None


def checks_of(client, status, **is_healthy):
    """The checks of /health when they are that, or None; a machine that stood still makes the program say for a moment what is not so."""
    answer = client.get("/health")
    checks = answer.json["checks"]
    return checks if answer.status == status and all(checks[name]["healthy"] == value for name, value in is_healthy.items()) else None


def wait_for_checks(client, status, **is_healthy):
    return wait_until(lambda: checks_of(client, status, **is_healthy), 60, f"/health to answer {status} with {is_healthy}")
