"""The harness itself: the server comes back after a crash on the same port, a load adds up."""
import threading

import psycopg
import pytest

import load
from proxy import Proxy


def test_server_survives_a_crash(own_postgres):
    own_postgres.sql("create table t (a int); insert into t values (1)")
    port = own_postgres.server.port
    own_postgres.server.crash()
    with pytest.raises(psycopg.OperationalError):
        own_postgres.connect()
    own_postgres.server.start()
    assert own_postgres.server.port == port
    assert own_postgres.value("select a from t") == 1


def test_dropping_a_database_drops_its_slots(postgres):
    postgres.create_database("with_slot")
    postgres.sql("select pg_create_logical_replication_slot('left_behind', 'pgoutput')", dbname="with_slot")
    postgres.drop_database("with_slot")
    assert postgres.value("select count(*) from pg_replication_slots where slot_name = 'left_behind'") == 0


def test_load_is_seeded_and_keeps_its_book(source):
    with source.connect() as connection:
        load.create_tables(connection, source.publication)
        load.fill(connection, 20)
    book = load.Load(source.conninfo, seed=1, truncates=True).run(30)
    assert book.committed == 30 and book.changes.total() > 30
    assert source.value("select count(*) from pg_publication_tables") == len(load.TABLES)


def test_load_gives_the_same_statements_for_the_same_seed(postgres):
    contents = []
    for name in ("seeded_a", "seeded_b"):
        postgres.create_database(name)
        with postgres.connect(name) as connection:
            load.create_tables(connection)
        load.Load(postgres.url(name), seed=5).run(40)
        contents.append(postgres.sql("select customer_id, status, total, reference from orders order by id", dbname=name))
        postgres.drop_database(name)
    assert contents[0] and contents[0] == contents[1]


def test_proxy_forwards_freezes_and_cuts(postgres):
    with Proxy("127.0.0.1", postgres.port) as proxy:
        through = f"host=127.0.0.1 port={proxy.port} user=postgres dbname=postgres connect_timeout=30"
        with psycopg.connect(through) as connection:
            assert connection.execute("select 1").fetchone() == (1,)
            proxy.freeze()
            answered = threading.Event()
            asked = threading.Thread(target=lambda: (connection.execute("select 2"), answered.set()))
            asked.start()
            assert not answered.wait(0.2)
            proxy.thaw()
            assert answered.wait(60)
            asked.join()
            assert proxy.cut() == 1
            with pytest.raises(psycopg.OperationalError):
                connection.execute("select 3")
        proxy.refuse()
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(through)
        proxy.accept()
        psycopg.connect(through).close()
