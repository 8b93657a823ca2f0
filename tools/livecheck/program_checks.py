"""The whole program against the account: a throw-away PostgreSQL under a small load, one SIGKILL, and the comparison."""
import contextlib
import os
import shutil
import time

import compare
import load
from pgserver import PgServer, scratch_folder
from program import PROGRAM, Program, Timeout, run_command, wait_until

from .account import CountedSnowflake
from .report import OK, Skip

DATABASE, PUBLICATION = "live_check", "etl"
CUSTOMERS, LOAD_RATE, COMMITS_BEFORE_KILL, COMMITS_AFTER = 30, 10, 40, 40
MERGE_SECONDS = 5
LIVE_SECONDS_MAX, LOAD_SECONDS_MAX, DRAIN_SECONDS_MAX = 180, 60, 120
PROGRAM_SECONDS_MAX = LIVE_SECONDS_MAX + 2 * LOAD_SECONDS_MAX + DRAIN_SECONDS_MAX
STORED_TWICE = 2  # a row is in its landing table and in its target
# A warehouse that is suspended later than this is not waited for.
AUTO_SUSPEND_SECONDS_MAX, SUSPENDED_LATER_SECONDS_MAX = 180, 60
WATCH_PAUSE_SECONDS = 5
TROUBLE = ("warning", "error")
KEY_COLUMNS = {"_ETL_OP": "VARCHAR(1)", "_ETL_SEQ": "VARCHAR(26)", "_ETL_OLD_KEY": "ARRAY", "_ETL_UNCHANGED": "ARRAY",
               "_ETL_COERCED": "VARIANT"}


class Run:
    """The source, and one life of the program after the other over the same state file."""

    def __init__(self, report, schemas, stack):
        self.report, self.schemas, self.account, self.stack = report, schemas, schemas.account, stack
        self.snowflake = CountedSnowflake(schemas.to)
        self.snowflake.budget = self.account.budget
        folder = scratch_folder("etl-live-check-")
        stack.callback(shutil.rmtree, folder, True)
        self.state = folder / "etl-stream.db"
        self.server = stack.enter_context(PgServer(settings={"fsync": "off"}))
        self.server.create_database(DATABASE)
        with self.server.connect(DATABASE) as connection:
            load.create_tables(connection, PUBLICATION)
            load.fill(connection, CUSTOMERS)
            rows = sum(connection.execute(f"select count(*) from {table}").fetchone()[0] for table in load.TABLES)
        self.account.budget.take(rows=rows * STORED_TWICE)
        name = "SNOWFLAKE_PRIVATE_KEY_PASSPHRASE"
        self.environment = {name: os.environ[name]} if name in os.environ else {}
        self.source = self.server.url(DATABASE, publication=PUBLICATION)
        self.programs = []

    def start(self):
        self.programs.append(self.stack.enter_context(Program(
            self.source, self.schemas.to, self.state, ["--merge-interval-seconds", MERGE_SECONDS], LOG_LEVEL="info",
            **self.environment)))
        return self.programs[-1]

    def warehouse(self):
        rows = self.account.shown(f"SHOW WAREHOUSES LIKE '{self.account.snowflake.warehouse}'", warehouse=None)
        return next((row for row in rows if row["name"] == self.account.snowflake.warehouse), {})


def run(report, schemas, idle_seconds):
    if not PROGRAM.exists():
        with report.check("the program", f"is built at {PROGRAM}") as one:
            one.saw("it is not there; `make` builds it, or ETL_STREAM_PROGRAM names it", False)
        return
    with contextlib.ExitStack() as stack:
        one_run = Run(report, schemas, stack)
        check_both_ends(one_run)
        program, outcome = check_first_copy(one_run)
        check_tables(one_run)
        if outcome == OK:
            program = check_kill(one_run, program)
            check_equal(one_run, program)
            check_idle(one_run, program, idle_seconds)
        with report.check("SIGTERM", "exit code 0") as one:
            code = program.terminate()
            one.saw(f"exit code {code}", code == 0)
        with report.check("warnings and errors in the program's log", "none, but for what the kill interrupted") as one:
            said = trouble(*one_run.programs)
            one.saw(said, None if said else True)


def trouble(*programs):
    """What the program complained of, newest first: Snowflake's own words are in it."""
    lines = [line.get("message") for program in programs for line in program.lines if line.get("level") in TROUBLE]
    return [*dict.fromkeys(reversed(lines)), *(text for program in programs for text in program.other)]


def check_both_ends(one_run):
    with one_run.report.check("etl-stream check", "exit code 0") as one:
        done = run_command("check", "--from", one_run.source, "--to", one_run.schemas.to, state=one_run.state, **one_run.environment)
        one.saw(f"exit code {done.returncode}: {done.stdout} {done.stderr}", done.returncode == 0)


def check_first_copy(one_run):
    program = one_run.start()
    with one_run.report.check("etl-stream run: schema, tables, copy, first merge", f"every table is live within {LIVE_SECONDS_MAX} s") as one:
        try:
            program.wait_for_event("live", LIVE_SECONDS_MAX)
        except Timeout:
            raise RuntimeError(f"not live; its log: {trouble(program)}") from None
        copied = [line.get("message", "") for line in program.events("copied")]
        one.saw("; ".join(copied), len(copied) == len(load.TABLES))
    return program, one.outcome


def check_tables(one_run):
    account, schemas, report = one_run.account, one_run.schemas, one_run.report
    database = schemas.qualified(schemas.target).split(".")[0]
    with report.check("landing tables as they were made", "TRANSIENT, one day of retention, schema evolution, our mark in the comment") as one:
        rows = account.shown(f"SHOW TABLES LIKE 'LANDING_%' IN SCHEMA {schemas.qualified(schemas.landing)}")
        kept = ("name", "kind", "retention_time", "enable_schema_evolution", "comment")
        one.saw([{name: row.get(name) for name in kept} for row in rows],
                len(rows) == len(load.TABLES) and all(
                    row["kind"] == "TRANSIENT" and row["retention_time"] == "1" and row.get("enable_schema_evolution") == "Y"
                    and "etl-stream" in row["comment"] for row in rows))
    with report.check("columns of a landing table by DESCRIBE", "name and type as they were declared") as one:
        rows = account.shown(f'DESCRIBE TABLE {schemas.qualified(schemas.landing)}."LANDING_CUSTOMERS"')
        found = {row["name"]: row["type"] for row in rows}
        one.saw(found, all(found.get(name) == type_ for name, type_ in KEY_COLUMNS.items()))
    with report.check("columns of a target by DESCRIBE", "NUMBER(38,0), NUMBER(12,2), BOOLEAN, ARRAY, VARIANT, TIMESTAMP_TZ(6)") as one:
        rows = account.shown(f'DESCRIBE TABLE {schemas.qualified(schemas.target)}."CUSTOMERS"')
        found = {row["name"]: row["type"] for row in rows}
        wanted = {"ID": "NUMBER(38,0)", "BALANCE": "NUMBER(12,2)", "IS_ACTIVE": "BOOLEAN", "TAGS": "ARRAY", "PROFILE": "VARIANT",
                  "CREATED_AT": "TIMESTAMP_TZ(6)"}
        one.saw(found, all(found.get(name) == type_ for name, type_ in wanted.items()))
    with report.check("the state table", "one pipeline, a position, a writer, a merge time") as one:
        rows = account.shown(f'SELECT * FROM {database}."{schemas.landing}"."_ETL_STATE_{DATABASE}_{PUBLICATION}"')
        one.saw(rows, len(rows) == 1 and all(rows[0].get(name) for name in ("pipeline", "position", "writer", "merged_at")))


def wait_for_commits(work, program, count):
    wanted = work.book.committed + count

    def is_done():
        if not program.is_running():
            raise RuntimeError(f"the program ended: {trouble(program)}")
        return work.book.committed >= wanted
    wait_until(is_done, LOAD_SECONDS_MAX, f"{count} commits of the load")


def check_kill(one_run, program):
    report = one_run.report
    with report.check("SIGKILL under load, and a restart", "it streams on while the load goes on") as one:
        work = load.Load(one_run.server.url(DATABASE), seed=1, rate=LOAD_RATE, max_changes=4).start()
        try:
            wait_for_commits(work, program, COMMITS_BEFORE_KILL)
            program.kill()
            program, started = one_run.start(), time.monotonic()
            program.wait_for_event("streaming", LOAD_SECONDS_MAX)
            seconds = time.monotonic() - started
            wait_for_commits(work, program, COMMITS_AFTER)
        finally:
            book = work.stop()
            one_run.account.budget.take(rows=sum(book.changes.values()) * STORED_TWICE)
        one.saw(f"streaming {seconds:.1f} s after the restart; {book}", True)
    return program


def check_equal(one_run, program):
    report = one_run.report
    with report.check("from a commit to its row in the merged target", f"within {DRAIN_SECONDS_MAX} s; merges are {MERGE_SECONDS} s apart") as one:
        def watch():
            if not program.is_running():
                raise RuntimeError(f"the program ended: {trouble(program)}")
        with one_run.server.connect(DATABASE) as connection:
            mark = load.write_mark(connection)
        started = time.monotonic()
        try:
            load.wait_for_mark(one_run.snowflake, mark, DRAIN_SECONDS_MAX, watch)
        except Timeout:
            raise RuntimeError(f"not there; the program's log: {trouble(program)}") from None
        one.saw(f"{time.monotonic() - started:.1f} s", True)
    with report.check("every table of source and target, value by value", "equal") as one:
        reports = compare.compare(one_run.server.url(DATABASE), PUBLICATION, one_run.schemas.to)
        one.saw("; ".join(map(str, reports)), all(found.is_equal for found in reports))
    with report.check("stream rows that are in a landing table twice", "none") as one:
        twice = {table: one_run.snowflake.stream_rows_twice(table) for table in load.TABLES}
        one.saw({table: len(rows) for table, rows in twice.items()}, not any(twice.values()))


def wait_until_suspended(one_run):
    """Raises Skip where the account's settings leave nothing to see."""
    row = one_run.warehouse()
    after = row.get("auto_suspend")
    if not after or not 0 < float(after) <= AUTO_SUSPEND_SECONDS_MAX:
        raise Skip(f"warehouse {row.get('name')} is {row.get('state')} and suspended after {after} s, later than is waited for "
                   f"(AUTO_SUSPEND of at most {AUTO_SUSPEND_SECONDS_MAX} s)")
    deadline = time.monotonic() + float(after) + SUSPENDED_LATER_SECONDS_MAX
    while (state := one_run.warehouse().get("state")) != "SUSPENDED":
        if time.monotonic() > deadline:
            raise RuntimeError(f"the warehouse is {state} {SUSPENDED_LATER_SECONDS_MAX} s after it should be suspended: the idle pipeline, "
                               "or somebody else, uses it")
        time.sleep(WATCH_PAUSE_SECONDS)


def check_idle(one_run, program, idle_seconds):
    report, states = one_run.report, []
    since, started = program.mark(), time.monotonic()
    with report.check("warehouse of an idle pipeline", f"once suspended it stays so for {idle_seconds:g} s") as one:
        if not idle_seconds:
            raise Skip("--idle-seconds 0")
        wait_until_suspended(one_run)
        until = time.monotonic() + idle_seconds
        while time.monotonic() < until:
            states.append(one_run.warehouse().get("state"))
            time.sleep(min(WATCH_PAUSE_SECONDS, max(0, until - time.monotonic())))
        one.saw({state: states.count(state) for state in set(states)}, set(states) == {"SUSPENDED"})
    with report.check("merges of an idle pipeline", "none") as one:
        time.sleep(max(0, max(2 * MERGE_SECONDS, idle_seconds) - (time.monotonic() - started)))
        merged = sum(line.get("event") == "merged" for line in program.lines[since:])
        one.saw(f"{merged} in {time.monotonic() - started:.0f} s", merged == 0)
