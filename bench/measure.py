"""The measurements. Each function does one run and returns its figures as a dict."""
import json
import shutil
import signal
import time

from parts import CLIENT_BIN, Child, Program, Sampler, cpu_seconds, peak_resident_bytes, wait_until

RUN_SECONDS_MAX = 600
BASE_SLOT = "bench_base"
OPTIONS = ("--merge-interval-seconds", "86400")


def start_program(bench, workload, state, *options, **environment):
    return Program(workload.source, bench.sink.to, state, (*OPTIONS, *bench.options, *options), LOG_LEVEL="info",
                   **environment).start()


def stop(program):
    code = program.terminate()
    assert code == 0, f"it ended with {code}:\n{program.tail()}"


def prepare_stream(bench, workload, state, rows):
    """Brings the program live on empty tables, keeps that moment (slot, state, sink), and commits the transaction."""
    program = start_program(bench, workload, state)
    program.wait_for_event("live", seconds=60)
    stop(program)
    workload.copy_slot(workload.slot, BASE_SLOT)
    shutil.copy(state, f"{state}.base")
    bench.sink.ask("save")
    workload.insert(rows)


def go_back(bench, workload, state):
    workload.copy_slot(BASE_SLOT, workload.slot)
    for rest in ("-wal", "-shm"):
        state.with_name(state.name + rest).unlink(missing_ok=True)
    shutil.copy(f"{state}.base", state)
    bench.sink.ask("restore")


def run_reader(bench, workload, rows):
    """(a) libpq, CopyData messages taken and acknowledged, nothing else."""
    slot = "bench_reader"
    workload.copy_slot(BASE_SLOT, slot)
    since = bench.server.log_size()
    child = Child(bench.folder / "reader", "stream", bench.server.conninfo(workload.name, replication="database"), slot,
                  workload.publication, rows)
    started, walsender = bench.server.wait_for_log("START_REPLICATION SLOT", since)
    sampler = Sampler(walsender)
    output, _, cpu = child.wait()
    told = json.loads(output)
    walsender_cpu = sampler.stop()
    drop_when_free(workload, slot)
    return {"seconds": told["ended"] - started, "cpu": {"walsender": walsender_cpu, "reader": cpu}, **told}


def run_recvlogical(bench, workload, end_lsn):
    """(b) pg_recvlogical to /dev/null, until the transaction's end."""
    slot = "bench_recv"
    workload.copy_slot(BASE_SLOT, slot)
    since = bench.server.log_size()
    child = Child(CLIENT_BIN / "pg_recvlogical", "-d", bench.server.conninfo(workload.name), "--slot", slot, "--start", "-f", "/dev/null",
                  "--no-loop", "--endpos", f"{end_lsn >> 32:X}/{end_lsn & 0xFFFFFFFF:X}", "-o", "proto_version=1", "-o",
                  f"publication_names={workload.publication}", "-o", "binary=true")
    started, walsender = bench.server.wait_for_log("START_REPLICATION SLOT", since)
    sampler = Sampler(walsender)
    _, ended, cpu = child.wait()
    walsender_cpu = sampler.stop()
    drop_when_free(workload, slot)
    return {"seconds": ended - started, "cpu": {"walsender": walsender_cpu, "pg_recvlogical": cpu}}


def drop_when_free(workload, slot):
    wait_until(lambda: workload.server.value("select not active from pg_replication_slots where slot_name = %s", [slot]), 30,
               f"slot {slot} to be free", pause=0.02)
    workload.drop_slot(slot)


def has_all(bench, what, count):
    """When the last row was there, or None."""
    told = bench.sink.ask("report")
    return max(channel["at"] for channel in told["channels"]) / 1e9 if told[what] >= count else None


def run_ours(bench, workload, state, what, count, delay_ms=0):
    """From START_REPLICATION until the sink has all rows; processor time of the program from START_REPLICATION on. All is so
    many "lines", which the sink counts only where it is told to, or "raw_bytes": the same rows have the same bytes again."""
    go_back(bench, workload, state)
    bench.sink.ask(f"delay {delay_ms}")
    since = bench.server.log_size()
    sink_before = cpu_seconds(bench.sink.process.pid)
    program = start_program(bench, workload, state)
    try:
        started, walsender = bench.server.wait_for_log("START_REPLICATION SLOT", since)
        before = cpu_seconds(program.pid)
        ended = wait_until(lambda: has_all(bench, what, count), RUN_SECONDS_MAX, "the last row", pause=0.05)
        cpu = {"walsender": cpu_seconds(walsender), "etl-stream": cpu_seconds(program.pid) - before,
               "sink": cpu_seconds(bench.sink.process.pid) - sink_before}
        peak = peak_resident_bytes(program.pid)
        told = bench.sink.ask("report")
        stop(program)
    finally:
        program.close()
    bench.sink.ask("delay 0")
    return {"seconds": ended - started, "cpu": cpu, "peak_resident_bytes": peak, "appends": told["appends"],
            "wire_bytes": told["wire_bytes"], "raw_bytes": told["raw_bytes"], "lines": told["lines"],
            "channels": sum(channel["appends"] > 0 for channel in told["channels"])}


# ---- the copy

def run_copy_reader(bench, workload):
    seconds = cpu = 0.0
    for table in workload.tables:
        child = Child(bench.folder / "reader", "copy", bench.server.conninfo(workload.name),
                      f"copy {table} to stdout (format binary)")
        output, _, used = child.wait()
        told = json.loads(output)
        seconds, cpu = seconds + told["ended"] - told["began"], cpu + used
    return {"seconds": seconds, "cpu": {"reader": cpu}}


def run_copy_ours(bench, workload, state, rows):
    """From the first COPY in the server's log until the sink has every table's last row. A range's channel has a token that ends in
    the number of its newest row; a table may have several."""
    for rest in ("", "-wal", "-shm"):
        state.with_name(state.name + rest).unlink(missing_ok=True)
    workload.server.sql("select pg_drop_replication_slot(slot_name) from pg_replication_slots where slot_name = %s", [workload.slot],
                        dbname=workload.name)
    bench.sink.ask("restore")
    per_table = {table.upper(): workload.server.value(f"select count(*) from {table}", dbname=workload.name) for table in workload.tables}
    assert sum(per_table.values()) == rows
    workload.server.sql(f"alter database {workload.name} set log_statement = 'all'")
    since = bench.server.log_size()
    sink_before = cpu_seconds(bench.sink.process.pid)
    copied_at = {}

    def is_copied():
        found = dict.fromkeys(per_table, 0)
        for channel in bench.sink.ask("report")["channels"]:
            table = channel["pipe"].replace("%22", "").removeprefix("LANDING_").removesuffix("-STREAMING")
            if channel["token"].startswith("C"):
                found[table] += int(channel["token"][-12:], 16)
                copied_at[table] = max(copied_at.get(table, 0), channel["at"] / 1e9)
        return found == per_table

    program = start_program(bench, workload, state)
    try:
        started, backend = bench.server.wait_for_log("(?i:statement: .*copy .* to stdout)", since)
        before, sampler = cpu_seconds(program.pid), Sampler(backend)
        wait_until(is_copied, RUN_SECONDS_MAX, "the last copied row", pause=0.05)
        cpu = {"server": sampler.stop(), "etl-stream": cpu_seconds(program.pid) - before,
               "sink": cpu_seconds(bench.sink.process.pid) - sink_before}
        peak = peak_resident_bytes(program.pid)
        told = bench.sink.ask("report")
        program.wait_for_event("live", seconds=60)
        stop(program)
    finally:
        program.close()
    return {"seconds": max(copied_at.values()) - started, "cpu": cpu, "peak_resident_bytes": peak, "appends": told["appends"],
            "wire_bytes": told["wire_bytes"], "raw_bytes": told["raw_bytes"], "lines": told["lines"]}


# ---- latency

def run_latency(bench, workload, state, commits, per_second):
    """Single-row commits at a steady pace, each to the next table. Times in microseconds, sorted."""
    trace = bench.folder / "wire-times"
    program = start_program(bench, workload, state, LD_PRELOAD=bench.folder / "wire_times.so", WIRE_TIMES_FILE=trace,
                            WIRE_TIMES_PORT=bench.server.port)
    try:
        program.wait_for_event("live", seconds=60)
        bench.sink.ask("note 1")
        before = cpu_seconds(program.pid)
        started = time.monotonic()
        with workload.server.connect(workload.name) as connection:
            for number in range(commits):
                values = workload_values(number + 1)
                table = workload.tables[number % len(workload.tables)]
                time.sleep(max(0.0, started + number / per_second - time.monotonic()))
                connection.execute(f"insert into {table} {values}")
        seconds = time.monotonic() - started
        cpu = cpu_seconds(program.pid) - before
        # The last row is a table's only row at that commit: all tables have what they were given when every token has moved on.
        wait_until(lambda: count_noted_rows(bench, commits), 30, "the last append", pause=0.1)
        notes = bench.sink.ask("notes")
        stop(program)
    finally:
        program.close()
    return {"commits": commits, "seconds": seconds, "cpu": {"etl-stream": cpu}, **join_times(trace, notes)}


def workload_values(number):
    from workload import VALUES
    return VALUES.format(first=number, last=number)


def count_noted_rows(bench, commits):
    """Each commit has one row; the appends' last tokens, in order, end at the last one."""
    size = len(bench.sink.ask("notes"))
    time.sleep(0.3)  # no append for that long, with at most an eighth of a second between two of a channel
    return size > 0 and len(bench.sink.ask("notes")) == size


def join_times(trace, notes):
    received, sends = {}, []
    for line in trace.read_text().splitlines():
        kind, *fields = line.split()
        if kind == "R":
            token = f"01{fields[0]}{int(fields[1]):08X}"
            received[token] = int(fields[2]), int(fields[3]), int(fields[4])  # relation, commit time, received
        else:
            sends.append((fields[0], fields[1], fields[2], int(fields[4])))
    arrived = {(pipe, last): at for pipe, _, last, at in notes}
    relations = {pipe: received[first][0] for pipe, first, _, _ in sends if first in received}
    by_relation = {}
    for token in sorted(received):
        by_relation.setdefault(received[token][0], []).append(token)
    to_wire, to_sink, batch_sizes = [], [], []
    for pipe, first, last, sent in sends:
        tokens = [token for token in by_relation.get(relations.get(pipe), ()) if first <= token <= last]
        batch_sizes.append(len(tokens))
        for token in tokens:
            _, committed, at = received[token]
            to_wire.append((sent - at) / 1000)
            if (pipe, last) in arrived:
                to_sink.append((arrived[pipe, last] - committed) / 1000)
    assert to_wire, "no append was seen"
    return {"rows": len(to_wire), "appends": len(sends), "received_to_wire_us": sorted(to_wire), "commit_to_sink_us": sorted(to_sink)}
