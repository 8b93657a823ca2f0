"""help, version, options, tail, status, and what differs on a terminal."""
import contextlib
import json
import os
import pty
import re
import select
import signal
import sqlite3
import subprocess
import time

import pytest

import load
from program import PROGRAM, environment, pipeline_status, run_command, wait_until
from test_cli import MERGE_OFTEN, findings_of, make_tables, message_of

COMMANDS = ("run", "status", "check", "tail", "version", "help")
COLOUR = re.compile(r"\x1b\[3[0-9]m")


def command(tmp_path, *arguments, **more):
    return run_command(*arguments, state=tmp_path / "state.db", **more)


# --- usage -------------------------------------------------------------------------------------------------------------

def test_overview_names_every_command(tmp_path):
    for arguments in (("help",), ("--help",), ("-h",)):
        done = command(tmp_path, *arguments)
        assert done.returncode == 0 and done.stderr == ""
        for name in COMMANDS:
            assert re.search(rf"^  {name} +\w", done.stdout, re.MULTILINE), name
    done = command(tmp_path)
    assert done.returncode == 2, "without a command nothing was done"
    assert "run" in done.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_every_command(tmp_path, name):
    explained = command(tmp_path, "help", name)
    assert explained.returncode == 0 and explained.stderr == ""
    assert explained.stdout.startswith(f"usage: etl-stream {name}")
    assert command(tmp_path, name, "--help").stdout in (explained.stdout, command(tmp_path, "help").stdout)
    assert os.listdir(tmp_path) == []


def test_help_tells_ranges_defaults_and_variables(tmp_path):
    text = command(tmp_path, "help", "run").stdout
    assert "(8 to 65536) [32] {ETL_MEMORY_MB}" in text
    assert "(stop|resync) [stop]" in text
    assert all(len(line) <= 160 for line in text.splitlines())


def test_version(tmp_path):
    for word in ("version", "--version", "-V"):
        done = command(tmp_path, word)
        assert done.returncode == 0 and re.fullmatch(r"etl-stream \d+\.\d+\.\d+\S*\n", done.stdout)


@pytest.mark.parametrize("arguments, words", [
    (["rnu"], ['no command "rnu"', "did you mean run?"]),
    (["stauts"], ["did you mean status?"]),
    (["frobnicate"], ['no command "frobnicate"', "etl-stream help"]),
    (["help", "frobnicate"], ['no command "frobnicate"']),
    (["help", "chek"], ["did you mean check?"]),
    (["run", "--from", "postgres://a@b/c?publication=etl"], ["needs both --from URL and --to URL, or none of them"]),
    (["run", "--to", "file:/tmp/x"], ["needs both --from URL and --to URL, or none of them"]),
    (["run", "--form", "x"], ["no option --form", "did you mean --from?"]),
    (["run", "--frobnicate"], ["no option --frobnicate", "--help"]),
    (["run", "-f"], ["no option -f"]),
    (["run", "--from"], ["--from needs a value"]),
    (["run", "word"], ['"word" is one word too many']),
    (["run", "--memory-mb", "7"], ['--memory-mb is "7"', "from 8 to 65536"]),
    (["run", "--memory-mb=much"], ['--memory-mb is "much"', "from 8 to 65536"]),
    (["run", "--batch-max-size", ""], ["--batch-max-size", "from 1 to"]),
    (["run", "--merge-interval-seconds", "99999999999999999999"], ["--merge-interval-seconds", "0 to 691200"]),
    (["run", "--on-slot-lost", "panic"], ['--on-slot-lost is "panic"', "stop|resync"]),
    (["check"], ["--from URL"]),
    (["tail"], ["tail needs a source"]),
    (["tail", "postgres://a@b/c"], ["publication=NAME"]),
    (["tail", "postgres://a@b/c?publication=etl", "--count", "-1"], ["--count", "from 0"]),
    (["status", "one", "two"], ['"two" is one word too many']),
    (["version", "now"], ['"now" is one word too many']),
], ids=lambda value: " ".join(value) if isinstance(value, list) else "")
def test_wrong_usage(tmp_path, arguments, words):
    done = command(tmp_path, *arguments)
    assert done.returncode == 2
    text = message_of(done)
    assert all(word in text for word in words), text
    assert os.listdir(tmp_path) == []


def test_wrong_value_in_the_environment_names_the_variable(tmp_path):
    done = command(tmp_path, "run", ETL_MEMORY_MB="lots")
    assert done.returncode == 2
    assert 'ETL_MEMORY_MB is "lots"' in message_of(done)


# --- tail --------------------------------------------------------------------------------------------------------------

class Tail:
    def __init__(self, tmp_path, *arguments, **more):
        self.process = subprocess.Popen([PROGRAM, "tail", *map(str, arguments)], text=True, stdin=subprocess.DEVNULL,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                        env=environment(tmp_path / "state.db", **more))
        self.told = self.process.stderr.readline()  # "reading changes …", or why not

    def line(self):
        return json.loads(self.process.stdout.readline())

    def end(self, number=None, seconds=60):
        if number is not None:
            self.process.send_signal(number)
        code = self.process.wait(seconds)
        return code, self.process.stdout.read(), self.process.stderr.read()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self.process.stderr.close()


def slots(source):
    return source.sql("SELECT slot_name, temporary FROM pg_replication_slots WHERE database = current_database()")


def test_tail_prints_changes_as_they_would_be_sent(source, tmp_path):
    source.sql("""CREATE TABLE "two Words" (id int PRIMARY KEY, price numeric(10,2), at timestamptz, tags text[], said jsonb);
                  CREATE TABLE silent (id int PRIMARY KEY); CREATE PUBLICATION etl FOR TABLE "two Words\"""")
    with Tail(tmp_path, source.url(), "--count", 4) as tail:
        assert "reading changes of publication etl" in tail.told
        assert [temporary for _, temporary in slots(source)] == [True]
        source.sql("""INSERT INTO silent VALUES (1);
                      INSERT INTO "two Words" VALUES
                        (1, 12.50, '2024-02-29 12:00:00.123456+00', '{a,"b c",NULL}', '{"k": [1, "\\u00e9"]}');
                      UPDATE "two Words" SET id = 2, price = NULL WHERE id = 1; DELETE FROM "two Words"; TRUNCATE "two Words\"""")
        code, out, errors = tail.end()
    assert code == 0 and errors == ""
    insert, update, delete, truncate = map(json.loads, out.splitlines())
    assert {line["_ETL_TABLE"] for line in (insert, update, delete, truncate)} == {"public.two Words"}
    assert [line["_ETL_OP"] for line in (insert, update, delete, truncate)] == ["I", "U", "D", "T"]
    sequences = [line["_ETL_SEQ"] for line in (insert, update, delete, truncate)]
    assert sequences == sorted(set(sequences)) and {len(text) for text in sequences} == {26}
    assert insert["ID"] == 1 and float(insert["PRICE"]) == 12.5 and insert["TAGS"] == ["a", "b c", None]
    assert insert["SAID"] == {"k": [1, "é"]} and insert["AT"].startswith("2024-02-29")
    assert update["ID"] == 2 and "PRICE" not in update and "_ETL_OLD_KEY" in update
    assert delete["ID"] == 2
    wait_until(lambda: slots(source) == [], 10, "the temporary slot to be gone")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_tail_ends_in_peace(source, tmp_path, number):
    source.sql("CREATE TABLE words (id int PRIMARY KEY); CREATE PUBLICATION etl FOR TABLE words")
    with Tail(tmp_path, source.url()) as tail:
        source.sql("INSERT INTO words VALUES (1)")
        assert tail.line()["ID"] == 1, "a change is printed at once, into a pipe as well"
        assert tail.end(number)[0] == 0
    wait_until(lambda: slots(source) == [], 10, "the temporary slot to be gone")


def test_tail_whose_reader_goes_away(source, tmp_path):
    source.sql("CREATE TABLE words (id int PRIMARY KEY); CREATE PUBLICATION etl FOR TABLE words")
    with Tail(tmp_path, source.url()) as tail:
        tail.process.stdout.close()
        source.sql("INSERT INTO words VALUES (1)")
        assert tail.process.wait(60) == 1
        assert "standard output" in tail.process.stderr.read()
        tail.process.stdout = open(os.devnull)
    wait_until(lambda: slots(source) == [], 10, "the temporary slot to be gone")


def test_tail_of_a_publication_that_is_missing(source, tmp_path):
    done = command(tmp_path, "tail", source.url(publication="nope"))
    assert done.returncode in (1, 2)
    assert 'publication "nope" does not exist' in message_of(done)
    assert slots(source) == []


# --- status ------------------------------------------------------------------------------------------------------------

def test_status_before_any_run(tmp_path):
    done = command(tmp_path, "status")
    assert done.returncode in (1, 2)
    assert "state.db" in message_of(done) and "ETL_STATE" in done.stderr
    assert os.listdir(tmp_path) == [], "a question makes no file"


def test_status_while_it_runs_and_after(source, standin, stream, tmp_path):
    make_tables(source)
    program = stream(*MERGE_OFTEN)
    program.wait_for_event("live", 90)
    running = program.wait_for_status(lambda status: pipeline_status(status).get("is_live"), what="it to be live")
    assert running["is_running"] is True
    one = pipeline_status(running)
    name = one["pipeline"]
    assert one["is_running"] and one["state"] == "running" and one["slot"] and one["publication"] == "etl"
    assert {"received", "committed", "confirmed", "merged"} == set(one["positions"])
    assert {table["table"] for table in one["tables"]} == set(load.TABLES)
    assert {table["state"] for table in one["tables"]} == {"live"}
    assert sum(table["rows_copied"] for table in one["tables"]) == sum(
        source.value(f'SELECT count(*) FROM "{table}"') for table in load.TABLES)

    text = command(tmp_path, "status")
    assert text.returncode == 0 and text.stdout.startswith(f"{name}: running\n")
    assert all(f"public.{table}: " in text.stdout for table in load.TABLES)
    assert command(tmp_path, "status", name).stdout.startswith(f"{name}: ")
    unknown = command(tmp_path, "status", "nobody")
    assert unknown.returncode == 1 and 'no pipeline "nobody"' in message_of(unknown)

    assert program.terminate() == 0
    ended = json.loads(command(tmp_path, "status", "--json").stdout)
    assert ended["is_running"] is False and pipeline_status(ended)["is_running"] is False
    assert pipeline_status(ended)["age_seconds"] >= 0
    assert "not running, last seen" in command(tmp_path, "status").stdout


def test_status_of_one_that_was_killed(source, standin, stream, tmp_path):
    make_tables(source)
    program = stream(*MERGE_OFTEN)
    program.wait_for_event("live", 90)
    program.kill()
    done = command(tmp_path, "status", "--json")
    assert done.returncode == 0 and json.loads(done.stdout)["is_running"] is False


def test_status_of_a_pipeline_that_was_never_started(tmp_path):
    for arguments in (("source", "add", "shop", "--url", "postgres://etl@127.0.0.1:1/shop?publication=etl", "--no-check"),
                      ("destination", "add", "sf", "--to", "snowflake://ETL@MYORG-A/shop/public?warehouse=wh&key_file=/etc/key.p8"),
                      ("pipeline", "add", "p", "--source", "shop", "--destination", "sf")):
        assert command(tmp_path, *arguments).returncode == 0
        if arguments[0] == "destination":
            assert "there is no pipeline; etl-stream help pipeline add" in command(tmp_path, "status").stdout
    for is_wanted, words in ((False, "etl-stream pipeline start p starts it"), (True, "etl-stream run is one")):
        text = command(tmp_path, "status").stdout
        assert text.startswith("p: never started\n  shop -> sf\n") and words in text and "- ->" not in text and "received -" not in text
        (one,) = json.loads(command(tmp_path, "status", "--json").stdout)["pipelines"]
        assert (one["state"], one["is_running"], one["wanted"]) == ("never_started", False, "START" if is_wanted else "PAUSE") and words in one["remedy"]
        assert command(tmp_path, "pipeline", "start", "p").returncode == 0
    # Its source is deleted by somebody who did not ask SQLite for foreign keys: there is no pipeline, nor is one in the way of another.
    with contextlib.closing(sqlite3.connect(tmp_path / "state.db")) as connection, connection:
        connection.execute("DELETE FROM sources")
    assert command(tmp_path, "status").stdout.startswith("there is no pipeline;")
    for arguments in (("source", "add", "shop", "--url", "postgres://etl@127.0.0.1:1/shop?publication=etl", "--no-check"),
                      ("pipeline", "add", "p", "--source", "shop", "--destination", "sf")):
        done = command(tmp_path, *arguments)
        assert done.returncode == 0, done
    assert command(tmp_path, "status").stdout.startswith("p: never started\n  shop -> sf\n")


def test_ages_are_whole_milliseconds(source, standin, stream, tmp_path):
    make_tables(source)
    program = stream(*MERGE_OFTEN)
    program.wait_for_event("live", 90)
    for _ in range(20):
        age = re.search(r'"age_seconds": (\S+?),?$', command(tmp_path, "status", "--json").stdout, re.MULTILINE).group(1)
        assert re.fullmatch(r"\d+\.\d{1,3}", age), age
    assert program.terminate() == 0


# --- terminals ---------------------------------------------------------------------------------------------------------

class Terminal:
    """The program with a terminal on standard output and standard error."""

    def __init__(self, tmp_path, *arguments, **more):
        self.near, far = pty.openpty()
        chosen = environment(tmp_path / "state.db", TERM="xterm", **more)
        for name in ("LOG_FORMAT", "LOG_LEVEL"):
            if name not in more:
                chosen.pop(name)
        self.process = subprocess.Popen([PROGRAM, *map(str, arguments)], stdin=far, stdout=far, stderr=far, env=chosen,
                                        start_new_session=True)
        os.close(far)
        self.text = ""

    def read_until(self, condition, seconds=60):
        """All that came so far, once condition(it) holds or the program has ended."""
        deadline = time.monotonic() + seconds
        while not condition(self.text):
            if not select.select([self.near], [], [], max(0, deadline - time.monotonic()))[0]:
                raise AssertionError(f"waited {seconds} s at the terminal:\n{self.text}")
            try:
                piece = os.read(self.near, 65536)
            except OSError:  # EIO: the other side is closed
                break
            self.text += piece.decode("utf-8", "replace")
        return self.text

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        os.close(self.near)


def test_colours_only_on_a_terminal(source, tmp_path):
    source.sql("CREATE TABLE words (id int PRIMARY KEY); CREATE PUBLICATION etl FOR TABLE words")
    arguments = ("check", "--from", source.url(publication="nope"))
    with Terminal(tmp_path, *arguments) as terminal:
        text = terminal.read_until(lambda text: False)
        assert COLOUR.search(text) and 'publication "nope"' in text
    with Terminal(tmp_path, *arguments, NO_COLOR="1") as terminal:
        text = terminal.read_until(lambda text: False)
        assert "\x1b" not in text and 'publication "nope"' in text
    done = command(tmp_path, *arguments)
    assert "\x1b" not in done.stdout + done.stderr and findings_of(done)


def test_progress_on_a_terminal_while_copying(source, standin, tmp_path):
    source.sql("CREATE TABLE words (id int PRIMARY KEY, word text); INSERT INTO words SELECT n, n FROM generate_series(1, 20000) n;"
               "ANALYZE words; CREATE PUBLICATION etl FOR TABLE words")
    standin.ask("/stall", {})  # it goes on copying until that was seen
    arguments = ("run", "--from", source.url(), "--to", standin.to, *MERGE_OFTEN)
    with Terminal(tmp_path, *arguments, NO_COLOR="1") as terminal:
        progress = (r"source_\w+: copying, [\d ]+ of about 20000 rows, \d of 1 tables, \d of 1 ranges on \d connections, \d+ rows/s,"
                    r" [\d.]+ MB/s, (about \d+ s left|all is read and the last commits are awaited)")
        text = terminal.read_until(lambda text: re.search(progress, text))
        assert not COLOUR.search(text), "NO_COLOR was asked for"
        standin.ask("/release", {})
        terminal.read_until(lambda text: "every table is copied and merged" in text)
        terminal.read_until(lambda text: re.search(r"running, \d+ rows streamed", text))
        assert "{" not in terminal.text, "a person reads lines, not JSON"
        terminal.process.send_signal(signal.SIGINT)
        terminal.read_until(lambda text: False)
        assert terminal.process.wait(60) == 0


def test_watching_shows_it_again_and_again(source, standin, stream, tmp_path):
    make_tables(source)
    program = stream(*MERGE_OFTEN)
    program.wait_for_event("live", 90)
    with Terminal(tmp_path, "status", "--watch") as terminal:
        text = terminal.read_until(lambda text: text.count("\x1b[H\x1b[J") >= 3)
        assert text.count(": running") >= 2
        # What changes is seen, and a pipeline that ended does not end the watching.
        assert program.terminate() == 0
        terminal.read_until(lambda text: "not running, last seen" in text)
        terminal.process.send_signal(signal.SIGINT)
        assert terminal.process.wait(60) == -signal.SIGINT
    watched = command(tmp_path, "status", "--watch", "nobody")
    assert watched.returncode == 1 and 'no pipeline "nobody"' in message_of(watched)


def test_no_progress_lines_where_no_terminal_is(source, standin, stream):
    make_tables(source)
    program = stream(*MERGE_OFTEN)
    program.wait_for_event("live", 90)
    assert program.terminate() == 0
    assert program.other == [], "only JSON lines"
