"""pgbench's tables and many small ones, copied under live load while what copies them is ended in all ways. For
test_copy_at_size.py and, larger, bench/copy_at_size.
"""
import pathlib
import subprocess
import tempfile
import time

import psycopg

import compare
from pgserver import CLIENT_BIN
from program import pipeline_status, wait_until
from snowflake_client import OBJECT_IS_MISSING, Snowflake, SnowflakeError

ACCOUNTS_PER_SCALE = 100000
PART_ROWS = 250000  # that are compared at a time
SMALL_LOAD = """
\\set n random(0, {last})
\\set id random(1, 1000)
insert into small_:n (id, note) values (:id, 'new') on conflict (id) do update set note = small_:n.note || '+', at = now();
delete from small_:n where id = 1001 - :id;
"""


class AtSize:
    """A source with its load, and what is done to a copy of it."""

    def __init__(self, source, scale, small_tables, say=print):
        self.source, self.scale, self.small_tables, self.say = source, scale, small_tables, say
        self.load = None
        self.script = None

    @property
    def accounts(self):
        return self.scale * ACCOUNTS_PER_SCALE

    def fill(self):
        self._pgbench("-i", "-q", "-s", str(self.scale), "--no-vacuum").wait()
        for number in range(self.small_tables):
            self.source.sql(f"create table small_{number} (id int primary key, note text, at timestamptz default now(),"
                            f" amount numeric(10,2)); insert into small_{number} select g, 'note ' || g, now(), g / 7.0"
                            f" from generate_series(1, {50 + 37 * number % 950}) g")
        self.source.sql("analyze")
        self.source.sql(f"create publication {self.source.publication} for all tables")

    def _pgbench(self, *arguments, **options):
        return subprocess.Popen([CLIENT_BIN / "pgbench", "-h", "127.0.0.1", "-p", str(self.source.server.port), "-U", "postgres",
                                 *arguments, self.source.name], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                stderr=subprocess.DEVNULL, **options)

    def start_load(self, rate):
        self.script = pathlib.Path(tempfile.mkstemp(suffix=".sql")[1])
        self.script.write_text(SMALL_LOAD.format(last=self.small_tables - 1))
        self.load = self._pgbench("-n", "-c", "2", "-T", "7200", "-R", str(rate), "-b", "tpcb-like@1", "-f", f"{self.script}@1")

    def stop_load(self):
        if self.load is None:
            return
        assert self.load.poll() is None, "the load ended by itself"
        self.load.terminate()
        self.load.wait(60)
        self.load = None
        self.script.unlink()

    # ---- what is ended

    def pids(self, what):
        """exporter; readers, by the lock on the largest table, of which one is the guard and the others are workers."""
        if what == "exporter":
            query = ("select pid from pg_stat_activity where application_name = 'etl-stream' and backend_type = 'walsender'"
                     " and datname = current_database() and query like '%%pg_export_snapshot%%'")
        else:
            query = ("select l.pid from pg_locks l join pg_stat_activity a on a.pid = l.pid where l.granted"
                     " and l.relation = 'pgbench_accounts'::regclass and l.mode = 'AccessShareLock'"
                     " and a.application_name = 'etl-stream' and a.datname = current_database() order by a.xact_start, a.pid")
        found = [pid for pid, in self.source.sql(query)]
        return found[:1] if what == "guard" else found[1:] if what == "worker" else found

    def end(self, what):
        pid = wait_until(lambda: self.pids(what), 60, f"the copy's {what}")[0]
        self.source.sql("select pg_terminate_backend(%s)", [pid])

    def end_all(self, what):
        for pid in self.pids(what):
            self.source.sql("select pg_terminate_backend(%s)", [pid])

    # ---- how far it is

    @staticmethod
    def copy_status(program):
        return pipeline_status(program.status()).get("copy", {})

    def wait_for_share(self, program, share, seconds=600):
        """Of the largest table, in the copy under way; a status may be that of an earlier life until there is a plan. The status."""
        program.wait_for_event("copy_planned", seconds)

        def is_there():
            assert program.is_running(), program.tail()
            status = pipeline_status(program.status())
            table = next((table for table in status.get("tables", []) if table["table"] == "pgbench_accounts"), {})
            copy = table.get("copy")
            if copy is None:
                assert table.get("state") not in ("copied", "live"), f"copied before {share:.0%} of it was seen"
                return False
            return status if copy["rows"] >= share * self.accounts else None
        return wait_until(is_there, seconds, f"{share:.0%} of the largest table", pause=0.1)

    def wait_until_merged(self, program, target, seconds=600):
        mark = -(time.time_ns() % 2**31)
        self.source.sql("insert into small_0 (id, note) values (%s, 'mark')", [mark])
        snowflake = Snowflake(target)
        statement = f'SELECT COUNT(*) FROM {snowflake.qualified("SMALL_0")} WHERE "ID" = {mark}'

        def is_there():
            assert program.is_running(), program.tail()
            try:
                return snowflake.value(statement) == "1"
            except SnowflakeError as error:
                if error.status < 500 and error.code != OBJECT_IS_MISSING:
                    raise
                return False
        wait_until(is_there, seconds, "the mark in the target", pause=0.5)

    def parts_of(self, schema, table):
        if table != "pgbench_accounts":
            return [None]
        edges = [-2**31, *range(1, self.accounts, PART_ROWS), 2**31 - 1]
        return [("aid", low, high) for low, high in zip(edges, edges[1:])]

    def compare(self, target):
        """(rows, reports of what is not equal)."""
        reports = compare.compare(self.source.conninfo, self.source.publication, target, parts_of=self.parts_of)
        return sum(report.source_rows for report in reports), [report for report in reports if not report.is_equal]
