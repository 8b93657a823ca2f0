"""The private PostgreSQL cluster: made on first use, started and stopped with the stand-in, reachable by a Unix socket alone."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import psycopg

SUPERUSER = "snowbox"
# struct sockaddr_un holds 108 bytes with the final zero; the socket's own name is .s.PGSQL.5432.
SOCKET_DIRECTORY_BYTES_MAX = 107 - len("/.s.PGSQL.5432")
START_SECONDS_MAX = 60
STOP_SECONDS_MAX = 30
# Durability against a crash of the machine is not needed (fsync); against a kill of the stand-in or of PostgreSQL it is there.
SETTINGS = {
    "listen_addresses": "",
    "port": "5432",
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "on",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "2GB",
    "shared_buffers": "128MB",
    "work_mem": "64MB",
    "max_connections": "120",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "datestyle": "ISO, YMD",
    "default_transaction_isolation": "read committed",
    "standard_conforming_strings": "on",
    "max_locks_per_transaction": "512",
    "logging_collector": "off",
    "log_min_messages": "warning",
}


class ClusterError(RuntimeError):
    """The cluster cannot be made or started; the message says why in one line."""


def find_programs() -> Path:
    """The directory with initdb and postgres of PostgreSQL 15 or newer."""
    for version in ("15", "16", "17", "18"):
        directory = Path(f"/usr/lib/postgresql/{version}/bin")
        if (directory / "initdb").exists():
            return directory
    found = shutil.which("initdb")
    if found:
        return Path(found).resolve().parent
    raise ClusterError("no initdb found: install PostgreSQL 15 (Debian: apt install postgresql-15)")


class Cluster:
    """One data directory with one server. PostgreSQL refuses to run as root: then it runs as the user postgres."""

    def __init__(self, directory: Path, template: Path | None = None):
        """template: a data directory that initdb made, or where it shall make it; copying it is several times quicker."""
        self.directory, self.template = directory, template
        directory.mkdir(parents=True, exist_ok=True)
        self.programs = find_programs()
        self.user = pwd.getpwnam("postgres") if os.geteuid() == 0 else None
        self.data, self.socket_directory = self._places()
        self.process: subprocess.Popen | None = None
        self.lock_file = None

    def _places(self) -> tuple[Path, Path]:
        """Where data and socket live: in the state directory, or where PostgreSQL cannot use that, in a temporary one.

        The choice is kept in a file, with a name drawn by lot: a state directory that is removed and made again must not find old tables.
        """
        home = self.directory / "postgres"
        note = self.directory / "cluster-place"
        if note.exists():
            other = Path(note.read_text())
        else:
            other = Path(tempfile.gettempdir()) / f"snowbox-{secrets.token_hex(8)}"
        reachable = not self.user or all(parent.stat().st_mode & 0o001 for parent in self.directory.parents)
        short = len(str(home).encode()) <= SOCKET_DIRECTORY_BYTES_MAX
        if not note.exists() and not (reachable and short):
            note.write_text(str(other))
        if not (home / "data" / "made").exists() and not reachable:
            home = other
        return home / "data", home if short else other

    def _own(self, directory: Path) -> None:
        """Makes the directory, or takes one that is there already only if nobody else can have put things into it."""
        directory.mkdir(mode=0o700, exist_ok=True)
        wanted = self.user.pw_uid if self.user else os.geteuid()
        status = directory.lstat()
        if not directory.is_dir() or directory.is_symlink() or status.st_uid not in (wanted, os.geteuid()):
            raise ClusterError(f"{directory} belongs to somebody else")
        os.chown(directory, wanted, self.user.pw_gid if self.user else os.getegid())
        os.chmod(directory, 0o700)

    def _command(self, program: str, *arguments: str) -> list[str]:
        command = [str(self.programs / program), *arguments]
        # The server ends with the stand-in, however that ends.
        prefix = ["setpriv", "--pdeathsig", "INT"]
        if self.user:
            prefix += ["--reuid", str(self.user.pw_uid), "--regid", str(self.user.pw_gid), "--clear-groups"]
        return [*prefix, *command]

    async def start(self) -> None:
        if self.user and self.data.parent.parent == self.directory:
            os.chmod(self.directory, self.directory.stat().st_mode | 0o011)
        self.lock_file = open(self.directory / "lock", "w")
        try:
            fcntl.flock(self.lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ClusterError(f"another stand-in is using {self.directory}") from None
        self._own(self.data.parent)
        if self.socket_directory != self.data.parent:
            self._own(self.socket_directory)
        if not (self.data / "made").exists():
            await self._make()
        await self._end_predecessor()
        await self._launch()

    async def _make(self) -> None:
        shutil.rmtree(self.data, ignore_errors=True)
        if self.template and self.template.exists():
            await _run("cp", "--archive", str(self.template), str(self.data))
        else:
            # Small segments: what is empty of them is copied and written too.
            await _run(*self._command(
                "initdb", "-D", str(self.data), "-U", SUPERUSER, "-A", "trust", "-E", "UTF8", "--locale=C", "--wal-segsize=1",
                "--no-sync", "--no-instructions"))
            if self.template:
                whole = self.template.with_name(f"{self.template.name}-{secrets.token_hex(4)}")
                await _run("cp", "--archive", str(self.data), str(whole))
                with contextlib.suppress(OSError):  # another one was quicker
                    whole.rename(self.template)
        # Written last: a data directory without it is half made and is made again.
        (self.data / "made").touch()

    async def _end_predecessor(self) -> None:
        """Ends a server that a killed stand-in left behind; its death signal is on the way already."""
        pid_file = self.data / "postmaster.pid"
        deadline = asyncio.get_running_loop().time() + STOP_SECONDS_MAX
        signals = [signal.SIGINT, signal.SIGQUIT]
        while (pid := _postmaster_pid(pid_file, self.data)) is not None:
            if asyncio.get_running_loop().time() > deadline:
                raise ClusterError(f"process {pid} of an earlier stand-in does not end")
            if signals:
                os.kill(pid, signals.pop(0))
            for _ in range(50):
                if _postmaster_pid(pid_file, self.data) != pid:
                    break
                await asyncio.sleep(0.1)

    async def _launch(self) -> None:
        settings = {**SETTINGS, "unix_socket_directories": str(self.socket_directory)}
        arguments = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        log_path = self.directory / "postgres.log"
        with open(log_path, "ab") as log:
            # Not asyncio's: its watcher keeps a process that ends by an exception from ending.
            self.process = subprocess.Popen(
                self._command("postgres", "-D", str(self.data), *arguments), cwd="/", stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        deadline = asyncio.get_running_loop().time() + START_SECONDS_MAX
        while True:
            if self.process.poll() is not None:
                raise ClusterError(f"PostgreSQL did not start: see {log_path}")
            try:
                connection = await psycopg.AsyncConnection.connect(self.conninfo(), connect_timeout=5)
                await connection.close()
                return
            except psycopg.OperationalError as error:
                if asyncio.get_running_loop().time() > deadline:
                    raise ClusterError(f"PostgreSQL does not answer: {error}") from None
                await asyncio.sleep(0.05)

    def conninfo(self) -> str:
        return psycopg.conninfo.make_conninfo("", host=str(self.socket_directory), port=5432, user=SUPERUSER, dbname="postgres")

    async def stop(self) -> None:
        """A clean stop: sessions are ended, their transactions rolled back."""
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            deadline = asyncio.get_running_loop().time() + STOP_SECONDS_MAX
            while self.process.poll() is None:
                if asyncio.get_running_loop().time() > deadline:
                    self.process.send_signal(signal.SIGQUIT)
                    self.process.wait()
                await asyncio.sleep(0.02)
        if self.lock_file:
            self.lock_file.close()


async def _run(*command: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *command, cwd="/", stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await process.communicate()
    if process.returncode:
        raise ClusterError(f"{' '.join(command)} failed: {output.decode(errors='replace').strip()[-500:]}")


def _postmaster_pid(pid_file: Path, data: Path) -> int | None:
    """The pid in postmaster.pid if that process really is a PostgreSQL on this data directory; None for a stale file."""
    try:
        pid = int(pid_file.read_text().split("\n", 1)[0])
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (OSError, ValueError):
        return None
    return pid if str(data).encode() in arguments else None
