"""A throw-away PostgreSQL server on 127.0.0.1, for tests, demo and benchmarks.

The server's programs come from PGBIN (`tools/bootstrap postgres VERSION` tells the folder), or from Debian's PostgreSQL 15;
those of a client (pgbench, pg_recvlogical, psql) are Debian's always. As root they run as the user postgres, because the
server refuses to run as root. Everything lives in one temporary folder and is gone after delete().
"""
import atexit
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time

import psycopg

CLIENT_BIN = pathlib.Path("/usr/lib/postgresql/15/bin")
PGBIN = pathlib.Path(os.environ.get("PGBIN") or CLIENT_BIN)
SERVER_USER = "postgres" if os.geteuid() == 0 else None
SETTINGS = {
    "wal_level": "logical",
    "max_replication_slots": 30,
    "max_wal_senders": 30,
    "max_connections": 150,
    "max_prepared_transactions": 10,
    "listen_addresses": "127.0.0.1",
    "log_line_prefix": "%m [%p] %q%u@%d/%a ",
    "timezone": "UTC",
}
MEMORY_FOLDER = pathlib.Path("/dev/shm")
MEMORY_BYTES_MIN = 12 << 30  # all servers of a run have a few gigabytes of WAL together
scratch_parent = None  # the system's folder for temporary files
STOP_SIGNALS = {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}


def major_version(server_bin=PGBIN):
    """15 for PostgreSQL 15.18."""
    told = subprocess.check_output([pathlib.Path(server_bin) / "postgres", "--version"], text=True)  # postgres (PostgreSQL) 15.18 (…)
    return int(re.search(r"\(PostgreSQL\) (\d+)", told)[1])


class ServerError(Exception):
    pass


class Port:
    """A port of 127.0.0.1 for a server that is begun, and begun again, later. Nobody else gets it meanwhile, as it is bound here all the
    time; a socket with SO_REUSEADDR, which servers set, may listen on it beside us, since we do not (Linux: bind(2), socket(7))."""

    def __init__(self):
        self._held = socket.socket()
        self._held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._held.bind(("127.0.0.1", 0))
        self.number = self._held.getsockname()[1]

    def release(self):
        self._held.close()


def keep_scratch_in_memory():
    """Scratch folders are made in memory from here on, unless there is not room in plenty: the thousand files of a cluster are made and
    deleted there in a fraction of the time. Benchmarks stay on the disk."""
    global scratch_parent
    memory = re.search(r"MemAvailable: *(\d+) kB", pathlib.Path("/proc/meminfo").read_text())
    if MEMORY_FOLDER.is_dir() and min(int(memory[1]) << 10, shutil.disk_usage(MEMORY_FOLDER).free) >= MEMORY_BYTES_MIN:
        scratch_parent = MEMORY_FOLDER


def scratch_folder(prefix):
    """A new folder that the server's user may enter."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix=prefix, dir=scratch_parent))
    if SERVER_USER:
        shutil.chown(folder, SERVER_USER)
    return folder


class PgServer:
    """One cluster. The port is chosen at the first start and kept, so that clients find the server again."""

    templates = {}  # by the folder of programs: the first cluster's files as initdb left them; copying is several times faster

    def __init__(self, settings=None, tls=False, encoding="UTF8", folder=None, server_bin=PGBIN):
        self.server_bin = pathlib.Path(server_bin)
        self.folder = pathlib.Path(folder) if folder else scratch_folder("etl-pg-")
        self.data = self.folder / "data"
        self.log_path = self.folder / "server.log"
        self._port = None
        self.process = None
        atexit.register(self.delete)
        self._make_cluster(encoding)
        self.configure(unix_socket_directories=str(self.folder), **SETTINGS)
        self.configure(**(settings or {}))
        if tls:
            self._make_certificate()

    def _make_cluster(self, encoding):
        template = PgServer.templates.get(self.server_bin)
        if encoding == "UTF8" and template and template.exists():
            self.program("cp", "-a", str(template), str(self.data), folder="/bin")
            return
        self.program("initdb", "-D", str(self.data), "-U", "postgres", "-A", "trust", "-E", encoding, "--locale=C",
                     "--no-sync")
        if encoding == "UTF8":
            template = PgServer.templates[self.server_bin] = scratch_folder("etl-pg-template-") / "data"
            atexit.register(shutil.rmtree, template.parent, True)
            self.program("cp", "-a", str(self.data), str(template), folder="/bin")

    def _make_certificate(self):
        from certificates import write_self_signed
        write_self_signed(self.data / "server.crt", self.data / "server.key", ["127.0.0.1", "localhost"])
        for name in ("server.crt", "server.key"):
            os.chmod(self.data / name, 0o600)
            if SERVER_USER:
                shutil.chown(self.data / name, SERVER_USER, SERVER_USER)
        self.configure(ssl="on")

    @property
    def port(self):
        return self._port and self._port.number

    @property
    def certificate(self):
        return self.data / "server.crt"

    def program(self, name, *arguments, folder=None, environment=None):
        """Runs one of the server's programs to its end."""
        done = subprocess.run([os.path.join(folder or self.server_bin, name), *arguments], user=SERVER_USER, cwd=self.folder, text=True,
                              env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, extra_groups=[] if SERVER_USER else None)
        if done.returncode:
            raise ServerError(f"{name}: {done.stdout}")
        return done.stdout

    def configure(self, **settings):
        """Takes effect at the next start, or reload() where the setting allows it."""
        with open(self.data / "postgresql.conf", "a", encoding="utf-8") as file:
            for name, value in settings.items():
                file.write(f"{name} = '{value}'\n")

    def set_hba(self, *lines):
        (self.data / "pg_hba.conf").write_text("".join(line + "\n" for line in lines), encoding="utf-8")

    def reload(self):
        self.sql("select pg_reload_conf()")

    def start(self, seconds=180):  # on a machine whose disk is busy with others
        if self.is_running():
            return self
        deadline = time.monotonic() + seconds
        self._port = self._port or Port()
        with open(self.log_path, "a", encoding="utf-8") as log:
            self.process = subprocess.Popen(
                [self.server_bin / "postgres", "-D", self.data, "-p", str(self.port)], user=SERVER_USER, cwd=self.folder,
                extra_groups=[] if SERVER_USER else None, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True)
        while self.process.poll() is None and time.monotonic() < deadline:
            try:
                self.connect().close()
                return self
            except psycopg.OperationalError:
                time.sleep(0.05)  # between two tries, until the deadline
        raise ServerError("the server does not start:\n" + self.log_tail())

    def is_running(self):
        return self.process is not None and self.process.poll() is None

    def stop(self, mode="fast", seconds=60):
        """Ends the server; raises if it is still there after the deadline."""
        if self.is_running():
            self.process.send_signal(STOP_SIGNALS[mode])
            try:
                self.process.wait(seconds)
            except subprocess.TimeoutExpired:
                raise ServerError(f"the server does not stop ({mode}) within {seconds} s") from None
        self.process = None

    def crash(self):
        """As far as the data is concerned: no checkpoint, no flush beyond what was synced."""
        self.stop("immediate")

    def restart(self, mode="fast"):
        self.stop(mode)
        return self.start()

    def delete(self):
        try:
            self.stop("immediate", seconds=20)
        except ServerError:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(60)
        if self._port:
            self._port.release()
        shutil.rmtree(self.folder, ignore_errors=True)
        atexit.unregister(self.delete)

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.delete()

    def log_tail(self, size=4000):
        return self.log_path.read_text(encoding="utf-8", errors="replace")[-size:] if self.log_path.exists() else ""

    def url(self, dbname="postgres", user="postgres", **query):
        listed = "&".join(f"{name}={value}" for name, value in query.items())
        return f"postgres://{user}@127.0.0.1:{self.port}/{dbname}" + (f"?{listed}" if listed else "")

    def connect(self, dbname="postgres", autocommit=True, **parameters):
        parameters = {"user": "postgres", "connect_timeout": 60, **parameters}
        return psycopg.connect(host="127.0.0.1", port=self.port, dbname=dbname, autocommit=autocommit, **parameters)

    def sql(self, text, parameters=None, dbname="postgres"):
        """Runs statements and returns the rows of the last one that has some."""
        with self.connect(dbname) as connection:
            cursor = connection.execute(text, parameters)
            rows = cursor.fetchall() if cursor.description else []
            while cursor.nextset():
                rows = cursor.fetchall() if cursor.description else rows
            return rows

    def value(self, text, parameters=None, dbname="postgres"):
        return self.sql(text, parameters, dbname)[0][0]

    def pgbench(self, *arguments, dbname="postgres"):
        return self.program("pgbench", "-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres", *arguments, dbname,
                            folder=CLIENT_BIN)

    def create_database(self, name, seconds=60):
        """The server waits five seconds for whoever is in the database that it copies, as autovacuum may be."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                self.sql(psycopg.sql.SQL("create database {}").format(psycopg.sql.Identifier(name)))
                return
            except psycopg.errors.ObjectInUse:
                if time.monotonic() > deadline:
                    raise

    def drop_database(self, name, seconds=60):
        """With its slots; a slot in use is freed by ending its walsender. The server waits five seconds for those whom it ends."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                for slot, active_pid in self.sql("select slot_name, active_pid from pg_replication_slots where database = %s", [name]):
                    if active_pid is not None:
                        self.sql("select pg_terminate_backend(%s, 5000)", [active_pid])
                    self.sql("select pg_drop_replication_slot(%s)", [slot])
                self.sql(psycopg.sql.SQL("drop database if exists {} with (force)").format(psycopg.sql.Identifier(name)))
                return
            except psycopg.Error:
                if time.monotonic() > deadline or not self.is_running():
                    raise
                time.sleep(0.05)  # between two tries, until the deadline
