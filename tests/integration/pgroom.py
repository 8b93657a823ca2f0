"""Builds tests/pg/pg_room.c, which drives the PostgreSQL room alone, and talks to it.

Always with the sanitizers and with traps (src/base/trap.h), whatever build the other tests run against: `without` takes
one rule out of a run.
"""
import concurrent.futures
import os
import pathlib
import queue
import re
import subprocess
import sys
import threading
import time

from program import SANITIZER_OPTIONS, SANITIZER_REPORT, Timeout, patience

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
ROOMS = ("base", "model", "pg")
IO = ("loop", "lock", "resolver")  # and what these include, without what needs libcurl
FLAGS = ["-std=gnu17", "-D_GNU_SOURCE", "-DETL_TRAPS", "-g", "-O1", "-fno-omit-frame-pointer",
         "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]


def io_sources():
    found = [ROOT / "src" / "io" / f"{name}.c" for name in IO]
    for path in found:
        for name in re.findall(r'#include "io/(\w+)\.h"', path.read_text() + path.with_suffix(".h").read_text()):
            other = path.with_name(f"{name}.c")
            if other.exists() and other not in found:
                found.append(other)
    return found


def build(folder):
    """Returns the program's path. Half a minute of compiling at most."""
    sources = [path for room in ROOMS for path in sorted((ROOT / "src" / room).glob("*.c"))]
    sources += [*io_sources(), ROOT / "tests" / "pg" / "pg_room.c"]
    sql = sorted((ROOT / "src" / "pg" / "sql").glob("*.sql"))
    subprocess.run([sys.executable, ROOT / "tools" / "embed_sql.py", folder / "embedded_sql.c",
                    folder / "embedded_sql.h", *sql], check=True)
    libraries = ["libpq", "libssl", "libcrypto"]
    include = subprocess.run(["pkg-config", "--cflags", *libraries], check=True, text=True, capture_output=True).stdout
    link = subprocess.run(["pkg-config", "--libs", *libraries], check=True, text=True, capture_output=True).stdout

    def compile_one(source):
        target = folder / ("_".join(source.parts[-2:]) + ".o")
        done = subprocess.run(["cc", *FLAGS, f"-I{ROOT / 'src'}", f"-I{folder}", *include.split(), "-c", source, "-o",
                               target], text=True, capture_output=True)
        assert done.returncode == 0, done.stderr
        return target

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        objects = list(pool.map(compile_one, [*sources, folder / "embedded_sql.c"]))
    program = folder / "pg_room"
    subprocess.run(["cc", *FLAGS, *objects, "-o", program, *link.split(), "-lpthread"], check=True)
    return program


class Room:
    """One run. Lines of its output are events, the first word names them."""

    def __init__(self, program, url, *arguments, without=None):
        environment = {"PATH": os.environ["PATH"], **SANITIZER_OPTIONS}
        if without:
            environment["ETL_TRAP"] = without
        self.process = subprocess.Popen([program, url, *arguments], env=environment, text=True, errors="surrogateescape",
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.lines, self.seen, self.stderr = queue.Queue(), [], []
        self.readers = [threading.Thread(target=self._read_output, daemon=True),
                        threading.Thread(target=self._read_errors, daemon=True)]
        for reader in self.readers:
            reader.start()

    def _read_output(self):
        for line in self.process.stdout:
            self.lines.put(line.rstrip("\n"))
        self.lines.put(None)

    def _read_errors(self):
        self.stderr.extend(self.process.stderr)

    def event(self, *names, seconds=20, is_sure=True):
        """The next event of one of the names, as words; those before it are passed over."""
        seconds = patience(seconds, is_sure)
        deadline = time.monotonic() + seconds
        while True:
            try:
                line = self.lines.get(timeout=max(0.01, deadline - time.monotonic()))
            except queue.Empty:
                raise Timeout(f"no {' or '.join(names)} within {seconds} s; last: {self.seen[-5:]}") from None
            assert line is not None, f"the program ended before {names}: {self.seen[-5:]} {''.join(self.stderr)}"
            self.seen.append(line)
            if line.split(" ", 1)[0] in names:
                return line

    def events_until_end(self, seconds=30):
        deadline = time.monotonic() + patience(seconds)
        while True:
            line = self.lines.get(timeout=max(0.01, deadline - time.monotonic()))
            if line is None:
                return self.seen
            self.seen.append(line)

    def order(self, text):
        self.process.stdin.write(text + "\n")
        self.process.stdin.flush()

    def stats(self):
        self.order("stats")
        return {name: int(value) for name, value in
                (word.split("=") for word in self.event("stats").split()[1:])}

    def of(self, name):
        return [line for line in self.seen if line.split(" ", 1)[0] == name]

    def close(self):
        """Ends it; a sanitizer's report or a failed check is a failure."""
        if self.process.poll() is None:
            try:
                self.order("stop")
            except BrokenPipeError:
                pass
        try:
            self.process.wait(60)
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()
            for reader in self.readers:
                reader.join(60)
            for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
                try:
                    pipe.close()
                except BrokenPipeError:
                    pass
        report = "".join(self.stderr)
        assert not SANITIZER_REPORT.search(report) and "check failed" not in report, report
        assert self.process.returncode in (0, 1), report
