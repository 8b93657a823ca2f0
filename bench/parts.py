"""What the benchmarks are put together from: compiled parts, the quick sink, the server and its log, processor time."""
import json
import os
import pathlib
import re
import subprocess
import sys
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "integration"))
from certificates import write_self_signed  # noqa: E402
from pgserver import CLIENT_BIN, PgServer, scratch_folder  # noqa: E402,F401
from program import PROGRAM, Program, wait_until  # noqa: E402,F401

CFLAGS = ["-O2", "-g", "-std=gnu17", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror"]
PARTS = {
    "reader": (["reader.c"], ["libpq"], []),
    "quick_sink": (["quick_sink.c"], ["libssl", "libcrypto", "libzstd"], ["-lpthread"]),
    "wire_times.so": (["wire_times.c"], ["libssl"], ["-shared", "-fPIC"]),
}
TICKS = os.sysconf("SC_CLK_TCK")


def build(folder, names=tuple(PARTS)):
    """Compiles what is written in C; a second is all it takes, so it is done every time."""
    for name in names:
        sources, packages, more = PARTS[name]
        flags = subprocess.run(["pkg-config", "--cflags", "--libs", *packages], check=True, capture_output=True, text=True)
        subprocess.run(["cc", *CFLAGS, *(str(ROOT / "bench" / source) for source in sources), "-o", str(folder / name),
                        *flags.stdout.split(), *more], check=True)


def write_key(path):
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    path.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                       serialization.NoEncryption()))
    path.chmod(0o600)


def cpu_seconds(pid):
    """User and system time of a living process, or None."""
    try:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return (int(fields[11]) + int(fields[12])) / TICKS


def peak_resident_bytes(pid):
    text = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", text)[1]) * 1024


class QuickSink:
    """bench/quick_sink.c as a process. One question at a time."""

    def __init__(self, folder):
        certificate, key = folder / "sink.crt", folder / "sink.key"
        write_self_signed(certificate, key, ["127.0.0.1"])
        self.key_file = folder / "rsa_key.p8"
        write_key(self.key_file)
        self.process = subprocess.Popen([folder / "quick_sink", certificate, key], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)
        self.port = int(self.process.stdout.readline())
        self.to = (f"snowflake://BENCH@ORG-BENCH/BENCH_DB/PUBLIC?warehouse=BENCH_WH&key_file={self.key_file}"
                   f"&host=127.0.0.1:{self.port}&ca_file={certificate}")

    def ask(self, command):
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def close(self):
        self.process.stdin.close()
        self.process.wait(60)
        self.process.stdout.close()


class Server(PgServer):
    """Writes to its log, with the time in milliseconds, when replication and COPY begin, and by which process."""

    SETTINGS = {
        "shared_buffers": "256MB", "max_wal_size": "8GB", "checkpoint_timeout": "1h", "wal_sender_timeout": "60s",
        "log_line_prefix": "%n [%p] ", "log_replication_commands": "on", "log_min_duration_statement": "-1",
        "autovacuum": "off"}

    def __init__(self):
        super().__init__(settings=self.SETTINGS)

    def log_size(self):
        return self.log_path.stat().st_size

    def find_in_log(self, pattern, since):
        """Time in seconds since 1970 and process id of the first line that matches, or None."""
        with open(self.log_path, "rb") as file:
            file.seek(since)
            text = file.read().decode("utf-8", "replace")
        found = re.search(r"^(\d+\.\d+) \[(\d+)\] LOG:.*(?:" + pattern + ")", text, re.M)
        return (float(found[1]), int(found[2])) if found else None

    def wait_for_log(self, pattern, since, seconds=60):
        return wait_until(lambda: self.find_in_log(pattern, since), seconds, f"{pattern} in the server's log", pause=0.01)

    def conninfo(self, dbname, **more):
        parts = {"host": "127.0.0.1", "port": self.port, "user": "postgres", "dbname": dbname, "sslmode": "disable", **more}
        return " ".join(f"{name}={value}" for name, value in parts.items())


class Sampler:
    """Processor time of a process that may end at any moment: asked now and then, the last answer counts."""

    def __init__(self, pid):
        self.pid, self.last, self.ended = pid, cpu_seconds(pid) or 0.0, threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        while not self.ended.wait(0.05):
            now = cpu_seconds(self.pid)
            if now is None:
                return
            self.last = now

    def stop(self):
        self.ended.set()
        self.thread.join()
        return cpu_seconds(self.pid) or self.last


class Child:
    """A process that ends by itself, with its output and processor time."""

    def __init__(self, *arguments):
        self.process = subprocess.Popen(list(map(str, arguments)), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)

    def wait(self):
        output = self.process.stdout.read()
        _, status, usage = os.wait4(self.process.pid, 0)
        ended = time.time()
        self.process.returncode = os.waitstatus_to_exitcode(status)
        self.process.stdout.close()
        if self.process.returncode:
            raise RuntimeError(f"{self.process.args[0]} failed with {self.process.returncode}")
        return output, ended, usage.ru_utime + usage.ru_stime
