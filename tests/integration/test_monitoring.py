"""The alert rules and the dashboard in monitoring/: Prometheus' own tool takes them, each alert comes and stays away when it should, and
they name nothing that the program does not have."""
import json
import re
import subprocess

import pytest

from program import PROGRAM, ROOT

RULES = ROOT / "monitoring" / "alerts.yml"
DASHBOARD = ROOT / "monitoring" / "grafana.json"
PIPELINE = {"instance": "i", "pipeline_name": "shop"}
SLOT = {"instance": "i", "source_name": "db", "slot": "etl_shop"}

# Alert: labels but its severity, series that raise it, minute at which it stands, its summary, series that do not raise it.
# Series are those of PromQL's tests: a value each minute, "0+1x60" counts up from 0 by 1.
ALERTS = {
    "EtlStreamAbsent": ({}, {'up{instance="i"}': "1x60"}, 6, "No etl-stream answers on /metrics.", {'etl_build_info{version="1"}': "1x60"}),
    "EtlCatalogDown": ({"instance": "i", "catalog": "postgres"}, {"etl_catalog_healthy": "0x60"}, 3,
                       "The postgres catalog of i does not answer; pipelines run on and confirm nothing.",
                       {"etl_catalog_healthy": "0 1x60"}),
    "EtlPipelineFailing": (PIPELINE, {'etl_pipeline_state{instance="i",pipeline_name="shop",state="failed"}': "1 stale _ 1 stale 1 stale _ 1 stale _x60"},
                           6, "Pipeline shop does not run, and is tried again and again.",
                           {'etl_pipeline_state{instance="i",pipeline_name="shop",state="waiting"}': "1 stale _x60"}),
    "EtlPipelineFenced": (PIPELINE | {"state": "fenced"}, {"etl_pipeline_state": "1x60"}, 1,
                          "Pipeline shop stays stopped, because another program writes to its channels or tables.",
                          {"etl_pipeline_state": "0x60"}),
    "EtlPipelineRestarting": (PIPELINE, {"etl_pipeline_starts_total": "0+1x60"}, 40, "Pipeline shop was started 30 times in half an hour.",
                              {"etl_pipeline_starts_total": "0x20 1x60"}),
    "EtlPipelineInterrupted": (PIPELINE, {"etl_pipeline_errors_total": "0+1x60"}, 40,
                               "Pipeline shop was interrupted 30 times in half an hour.", {"etl_pipeline_errors_total": "0x10 2x60"}),
    "EtlPipelineLagging": (PIPELINE, {"etl_pipeline_lag_seconds": "400x60"}, 12, "Pipeline shop is 6m 40s behind its source.",
                           {"etl_pipeline_lag_seconds": "400x8 2x60"}),
    "EtlPipelineFarBehind": (PIPELINE, {"etl_pipeline_lag_seconds": "7200x60"}, 12, "Pipeline shop is 2h 0m 0s behind its source.",
                             {"etl_pipeline_lag_seconds": "400x60"}),
    "EtlPipelineMemoryFull": (PIPELINE, {"etl_pipeline_memory_bytes": "99x60", "etl_pipeline_memory_limit_bytes": "100x60"}, 17,
                              "Pipeline shop waits for its destination, with its memory full of rows.",
                              {"etl_pipeline_memory_bytes": "60x60", "etl_pipeline_memory_limit_bytes": "100x60"}),
    "EtlTableParked": (PIPELINE | {"table": "public.a"}, {"etl_table_parked": "1x60"}, 2,
                       "Table public.a of pipeline shop is parked, its target stands still.", {"etl_table_parked": "0x60"}),
    "EtlValuesCoerced": (PIPELINE | {"table": "public.a"}, {"etl_table_coerced_values_total": "0 0 5x60"}, 10,
                         "Values of table public.a of pipeline shop do not fit their target's type.",
                         {"etl_table_coerced_values_total": "5x60"}),
    "EtlMergesFailing": (PIPELINE | {"outcome": "failed"}, {"etl_merges_total": "0+1x60"}, 30,
                         "Merges of pipeline shop fail, its targets stand still.", {"etl_merges_total": "0 0 1x60"}),
    "EtlCircuitOpen": ({"instance": "i", "breaker": "snowflake:A/U"}, {"etl_circuit_breaker_state": "1 0.5 1 0.5 1 0.5 1 0.5 1x60"}, 7,
                       "The destination snowflake:A/U fails, and is tried every half a minute.",
                       {"etl_circuit_breaker_state": "1 0.5 0x60"}),
    "EtlSourceDown": ({"instance": "i", "source_name": "db"}, {"etl_pg_source_status": "0x60"}, 6, "The source db does not answer.",
                      {"etl_pg_source_status": "0 1x60"}),
    "EtlWalLarge": ({"instance": "i", "source_name": "db"}, {"etl_pg_source_wal_size_mb": "4000x60"}, 11,
                    "pg_wal of the source db has 4000 MB.", {"etl_pg_source_wal_size_mb": "2000x60"}),
    "EtlWalHeldBack": (SLOT, {"etl_pg_slot_retained_bytes": "4294967296x60"}, 11, "Slot etl_shop of the source db holds back 4GiB of WAL.",
                       {"etl_pg_slot_retained_bytes": "1000000x60"}),
    "EtlSlotAtRisk": (SLOT, {"etl_pg_slot_safe_wal_bytes": "1000x60"}, 2, "The source db is about to give up slot etl_shop.",
                      {"etl_pg_slot_safe_wal_bytes": "2000000000x60"}),
    "EtlSlotLost": (SLOT | {"status": "lost"}, {"etl_pg_slot_wal_status": "1x60"}, 1, "The source db has given up slot etl_shop.",
                    {"etl_pg_slot_wal_status": "0x60"}),
    "EtlAlertsUndelivered": ({"instance": "i", "type": "wal_alert"}, {"etl_alerts_failed_total": "0 1x60"}, 10,
                             "The receiver of ALERT_WAL_URL did not take alerts of type wal_alert.", {"etl_alerts_failed_total": "1x60"}),
    "EtlMetricsRefused": ({"instance": "i"}, {"etl_metrics_series_refused_total": "0 1x60"}, 10,
                          "i has more series than it may have; some metrics are missing.", {"etl_metrics_series_refused_total": "0x60"}),
}


def promtool(*arguments):
    return subprocess.run(["promtool", *map(str, arguments)], text=True, capture_output=True, stdin=subprocess.DEVNULL)


def rules():
    """Name → the text of its rule."""
    parts = re.split(r"(?m)^ +- alert: (\w+)\n", RULES.read_text())
    return dict(zip(parts[1::2], parts[2::2]))


def description_of(alert, labels):
    """What to do first, with the alert's labels filled in."""
    text = re.search(r'description: "(.*)"', rules()[alert])[1]
    return re.sub(r"{{ \$labels\.(\w+) }}", lambda found: labels[found[1]], text)


@pytest.fixture(scope="module")
def families():
    """Name → labels, as `etl-stream help metrics` has them; of a histogram the names of its lines."""
    page = subprocess.run([PROGRAM, "help", "metrics"], text=True, capture_output=True, check=True).stdout
    found = {}
    for name, labels, kind in re.findall(r"(?m)^\| `(\w+)(?:\{([\w,]+)\})?` \| (\w+) \|", page):
        labels = set(labels.split(",")) - {""}
        if kind == "histogram":
            found |= {f"{name}_bucket": labels | {"le"}, f"{name}_sum": labels, f"{name}_count": labels}
        else:
            found[name] = labels
    assert len(found) > 60
    return found


def test_prometheus_takes_the_rules():
    checked = promtool("check", "rules", RULES)
    assert checked.returncode == 0, checked.stderr + checked.stdout
    assert f"{len(ALERTS)} rules found" in checked.stdout
    assert set(rules()) == set(ALERTS)


def test_each_alert_comes_and_stays_away(tmp_path):
    def series(labels, values, name):
        own = dict(labels)
        if name == "etl_pipeline_errors_total":
            own["error_type"] = "transient"
        if name == "etl_pipeline_memory_bytes":
            own["user"] = "stream"
        text = ",".join(f'{key}="{value}"' for key, value in own.items())
        return {"series": name if "{" in name or not own else f"{name}{{{text}}}", "values": values}

    tests = []
    for alert, (labels, raising, minute, summary, quiet) in ALERTS.items():
        severity = re.search(r"severity: (\w+)", rules()[alert])[1]
        expected = {"exp_labels": labels | {"severity": severity},
                    "exp_annotations": {"summary": summary, "description": description_of(alert, labels),
                                        "runbook": f"docs/operations.md, section {alert}"}}
        for given, alerts in ((raising, [expected]), (quiet, [])):
            tests.append({"name": alert, "interval": "1m",
                          "input_series": [series(labels, values, name) for name, values in given.items()],
                          "alert_rule_test": [{"eval_time": f"{minute}m", "alertname": alert, "exp_alerts": alerts}]})
    file = tmp_path / "tests.yml"  # JSON is YAML
    file.write_text(json.dumps({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": tests}))
    tested = promtool("test", "rules", file)
    assert tested.returncode == 0, tested.stdout + tested.stderr


def test_each_alert_says_what_to_do():
    """At length in operations.md, and by itself: whoever is woken by it may have no document at hand."""
    sections = set(re.findall(r"(?m)^### (\w+)$", (ROOT / "docs" / "operations.md").read_text()))
    for alert, (labels, *_) in ALERTS.items():
        assert alert in sections and "{{" not in description_of(alert, labels)
        assert 60 < len(description_of(alert, labels)) < 250, alert


def expressions_of(dashboard):
    if isinstance(dashboard, dict):
        for key, value in dashboard.items():
            if key in ("expr", "query") and isinstance(value, str):
                yield value
            yield from expressions_of(value)
    elif isinstance(dashboard, list):
        for value in dashboard:
            yield from expressions_of(value)


def check_names(text, families):
    """Every metric that a text of PromQL names is one of ours, with labels that it has."""
    count = 0
    for name, matchers in re.findall(r"\b(etl_\w+)(?:\{([^}]*)\})?", text):
        assert name in families, f"{name} in {text}"
        labels = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers))
        assert labels <= families[name] | {"instance", "job"}, f"{name}{{{matchers}}} in {text}"
        count += 1
    return count


def test_rules_and_dashboard_name_what_there_is(families):
    assert check_names("\n".join(re.findall(r"(?m)^ +expr: (.*)$", RULES.read_text())), families) >= len(ALERTS)
    dashboard = json.loads(DASHBOARD.read_text())
    expressions = list(expressions_of(dashboard))
    assert sum(check_names(expression, families) for expression in expressions) > 30
    with pytest.raises(AssertionError):
        check_names("rate(etl_pipeline_starts[5m])", families)
    with pytest.raises(AssertionError):
        check_names('etl_table_parked{pipeline="x"}', families)


def test_every_expression_of_the_dashboard_is_promql(tmp_path):
    """As a recording rule each, since that is what the tool can check."""
    expressions = [expression for expression in expressions_of(json.loads(DASHBOARD.read_text())) if "label_values" not in expression]
    records = [{"record": f"test:expression_{i}", "expr": re.sub(r"\$__rate_interval|\$__range", "5m", expression).replace("$pipeline", ".*")
                .replace("$source", ".*").replace("$instance", ".*")} for i, expression in enumerate(expressions)]
    file = tmp_path / "dashboard.yml"
    file.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": records}]}))
    checked = promtool("check", "rules", file)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_dashboard_is_whole():
    dashboard = json.loads(DASHBOARD.read_text())
    panels = [panel for panel in dashboard["panels"] if panel["type"] != "row"]
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    for panel in panels:
        assert panel["title"] and panel["targets"] and panel["datasource"]["uid"] == "${datasource}", panel["title"]
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24
    for a in dashboard["panels"]:
        for b in dashboard["panels"]:
            one, other = a["gridPos"], b["gridPos"]
            apart = (one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"] or one["y"] + one["h"] <= other["y"]
                     or other["y"] + other["h"] <= one["y"])
            assert a is b or apart, f"{a['title']} lies on {b['title']}"
