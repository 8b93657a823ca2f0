"""Twenty pipelines in one process: all stream, and what they need of the machine is bounded. bench/pipelines has the figures of more."""
import pathlib

import pytest

from program import wait_until
from receiver import Receiver

PIPELINES, TABLES, WORKERS = 20, 3, 2


@pytest.fixture
def receiver():
    receiver = Receiver()
    yield receiver
    receiver.close()


def test_twenty_pipelines_stream_in_one_process(source, receiver, start_service):
    catalog = start_service.catalog
    service = start_service("--poll-interval-seconds", 1, "--workers", WORKERS)
    folder = pathlib.Path(f"/proc/{service.pid}")

    def count(name):
        return len(list((folder / name).iterdir()))
    service.wait_for_event("monitor_configured", 60)  # every thread has begun
    threads, descriptors = count("task"), count("fd")
    for number in range(1, PIPELINES + 1):
        tables = [f"s{number}.t{i}" for i in range(TABLES)]
        source.sql(f"create schema s{number}; " + "; ".join(f"create table {table} (id int primary key)" for table in tables)
                   + f"; create publication p{number} for table {', '.join(tables)}")
    catalog.execute("INSERT INTO destinations (name, destination_type, http_url) VALUES ('out', 'http', ?)", (receiver.url(),))
    for number in range(1, PIPELINES + 1):
        catalog.add_source(f"s{number}", source, publication_name=f"p{number}")
        catalog.add_pipeline(f"p{number}", f"s{number}", "out", settings={"slot": f"etl_{source.name}_{number}"})
    try:
        wait_until(lambda: len({line["pipeline"] for line in service.events("live")}) == PIPELINES, 120, "every pipeline to be live")
        for number in range(1, PIPELINES + 1):
            source.sql(f"insert into s{number}.t1 values ({number})")
        for number in range(1, PIPELINES + 1):
            wait_until(lambda number=number: any(row["ID"] == number for row in receiver.rows("t1", f"s{number}")), 60, f"the row of p{number}")
        # Workers and the catalog's thread are there from the start; a pipeline has no thread. Resolvers' come and go.
        wait_until(lambda: count("task") <= threads + 2 * WORKERS, 60, f"no more threads than {threads} and {2 * WORKERS}")
        # A connection for the stream and one for looking, a mailbox, and requests under way.
        wait_until(lambda: count("fd") <= descriptors + PIPELINES * 8 + 60, 60, f"no more descriptors than {descriptors} and a few")
        print(f"{count('task')} threads, {count('fd')} descriptors, {service.resident_bytes() >> 20} MiB")
        # All end, side by side.
        assert service.terminate() == 0
    finally:
        service.close()
