"""Every finding of `check`: provoked at a role, a server or a stand-in that lacks just that; its statement is executed as it was printed,
and it is gone. One server and one stand-in for all of it. What a server of these tests cannot be brought to is in tests/unit/test_judge.c.
"""
import json
import pathlib
import re
import socket
import struct
import threading
import urllib.parse

import psycopg
import pytest

import versions
from pgserver import PgServer
from program import run_command, wait_until
from snowflake_client import Snowflake
from standin import ROOT, StandIn

SETTINGS = {"max_replication_slots": 6, "max_wal_senders": 8, "max_connections": 60, "max_slot_wal_keep_size": "100GB",
            "wal_sender_timeout": "60s", "superuser_reserved_connections": 3}


def look(state, *arguments, **more):
    done = run_command("check", *arguments, "--json", state=state, **more)
    assert done.stderr == "" or done.returncode != 0, done.stderr
    return done.returncode, json.loads(done.stdout)["pipelines"][0]


def findings(report, code):
    return [finding for finding in report["findings"] if finding["code"] == code]


def assert_whole(finding):
    assert finding["what"] and finding["why"] and finding["where"], finding
    assert finding["doc"].startswith("docs/check.md#"), finding
    assert (finding["statement"] is None) == (finding["run_as"] is None), finding


# --- the source ------------------------------------------------------------------------------------------------------


class Shop:
    """A database in which all is right for the role etl."""

    def __init__(self, server, state):
        self.server, self.state = server, state

    def sql(self, text):
        return self.server.sql(text, dbname="shop")

    def url(self, user="etl", database="shop", **query):
        return self.server.url(database, publication="etl", **query).replace("postgres@", f"{user}@")

    def check(self, *options):
        """Alone: connections that are ending count against limits."""
        wait_until(lambda: self.server.value("SELECT count(*) FROM pg_stat_activity WHERE datname = 'shop'") == 0, 60, "the server to be left")
        return look(self.state, "--from", self.url(), *options)


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    with PgServer(SETTINGS) as server:
        server.create_database("shop")
        shop = Shop(server, tmp_path_factory.mktemp("check") / "state.db")
        shop.sql("""
            CREATE ROLE etl LOGIN REPLICATION; GRANT pg_read_all_stats TO etl;
            CREATE SCHEMA sales; GRANT USAGE ON SCHEMA sales TO etl;
            CREATE TABLE sales."Wo rds" (id int PRIMARY KEY, word text); INSERT INTO sales."Wo rds" VALUES (1, 'one');
            GRANT SELECT ON sales."Wo rds" TO etl;
            CREATE PUBLICATION etl FOR TABLE sales."Wo rds" """)
        yield shop


class Case:
    """before: makes it so. undo: where the statement is none, or leaves something behind."""

    def __init__(self, code, before, *words, severity="error", undo="", mended_by=None, since=14, options=(), reloads=False):
        self.code, self.before, self.words, self.severity, self.undo = code, before, words, severity, undo
        self.mended_by = mended_by  # instead of a statement, which there is none for
        self.since, self.options, self.reloads = since, options, reloads


def new_table(definition, more=""):
    return f"CREATE TABLE sales.t {definition}; GRANT SELECT ON sales.t TO etl; {more} ALTER PUBLICATION etl ADD TABLE sales.t"


DROP = "DROP TABLE sales.t"
PARTS = """CREATE TABLE sales.t (id int PRIMARY KEY) PARTITION BY RANGE (id);
           CREATE TABLE sales."t 1" PARTITION OF sales.t FOR VALUES FROM (0) TO (10); GRANT SELECT ON sales.t TO etl;
           ALTER PUBLICATION etl ADD TABLE sales.t;"""
OWN_CATALOG = ("etl_catalog", "etl_pipelines", "etl_channels", "sources", "destinations", "pipelines")
NO_PARTS = "ALTER PUBLICATION etl SET (publish_via_partition_root = false);" + DROP


def parts(key, more, kind=""):
    """Published as a whole."""
    return f"""CREATE TABLE sales.t (id int NOT NULL, n int NOT NULL{key}) PARTITION BY RANGE (id);
               CREATE {kind} TABLE sales."t 1" PARTITION OF sales.t FOR VALUES FROM (0) TO (10); GRANT SELECT ON sales.t, sales."t 1" TO etl; {more};
               ALTER PUBLICATION etl ADD TABLE sales.t; ALTER PUBLICATION etl SET (publish_via_partition_root = true)"""


# From 18 on they can be published.
GENERATED = ({"undo": "ALTER PUBLICATION etl SET (publish_generated_columns = none);" + DROP} if versions.MAJOR >= 18
             else {"mended_by": DROP})
SOURCE_CASES = [
    Case("no_login", "ALTER ROLE etl NOLOGIN", 'ALTER ROLE "etl" LOGIN'),
    Case("no_connect", "REVOKE CONNECT ON DATABASE shop FROM public", 'GRANT CONNECT ON DATABASE "shop" TO "etl"'),
    Case("connection_limit", "ALTER ROLE etl CONNECTION LIMIT 0", "CONNECTION LIMIT -1"),
    Case("connection_limit", "ALTER ROLE etl CONNECTION LIMIT 4", "CONNECTION LIMIT -1", severity="warning"),
    Case("no_replication", "ALTER ROLE etl NOREPLICATION", 'ALTER ROLE "etl" REPLICATION'),
    Case("password_expires", "DO $$BEGIN EXECUTE format('ALTER ROLE etl VALID UNTIL %L', now() + interval '10 days'); END$$",
         "VALID UNTIL 'infinity'", severity="warning"),
    Case("superuser", "ALTER ROLE etl SUPERUSER", severity="note", mended_by="ALTER ROLE etl NOSUPERUSER"),
    Case("stats_hidden", "REVOKE pg_read_all_stats FROM etl", "GRANT pg_read_all_stats", severity="note"),
    Case("row_security", 'ALTER TABLE sales."Wo rds" ENABLE ROW LEVEL SECURITY', 'ALTER ROLE "etl" BYPASSRLS',
         undo='ALTER ROLE etl NOBYPASSRLS; ALTER TABLE sales."Wo rds" DISABLE ROW LEVEL SECURITY'),
    Case("no_usage", "REVOKE USAGE ON SCHEMA sales FROM etl", 'GRANT USAGE ON SCHEMA "sales" TO "etl"'),
    Case("no_select", 'REVOKE SELECT ON sales."Wo rds" FROM etl', 'GRANT SELECT ON TABLE "sales"."Wo rds" TO "etl"'),
    Case("no_select", 'REVOKE SELECT ON sales."Wo rds" FROM etl; GRANT SELECT (id) ON sales."Wo rds" TO etl', "some of its columns"),
    Case("no_select_parts", PARTS + "ALTER PUBLICATION etl SET (publish_via_partition_root = true)", 'sales."t 1"',
         undo=NO_PARTS),
    Case("partition_alone", PARTS + 'GRANT SELECT ON sales."t 1" TO etl', "publish_via_partition_root = true", severity="note",
         undo=NO_PARTS),
    Case("partition_identity", parts(", PRIMARY KEY (id)", """CREATE UNIQUE INDEX odd ON sales."t 1" (n);
         ALTER TABLE sales."t 1" REPLICA IDENTITY USING INDEX odd"""), 'ALTER TABLE sales."t 1" REPLICA IDENTITY FULL', undo=NO_PARTS),
    Case("partition_identity", parts("", 'ALTER TABLE sales."t 1" ADD PRIMARY KEY (id)'), "append-only",
         'ALTER TABLE "sales"."t" REPLICA IDENTITY FULL; ALTER TABLE sales."t 1" REPLICA IDENTITY FULL', severity="warning", undo=NO_PARTS),
    Case("partition_unsent", parts(", PRIMARY KEY (id)", "", "UNLOGGED"), 'sales."t 1"', severity="warning", mended_by=NO_PARTS),
    Case("publication_missing", "DROP PUBLICATION etl; CREATE PUBLICATION other", 'CREATE PUBLICATION "etl" FOR TABLE sales."Wo rds"',
         "there are other", undo="DROP PUBLICATION other"),
    Case("publication_empty", 'ALTER PUBLICATION etl DROP TABLE sales."Wo rds"', 'ADD TABLE sales."Wo rds"'),
    Case("publication_partial", "ALTER PUBLICATION etl SET (publish = 'insert, update')", "DELETE TRUNCATE", severity="warning"),
    Case("tables_pattern", "SELECT 1", "nothing.*", severity="warning", options=("--tables", "sales.*,nothing.*"), mended_by="SELECT 1"),
    Case("tables_none", "SELECT 1", "nothing.*", options=("--tables", "nothing.*"), mended_by="SELECT 1"),
    Case("row_filter", 'ALTER PUBLICATION etl SET TABLE sales."Wo rds" WHERE (id > 0)', "(id > 0)", severity="note", since=15,
         mended_by='ALTER PUBLICATION etl SET TABLE sales."Wo rds"'),
    Case("column_list", 'ALTER PUBLICATION etl SET TABLE sales."Wo rds" (id)', "word", severity="note", since=15,
         mended_by='ALTER PUBLICATION etl SET TABLE sales."Wo rds"'),
    Case("generated_columns", new_table("(id int PRIMARY KEY, twice int GENERATED ALWAYS AS (id * 2) STORED)"), "twice",
         severity="note", **GENERATED),
    Case("own_catalog", "".join(f"CREATE TABLE sales.{name} (id int PRIMARY KEY);" for name in OWN_CATALOG) + "ALTER PUBLICATION etl ADD TABLE sales.sources",
         "schema sales", severity="note", mended_by="".join(f"DROP TABLE sales.{name};" for name in OWN_CATALOG)),
    Case("no_columns", new_table("()"), "no published column", mended_by=DROP),
    Case("append_only", new_table("(id int)"), 'ALTER TABLE "sales"."t" REPLICA IDENTITY FULL', severity="warning", undo=DROP),
    Case("append_only", new_table("(id int PRIMARY KEY)", "ALTER TABLE sales.t REPLICA IDENTITY NOTHING;"), "REPLICA IDENTITY DEFAULT",
         severity="warning", undo=DROP),
    Case("no_identity", new_table("(id int PRIMARY KEY DEFERRABLE)", "INSERT INTO sales.t VALUES (1); UPDATE sales.t SET id = 2;"),
         "REPLICA IDENTITY FULL", "deferrable", "1 updates", severity="warning", undo=DROP),
    Case("multiset", new_table("(id int)", "ALTER TABLE sales.t REPLICA IDENTITY FULL;"), "equal rows", severity="warning", mended_by=DROP),
    Case("numeric_unbounded", new_table('(id int PRIMARY KEY, "a ""b" numeric, c numeric(10, 2), d numeric)'),
         'ALTER COLUMN "a ""b" TYPE numeric(38, 9), ALTER COLUMN "d" TYPE numeric(38, 9)', severity="warning", undo=DROP),
    Case("numeric_wide", new_table("(id int PRIMARY KEY, n numeric(50, 2))"), '"n" (numeric(50,2))', severity="note", mended_by=DROP),
    Case("types_as_text", new_table("(id int PRIMARY KEY, i interval, r int4range, a int[], p point, j jsonb)"),
         '"i" (interval), "r" (int4range), "p" (point)', severity="note", mended_by=DROP),
    Case("toast", new_table("(id int PRIMARY KEY, t text)", """INSERT INTO sales.t VALUES (1, ''); UPDATE sales.t SET t = 'x';
         UPDATE pg_class SET relpages = 5000 WHERE oid = (SELECT reltoastrelid FROM pg_class WHERE oid = 'sales.t'::regclass);"""),
         "about 39 of", severity="note", mended_by=DROP),
    Case("prepared_transaction", "BEGIN; INSERT INTO sales.\"Wo rds\" VALUES (2, 'two'); PREPARE TRANSACTION 'it''s'",
         "ROLLBACK PREPARED 'it''s'", "in database shop", severity="warning"),
    Case("slot_exists", "SELECT pg_create_logical_replication_slot('etl_shop_etl', 'pgoutput')", "pg_drop_replication_slot('etl_shop_etl')"),
    Case("slot_of_others", "SELECT pg_create_physical_replication_slot('etl_shop_etl')", "not a pgoutput slot",
         mended_by="SELECT pg_drop_replication_slot('etl_shop_etl')"),
    Case("failover_copies", "SELECT pg_create_physical_replication_slot('standby')", "standby", severity="note",
         mended_by="SELECT pg_drop_replication_slot('standby')"),
    Case("slot_without_limit", "ALTER SYSTEM SET max_slot_wal_keep_size = -1", "= '100GB'", severity="warning", reloads=True),
    Case("slot_limit_small", "ALTER SYSTEM SET max_slot_wal_keep_size = '64MB'", "64 MB", severity="warning", reloads=True),
    Case("sender_timeout", "ALTER SYSTEM SET wal_sender_timeout = '5s'", "5000 ms", "= '60s'", severity="warning", reloads=True),
    Case("sender_timeout", "ALTER SYSTEM SET wal_sender_timeout = 0", severity="note", reloads=True),
    Case("decoding_memory", "SELECT 1", "256 MB", severity="note", options=("--decoding-work-mem-kb", "262144"), mended_by="SELECT 1"),
]


def reload(shop, case):
    if not case.reloads:
        return
    before = shop.server.value("SELECT pg_conf_load_time()")
    shop.server.reload()
    wait_until(lambda: shop.server.value("SELECT pg_conf_load_time()") != before, 30, "the server has read its settings")


def run_alone(shop, text):
    """Statements that must not share a transaction, as they stand."""
    with psycopg.connect(shop.server.url("shop"), autocommit=True) as connection:
        connection.execute(text)


def marks_of(case):
    since = [versions.since(case.since, case.code)] if case.since > 14 else []
    return since + ([versions.before(17, "slots do not survive a failover")] if case.code == "failover_copies" else [])


@pytest.mark.parametrize("case", [pytest.param(case, marks=marks_of(case), id=f"{case.code} {case.severity}") for case in SOURCE_CASES])
def test_a_finding_of_the_source_is_mended_by_its_statement(shop, case):
    run_alone(shop, case.before) if "ALTER SYSTEM" in case.before else shop.sql(case.before)
    reload(shop, case)
    try:
        found = []

        def is_found():
            # Counts of updates reach the statistics a little later.
            found[:] = [finding for finding in findings(shop.check(*case.options)[1], case.code) if finding["severity"] == case.severity]
            return found

        wait_until(is_found, 30, f"check finds {case.code}")
        assert len(found) == 1
        assert_whole(found[0])
        text = " ".join(str(found[0][name]) for name in ("what", "statement"))
        for word in case.words:
            assert word in text, (word, text)
        code, report = shop.check(*case.options)
        assert code == (1 if report["errors"] else 0) and (case.severity != "error" or code == 1)
        assert found[0]["severity"] == min((one["severity"] for one in findings(report, case.code)), key=("error", "warning", "note").index)
        if case.mended_by is None:
            run_alone(shop, found[0]["statement"])
            reload(shop, case)
            assert findings(shop.check(*case.options)[1], case.code) == []
        else:
            assert found[0]["statement"] is None
    finally:
        shop.sql(case.mended_by or case.undo or "SELECT 1")
        if case.reloads:
            for name in ("max_slot_wal_keep_size", "wal_sender_timeout"):
                run_alone(shop, f"ALTER SYSTEM RESET {name}")
            reload(shop, case)
    code, report = shop.check()
    assert code == 0 and {finding["code"] for finding in report["findings"]} <= {"old_minor"}, report["findings"]


def test_what_has_to_be_right_at_the_servers_start(shop):
    """Settings that take a restart are mended by their statements, together."""
    provoked = {"max_replication_slots": 1, "max_wal_senders": 1, "max_connections": 6, "wal_level": "replica"}
    for name, value in provoked.items():
        run_alone(shop, f"ALTER SYSTEM SET {name} = '{value}'")
    shop.server.stop()
    shop.server.start()
    shop.sql("SELECT pg_create_physical_replication_slot('taken')")
    report = shop.check()[1]
    codes = ("wal_level", "no_free_slot", "wal_senders", "connections")
    for code in codes:
        (finding,) = findings(report, code)
        assert_whole(finding)
        run_alone(shop, finding["statement"])
    shop.server.stop()
    shop.server.start()
    report = shop.check()[1]
    assert report["errors"] == 0 and not any(findings(report, code) for code in codes), report["findings"]
    shop.sql("SELECT pg_create_physical_replication_slot('more ' || n) FROM generate_series(1, 9) n".replace("more ", "more_"))
    assert "10 of 11 in use" in findings(shop.check()[1], "no_free_slot")[0]["what"]
    shop.sql("SELECT pg_create_logical_replication_slot('etl_shop_etl', 'pgoutput')")
    (finding,) = findings(shop.check()[1], "slots_few")
    assert_whole(finding)
    shop.sql("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots")
    for name in provoked:
        run_alone(shop, f"ALTER SYSTEM RESET {name}")
    shop.server.stop()
    shop.server.start()
    assert shop.check()[0] == 0


def test_managed_services_are_told_what_they_have(shop):
    shop.sql("CREATE ROLE rds_superuser; CREATE ROLE rds_replication; ALTER ROLE etl NOREPLICATION")
    try:
        (finding,) = findings(shop.check()[1], "no_replication")
        assert finding["statement"] == 'GRANT rds_replication TO "etl"'
        shop.sql(finding["statement"])
        run_alone(shop, "ALTER SYSTEM SET max_slot_wal_keep_size = -1")
        shop.server.reload()
        wait_until(lambda: findings(shop.check()[1], "slot_without_limit"), 30, "the limit is gone")
        report = shop.check()[1]
        (finding,) = findings(report, "slot_without_limit")
        assert "parameter group" in finding["what"] and finding["statement"] is None
        # Here it is not RDS, and the walsender wants the attribute.
        assert not findings(report, "no_replication")
    finally:
        shop.sql("ALTER ROLE etl REPLICATION; DROP ROLE rds_superuser, rds_replication")
        run_alone(shop, "ALTER SYSTEM RESET max_slot_wal_keep_size")
        shop.server.reload()


def test_an_open_transaction_is_seen(shop):
    text = re.sub(r"--[^\n]*", "", (ROOT / "src/pg/sql/check_source.sql").read_text()).replace("%", "%%")
    text = text.replace("$1", "'etl'").replace("$2", "'no_slot'")
    with shop.server.connect("shop") as writer, shop.server.connect("shop") as reader:
        writer.execute("BEGIN; INSERT INTO sales.\"Wo rds\" VALUES (7, 'seven')")
        cursor = reader.execute(text.replace("%%", "%"))
        row = dict(zip([column.name for column in cursor.description], cursor.fetchone()))
        assert row["transaction_pid"] == writer.info.backend_pid and row["transaction_seconds"] >= 0
        writer.execute("ROLLBACK")


class Pooler:
    """Between a client and the server: another process number, no session settings, and, like pgbouncer, no replication."""

    def __init__(self, port, *, refuses=None, pid=None, drops_options=False):
        self.port_behind, self.refuses, self.pid, self.drops_options = port, refuses, pid, drops_options
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._pass, args=(client,), daemon=True).start()

    @staticmethod
    def _read(side, size):
        data = b""
        while len(data) < size:
            piece = side.recv(size - len(data))
            if not piece:
                raise ConnectionError
            data += piece
        return data

    def _pass(self, client):
        try:
            size = struct.unpack("!i", self._read(client, 4))[0]
            body = self._read(client, size - 4)
            words = body[4:].rstrip(b"\0").split(b"\0")
            parameters = dict(zip(words[0::2], words[1::2]))
            if self.refuses is not None and self.refuses in parameters:
                text = b"SFATAL\0VFATAL\0C08P01\0Munsupported startup parameter: " + self.refuses + b"\0\0"
                client.sendall(b"E" + struct.pack("!i", len(text) + 4) + text)
                client.close()
                return
            if self.drops_options:
                parameters.pop(b"options", None)
            body = body[:4] + b"".join(name + b"\0" + value + b"\0" for name, value in parameters.items()) + b"\0"
            server = socket.create_connection(("127.0.0.1", self.port_behind))
            server.sendall(struct.pack("!i", len(body) + 4) + body)
            threading.Thread(target=self._copy, args=(client, server), daemon=True).start()
            while True:
                kind, size = struct.unpack("!ci", self._read(server, 5))
                message = self._read(server, size - 4)
                if kind == b"K" and self.pid:
                    message = struct.pack("!i", self.pid) + message[4:]
                client.sendall(kind + struct.pack("!i", size) + message)
        except OSError:
            client.close()

    @staticmethod
    def _copy(client, server):
        try:
            while data := client.recv(65536):
                server.sendall(data)
        except OSError:
            pass
        server.close()

    def close(self):
        self.listener.close()


@pytest.mark.parametrize("code, severity, kind", [
    ("pooler", "error", {"refuses": b"options"}), ("pooler", "error", {"pid": 4711}), ("timeouts", "warning", {"drops_options": True}),
    ("replication_connection", "error", {"refuses": b"replication"})])
def test_what_stands_in_between_is_noticed(shop, code, severity, kind):
    pooler = Pooler(shop.server.port, **kind)
    shop.sql("ALTER ROLE etl SET statement_timeout = '1min'")
    try:
        url = shop.url(sslmode="disable").replace(f":{shop.server.port}/", f":{pooler.port}/")
        (finding,) = findings(look(shop.state, "--from", url)[1], code)
        assert finding["severity"] == severity
        assert_whole(finding)
    finally:
        pooler.close()
        shop.sql("ALTER ROLE etl RESET statement_timeout")


def test_reasons_why_a_source_cannot_be_reached(shop):
    for code, url in (("source_unreachable", "postgres://etl@127.0.0.1:1/shop?publication=etl"),
                      ("no_database", shop.url(database="nowhere")), ("login", shop.url(user="nobody")),
                      ("source_connection", shop.url(sslmode="verify-full", sslrootcert="/nowhere.pem"))):
        exit_code, report = look(shop.state, "--from", url)
        assert exit_code == 1 and [finding["code"] for finding in report["findings"]] == [code], report["findings"]


# --- Snowflake -------------------------------------------------------------------------------------------------------


class Account:
    """The role CHECKED of user ETL, which has what docs/snowflake.md grants, and nothing else."""

    def __init__(self, standin, shop):
        self.standin, self.shop = standin, shop
        self.admin = Snowflake(standin.to)
        self.to = standin.to.replace("role=ETL_ROLE", "role=CHECKED")

    def run(self, text):
        for statement in filter(None, (part.strip() for part in text.split(";"))):
            self.admin.execute(statement)

    def check(self, to=None, *options):
        return look(self.shop.state, "--from", self.shop.url(), "--to", to or self.to, *options)


GRANTED = """CREATE ROLE IF NOT EXISTS CHECKED; GRANT ROLE CHECKED TO USER ETL; GRANT USAGE ON WAREHOUSE ETL_WH TO ROLE CHECKED;
    GRANT USAGE ON DATABASE DEMO_DB TO ROLE CHECKED; GRANT CREATE SCHEMA ON DATABASE DEMO_DB TO ROLE CHECKED;
    GRANT USAGE, CREATE TABLE ON SCHEMA DEMO_DB.PUBLIC TO ROLE CHECKED; ALTER USER ETL SET DEFAULT_ROLE = CHECKED;
    ALTER WAREHOUSE ETL_WH SET AUTO_SUSPEND = 60; ALTER WAREHOUSE ETL_WH SET AUTO_RESUME = TRUE"""


@pytest.fixture(scope="module")
def account(shop):
    with StandIn() as standin:
        account = Account(standin, shop)
        account.run(GRANTED)
        yield account


class Grant:
    def __init__(self, code, before, statement, severity="error", undo="", leaves=None):
        self.code, self.before, self.statement, self.severity, self.undo, self.leaves = code, before, statement, severity, undo, leaves


MARKED = "COMMENT = 'etl-stream: pipeline=shop_etl table=sales.gone role=target'"
GRANTS = [
    Grant("no_role", "REVOKE ROLE CHECKED FROM USER ETL", 'GRANT ROLE "CHECKED" TO USER "ETL"'),
    Grant("default_role", "ALTER USER ETL SET DEFAULT_ROLE = PUBLIC", 'ALTER USER "ETL" SET DEFAULT_ROLE = "CHECKED"', "warning"),
    Grant("database_missing", "REVOKE USAGE, CREATE SCHEMA ON DATABASE DEMO_DB FROM ROLE CHECKED",
          'CREATE DATABASE IF NOT EXISTS "DEMO_DB"; GRANT USAGE ON DATABASE "DEMO_DB" TO ROLE "CHECKED"', undo=GRANTED, leaves="no_create_schema"),
    Grant("schema_missing", "REVOKE USAGE, CREATE TABLE ON SCHEMA DEMO_DB.PUBLIC FROM ROLE CHECKED",
          'CREATE SCHEMA IF NOT EXISTS "DEMO_DB"."PUBLIC"; GRANT USAGE, CREATE TABLE ON SCHEMA "DEMO_DB"."PUBLIC" TO ROLE "CHECKED"'),
    Grant("no_create_table", "REVOKE CREATE TABLE ON SCHEMA DEMO_DB.PUBLIC FROM ROLE CHECKED",
          'GRANT CREATE TABLE ON SCHEMA "DEMO_DB"."PUBLIC" TO ROLE "CHECKED"'),
    Grant("no_create_schema", "REVOKE CREATE SCHEMA ON DATABASE DEMO_DB FROM ROLE CHECKED",
          'GRANT CREATE SCHEMA ON DATABASE "DEMO_DB" TO ROLE "CHECKED"'),
    Grant("warehouse_missing", "REVOKE USAGE ON WAREHOUSE ETL_WH FROM ROLE CHECKED", 'GRANT USAGE ON WAREHOUSE "ETL_WH" TO ROLE "CHECKED"'),
    Grant("no_warehouse_usage", "REVOKE USAGE ON WAREHOUSE ETL_WH FROM ROLE CHECKED; GRANT MONITOR ON WAREHOUSE ETL_WH TO ROLE CHECKED",
          'GRANT USAGE ON WAREHOUSE "ETL_WH" TO ROLE "CHECKED"', undo="REVOKE MONITOR ON WAREHOUSE ETL_WH FROM ROLE CHECKED"),
    Grant("warehouse_resume", "ALTER WAREHOUSE ETL_WH SET AUTO_RESUME = FALSE", 'ALTER WAREHOUSE "ETL_WH" SET AUTO_RESUME = TRUE', "warning"),
    Grant("warehouse_resume", "ALTER WAREHOUSE ETL_WH SET AUTO_RESUME = FALSE; ALTER WAREHOUSE ETL_WH SUSPEND",
          'ALTER WAREHOUSE "ETL_WH" SET AUTO_RESUME = TRUE', undo="ALTER WAREHOUSE ETL_WH RESUME"),
    Grant("warehouse_suspend", "ALTER WAREHOUSE ETL_WH SET AUTO_SUSPEND = 0", 'ALTER WAREHOUSE "ETL_WH" SET AUTO_SUSPEND = 60', "warning"),
    Grant("warehouse_suspend", "ALTER WAREHOUSE ETL_WH SET AUTO_SUSPEND = 3600", 'ALTER WAREHOUSE "ETL_WH" SET AUTO_SUSPEND = 60', "note"),
    Grant("table_owner", f"CREATE TABLE DEMO_DB.PUBLIC.GONE (ID NUMBER(38,0)) {MARKED}; GRANT SELECT ON TABLE DEMO_DB.PUBLIC.GONE TO ROLE CHECKED",
          'GRANT OWNERSHIP ON TABLE "DEMO_DB"."PUBLIC"."GONE" TO ROLE "CHECKED" COPY CURRENT GRANTS', undo="DROP TABLE DEMO_DB.PUBLIC.GONE"),
]


@pytest.mark.parametrize("case", GRANTS, ids=lambda case: f"{case.code} {case.severity}")
def test_a_finding_at_snowflake_is_mended_by_its_statement(account, case):
    account.run(case.before)
    try:
        code, report = account.check()
        (finding,) = findings(report, case.code)
        assert_whole(finding)
        assert finding["statement"] == case.statement and finding["severity"] == case.severity
        assert code == (1 if case.severity == "error" else 0)
        account.run(finding["statement"])
        code, report = account.check()
        assert findings(report, case.code) == [], report["findings"]
        # Nothing else was wrong; a database that was hidden also took what is granted on it.
        assert {finding["code"] for finding in report["findings"]} <= {"old_minor", case.leaves}, report["findings"]
    finally:
        account.run(case.undo)


def test_a_pipeline_runs_whole_with_the_documented_grants(account, shop, start_stream):
    """On either side the role has what the documents grant, and nothing else: from the making of the landing schema to a column that
    comes, a merge, a restart and the end."""
    program = start_stream(shop.url(), account.to, "--merge-interval-seconds", 1)
    program.wait_for_event("live", 60)
    # Its role reads; what it made it owns, so the reader here is that role as well.
    reader = Snowflake(account.to)
    shop.sql("""INSERT INTO sales."Wo rds" VALUES (2, 'two'); ALTER TABLE sales."Wo rds" ADD COLUMN more int DEFAULT 7;
                INSERT INTO sales."Wo rds" VALUES (3, 'three', 8); DELETE FROM sales."Wo rds" WHERE id = 1""")
    query = 'SELECT "ID", "WORD", "MORE" FROM "DEMO_DB"."PUBLIC"."WO RDS" ORDER BY 1'
    rows = [["2", "two", "7"], ["3", "three", "8"]]
    wait_until(lambda: "MORE" in {row[0] for row in reader.query('DESCRIBE TABLE "DEMO_DB"."PUBLIC"."WO RDS"')} and reader.query(query) == rows,
               60, "the target to follow")
    assert program.terminate() == 0
    program = start_stream(shop.url(), account.to, "--merge-interval-seconds", 1)
    program.wait_for_event("streaming", 60)
    shop.sql("""INSERT INTO sales."Wo rds" VALUES (4, 'four', NULL)""")
    wait_until(lambda: reader.query(query) == [*rows, ["4", "four", None]], 60, "the row of after the restart")
    assert program.terminate() == 0
    assert not [line for line in program.lines if line["level"] == "error"]
    wait_until(lambda: not shop.server.value("SELECT count(*) FROM pg_replication_slots WHERE active"), 60, "the slot to be free")
    shop.sql("""SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots;
                ALTER TABLE sales."Wo rds" DROP COLUMN more; DELETE FROM sales."Wo rds" WHERE id > 1""")
    account.run('DROP SCHEMA IF EXISTS DEMO_DB.ETL_SCHEMA; DROP TABLE IF EXISTS "DEMO_DB"."PUBLIC"."WO RDS"')


def test_many_tables_take_procedures(account, shop):
    account.run("CREATE SCHEMA DEMO_DB.LANDING; GRANT USAGE, CREATE TABLE ON SCHEMA DEMO_DB.LANDING TO ROLE CHECKED")
    shop.sql("""DO $$BEGIN FOR n IN 1..99 LOOP EXECUTE format('CREATE TABLE sales.m%s (id int PRIMARY KEY)', n);
                EXECUTE format('GRANT SELECT ON sales.m%s TO etl', n); EXECUTE format('ALTER PUBLICATION etl ADD TABLE sales.m%s', n);
                END LOOP; END$$""")
    try:
        to = account.to.replace("/PUBLIC", "/NOWHERE") + "&landing_schema=LANDING"  # so the tables themselves are not looked at
        (finding,) = findings(account.check(to)[1], "no_create_procedure")
        assert finding["statement"] == 'GRANT CREATE PROCEDURE ON SCHEMA "DEMO_DB"."LANDING" TO ROLE "CHECKED"'
        account.run(finding["statement"])
        assert not findings(account.check(to)[1], "no_create_procedure")
    finally:
        shop.sql("DO $$BEGIN FOR n IN 1..99 LOOP EXECUTE format('DROP TABLE sales.m%s', n); END LOOP; END$$")
        account.run("DROP SCHEMA DEMO_DB.LANDING")


def test_a_key_that_is_not_registered_is_registered_by_the_statement(account, tmp_path):
    done = run_command("keygen", str(tmp_path / "key.p8"), "--no-passphrase", state=account.shop.state)
    assert done.returncode == 0, done.stderr
    to = re.sub(r"key_file=[^&]*", f"key_file={tmp_path / 'key.p8'}", account.to)
    code, report = account.check(to)
    (finding,) = findings(report, "key_refused")
    assert code == 1 and "SHA256:" in finding["what"] and finding["statement"].startswith('ALTER USER "ETL" SET RSA_PUBLIC_KEY = \'')
    assert finding["statement"].split("'")[1] in done.stdout
    account.run(finding["statement"])
    assert account.check(to)[0] == 0


def test_a_clock_that_is_wrong_is_told_apart_from_a_wrong_key(account):
    try:
        account.standin.ask("/set_clock", {"offset_seconds": -300})
        code, report = account.check()
        (finding,) = findings(report, "clock")
        assert code == 1 and finding["severity"] == "error" and not findings(report, "key_refused")
        assert 295 <= int(re.search(r"(\d+) s ahead", finding["what"])[1]) <= 330  # with what the answer took
        account.standin.ask("/set_clock", {"offset_seconds": 300})
        code, report = account.check()
        (finding,) = findings(report, "clock")
        assert code == 0 and finding["severity"] == "warning" and " behind " in finding["what"]
    finally:
        account.standin.ask("/set_clock", {"offset_seconds": 0})


def test_a_network_policy_and_an_answer_that_is_none(account):
    blocked = "Incoming request with IP/Token 10.0.0.1 is not allowed to access Snowflake."
    try:
        account.standin.add_fault("sql.submit.before", status=403, code="390422", message=blocked)
        code, report = account.check()
        (finding,) = findings(report, "network_policy")
        assert code == 1 and "10.0.0.1" in finding["what"] and "SHOW PARAMETERS LIKE 'network_policy' IN USER" in finding["what"]
        account.standin.remove_faults()
        account.standin.add_fault("sql.submit.before", status=422, code="000603", message="not today", skip=4, times=1)
        code, report = account.check()
        (finding,) = findings(report, "not_asked")
        assert code == 0 and finding["severity"] == "note" and "not today" in finding["what"]
    finally:
        account.standin.remove_faults()


def test_reasons_why_snowflake_cannot_be_asked(account, tmp_path):
    (tmp_path / "key.p8").write_text("no key")
    for code, to in (("key", re.sub(r"key_file=[^&]*", f"key_file={tmp_path / 'key.p8'}", account.to)),
                     ("snowflake_unreachable", re.sub(r"host=[^&]*", "host=127.0.0.1:1", account.to)),
                     ("warehouse_missing", account.to.replace("warehouse=ETL_WH&", ""))):
        exit_code, report = account.check(to)
        assert exit_code == 1 and code in [finding["code"] for finding in report["findings"]], report["findings"]


# --- the whole -------------------------------------------------------------------------------------------------------


def test_round_trips_are_measured_and_findings_come_by_gravity(account, shop):
    account.run("REVOKE USAGE ON WAREHOUSE ETL_WH FROM ROLE CHECKED")
    shop.sql("ALTER ROLE etl SUPERUSER NOREPLICATION")
    try:
        code, report = account.check()
        assert set(report["round_trips_ms"]) == {"source_connect", "source_query", "source_replication", "snowflake_sign_in",
                                                 "snowflake_query", "snowflake_hostname", "snowflake_token"}
        assert all(value > 0 for value in report["round_trips_ms"].values())
        gravity = [("error", "warning", "note").index(finding["severity"]) for finding in report["findings"]]
        assert gravity == sorted(gravity) and gravity[0] == 0 and gravity[-1] == 2 and code == 1
        assert (report["errors"], report["warnings"], report["notes"]) == tuple(gravity.count(n) for n in range(3))
        text = run_command("check", "--from", shop.url(), "--to", account.to, state=shop.state).stdout
        for finding in report["findings"]:
            assert finding["what"] in text and finding["doc"] in text and (finding["statement"] or "") in text
    finally:
        account.run(GRANTED)
        shop.sql("ALTER ROLE etl NOSUPERUSER REPLICATION")


def test_every_finding_is_in_the_table_and_provoked_by_a_test():
    """docs/check.md is made from the table in the code (tests/unit/test_reference.c compares the two)."""
    documented = set(re.findall(r"^### (\w+)$", (ROOT / "docs/check.md").read_text(), re.MULTILINE))
    tests = "".join(path.read_text() for path in (ROOT / "tests/integration").glob("test_*.py"))
    tests += (ROOT / "tests/unit/test_judge.c").read_text()
    sources = [ROOT / "src/pipeline/judge.c", ROOT / "src/pipeline/judge_check.c", ROOT / "src/pipeline/inspect.c",
               ROOT / "src/sinks/snowflake/sf_sink_look.c"]
    told = set()
    for path in sources:
        told |= set(re.findall(r'(?:ERR_\w+|ERROR|WARNING|NOTE), "(\w+)"', path.read_text()))
    assert told and told <= documented, told - documented
    by_texts = {"42501", "catalog", "other", "encoding", "server_version", "in_recovery", "column_collision", "column_reserved", "collation",
                "name_collision", "table_not_ours", "table_of_other_pipeline", "old_minor", "snowflake_unreachable"}
    missing = {code for code in documented - by_texts if f'"{code}"' not in tests}
    assert not missing, missing
