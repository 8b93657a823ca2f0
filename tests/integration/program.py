"""Runs the built program and watches it: its log lines, its status, its end.

Nothing here sleeps in place of a condition. Log lines wake those who wait for them; what can only be asked for again
and again (status) is asked until a deadline. A deadline ends a test that hangs, and tells nothing of speed.
"""
import json
import os
import pathlib
import re
import signal
import subprocess
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
PROGRAM = pathlib.Path(os.environ.get("ETL_STREAM_PROGRAM", ROOT / "build" / "etl-stream"))
# Built with -Dtraps=true: ETL_TRAP=<rule> takes a rule out (src/base/trap.h).
TRAPS_PROGRAM = pathlib.Path(os.environ.get("ETL_STREAM_TRAPS", ROOT / "build-traps" / "etl-stream"))
SANITIZER_REPORT = re.compile(r"(Address|Leak|Thread|Memory|UndefinedBehavior)Sanitizer|runtime error: ")
# Nothing of the caller's environment reaches the program but these.
PASSED_ON = ("PATH", "HOME", "LANG", "TZ", "ASAN_SYMBOLIZER_PATH")
SANITIZER_OPTIONS = {
    "ASAN_OPTIONS": "detect_leaks=1:abort_on_error=0:exitcode=99",
    "LSAN_OPTIONS": f"suppressions={ROOT / 'tests' / 'leaks.supp'}:print_suppressions=0",
    "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1:exitcode=99",
    "TSAN_OPTIONS": "halt_on_error=0:exitcode=99:second_deadlock_stack=1",
}


# What must come is waited for so long at least, as the machine may be busy with others. What may well not come is is_sure=False.
PATIENCE_SECONDS = 60


class Timeout(AssertionError):
    pass


def patience(seconds, is_sure=True):
    return max(seconds, PATIENCE_SECONDS) if is_sure else seconds


def wait_until(condition, seconds, what, pause=0.05, is_sure=True):
    """Asks until the answer is true, and returns it; the pause is between two questions only."""
    seconds = patience(seconds, is_sure)
    deadline = time.monotonic() + seconds
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise Timeout(f"waited {seconds} s for {what}")
        time.sleep(pause)


def wait_until_holds(look, check, seconds=60):
    """Looks until check() asserts nothing wrong of what was seen, and returns that: what happened and what is told of it are not one moment."""
    deadline = time.monotonic() + patience(seconds)
    while True:
        found = look()
        try:
            check(found)
            return found
        except (AssertionError, LookupError, TypeError, ValueError):  # what is not there yet is no number and no pair
            if time.monotonic() > deadline:
                raise
        time.sleep(0.1)  # between two looks, until the deadline


def environment(state, **more):
    return {**{name: os.environ[name] for name in PASSED_ON if name in os.environ}, **SANITIZER_OPTIONS,
            "ETL_STATE": str(state), "LOG_FORMAT": "json", "LOG_LEVEL": "debug",
            # Many run at a time on one machine: only a test that asks for a port gets one.
            "METRICS_ADDR": "off", "HEALTH_ADDR": "off",
            **{name: str(value) for name, value in more.items()}}


def run_command(*arguments, state, seconds=150, stdin=None, **more):
    """A command that ends by itself; what waits for a service does so for two minutes."""
    return subprocess.run([PROGRAM, *map(str, arguments)], env=environment(state, **more), text=True, input=stdin,
                          capture_output=True, timeout=seconds)


def pipeline_status(status):
    """The one pipeline of `status --json`, or {} while there is none."""
    pipelines = (status or {}).get("pipelines") or [{}]
    return pipelines[0]


class Program:
    """One life of `etl-stream run`. A restart is a new Program with the same state file."""

    def __init__(self, source, target, state, options=(), command="run", binary=None, **more_environment):
        self.state = pathlib.Path(state)
        self.environment = environment(state, **more_environment)
        ends = ["--from", source, "--to", target] if source is not None else []  # without them: the service
        self.arguments = [str(binary or PROGRAM), command, *ends, *map(str, options)]
        self.process = None
        self.lines = []      # log lines as dicts, in order
        self.other = []      # what was no JSON: a sanitizer's report, an error before the log began
        self._news = threading.Condition()
        self._reader = None
        self._ended = False  # standard error is at its end

    def start(self):
        self.process = subprocess.Popen(self.arguments, env=self.environment, stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        return self

    def _read(self):
        for raw in self.process.stderr:
            text = raw.decode("utf-8", "replace").rstrip("\n")
            try:
                line = json.loads(text)
            except ValueError:
                line = None
            with self._news:
                if isinstance(line, dict):
                    self.lines.append(line)
                else:
                    self.other.append(text)
                self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()

    @property
    def pid(self):
        return self.process.pid

    def is_running(self):
        return self.process is not None and self.process.poll() is None

    def wait_for_line(self, predicate, seconds=30, what="a log line", since=0, count=1, is_sure=True):
        """The count-th log line from number `since` on for which predicate(line) holds."""
        seconds = patience(seconds, is_sure)
        deadline, position, left = time.monotonic() + seconds, since, count
        with self._news:
            while True:
                while position < len(self.lines):
                    line = self.lines[position]
                    position += 1
                    if predicate(line):
                        left -= 1
                        if left == 0:
                            return line
                remaining = deadline - time.monotonic()
                if self._ended:
                    raise Timeout(f"the program ended before {what}:\n{self.tail()}")
                if remaining <= 0:
                    raise Timeout(f"waited {seconds} s for {what}:\n{self.tail()}")
                self._news.wait(remaining)

    def wait_for_event(self, event, seconds=30, since=0, count=1, is_sure=True, **fields):
        return self.wait_for_line(
            lambda line: line.get("event") == event and all(line.get(name) == value for name, value in fields.items()),
            seconds, f"event {event} {fields or ''}", since, count, is_sure)

    def mark(self):
        """Where the log is now: pass it as `since`."""
        with self._news:
            return len(self.lines)

    def events(self, name):
        with self._news:
            return [line for line in self.lines if line.get("event") == name]

    def tail(self, count=60):
        return "\n".join([*(json.dumps(line) for line in self.lines[-count:]), *self.other[-count:]])

    def status(self, seconds=60):
        """What `status --json` says, or None while there is no state yet."""
        done = subprocess.run([self.arguments[0], "status", "--json"], env=self.environment, text=True,
                              capture_output=True, timeout=seconds, stdin=subprocess.DEVNULL)
        if done.returncode == 0:
            return json.loads(done.stdout)
        return None

    def wait_for_status(self, predicate, seconds=60, what="a status"):
        def ask():
            assert self.is_running(), f"the program ended before {what}:\n{self.tail()}"
            status = self.status()
            return status if status is not None and predicate(status) else None
        return wait_until(ask, seconds, what, pause=0.1)

    def signal(self, number):
        self.process.send_signal(number)

    def freeze(self):
        self.signal(signal.SIGSTOP)

    def thaw(self):
        self.signal(signal.SIGCONT)

    def wait(self, seconds=60):
        """The exit code."""
        seconds = patience(seconds)
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise Timeout(f"the program did not end within {seconds} s:\n{self.tail()}") from None
        self._reader.join(PATIENCE_SECONDS)  # what it said last is read as well
        return code

    def kill(self):
        if self.is_running():
            self.signal(signal.SIGKILL)
        return self.wait(20)

    def terminate(self, seconds=60):
        """Asks it to end and returns its exit code."""
        if self.is_running():
            self.signal(signal.SIGTERM)
        return self.wait(seconds)

    def sanitizer_reports(self):
        with self._news:
            start = next((i for i, text in enumerate(self.other) if SANITIZER_REPORT.search(text)), None)
            return "\n".join(self.other[start:start + 80]) if start is not None else ""

    def resident_bytes(self, peak=False):
        name = "VmHWM:" if peak else "VmRSS:"
        for line in pathlib.Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith(name):
                return int(line.split()[1]) * 1024
        return 0

    def cpu_seconds(self):
        fields = pathlib.Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def __enter__(self):
        return self.start()

    def __exit__(self, kind, error, trace):
        self.close()
        if kind is None:
            report = self.sanitizer_reports()
            assert not report, report

    def close(self):
        """Ends it whatever state it is in, gently first: leaks are reported only at a clean end."""
        if self.is_running():
            try:
                self.signal(signal.SIGCONT)
                self.terminate(20)
            except Timeout:
                self.kill()
