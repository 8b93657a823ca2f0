"""Runs the stand-in for Snowflake (tools/sandbox) as a process of its own."""
import atexit
import json
import pathlib
import re
import select
import shutil
import signal
import time
import urllib.request

import standin_fork
from pgserver import Port, scratch_folder

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent

# For add_fault: the channels of copies' ranges. A name is ETL_<16 random hex digits>_E1_C0, and those digits may begin with a C in that of
# any channel.
COPY_CHANNELS = "ETL_*_C*"


class StandInError(Exception):
    pass


class StandIn:
    """A restart keeps folder and port: clients find the same tables and channels again."""

    template = None  # a folder for the first one's empty cluster, which the others copy

    def __init__(self, folder=None, options=()):
        self.owns_folder = folder is None
        self.folder = pathlib.Path(folder) if folder else scratch_folder("etl-standin-")
        self.log_path = self.folder / "stand-in.log"
        self.options = list(map(str, options))
        self.process = None
        self._port = None
        self.told = {}

    def start(self, seconds=180):  # on a machine whose disk is busy with others
        if not StandIn.template:
            StandIn.template = scratch_folder("etl-standin-template-")
            atexit.register(shutil.rmtree, StandIn.template, True)
        self._port = self._port or Port()
        with open(self.log_path, "a", encoding="utf-8") as log:
            self.process = standin_fork.Process(
                ["--directory", str(self.folder), "--port", str(self._port.number), "--control-port", "0",
                 "--template", str(StandIn.template / "data"), *self.options], log)
        self.told = json.loads(self._first_line(seconds))
        return self

    def _first_line(self, seconds):
        deadline, line = time.monotonic() + seconds, b""
        while not line.endswith(b"\n"):
            if not select.select([self.process.stdout], [], [], max(0, deadline - time.monotonic()))[0]:
                raise StandInError(f"the stand-in does not start within {seconds} s:\n{self.log_tail()}")
            piece = self.process.stdout.read(65536)
            if not piece:
                raise StandInError(f"the stand-in ended at its start:\n{self.log_tail()}")
            line += piece
        return line

    def log_tail(self, size=4000):
        return self.log_path.read_text(encoding="utf-8", errors="replace")[-size:] if self.log_path.exists() else ""

    @property
    def to(self):
        """What `etl-stream run --to` takes."""
        return self.told["to"]

    @property
    def control(self):
        return self.told["control"]

    def ask(self, path, body=None, method=None):
        """A request to the control port; tools/sandbox/README.md lists what it takes."""
        request = urllib.request.Request(
            self.control + path, method=method or ("POST" if body is not None else "GET"),
            data=None if body is None else json.dumps(body).encode(), headers={"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read())

    def add_fault(self, step, **options):
        """Its number, for fault_hits and remove_faults."""
        return self.ask("/faults", {"step": step, **options})["id"]

    def fault_hits(self, number):
        return next((fault["hits"] for fault in self.ask("/faults")["faults"] if fault["id"] == number), 0)

    def remove_faults(self):
        self.ask("/faults", method="DELETE")

    def channels(self):
        return self.ask("/channels")["channels"]

    def copy_channels(self):
        """The names of the channels of copies' ranges."""
        return [channel["channel_name"] for channel in self.channels() if re.search(r"_C\d+\Z", channel["channel_name"])]

    def is_running(self):
        return self.process is not None and self.process.is_running()

    def stop(self, number=signal.SIGTERM, seconds=60):
        if self.process:
            self.process.send_signal(number)
            self.process.wait(seconds)
            self.process.close()
        self.process = None

    def kill(self):
        self.stop(signal.SIGKILL)

    def restart(self, number=signal.SIGTERM):
        self.stop(number)
        return self.start()

    def delete(self):
        try:
            self.stop()
        except TimeoutError:
            self.kill()
        if self._port:
            self._port.release()
            self._port = None
        if self.owns_folder:
            shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.delete()
