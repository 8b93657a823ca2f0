"""Processes of the stand-in, forked from one that has loaded its code: loading takes most of the time of a start.

That one (`python standin_fork.py`, one for each of pytest's processes) is begun with the first stand-in and ends when the
socket to who asked is closed. What it forks are processes as `python -m snowbox` makes them, in sessions of their own.
"""
import gc
import json
import os
import pathlib
import select
import signal
import socket
import subprocess
import sys
import traceback

SANDBOX = pathlib.Path(__file__).resolve().parent.parent.parent / "tools" / "sandbox"
MESSAGE_BYTES_MAX = 65536


class Process:
    """A stand-in that is told to start. `stdout` is what it writes there, unbuffered; its standard error goes to `log`."""

    _asked = None  # the socket to the process that forks

    def __init__(self, arguments, log):
        read_end, write_end = os.pipe()
        self.stdout = open(read_end, "rb", buffering=0)
        try:
            socket.send_fds(self._parent(), [json.dumps(arguments).encode()], [write_end, log.fileno()])
        finally:
            os.close(write_end)
        told = Process._asked.recv(MESSAGE_BYTES_MAX)
        assert told, "the process that forks stand-ins has ended"
        self.pid = int(told)
        try:
            self._pidfd = os.pidfd_open(self.pid)
        except ProcessLookupError:
            self._pidfd = None  # it has ended already

    @classmethod
    def _parent(cls):
        if not cls._asked:
            cls._asked, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with theirs:
                subprocess.Popen([sys.executable, __file__, str(theirs.fileno())], cwd=SANDBOX, pass_fds=[theirs.fileno()],
                                 stdin=subprocess.DEVNULL, start_new_session=True)
        return cls._asked

    def _has_ended(self, seconds):
        return self._pidfd is None or bool(select.select([self._pidfd], [], [], seconds)[0])

    def is_running(self):
        return not self._has_ended(0)

    def send_signal(self, number):
        """Nothing if it has ended."""
        if self.is_running():
            signal.pidfd_send_signal(self._pidfd, number)

    def wait(self, seconds):
        """Raises TimeoutError."""
        if not self._has_ended(seconds):
            raise TimeoutError(f"process {self.pid} does not end within {seconds} s")

    def close(self):
        self.stdout.close()
        if self._pidfd is not None:
            os.close(self._pidfd)
        self._pidfd = None


def run_forked(main, arguments, stdout, log):
    """Does not return."""
    status = 1
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setsid()
        os.dup2(stdout, 1)
        os.dup2(log, 2)
        os.closerange(3, 256)
        status = main(arguments)
    except SystemExit as end:
        status = end.code
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def serve(requests, main):
    """main: what a forked process does with the arguments that are asked for; its answer is the exit code."""
    # What has ended is not waited for: who asked for it looks at it by a pidfd.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    gc.freeze()
    while True:
        message, files, *_ = socket.recv_fds(requests, MESSAGE_BYTES_MAX, 2)
        if not message:
            return
        pid = os.fork()
        if pid == 0:
            run_forked(main, json.loads(message), *files)
        for file in files:
            os.close(file)
        requests.send(str(pid).encode())


if __name__ == "__main__":
    sys.path.insert(0, str(SANDBOX))
    from snowbox.application import main as start_snowbox

    with socket.socket(fileno=int(sys.argv[1])) as asker:
        serve(asker, start_snowbox)
