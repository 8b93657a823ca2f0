"""The PostgreSQL room against a real server: connections, the catalog's queries, the stream, the copy.

Rules that were found by experiment have a test named after them, with a second half that takes the rule out
(src/base/trap.h) and shows that the test would fail.
"""
import itertools
import shutil
import time

import psycopg
import pytest

from pgserver import PgServer
from program import Timeout, wait_until

numbers = itertools.count(1)


def answer(room, url, sql):
    return room(url, "query", sql).event("value", "ended")


def lsn(text):
    high, low = text.split("/")
    return int(high, 16) << 32 | int(low, 16)


def confirmed(source, slot):
    return lsn(source.value("select confirmed_flush_lsn from pg_replication_slots where slot_name = %s", [slot]))


def make_slot(source, slot=None, plugin="pgoutput"):
    slot = slot or f"room_{next(numbers)}"
    source.sql("select pg_create_logical_replication_slot(%s, %s)", [slot, plugin])
    return slot


def version(source):
    return source.value("select current_setting('server_version_num')::int")


def make_table(source, rows=0):
    source.sql("create table t (id int primary key, v text); create publication etl for table t")
    if rows:
        source.sql(f"insert into t select g, 'row ' || g from generate_series(1, {rows}) g")


# ---- connections

PINNED = {"DateStyle": "ISO, MDY", "IntervalStyle": "iso_8601", "extra_float_digits": "3", "bytea_output": "hex",
          "TimeZone": "UTC", "lc_monetary": "C", "search_path": "", "standard_conforming_strings": "on",
          "row_security": "off", "statement_timeout": "0", "lock_timeout": "0", "idle_session_timeout": "0",
          "idle_in_transaction_session_timeout": "0", "client_min_messages": "warning", "client_encoding": "UTF8",
          "application_name": "etl-stream"}
OTHERS = {"DateStyle": "German, DMY", "IntervalStyle": "sql_standard", "extra_float_digits": "-3",
          "bytea_output": "escape", "TimeZone": "Asia/Tokyo", "search_path": "public",
          "standard_conforming_strings": "off", "statement_timeout": "9s", "lock_timeout": "9s",
          "idle_session_timeout": "9s", "idle_in_transaction_session_timeout": "9s", "client_min_messages": "error",
          "row_security": "on"}


def test_settings_outrank_those_of_role_and_database(source, room):
    source.sql("create role odd login superuser")
    try:
        for name, value in OTHERS.items():
            source.sql(f"alter role odd set {name} to '{value}'")
        url = source.server.url(source.name, user="odd")
        sql = " || '|' || ".join(f"current_setting('{name}')" for name in PINNED)
        assert answer(room, url, "select " + sql) == "value " + "|".join(PINNED.values())
    finally:
        source.sql("drop role odd")


@pytest.mark.parametrize("change, kind, text", [
    ({"database": "missing"}, "config 3D000", "name an existing database"),
    ({"user": "nobody"}, "config 28", "pg_hba.conf"),
    ({"port": "1"}, "transient -", "Connection refused"),
    ({"query": "?sslmode=require"}, "config -", "choose another sslmode"),
    ({"host": "name.invalid"}, "", "name.invalid"),  # of which kind is the nameserver's to say; test_resolver.c has both
    ({"host": "%2Fnowhere"}, "transient -", "No such file or directory"),
])
def test_errors_of_connecting_say_what_would_mend_them(source, room, change, kind, text):
    parts = {"user": "postgres:pa55%40word", "host": "127.0.0.1", "port": source.server.port, "database": source.name,
             "query": "", **change}
    line = answer(room, "postgres://{user}@{host}:{port}/{database}{query}".format(**parts), "select 1")
    assert line.startswith("ended " + kind) and text in line
    assert "pa55" not in line and "@word" not in line
    assert "cannot connect to " in line


def test_passwords_names_and_tls(tmp_path, room):
    with PgServer(tls=True) as server:
        server.sql("create role ann login password 'sesam öffne:/?#dich'")
        server.set_hba("local all all trust", "hostssl all ann 127.0.0.1/32 scram-sha-256",
                       "host all postgres 127.0.0.1/32 trust")
        server.reload()
        encoded = "sesam%20%C3%B6ffne%3A%2F%3F%23dich"
        secret = "sesam"
        base = f"localhost:{server.port}/postgres"
        other = tmp_path / "other.crt"
        from certificates import write_self_signed
        write_self_signed(other, tmp_path / "other.key", ["elsewhere"])

        verified = f"?sslmode=verify-full&sslrootcert={str(server.certificate).replace('/', '%2F')}"
        sql = "select ssl::text from pg_stat_ssl where pid = pg_backend_pid()"
        assert answer(room, f"postgres://ann:{encoded}@{base}{verified}", sql) == "value true"
        wrong = answer(room, f"postgres://ann:wrong@{base}{verified}", sql)
        assert wrong.startswith("ended config 28P01") and "right password" in wrong and "wrong@" not in wrong
        none = answer(room, f"postgres://ann@{base}{verified}", sql)
        assert none.startswith("ended config -") and "password" in none
        stranger = answer(room, f"postgres://ann:{encoded}@{base}?sslmode=verify-full&sslrootcert={other}", sql)
        assert stranger.startswith("ended config -") and "certificate" in stranger and secret not in stranger
        plain = answer(room, f"postgres://ann:{encoded}@{base}?sslmode=disable", sql)
        assert plain.startswith("ended config 28000") and secret not in plain
        # A large answer over TLS: OpenSSL holds the rest of a record that the socket no longer shows.
        size = answer(room, f"postgres://ann:{encoded}@{base}{verified}", "select repeat('x', 3000000)")
        assert len(size) == len("value ") + 3000000


def test_a_socket_directory_is_a_host(source, room):
    folder = str(source.server.folder).replace("/", "%2F")
    url = f"postgres://postgres@{folder}:{source.server.port}/{source.name}"
    assert answer(room, url, "select inet_server_addr() is null") == "value t"


def test_notices_and_the_reason_for_a_broken_connection(source, room):
    one = room(source.url(), "query", "do $$begin raise warning 'mind the gap'; end$$", "--hold")
    assert one.event("notice") == "notice WARNING 01000 mind the gap"
    one.event("value")
    source.sql("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'etl-stream'"
               " and datname = %s", [source.name])
    assert one.event("broken").startswith("broken transient 57P01 ")


# ---- the catalog

def test_facts(source, room):
    make_table(source)
    slot = make_slot(source)
    lines = room(source.url(slot=slot), "facts").events_until_end()
    text = " ".join(lines)
    assert f"database={source.name} user=postgres encoding=UTF8 wal_level=logical" in text
    assert f"system_identifier={source.value('select system_identifier from pg_control_system()')} timeline=1" in text
    assert "publication=1 inserts=1 updates=1 deletes=1 truncates=1 via_root=0" in text
    assert "slot=1 active=0 here=1 plugin=pgoutput status=reserved" in text
    missing = " ".join(room(source.url(slot="nothing", publication="no"), "facts").events_until_end())
    assert "publication=0" in missing and "slot=0 active=0 here=0 plugin= status= confirmed=0/0" in missing


TYPES = '''
create type color as enum ('red'); create type pair as (x int, y text); create type odd as (x int, y aclitem);
create domain money_like as numeric(10, 2); create domain positive as money_like check (value > 0);
create domain list as positive[];
create table typed (b int not null, a varchar(10) not null, dropped int, d positive, da list, ad positive[],
    n numeric(5, 1)[], e color, es color[], c pair, o odd, acl aclitem[], iv int2vector,
    g int generated always as (b + 1) stored, primary key (a, b) include (n));
alter table typed drop column dropped;
create table deferred (id int primary key deferrable); create table plain (v text);
create table whole (id int primary key, v text); alter table whole replica identity full;
create table other (id int primary key, k text not null); create unique index other_k on other (k);
alter table other replica identity using index other_k;
create table none (id int primary key); alter table none replica identity nothing;
create table parted (id int primary key, v text) partition by range (id);
create table parted_1 partition of parted for values from (0) to (10);
create table "Käse ""x""" ("Größe" int primary key, hidden int);
create publication etl for table typed, deferred, plain, whole, other, none, parted, "Käse ""x""" ("Größe")
    with (publish_via_partition_root = true);
insert into parted values (1, 'x');
'''


def test_tables_and_their_columns(source, room):
    has_lists = version(source) >= 150000
    source.sql(TYPES if has_lists else TYPES.replace('("Größe")\n', '\n'))
    lines = room(source.url(), "tables").events_until_end()
    tables = {line.split()[1]: line for line in lines if line.startswith("table ") and '"' not in line}
    columns = {line.split()[1]: line for line in lines if line.startswith("column ")}
    identities = {name.split(".")[1]: line.split("identity=")[1].split()[0] for name, line in tables.items()
                  if "K" not in name}
    assert identities == {"typed": "key", "deferred": "nothing", "plain": "nothing", "whole": "full", "other": "key",
                          "none": "nothing", "parted": "key"}
    assert "keys=2 " in tables["public.typed"] and "keys=1 " in tables["public.whole"]
    assert "file=0 bytes=1" in tables["public.parted"]
    oid = {name: source.value("select %s::regtype::oid", [name]) for name in ("numeric", "color", "positive[]")}
    assert f"base={oid['numeric']}/655366 element=0/-1" in columns["typed.d"]
    assert f"base={oid['positive[]']}/-1 element={oid['numeric']}/655366" in columns["typed.da"]
    assert f"element={oid['numeric']}/655366" in columns["typed.ad"]
    assert "/327685 element=1700/327685" in columns["typed.n"]
    assert "enum=10" in columns["typed.e"] and f"element={oid['color']}/-1 enum=01" in columns["typed.es"]
    assert "send=1" in columns["typed.c"] and "send=0" in columns["typed.o"] and "send=0" in columns["typed.acl"]
    assert "element=0/-1" in columns["typed.iv"]
    assert "at=1 key=1" in columns["typed.b"] and "at=2 key=0" in columns["typed.a"] and "key=-1" in columns["typed.n"]
    assert "at=4" in columns["typed.d"] and "typed.g" not in columns  # not sent before 18
    assert "key=0" in columns["other.k"] and "key=-1" in columns["other.id"]
    assert any(line.startswith('table public.Käse "x" identity=key keys=1') for line in lines)
    assert any('Käse "x".Größe' in line for line in lines)
    assert any("hidden" in line for line in lines) != has_lists


def test_generated_columns_that_are_published(source, room):
    if version(source) < 180000:
        pytest.skip("generated columns are published from 18 on")
    source.sql("create table t (id int primary key, g int generated always as (id + 1) stored,"
               " w int generated always as (id + 2) virtual); insert into t values (1);"
               "create publication etl for table t with (publish_generated_columns = stored)")
    lines = room(source.url(), "tables").events_until_end()
    assert [line.split()[1] for line in lines if line.startswith("column")] == ["t.id", "t.g"]
    assert room(source.url(), "copy", "--temporary").event("row") == "row t binary:00000001|binary:00000002"


def test_tables_that_may_not_be_read_in_full_are_named(source, room):
    source.sql("create table a (id int primary key); create table b (id int primary key); create schema shut;"
               "create table shut.c (id int primary key); create table d (id int primary key);"
               "alter table d enable row level security;"
               "create publication etl for table a, b, shut.c; create role reader login replication")
    try:
        source.sql("grant select on a, shut.c, d to reader")
        url = source.server.url(source.name, user="reader", publication="etl")
        line = room(url, "tables").event("ended")
        assert line.startswith("ended config 42501") and '"public"."b", "shut"."c"' in line and "GRANT SELECT" in line
        source.sql("grant select on b to reader; grant usage on schema shut to reader;"
                   "alter publication etl add table d")
        line = room(url, "tables").event("ended")
        assert line.startswith("ended config row_security") and '"public"."d"' in line and "BYPASSRLS" in line
    finally:
        source.sql("drop owned by reader; drop role reader")


# ---- the stream

def test_messages_keepalives_and_what_is_confirmed(source, room):
    make_table(source)
    slot = make_slot(source)
    one = room(source.url(slot=slot), "stream", "--binary")
    assert one.event("started") == "started binary"
    source.sql("insert into t values (1, 'one'); update t set v = 'two'; delete from t")
    kinds = [one.event("message").split()[1] for _ in range(6)]
    assert kinds == ["B", "R", "I", "U", "D", "C"]
    before = confirmed(source, slot)
    target = source.value("select pg_current_wal_lsn()")
    assert lsn(target) > before
    one.order(f"confirm {target}")
    wait_until(lambda: confirmed(source, slot) > before, 5, "the slot to move")
    assert confirmed(source, slot) <= lsn(target)
    # Never beyond what the server told of: it would believe it, and skip what comes.
    one.order("confirm FFFF/0")
    time.sleep(0.3)  # a status goes out within 100 ms
    assert confirmed(source, slot) <= lsn(source.value("select pg_current_wal_insert_lsn()"))


def test_confirmed_follows_keepalives_when_idle(source, room):
    make_table(source)
    slot = make_slot(source)
    one = room(source.url(slot=slot), "stream", "--follow", "--quiet")
    one.event("started")
    source.sql("create table unpublished as select generate_series(1, 1000) as g")
    end = lsn(source.value("select pg_current_wal_lsn()"))
    source.sql("select pg_logical_emit_message(false, 'x', 'y')")
    wait_until(lambda: confirmed(source, slot) >= end, 15, "the slot to follow")


def test_an_idle_stream_hands_over_at_once(source, room):
    make_table(source)
    one = room(source.url(slot=make_slot(source)), "stream", "--follow")
    one.event("started")
    with source.connect() as connection:
        for number in range(50):
            time.sleep(0.01)  # a server that commits without pause is not idle: five transactions in a millisecond count as a backlog
            connection.execute("insert into t values (%s, 'x')", [number])
            while one.event("message").split()[1] != "C":
                pass
    assert one.stats()["lazy"] == 0  # not once was a message left waiting for others


def test_reading_under_backlog_is_lazy_and_bounded(source, room):
    make_table(source)
    slot = make_slot(source)
    source.sql("insert into t select g, repeat('x', 100) from generate_series(1, 200000) g")
    one = room(source.url(slot=slot), "stream", "--quiet", "--binary")
    one.event("started")
    stats = wait_until(lambda: (s := one.stats())["changes"] == 200000 and s, 60, "all rows")
    assert stats["lazy"] > 0
    assert stats["messages"] / stats["turns"] <= 1000


def test_a_giant_message_shows(source, room):
    make_table(source)
    slot = make_slot(source)
    source.sql("insert into t values (1, repeat('x', 20000000))")
    one = room(source.url(slot=slot), "stream", "--quiet")
    one.event("started")
    stats = wait_until(lambda: (s := one.stats())["changes"] == 1 and s, 60, "the row")
    assert stats["largest"] > 20000000
    one.order("restart")
    one.event("started")


@pytest.mark.parametrize("without", [None, "status_unasked"])
def test_status_is_sent_unasked_while_held_back(own_postgres, room, without):
    make_table(own_postgres)
    own_postgres.sql("alter system set wal_sender_timeout = '6s'")
    own_postgres.server.reload()
    slot = make_slot(own_postgres)
    own_postgres.sql("insert into t select g, repeat('x', 100) from generate_series(1, 300000) g")
    one = room(own_postgres.url(slot=slot), "stream", "--quiet", "--held", without=without)
    one.event("started")
    replied = "select reply_time from pg_stat_replication"
    if without is None:
        # It was told that the server waits six seconds. Now that waits long: a machine that stands still is late with them.
        own_postgres.sql("alter system set wal_sender_timeout = '1min'")
        own_postgres.server.reload()
        times = set()
        wait_until(lambda: times.update(own_postgres.sql(replied)) or len(times) > 4, 60, "a status every second and a half")
        one.order("continue")
        wait_until(lambda: one.stats()["changes"] == 300000, 120, "all rows", pause=0.2)
    else:
        wait_until(lambda: not own_postgres.sql(replied), 60, "the server to end the connection")
        one.order("continue")
        assert one.event("ended").startswith("ended transient")


@pytest.mark.parametrize("without", [None, "second_status"])
def test_a_server_can_stop_while_we_lag(own_postgres, room, without):
    make_table(own_postgres)
    slot = make_slot(own_postgres)
    at = own_postgres.value("select confirmed_flush_lsn::text from pg_replication_slots")
    one = room(own_postgres.url(slot=slot), "stream", without=without)
    one.event("started")
    one.order(f"confirm {at}")
    own_postgres.sql("insert into t values (1, 'x')")
    while one.event("message").split()[1] != "C":
        pass
    # What was received counts as written once the server hears of it.
    one.order("flush")
    server = own_postgres.server
    server.process.send_signal(2)
    if without is None:
        server.process.wait(45)  # after 60 s it would have ended the connection itself (wal_sender_timeout)
        assert one.event("ended").startswith("ended transient")
        server.start()
        assert confirmed(own_postgres, slot) == lsn(at)
    else:
        with pytest.raises(Exception):
            server.process.wait(5)


def test_an_error_that_binary_caused_restarts_the_stream_in_text(source, room):
    source.sql("create table t (id int primary key, a aclitem[]); create publication etl for table t")
    slot = make_slot(source)
    source.sql("insert into t values (2, '{postgres=r/postgres}')")
    one = room(source.url(slot=slot), "stream", "--binary")
    assert one.event("started") == "started binary"
    line = one.event("ended")
    assert line.startswith("ended transient 42883") and "goes on in text" in line
    one.order("restart")
    assert one.event("started") == "started text"
    while one.event("message").split()[1] != "C":
        pass

    two = room(source.url(slot=make_slot(source)), "stream", "--binary", without="binary_falls_back")
    source.sql("insert into t values (3, '{postgres=r/postgres}')")
    two.event("ended")
    two.order("restart")
    assert two.event("started") == "started binary"
    assert two.event("ended").startswith("ended transient 42883")


@pytest.fixture
def western(postgres):
    """A database in WIN1252, which has bytes that no other encoding can take."""
    from conftest import Source
    name = f"western_{next(numbers)}"
    postgres.sql(f"create database {name} encoding 'WIN1252' lc_collate 'C' lc_ctype 'C' template template0")
    yield Source(postgres, name)
    postgres.drop_database(name)


def test_client_encoding_is_the_databases_own(western, room):
    with western.connect(client_encoding="UTF8") as connection:
        connection.execute('create table "Käse" (id int primary key, "Maß" text)')
        connection.execute('create publication "für alle" for table "Käse"')
    slot = make_slot(western)
    with western.connect(client_encoding="WIN1252") as connection:
        connection.pgconn.exec_(b'insert into "K\xe4se" values (1, \'\x81\xe4\')')
    url = western.server.url(western.name, slot=slot, publication="f%C3%BCr%20alle")
    one = room(url, "stream", "--encoding", "WIN1252")
    one.event("started")
    while one.event("message").split()[1] != "C":
        pass
    copy = room(url, "copy", "--temporary", "--encoding", "WIN1252")
    assert copy.event("row") == "row Käse binary:00000001|binary:81e4"
    assert copy.event("done", "ended") == "done Käse 1"
    one.close()

    two = room(url, "stream", "--encoding", "WIN1252", without="own_encoding")
    told = two.event("ended")
    assert told.startswith("ended data decoding_failed") and "(22P05)" in told
    copy = room(url, "copy", "--temporary", "--encoding", "WIN1252", without="own_encoding")
    assert copy.event("failed", "done").startswith("failed data 22P05")


def test_a_publication_that_is_missing_in_the_wal(source, room):
    make_table(source)
    slot = make_slot(source)
    source.sql("drop publication etl")
    source.sql("insert into t values (2, 'unpublished')")
    source.sql("create publication etl for table t")
    source.sql("insert into t values (3, 'published')")
    one = room(source.url(slot=slot), "stream")
    one.event("started")
    line = one.event("ended", "warning")
    if version(source) < 180000:
        assert line.startswith("ended lost 42704") and "while the publication did not exist" in line
    else:
        assert line.startswith("warning 55000") and "etl" in line


def test_slots_that_cannot_be_read(source, room):
    make_table(source)
    assert room(source.url(slot="none"), "stream").event("ended").startswith("ended lost 42704")
    foreign = make_slot(source, plugin="test_decoding")
    line = room(source.url(slot=foreign), "stream").event("ended")
    assert line.startswith("ended config") and "test_decoding" in line and "slot=" in line
    slot = make_slot(source)
    line = room(source.url(slot=slot, publication="absent"), "stream").event("ended")
    assert line.startswith("ended config 42704") and "CREATE PUBLICATION" in line
    first = room(source.url(slot=slot), "stream")
    first.event("started")
    pid = source.value("select active_pid from pg_replication_slots where slot_name = %s", [slot])
    line = room(source.url(slot=slot), "stream").event("ended")
    assert line.startswith("ended transient 55006") and str(pid) in line
    source.sql("select pg_terminate_backend(%s)", [pid])
    assert first.event("ended").startswith("ended transient 57P01")


def test_a_slot_whose_wal_is_gone_is_lost(own_postgres, room):
    make_table(own_postgres)
    slot = make_slot(own_postgres)
    own_postgres.sql("alter system set max_slot_wal_keep_size = '1MB'")
    own_postgres.sql("alter system set min_wal_size = '32MB'")
    own_postgres.sql("alter system set max_wal_size = '32MB'")
    own_postgres.server.reload()

    def is_lost():  # its processes may not have read the settings yet
        own_postgres.sql("select pg_logical_emit_message(false, 'x', repeat('y', 8000000)), pg_switch_wal()")
        own_postgres.sql("checkpoint")
        return own_postgres.value("select wal_status from pg_replication_slots") == "lost"
    wait_until(is_lost, 60, "the slot to be lost", pause=0)
    assert room(own_postgres.url(slot=slot), "stream").event("ended").startswith("ended lost 55000")


def test_wal_level_must_be_logical(room):
    with PgServer(settings={"wal_level": "replica"}) as server:
        line = room(server.url(slot="s", publication="p"), "stream").event("ended")
        assert line.startswith("ended config 55000") and "ALTER SYSTEM SET wal_level" in line
        server.sql("create table t (id int primary key); set client_min_messages = error; create publication p for table t")
        line = room(server.url(slot="s", publication="p"), "copy").event("ended")
        assert line.startswith("ended config 55000") and "wal_level" in line


# ---- the copy

def test_a_copy_is_everything_below_its_lsn(source, room):
    make_table(source, rows=3)
    slot = f"room_{next(numbers)}"
    one = room(source.url(slot=slot), "copy", "--hold")
    one.order("go")  # ends the hold of the catalog's query only
    made = one.event("snapshot").split()[1]
    assert confirmed(source, slot) <= lsn(made)  # the stream's slot is made before the snapshot's
    source.sql("insert into t values (4, 'later')")
    one.order("go")
    assert [one.event("row") for _ in range(3)][2] == "row t binary:00000003|binary:" + b"row 3".hex()
    assert one.event("done", "row") == "done t 3"
    assert one.event("ended") == "ended"
    stream = room(source.url(slot=slot), "stream")
    assert [stream.event("message").split()[1] for _ in range(4)] == ["B", "R", "I", "C"]
    assert room(source.url(slot=slot), "copy").event("ended").startswith("ended config 42710")


def test_a_copy_keeps_no_slot_but_the_streams(source, room):
    """Nor one that was being made when it was given up."""
    make_table(source, rows=1)
    slots = "select slot_name, temporary from pg_replication_slots where database = current_database()"
    slot = f"room_{next(numbers)}"
    for arguments, expected in ((("--temporary",), []), ((), [(slot, False)])):
        one = room(source.url(slot=slot), "copy", "--hold", *arguments)
        one.event("snapshot")
        assert source.sql(slots) == expected
        one.order("go")
        one.event("ended")
    with source.connect(autocommit=False) as writer:
        writer.execute("select pg_current_xact_id()")  # waited for
        one = room(source.url(slot=f"room_{next(numbers)}"), "copy", "--hold")
        wait_until(lambda: len(source.sql(slots)) == 2, 60, "a slot to be made")
        assert source.sql(slots + " and temporary")[0][0].startswith("etl_stream_")
        one.close()
        wait_until(lambda: source.sql(slots) == [(slot, False)], 60, "it to go")


def test_columns_as_text_come_by_their_output_function(source, room):
    source.sql("create type pair as (x int, y int);"
               "create table t (id int primary key, i inet, b char(5), f bool, p pair, a aclitem);"
               "insert into t values (1, '10.0.0.1', 'ab', true, row(null, null), 'postgres=r/postgres'),"
               " (2, null, null, null, null, null); create publication etl for table t")
    texts = {"i": "text:10.0.0.1", "b": "text:ab   ", "f": "text:t", "p": "text:(,)"}
    for number, (name, text) in enumerate(texts.items(), 1):
        one = room(source.url(), "copy", "--temporary", "--text", name)
        cells = one.event("row").removeprefix("row t ").split("|")
        assert cells[number] == text and cells[5] == "text:postgres=r/postgres"
        assert one.event("row") == "row t binary:00000002|null|null|null|null|null"


def test_a_partitioned_table_is_read_as_a_whole_and_filters_hold(source, room):
    row_filter = """ where ("V" <> 'no')""" if version(source) >= 150000 else ""
    source.sql("create table p (id int primary key, v text) partition by range (id);"
               "create table p1 partition of p for values from (0) to (10);"
               "create table p2 partition of p for values from (10) to (20) partition by range (id);"
               "create table p3 partition of p2 for values from (10) to (20);"
               "create table parent (id int primary key); create table child () inherits (parent);"
               "create table filtered (id int primary key, \"V\" text);"
               f"create publication etl for table p, only parent, filtered{row_filter}"
               " with (publish_via_partition_root = true);"
               "insert into p values (1, 'a'), (11, 'b'); insert into parent values (1); insert into child values (2);"
               "insert into filtered values (1, 'yes'), (2, 'no')")
    lines = room(source.url(), "copy", "--temporary").events_until_end()
    assert {line for line in lines if line.startswith("done")} == {
        "done p 2", "done parent 1", "done filtered 1" if row_filter else "done filtered 2"}


REWRITES = {"type": "alter table t alter column id type bigint", "truncate": "truncate t",
            "leaf": "truncate p1", "replaced": "drop table t; create table t (id int primary key, v text)"}


@pytest.mark.parametrize("change", REWRITES)
def test_a_rewrite_between_snapshot_and_copy_takes_a_new_snapshot(source, room, change):
    source.sql("create table t (id int primary key, v text); create table p (id int primary key) partition by range (id);"
               "create table p1 partition of p for values from (0) to (1000);"
               "insert into t select g, 'x' from generate_series(1, 100) g; insert into p select 1;"
               "create publication etl for table t, p with (publish_via_partition_root = true)")
    one = room(source.url(), "copy", "--temporary", "--hold", "--quiet")
    one.event("snapshot")
    source.sql(REWRITES[change])
    one.order("go")
    name = "p" if change == "leaf" else "t"
    line = one.event("failed")
    assert line.startswith("failed transient again") and f"table public.{name}" in line and "rewritten or replaced" in line
    assert one.event("ended") == "ended"
    # The other one is copied nonetheless.
    assert one.of("done") == (["done t 100"] if change == "leaf" else ["done p 1"])


def test_without_the_relfilenode_guard_a_rewritten_table_is_empty(source, room):
    make_table(source, rows=100)
    one = room(source.url(), "copy", "--temporary", "--hold", "--quiet", without="relfilenode_guard")
    one.event("snapshot")
    source.sql(REWRITES["type"])
    one.order("go")
    assert one.event("done", "ended") == "done t 0"


@pytest.mark.parametrize("without", [None, "guard_lock"])
def test_tables_stay_locked_until_their_copy_ends(source, room, without):
    source.sql("create table a (id int primary key, v text); create table b (id int primary key);"
               "insert into a select g, repeat('x', 1000) from generate_series(1, 50000) g;"
               "insert into b select generate_series(1, 10); create publication etl for table a, b")
    one = room(source.url(), "copy", "--temporary", "--hold", "--quiet", without=without)
    one.event("snapshot")
    one.order("go\npause")  # at once: the copy may be over in a moment
    wait_until(lambda: source.value("select count(*) from pg_stat_activity where query like '%%COPY%%FROM ONLY%%\"a\"%%'"
                                    " and application_name = 'etl-stream'"), 10, "the first table's copy")
    change = "set lock_timeout = '500ms'; alter table b alter column id type bigint"
    if without is None:
        with pytest.raises(psycopg.errors.LockNotAvailable):
            source.sql(change)
    else:
        source.sql(change)
    one.order("continue")
    assert one.event("done") == "done a 50000"
    assert one.event("done") == ("done b 10" if without is None else "done b 0")


# Stands in for a server that makes a snapshot between a commit's record and its mark: one transaction that is in
# progress counts as visible to every snapshot.
HALF_COMMITTED = """
create table half (xid xid8); insert into half values ('{0}');
alter function pg_catalog.pg_visible_in_snapshot(xid8, pg_snapshot) rename to really_visible_in_snapshot;
create function pg_catalog.pg_visible_in_snapshot(xid8, pg_snapshot) returns bool language sql as
    'select pg_catalog.really_visible_in_snapshot($1, $2) or exists (select from public.half where xid = $1)';
"""


@pytest.mark.parametrize("without", [None, "snapshot_wait"])
def test_nothing_is_read_before_the_snapshots_transactions_are_over(own_postgres, room, without):
    make_table(own_postgres, rows=5)
    own_postgres.sql("alter system set allow_system_table_mods = on")
    own_postgres.server.reload()
    one = room(own_postgres.url(), "copy", "--temporary", "--hold", "--quiet", without=without)
    one.event("snapshot")
    with own_postgres.connect(autocommit=False) as writer:
        writer.execute("insert into t values (100, 'half committed')")
        xid, = writer.execute("select pg_current_xact_id()::text").fetchone()
        own_postgres.sql(HALF_COMMITTED.format(xid))
        one.order("go")
        if without is None:
            line = one.event("waiting", "done")
            assert line.startswith("waiting") and xid in line
            assert not one.of("done")
        else:
            assert one.event("waiting", "done") == "done t 5"
        writer.commit()
    if without is None:
        assert one.event("done") == "done t 5"


@pytest.mark.parametrize("without", [None, "prepared_named"])
def test_a_prepared_transaction_that_blocks_the_slot_is_named(own_postgres, room, without):
    make_table(own_postgres, rows=1)
    own_postgres.sql("begin; insert into t values (100, 'x'); prepare transaction 'forgot''ten'")
    one = room(own_postgres.url(), "copy", "--temporary", without=without)
    if without is None:
        line = one.event("waiting", "snapshot", seconds=15)
        assert "prepared transaction 'forgot'ten' of database source" in line and "ROLLBACK PREPARED" in line
    else:
        with pytest.raises(Timeout):
            one.event("waiting", "snapshot", seconds=8, is_sure=False)
    own_postgres.sql("commit prepared 'forgot''ten'")
    assert one.event("done") == "done t 2"


@pytest.mark.parametrize("without", [None, "timeouts_pinned"])
def test_time_outs_do_not_end_the_snapshot(own_postgres, room, without):
    make_table(own_postgres, rows=7)
    own_postgres.sql("alter system set idle_in_transaction_session_timeout = '1s'")
    own_postgres.server.reload()
    one = room(own_postgres.url(), "copy", "--temporary", "--hold", "--quiet", without=without)
    if without is not None:
        assert one.event("ended").startswith("ended transient 25P03")
        return
    one.event("snapshot")
    time.sleep(2.5)  # longer than the time-out: nothing is to happen meanwhile
    one.order("go")
    assert one.event("done", "ended") == "done t 7"


def test_one_tables_trouble_stays_its_own(source, room):
    source.sql("create table a (id int primary key); create table b (id int primary key);"
               "create table c (id int primary key, v int); insert into a values (1); insert into c values (1, 1);"
               "create publication etl for table a, b, c")
    one = room(source.url(), "copy", "--temporary", "--hold", "--quiet")
    one.event("snapshot")
    source.sql("drop table b; alter table c drop column v")
    one.order("go")
    lines = one.events_until_end()
    failed = [line for line in lines if line.startswith("failed")]
    assert len(failed) == 2 and "42P01" in failed[0] and "table public.b" in failed[0]
    assert "42703" in failed[1] and "table public.c" in failed[1]
    assert "done a 1" in lines and lines[-1] == "ended"


def test_pausing_holds_a_copy_back(source, room):
    make_table(source)
    source.sql("insert into t select g, repeat('x', 1000) from generate_series(1, 50000) g")
    for _ in range(5):
        one = room(source.url(), "copy", "--temporary", "--hold", "--quiet")
        one.event("snapshot")
        one.order("go\npause")
        one.event("planned")
        one.order("continue")
        wait_until(lambda: one.stats()["rows"] > 0, 10, "the first rows", pause=0.001)
        one.order("pause")
        held = one.stats()["rows"]
        if held < 50000:
            break  # otherwise we stood still while all of them came: again
    assert held < 50000
    time.sleep(0.3)  # nothing is to happen meanwhile
    assert one.stats()["rows"] == held
    one.order("continue")
    assert one.event("done") == "done t 50000"
