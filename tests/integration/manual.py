"""Runs what a page of the documentation shows, and compares what comes with what the page says.

Fenced blocks are run in the order of the page, all in one folder and environment:

    ```sql source               statements for the source database
    ```console                  lines that begin with "$ " are commands (going on after a backslash in lines that begin with "> "); what
                                stands below a command is what it prints, standard error included
    ```console exit=2           … and the last command's exit code, 0 if not said
    ```console wait=30          one command, asked again until it prints that, at most so many seconds
    ```console service          one command that goes on; its output is not compared
    ```console stop             ends the service by SIGTERM; the block holds no command but what is printed for people

Every other block is for people only. In what is printed "…" stands for anything within a line, and a line of its own that is
"…" for any number of lines.
"""
import dataclasses
import os
import re
import signal
import subprocess
import time

ANYTHING = "…"


class ManualError(AssertionError):
    pass


@dataclasses.dataclass
class Step:
    command: str
    output: list
    line: int


@dataclasses.dataclass
class Block:
    language: str
    words: list
    text: list
    line: int

    def option(self, name, default):
        return next((int(word.partition("=")[2]) for word in self.words if word.startswith(name + "=")), default)

    def steps(self):
        found = []
        for number, line in enumerate(self.text, self.line + 1):
            if line.startswith("$ "):
                found.append(Step(line[2:], [], number))
            elif line.startswith("> ") and found and found[-1].command.endswith("\\"):
                found[-1].command += "\n" + line[2:]
            elif found:
                found[-1].output.append(line)
            else:
                raise ManualError(f"line {number}: output before any command: {line}")
        return found


def read_blocks(text):
    blocks, current = [], None
    for number, line in enumerate(text.splitlines(), 1):
        if current is None and line.startswith("```"):
            language, *words = line[3:].split() or [""]
            current = Block(language, words, [], number)
        elif current is not None and line == "```":
            blocks.append(current)
            current = None
        elif current is not None:
            current.text.append(line)
    if current is not None:
        raise ManualError(f"line {current.line}: the block has no end")
    return blocks


def line_matches(expected, actual):
    pattern = ".*".join(re.escape(piece) for piece in expected.rstrip().split(ANYTHING))
    return re.fullmatch(pattern, actual.rstrip()) is not None


def output_matches(expected, actual):
    """Both are lists of lines."""
    if not expected:
        return not actual
    if expected[0].strip() == ANYTHING:
        return any(output_matches(expected[1:], actual[skipped:]) for skipped in range(len(actual) + 1))
    return bool(actual) and line_matches(expected[0], actual[0]) and output_matches(expected[1:], actual[1:])


class Manual:
    """One reading of a page. `run_sql` takes the statements of an `sql source` block."""

    def __init__(self, path, folder, environment, run_sql):
        self.path, self.folder, self.environment, self.run_sql = path, folder, environment, run_sql
        self.service = None
        self.commands = 0

    def run(self):
        try:
            for block in read_blocks(self.path.read_text(encoding="utf-8")):
                self._run_block(block)
        finally:
            if self.service is not None:
                os.killpg(self.service.pid, signal.SIGKILL)
                self.service.wait()

    def _run_block(self, block):
        if block.language == "sql" and "source" in block.words:
            self.run_sql("\n".join(block.text))
        elif block.language == "console" and "service" in block.words:
            self._start_service(block)
        elif block.language == "console" and "stop" in block.words:
            self._stop_service(block)
        elif block.language == "console":
            steps = block.steps()
            for step in steps:
                self._run_step(step, block.option("exit", 0) if step is steps[-1] else 0, block.option("wait", 0))

    def _shell(self, command, **more):
        self.commands += 1
        return subprocess.Popen(["bash", "-c", command], cwd=self.folder, env=self.environment, stdin=subprocess.DEVNULL,
                                start_new_session=True, text=True, **more)

    def _start_service(self, block):
        if self.service is not None:
            raise ManualError(f"{self.path.name}:{block.line}: a service is running already")
        step, = block.steps()
        log = open(self.folder / "service.log", "ab")
        self.service = self._shell("exec " + step.command, stdout=log, stderr=log)
        log.close()

    def _stop_service(self, block):
        if self.service is None:
            raise ManualError(f"{self.path.name}:{block.line}: no service is running")
        os.killpg(self.service.pid, signal.SIGTERM)
        code = self.service.wait(60)
        self.service = None
        if code != block.option("exit", 0):
            raise ManualError(f"{self.path.name}:{block.line}: the service ended with {code}\n{self._service_log()}")

    def _service_log(self):
        log = self.folder / "service.log"
        return log.read_text(encoding="utf-8", errors="replace")[-6000:] if log.exists() else ""

    def _run_step(self, step, exit_code, wait_seconds):
        deadline = time.monotonic() + wait_seconds
        while True:
            process = self._shell(step.command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            try:
                printed = process.communicate(timeout=120)[0].splitlines()
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate()
                raise ManualError(f"{self.path.name}:{step.line}: {step.command}: does not end") from None
            if process.returncode == exit_code and output_matches(step.output, printed):
                return
            if time.monotonic() >= deadline:
                raise ManualError("\n".join([f"{self.path.name}:{step.line}: $ {step.command}",
                                             f"-- expected (exit {exit_code}):", *step.output,
                                             f"-- seen (exit {process.returncode}):", *printed,
                                             "-- the service's log:", self._service_log()]))
            time.sleep(0.3)  # between two questions, until the deadline
