"""The commands that edit the catalog, in both catalogs: an SQLite file and PostgreSQL."""
import json
import os
import subprocess

import pytest

from program import PROGRAM, environment, run_command
from test_cli import message_of
from test_cli_commands import Terminal

SOURCE_URL = "postgres://etl@127.0.0.1:1/shop?publication=etl"
DESTINATION_URL = "snowflake://ETL@MYORG-A/shop/public?warehouse=wh&key_file=/etc/key.p8"
SECRET = "hunter2-very-secret"


class Catalog:
    """Runs commands against one catalog, of either kind."""

    def __init__(self, folder, variables):
        self.folder, self.variables = folder, variables
        self.state = folder / "state.db"

    def __call__(self, *arguments, **more):
        return run_command(*arguments, state=self.state, **{**self.variables, **more})

    def ok(self, *arguments, **more):
        done = self(*arguments, **more)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def refused(self, *arguments, code=2, **more):
        """The one line that says why."""
        done = self(*arguments, **more)
        assert done.returncode == code, (done.stdout, done.stderr)
        assert done.stdout == ""
        return message_of(done)

    def json(self, *arguments):
        return json.loads(self.ok(*arguments, "--json"))

    def export(self):
        return json.loads(self.ok("export"))

    def fill(self):
        self.ok("source", "add", "shop", "--url", SOURCE_URL, "--no-check")
        self.ok("destination", "add", "sf", "--to", DESTINATION_URL)
        self.ok("pipeline", "add", "p", "--source", "shop", "--destination", "sf")


@pytest.fixture(params=["sqlite", "postgres"])
def catalog(request, tmp_path):
    if request.param == "sqlite":
        yield Catalog(tmp_path, {})
        return
    server = request.getfixturevalue("postgres")
    name = "catalog_" + os.urandom(4).hex()
    server.create_database(name)
    yield Catalog(tmp_path, {"CONFIG_DB_PORT": server.port, "CONFIG_DB_HOST": "127.0.0.1", "CONFIG_DB_DATABASE": name})
    server.drop_database(name)


def test_patterns_of_tables_are_looked_at_when_they_are_given(catalog):
    catalog.fill()
    for text, number, pattern, position in (("sales.", 1, "sales.", 1), ("sales.*, !.tmp", 2, "!.tmp", 10), ("a,,b", 2, "", 3)):
        why = f'tables: pattern {number} ("{pattern}", at character {position}) chooses no table; allowed are SCHEMA.TABLE or TABLE'
        assert why in catalog.refused("pipeline", "edit", "p", "--tables", text)
        assert why in catalog.refused("pipeline", "add", "q", "--source", "shop", "--destination", "sf", "--tables", text)
    assert "tables" not in catalog.json("pipeline", "show", "p")["settings"]
    catalog.ok("pipeline", "edit", "p", "--tables", "sales.*,!sales.tmp_*")
    assert catalog.json("pipeline", "show", "p")["settings"]["tables"] == "sales.*,!sales.tmp_*"


def test_everything_is_added_shown_edited_and_removed(catalog):
    assert "no source yet" in catalog.ok("source", "list")
    assert catalog.ok("source", "add", "shop", "--url", SOURCE_URL, "--no-check") == "source shop is added\n"
    assert catalog.ok("destination", "add", "sf", "--to", DESTINATION_URL, "--role", "etl") == "destination sf is added\n"
    added = catalog.ok("pipeline", "add", "p", "--source", "shop", "--destination", "sf", "--merge-interval-seconds", "9")
    assert "pipeline p is added and paused" in added and "pipeline start p" in added

    source = catalog.json("source", "show", "shop")
    assert source["settings"] == {"host": "127.0.0.1", "port": 1, "database": "shop", "username": "etl",
                                  "tls_enabled": False, "publication": "etl"}
    destination = catalog.json("destination", "show", "sf")["settings"]
    assert destination["database"] == "SHOP" and destination["role"] == "etl"
    assert destination["task_schedule_minutes"] == 60 and "http_timeout_ms" not in destination
    pipeline = catalog.json("pipeline", "show", "p")
    assert (pipeline["source"], pipeline["destination"], pipeline["status"]) == ("shop", "sf", "PAUSE")
    assert pipeline["settings"]["merge_interval_seconds"] == 9
    assert [one["name"] for one in catalog.json("pipeline", "list")] == ["p"]
    assert "used by pipeline p" in catalog.ok("source", "show", "shop")

    assert catalog.ok("pipeline", "edit", "p", "--batch-max-size", "7", "--unset", "merge_interval_seconds")
    edited = catalog.json("pipeline", "show", "p")["settings"]
    assert edited["batch_max_size"] == 7 and "merge_interval_seconds" not in edited
    catalog.ok("source", "edit", "shop", "--port", "5433", "--sslmode", "verify-full")
    assert catalog.json("source", "show", "shop")["settings"]["sslmode"] == "verify-full"
    catalog.ok("destination", "edit", "sf", "--warehouse", "other")

    assert 'used by "p"' in catalog.refused("source", "remove", "shop", "--yes")
    assert 'used by "p"' in catalog.refused("destination", "remove", "sf", "--yes")
    assert catalog.ok("pipeline", "remove", "p", "--yes").endswith("pipeline p is removed\n")
    assert catalog.ok("source", "remove", "shop", "--yes") == "source shop is removed\n"
    assert catalog.ok("destination", "remove", "sf", "--yes") == "destination sf is removed\n"
    assert catalog.export() == {"version": 1, "sources": {}, "destinations": {}, "pipelines": {}}
    assert catalog.state.exists() == (not catalog.variables)


@pytest.mark.parametrize("arguments, words", [
    (["source"], ["needs one of add, list, show, edit, remove"]),
    (["source", "ad"], ["did you mean source add?"]),
    (["sorce", "add"], ["did you mean source?"]),
    (["source", "add"], ["needs a NAME"]),
    (["source", "add", "x"], ["has no host", "help source add"]),
    (["source", "add", "two words", "--url", SOURCE_URL], ['name is "two words"', "allowed are"]),
    (["source", "add", "x", "--url", "mysql://x"], ["--url is no postgres:// URL"]),
    (["source", "add", "x", "--url", SOURCE_URL + "&slot=s"], ["slot, which belongs to a pipeline"]),
    (["source", "add", "x", "--url", SOURCE_URL, "--port", "0"], ['--port is "0"', "1 to 65535"]),
    (["source", "add", "x", "--url", SOURCE_URL, "--tables", "a"], ["--create-publication"]),
    (["source", "add", "shop", "--url", SOURCE_URL], ['there is a source "shop" already']),
    (["source", "edit", "shop"], ["nothing is to be changed"]),
    (["source", "edit", "shop", "--name", "other"], ["a name cannot be changed"]),
    (["source", "edit", "shp", "--port", "2"], ['no source "shp"', 'did you mean "shop"?']),
    (["source", "edit", "shop", "--unset", "prt"], ['no setting "prt"', "did you mean port?"]),
    (["source", "edit", "shop", "--unset", "host"], ["source shop has no host"]),
    (["source", "show", "nothing"], ['no source "nothing"', "source list"]),
    (["source", "remove", "shop"], ["--yes"]),
    (["source", "list", "more"], ['"more" is one word too many']),
    (["destination", "add", "x"], ["destination x has no user"]),
    (["destination", "add", "x", "--to", "ftp://x"], ["--to", "snowflake://"]),
    (["destination", "add", "x", "--to", DESTINATION_URL, "--http-url", "http://x"], ["--http-url is for destinations of type http"]),
    (["destination", "add", "x", "--type", "kafka"], ['--type is "kafka"', "snowflake|http|file"]),
    (["destination", "edit", "sf", "--account", "https://x"], ["account"]),
    (["pipeline", "add", "x"], ["needs --source NAME and --destination NAME"]),
    (["pipeline", "add", "x", "--source", "shp", "--destination", "sf"], ['no source "shp"', 'did you mean "shop"?']),
    (["pipeline", "add", "x", "--source", "shop", "--destination", "snow"], ['no destination "snow"']),
    (["pipeline", "add", "x", "--source", "shop", "--destination", "sf", "--slot", "Bad"], ['slot is "Bad"']),
    (["pipeline", "add", "x", "--source", "shop", "--destination", "sf", "--batch-max-sise", "1"], ["did you mean --batch-max-size?"]),
    (["pipeline", "edit", "p", "--on-slot-lost", "panic"], ["stop|resync"]),
    (["pipeline", "edit", "p", "--source", "nothing"], ['no source "nothing"']),
    (["apply"], ["needs a FILE"]),
    (["apply", "/nonexistent.json"], ["/nonexistent.json", "No such file"]),
    (["export", "x"], ['"x" is one word too many']),
], ids=lambda value: " ".join(value) if isinstance(value, list) else "")
def test_misuse_is_one_line_and_changes_nothing(catalog, arguments, words):
    catalog.fill()
    before = catalog.export()
    text = catalog.refused(*arguments)
    assert all(word in text for word in words), text
    assert catalog.export() == before


def test_a_command_that_is_refused_makes_no_catalog(tmp_path):
    catalog = Catalog(tmp_path, {})
    for arguments in (["source", "add", "x"], ["source", "list"], ["pipeline", "edit", "p", "--slot", "s"],
                      ["source", "remove", "x", "--yes"], ["pipeline", "add", "x"], ["export"]):
        catalog(*arguments)
    assert os.listdir(tmp_path) == []


def test_destinations_of_every_kind(catalog, tmp_path):
    catalog.ok("destination", "add", "files", "--to", f"file:{tmp_path}/a%3Fb?rotate_mb=3")
    assert catalog.json("destination", "show", "files")["settings"] == {
        "type": "file", "directory": f"{tmp_path}/a?b", "rotate_mb": 3, "rotate_seconds": 300}
    catalog.ok("destination", "add", "hook", "--to", "https://h.example.com/in?x=1&compression=zstd&token_env=TOKEN")
    assert catalog.json("destination", "show", "hook")["settings"] == {
        "type": "http", "http_url": "https://h.example.com/in?x=1", "http_timeout_ms": 30000, "http_retry_attempts": 3,
        "compression": "zstd", "token_env": "TOKEN"}
    catalog.ok("destination", "add", "single", "--type", "http", "--http-url", "https://h.example.com/", "--http-timeout-ms", "500")
    assert "has no directory" in catalog.refused("destination", "add", "x", "--type", "file")
    assert "has no http-url" in catalog.refused("destination", "add", "x", "--type", "http")
    assert "--warehouse is for destinations of type snowflake" in catalog.refused("destination", "edit", "files", "--warehouse", "w")
    document = catalog.ok("export")
    assert apply(catalog, document).stdout == "nothing differs\n"
    catalog.ok("destination", "edit", "hook", "--unset", "compression")
    assert "compression" not in catalog.json("destination", "show", "hook")["settings"]


# --- secrets -----------------------------------------------------------------------------------------------------------

def test_secrets_are_kept_and_never_shown(catalog):
    catalog.fill()
    done = catalog("source", "edit", "shop", "--password", SECRET)
    assert done.returncode == 0 and "can be seen by every user" in done.stderr
    done = catalog("destination", "edit", "sf", "--ask-passphrase", stdin=SECRET + "2\n")
    assert done.returncode == 0 and done.stderr == ""
    shown = []
    for arguments in (["source", "show", "shop"], ["source", "show", "shop", "--json"], ["source", "list", "--json"],
                      ["destination", "show", "sf"], ["destination", "show", "sf", "--json"], ["export"],
                      ["source", "add", "shop", "--url", SOURCE_URL]):
        done = catalog(*arguments)
        shown.append(done.stdout + done.stderr)
    assert SECRET not in "".join(shown)
    assert catalog.json("source", "show", "shop")["secrets"] == ["password"]
    assert catalog.json("destination", "show", "sf")["secrets"] == ["passphrase"]

    file = catalog.folder / "all.json"
    file.write_text(catalog.ok("export"))
    assert catalog.ok("apply", file) == "nothing differs\n"
    assert catalog.json("source", "show", "shop")["secrets"] == ["password"], "what is in no file stays"
    catalog.ok("source", "edit", "shop", "--unset", "password")
    assert catalog.json("source", "show", "shop")["secrets"] == []


def test_a_password_in_a_url_is_warned_of_and_hidden(catalog):
    url = SOURCE_URL.replace("etl@", f"etl:{SECRET}@")
    done = catalog("source", "add", "shop", "--url", url, "--no-check")
    assert done.returncode == 0 and "can be seen by every user" in done.stderr and SECRET not in done.stdout + done.stderr
    assert catalog.json("source", "show", "shop")["secrets"] == ["password"]


def test_a_prompt_does_not_echo(tmp_path):
    with Terminal(tmp_path, "source", "add", "shop", "--url", SOURCE_URL, "--no-check", "--ask-password") as terminal:
        terminal.read_until(lambda text: "password of source shop: " in text)
        os.write(terminal.near, (SECRET + "\n").encode())
        text = terminal.read_until(lambda text: "is added" in text)
        assert SECRET not in text
    assert Catalog(tmp_path, {}).json("source", "show", "shop")["secrets"] == ["password"]


def test_removal_asks_on_a_terminal(tmp_path):
    catalog = Catalog(tmp_path, {})
    catalog.fill()
    for answer, is_left in (("n\n", True), ("\n", True), ("y\n", False)):
        with Terminal(tmp_path, "pipeline", "remove", "p") as terminal:
            terminal.read_until(lambda text: "[y/N] " in text)
            os.write(terminal.near, answer.encode())
            terminal.read_until(lambda text: "nothing was changed" in text or "is removed" in text)
        assert bool(catalog.export()["pipelines"]) == is_left


# --- export and apply ----------------------------------------------------------------------------------------------------

def apply(catalog, document, *options, **more):
    file = catalog.folder / "file.json"
    file.write_text(document if isinstance(document, str) else json.dumps(document))
    return catalog("apply", file, *options, **more)


def test_what_was_exported_is_applied_elsewhere(catalog, tmp_path):
    catalog.fill()
    catalog.ok("pipeline", "edit", "p", "--on-slot-lost", "resync", "--slot", "mine")
    document = catalog.ok("export")
    (tmp_path / "other").mkdir()
    other = Catalog(tmp_path / "other", {})
    done = apply(other, document)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("+ source shop\n") and done.stdout.endswith("done\n")
    assert other.ok("export") == document
    assert apply(other, document).stdout == "nothing differs\n"


def test_apply_shows_and_makes_the_difference(catalog):
    catalog.fill()
    document = catalog.export()
    document["sources"]["shop"]["port"] = 7
    del document["destinations"]["sf"]["warehouse"]
    document["pipelines"]["p"]["merge_interval_seconds"] = 3
    document["pipelines"]["q"] = {"source": "shop", "destination": "sf", "status": "START"}
    before = catalog.export()
    dry = apply(catalog, document, "--dry-run")
    assert dry.returncode == 0
    for line in ("~ source shop\n    port: 1 -> 7\n", "~ destination sf\n    warehouse: WH -> (not set)\n",
                 "~ pipeline p\n    merge_interval_seconds: (not set) -> 3\n", "+ pipeline q\n", "    status: START\n"):
        assert line in dry.stdout, dry.stdout
    assert catalog.export() == before, "a dry run changes nothing"
    assert apply(catalog, document).returncode == 0
    after = catalog.export()
    assert after["sources"]["shop"]["port"] == 7 and "warehouse" not in after["destinations"]["sf"]
    assert after["pipelines"]["q"]["status"] == "START" and after["pipelines"]["p"]["merge_interval_seconds"] == 3

    document["pipelines"] = {}
    unasked = apply(catalog, document, "--prune")
    assert unasked.returncode == 2 and "--yes" in unasked.stderr
    assert set(catalog.export()["pipelines"]) == {"p", "q"}
    done = apply(catalog, document, "--prune", "--yes")
    assert done.stdout == "- pipeline p\n- pipeline q\ndone\n"
    assert catalog.export()["pipelines"] == {}


def test_a_secret_comes_from_a_variable(catalog):
    catalog.fill()
    document = catalog.export()
    document["sources"]["shop"]["password"] = {"env": "SHOP_PASSWORD"}
    assert "SHOP_PASSWORD is not set" in message_of(apply(catalog, document))
    done = apply(catalog, document, SHOP_PASSWORD=SECRET)
    assert done.returncode == 0 and "password: another one" in done.stdout and SECRET not in done.stdout
    assert catalog.json("source", "show", "shop")["secrets"] == ["password"]
    assert apply(catalog, document, SHOP_PASSWORD=SECRET).stdout == "nothing differs\n"


@pytest.mark.parametrize("document, words", [
    ("{", ["line 1"]),
    ("[]", ["no JSON object"]),
    ("{}", ['"version" must be 1']),
    ('{"version": 1, "pipeline": {}}', ['"pipeline" is not known here']),
    ('{"version": 1, "pipelines": {"p": {"bach_max_size": 1}}}', ['no setting "bach_max_size"', 'did you mean "batch_max_size"?']),
    ('{"version": 1, "pipelines": {"p": {"batch_max_size": 0}}}', ['batch_max_size is "0"', "1 to 1000000"]),
    ('{"version": 1, "pipelines": {"p": {"batch_max_size": []}}}', ["batch_max_size must be"]),
    ('{"version": 1, "pipelines": {"p": {"status": "STOP"}}}', ['status is "STOP"', "START or PAUSE"]),
    ('{"version": 1, "pipelines": {"q": {"source": "shop", "destination": "x"}}}', ['no destination "x"']),
    ('{"version": 1, "sources": {"shop": {"password": "x"}}}', ["a secret is not read from a file"]),
    ('{"version": 1, "sources": {"new one": {}}}', ['name is "new one"']),
    ('{"version": 1, "sources": {"shop": {"port": 1}}}', ["has no host"]),
    ('{"version": 1, "sources": {"a": {}, "a": {}}}', ["duplicate"]),
], ids=lambda value: value if isinstance(value, str) else "")
def test_a_file_that_is_wrong_changes_nothing(catalog, document, words):
    catalog.fill()
    before = catalog.export()
    done = apply(catalog, document)
    assert done.returncode == 2
    text = message_of(done)
    assert all(word in text for word in words), text
    assert catalog.export() == before


# --- the catalog's place -------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("variables, words", [
    ({"CONFIG_DB_PORT": "70000"}, ['CONFIG_DB_PORT is "70000"', "1 to 65535"]),
    ({"CONFIG_DB_HOST": "127.0.0.1", "CONFIG_DB_PORT": "1"}, ["catalog postgres@127.0.0.1:1/etl_config", "refused"]),
], ids=["port", "nobody listens"])
def test_a_catalog_that_cannot_be_reached(tmp_path, variables, words):
    done = run_command("source", "list", state=tmp_path / "state.db", **variables)
    assert done.returncode in (1, 2)
    assert all(word in message_of(done) for word in words), done.stderr


def test_a_database_that_is_missing(postgres, tmp_path):
    done = run_command("source", "list", state=tmp_path / "state.db", CONFIG_DB_PORT=postgres.port,
                       CONFIG_DB_HOST="127.0.0.1")
    assert done.returncode == 2
    assert 'database "etl_config" does not exist' in message_of(done) and "CREATE DATABASE" in done.stderr


def test_a_password_of_the_catalog_is_not_told(own_postgres, tmp_path):
    server = own_postgres.server
    server.sql("alter role postgres password 'right'")
    server.set_hba("host all all 127.0.0.1/32 scram-sha-256")
    server.program("pg_ctl", "reload", "-D", str(server.data))
    done = run_command("source", "list", state=tmp_path / "state.db", CONFIG_DB_PORT=server.port,
                       CONFIG_DB_HOST="127.0.0.1", CONFIG_DB_DATABASE="source", CONFIG_DB_PASSWORD=SECRET)
    assert done.returncode == 2 and "CONFIG_DB_PASSWORD" in message_of(done) and SECRET not in done.stderr
    done = run_command("source", "list", state=tmp_path / "state.db", CONFIG_DB_PORT=server.port,
                       CONFIG_DB_HOST="127.0.0.1", CONFIG_DB_DATABASE="source", CONFIG_DB_PASSWORD="right")
    assert done.returncode == 0, done.stderr


def test_a_file_of_the_working_directory_complements_the_environment(tmp_path):
    (tmp_path / ".env").write_text(f"ETL_STATE={tmp_path}/from-file.db\nSHOP=1\n")
    variables = environment(tmp_path / "x")
    subprocess.run([PROGRAM, "source", "add", "a", "--url", SOURCE_URL, "--no-check"], cwd=tmp_path, check=True,
                   env=variables, stdout=subprocess.DEVNULL)
    assert (tmp_path / "x").exists(), "the environment wins"
    del variables["ETL_STATE"]
    subprocess.run([PROGRAM, "source", "add", "b", "--url", SOURCE_URL, "--no-check"], cwd=tmp_path, check=True,
                   env=variables, stdout=subprocess.DEVNULL)
    assert (tmp_path / "from-file.db").exists()
    (tmp_path / ".env").write_text(f"ETL_STATE={SECRET}\noops {SECRET}\n")
    done = subprocess.run([PROGRAM, "source", "list"], cwd=tmp_path, env=variables, text=True, capture_output=True)
    assert done.returncode == 2 and ".env, line 2" in message_of(done) and SECRET not in done.stderr


def test_the_command_line_s_file_wins_over_a_database(tmp_path):
    done = run_command("source", "list", "--state", tmp_path / "other.db", state=tmp_path / "state.db",
                       CONFIG_DB_HOST="127.0.0.1", CONFIG_DB_PORT=1)
    assert done.returncode == 0, done.stderr


# --- at the source -------------------------------------------------------------------------------------------------------

def test_a_source_is_looked_at_and_added_all_the_same(catalog, source):
    source.sql("CREATE TABLE words (id int PRIMARY KEY); CREATE PUBLICATION etl FOR TABLE words")
    done = catalog("source", "add", "good", "--url", source.url())
    assert done.returncode == 0 and "cannot connect" not in done.stderr
    done = catalog("source", "add", "nobody", "--url", SOURCE_URL)
    assert done.returncode == 0 and "warning: cannot connect" in done.stderr
    done = catalog("source", "add", "lost", "--url", source.url(publication="nope"))
    assert done.returncode == 0 and 'publication "nope" does not exist' in done.stderr
    assert set(catalog.export()["sources"]) == {"good", "nobody", "lost"}


def test_a_publication_is_made(catalog, source):
    source.sql('CREATE TABLE words (id int PRIMARY KEY); CREATE SCHEMA s; CREATE TABLE s."two Words" (id int PRIMARY KEY);'
               "CREATE TABLE other (id int PRIMARY KEY)")
    said = catalog.ok("source", "add", "some", "--url", source.url(publication="some"), "--create-publication", "--tables",
                      "words,s.two Words")
    assert 'done on the source: CREATE PUBLICATION "some" FOR TABLE "public"."words", "s"."two Words"' in said
    assert source.sql("SELECT tablename FROM pg_publication_tables WHERE pubname = 'some' ORDER BY 1") == [("two Words",), ("words",)]
    told = catalog.json("source", "add", "all", "--url", source.url(publication="all"), "--create-publication")
    assert told["steps"] == ['done on the source: CREATE PUBLICATION "all" FOR ALL TABLES'] and told["message"] == "source all is added"
    assert source.value("SELECT puballtables FROM pg_publication WHERE pubname = 'all'") is True
    assert "is there already" in catalog.refused("source", "add", "again", "--url", source.url(publication="all"),
                                                 "--create-publication")
    assert '"public.nothing" does not exist' in catalog.refused(
        "source", "add", "lost", "--url", source.url(publication="lost"), "--create-publication", "--tables", "nothing",
        code=2)
    source.sql("CREATE ROLE weak LOGIN REPLICATION")
    try:
        refusal = catalog.refused("source", "add", "weak", "--url",
                                  source.url(publication="weak").replace("postgres@", "weak@"), "--create-publication")
        assert "only a superuser" in refusal and "--tables" in refusal
    finally:
        source.sql("DROP ROLE weak")
    assert set(catalog.export()["sources"]) == {"some", "all"}


def test_a_pipeline_of_the_catalog_is_checked(catalog, source, standin):
    source.sql("CREATE TABLE words (id int PRIMARY KEY); CREATE PUBLICATION etl FOR TABLE words")
    catalog.ok("source", "add", "s", "--url", source.url(), "--no-check")
    catalog.ok("destination", "add", "d", "--to", standin.to)
    catalog.ok("pipeline", "add", "p", "--source", "s", "--destination", "d")
    done = catalog("check", "p")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "table public.words -> " in done.stdout
    assert "0 missing" in done.stdout
    assert 'did you mean "p"?' in catalog.refused("check", "q")
    everything = catalog("check")
    assert everything.returncode == 0 and everything.stdout.startswith("pipeline p\n")
    source.sql("DROP PUBLICATION etl")
    done = catalog("check", "p")
    assert done.returncode == 1 and 'publication "etl" does not exist' in done.stdout
