"""Habits that people have with a command line: help with examples everywhere, passwords that are shown nowhere, suggestions, JSON."""
import json
import os
import pathlib
import re
import subprocess

import pytest

from program import PROGRAM, environment, run_command, wait_until
from test_cli_commands import COLOUR, Terminal

SECRET = "hunter2-very-secret"
BAD_URL = f"postgres://etl:{SECRET}@127.0.0.1:1/shop?publication=etl"


def commands():
    listed = subprocess.run([PROGRAM, "help"], capture_output=True, text=True, check=True).stdout
    return re.findall(r"^  ([a-z]+(?: [a-z]+)?)  ", listed, re.MULTILINE)


def test_every_command_explains_itself_with_an_example(tmp_path):
    found = commands()
    assert {"run", "source add", "pipeline resync", "status", "check", "apply", "version"} <= set(found)
    for name in found:
        done = run_command(*name.split(), "--help", state=tmp_path / "state.db")
        assert done.returncode == 0 and done.stderr == "", name
        assert done.stdout.startswith(f"usage: etl-stream {name}"), name
        assert re.search(r"^Examples?:\n  etl-stream ", done.stdout, re.MULTILINE), f"{name} has no example"
    for group in {name.split()[0] for name in found if " " in name}:
        for flag in ("--help", "-h"):
            done = run_command(group, flag, state=tmp_path / "state.db")
            assert done.returncode == 0 and f"  {group} add " in done.stdout, group
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("arguments, code", [
    (["run", "--from", BAD_URL, "--to", "nonsense"], 2), (["run", "--from", BAD_URL, "--to", "nonsense", "--workers", "-1"], 2),
    (["run", "--form", BAD_URL], 2), (["run", BAD_URL], 2), (["run", "--slot", BAD_URL, "--from", BAD_URL, "--to", "file:/nowhere/x"], 2),
    (["check", "--from", BAD_URL], 1), (["check", "--from", BAD_URL, "--json"], 1), (["check", BAD_URL], 2),
    (["check", "--from", BAD_URL.replace("hunter2", "hun/ter2")], 2), (["check", "--from", f"mysql://etl:{SECRET}@h/d"], 2),
    (["tail", BAD_URL, BAD_URL], 2), (["tail", BAD_URL], 1), (["verify", "--from", BAD_URL, "--to", "nonsense"], 2),
    (["verify", BAD_URL], 2), (["status", BAD_URL], 1), (["status", "x", BAD_URL], 2),
    (["source", "add", "s", "--url", BAD_URL, "--sslmode", "maybe"], 2), (["source", "add", BAD_URL], 2), (["source", "show", BAD_URL], 2),
    (["source", "add", "s", "--url", BAD_URL, "--create-publication"], 1),
    (["destination", "add", "d", "--to", f"https://u:{SECRET}@h/x", "--account", "a"], 2), (["destination", "add", "d", "--to", BAD_URL], 2),
    (["pipeline", "add", "p", "--source", BAD_URL, "--destination", "d"], 2), (["pipeline", "resync", BAD_URL], 2),
    (["pipeline", "start", BAD_URL], 2), (["pipeline", "remove", BAD_URL, "--yes"], 2), (["apply", BAD_URL], 2), (["export", BAD_URL], 2),
    (["keygen", BAD_URL, "x"], 2), (["completion", BAD_URL], 2), (["version", BAD_URL], 2), (["help", BAD_URL], 2), ([BAD_URL], 2),
], ids=lambda value: " ".join(value).replace(BAD_URL, "URL")[:50] if isinstance(value, list) else str(value))
def test_a_password_in_a_url_is_shown_nowhere(tmp_path, arguments, code):
    done = run_command(*arguments, state=tmp_path / "state.db")
    for part in (SECRET, "ter2-very-secret"):
        assert part not in done.stdout + done.stderr, done.stdout + done.stderr
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize("arguments", [
    ["check", "--from", BAD_URL], ["tail", BAD_URL], ["run", "--from", BAD_URL, "--to", "file:{folder}"],
    ["source", "add", "s", "--url", BAD_URL, "--no-check"], ["source", "add", "s", "--url", BAD_URL.replace(f":{SECRET}", ""), "--password", SECRET, "--no-check"],
], ids=lambda arguments: " ".join(arguments)[:16])
def test_a_password_on_the_command_line_is_warned_of(tmp_path, arguments):
    arguments = [part.replace("{folder}", str(tmp_path / "out")) for part in arguments]
    done = run_command(*arguments, state=tmp_path / "state.db", METRICS_ADDR="off", HEALTH_ADDR="off")
    assert "can be seen by every user of this machine" in done.stderr and "--ask-password" in done.stderr
    assert ("PGPASSWORD" in done.stderr) == (arguments[0] != "source") and SECRET not in done.stdout + done.stderr
    without = [part.replace(f":{SECRET}", "") for part in arguments if part not in ("--password", SECRET)]
    done = run_command(*without, state=tmp_path / "other.db", METRICS_ADDR="off", HEALTH_ADDR="off")
    assert "can be seen" not in done.stderr


@pytest.fixture
def scram(source):
    """A role that needs its password is another matter: the tests' server trusts everybody. It has one all the same."""
    source.sql("CREATE TABLE words (id int PRIMARY KEY); CREATE PUBLICATION etl FOR TABLE words")
    return source.url().replace("postgres@", f"postgres:{SECRET}@")


def test_other_users_do_not_see_the_password(scram, tmp_path):
    tail = subprocess.Popen([PROGRAM, "tail", scram], env=environment(tmp_path / "state.db"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        shown = pathlib.Path(f"/proc/{tail.pid}/cmdline")
        wait_until(lambda: b"***" in shown.read_bytes(), 30, "the password is overwritten")
        assert SECRET.encode() not in shown.read_bytes() and b"tail" in shown.read_bytes()
    finally:
        tail.kill()
        tail.wait()


def test_a_password_is_asked_for_at_a_terminal_only(scram, tmp_path):
    url = scram.replace(f":{SECRET}", "")
    with Terminal(tmp_path, "check", "--from", url, "--ask-password") as terminal:
        terminal.read_until(lambda text: "password of postgres@" in text)
        os.write(terminal.near, (SECRET + "\n").encode())
        text = terminal.read_until(lambda text: "0 missing" in text)
        assert SECRET not in text and "signed in as postgres" in text
    for arguments in (("check", "--from", url), ("tail", url), ("run", "--from", url, "--to", f"file:{tmp_path / 'out'}"),
                      ("verify", "--from", url, "--to", f"file:{tmp_path / 'out'}")):
        done = run_command(*arguments, "--ask-password", state=tmp_path / "state.db", METRICS_ADDR="off", HEALTH_ADDR="off")
        assert done.returncode == 2 and "no terminal" in done.stderr, (arguments, done.stderr)


@pytest.mark.parametrize("arguments, suggested", [
    (["chekc"], "did you mean check?"), (["pipeline", "rezync", "x"], "did you mean pipeline resync?"), (["statuss"], "did you mean status?"),
    (["source", "add", "s", "--pg-password", "x"], "did you mean --password?"), (["source", "add", "s", "--pg_host", "x"], "did you mean --host?"),
    (["run", "--merge-interval", "5"], "did you mean --merge-interval-seconds?"), (["status", "--jsn"], "did you mean --json?"),
    (["check", "--jason"], "did you mean --json?"), (["help", "chekc"], "did you mean check?")])
def test_misspelt_words_are_recognized(tmp_path, arguments, suggested):
    done = run_command(*arguments, state=tmp_path / "state.db")
    assert done.returncode == 2 and suggested in done.stderr, done.stderr


def test_a_misspelt_table_is_recognized(source, start_stream, tmp_path):
    source.sql("""CREATE TABLE words (id int PRIMARY KEY); CREATE TABLE "Orders" (id int PRIMARY KEY); CREATE PUBLICATION etl FOR TABLE words, "Orders" """)
    program = start_stream(source.url(), f"file:{tmp_path / 'out'}")
    program.wait_for_event("live", 60)
    name = f"{source.name}_etl"
    assert program.terminate() == 0
    for word, suggested in (("wrods", '"words"'), ("public.order", '"public.Orders"')):
        done = run_command("pipeline", "resync", name, word, state=program.state)
        assert done.returncode == 2 and f"did you mean {suggested}?" in done.stderr, done.stderr
    done = run_command("pipeline", "resync", name, "nothing_like_it", state=program.state)
    assert done.returncode == 2 and "lists them" in done.stderr


def test_what_machines_read(tmp_path):
    state = tmp_path / "state.db"
    version = json.loads(run_command("version", "--json", state=state).stdout)
    assert version["name"] == "etl-stream" and version["version"] in run_command("version", state=state).stdout
    (tmp_path / "catalog.json").write_text(json.dumps({
        "version": 1, "sources": {"shop": {"host": "db", "database": "shop", "username": "etl", "publication": "etl", "password": {"env": "SHOP_PASSWORD"}}}}))
    arguments = ("apply", str(tmp_path / "catalog.json"))
    done = run_command(*arguments, "--dry-run", "--json", state=state, SHOP_PASSWORD=SECRET)
    (difference,) = json.loads(done.stdout)["differences"]
    assert (difference["action"], difference["kind"], difference["name"]) == ("add", "source", "shop") and SECRET not in done.stdout
    settings = {setting["name"]: setting for setting in difference["settings"]}
    assert settings["host"]["after"] == "db" and settings["password"] == {"name": "password", "is_secret": True, "before": None, "after": None}
    assert not state.exists() and run_command(*arguments, "--json", state=state, SHOP_PASSWORD=SECRET).returncode == 2
    assert run_command(*arguments, state=state, SHOP_PASSWORD=SECRET).returncode == 0
    assert json.loads(run_command(*arguments, "--dry-run", "--json", state=state, SHOP_PASSWORD=SECRET).stdout)["differences"] == []
    for word, name, *more in (("destination", "out", "--to", f"file:{tmp_path / 'out'}"), ("pipeline", "p", "--source", "shop", "--destination", "out"),
                              ("source", "other", "--url", BAD_URL, "--no-check")):
        done = run_command(word, "add", name, *more, "--json", state=state)
        told = json.loads(done.stdout)
        assert told.pop("message").startswith(f"{word} {name} is added") and told == {"done": True, word: name}
        refused = run_command(word, "add", name, *more, "--json", state=state)
        assert refused.returncode == 2 and refused.stdout == "" and "already" in refused.stderr and SECRET not in done.stderr + refused.stderr
    for word, name, *more in (("source", "shop", "--host", "db2"), ("destination", "out", "--unset", "compression"), ("pipeline", "p", "--batch-max-size", "7")):
        assert json.loads(run_command(word, "edit", name, *more, "--json", state=state).stdout) == {
            "done": True, word: name, "message": f"{word} {name} is changed"}
    for word, is_done in (("start", False), ("pause", True), ("resync", False)):  # no service runs: what is told holds when one does
        told = json.loads(run_command("pipeline", word, "p", "--json", state=state).stdout)
        assert told["done"] is is_done and told["pipeline"] == "p" and "no service runs" in told["message"], told
    assert json.loads(run_command("pipeline", "remove", "p", "--yes", "--json", state=state).stdout) == {
        "done": True, "pipeline": "p", "steps": [], "message": "pipeline p is removed"}  # never ran, and left nothing
    for word, name in (("source", "shop"), ("destination", "out")):
        assert json.loads(run_command(word, "remove", name, "--yes", "--json", state=state).stdout) == {
            "done": True, word: name, "message": f"{word} {name} is removed"}
    missing = run_command("pipeline", "start", "nobody", "--json", state=state)
    assert missing.returncode == 2 and missing.stdout == "" and 'no pipeline "nobody"' in missing.stderr


def test_an_empty_no_color_asks_for_nothing(tmp_path):
    """https://no-color.org: it counts when it is not empty."""
    arguments = ("check", "--from", "postgres://etl@127.0.0.1:1/shop?publication=etl")
    with Terminal(tmp_path, *arguments, NO_COLOR="") as terminal:
        assert COLOUR.search(terminal.read_until(lambda text: False))
