"""The copy alone (tests/pg/pg_room.c) against a real server: ranges, several connections, what they survive, what they never wait for.

A copy is held back by pausing its ranges before they are read ("pause" before "go"); then some of its connections are ended, or
somebody else queues for a lock, and it goes on.
"""
import contextlib
import threading
import time

import psycopg
import pytest

from pgserver import PgServer
from program import Timeout, wait_until
from versions import MAJOR

ROWS = 20000
READING = ("select pid from pg_stat_activity where application_name = 'etl-stream' and datname = current_database()"
           " and query like '%%COPY (SELECT%%' order by backend_start")
# Of those that hold a lock on the table: the guard began its transaction first.
HOLDING = ("select l.pid from pg_locks l join pg_stat_activity a on a.pid = l.pid where l.relation = 'big'::regclass and l.granted"
           " and l.mode = 'AccessShareLock' and a.application_name = 'etl-stream' order by a.xact_start")
EXPORTING = ("select pid from pg_stat_activity where application_name = 'etl-stream' and datname = current_database()"
             " and backend_type = 'walsender'")


def make_big(source, rows=ROWS, more=""):
    source.sql(f"create table big (id int primary key, v text);"
               f"insert into big select g, repeat('x', 400) from generate_series(1, {rows}) g;"
               f"{more} create publication etl for all tables")


def start(room, source, *options, connections=4, range_kb=512, go=True, **more):
    one = room(source.url(), "copy", "--temporary", "--hold", "--connections", str(connections), "--range-kb", str(range_kb),
               *options, **more)
    one.event("snapshot")
    if go:
        one.order("pause")
        one.order("go")
    return one


def pids(source, query):
    return [pid for pid, in source.sql(query)]


def wait_for_readers(source, count):
    return wait_until(lambda: (found := pids(source, READING)) and len(found) >= count and found, 20, f"{count} readers")


def end_backend(source, pid):
    source.sql("select pg_terminate_backend(%s)", [pid])
    wait_until(lambda: not source.sql("select from pg_stat_activity where pid = %s", [pid]), 10, f"the end of {pid}")


def ids_of(lines, name="big"):
    return [int(line.split("binary:", 1)[1].split("|")[0], 16) for line in lines if line.startswith(f"row {name} ")]


def assert_whole(source, lines, rows=ROWS):
    """Every row was told; one that was told before its range was read again came again."""
    assert lines[-1] == "ended", lines[-3:]
    assert set(ids_of(lines)) == set(range(1, rows + 1))
    assert f"done big {rows}" in lines


@contextlib.contextmanager
def in_the_background(source, statement, waits=True):
    """Runs a statement that has to wait for a lock; yields when it does; it must be through at the end."""
    done, problems = threading.Event(), []

    def run():
        try:
            with source.connect() as connection:
                connection.execute(statement)
        except psycopg.Error as error:
            problems.append(error)
        done.set()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    if waits:
        wait_until(lambda: source.value("select count(*) from pg_locks where not granted and relation = 'big'::regclass"), 10,
                   "the statement to queue")
    yield done
    assert done.wait(60), f"{statement} is not through after the copy"
    thread.join(5)
    assert not problems, problems


# ---- ranges

def test_big_tables_are_cut_and_every_row_comes_once(source, room):
    make_big(source, more="create table small (id int primary key); insert into small select generate_series(1, 10);"
                          "create table empty (id int primary key);")
    lines = start(room, source, go=False)
    lines.order("go")
    lines = lines.events_until_end()
    assert sorted(ids_of(lines)) == list(range(1, ROWS + 1))
    counts = {line.split()[1]: int(line.split()[2]) for line in lines if line.startswith("planned")}
    assert counts["big"] >= 16 and counts["big"] % 4 == 0 and counts["small"] == counts["empty"] == 1
    ranges = [int(line.split()[3]) for line in lines if line.startswith("range big ")]
    assert len(ranges) == counts["big"] and sum(ranges) == ROWS and min(ranges) > 0
    assert {"done small 10", "done empty 0", f"done big {ROWS}"} <= set(lines) and lines[-1] == "ended"
    # The largest is begun first.
    assert next(line for line in lines if line.startswith("row")).startswith("row big ")


def test_several_connections_read_at_a_time(source, room):
    make_big(source)
    one = start(room, source, "--quiet")
    assert len(wait_for_readers(source, 4)) == 4
    assert one.stats()["connections"] == 4
    one.order("continue")
    assert one.event("done") == f"done big {ROWS}"
    assert one.event("ended") == "ended"


def test_ranges_are_read_by_tid_range_scans(room):
    with PgServer(settings={"session_preload_libraries": "auto_explain", "auto_explain.log_min_duration": "0",
                            "max_parallel_workers_per_gather": "4", "min_parallel_table_scan_size": "0",
                            "parallel_setup_cost": "0", "parallel_tuple_cost": "0"}) as server:
        server.sql("create table big (id int primary key, v text);"
                   f"insert into big select g, repeat('x', 400) from generate_series(1, {ROWS}) g; analyze big;"
                   f"create publication etl for table big {'where (id > 0)' if MAJOR >= 15 else ''}")
        one = room(server.url(publication="etl"), "copy", "--temporary", "--quiet", "--connections", "2", "--range-kb", "1024")
        assert one.event("done") == f"done big {ROWS}"
        log = server.log_path.read_text()
        plans = [text.split("\n", 4) for text in log.split("Query Text: ")[1:] if "COPY (SELECT" in text.split("\n")[0]]
        assert len(plans) >= 8
        for text in plans:
            assert "Tid Range Scan on big" in text[1], text
        server.sql("alter table big rename to other")  # nothing is left that holds it


def test_the_order_of_rows_is_the_same_in_every_try(source, room):
    """What the number of a row stands for when its range is read again."""
    make_big(source, more="delete from big where id % 7 = 0;"
                          "insert into big select g, repeat('y', 300) from generate_series(100001, 102000) g;"
                          "update big set v = v || 'z' where id % 5 = 0;")
    source.sql("vacuum big")
    source.sql("update big set v = v || 'w' where id % 11 = 0")

    def read():
        one = start(room, source, connections=1, go=False)
        one.order("go")
        return [line for line in one.events_until_end() if line.startswith("row big ")]
    first = read()
    # What could move rows, or make another plan look cheaper.
    source.sql("analyze big")
    source.sql("vacuum big")
    assert read() == first and len(first) == source.value("select count(*) from big")


def test_a_partitioned_table_is_read_leaf_by_leaf(source, room):
    source.sql("create table big (id int, v text, primary key (id)) partition by range (id);"
               "create table b1 partition of big for values from (0) to (10001);"
               "create table b2 (v text, gone int, id int not null);"
               "alter table b2 drop column gone; alter table big attach partition b2 for values from (10001) to (30000);"
               f"insert into big select g, repeat('x', 400) from generate_series(1, {ROWS}) g;"
               "create publication etl for table big with (publish_via_partition_root = true)")
    one = start(room, source, go=False)
    one.order("go")
    lines = one.events_until_end()
    assert sorted(ids_of(lines)) == list(range(1, ROWS + 1)) and f"done big {ROWS}" in lines
    assert sum(line.startswith("range big") for line in lines) >= 16


def test_a_partitioned_table_whose_leaves_may_not_be_read(source, room):
    source.sql("create role reader login replication; create table big (id int primary key) partition by range (id);"
               "create table b1 partition of big for values from (0) to (1000); insert into big select generate_series(1, 50);"
               "create table none (id int primary key) partition by range (id);"
               "create publication etl for table big, none with (publish_via_partition_root = true);"
               "grant select on big, none to reader")
    try:
        url = source.server.url(source.name, user="reader", publication="etl")
        one = room(url, "copy", "--temporary", "--connections", "3", "--range-kb", "1")
        lines = one.events_until_end()
        assert sorted(ids_of(lines)) == list(range(1, 51)) and lines[-1] == "ended"
        assert {"planned big 1", "done big 50", "done none 0"} <= set(lines)
    finally:
        source.sql("drop owned by reader; drop role reader")


@pytest.mark.parametrize("change", ["alter table big detach partition b1", "alter table big attach partition b2 for values from (1000) to (2000)"])
def test_partitions_that_come_or_go_after_the_snapshot(source, room, change):
    source.sql("create table big (id int primary key) partition by range (id);"
               "create table b1 partition of big for values from (0) to (1000); insert into big select generate_series(1, 50);"
               "create table b2 (id int primary key); insert into b2 values (1500);"
               "create publication etl for table big with (publish_via_partition_root = true)")
    one = start(room, source, go=False)
    source.sql(change)
    one.order("go")
    assert one.event("failed", "done").startswith("failed transient again")
    assert one.event("ended") == "ended"


@pytest.mark.parametrize("change", ["alter table big alter column id type bigint", "alter table big add column extra int; update big set extra = id"])
def test_columns_that_changed_before_the_snapshot(source, room, change):
    """The catalog was read before the change, the snapshot is made after it: what we know of the columns is not what it holds."""
    make_big(source, rows=10, more="create table small (id int primary key); insert into small values (1);")
    with source.connect(autocommit=False) as other:
        other.execute("select pg_current_xact_id()")  # the slot's making waits for it
        one = room(source.url(), "copy", "--temporary", "--quiet")
        wait_until(lambda: source.value("select count(*) from pg_locks where not granted and locktype = 'transactionid'"), 20,
                   "the slot to wait")
        source.sql(change)
        other.commit()
    line = one.event("failed", "done")
    assert line.startswith("failed lost schema_changed") and "public.big" in line
    assert one.event("done", "failed") == "done small 1"


@pytest.mark.parametrize("without", [None, "exporter_is_watched"])
def test_a_slot_that_waits_for_a_transaction_ends_with_its_client(source, room, without):
    """Its process does not read from its socket while it waits."""
    making = "select count(*) from pg_stat_activity where query like 'CREATE_REPLICATION_SLOT%%' and datname = current_database()"
    make_big(source, rows=10)
    with source.connect(autocommit=False) as other:
        other.execute("select pg_current_xact_id()")
        one = room(source.url(), "copy", "--temporary", "--quiet", without=without)
        wait_until(lambda: source.value("select count(*) from pg_locks where not granted and locktype = 'transactionid'"), 20,
                   "the slot to wait")
        assert source.value(making) == 1
        one.close()
        if without is None:
            wait_until(lambda: source.value(making) == 0, 10, "the server's process to end")
            assert source.value("select count(*) from pg_replication_slots where database = current_database()") == 0
        else:
            time.sleep(2)  # what does not happen
            assert source.value(making) == 1
        other.rollback()
    wait_until(lambda: source.value(making) == 0, 20, "the server's process to end")


# ---- lost connections

def test_a_lost_worker_is_replaced_and_its_range_read_again(source, room):
    make_big(source)
    one = start(room, source)
    readers = wait_for_readers(source, 4)
    for number in range(4):  # no more than they have begun with, so that they are not through with all before two are ended
        one.order(f"continue 0 {number}")
    one.event("row")
    for pid in readers[1:3]:
        end_backend(source, pid)
    one.order("continue")
    lines = one.events_until_end()
    assert_whole(source, lines)
    assert any(line.startswith("waiting") and "its range is read again" in line for line in lines)


def test_a_lost_guard_is_replaced(source, room):
    make_big(source)
    one = start(room, source)
    wait_for_readers(source, 4)
    guard = pids(source, HOLDING)[0]
    end_backend(source, guard)
    one.order("continue")
    lines = one.events_until_end()
    assert_whole(source, lines)
    assert any("guard was lost and is replaced" in line for line in lines)


def test_the_exporting_connection_may_be_lost_and_then_a_worker(source, room):
    make_big(source)
    one = start(room, source)
    wait_for_readers(source, 4)
    end_backend(source, pids(source, EXPORTING)[0])
    end_backend(source, pids(source, HOLDING)[1])
    one.order("continue")
    assert_whole(source, one.events_until_end())


def test_without_exporter_and_guard_the_snapshot_is_gone(source, room):
    make_big(source)
    one = start(room, source, "--quiet")
    wait_for_readers(source, 4)
    end_backend(source, pids(source, EXPORTING)[0])
    end_backend(source, pids(source, HOLDING)[0])
    one.order("continue")
    assert one.event("ended").startswith("ended transient")


def test_a_table_that_was_truncated_while_there_was_no_guard(source, room):
    make_big(source, more="create table small (id int primary key); insert into small values (1);")
    one = start(room, source, "--quiet", connections=1)
    wait_for_readers(source, 1)
    with in_the_background(source, "truncate big") as is_through:
        end_backend(source, pids(source, HOLDING)[0])
        assert is_through.wait(60)
    one.order("continue")
    assert one.event("failed").startswith("failed transient again")
    assert one.event("done") == "done small 1"
    assert one.event("ended") == "ended"


@pytest.mark.parametrize("without", [None, "workers_join_the_guard", "workers_check_files"])
def test_a_guard_whose_loss_nobody_has_noticed_yet(source, room, without):
    """The guard's connection is held back, so its end is not seen; a worker comes to a table that was truncated meanwhile."""
    make_big(source, rows=2000, more="create table small (id int primary key); insert into small values (1);")
    one = start(room, source, "--quiet", connections=2, range_kb=600, without=without)
    assert one.event("planned") == "planned big 2"
    wait_for_readers(source, 2)
    end_backend(source, pids(source, HOLDING)[0])
    source.sql("truncate small")
    one.order("continue 0 1")
    if without != "workers_check_files":
        line = one.event("failed", "done")
        assert line.startswith("failed transient again") and "public.small" in line
        one.order("continue")
        assert one.event("done", "failed") == "done big 2000"
    else:
        one.event("range")
        one.order("continue 1 0")
        assert one.event("done", "failed") == "done small 0"  # a row is lost


def test_fewer_connections_than_asked_for(own_postgres, room):
    make_big(own_postgres)
    own_postgres.sql("create role few login replication connection limit 4; grant select on all tables in schema public to few;"
                     "grant usage on schema public to few")
    url = own_postgres.server.url(own_postgres.name, user="few", publication="etl")
    one = room(url, "copy", "--temporary", "--hold", "--quiet", "--connections", "8", "--range-kb", "256")
    one.event("snapshot")
    one.order("pause")  # else it may be through before the server refuses anybody
    one.order("go")
    line = one.event("waiting")
    assert "connections, as the server takes no more" in line and "too many connections" in line
    one.order("continue")
    assert one.event("done") == f"done big {ROWS}"
    assert one.event("ended") == "ended"


# ---- what queues for a lock

CHANGES = {"truncate": "truncate big", "rewrite": "alter table big alter column id type bigint"}
STAGES = ("planned", "reading", "worker lost", "guard lost", "exporter lost")


@pytest.mark.parametrize("connections", [1, 4])
@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("change", CHANGES)
def test_a_statement_that_queues_for_a_lock_never_hangs_the_copy(source, room, change, stage, connections):
    make_big(source)
    one = start(room, source, connections=connections)
    if stage == "planned":
        # Nobody but the guard has a lock on the table yet: the workers find the queue.
        wait_until(lambda: pids(source, HOLDING), 10, "the guard")
    else:
        wait_for_readers(source, connections)
    with in_the_background(source, CHANGES[change]):
        if stage == "worker lost" and connections > 1:
            end_backend(source, pids(source, HOLDING)[1])
        elif stage == "guard lost":
            end_backend(source, pids(source, HOLDING)[0])
        elif stage == "exporter lost":
            end_backend(source, pids(source, EXPORTING)[0])
        one.order("continue")
        lines = one.events_until_end(60)
        if stage == "guard lost":
            # The statement came through when the guard was gone, so the table takes another snapshot; unless all was read before.
            assert lines[-1] == "ended", lines[-3:]
            assert f"done big {ROWS}" in lines or any(line.startswith("failed transient again") for line in lines)
        else:
            assert_whole(source, lines)


def test_workers_that_would_wait_for_their_lock_hang_behind_a_truncate(source, room):
    """The rule's other half: a worker that waits for its lock is never served."""
    make_big(source)
    # The guard has to hold its locks before the TRUNCATE queues, and the worker has to come after it: it is ended and comes again.
    one = start(room, source, "--quiet", connections=2, without="workers_do_not_wait")
    wait_for_readers(source, 2)
    connection = source.connect()
    try:
        pid = connection.info.backend_pid
        thread = threading.Thread(target=lambda: _ignore(connection, "truncate big"), daemon=True)
        thread.start()
        wait_until(lambda: source.value("select count(*) from pg_locks where not granted and relation = 'big'::regclass"), 10,
                   "the TRUNCATE to queue")
        end_backend(source, pids(source, HOLDING)[1])
        one.order("continue 0 0")  # one of these two is the worker's: it sees its end
        one.order("continue 0 1")
        wait_until(lambda: source.value("select count(*) from pg_locks where not granted and relation = 'big'::regclass") > 1, 20,
                   "the worker to queue as well")
        one.order("continue")
        with pytest.raises(Timeout):
            one.event("ended", seconds=2, is_sure=False)
    finally:
        source.sql("select pg_cancel_backend(%s)", [pid])
        thread.join(10)
        connection.close()


def _ignore(connection, statement):
    with contextlib.suppress(psycopg.Error):
        connection.execute(statement)


@pytest.mark.parametrize("without", [None, "empty_hands"])
def test_the_guard_is_in_no_deadlock_with_anybody(source, room, without):
    """A transaction that holds one table exclusively and wants another, which the guard has locked before."""
    source.sql("create table a (id int primary key); create table big (id int primary key); insert into a values (1);"
               "insert into big values (1); create publication etl for table a, big")
    one = start(room, source, "--quiet", connections=1, go=False, without=without)
    with source.connect(autocommit=False) as other:
        other.execute("lock table a in access exclusive mode")
        one.order("go")
        ours = ("select count(*) from pg_locks l join pg_stat_activity s on s.pid = l.pid where not l.granted and"
                " s.application_name = 'etl-stream' and l.relation = 'a'::regclass")
        wait_until(lambda: source.value(ours), 10, "the guard to wait")
        holds_big = source.value("select count(*) from pg_locks l join pg_stat_activity s on s.pid = l.pid where l.granted and"
                               " s.application_name = 'etl-stream' and l.relation = 'big'::regclass")
        assert holds_big == (0 if without is None else 1)
        if without is None:
            other.execute("set local lock_timeout = '60s'; lock table big in access exclusive mode")
        other.commit()
    assert one.event("ended") == "ended"
    assert {"done a 1", "done big 1"} <= set(one.seen)


def test_a_reindex_gets_its_turn_between_two_ranges(source, room):
    rows = 5 * ROWS  # more than the sockets hold: the statements are still under way
    make_big(source, rows)
    one = start(room, source, "--quiet", connections=2, range_kb=20000)
    wait_for_readers(source, 2)
    done = threading.Event()

    def reindex():
        with source.connect() as connection:
            connection.execute("reindex index big_pkey")
        done.set()
    thread = threading.Thread(target=reindex, daemon=True)
    thread.start()
    wait_until(lambda: source.value("select count(*) from pg_locks where not granted and relation = 'big_pkey'::regclass"), 10,
               "the REINDEX to queue")
    one.order("continue")
    assert one.event("done", seconds=30) == f"done big {rows}"
    assert done.wait(60)
    thread.join(60)


HELD_BY_US = ("select distinct l.relation::regclass::text from pg_locks l join pg_stat_activity a on a.pid = l.pid where l.granted and"
              " a.application_name = 'etl-stream' and l.relation in (select oid from pg_class where relkind = 'r'"
              " and relnamespace = 'public'::regnamespace)")


def held_tables(source):
    return {name for name, in source.sql(HELD_BY_US)}


@pytest.mark.parametrize("connections", [1, 3])
@pytest.mark.parametrize("without", [None, "locks_end_with_their_table"])
def test_a_lock_ends_with_its_table(source, room, connections, without):
    """The table's own copy has ended, another one's goes on, and a third's has not begun."""
    source.sql("create table a (id int primary key); insert into a values (1); create table later (id int primary key);")
    make_big(source)
    one = start(room, source, "--quiet", connections=connections, without=without)
    for _ in range(3):  # and the ranges are held back
        one.event("planned")
    assert held_tables(source) == {"a", "big", "later"}
    one.order("continue 0 0")
    assert one.event("done") == "done a 1"
    if without is not None:
        with source.connect() as other, pytest.raises(psycopg.errors.LockNotAvailable):
            other.execute("set lock_timeout = '1s'; alter table a add column v int")
        return
    source.sql("set lock_timeout = '60s'; alter table a add column v int; truncate a")
    assert held_tables(source) >= {"big", "later"}
    # Another guard takes no lock on what is read.
    end_backend(source, pids(source, HOLDING)[0])
    for reading in range(connections):  # one of these is the guard's: it sees its end
        one.order(f"continue 1 {reading}")
    one.event("waiting")
    wait_until(lambda: {"big", "later"} <= held_tables(source), 20, "another guard")
    source.sql("set lock_timeout = '60s'; alter table a add column w int")
    one.order("continue")
    assert one.event("ended", seconds=30) == "ended"
    assert {f"done big {ROWS}", "done later 0"} <= set(one.seen)


def test_a_large_table_that_somebody_waits_for_holds_up_no_smaller_one(source, room):
    source.sql("create table a (id int primary key); create table b (id int primary key); insert into a values (1);"
               "insert into b select generate_series(1, 5); analyze a, b;")
    make_big(source)
    source.sql("analyze big")
    one = start(room, source, "--quiet", connections=2, go=False)
    one.order("pause")
    one.order("go")
    for _ in range(3):
        one.event("planned")
    assert held_tables(source) == {"a", "b", "big"}
    with in_the_background(source, CHANGES["rewrite"]):
        for table in "ba":  # the guard's connection, which reads a, is free when both are read
            one.order(f"continue {'ab'.index(table)} 0")
            assert one.event("done").startswith(f"done {table}")
        source.sql("set lock_timeout = '60s'; alter table a add column v int; alter table b add column v int")
        assert "big" in held_tables(source)
        one.order("continue")
        assert one.event("ended", seconds=30) == "ended"
    assert f"done big {ROWS}" in one.seen


def test_more_tables_than_the_stack_of_locks_has_levels(source, room):
    source.sql("do $$ begin for i in 1 .. 600 loop execute format('create table t%s (id int primary key)', i);"
               " execute format('insert into t%s values (1)', i); end loop; end $$; create publication etl for all tables")
    one = start(room, source, "--quiet", connections=3, go=False)
    one.order("go")
    assert one.event("ended", seconds=60) == "ended"
    assert sum(line.endswith(" 1") for line in one.seen if line.startswith("done ")) == 600


def test_the_guard_holds_no_lock_on_the_catalog(source, room):
    make_big(source)
    one = start(room, source, "--quiet", connections=2)
    wait_for_readers(source, 2)
    held = source.sql("select distinct c.relname from pg_locks l join pg_class c on c.oid = l.relation"
                      " join pg_stat_activity a on a.pid = l.pid where a.application_name = 'etl-stream'"
                      " and l.database = (select oid from pg_database where datname = current_database())")
    assert "big" in {name for name, in held} <= {"big", "big_pkey"}
    one.order("continue")
    assert one.event("ended") == "ended"


# ---- the limit

def test_the_limit_on_rate_is_kept_over_all_connections(source, room):
    make_big(source, 5 * ROWS)  # it goes on for as long as anybody measures
    one = start(room, source, "--quiet", "--rate-kb", "1000", connections=4, go=False)
    one.order("go")
    wait_until(lambda: one.stats()["bytes"] > 100000, 10, "the first rows")
    samples = []
    for _ in range(4):
        at, before = time.monotonic(), one.stats()["bytes"]  # the answers may be late: what is counted came within the measured time
        time.sleep(1)  # what is measured is a second
        samples.append((one.stats()["bytes"] - before) / (time.monotonic() - at) / 1024)
    print("KiB/s:", [round(sample) for sample in samples])
    assert all(sample < 1000 * 1.08 for sample in samples)
    # What a busy machine missed is not made up for, and one that stood still has missed much: the best second counts. tests/unit/test_rate.c
    # has what the limit lets pass by a clock of its own.
    assert max(samples) > 1000 * 0.6
