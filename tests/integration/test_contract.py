"""The contract with operators of the first etl-stream, line by line: its environment, and its tables.

What a line allows and refuses stands here in figures of its own, not in those of the program.
"""
import dataclasses
import re
import subprocess

import pytest

from program import PROGRAM, environment, wait_until
from receiver import Receiver
from service import PostgresCatalog

SECRET = "s3cr3t-p4ssw0rd"


@dataclasses.dataclass(frozen=True)
class Variable:
    name: str
    good: tuple
    bad: tuple
    allowed: tuple     # words that a refusal must have
    beside: tuple = ()       # other variables that make it count
    may_be_secret: bool = False  # a token may be in it: a refusal shows no more than its beginning


VARIABLES = (
    Variable("CONFIG_DB_PORT", (), ("0", "65536", "-5432", "5432x", "port", "54 32", "1e3"), ("1 to 65535",)),
    Variable("PIPELINE_POLL_INTERVAL_SECS", ("1", "5", "3600"), ("0", "3601", "-1", "five", "5s", "1.5", "99999999999999999999"),
             ("1 to 3600",)),
    Variable("WAL_POLL_INTERVAL_SECS", ("10", "60", "86400"), ("9", "86401", "0", "-60", "1m"), ("10 to 86400",)),
    Variable("WARNING_WAL", ("1", "5999"), ("0", "-1", "3GB", "3000.5"), ("1 to",)),
    Variable("WARNING_WAL", (), ("6000", "7000"), ("DANGER_WAL", "greater than")),
    Variable("DANGER_WAL", ("3001", "100000"), ("0", "-1", "6GB"), ("1 to",)),
    Variable("DANGER_WAL", (), ("3000", "2999"), ("WARNING_WAL", "greater than")),
    Variable("WAL_MAX_CONCURRENT_CHECKS", ("1", "20", "50"), ("0", "-1", "many"), ("1 to",)),
    Variable("WAL_MAX_CONNECTION_POOLS", ("1", "50"), ("0", "-1", "2.5"), ("1 to",)),
    Variable("ALERT_WAL_URL", ("http://127.0.0.1:1/alerts", "https://alerts.example.com/wal?team=data"),
             ("ftp://127.0.0.1/alerts", "alerts.example.com", "http://", "not a url"), ("http",), may_be_secret=True),
    Variable("TIME_CHECK_NOTIFICATION", ("1", "10", "1440"), ("0", "1441", "-1", "ten"), ("1 to 1440",)),
    *(Variable(name, ("off", "127.0.0.1:0", "localhost:0", ":0", "[::1]:0"),
               ("nonsense", "127.0.0.1", "127.0.0.1:65536", "127.0.0.1:-1", "127.0.0.1:port", "[::1:9000", "1.2.3.4.5:9000", "192.0.2.1:9000"),
               ("HOST:PORT",)) for name in ("METRICS_ADDR", "HEALTH_ADDR")),
)


def run(folder, seconds=30, without=None, **variables):
    """The service in a folder; how it ended, or None when it runs (it is ended then). without: a variable that is not set."""
    given = {name: value for name, value in environment(folder / "state.db", **variables).items() if name != without}
    process = subprocess.Popen([PROGRAM, "run"], env=given, cwd=folder, text=True,
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    lines = []
    try:
        for line in process.stderr:
            lines.append(line)
            if '"event":"starting"' in line:
                process.terminate()
                break
        rest = process.stderr.read()
        code = process.wait(seconds)
        return (None if code == 0 else code), "".join(lines) + rest
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("where", ["environment", ".env"])
@pytest.mark.parametrize("variable", VARIABLES, ids=lambda one: one.name)
def test_bad_values_are_refused_by_name_and_good_ones_taken(tmp_path, variable, where):
    def start(value):
        file, given = tmp_path / ".env", dict(variable.beside)
        file.unlink(missing_ok=True)
        if where == ".env":
            file.write_text(f"# as docker-compose has it\n{variable.name}='{value}'\n")
        else:
            given[variable.name] = value
            file.write_text(f"{variable.name}=nonsense\n")  # the environment wins
        return run(tmp_path, without=variable.name if where == ".env" else None, **given)
    for value in variable.good:
        code, said = start(value)
        assert code is None, (value, said)
    for value in variable.bad:
        code, said = start(value)
        assert code == 2, (value, code, said)
        assert variable.name in said and (variable.may_be_secret or value in said), (value, said)
        assert all(word in said for word in variable.allowed), (value, said)
        assert len(said.splitlines()) == 1, said


# The contract's table; None: no default.
DEFAULTS = {
    "CONFIG_DB_HOST": "localhost", "CONFIG_DB_PORT": "5432", "CONFIG_DB_DATABASE": "etl_config", "CONFIG_DB_USERNAME": "postgres",
    "CONFIG_DB_PASSWORD": None, "PIPELINE_POLL_INTERVAL_SECS": "5", "WAL_POLL_INTERVAL_SECS": "60", "WARNING_WAL": "3000", "DANGER_WAL": "6000",
    "WAL_MAX_CONCURRENT_CHECKS": "20", "WAL_MAX_CONNECTION_POOLS": "50", "ALERT_WAL_URL": None, "TIME_CHECK_NOTIFICATION": "10",
    "METRICS_ADDR": "[::]:9000", "HEALTH_ADDR": "[::]:8080"}


def test_defaults_are_the_contracts(tmp_path):
    page = subprocess.run([PROGRAM, "help", "configuration"], text=True, capture_output=True, check=True).stdout
    told = {name: default or None for name, default in re.findall(r"(?m)^\| `(\w+)` \| (?:`([^`]*)`)? *\|", page)}
    assert {name: told.get(name, "not told") for name in DEFAULTS} == DEFAULTS
    for name, port in (("METRICS_ADDR", 9000), ("HEALTH_ADDR", 8080)):
        code, said = run(tmp_path, without=name)
        # Whether it may listen there or somebody else does: it is that address.
        assert (code is None and f":{port} " in said) or (code == 2 and f'{name} is "[::]:{port}"' in said), said


def test_the_configuration_database_is_the_one_that_is_named(postgres, tmp_path):
    """Each variable of it counts, and each has the contract's default."""
    postgres.create_database("etl_config")
    postgres.create_database("contract_other")
    postgres.sql(f"CREATE ROLE contract_user LOGIN SUPERUSER PASSWORD '{SECRET}'")
    try:
        # Any of them set: localhost, etl_config, postgres.
        code, said = run(tmp_path, CONFIG_DB_PORT=postgres.port)
        assert code is None and f"catalog postgres@localhost:{postgres.port}/etl_config" in said, said
        assert not (tmp_path / "state.db").exists()
        (tmp_path / ".env").write_text(f"CONFIG_DB_HOST=127.0.0.1\nCONFIG_DB_PORT={postgres.port}\nCONFIG_DB_DATABASE=contract_other\n"
                                       f"CONFIG_DB_USERNAME=contract_user\nCONFIG_DB_PASSWORD={SECRET}\n")
        code, said = run(tmp_path)
        assert code is None and f"catalog contract_user@127.0.0.1:{postgres.port}/contract_other" in said and SECRET not in said, said
        code, said = run(tmp_path, CONFIG_DB_DATABASE="contract_nowhere")  # the environment wins
        assert code == 2 and "contract_nowhere" in said and "CONFIG_DB_DATABASE" in said and SECRET not in said, said
        code, said = run(tmp_path, CONFIG_DB_USERNAME="contract_nobody")
        assert code == 2 and "contract_nobody" in said and "CONFIG_DB_USERNAME" in said and SECRET not in said, said
        code, said = run(tmp_path, CONFIG_DB_HOST="no-such-host.invalid")  # it may be known later: another kind of end
        assert code == 1 and "no-such-host.invalid" in said and "CONFIG_DB_HOST" in said and SECRET not in said, said
        (tmp_path / ".env").unlink()
        # An empty one is none, as in docker-compose files.
        code, said = run(tmp_path, CONFIG_DB_HOST="", CONFIG_DB_PASSWORD="")
        assert code is None and (tmp_path / "state.db").exists(), said
    finally:
        postgres.drop_database("etl_config")
        postgres.drop_database("contract_other")
        postgres.sql("DROP ROLE contract_user")


# --- tables ------------------------------------------------------------------------------------------------------------

TEXT = ("character varying", "text")
# column: (types, default or None, nullable or None where the contract says nothing)
TABLES = {
    "sources": {
        "id": (("integer",), "nextval", False), "name": (("character varying(255)",), None, False), "pg_host": (TEXT, None, False),
        "pg_port": (("integer",), "5432", None), "pg_database": (TEXT, None, False), "pg_username": (TEXT, None, False),
        "pg_password": (TEXT, None, True), "pg_tls_enabled": (("boolean",), "false", None), "publication_name": (TEXT, None, False),
        "created_at": (("timestamp",), "CURRENT_TIMESTAMP", None), "updated_at": (("timestamp",), "CURRENT_TIMESTAMP", None)},
    "destinations": {
        "id": (("integer",), "nextval", False), "name": (TEXT, None, False), "destination_type": (TEXT, None, False),
        **{f"snowflake_{name}": (TEXT, None, True) for name in (
            "account", "user", "database", "schema", "warehouse", "role", "private_key_path", "private_key_passphrase", "host")},
        "snowflake_landing_schema": (TEXT, "'ETL_SCHEMA'", None), "snowflake_task_schedule_minutes": (("integer",), "60", None),
        "http_url": (TEXT, None, True), "http_timeout_ms": (("bigint",), "30000", None), "http_retry_attempts": (("integer",), "3", None),
        "created_at": (("timestamp",), "CURRENT_TIMESTAMP", None), "updated_at": (("timestamp",), "CURRENT_TIMESTAMP", None)},
    "pipelines": {
        "id": (("integer",), "nextval", False), "name": (TEXT, None, False), "source_id": (("integer",), None, False),
        "destination_id": (("integer",), None, False), "status": (("character varying(20)",), "'PAUSE'", None),
        "batch_max_size": (("integer",), "1000", None), "batch_max_fill_ms": (("bigint",), "5000", None),
        "table_error_retry_delay_ms": (("bigint",), "10000", None), "table_error_retry_max_attempts": (("integer",), "5", None),
        "max_table_sync_workers": (("integer",), "4", None), "id_pipeline": (("bigint",), "0", None),
        "created_at": (("timestamp",), "CURRENT_TIMESTAMP", None), "updated_at": (("timestamp",), "CURRENT_TIMESTAMP", None)},
}
COLUMNS = """
SELECT a.attname, format_type(a.atttypid, a.atttypmod), pg_get_expr(d.adbin, d.adrelid), NOT a.attnotnull
FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE a.attrelid = %s::regclass AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum"""
INDEXES = """
SELECT i.indrelid::regclass::text, array_agg(a.attname::text ORDER BY a.attnum), i.indisprimary, i.indisunique
FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)
WHERE i.indrelid::regclass::text IN ('sources', 'destinations', 'pipelines') GROUP BY 1, 3, 4, i.indexrelid"""
REFERENCES = """
SELECT conrelid::regclass::text, pg_get_constraintdef(oid) FROM pg_constraint WHERE contype = 'f' AND conrelid = 'pipelines'::regclass"""


def test_the_tables_of_a_new_database_are_the_contracts(postgres, tmp_path):
    catalog = PostgresCatalog(postgres, "contract_new")
    try:
        code, said = run(tmp_path, **catalog.environment)
        assert code is None, said
        for table, columns in TABLES.items():
            found = {name: (kind, default, is_nullable) for name, kind, default, is_nullable
                     in postgres.sql(COLUMNS, [table], dbname=catalog.database)}
            assert list(found) == list(columns) or set(found) == set(columns), table
            for name, (kinds, default, is_nullable) in columns.items():
                kind, has_default, may_be_null = found[name]
                assert kind.startswith(kinds), (table, name, kind)
                assert (has_default or "").startswith(default or "") and bool(default) == bool(has_default), (table, name, has_default)
                assert is_nullable in (None, may_be_null), (table, name)
        indexes = {(table, tuple(names), primary, unique) for table, names, primary, unique
                   in postgres.sql(INDEXES, dbname=catalog.database)}
        for table in TABLES:
            assert {(table, ("id",), True, True), (table, ("name",), False, True)} <= indexes, indexes
        for column in ("status", "source_id", "destination_id"):
            assert ("pipelines", (column,), False, False) in indexes, indexes
        references = dict(reversed(row) for row in postgres.sql(REFERENCES, dbname=catalog.database))
        assert set(references) == {"FOREIGN KEY (source_id) REFERENCES sources(id) ON DELETE CASCADE",
                                   "FOREIGN KEY (destination_id) REFERENCES destinations(id) ON DELETE CASCADE"}
    finally:
        postgres.drop_database(catalog.database)


# As the first etl-stream makes it: the contract's columns and nothing else, in types and with names of indexes of its own.
FIRST = """
CREATE TABLE sources (
    id SERIAL PRIMARY KEY, name VARCHAR(255) NOT NULL UNIQUE, pg_host VARCHAR(255) NOT NULL, pg_port INTEGER NOT NULL DEFAULT 5432,
    pg_database VARCHAR(255) NOT NULL, pg_username VARCHAR(255) NOT NULL, pg_password TEXT, pg_tls_enabled BOOLEAN NOT NULL DEFAULT false,
    publication_name VARCHAR(255) NOT NULL, created_at TIMESTAMP DEFAULT NOW(), updated_at TIMESTAMP DEFAULT NOW());
CREATE TABLE destinations (
    id SERIAL PRIMARY KEY, name VARCHAR(255) NOT NULL UNIQUE,
    destination_type VARCHAR(50) NOT NULL CHECK (destination_type IN ('snowflake', 'http')), snowflake_account VARCHAR(255),
    snowflake_user VARCHAR(255), snowflake_database VARCHAR(255), snowflake_schema VARCHAR(255), snowflake_warehouse VARCHAR(255),
    snowflake_role VARCHAR(255), snowflake_private_key_path TEXT, snowflake_private_key_passphrase TEXT,
    snowflake_landing_schema VARCHAR(255) DEFAULT 'ETL_SCHEMA', snowflake_task_schedule_minutes INTEGER DEFAULT 60,
    snowflake_host VARCHAR(255), http_url TEXT, http_timeout_ms BIGINT DEFAULT 30000, http_retry_attempts INTEGER DEFAULT 3,
    created_at TIMESTAMP DEFAULT NOW(), updated_at TIMESTAMP DEFAULT NOW());
CREATE TABLE pipelines (
    id SERIAL PRIMARY KEY, name VARCHAR(255) NOT NULL UNIQUE, source_id INTEGER NOT NULL REFERENCES sources(id) ON DELETE CASCADE,
    destination_id INTEGER NOT NULL REFERENCES destinations(id) ON DELETE CASCADE, status VARCHAR(20) NOT NULL DEFAULT 'PAUSE',
    batch_max_size INTEGER NOT NULL DEFAULT 1000, batch_max_fill_ms BIGINT NOT NULL DEFAULT 5000,
    table_error_retry_delay_ms BIGINT NOT NULL DEFAULT 10000, table_error_retry_max_attempts INTEGER NOT NULL DEFAULT 5,
    max_table_sync_workers INTEGER NOT NULL DEFAULT 4, id_pipeline BIGINT NOT NULL DEFAULT 0,
    created_at TIMESTAMP DEFAULT NOW(), updated_at TIMESTAMP DEFAULT NOW());
CREATE INDEX pipelines_by_status ON pipelines (status);
CREATE INDEX pipelines_by_source ON pipelines (source_id);
CREATE INDEX pipelines_by_destination ON pipelines (destination_id);
"""


@pytest.fixture
def receiver():
    receiver = Receiver()
    yield receiver
    receiver.close()


def test_a_command_is_heard_at_once_where_the_catalog_is_postgresql(postgres, source, receiver, start_service):
    """By NOTIFY: the next look would be in an hour."""
    catalog = start_service.catalog = PostgresCatalog(postgres, "contract_heard")
    try:
        source.sql("CREATE TABLE one (id int PRIMARY KEY); CREATE PUBLICATION etl FOR TABLE one")
        service = start_service(PIPELINE_POLL_INTERVAL_SECS=3600)
        for command in (("source", "add", "shop", "--url", source.url(), "--no-check"), ("destination", "add", "out", "--to", receiver.url("/heard")),
                        ("pipeline", "add", "orders", "--source", "shop", "--destination", "out", "--start")):
            done = service.command(*command)
            assert done.returncode == 0, done
        service.wait_for_event("live", 60)
        paused = service.command("pipeline", "pause", "orders")
        assert paused.returncode == 0 and "is paused" in paused.stdout, paused
        assert service.terminate() == 0
    finally:
        postgres.drop_database(catalog.database)


def test_a_database_of_the_first_etl_stream_works_as_it_is(postgres, source, receiver, start_service):
    catalog = start_service.catalog = PostgresCatalog(postgres, "contract_first")
    try:
        postgres.sql(FIRST, dbname=catalog.database)
        source.sql("CREATE TABLE one (id int PRIMARY KEY); CREATE TABLE two (id int PRIMARY KEY); CREATE PUBLICATION etl FOR TABLE one")
        catalog.execute("INSERT INTO sources (name, pg_host, pg_port, pg_database, pg_username, publication_name) "
                        "VALUES ('shop', '127.0.0.1', ?, ?, 'postgres', 'etl')", (postgres.port, source.name))
        catalog.execute("INSERT INTO destinations (name, destination_type, http_url) VALUES ('out', 'http', ?)", (receiver.url("/first"),))
        before = {table: postgres.sql(COLUMNS, [table], dbname=catalog.database) for table in TABLES}
        service = start_service(PIPELINE_POLL_INTERVAL_SECS=1)

        def is_active():
            return source.value("SELECT bool_or(active) FROM pg_replication_slots WHERE database = current_database()")

        def rows(table):
            return sorted({row["ID"] for row in receiver.rows(table)})
        # Inserted: the default is PAUSE, and nothing starts.
        catalog.execute("INSERT INTO pipelines (name, source_id, destination_id) VALUES "
                        "('orders', (SELECT id FROM sources), (SELECT id FROM destinations))")
        service.wait_for_state("orders", "paused", 30)
        assert is_active() is None
        catalog.execute("UPDATE pipelines SET status = 'START'")
        service.wait_for_event("live", 30)
        source.sql("INSERT INTO one VALUES (1)")
        wait_until(lambda: rows("one") == [1], 30, "the row")
        # A table that the publication gains comes by itself.
        source.sql("INSERT INTO two VALUES (1)")
        source.sql("ALTER PUBLICATION etl ADD TABLE two")
        wait_until(lambda: rows("two") == [1], 30, "the table that was added")
        catalog.execute("UPDATE pipelines SET status = 'PAUSE'")
        service.wait_for_state("orders", "paused", 30)
        wait_until(lambda: is_active() is False, 30, "the slot to be left")
        source.sql("INSERT INTO one VALUES (2)")
        catalog.execute("UPDATE pipelines SET status = 'START'")
        wait_until(lambda: rows("one") == [1, 2], 30, "the row of meanwhile")
        # Changed, in each of the three tables: it starts again with the change.
        for change in ("UPDATE pipelines SET batch_max_size = 10", "UPDATE sources SET pg_host = 'localhost'",
                       f"UPDATE destinations SET http_url = '{receiver.url('/second')}'"):
            mark = service.mark()
            catalog.execute(change)
            service.wait_for_event("changed", 30, since=mark)
            service.wait_for_event("streaming", 30, since=mark)
        source.sql("INSERT INTO one VALUES (3)")
        wait_until(lambda: rows("one") == [1, 2, 3], 30, "the row after the changes")
        assert "/second" in {post.path for post in receiver.of("stream", "copy") if any(row["ID"] == 3 for row in post.rows)}
        # Deleted, by the cascade of its source.
        catalog.execute("DELETE FROM sources")
        wait_until(lambda: is_active() is False, 30, "the pipeline to stop")
        wait_until(lambda: (service.status()["pipelines"], service.status()["sources"]) == ([], []), 60, "both to be gone from the status")
        assert service.terminate() == 0
        assert before == {table: postgres.sql(COLUMNS, [table], dbname=catalog.database) for table in TABLES}, "its tables were changed"
    finally:
        postgres.drop_database(catalog.database)
