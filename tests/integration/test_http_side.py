"""Metrics, probes and the API over HTTP: bodies, who may do what, slow clients, and what happens when the rest is not well."""
import ctypes
import os
import pathlib
import signal
import socket
import time

import pytest

import load
from http_side import BEARER, JSON, LISTENS, TOKEN, Client, other_address, ports_of, wait_for_checks
from program import TRAPS_PROGRAM, run_command, wait_until
from service import PostgresCatalog
from test_service import POLL, make_destination, sources, wait_live  # noqa: F401

HEALTHY = {"status": "healthy", "checks": {"database": {"healthy": True, "message": "the catalog answers"},
                                           "pipelines": {"active": 0, "healthy": True}}}


@pytest.fixture
def served(start_service):
    """An empty catalog's service with a token: (service, client of HEALTH_ADDR, client of METRICS_ADDR)."""
    service = start_service(*POLL, **LISTENS, ETL_API_TOKEN=TOKEN)
    metrics, health = ports_of(service)
    client = Client(health)
    wait_until(lambda: client.get("/ready").status == 200, 30, "the service to be ready")
    return service, client, Client(metrics)


# A machine that stood still makes the program say for a moment that a thread of it or its catalog does not answer. So what is asserted
# of its health is waited for.

def wait_for_health(client):
    wait_until(lambda: client.get("/health").json == HEALTHY, 30, "the service to be well")


def change(client, path, value=None):
    """Its answer. After ten seconds it is answered that it was not seen to be done yet: then it is asked for once more."""
    def ask():
        answer = client.post(path, value)
        is_late = answer.status == 503 or answer.status == 202 and "not seen to be done" in answer.json["message"]
        return None if is_late else answer
    answer = wait_until(ask, 60, f"{path} to be done")
    assert answer.status == 202, answer
    return answer


def test_probes_metrics_and_errors(served):
    service, client, metrics = served
    wait_for_health(client)
    assert client.get("/liveness").text == "alive"
    wait_until(lambda: client.get("/ready").text == "ready", 30, "the service to be ready")
    for one in (client, metrics):
        answer = one.get("/metrics")
        assert answer.status == 200 and answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        assert "\netl_pipeline_active 0\n" in answer.text
    assert metrics.get("/health").status == 404
    status = client.get("/api/v1/status")
    assert status.headers["Content-Type"] == "application/json"
    body = status.json
    assert set(body) == {"takes_changes", "service", "pipelines", "sources", "alerts"}
    assert body["takes_changes"] is True and body["pipelines"] == []
    assert body["service"]["state"] == "running"
    wait_until(lambda: client.get("/api/v1/status").json["service"]["catalog"]["healthy"] is True, 30, "the catalog to be well")
    for name, value in (("Cache-Control", "no-store"), ("X-Content-Type-Options", "nosniff"), ("X-Frame-Options", "DENY")):
        assert status.headers[name] == value
    assert "default-src 'self'" in status.headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in status.headers["Content-Security-Policy"]
    head = wait_until(lambda: (found := client.ask("HEAD", "/health")).status == 200 and found, 30, "the service to be well")
    assert head.body == b"" and int(head.headers["Content-Length"]) > 0
    missing = client.get("/api/v1/pipelines/nobody")
    assert (missing.status, missing.json["error"]) == (404, 'there is no pipeline "nobody"')
    assert client.get("/nowhere").status == 404 and client.get("/nowhere").json["error"]
    for method, path, allowed in (("DELETE", "/health", "GET, HEAD"), ("POST", "/api/v1/status", "GET, HEAD"),
                                  ("GET", "/api/v1/pipelines/x/start", "POST"), ("PUT", "/metrics", "GET, HEAD")):
        answer = client.ask(method, path)
        assert (answer.status, answer.headers["Allow"]) == (405, allowed) and answer.json["error"], (method, path)
    assert service.terminate() == 0


@pytest.mark.threads
def test_who_may_do_what(served):
    service, client, _ = served
    start = "/api/v1/pipelines/nobody/start"
    # From loopback reading needs nothing, but for names that lead here and proxies.
    assert client.get("/api/v1/status", Host="localhost:1").status == 200
    assert client.get("/api/v1/status", Host="evil.example").status == 401
    assert client.get("/api/v1/status", X_Forwarded_For="198.51.100.1").status == 401
    assert client.get("/api/v1/status", Host="evil.example", **BEARER).status == 200
    # A change needs the token as Bearer, from our own page or no page, as JSON.
    refused = client.ask("POST", start, "{}", **JSON)
    assert (refused.status, refused.headers["WWW-Authenticate"]) == (401, 'Bearer realm="etl-stream"')
    assert client.post(start, Authorization="Bearer wrong-and-long-enough").status == 401
    assert client.post(start, Origin="http://evil.example").status == 403
    assert client.post(start, Sec_Fetch_Site="cross-site").status == 403
    assert client.post(start, Content_Type="text/plain").status == 415
    assert client.post(start).status == 404  # it may; there is no such pipeline
    assert client.post(start, Origin=f"http://127.0.0.1:{client.port}").status == 404
    assert client.ask("POST", start, b"x" * 20000, **JSON, **BEARER).status == 413
    # Probes and metrics are open, whatever the headers say.
    wait_until(lambda: client.get("/health", Host="evil.example").status == 200, 30, "the service to be well")
    # The token stays where it is.
    environ = (b"ETL_API_TOKEN=" + TOKEN.encode())
    assert environ not in open(f"/proc/{service.pid}/environ", "rb").read()
    assert TOKEN not in service.tail(1000)


def test_from_elsewhere_reading_needs_the_token(start_service, tmp_path):
    address = other_address()
    if address is None:
        pytest.skip("the machine has no address but loopback")
    service = start_service(*POLL, HEALTH_ADDR="[::]:0", ETL_API_TOKEN=TOKEN)
    port = ports_of(service)[1]
    client = Client(port, address)
    wait_until(lambda: client.get("/ready").status == 200, 30, "the service to be ready")
    wait_for_checks(client, 200)
    assert client.get("/metrics").status == 200
    refused = client.get("/api/v1/status")
    assert refused.status == 401 and refused.headers["WWW-Authenticate"].startswith("Basic ")
    assert client.get("/api/v1/status", **BEARER).status == 200
    assert Client(port).get("/api/v1/status").status == 200  # the same socket, from loopback
    assert service.terminate() == 0
    # Without a token nobody reads from elsewhere, and nobody changes anything from anywhere. One from a file is as good.
    service = start_service(*POLL, HEALTH_ADDR="[::]:0")
    port = ports_of(service)[1]
    for answer in (Client(port, address).get("/api/v1/status", **BEARER), Client(port).post("/api/v1/pipelines/x/pause")):
        assert answer.status == 403 and "ETL_API_TOKEN" in answer.json["allowed"], answer
    assert service.terminate() == 0
    (tmp_path / "token").write_text(TOKEN + "\n")
    service = start_service(*POLL, "--api-token-file", tmp_path / "token", HEALTH_ADDR="[::]:0")
    assert Client(ports_of(service)[1], address).get("/api/v1/status", **BEARER).status == 200


def test_bad_settings_end_the_start(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        for variables, words in (
                ({"METRICS_ADDR": f"127.0.0.1:{port}"}, ["METRICS_ADDR", str(port), "another program listens there"]),
                ({"HEALTH_ADDR": f"[::]:{port}"}, ["HEALTH_ADDR", str(port), "another program listens there"]),
                ({"METRICS_ADDR": "9000"}, ['METRICS_ADDR is "9000"', "HOST:PORT", "off"]),
                ({"HEALTH_ADDR": "db1:8080"}, ['HEALTH_ADDR is "db1:8080"', "HOST:PORT"]),
                ({"HEALTH_ADDR": "127.0.0.1:0", "ETL_API_TOKEN": "short"}, ["ETL_API_TOKEN has 5 characters", "16"])):
            done = run_command("run", state=tmp_path / "state.db", **variables)
            assert done.returncode == 2, done
            assert all(word in done.stderr for word in words) and "short;" not in done.stderr, done.stderr
        done = run_command("run", "--metrics-addr", "x", state=tmp_path / "state.db")
        assert done.returncode == 2 and '--metrics-addr is "x"' in done.stderr
    assert not (tmp_path / "state.db").exists()  # before anything else was done


def test_one_pipeline_listens_when_asked(source, standin, start_stream):
    with source.connect() as connection:
        load.create_tables(connection, source.publication)
        load.fill(connection, 10)
    program = start_stream(source.url(), standin.to, "--poll-interval-seconds", 1, HEALTH_ADDR="127.0.0.1:0", ETL_API_TOKEN=TOKEN)
    client = Client(ports_of(program)[1])
    status = wait_until(lambda: (found := client.get("/api/v1/status").json)["pipelines"] and found["pipelines"][0].get("is_live")
                        and found["service"]["pipelines"]["active"] == 1 and found, 60, "the pipeline to be live")
    name = status["pipelines"][0]["pipeline"]
    refused = client.post(f"/api/v1/pipelines/{name}/pause")
    assert refused.status == 409 and "run --from --to" in refused.json["error"]
    assert change(client, f"/api/v1/pipelines/{name}/resync").json["done"] is True
    one = client.get(f"/api/v1/pipelines/{name}").json
    assert one["wanted"] == "START" and one["is_running"] is True and one["age_seconds"] < 60
    lag = wait_until(lambda: (found := client.get(f"/api/v1/pipelines/{name}").json["lag"])["seconds"] == 0 and found, 30,
                     "the pipeline to be caught up")
    assert isinstance(lag["bytes"], int)
    shown = run_command("status", state=program.state)
    assert "lag: " in shown.stdout


def test_slow_clients_hold_up_nobody(served):
    _, client, _ = served
    slow = [client.open(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ") for _ in range(300)]
    try:
        began = time.monotonic()
        for _ in range(20):
            assert client.get("/health").status in (200, 503)
        assert time.monotonic() - began < 60  # a slow one is waited for longer
        # Those that were silent longest made way; at most 128 are left.
        def closed_count():
            count = 0
            for one in slow:
                one.setblocking(False)
                try:
                    count += one.recv(1) == b""
                except BlockingIOError:
                    pass
                except ConnectionError:
                    count += 1
            return count
        wait_until(lambda: closed_count() >= 300 - 128, 30, "the slowest to make way")
    finally:
        for one in slow:
            one.close()
    with client as kept:  # one connection for many requests
        for _ in range(50):
            assert kept.get("/liveness").text == "alive"
    # One that has its answer and more to say, byte by byte.
    raw = client.open()
    for byte in b"GET /ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n":
        raw.send(bytes([byte]))
    answer = b""
    while more := raw.recv(4096):
        answer += more
    assert answer.startswith(b"HTTP/1.1 200 OK") and answer.endswith(b"ready")
    raw.close()


def test_what_is_no_http_is_refused(served):
    _, client, _ = served
    for text in (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 300, b"GET\r\n\r\n",
                 b"GET /" + b"x" * 100000 + b" HTTP/1.1\r\n\r\n",
                 b"GET /health HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 20000 + b"\r\n",
                 b"POST /api/v1/pipelines/x/start HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n"):
        try:
            client.open(text).close()
        except ConnectionError:
            pass  # it hung up while we spoke
    wait_for_health(client)
    # A name with what a URL can hold.
    assert client.get("/api/v1/pipelines/%00%0a%22%3Cx%3E").status == 404


def test_commands(sources, standin, start_service):  # noqa: F811
    service = start_service(*POLL, **LISTENS, ETL_API_TOKEN=TOKEN)
    client, catalog, source = Client(ports_of(service)[1]), start_service.catalog, sources(10)
    catalog.add_source("shop", source)
    make_destination(catalog, standin, "shop")
    catalog.add_pipeline("shop", "shop", "shop")
    wait_live(service, "shop")
    wait_until(lambda: client.get("/health").json["checks"]["pipelines"] == {"active": 1, "healthy": True}, 10, "one to be active")
    base = "/api/v1/pipelines/shop"
    history = client.get(base + "/history")
    assert history.status == 200 and history.json.keys() == {"interval_seconds", "points"} and history.json["interval_seconds"] == 10
    assert change(client, base + "/start").json == {"done": True, "pipeline": "shop", "state": "running", "message": "it runs"}
    again = change(client, base + "/resync", {"tables": ["customers"]})
    assert again.json["done"] is True and again.json["message"] == "1 table is copied anew", again
    wrong = client.post(base + "/resync", {"tables": ["nothing"]})
    assert wrong.status == 400 and "nothing" in wrong.json["error"] and "SCHEMA.TABLE" in wrong.json["allowed"]
    for value in ([], {"table": "customers"}, {"tables": "customers"}, {"tables": [1]}):
        assert client.post(base + "/resync", value).status == 400, value
    assert client.ask("POST", base + "/resync", "{", **JSON, **BEARER).status == 400
    paused = change(client, base + "/pause")
    assert paused.json["done"] and paused.json["state"] == "paused", paused
    assert change(client, base + "/pause").json["done"]  # it is so already
    wait_until(lambda: client.get("/health").json["checks"]["pipelines"] == {"active": 0, "healthy": True}, 10, "none to be active")
    wait_until(lambda: ((found := client.get(base).json)["state"], found["wanted"], found["lag"]["seconds"]) == ("paused", "PAUSE", None), 30,
               "the pause to be told")
    started = change(client, base + "/start")
    assert started.json["done"] and started.json["state"] == "running", started
    # One that cannot run says why; and it makes nobody unhealthy.
    catalog.add_source("bad", source, user="nobody_there")
    catalog.add_pipeline("bad", "bad", "shop", status="PAUSE")
    wait_until(lambda: client.get("/api/v1/pipelines/bad").status == 200, 30, "the new pipeline to be known")
    failed = change(client, "/api/v1/pipelines/bad/start")
    assert failed.json["done"] is False and "nobody_there" in failed.json["error"], failed
    wait_for_checks(client, 200)
    # Removed: it is gone here too.
    catalog.execute("DELETE FROM pipelines WHERE name = 'bad'")
    wait_until(lambda: client.get("/api/v1/pipelines/bad").status == 404, 30, "the removed pipeline to be gone")


class FrozenThread:
    """One thread of a process that stands still, and nothing else of it (ptrace, which needs root)."""

    SEIZE, INTERRUPT, DETACH, WALL = 0x4206, 0x4207, 17, 0x40000000

    def __init__(self, pid, name=None):
        tasks = pathlib.Path(f"/proc/{pid}/task").iterdir()
        self.thread = pid if name is None else next(int(task.name) for task in tasks
                                                    if (task / "comm").read_text().strip() == name)
        self.library = ctypes.CDLL(None, use_errno=True)
        self.library.ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)
        self.library.ptrace.restype = ctypes.c_long

    def _trace(self, what):
        if self.library.ptrace(what, self.thread, None, None) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

    def __enter__(self):
        self._trace(self.SEIZE)
        self._trace(self.INTERRUPT)
        os.waitpid(self.thread, self.WALL)

    def __exit__(self, *_):
        self._trace(self.DETACH)


@pytest.mark.skipif(os.geteuid() != 0, reason="stopping one thread of another process needs root")
def test_a_thread_that_stands_still_holds_up_nobody(served):
    service, client, metrics = served
    for name in ("worker 1", "catalog"):
        with FrozenThread(service.pid, name):
            for _ in range(20):
                if name == "catalog":
                    assert client.get("/health").status in (200, 503)
                else:
                    wait_for_checks(client, 200)
                wait_until(lambda: client.get("/ready").text == "ready", 30, "the service to be ready")
            assert client.get("/api/v1/status").status == 200 and metrics.get("/metrics").status == 200
            if name == "catalog":
                missed = wait_for_checks(client, 503, database=False)
                assert missed["database"]["message"] == "the catalog fails: it does not answer"
        wait_for_checks(client, 200)
    with FrozenThread(service.pid):
        wait_for_checks(client, 503, pipelines=False, database=True)
        assert client.get("/ready").status == 503 and client.get("/liveness").text == "alive"
    wait_for_health(client)


def test_catalog_away_and_back(own_postgres, start_service, alert_receiver):
    start_service.catalog = PostgresCatalog(own_postgres.server, "etl_config")
    # A minute of the alerts takes 0.6 seconds there.
    service = start_service(*POLL, **LISTENS, ETL_API_TOKEN=TOKEN, ALERT_WAL_URL=alert_receiver.url, TIME_CHECK_NOTIFICATION=1,
                            binary=TRAPS_PROGRAM, ETL_TRAP="monitor_seconds")
    client = Client(ports_of(service)[1])
    wait_until(lambda: client.get("/ready").status == 200, 30, "the service to be ready")
    own_postgres.server.stop()
    checks = wait_for_checks(client, 503, pipelines=True, database=False)
    assert checks["database"]["message"].startswith("the catalog fails") and client.get("/health").json["status"] == "unhealthy"
    assert client.get("/api/v1/status").json["service"]["catalog"]["error"]
    alert = alert_receiver.wait_for("catalog_down", 60, status="danger")
    assert f"process {service.pid} on" in alert["message"] and "configuration database" in alert["remedy"], alert
    own_postgres.server.start()
    wait_until(lambda: client.get("/health").status == 200, 60, "the health check to pass again")
    alert_receiver.wait_for("catalog_down", 60, status="resolved")
    # It stands still as a whole: afterwards it says so itself, and then is well again.
    service.signal(signal.SIGSTOP)
    service.signal(signal.SIGCONT)
    wait_until(lambda: client.get("/health").status == 200, 30, "the health check to pass")
