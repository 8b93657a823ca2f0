"""Random schemas, transactions, restarts and faults: source and target are equal in the end, and no reader sees a mixture.

`make soak` runs the same for as long as asked. A failure is printed as a script; its folder holds scenario.json, with
which `tools/soak --replay` runs it again and makes it smaller.
"""
import copy
import json

import pytest

import seeds
import soak_steps
from pgserver import PgServer
from soak_check import Failed
from soak_run import SERVER_SETTINGS, Run
from soak_shrink import Shrinker, without_table
from standin import StandIn
from versions import MAJOR

FIXED_SEEDS = (1, 42)
SEED_OF_THE_DAY = seeds.of_the_day()
CHANGING_SEED = 1254  # with definitions that change, of the tables that the reader looks at as well, one of them partitioned


def sizes(is_changing, has_parts=MAJOR >= 15):
    return soak_steps.Sizes(steps=20, tables=3, huge_rows=500, filled_rows=500, has_parts=has_parts, schema_changes=is_changing)


@pytest.fixture(scope="module")
def servers():
    """Shared by the seeds: a run has a database and a schema of its own, and leaves no fault behind."""
    with PgServer(SERVER_SETTINGS) as server, StandIn() as standin:
        yield server, standin


@pytest.mark.unsanitized
@pytest.mark.parametrize("seed", [*FIXED_SEEDS, CHANGING_SEED, SEED_OF_THE_DAY])
def test_source_and_target_are_equal_after_random_changes(seed, servers, tmp_path):
    print(f"SEED={seed}; again with: tools/soak --replay {tmp_path}/run/scenario.json")
    scenario = soak_steps.make(seed, sizes(seed == CHANGING_SEED))
    run = Run(scenario, *servers, tmp_path / "run", number=1)
    try:
        run.run()
    except Failed as error:
        pytest.fail(f"{error}\n{soak_steps.script(scenario)}\nleft in {tmp_path}/run")
    print(run.summary())


def test_a_seed_gives_one_scenario_and_another_seed_another():
    made = [json.dumps(soak_steps.make(seed)) for seed in (1, 1, 2)]
    assert made[0] == made[1] != made[2]


def test_scenarios_hold_every_kind_of_table_step_and_end():
    scenarios = [soak_steps.make(seed) for seed in range(60)]
    steps = [step for scenario in scenarios for step in scenario["steps"]]
    assert {step["do"] for step in steps} >= {"tx", "stop", "start", "server", "backends", "fault", "control", "wait", "check", "verify"}
    assert {step["end"] for step in steps if step["do"] == "tx"} == {"commit", "rollback", "commit prepared", "rollback prepared"}
    text = "\n".join(map(soak_steps.script, scenarios))
    for part in ("deferrable initially deferred", "replica identity full", "replica identity using index", "replica identity nothing",
                 "publish_via_partition_root = true", "publish_via_partition_root = false", "partition by hash", "partition by list",
                 "inherits (", "unlogged", "temporary", "restart identity", "cascade", "storage plain", "storage external",
                 "rollback to s", "release s", "generate_series(1000", "for all tables", "on update cascade", "with gone as (delete",
                 "--soft-deletes", "drop column gone", "attach partition", " where ("):
        assert part in text, part
    changing = "\n".join(soak_steps.script(soak_steps.make(seed, sizes(True, has_parts=True))) for seed in range(60))
    for part in ("add column share", "alter table journal rename column note", "alter table accounts_left drop column note", "alter table tally drop column",
                 "primary key (client, n)) partition by hash (client)", ": live", ": settle"):
        assert part in changing, part


def test_the_shrinker_finds_what_is_needed_within_its_runs():
    scenario = soak_steps.make(5, soak_steps.Sizes(steps=40))
    needed = [step for step in scenario["steps"] if step["do"] in ("stop", "start")]
    table = scenario["tables"][0]
    runs = []

    def fails(candidate):
        runs.append(candidate)
        return all(step in candidate["steps"] for step in needed)
    before = copy.deepcopy(scenario)
    smaller = Shrinker(scenario, fails, 300).run()
    assert scenario == before and len(runs) <= 300
    assert all(step in needed for step in smaller["steps"][:-1]) and smaller["steps"][-1] == {"do": "check"}
    assert smaller["tables"] == []
    assert len(Shrinker(scenario, lambda _: runs.append(1) or False, 7).run()["steps"]) == len(scenario["steps"])
    gone = without_table(scenario, table)
    assert f'"{table}"' not in json.dumps(gone["steps"]) or any(f'"{table}' in other for other in gone["tables"])
