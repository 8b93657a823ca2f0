"""Carries a scenario out against real servers: clients are threads, the program is a process, and the steps are logged.

Replaying a scenario dispatches the same steps in the same order; how transactions of several clients interleave is up to
the machine.
"""
import collections
import json
import pathlib
import queue
import shutil
import signal
import threading
import time
import urllib.parse

import psycopg

import soak_check
import soak_schema
from program import Program, Timeout, run_command, wait_until
from soak_check import Failed
from soak_steps import MARK, publication_sql
from snowflake_client import Snowflake

# A walsender that hears nothing from us is gone soon, so that holding back too long shows.
SERVER_SETTINGS = {"wal_sender_timeout": "4s", "max_wal_size": "256MB", "logical_decoding_work_mem": "64kB"}
CLIENT_SETTINGS = "-c deadlock_timeout=50ms -c lock_timeout=700ms -c statement_timeout=60s -c client_min_messages=error"
UNGUARDED = ("tally", "journal", "accounts_left", "accounts_right")
RECONNECT_SECONDS = 60
DRAIN_SECONDS = 120
HOLD_MS = 1500
MERGES_SECONDS = 3
LIVE_SECONDS = 20
VERIFY_SECONDS = 60
BAD_EVENTS = ("parked", "fenced", "pipeline_failed", "claim_lost")


class Client(threading.Thread):
    """Runs transactions one after the other. One that a lost connection interrupts is not repeated: whether it was committed,
    only the source knows, and the source is what we compare with."""

    def __init__(self, number, connect, log):
        super().__init__(daemon=True, name=f"client {number}")
        self.number, self.connect, self.log = number, connect, log
        self.queue = queue.Queue(maxsize=2)
        self.outcomes, self.states, self.error = collections.Counter(), collections.Counter(), None
        self.prepared, self._connection = {}, None  # transactions prepared and not ended: name → how they end

    def run(self):
        while (item := self.queue.get()) is not None:
            try:
                if self.error is None:
                    self._do(*item)
            except Exception as error:  # told by whoever waits for this client
                self.error = error
            finally:
                self.queue.task_done()
        if self._connection is not None:
            self._connection.close()

    def _open(self):
        deadline = time.monotonic() + RECONNECT_SECONDS
        while self._connection is None or self._connection.closed:
            try:
                self._connection = self.connect(options=CLIENT_SETTINGS)
            except psycopg.OperationalError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)  # between two tries, until the deadline
        return self._connection

    def _do(self, number, step):
        self._resolve()
        if step is None:
            return
        outcome = "lost"
        connection = self._open()
        try:
            outcome = self._transaction(connection, number, step)
        except psycopg.Error as error:
            self.states[error.sqlstate] += 1
            if not connection.closed:
                outcome = "failed"
                try:
                    connection.execute("rollback")
                except psycopg.Error:
                    connection.close()
        self.outcomes[outcome] += 1
        self.log(number=number, client=self.number, outcome=outcome)

    def _transaction(self, connection, number, step):
        connection.execute("begin")
        for part in step["body"]:
            if "savepoint" in part:
                self._savepoint(connection, part)
            else:
                self._statement(connection, part, step["guarded"] and part["table"] not in UNGUARDED)
        if step["end"] in ("commit", "rollback"):
            connection.execute(step["end"])
        else:
            name = f"soak_{self.number}_{number}"
            self.prepared[name] = step["end"]
            connection.execute(f"prepare transaction '{name}'")
        return step["end"]

    def _statement(self, connection, part, is_guarded):
        if not is_guarded:
            connection.execute(part["sql"])
            return
        connection.execute("savepoint guard")
        try:
            connection.execute(part["sql"])
            connection.execute("release guard")
        except psycopg.Error as error:
            if connection.closed:
                raise
            self.states[error.sqlstate] += 1
            connection.execute("rollback to guard")

    def _savepoint(self, connection, part):
        connection.execute("savepoint s")
        try:
            for one in part["savepoint"]:
                connection.execute(one["sql"])
            connection.execute("release s" if part["keep"] else "rollback to s")
        except psycopg.Error:
            if connection.closed:
                raise
            connection.execute("rollback to s")

    def _resolve(self):
        """Ends what is prepared: a server that restarted kept it, and one that was not prepared is not there."""
        while self.prepared:
            connection = self._open()
            try:
                there = connection.execute("select gid from pg_prepared_xacts where database = current_database() "
                                           "and gid = any (%s)", [list(self.prepared)]).fetchall()
                for name, in there:
                    connection.execute(f"{self.prepared[name]} '{name}'")
                self.prepared.clear()
            except psycopg.OperationalError:
                connection.close()


class Verify(threading.Thread):
    """etl-stream verify beside whatever goes on. Faults and restarts may keep it from a result; a difference it must not find."""

    def __init__(self, source, target, state, is_full):
        super().__init__(daemon=True, name="verify")
        self.arguments = ("verify", "--from", source, "--to", target, "--json", "--timeout", VERIFY_SECONDS, "--lease-seconds", 30,
                          *(["--full"] if is_full else []))
        self.state, self.result, self.text = state, "not ended", ""

    def run(self):
        try:
            done = run_command(*self.arguments, state=self.state, seconds=4 * VERIFY_SECONDS)
            self.text = f"{done.stdout}\n{done.stderr}"
            self.result = json.loads(done.stdout)["result"] if done.stdout else f"exit {done.returncode}"
        except Exception as error:  # told by watch(), in the caller's thread
            self.text = repr(error)


class Run:
    """One scenario in a database and a schema of its own. server: a PgServer that may be restarted; folder: gone after success."""

    def __init__(self, scenario, server, standin, folder, number, mark_seconds=120, keep=False):
        self.scenario, self.server, self.standin, self.folder = scenario, server, standin, pathlib.Path(folder)
        self.name, self.mark_seconds, self.keep = f"soak_{scenario['seed']}_{number}", mark_seconds, keep
        self.program, self.lives, self.clients, self.reader, self.verifies = None, [], [], None, []
        self.journal = scenario.get("journal", ["journal"])
        self.marks, self.counts, self.started = 0, collections.Counter(), time.monotonic()
        self._log_lock = threading.Lock()
        self._log_file = None
        self.target_url = self._target_url()
        self.snowflake = Snowflake(self.target_url)

    def _target_url(self):
        parts = urllib.parse.urlsplit(self.standin.to)
        query = dict(urllib.parse.parse_qsl(parts.query), landing_schema=f"{self.name}_landing")
        database = parts.path.strip("/").split("/")[0]
        return urllib.parse.urlunsplit(parts._replace(path=f"/{database}/{self.name}", query=urllib.parse.urlencode(query)))

    def log(self, **entry):
        with self._log_lock:
            self._log_file.write(json.dumps({"at": round(time.time(), 3), **entry}) + "\n")
            self._log_file.flush()

    def connect(self, **parameters):
        return self.server.connect(self.name, client_encoding="UTF8", **parameters)

    # The program

    def _is_excused(self):
        return bool(self._excuses())

    def _excuses(self):
        """One of the reader's tables is not live, or was not: what becomes of other tables is no excuse."""
        return [line for life in self.lives for line in list(life.lines)
                if line.get("event") in soak_check.NOT_LIVE and line.get("table") in (None, *UNGUARDED, *self.journal)]

    def watch(self):
        """Nothing has gone wrong that waiting would not mend."""
        if self.program is not None and not self.program.is_running():
            self._ended_by_itself()
        for life in self.lives:
            for line in list(life.lines):
                if line.get("event") in BAD_EVENTS:
                    raise Failed(line["event"], f"{line.get('table', '')} {line.get('message')}")
        for client in self.clients:
            if client.error is not None:
                raise Failed("client", repr(client.error))
        if self.reader is not None:
            self.reader.check()

    def _ended_by_itself(self):
        """Only a first start may: it gives up soon where somebody waits for it, and is begun again."""
        if any(life.events("streaming") for life in self.lives) or self.program.wait(20) != 1:
            raise Failed("ended", f"the program ended by itself:\n{self.program.tail()}")
        self.program = None
        self.counts["first starts given up"] += 1
        self.start([])

    def start(self, options):
        if self.program is not None:
            return
        source = self.server.url(self.name, publication="etl")
        self.program = Program(source, self.target_url, self.folder / "state.db", [*self.scenario["options"], *options]).start()
        self.lives.append(self.program)
        self.counts["starts"] += 1

    def stop(self, signal_name):
        self.watch()
        program, self.program = self.program, None
        if program is None:
            return
        if signal_name == "KILL":
            program.kill()
        else:
            try:
                code = program.terminate(60)
            except Timeout as error:
                raise Failed("no end", error) from None
            if code != 0 and program.lines:  # before its first line it has not set up anything, signals neither
                raise Failed("exit", f"SIGTERM ends it with {code}:\n{program.tail()}")
        self.counts[signal_name.lower()] += 1

    def _hold(self, step):
        """Until the stand-in holds such a request, or the program has none."""
        if self.program is None:
            return None
        fault = self.standin.add_fault(step, delay_ms=HOLD_MS)
        try:
            wait_until(lambda: self.standin.fault_hits(fault) > 0, 2, f"a request at {step}", pause=0.02, is_sure=False)
        except Timeout:
            pass
        return fault

    # The steps

    def do_tx(self, number, step):
        client = self.clients[step["client"]]
        deadline = time.monotonic() + DRAIN_SECONDS
        while True:
            self.watch()
            try:
                client.queue.put((number, step), timeout=1)
                return
            except queue.Full:
                if time.monotonic() > deadline:
                    raise Failed("client", f"client {step['client']} does not get on") from None

    def do_stop(self, _, step):
        fault = self._hold(step["at"]) if step["at"] else None
        self.stop(step["signal"])
        if fault:
            self.standin.ask(f"/faults/{fault}", method="DELETE")

    def do_start(self, _, step):
        self.start(step["options"])

    def do_server(self, _, step):
        try:
            self.server.restart(step["mode"])
        except Exception as error:
            raise Failed("server", f"{error}; the program:\n{self.program.tail() if self.program else 'is not running'}") from None
        self.counts["server restarts"] += 1

    def do_standin(self, _, step):
        self.standin.restart(signal.Signals["SIG" + step["signal"]])
        self.counts["stand-in restarts"] += 1

    def do_backends(self, _, step):
        with self.connect() as connection:
            connection.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() "
                               f"and pid <> pg_backend_pid() and ({step['which'].replace('%', '%%')})", [])
        self.counts["backends"] += 1

    def do_fault(self, _, step):
        self.standin.add_fault(**step["options"])
        self.counts["faults"] += 1

    def do_control(self, _, step):
        self.standin.ask(step["path"], step["body"])
        self.counts["faults"] += 1

    def do_verify(self, _, step):
        if self.program is not None:
            self.verifies.append(Verify(self.server.url(self.name, publication="etl"), self.target_url, self.folder / "state.db", step["full"]))
            self.verifies[-1].start()

    def await_verifies(self):
        """What they found. A difference there must not be, also where definitions change: what the program has not noticed yet is waited for."""
        while self.verifies:
            one = self.verifies.pop()
            while one.is_alive():
                self.watch()
                one.join(1)
            self.counts[f"verify {one.result}"] += 1
            self.log(verify=one.result, said=one.text[-2000:])
            if one.result in ("not ended", "different"):
                raise Failed("verify", one.text)

    def do_wait(self, _, step):
        time.sleep(step["ms"] / 1000)  # lets things run

    def do_merges(self, _, step):
        program = self.program
        if program is not None:
            try:
                program.wait_for_event("merged", MERGES_SECONDS, since=program.mark(), count=step["count"], is_sure=False)
            except Timeout:
                pass  # there was nothing to merge, or a fault holds it up

    def do_live(self, _, step):
        self.drain()  # a transaction that stays prepared keeps the slot from being made
        if self.program is not None:
            try:
                self.program.wait_for_event("live", LIVE_SECONDS)
            except Timeout:
                pass  # a fault holds it up

    def do_settle(self, number, _):
        self.drain()
        if self.program is not None:
            self.marks += 1
            try:
                soak_check.settle(self.connect, self.snowflake, self.marks, self.watch, LIVE_SECONDS)
            except (Failed, psycopg.Error) as error:
                self.watch()  # a fault holds it up, or what was to be seen is amiss
                self.log(number=number, settled=str(error))

    def drain(self):
        for client in self.clients:
            client.queue.put((None, None))
        deadline = time.monotonic() + DRAIN_SECONDS
        while any(client.queue.unfinished_tasks for client in self.clients):
            self.watch()
            if time.monotonic() > deadline:
                raise Failed("client", "the clients do not come to an end")
            time.sleep(0.01)  # until the deadline

    def calm(self):
        """No more faults."""
        self.standin.remove_faults()
        self.standin.ask("/release", {})
        self.standin.ask("/set_commit_delay", {"ms": 100})
        self.standin.ask("/set_token_life", {"seconds": 3600})

    def do_check(self, number, _):
        self.calm()
        self.drain()
        self.start([])
        self.await_verifies()
        self.marks += 1
        soak_check.settle(self.connect, self.snowflake, self.marks, self.watch, self.mark_seconds)
        # A definition that changed may be noticed only when the catalog is looked at, and then its table is copied anew. So it is with
        # a partitioned table that was truncated: its parts' files are others.
        may_wait = None if self.scenario["schema_changes"] else {
            one["table"] for one in self.scenario["definitions"] if "partition by" in one["sql"].lower()}
        soak_check.assert_equal(self.server.url(self.name), "etl", self.target_url, self.watch, self.mark_seconds, may_wait)
        self.watch()
        self.log(number=number, equal=True)
        self.counts["checks"] += 1

    # The whole

    def prepare(self):
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "scenario.json").write_text(json.dumps(self.scenario, indent=1, ensure_ascii=False))
        self._log_file = open(self.folder / "steps.log", "w", encoding="utf-8")
        self.server.sql(f"create database {self.name} template template0 encoding '{self.scenario['encoding']}'")
        with self.connect() as connection:
            connection.execute(soak_schema.WIDE)
            connection.execute(soak_schema.TYPES)
            connection.execute(f"create table {MARK} (id bigint primary key)")
            for text in [*self.scenario["common"], *(one["sql"] for one in self.scenario["definitions"]), publication_sql(self.scenario)]:
                try:
                    connection.execute(text)
                except psycopg.errors.UntranslatableCharacter:
                    self.counts["tables not filled"] += 1  # a value that the database's encoding does not have
        self.snowflake.execute(f'CREATE SCHEMA IF NOT EXISTS "{self.name.upper()}"')
        self.standin.ask("/set_commit_delay", {"ms": 100})
        self.clients = [Client(number, self.connect, self.log) for number in range(self.scenario["clients"])]
        self.reader = soak_check.Reader(self.snowflake, self.scenario["seed"], self.journal, "--soft-deletes" in self.scenario["options"], self._is_excused)
        for thread in (*self.clients, self.reader):
            thread.start()

    def run(self):
        """Raises Failed; the folder is left then."""
        try:
            self.prepare()
            for number, step in enumerate(self.scenario["steps"]):
                self.log(number=number, do=step["do"])
                getattr(self, "do_" + step["do"])(number, step)
                self.watch()
            self.reader.stop()
            self.watch()
            self.stop("TERM")
            landing = [row[1] for row in self.snowflake.query(f"SHOW TABLES IN SCHEMA \"{self.snowflake.landing_schema}\"")]
            soak_check.assert_nothing_twice(self.snowflake, [name for name in landing if name.startswith("LANDING_")])
        finally:
            self.close()
        report = "\n".join(filter(None, (life.sanitizer_reports() for life in self.lives)))
        if report:
            raise Failed("sanitizer", report)
        if not self.keep:
            shutil.rmtree(self.folder, ignore_errors=True)

    def close(self):
        self.calm()
        if self.reader is not None:
            self.reader.stop()
        for client in self.clients:
            client.error = client.error or "closed"
            client.queue.put(None)
        for thread in (*self.clients, *self.verifies):
            thread.join(DRAIN_SECONDS)
        for number, life in enumerate(self.lives):
            life.close()
            (self.folder / f"program-{number}.log").write_text("\n".join([*(json.dumps(line) for line in life.lines), *life.other]))
        if self._log_file:
            self._log_file.close()
        self.server.start()
        self.server.sql("select pg_terminate_backend(pid) from pg_stat_activity where datname = %s", [self.name])
        with self.server.connect(self.name) as connection:
            for gid, in connection.execute("select gid from pg_prepared_xacts where database = current_database()").fetchall():
                connection.execute(f"rollback prepared '{gid}'")
        self.server.drop_database(self.name)
        for schema in (self.snowflake.schema, self.snowflake.landing_schema):
            self.snowflake.execute(f'DROP SCHEMA IF EXISTS "{schema}"')

    def summary(self):
        outcomes = sum((client.outcomes for client in self.clients), collections.Counter())
        counts = {**{name: outcomes[name] for name in ("commit", "commit prepared", "failed", "lost") if outcomes[name]}, **self.counts}
        listed = ", ".join(f"{count} {name}" for name, count in counts.items())
        reads = f"{self.reader.reads} reads of {len(self.reader.states)} states ({dict(self.reader.judged)} judged)" if self.reader else ""
        resyncs = sum(len(life.events("resync")) for life in self.lives)
        follows = sum(len(life.events("schema_followed")) for life in self.lives)
        return (f"{time.monotonic() - self.started:.1f} s, {listed}, {reads}" + (f", {resyncs} resyncs" if resyncs else "")
                + (f", {follows} followed in place" if follows else "")
                + "".join(f"; not judged since: {line.get('message')}" for line in self._excuses()[:1]))
