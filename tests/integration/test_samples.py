"""Schemas as people have them, with their own functions and triggers, written to by several clients while they are copied and followed."""
import os
import pathlib
import random
import threading

import psycopg
import pytest

import compare
import load
from program import wait_until
from snowflake_client import Snowflake

SAMPLES = pathlib.Path(__file__).resolve().parent / "samples"
SEED = int(os.environ.get("SAMPLES_SEED", "20261125"))
CLIENTS = 4
REFUSALS = ("P0", "23", "40")  # what a sample itself refuses, constraints, deadlocks
MERGE_OFTEN = ("--merge-interval-seconds", 1)


def at(chance):
    return f"2026-{chance.randrange(6, 13):02}-{chance.randrange(1, 29):02} {chance.randrange(24):02}:{chance.randrange(60):02}:00.{chance.randrange(10**6)}+02"


# What a client may call, how often in a hundred, and with what.
RENTAL = [
    (35, "select rental.rent(%s, %s, %s)", lambda chance: (chance.randrange(1, 60), chance.randrange(1, 60), at(chance))),
    (25, "select rental.bring_back(rental_id, %s) from (select rental_id from rental.rental where state = 'open' order by rental_id limit 1 "
         "for update skip locked) r", lambda chance: (at(chance),)),
    (8, "select rental.new_film(%s)", lambda chance: (chance.randrange(10**6),)),
    (5, "select rental.reprice(%s)", lambda chance: (str(chance.randrange(80, 120) / 100),)),
    (8, "select rental.swap_shelves(%s, %s)", lambda chance: (chance.randrange(1, 40), chance.randrange(1, 40))),
    (3, "select rental.move_customer(%s)", lambda chance: (chance.randrange(1, 60),)),
    (8, "select rental.note(%s, %s)", lambda chance: (chance.randrange(1, 60), f"{chance.getrandbits(64):x} ü\n")),
    (4, "select rental.drop_film(%s)", lambda chance: (chance.randrange(1, 60),)),
    (2, "select rental.clear_log()", lambda chance: ()),
    (2, "select rental.rebook(%s)", lambda chance: (at(chance),))]
KINDS = ("opened", "closed", "ärgerlich", "moved on")
TELEMETRY = [
    (35, "select telemetry.measure(%s, %s, %s)", lambda chance: (chance.randrange(1, 21), f"2026-11-{chance.randrange(1, 29):02} {chance.randrange(24):02}:00+00",
                                                                 str(chance.randrange(-2000, 10000) / 100))),
    (4, "select telemetry.correct(%s, %s)", lambda chance: (chance.randrange(1, 21), chance.choice((-7, 1, 7)))),
    (30, "select telemetry.happen(%s, %s, %s)",
     lambda chance: (f"stream {chance.randrange(15)}", chance.choice(KINDS),
                     psycopg.types.json.Json({f"k{chance.randrange(5)}": [chance.randrange(10**9), None, "x" * chance.randrange(3000)], "by": chance.random()}))),
    (10, "select telemetry.drain(%s)", lambda chance: (chance.randrange(1, 50),)),
    (10, "select telemetry.configure(%s, %s, %s)", lambda chance: (chance.randrange(1, 21), ["nested", f"n{chance.randrange(4)}"],
                                                                   psycopg.types.json.Jsonb({"v": chance.randrange(1000), "t": "\u00fc\"\\"}))),
    (4, "select telemetry.replace_device(%s)", lambda chance: (chance.randrange(1, 21),)),
    (5, "select telemetry.recount(%s)", lambda chance: (chance.choice(KINDS),)),
    (2, "select telemetry.forget(%s)", lambda chance: (chance.choice(("outbox", "tally")),))]
# name: what clients call, how it is filled, options of its publication
OF_SAMPLE = {"rental": (RENTAL, "select rental.fill(60, 60)", "publish_via_partition_root = true"),
             "telemetry": (TELEMETRY, "select telemetry.fill(20, 400)", "publish_via_partition_root = false")}


class Client:
    """Transactions of one to four calls, now and then rolled back, until told to stop."""

    def __init__(self, source, calls, seed):
        self.source, self.calls, self.chance = source, calls, random.Random(seed)
        self.committed, self.refused, self.error = 0, 0, None
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def transaction(self, connection):
        weights = [weight for weight, _, _ in self.calls]
        try:
            for _ in range(self.chance.randrange(1, 5)):
                _, statement, arguments = self.chance.choices(self.calls, weights)[0]
                connection.execute(statement, arguments(self.chance))
            if self.chance.random() < 0.05:
                connection.rollback()
            else:
                connection.commit()
                self.committed += 1
        except psycopg.Error as error:
            if error.sqlstate is None or error.sqlstate[:2] not in REFUSALS:
                raise
            connection.rollback()
            self.refused += 1

    def run(self):
        try:
            with self.source.connect(autocommit=False) as connection:
                while not self.stopping.wait(0.01):
                    self.transaction(connection)
        except psycopg.Error as error:
            self.error = error

    def stop(self):
        self.stopping.set()
        self.thread.join(60)
        assert not self.thread.is_alive() and self.error is None, self.error
        assert self.committed > 0


def wait_for_mark(snowflake, program, number):
    def watch():
        assert program.is_running(), program.tail()
    load.wait_for_row(snowflake, "MARK", f'"ID" = {number}', 120, watch)


@pytest.mark.parametrize("sample", OF_SAMPLE)
def test_a_schema_with_its_own_logic(source, standin, stream, sample):
    calls, fill, options = OF_SAMPLE[sample]
    print(f"SAMPLES_SEED={SEED}")
    with source.connect() as connection:
        connection.execute((SAMPLES / f"{sample}.sql").read_text(encoding="utf-8"))
        connection.execute("create table public.mark (id int primary key)")
        connection.execute(f"create publication {source.publication} for all tables with ({options})")
        connection.execute(fill)
    clients = [Client(source, calls, SEED + number) for number in range(CLIENTS)]
    program = stream(*MERGE_OFTEN)
    program.wait_for_event("live", 90)
    wait_until(lambda: min(client.committed for client in clients) > 150 or any(client.error for client in clients), 180, "traffic while it streams")
    program.kill()
    program = stream(*MERGE_OFTEN)
    program.wait_for_event("merged", 60)
    for client in clients:
        client.stop()
    source.sql("insert into mark values (1)")
    wait_for_mark(Snowflake(standin.to), program, 1)
    assert program.events("parked") == []
    compare.assert_equal(source.conninfo, source.publication, standin.to)
    assert program.terminate() == 0
