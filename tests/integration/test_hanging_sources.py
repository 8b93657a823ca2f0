"""Sources that stop answering, one in every phase of connecting, beside one that is well, all on one worker: the loop never waits."""
import socket
import struct
import threading

import pytest

from program import wait_until
from service import Catalog
from snowflake_client import Snowflake
from test_service import POLL, make_destination, schema_url, settle, sources, wait_live

SSL_REQUEST = 80877103
PHASES = ("dial", "accepted", "tls", "startup", "password", "query")


class Silence:
    """A server on 127.0.0.1 that follows PostgreSQL's protocol up to a phase, and then says nothing more.

    dial: the connection is never taken, its backlog is full. accepted: not a byte is answered. tls: the wish for TLS is granted, its
    handshake is not. startup: the start-up packet is not answered. password: asked for, and not judged.
    query: all is well until the first query. held() counts who waits there.
    """

    def __init__(self, phase):
        self.phase = phase
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=0 if phase == "dial" else 16)
        self.port = self.listener.getsockname()[1]
        self.closed = False
        self.waiting = set()
        self.lock = threading.Lock()
        self.fillers = []
        if phase == "dial":
            self._fill()
        else:
            threading.Thread(target=self._accept, daemon=True).start()

    def _fill(self):
        """Connections that nobody accepts, until one more is not taken."""
        while True:
            filler = socket.socket()
            filler.settimeout(0.3)
            self.fillers.append(filler)
            try:
                filler.connect(("127.0.0.1", self.port))
            except TimeoutError:
                return

    def _accept(self):
        while not self.closed:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        try:
            if self.phase != "accepted":
                self._talk(client)
            with self.lock:
                self.waiting.add(client)
            while client.recv(65536):
                pass
        except (OSError, EOFError):
            pass
        finally:
            with self.lock:
                self.waiting.discard(client)
            client.close()

    def _talk(self, client):
        size, code = struct.unpack("!II", read(client, 8))
        if code == SSL_REQUEST:
            client.sendall(b"S" if self.phase == "tls" else b"N")
            if self.phase == "tls":
                return
            (size,) = struct.unpack("!I4x", read(client, 8))
        read(client, size - 8)
        if self.phase == "startup":
            return
        if self.phase == "password":
            client.sendall(message(b"R", struct.pack("!I", 3)))
        else:
            client.sendall(message(b"R", struct.pack("!I", 0)))
            for name, value in ((b"server_version", b"15.0"), (b"client_encoding", b"UTF8"), (b"server_encoding", b"UTF8"),
                                (b"standard_conforming_strings", b"on"), (b"integer_datetimes", b"on")):
                client.sendall(message(b"S", name + b"\0" + value + b"\0"))
            client.sendall(message(b"Z", b"I"))
        read(client, 5)  # the password, or the query

    def held(self):
        """How many wait in that phase; of dial nobody knows but the kernel."""
        with self.lock:
            return len(self.waiting)

    def close(self):
        self.closed = True
        self.listener.close()
        with self.lock:
            waiting = list(self.waiting)
        for one in waiting:
            one.shutdown(socket.SHUT_RDWR)  # wakes its thread, which closes it
        for one in self.fillers:
            one.close()


def read(client, size):
    data = b""
    while len(data) < size:
        part = client.recv(size - len(data))
        if not part:
            raise EOFError
        data += part
    return data


def message(kind, body):
    return kind + struct.pack("!I", len(body) + 4) + body


@pytest.fixture
def silences():
    made = {phase: Silence(phase) for phase in PHASES}
    yield made
    for one in made.values():
        one.close()


@pytest.mark.threads
def test_sources_that_hang_in_every_phase_of_connecting(sources, standin, start_service, silences):
    service = start_service(*POLL, "--workers", 1)
    catalog: Catalog = start_service.catalog
    source = sources(10)
    source.sql("CREATE TABLE pulse (id int PRIMARY KEY)")
    source.sql(f"ALTER PUBLICATION {source.publication} ADD TABLE pulse")
    catalog.add_source("well", source)
    target = make_destination(catalog, standin, "wh")
    catalog.add_pipeline("well", "well", "wh", settings={"merge_interval_seconds": 3600})
    wait_live(service, "well")
    for phase, silence in silences.items():
        catalog.add_source(phase, source, user="somebody", pg_port=silence.port, pg_password="secret",
                           pg_tls_enabled=phase == "tls")
        catalog.add_pipeline(phase, phase, "wh")
        service.wait_for_state(phase, "checking", 30)
    counted = [silence for phase, silence in silences.items() if phase != "dial"]
    landing = Snowflake(schema_url(standin, "WH"))
    arrived = 0
    # On a busy machine one of them may be through with a try while the row is on its way; then that row shows nothing.
    for i in range(60):
        # Wherever they are in their retries: every phase is being waited for when the row is written and when it has arrived. A
        # loop that waited for one of them would bring the row only when that one's time was out.
        wait_until(lambda: all(one.held() for one in counted), 60, "somebody to wait in every phase", pause=0.05)
        source.sql(f"INSERT INTO pulse VALUES ({i})")
        query = f'SELECT COUNT(*) FROM "DEMO_DB"."WH_LANDING"."LANDING_PULSE" WHERE "ID" = {i}'
        wait_until(lambda: int(landing.value(query)) == 1, 30, "the row to arrive", pause=0.02)
        arrived += all(one.held() for one in counted)
        if arrived == 9:
            break
    assert arrived == 9, f"only {arrived} of {i + 1} rows arrived while every phase was waited for"
    for silence in silences.values():
        silence.close()
    for phase in silences:
        ended = wait_until(lambda phase=phase: (found := service.pipeline(phase)).get("error") and found, 60, f"{phase} to say why")
        assert ended["state"] in ("waiting", "failed", "checking"), ended
    settle_now(source, target, service)
    assert service.terminate() == 0


def settle_now(source, target, service):
    """With a merge by the hour: paused and started, it merges at once."""
    assert service.command("pipeline", "pause", "well").returncode == 0
    assert service.command("pipeline", "edit", "well", "--merge-interval-seconds", "1").returncode == 0
    assert service.command("pipeline", "start", "well").returncode == 0
    settle(source, target)
