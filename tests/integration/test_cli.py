"""Bad input of `run` and `check`: one line that says what is wrong, where, and what mends it; nothing half-made is left.

Then what is lost: the slot, the state file. The other commands are in test_cli_commands.py.
"""
import json
import os
import pathlib
import re
import shutil
import socket
import sqlite3
import subprocess
import threading
import urllib.parse

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

import compare
import load
from pgserver import SERVER_USER, PgServer, scratch_folder
from program import PROGRAM, environment, pipeline_status, run_command, wait_until
from snowflake_client import Snowflake
from standin import StandIn

PASSWORD, WRONG_PASSWORD = "right-Pa55word-kept", "wrong-Pa55word-kept"
PASSPHRASE, WRONG_PASSPHRASE = "right-Pa55phrase-kept", "wrong-Pa55phrase-kept"
SECRETS = (PASSWORD, WRONG_PASSWORD, PASSPHRASE, WRONG_PASSPHRASE)
MERGE_OFTEN = ("--merge-interval-seconds", 1)


def write_keys(folder):
    """Files that are no use as a key, each in its own way."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    plain = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    text = key.private_bytes(*plain).decode()
    files = {
        "not_a_key": "this is no key\n",
        "empty": "",
        "public": key.public_key().public_bytes(serialization.Encoding.PEM,
                                                serialization.PublicFormat.SubjectPublicKeyInfo).decode(),
        "elliptic": ec.generate_private_key(ec.SECP256R1()).private_bytes(*plain).decode(),
        "small": rsa.generate_private_key(public_exponent=65537, key_size=1024).private_bytes(*plain).decode(),
        "damaged": text[:200] + "AAAAAAAA" + text[208:],
        "unknown": text,
        "encrypted": key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                       serialization.BestAvailableEncryption(PASSPHRASE.encode())).decode(),
    }
    for name, content in files.items():
        (folder / name).write_text(content)
        (folder / name).chmod(0o600)
    (folder / "folder").mkdir()


class Ends:
    """A source and a destination in which everything is right, to be asked for in wrong ways."""

    def __init__(self, server, standin, folder):
        self.server, self.standin, self.folder = server, standin, folder
        self.snowflake = Snowflake(standin.to)

    def source(self, user="postgres", dbname="source", password=None, host=None, **query):
        query.setdefault("publication", "etl")
        listed = urllib.parse.urlencode({name: value for name, value in query.items() if value is not None})
        login = user if password is None else f"{user}:{password}"
        return f"postgres://{login}@{host or f'127.0.0.1:{self.server.port}'}/{dbname}" + (f"?{listed}" if listed else "")

    def target(self, user=None, account=None, path=None, **query):
        parts = urllib.parse.urlsplit(self.standin.to)
        asked = {**dict(urllib.parse.parse_qsl(parts.query)), **query}
        listed = urllib.parse.urlencode({name: value for name, value in asked.items() if value is not None})
        return f"snowflake://{user or parts.username}@{account or parts.hostname}{path or parts.path}?{listed}"

    def key(self, name):
        return str(self.folder / name)

    def slots(self):
        return self.server.sql("SELECT slot_name FROM pg_replication_slots")

    def objects(self):
        schemas = self.snowflake.execute("SHOW SCHEMAS IN DATABASE DEMO_DB")
        tables = self.snowflake.execute("SHOW TABLES IN DATABASE DEMO_DB")
        return sorted(map(str, schemas[1])), sorted(map(str, tables[1]))


@pytest.fixture(scope="module")
def ends():
    folder = scratch_folder("etl-cli-")
    write_keys(folder)
    with PgServer({"max_replication_slots": 2}, tls=True) as server, StandIn() as standin:
        server.create_database("source")
        server.sql(f"""
            CREATE TABLE words (id int PRIMARY KEY, word text); INSERT INTO words VALUES (1, 'one');
            CREATE TABLE secret (id int PRIMARY KEY); CREATE TABLE bare (); CREATE TABLE "Words" (id int PRIMARY KEY);
            CREATE PUBLICATION etl FOR TABLE words; CREATE PUBLICATION empty;
            CREATE PUBLICATION more FOR TABLE words, secret;
            SET password_encryption = 'scram-sha-256'; CREATE ROLE scram LOGIN REPLICATION PASSWORD '{PASSWORD}';
            SET password_encryption = 'md5'; CREATE ROLE md5 LOGIN REPLICATION PASSWORD '{PASSWORD}';
            CREATE ROLE reader LOGIN REPLICATION; CREATE ROLE plain LOGIN; CREATE ROLE stranger LOGIN REPLICATION;
            GRANT SELECT ON words TO plain, reader, scram, md5""", dbname="source")
        local = "127.0.0.1/32"
        server.set_hba(f"host all postgres {local} trust", f"host all reader,plain,nobody {local} trust",
                       f"host all scram {local} scram-sha-256", f"host all md5 {local} md5")
        server.reload()
        snowflake = Snowflake(standin.to)
        snowflake.execute("CREATE SCHEMA DEMO_DB.TAKEN")
        snowflake.execute("CREATE TABLE DEMO_DB.TAKEN.WORDS (ID NUMBER(10,0))")
        snowflake.execute("CREATE SCHEMA DEMO_DB.TAKEN_LANDING")
        snowflake.execute("CREATE TABLE DEMO_DB.TAKEN_LANDING.LANDING_WORDS (ID NUMBER(10,0))")
        yield Ends(server, standin, folder)
    shutil.rmtree(folder, ignore_errors=True)


def no_secret_in(done):
    for secret in SECRETS:
        assert secret not in done.stdout + done.stderr


def message_of(done):
    """What the person reads: the one line that is no log line."""
    no_secret_in(done)
    told = [line for line in done.stderr.splitlines() if not line.startswith("{")]
    assert len(told) == 1, done.stderr
    assert told[0].startswith("etl-stream: ") and done.stdout == ""
    return told[0]


def findings_of(done):
    no_secret_in(done)
    lines = re.sub(r"\n +", " ", done.stdout).splitlines()  # what belongs to a finding stands indented below it
    return [line.removeprefix("missing ").strip() for line in lines if line.startswith("missing ")]


def assert_words(text, words):
    for word in words:
        assert word in text, f"{word!r} is not in: {text}"


class Case:
    """name, exit code, words of the message; source, target: what is wrong there; more: of the environment."""

    def __init__(self, name, code, *words, source=None, target=None, options=(), is_found=True, **more):
        self.name, self.code, self.words, self.options, self.more = name, code, words, options, more
        self.source, self.target = source or {}, target or {}
        self.is_found = is_found  # by check, too

    def source_of(self, ends):
        return self.source(ends) if callable(self.source) else ends.source(**self.source)

    def target_of(self, ends):
        return self.target(ends) if callable(self.target) else ends.target(**self.target)


# Refused before any network is touched: run and check say the same and end with 2.
URL_CASES = [
    Case("no URL", 2, "--from", "postgres://", source=lambda ends: "nonsense"),
    Case("another database", 2, "--from", "postgres://", source=lambda ends: "mysql://a@b/c?publication=etl"),
    Case("no publication", 2, "publication=NAME", source={"publication": None}),
    Case("no database", 2, "database", source=lambda ends: "postgres://postgres@127.0.0.1?publication=etl"),
    Case("a port that is none", 2, "port", source=lambda ends: "postgres://a@127.0.0.1:port/source?publication=etl"),
    Case("a parameter that is unknown", 2, "publicaton", "publication, slot", source={"publicaton": "etl"}),
    Case("a slash in the password", 2, "percent-encoding",
         source=lambda ends: f"postgres://a:{WRONG_PASSWORD}/x@127.0.0.1/source?publication=etl"),
    Case("an sslmode that is none", 2, "sslmode", source={"sslmode": "maybe"}),
    Case("a slot's name that is none", 2, "slot", "a-z", source={"slot": "My-Slot"}),
    Case("a destination of another kind", 2, "--to", "snowflake://", target=lambda ends: "mysql://a@b/c"),
    Case("no user at Snowflake", 2, "the user is missing", target=lambda ends: "snowflake://SANDBOX/DEMO_DB/PUBLIC"),
    Case("no schema", 2, "the schema is missing", target={"path": "/DEMO_DB"}),
    Case("a password for Snowflake", 2, "password", "private key", target={"user": f"ETL:{WRONG_PASSWORD}"}),
    Case("a passphrase in the URL", 2, "passphrase", "environment variable", target={"passphrase": WRONG_PASSPHRASE}),
    Case("an option that is unknown", 2, "known options are warehouse", target={"wharehouse": "X"}),
    Case("a host name as account", 2, "snowflakecomputing.com", target={"account": "a.snowflakecomputing.com"}),
    Case("a URL as host", 2, "https://", target={"host": "https://a.example.com"}),
    Case("two keys", 2, "key_file and key_env", target={"key_env": "KEY"}),
    Case("a name that is none", 2, "--name", "A-Z", options=("--name", "my pipeline")),
]

SOURCE_CASES = [
    Case("no password", 2, "no password supplied", "PGPASSWORD", source={"user": "scram"}),
    Case("wrong password, SCRAM", 2, "password authentication failed", "scram", "PGPASSWORD", source={"user": "scram"},
         PGPASSWORD=WRONG_PASSWORD),
    Case("wrong password, MD5", 2, "password authentication failed", "md5", source={"user": "md5"},
         PGPASSWORD=WRONG_PASSWORD),
    Case("wrong password in the URL", 2, "password authentication failed", "the right password",
         source={"user": "scram", "password": WRONG_PASSWORD}),
    Case("user that is not let in", 2, "pg_hba.conf", "stranger", source={"user": "stranger"}),
    Case("unknown user", 2, 'role "nobody" does not exist', source={"user": "nobody"}),
    Case("unknown database", 2, 'database "nowhere" does not exist', "127.0.0.1", source={"dbname": "nowhere"}),
    Case("nobody listens", 1, "127.0.0.1:1", "Connection refused", source={"host": "127.0.0.1:1"}),
    Case("unknown host", 2, "no-such-host.invalid", "not known", source={"host": "no-such-host.invalid"}),
    Case("CA file that is missing", 2, "/nowhere.pem", "sslrootcert",
         source={"sslmode": "verify-full", "sslrootcert": "/nowhere.pem"}),
    Case("another CA", 2, "certificate verify failed", "sslrootcert",
         source=lambda ends: ends.source(sslmode="verify-full", sslrootcert=ends.standin.told["ca_file"])),
    Case("no replication", 2, "role plain", "may not replicate", 'ALTER ROLE "plain" REPLICATION',
         source={"user": "plain"}),
    Case("no SELECT", 2, '"public"."secret"', "GRANT SELECT", source={"user": "reader", "publication": "more"}),
    Case("no publication", 2, 'publication "nope" does not exist', 'CREATE PUBLICATION "nope"',
         source={"publication": "nope"}),
    Case("empty publication", 2, 'publication "empty"', "no table", 'ALTER PUBLICATION "empty" ADD TABLE',
         source={"publication": "empty"}),
]

TARGET_CASES = [
    Case("account", 2, "OTHER-ACCOUNT", "account", target={"account": "OTHER-ACCOUNT"}),
    Case("user", 2, "NOBODY", "SHA256:", "RSA_PUBLIC_KEY_FP", target={"user": "NOBODY"}),
    Case("key of somebody else", 2, "SHA256:", "RSA_PUBLIC_KEY_FP",
         target=lambda ends: ends.target(key_file=ends.key("unknown"))),
    Case("role", 2, "NO_ROLE", "GRANT ROLE", target={"role": "NO_ROLE"}),
    Case("database", 2, '"NO_DB" does not exist', 'GRANT USAGE ON DATABASE "NO_DB"', target={"path": "/NO_DB/PUBLIC"}),
    Case("schema", 2, '"DEMO_DB"."NO_SCHEMA" does not exist', "CREATE SCHEMA", 'CREATE TABLE ON SCHEMA "DEMO_DB"."NO_SCHEMA"',
         target={"path": "/DEMO_DB/NO_SCHEMA"}),
    Case("warehouse", 2, '"NO_WH" does not exist', 'GRANT USAGE ON WAREHOUSE "NO_WH"', target={"warehouse": "NO_WH"}),
    Case("no warehouse", 2, "warehouse=NAME", target={"warehouse": None}),
    Case("nobody listens", 1, "127.0.0.1:1", "Connection refused", "host=", target={"host": "127.0.0.1:1"}),
    Case("unknown host", 2, "no-such-host.invalid", "not known", "host=", target={"host": "no-such-host.invalid"}),
    Case("another CA", 2, "certificate is not trusted", "ca_file",
         target=lambda ends: ends.target(ca_file=ends.server.certificate)),
    Case("no CA", 2, "certificate is not trusted", "ca_file", target={"ca_file": None}),
    Case("CA file that is missing", 2, "/nowhere.pem", target={"ca_file": "/nowhere.pem"}),
    Case("target that is not ours", 2, '"DEMO_DB"."TAKEN"."WORDS"', "not made by etl-stream", "RENAME TO",
         target={"path": "/DEMO_DB/TAKEN"}),
    Case("landing that is not ours", 2, '"DEMO_DB"."TAKEN_LANDING"."LANDING_WORDS"', "RENAME TO",
         target={"landing_schema": "TAKEN_LANDING"}),
]


def key_case(name, *words, **more):
    return Case(f"key: {name}", 2, *words, target=lambda ends: ends.target(key_file=ends.key(name)), **more)


KEY_CASES = [
    key_case("missing", "missing", "No such file"),
    key_case("folder", "directory"),
    key_case("not_a_key", "not_a_key", "BEGIN PRIVATE KEY"),
    key_case("empty", "empty", "BEGIN PRIVATE KEY"),
    key_case("public", "public key", "private key"),
    key_case("elliptic", "not RSA"),
    key_case("small", "1024 bits", "2048"),
    key_case("damaged", "damaged"),
    key_case("encrypted", "no passphrase", "SNOWFLAKE_PRIVATE_KEY_PASSPHRASE"),
    key_case("encrypted", "passphrase does not open", SNOWFLAKE_PRIVATE_KEY_PASSPHRASE=WRONG_PASSPHRASE),
    Case("key: variable that is not set", 2, "KEY_OF_NOBODY", "not set",
         target={"key_file": None, "key_env": "KEY_OF_NOBODY"}),
    Case("key: none is named", 2, "key_file=FILE", "key_env=", target={"key_file": None}),
]


def assert_nothing_is_left(ends, folder, before):
    assert os.listdir(folder) == []
    assert ends.slots() == []
    assert ends.objects() == before


@pytest.mark.parametrize("case", [*URL_CASES, *SOURCE_CASES, *TARGET_CASES, *KEY_CASES], ids=lambda case: case.name)
def test_bad_input(ends, tmp_path, case):
    before = ends.objects()
    addresses = ("--from", case.source_of(ends), "--to", case.target_of(ends))
    done = run_command("run", *addresses, *case.options, state=tmp_path / "state.db", **case.more)
    assert_words(message_of(done), case.words)
    assert done.returncode == case.code
    assert_nothing_is_left(ends, tmp_path, before)

    checked = run_command("check", *addresses, *case.options, state=tmp_path / "state.db", **case.more)
    if case in URL_CASES:
        assert checked.returncode == 2 and message_of(checked) == message_of(done)
    else:
        assert checked.returncode == 1
        assert_words("\n".join(findings_of(checked)), case.words)
        assert checked.stdout.splitlines()[-1].startswith("1 missing, ")
    assert_nothing_is_left(ends, tmp_path, before)


def test_check_finds_nothing_where_all_is_right(ends, tmp_path, tmp_path_factory):
    before = ends.objects()
    passfile = tmp_path_factory.mktemp("home") / ".pgpass"
    passfile.write_text(f"*:*:*:scram:{PASSWORD}\n")
    passfile.chmod(0o600)
    for more in ({}, {"PGPASSWORD": PASSWORD}, {"PGPASSFILE": str(passfile)}):
        source = ends.source(user="scram") if more else ends.source()
        done = run_command("check", "--from", source, "--to", ends.target(), state=tmp_path / "state.db", **more)
        assert done.returncode == 0, done.stdout + done.stderr
        assert findings_of(done) == [] and done.stdout.splitlines()[-1].startswith("0 missing, ")
        assert_words(done.stdout, ["source", "publication etl: 1 table", "destination", 'table public.words -> "WORDS"'])
    done = run_command("check", "--from", ends.source(), state=tmp_path / "state.db")
    assert done.returncode == 0
    assert_nothing_is_left(ends, tmp_path, before)


def test_check_names_all_at_once(ends, tmp_path):
    done = run_command("check", "--from", ends.source(user="plain", publication="nope"), "--to",
                       ends.target(key_file=ends.key("public")), state=ends.key("not_a_key"))
    assert done.returncode == 1
    found = findings_of(done)
    for words in (["state file", "not_a_key"], ["may not replicate"], ['publication "nope"'], ["public key"]):
        assert any(all(word in line for word in words) for line in found), (words, found)
    assert done.stdout.splitlines()[-1].startswith("4 missing, ")


def test_server_without_logical_decoding(ends, tmp_path):
    with PgServer({"wal_level": "replica"}) as server:
        server.sql("CREATE TABLE words (id int PRIMARY KEY); CREATE PUBLICATION etl FOR TABLE words")
        before = ends.objects()
        for command, code in (("run", 2), ("check", 1)):
            done = run_command(command, "--from", server.url(publication="etl"), "--to", ends.target(),
                               state=tmp_path / "state.db")
            assert done.returncode == code
            assert_words(message_of(done) if command == "run" else "\n".join(findings_of(done)),
                         ["wal_level = replica", "ALTER SYSTEM SET wal_level = 'logical'", "restart"])
            assert server.sql("SELECT slot_name FROM pg_replication_slots") == []
            assert os.listdir(tmp_path) == [] and ends.objects() == before


@pytest.mark.parametrize("kind, words", [
    ("ours by name", ["slot etl_source_etl exists", "state file", "pg_drop_replication_slot('etl_source_etl')"]),
    ("of another plugin", ["etl_source_etl", "not a pgoutput slot", "slot=NAME"]),
    ("all in use", ["too few free replication slots (2 of 2", "max_replication_slots"]),
])
def test_slots_that_are_in_the_way(ends, tmp_path, kind, words):
    before = ends.objects()
    make = {"ours by name": "SELECT pg_create_logical_replication_slot('etl_source_etl', 'pgoutput')",
            "of another plugin": "SELECT pg_create_logical_replication_slot('etl_source_etl', 'test_decoding')",
            "all in use": "SELECT pg_create_physical_replication_slot(name) FROM unnest(array['one', 'two']) name"}
    ends.server.sql(make[kind], dbname="source")
    slots = sorted(ends.slots())
    try:
        for command, code in (("run", 2), ("check", 1)):
            done = run_command(command, "--from", ends.source(), "--to", ends.target(), state=tmp_path / "state.db")
            assert done.returncode == code
            assert_words(message_of(done) if command == "run" else "\n".join(findings_of(done)), words)
            assert sorted(ends.slots()) == slots, "a slot of somebody else is gone"
            assert os.listdir(tmp_path) == [] and ends.objects() == before
    finally:
        ends.server.sql("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots", dbname="source")


class Silence:
    """Takes connections and never says a word."""

    def __enter__(self):
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.taken = []
        threading.Thread(target=self._accept, daemon=True).start()
        return f"127.0.0.1:{self.socket.getsockname()[1]}"

    def _accept(self):
        while True:
            try:
                self.taken.append(self.socket.accept()[0])
            except OSError:
                return

    def __exit__(self, *_):
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()
        for taken in self.taken:
            taken.close()


def test_ends_that_never_answer(ends, tmp_path):
    """At a first start a person is waiting: it does not try for ever."""
    before = ends.objects()
    with Silence() as silence:
        cases = {"source": ("--from", ends.source(host=silence), "--to", ends.target()),
                 "target": ("--from", ends.source(), "--to", ends.target(host=silence))}
        running = {}
        for name, addresses in cases.items():
            (tmp_path / name).mkdir()
            running[name] = subprocess.Popen([PROGRAM, "run", *addresses], text=True, stdout=subprocess.PIPE,
                                             stderr=subprocess.PIPE, env=environment(tmp_path / name / "state.db"))
        try:
            for name, process in running.items():
                out, errors = process.communicate(timeout=200)
                done = subprocess.CompletedProcess([], process.returncode, out, errors)
                assert done.returncode == 1
                assert silence in message_of(done)
                assert os.listdir(tmp_path / name) == []
        finally:
            for process in running.values():
                process.kill()
                process.wait()
    assert ends.slots() == [] and ends.objects() == before


# --- the state file ----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("kind, words", [
    ("folder that is missing", ["missing/state.db", "No such file", "ETL_STATE"]),
    ("under a file", ["state.db", "Not a directory"]),
    ("a folder itself", ["Is a directory"]),
    ("another kind of file", ["not an SQLite database", "ETL_STATE"]),
    ("newer", ["version 99", "newer etl-stream"]),
])
def test_state_file_that_cannot_be_used(ends, tmp_path, kind, words):
    path = {"folder that is missing": tmp_path / "missing" / "state.db", "under a file": tmp_path / "file" / "state.db",
            "a folder itself": tmp_path}.get(kind, tmp_path / "state.db")
    (tmp_path / "file").write_text("a file\n")
    if kind == "another kind of file":
        path.write_text("no database\n" * 100)
    elif kind == "newer":
        with sqlite3.connect(path) as database:
            database.execute("PRAGMA user_version = 99")
        database.close()
    contents = {name: (tmp_path / name).read_bytes() for name in os.listdir(tmp_path) if (tmp_path / name).is_file()}
    before = ends.objects()
    for arguments in (("run", "--from", ends.source(), "--to", ends.target()), ("status",)):
        done = run_command(*arguments, state=path)
        assert done.returncode in (1, 2)
        if arguments[0] == "run":
            assert done.returncode == 2
            assert_words(message_of(done), words)
        assert {name: (tmp_path / name).read_bytes() for name in os.listdir(tmp_path) if (tmp_path / name).is_file()
                } == contents
    assert ends.slots() == [] and ends.objects() == before


def test_files_of_others(ends):
    """A state folder that is not ours to write to, a key that is not ours to read."""
    folder = scratch_folder("etl-cli-others-")
    try:
        program = folder / "etl-stream"
        shutil.copy(PROGRAM, program)
        program.chmod(0o755)
        closed, key, ca_file = folder / "closed", folder / "key", folder / "ca.pem"
        shutil.copy(ends.standin.told["key_file"], key)
        shutil.copy(ends.standin.told["ca_file"], ca_file)
        ca_file.chmod(0o644)
        closed.mkdir()
        closed.chmod(0o555)
        key.chmod(0o000)

        def fails(state, **target):
            done = subprocess.run([program, "run", "--from", ends.source(), "--to", ends.target(ca_file=ca_file, **target)],
                                  env=environment(state), text=True, capture_output=True, timeout=150, user=SERVER_USER,
                                  cwd=folder, extra_groups=[] if SERVER_USER else None)
            assert done.returncode == 2
            return message_of(done)
        assert_words(fails(folder / "state.db", key_file=key), [str(key), "Permission denied"])
        key.chmod(0o444)
        assert_words(fails(closed / "state.db", key_file=key), [str(closed), "Permission denied", "ETL_STATE"])
        assert not (folder / "state.db").exists() and os.listdir(closed) == [] and ends.slots() == []
    finally:
        shutil.rmtree(folder, ignore_errors=True)


# --- lost --------------------------------------------------------------------------------------------------------------

def make_tables(source):
    with source.connect() as connection:
        load.create_tables(connection, source.publication)
        load.fill(connection, 20)


def settle(source, standin, program, seconds=60):
    with source.connect() as connection:
        mark = load.write_mark(connection)

    def watch():
        assert program.is_running(), program.tail()
    load.wait_for_mark(Snowflake(standin.to), mark, seconds, watch)
    compare.assert_equal(source.conninfo, source.publication, standin.to)


def slot_of(source):
    return source.value("SELECT slot_name FROM pg_replication_slots WHERE database = current_database()")


def run_through(source, standin, stream, *options, state=None):
    """A whole life: copied, equal, ended in peace. Returns the pipeline's status while it ran."""
    program = stream(*MERGE_OFTEN, *options, **({"state": state} if state else {}))
    program.wait_for_event("live", 90)
    settle(source, standin, program)
    status = pipeline_status(program.status())
    assert program.terminate() == 0
    return status


def test_slot_that_was_dropped(source, standin, stream):
    make_tables(source)
    first = run_through(source, standin, stream)
    slot = slot_of(source)
    source.drop_slot(slot)
    load.Load(source.conninfo, seed=5).run(20)

    program = stream(*MERGE_OFTEN)
    assert program.wait(60) == 1
    assert_words("\n".join(program.other), [f"slot {slot} is gone", "--on-slot-lost=resync"])
    assert source.value("SELECT count(*) FROM pg_replication_slots WHERE database = current_database()") == 0
    found = run_command("check", "--from", source.url(), "--to", standin.to, state=program.state)
    assert found.returncode == 1
    assert_words("\n".join(findings_of(found)), [f"slot {slot} is gone"])
    assert "gone" in pipeline_status(program.status()).get("error", "")

    # Made anew by hand it is there, and begins too late; the server would send from there without a word.
    source.value("SELECT lsn::text FROM pg_create_logical_replication_slot(%s, 'pgoutput')", [slot])
    program = stream(*MERGE_OFTEN)
    assert program.wait(60) == 1
    assert_words("\n".join(program.other), [f"slot {slot} is at", "lost", "--on-slot-lost=resync"])

    second = run_through(source, standin, stream, "--on-slot-lost=resync")
    assert second["epoch"] > first["epoch"]
    assert second["slot"] == slot


def test_state_file_that_was_lost(source, standin, stream, tmp_path):
    make_tables(source)
    first = run_through(source, standin, stream)
    slot = slot_of(source)
    new_state = tmp_path / "found" / "state.db"
    new_state.parent.mkdir()

    program = stream(*MERGE_OFTEN, state=new_state)
    assert program.wait(60) == 2
    assert_words("\n".join(program.other), [f"slot {slot} exists", "ETL_STATE", f"pg_drop_replication_slot('{slot}')"])
    assert os.listdir(new_state.parent) == []
    assert slot_of(source) == slot
    load.Load(source.conninfo, seed=6).run(20)

    source.drop_slot(slot)
    second = run_through(source, standin, stream, state=new_state)
    assert second["epoch"] > first["epoch"]


def test_state_file_in_use(source, standin, stream):
    make_tables(source)
    program = stream(*MERGE_OFTEN)
    program.wait_for_event("live", 90)
    second = run_command("run", "--from", source.url(), "--to", standin.to, state=program.state)
    assert second.returncode == 2
    assert_words(message_of(second), [str(program.state), "in use by another etl-stream"])
    settle(source, standin, program)
    assert program.terminate() == 0


def test_an_outage_after_the_first_start_is_waited_out(source, standin, stream):
    """What ends a first start within seconds is only waited for later: the ends were right."""
    make_tables(source)
    run_through(source, standin, stream)
    standin.add_fault("sql.submit.before", status=503, times=None)
    program = stream(*MERGE_OFTEN)
    program.wait_for_event("retrying", 60, count=2)
    wait_until(lambda: "503" in pipeline_status(program.status()).get("error", ""), 30, "the status to tell")
    standin.remove_faults()
    settle(source, standin, program, 120)
    assert json.dumps(program.status())
    assert program.terminate() == 0
