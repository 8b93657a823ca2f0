#!/usr/bin/env python3
"""Rows a second that the stand-in for Snowflake takes, from the first append until the last row is committed.

Ten columns of the usual types, zstd, a few channels of one table at once. The batches are made and compressed before the
clock starts, so that the figure is the stand-in's; the client's processes share the machine with it.
"""
import argparse
import json
import os
import pathlib
import random
import sys
import threading
import time

import zstandard

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "integration"))
from sandbox_fixtures import Client, Pipe  # noqa: E402
from standin import StandIn  # noqa: E402

COLUMNS = (
    '"ID" NUMBER(38,0), "CUSTOMER" NUMBER(38,0), "AMOUNT" NUMBER(12,2), "NAME" VARCHAR(134217728), "NOTE" VARCHAR(134217728), '
    '"IS_OPEN" BOOLEAN, "CREATED" TIMESTAMP_TZ(6), "DAY" DATE, "RATE" FLOAT, "PAYLOAD" VARIANT'
)


def make_row(number, chance):
    return {
        "ID": number,
        "CUSTOMER": chance.randrange(1_000_000),
        "AMOUNT": round(chance.random() * 10_000, 2),
        "NAME": f"customer {chance.randrange(10**9):09d}",
        "NOTE": "".join(chance.choices("abcdefghijklmnopqrstuvwxyz \\\"\n", k=40)),
        "IS_OPEN": chance.random() < 0.5,
        "CREATED": f"2026-{chance.randrange(1, 13):02d}-{chance.randrange(1, 29):02d} 10:20:30.{chance.randrange(10**6):06d}Z",
        "DAY": f"2026-{chance.randrange(1, 13):02d}-{chance.randrange(1, 29):02d}",
        "RATE": chance.random(),
        "PAYLOAD": {"a": chance.randrange(100), "tags": ["x", "y"], "n": None},
    }


def make_bodies(count, rows, seed):
    chance = random.Random(seed)
    bodies = []
    for _ in range(count):
        raw = b"".join(json.dumps(make_row(chance.randrange(10**12), chance), separators=(",", ":")).encode() + b"\n" for _ in range(rows))
        bodies.append((zstandard.compress(raw), len(raw)))
    return bodies


def stream(told, number, bodies, appends, errors):
    try:
        client = Client(told)
        channel = Pipe(client, "BENCH").channel(f"C{number}")
        channel.open()
        for index in range(appends):
            body, raw_size = bodies[index % len(bodies)]
            headers = {"Content-Encoding": "zstd", "x-snowflake-uncompressed-content-length": str(raw_size)}
            while True:
                answer = channel.try_append(body, f"{index + 1:09d}", headers=headers)
                if answer.status != 429:
                    break
                time.sleep(0.05)  # throttled: what a client has to do
            assert answer.status == 200, answer
            channel.token = answer.json["next_continuation_token"]
        channel.wait_committed(f"{appends:09d}", 300, pause=0.2)
    except BaseException as error:
        errors.append(error)
        raise


def cpu_seconds(pid):
    """Of a process and all below it, in user and kernel mode, the children that ended included."""
    parents, seconds = {}, {}
    for process in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            fields = (process / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents[int(process.name)] = int(fields[1])
        seconds[int(process.name)] = sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")

    def is_below(process):
        while process in parents and process != pid:
            process = parents[process]
        return process == pid

    return sum(value for process, value in seconds.items() if is_below(process))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=300_000)
    parser.add_argument("--batch", type=int, default=5_000, help="rows an append")
    parser.add_argument("--channels", type=int, default=2)
    options = parser.parse_args()
    appends = max(1, options.rows // options.batch // options.channels)
    bodies = make_bodies(min(appends, 6), options.batch, seed=1)
    with StandIn() as standin:
        client = Client(standin.told)
        client.sql(f'CREATE OR REPLACE TABLE "DEMO_DB"."PUBLIC"."BENCH" ({COLUMNS})')
        errors, started, cpu_before = [], time.monotonic(), cpu_seconds(standin.process.pid)
        threads = [
            threading.Thread(target=stream, args=(standin.told, number, bodies, appends, errors)) for number in range(options.channels)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        seconds, cpu = time.monotonic() - started, cpu_seconds(standin.process.pid) - cpu_before
        total = appends * options.batch * options.channels
        stored = int(client.sql('SELECT COUNT(*) FROM "DEMO_DB"."PUBLIC"."BENCH"')[0][0])
    if errors or stored != total:
        sys.exit(f"failed: {errors or f'{stored} rows of {total} are there'}")
    raw = sum(size for _, size in bodies) / len(bodies) / options.batch
    print(f"{total} rows of {raw:.0f} bytes on {options.channels} channels in {seconds:.2f} s: {total / seconds:.0f} rows/s, "
          f"{cpu / total * 1e6:.1f} µs of CPU a row in the stand-in")


if __name__ == "__main__":
    main()
