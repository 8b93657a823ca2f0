"""/metrics as Prometheus scrapes it: every name of the contract with its labels, each made to change; ours beside them; and that series
end with what they are of."""
import re
import subprocess

import pytest

from http_side import LISTENS, Client, ports_of
from program import TRAPS_PROGRAM, wait_until, wait_until_holds
from receiver import Receiver
from test_service import POLL, make_destination, wait_live

# reference: the metrics that dashboards of the first etl-stream use, with their labels.
CONTRACT = {
    "gauge": """etl_pipeline_active etl_pg_source_status{source_name} etl_pg_source_wal_size_mb{source_name}
        etl_connection_pool_size{pool} etl_circuit_breaker_state{breaker} etl_process_cpu_usage_percent etl_process_memory_used_bytes
        etl_process_virtual_memory_bytes etl_system_uptime_seconds etl_system_memory_used_bytes etl_system_memory_total_bytes
        etl_system_load_avg_1m etl_system_load_avg_5m etl_system_load_avg_15m""",
    "counter": """etl_pipeline_starts_total{pipeline_name} etl_pipeline_stops_total{pipeline_name}
        etl_pipeline_errors_total{error_type,pipeline_name} etl_events_processed_total{event_type}
        etl_events_bytes_processed_total{event_type} etl_http_requests_total{status} etl_http_retries_total
        etl_snowflake_requests_total{status} etl_snowflake_rows_inserted_total{table} etl_snowflake_bytes_processed_total
        etl_snowflake_tables_initialized_total{table} etl_snowflake_errors_total{operation}
        etl_circuit_breaker_state_changes_total{breaker,state} etl_circuit_breaker_rejected_total{breaker}
        etl_connection_pool_cleanup_total{pool} etl_schema_cache_hits_total{type} etl_schema_cache_misses_total{type} etl_process_disk_read_bytes_total
        etl_process_disk_written_bytes_total""",
    "histogram": """etl_events_batch_size etl_events_processing_duration_seconds etl_http_request_duration_seconds
        etl_snowflake_request_duration_seconds""",
}
SAMPLE = re.compile(r'(\w+)(?:\{(.*)\})? (\S+)')
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


class Scrape:
    """One answer of /metrics: what has which value, and of which type a name is."""

    def __init__(self, text):
        self.text, self.values, self.types = text, {}, {}
        for line in text.splitlines():
            if line.startswith("# TYPE "):
                _, _, name, kind = line.split(" ")
                assert name not in self.types, f"{name} comes twice"
                self.types[name] = kind
            elif not line.startswith("#"):
                name, labels, value = SAMPLE.fullmatch(line).groups()
                key = (name, frozenset(LABEL.findall(labels or "")))
                assert key not in self.values, line
                self.values[key] = float(value)

    def get(self, name, **labels):
        """None: there is no such series."""
        return self.values.get((name, frozenset(labels.items())))

    def labels_of(self, name):
        kind = self.types.get(name)
        found = [dict(labels) for series, labels in self.values if series == (f"{name}_count" if kind == "histogram" else name)]
        return set(found[0]) if found else None


class Box:
    """A service with a pipeline into Snowflake, one to an HTTP receiver, and one that cannot sign in to its source."""

    def __init__(self, source, standin, receiver, start_service):
        self.source, self.standin, self.receiver = source, standin, receiver
        source.sql("CREATE TABLE rows (id int PRIMARY KEY, body text, at date)")
        source.sql("CREATE TABLE other (id int PRIMARY KEY)")
        source.sql("INSERT INTO rows SELECT i, 'copied', '2026-01-01' FROM generate_series(1, 50) AS i")
        source.sql(f"CREATE PUBLICATION {source.publication} FOR TABLE rows, other")
        # The monitor's seconds are hundredths there: a look at the sources would come every ten seconds otherwise. A circuit is open
        # for its thirty seconds, so that whatever is tried again meanwhile is held back by it.
        self.service = start_service(*POLL, **LISTENS, WAL_POLL_INTERVAL_SECS=20, binary=TRAPS_PROGRAM, ETL_TRAP="monitor_seconds")
        self.catalog = start_service.catalog
        self.client = Client(ports_of(self.service)[0])
        make_destination(self.catalog, standin, "d1")
        self.catalog._insert("destinations", {"name": "d2", "destination_type": "http", "http_url": receiver.url()})
        self.catalog.add_source("s1", source)
        self.catalog.add_source("s_bad", source, user="nobody_there")
        self.catalog.add_source("s_mended", source, user="nobody_there")  # of no pipeline; looked at all the same
        self.catalog.add_pipeline("snow", "s1", "d1")
        self.catalog.add_pipeline("post", "s1", "d2")
        self.catalog.add_pipeline("bad", "s_bad", "d1")
        wait_live(self.service, "snow", "post")

    def scrape(self):
        return Scrape(self.client.get("/metrics").text)

    def wait(self, condition, what, seconds=60):
        """The first scrape of which the condition holds."""
        def ask():
            found = self.scrape()
            return found if condition(found) else None
        return wait_until(ask, seconds, what, pause=0.2)

    def wait_for(self, expected, name, seconds=60, **labels):
        return self.wait(lambda found: found.get(name, **labels) == expected, f"{name}{labels} to be {expected}", seconds)

    def holds(self, check, seconds=60):
        """The first scrape of which check(scrape) asserts nothing wrong: what happened and what is published of it are not one moment."""
        return wait_until_holds(self.scrape, check, seconds)

    def wait_above(self, least, name, seconds=60, **labels):
        return self.wait(lambda found: (found.get(name, **labels) or 0) > least, f"{name}{labels} to pass {least}", seconds)


@pytest.fixture
def receiver():
    receiver = Receiver()
    yield receiver
    receiver.close()


@pytest.fixture
def box(source, standin, receiver, start_service):
    return Box(source, standin, receiver, start_service)


def check_copies(box):
    """What starting and copying count."""
    box.wait_for(50, "etl_table_rows_total", pipeline_name="snow", table="public.rows")

    def told(found):
        assert found.get("etl_pipeline_starts_total", pipeline_name="snow") == 1
        assert found.get("etl_pipeline_stops_total", pipeline_name="snow") == 0
        assert found.get("etl_pipeline_state", pipeline_name="snow", state="running") == 1
        assert found.get("etl_events_processed_total", event_type="copy") == 100  # of two pipelines
        assert found.get("etl_events_bytes_processed_total", event_type="copy") > 100
        assert found.get("etl_snowflake_rows_inserted_total", table="public.rows") == 50
        assert found.get("etl_snowflake_tables_initialized_total", table="public.rows") >= 1
        assert found.get("etl_snowflake_bytes_processed_total") == found.get("etl_table_bytes_total", pipeline_name="snow", table="public.rows")
        assert found.get("etl_snowflake_requests_total", status="200") > 5
        assert found.get("etl_snowflake_request_duration_seconds_count") > 5
        assert found.get("etl_http_requests_total", status="200") >= 2
        assert found.get("etl_pipeline_memory_limit_bytes", pipeline_name="snow") > 1 << 20
        assert found.get("etl_catalog_healthy", catalog="sqlite") == 1
        assert found.get("etl_catalog_save_duration_seconds_count") > 0
    box.holds(told)
    box.wait_above(0, "etl_merges_total", pipeline_name="snow", outcome="done")

    def told(found):
        assert found.get("etl_merge_duration_seconds_count", pipeline_name="snow") >= 1
        assert found.get("etl_pipeline_merged_timestamp_seconds", pipeline_name="snow") > 1.7e9
    box.holds(told)
    box.wait_for(2, "etl_pipeline_tables", pipeline_name="snow", state="live")


def check_stream(box):
    """What the stream counts."""
    before = box.wait_for(0, "etl_table_coerced_values_total", pipeline_name="snow", table="public.rows")
    box.source.sql("INSERT INTO rows VALUES (100, 'streamed', 'infinity')")  # Snowflake's DATE has no such value
    box.source.sql("UPDATE rows SET body = 'changed' WHERE id = 100")
    box.source.sql("DELETE FROM rows WHERE id = 1")
    box.source.sql("TRUNCATE other")
    box.wait_for(53, "etl_table_rows_total", pipeline_name="snow", table="public.rows")
    box.wait_for(53, "etl_table_rows_total", pipeline_name="post", table="public.rows")
    box.wait_above(0, "etl_table_coerced_values_total", pipeline_name="snow", table="public.rows")

    def told(found):
        for event in ("insert", "update", "delete", "truncate", "relation", "begin", "commit"):
            assert found.get("etl_events_processed_total", event_type=event) >= 2, event
            assert found.get("etl_events_bytes_processed_total", event_type=event) > 0, event
        assert found.get("etl_schema_cache_hits_total", type="relation") >= 2
        assert found.get("etl_schema_cache_misses_total", type="relation") == 0
        assert found.get("etl_events_batch_size_sum") >= found.get("etl_events_batch_size_count") > 0
        assert found.get("etl_events_processing_duration_seconds_count") == found.get("etl_events_batch_size_count")
        assert found.get("etl_append_rows_sum", pipeline_name="snow") >= 53
        assert found.get("etl_append_bytes_sum", pipeline_name="snow") > 53
        assert found.get("etl_append_duration_seconds_count", pipeline_name="snow") > before.get("etl_append_duration_seconds_count", pipeline_name="snow")
    box.holds(told)
    box.wait_above(0, "etl_commit_to_committed_seconds_count", pipeline_name="snow")
    box.wait_above(0, "etl_commit_to_committed_seconds_sum", pipeline_name="snow")
    # Caught up, and what the server wrote meanwhile is confirmed.
    found = box.wait_for(0, "etl_pipeline_lag_seconds", pipeline_name="snow")
    assert found.get("etl_pipeline_lag_bytes", pipeline_name="snow") is not None


def check_sources(box):
    """What the WAL monitor finds: a source that comes up, its connection, and the slot of a pipeline."""
    box.wait_for(0, "etl_pg_source_status", source_name="s_mended")
    box.wait_for(1, "etl_pg_source_status", source_name="s1")
    box.wait_above(0, "etl_connection_pool_size", pool="wal_monitor")
    box.catalog.execute("UPDATE sources SET pg_username = 'postgres' WHERE name = 's_mended'")
    box.wait_for(1, "etl_pg_source_status", source_name="s_mended")
    box.wait_for(0, "etl_pg_source_status", source_name="s_bad")
    found = box.wait_above(15, "etl_pg_source_wal_size_mb", source_name="s1")
    assert found.get("etl_pg_source_wal_size_mb", source_name="s_bad") is None
    found = box.wait_above(1, "etl_connection_pool_size", pool="wal_monitor")
    closed = found.get("etl_connection_pool_cleanup_total", pool="wal_monitor")
    box.catalog.execute("DELETE FROM sources WHERE name = 's_mended'")
    box.wait_above(closed, "etl_connection_pool_cleanup_total", pool="wal_monitor")
    box.wait_for(None, "etl_pg_source_status", source_name="s_mended")

    def read_slots(found):
        return [dict(labels) for (name, labels), value in found.values.items()
                if name == "etl_pg_slot_active" and value == 1 and dict(labels)["source_name"] == "s1"]
    labels = read_slots(box.wait(read_slots, "a slot that is read"))[0]
    found = box.wait_for(1, "etl_pg_slot_wal_status", **labels, status="reserved")
    assert found.get("etl_pg_slot_retained_bytes", **labels) >= 0
    box.wait_for(0, "etl_pg_slot_inactive_seconds", **labels)
    found = box.wait_for(0, "etl_alerts_failed_total", type="source_down")
    assert found.get("etl_alerts_active", type="source_down") is not None


def check_troubles(box):
    """What goes wrong: a source that cannot be signed in to, a receiver that fails and refuses."""
    found = box.wait(lambda found: (found.get("etl_pipeline_errors_total", pipeline_name="bad", error_type="config") or 0) > 0, "bad to fail")
    assert found.get("etl_pipeline_errors_total", pipeline_name="snow", error_type="config") is None
    answers = iter([503])
    box.receiver.fault = lambda post: next(answers, None)
    box.source.sql("INSERT INTO other VALUES (1)")
    box.wait_above(0, "etl_http_retries_total")

    def told(found):
        assert found.get("etl_http_requests_total", status="503") == 1
        assert found.get("etl_http_request_duration_seconds_count") > found.get("etl_http_requests_total", status="503")
    box.holds(told)
    box.receiver.fault = lambda post: (422, {}, "no") if post.table == "public.other" else None
    box.source.sql("INSERT INTO other VALUES (2)")
    box.wait_for(1, "etl_table_parked", pipeline_name="post", table="public.other")

    def told(found):
        assert found.get("etl_pipeline_tables", pipeline_name="post", state="parked") == 1
        assert found.get("etl_pipeline_errors_total", pipeline_name="post", error_type="data") == 1
        assert found.get("etl_table_parked", pipeline_name="snow", table="public.other") is None
    box.holds(told)


def check_rename(box):
    """A table that is renamed goes on under its new name and has no series under its old one, but for the contract's that know no pipeline. Where it
    is parked it keeps the name by which `pipeline resync` finds it."""
    assert box.scrape().get("etl_table_rows_total", pipeline_name="snow", table="public.other") is not None
    box.source.sql("ALTER TABLE other RENAME TO another")
    box.source.sql("INSERT INTO another VALUES (3)")

    def told(found):
        assert not re.search(r'pipeline_name="snow"[^}]*table="public\.other"', found.text)
        assert found.get("etl_table_rows_total", pipeline_name="snow", table="public.another") >= 3  # by the copy, or by copy and stream
        assert found.get("etl_table_coerced_values_total", pipeline_name="snow", table="public.another") == 0
        assert found.get("etl_snowflake_rows_inserted_total", table="public.other") > 0
        assert found.get("etl_table_parked", pipeline_name="post", table="public.other") == 1
    box.holds(told)


def check_circuit(box):
    """A destination that fails: its circuit opens and holds back requests."""
    names = sorted(dict(labels)["breaker"] for series, labels in box.scrape().values if series == "etl_circuit_breaker_state")
    assert len(names) == 2 and names[0] == box.receiver.url(), names
    name = names[1]
    assert name.startswith("snowflake:")

    def told(found):
        assert found.get("etl_circuit_breaker_state", breaker=name) == 0
        assert found.get("etl_circuit_breaker_rejected_total", breaker=name) == 0
    box.holds(told)
    for step in ("append.before", "open"):
        box.standin.add_fault(step, status=503, times=None)
    box.receiver.fault = lambda post: 503
    box.source.sql("INSERT INTO rows VALUES (200, 'stuck', NULL)")
    box.wait_for(1, "etl_circuit_breaker_state", breaker=name)
    # The http destination has one of its own, per URL.
    box.wait_for(1, "etl_circuit_breaker_state", breaker=names[0])
    box.wait_above(0, "etl_circuit_breaker_rejected_total", breaker=name)

    def told(found):
        assert found.get("etl_circuit_breaker_state_changes_total", breaker=name, state="open") >= 1
        assert found.get("etl_snowflake_requests_total", status="503") >= 5
        assert found.get("etl_snowflake_errors_total", operation="append") >= 1
        assert found.get("etl_snowflake_errors_total", operation="open") >= 1
    box.holds(told)
    box.wait_above(1, "etl_pipeline_lag_seconds", pipeline_name="snow")
    box.wait_above(0, "etl_pipeline_memory_bytes", pipeline_name="snow", user="stream")


def check_contract(box):
    """Every name there with its type and labels, and a text that Prometheus' own tool takes."""
    found = box.scrape()
    for kind, names in CONTRACT.items():
        for name, labels in re.findall(r"(\w+)(?:\{([\w,]+)\})?", names):
            assert found.types.get(name) == kind, name
            assert found.labels_of(name) == set(labels.split(",")) - {""}, name
    for name in ("cpu_usage_percent", "memory_used_bytes", "virtual_memory_bytes"):
        assert found.get(f"etl_process_{name}") > 0, name
    share = found.get("etl_process_cpu_usage_percent")
    box.wait(lambda found: found.get("etl_process_cpu_usage_percent") != share, "its share of a processor to change")
    assert found.get("etl_system_memory_total_bytes") > found.get("etl_system_memory_used_bytes") > 0
    checked = subprocess.run(["promtool", "check", "metrics"], input=found.text, text=True, capture_output=True)
    contract = set(re.findall(r"etl_\w+", "".join(CONTRACT.values())))
    # It warns of names that nobody would choose today; those of the contract are as they are.
    told = [line for line in (checked.stdout + checked.stderr).splitlines() if line.split(" ")[0] not in contract]
    assert checked.returncode in (0, 3) and not told, told


def check_ends(box):
    """A description that changed; a pipeline that is paused keeps its counters, one that is removed has none."""
    box.source.sql("ALTER TABLE rows ADD COLUMN more int")
    box.source.sql("INSERT INTO rows VALUES (300, 'wider', NULL, 1)")
    box.wait_above(0, "etl_schema_cache_misses_total", type="relation")
    box.source.sql(f"ALTER PUBLICATION {box.source.publication} DROP TABLE another")
    box.wait_for(None, "etl_table_rows_total", pipeline_name="post", table="public.other")
    # What is on its way is waited for where something is paused or ends.
    box.standin.remove_faults()
    box.receiver.fault = lambda post: None
    box.catalog.set_status("bad", "PAUSE")  # it counts whenever it is tried
    box.wait_for(1, "etl_pipeline_state", pipeline_name="bad", state="paused")
    active = box.scrape().get("etl_pipeline_active")  # what one scrape tells is not of one moment
    box.catalog.set_status("post", "PAUSE")
    box.wait_for(1, "etl_pipeline_state", pipeline_name="post", state="paused")

    def told(found):
        assert found.get("etl_pipeline_stops_total", pipeline_name="post") == 1
        assert found.get("etl_pipeline_active") == active - 1
        assert found.get("etl_pipeline_lag_seconds", pipeline_name="post") is None
        assert found.get("etl_table_rows_total", pipeline_name="post", table="public.rows") >= 53
        assert 'pipeline_name="post"' in found.text
    box.holds(told)
    box.catalog.execute("DELETE FROM pipelines WHERE name = 'post'")
    box.wait(lambda found: 'pipeline_name="post"' not in found.text, "the series of the pipeline that was removed to go")


def test_metrics(box):
    check_copies(box)
    check_stream(box)
    check_sources(box)
    check_troubles(box)
    check_rename(box)
    check_circuit(box)
    check_contract(box)
    check_ends(box)
    box.service.kill()  # it would wait for what an open circuit holds back
