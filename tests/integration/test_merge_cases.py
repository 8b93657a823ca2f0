"""The merge against an independent model of the source: identities × histories × where an unsent value sits × cuts.

merge_model.py performs transactions and says what lands and what every table holds at every position; merge_runs.py lands
it, runs the program's own text of the merge (tests/sf/merge_text.c) on the SQL engine of the stand-in, and compares. The
same trials then run with mutants of the text, each of which at least one trial must catch.
"""
import datetime
import decimal
import random
import re

import pytest

import merge_engine
from merge_engine import SCHEMA, SnowflakeError, describe
from merge_model import SHAPES, World, position, seq
from merge_runs import DELETED_AT, Run, number_key, scripted_world

SEEDS = range(24)


@pytest.fixture(scope="module")
def engine():
    engine = merge_engine.Engine()
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def tool(tmp_path_factory):
    tool = merge_engine.TextTool(tmp_path_factory.mktemp("merge_text"))
    yield tool
    tool.close()


def positions(world):
    """A cut at every commit (exactly at its LSN: exclusive) and one behind the last."""
    return [lsn for lsn, _ in world.commits] + [world.lsn + 1]


def two_merges(engine, tool, world, copy_at, cut, mutate=None, **options):
    """Copy at one position, first merge up to a cut, then up to the end."""
    run = Run(engine, tool, world, mutate, **options)
    end = world.lsn + 1
    for name in world.tables:
        run.stream(name, copy_at)  # what came before the copy has landed too, and counts for nothing
        run.copy(name, copy_at)
        run.stream(name, end)
    run.merge(cut)
    run.check_all()
    if cut < end:
        run.merge(end)
        run.check_all()
    run.check_state()


# --- trials: each raises if the merge does not do what it should ---------------------------------------------------------

def trial_scripts_in_one_window(engine, tool, mutate=None):
    world = scripted_world(random.Random(1), SHAPES["wide"], number_key)
    places = positions(world)
    two_merges(engine, tool, world, places[0], places[0], mutate)


def trial_scripts_cut_in_the_middle(engine, tool, mutate=None):
    world = scripted_world(random.Random(2), SHAPES["plain"], number_key)
    places = positions(world)
    two_merges(engine, tool, world, places[1], places[2], mutate)


def trial_scripts_in_the_first_merge(engine, tool, mutate=None):
    world = scripted_world(random.Random(3), SHAPES["plain"], number_key)
    places = positions(world)
    two_merges(engine, tool, world, places[1], places[-1], mutate)


def pair_key(number, letter):
    return {'a"\\': number % 7, "B$$": f"{number // 7}'{'abcd'[letter]}"}


def trial_key_of_two_columns(engine, tool, mutate=None):
    world = scripted_world(random.Random(4), SHAPES["pair"], pair_key)
    places = positions(world)
    two_merges(engine, tool, world, places[1], places[3], mutate)


def trial_duplicates_and_leftovers(engine, tool, mutate=None):
    """Rows sent twice, what an earlier attempt to copy left behind, rows of an earlier epoch, rows beyond the bound."""
    rng = random.Random(5)
    world = World(rng, [SHAPES["plain"], SHAPES["events"]])
    while len(world.commits) < 24:
        world.random_commit(truncate_chance=0)
    run = Run(engine, tool, world, mutate, rng)
    places = positions(world)
    for name in world.tables:
        run.copy(name, places[4])
        run.stream(name, places[8], duplicates=0.5)
        run.land(name, [{**line, "_ETL_SEQ": line["_ETL_SEQ"].replace("01", "00", 1)} for line in world.streamed(name, 0, places[4])])
        run.copy(name, places[8])
        run.stream(name, places[18], duplicates=0.5)
    run.merge(places[12])
    run.check_all()
    run.merge(places[16])
    run.check_all()
    for name in world.tables:
        run.stream(name, places[-1], duplicates=1.0)
    run.merge(places[-1])
    run.check_all()


def truncated_world(seed):
    rng = random.Random(seed)
    world = World(rng, [SHAPES["plain"], SHAPES["events"]])
    world.commit(*[("plain", "insert", {"id": 10 + number, "body": "left alone", "n": 0}) for number in range(3)])
    for number in range(14):
        if number in (5, 9):
            world.commit(*[(name, "truncate") for name in world.tables])
        world.random_commit(truncate_chance=0)
    row = {"id": 3, "body": "x" * 50, "n": 1}
    world.commit(("plain", "truncate"), ("plain", "insert", row), ("plain", "update", (3,), {"id": 4}), ("events", "truncate"),
                 ("events", "insert", {"at": None, "what": "last", "raw": None}))
    return world


def trial_truncate_in_the_window(engine, tool, mutate=None):
    world = truncated_world(6)
    places = positions(world)
    two_merges(engine, tool, world, places[2], places[4], mutate)
    two_merges(engine, tool, world, places[1], places[8], mutate)


def trial_bound_is_the_copy(engine, tool, mutate=None):
    """The first merge's bound may be the copy's position itself: no stream row is in the window, the copied rows are."""
    world = World(random.Random(7), [SHAPES["plain"], SHAPES["events"]])
    for _ in range(12):
        world.random_commit(truncate_chance=0)
    places = positions(world)
    two_merges(engine, tool, world, places[6], places[6], mutate)


def trial_resynchronised_table(engine, tool, mutate=None):
    """One table is copied anew while the others go on: its target keeps its content until then, rows gone meanwhile go."""
    world = World(random.Random(8), [SHAPES["plain"], SHAPES["full"]])
    for _ in range(20):
        world.random_commit(truncate_chance=0)
    run = Run(engine, tool, world, mutate)
    places = positions(world)
    for name in world.tables:
        run.copy(name, places[3])
        run.stream(name, places[6])
    run.merge(places[6])
    run.check_all()
    run.stream("plain", places[-1])
    run.stream("full", places[-1])
    run.merge(places[9], ["full"])
    run.check("full")
    run.check("plain", places[6])
    run.copy("plain", places[12])
    run.merge(places[14])
    run.check_all()
    run.merge(places[-1])
    run.check_all()


def trial_zombie_is_fenced(engine, tool, mutate=None):
    world = World(random.Random(9), [SHAPES["plain"]])
    for _ in range(8):
        world.random_commit(truncate_chance=0)
    places = positions(world)
    run = Run(engine, tool, world, mutate)
    run.copy("plain", places[2])
    run.stream("plain", places[-1])
    late = run.text(places[4], [run.description("plain")])
    run.merge(places[6])
    run.must_fail("etl_fenced", None, text=late)
    run.check("plain")
    # A writer that came later takes the state over: a merge under the earlier one's name changes nothing.
    ours = run.text(places[-1], [run.description("plain")])
    engine.run(tool.ask(merge_engine.window(run.state, 0, 1, writer="00000000000000A2"), [])["fence"])
    run.must_fail("etl_fenced", None, text=ours)
    engine.run(ours.replace("00000000000000A1", "00000000000000A2"))


def trial_landing_is_behind(engine, tool, mutate=None):
    world = scripted_world(random.Random(10), SHAPES["plain"], number_key)
    places = positions(world)
    run = Run(engine, tool, world, mutate)
    run.stream("plain", places[3])
    run.copy("plain", places[1])
    run.must_fail("etl_behind_0", places[2], highest_committed=seq(places[3], 2))
    # What is highest is there; what other channels committed below it is not, or not all of it.
    there, missing = world.streamed("plain", places[1], places[3])[0]["_ETL_SEQ"], seq(places[2], 8190)
    run.must_fail("etl_behind_0", places[2], also_committed=[missing])
    run.must_fail("etl_behind_0", places[2], also_committed=[there, missing])
    run.must_fail("etl_behind_0", places[2], copied_rows=run.copies["plain"][1] + 1)
    run.must_fail("etl_behind_0", places[2], copied_rows=run.copies["plain"][1] - 1)
    run.merge(places[2], also_committed=[there])
    run.check_all()
    run.must_fail("etl_behind_0", places[3], highest_committed=seq(places[-1], 2))
    run.stream("plain", places[-1])
    run.merge(places[-1])
    run.check_all()


def trial_unresolved_value(engine, tool, mutate=None):
    """A value that nobody has: a row that entered a row filter; a row that the target lost."""
    world = World(random.Random(11), [SHAPES["plain"]])
    row = {"id": 1, "body": "x" * 80, "n": 1}
    world.commit(("plain", "insert", {**row, "id": 2}))
    world.commit(("plain", "insert", {**row, "id": 3}))
    world.commit(("plain", "enter", row, ["body"]))
    world.commit(("plain", "update", (1,), {"id": 5}))
    world.commit(("plain", "update", (2,), {"id": 1}))
    world.commit(("plain", "update", (3,), {"n": 4}))
    places = positions(world)
    run = Run(engine, tool, world, mutate)
    run.copy("plain", places[1])
    run.stream("plain", places[-1])
    run.must_fail("etl_unresolved_0", places[3])
    run.must_fail("etl_unresolved_0", places[4])
    run.must_fail("etl_unresolved_0", places[-1])
    run.merge(places[2])
    run.check_all()
    run.must_fail("etl_unresolved_0", places[3])
    run.must_fail("etl_unresolved_0", places[4])
    run.must_fail("etl_unresolved_0", places[-1])
    engine.run(f'DELETE FROM "D"."{SCHEMA}"."PLAIN"')
    run.must_fail("etl_unresolved_0", places[-1])


def trial_one_table_fails_all(engine, tool, mutate=None):
    """One transaction for all tables: when the last one fails nothing of the first is seen, and the position stays."""
    world = World(random.Random(12), [SHAPES["plain"], SHAPES["full"]])
    for _ in range(10):
        world.random_commit(truncate_chance=0)
    world.commit(("plain", "insert", {"id": 77, "body": None, "n": 7}), ("full", "insert", {"id": 77, "body": None, "raw": b"x"}))
    places = positions(world)
    run = Run(engine, tool, world, mutate)
    for name in world.tables:
        run.copy(name, places[2])
        run.stream(name, places[-1])
    run.merge(places[3])
    run.land("full", [{"_ETL_OP": "I", "ID": 78, "RAW": "not base64 !", "_ETL_SEQ": seq(places[-1], 2)}])
    run.must_fail("base64", places[-1] + 1)
    run.merge(places[-1])
    run.check_all()


def trial_wrong_hints(engine, tool, mutate=None):
    world = World(random.Random(13), [SHAPES["plain"]])
    world.commit(("plain", "insert", {"id": 1, "body": "x" * 80, "n": 1}), ("plain", "insert", {"id": 2, "body": "y" * 80, "n": 1}))
    world.commit(("plain", "update", (1,), {"n": 2}))
    world.commit(("plain", "update", (2,), {"id": 3, "body": "new"}))
    places = positions(world)
    run = Run(engine, tool, world, mutate)
    run.copy("plain", places[1])
    run.stream("plain", places[-1])
    run.must_fail("etl_hint_0", places[-1], may_have_unchanged=False)
    run.must_fail("etl_hint_0", places[-1], may_have_moved=False)
    run.must_fail("etl_hint_0", places[2], may_have_moved=False, may_have_unchanged=False)
    run.merge(places[2], may_have_moved=False)
    run.check_all()
    run.merge(places[-1], may_have_unchanged=False)
    run.check_all()


def trial_append_only_refuses_updates(engine, tool, mutate=None):
    world = World(random.Random(14), [SHAPES["events"]])
    world.random_commit(truncate_chance=0)
    run = Run(engine, tool, world, mutate)
    run.stream("events", world.lsn + 1)
    run.land("events", [{"_ETL_OP": "D", "WHAT": "x", "_ETL_SEQ": seq(world.lsn, 900)}])
    run.must_fail("etl_unresolved_0", world.lsn + 1)


def trial_deleted_rows_stay(engine, tool, mutate=None):
    """Marked with the merge's time; whatever the cuts, a row that lived is there with its last values."""
    world = scripted_world(random.Random(40), SHAPES["plain"], number_key)
    places = positions(world)
    two_merges(engine, tool, world, places[1], places[3], mutate, marks=True)
    two_merges(engine, tool, world, places[0], places[0], mutate, marks=True)


def trial_deleted_rows_have_their_time(engine, tool, mutate=None):
    world = scripted_world(random.Random(41), SHAPES["wide"], number_key)
    places = positions(world)
    two_merges(engine, tool, world, places[0], places[2], mutate, marks=True, has_times=True)


def trial_truncated_rows_stay(engine, tool, mutate=None):
    world = truncated_world(42)
    places = positions(world)
    for copy_at, cut in ((2, 4), (1, 8), (0, 0)):
        two_merges(engine, tool, world, places[copy_at], places[cut], mutate, marks=True, has_times=copy_at == 1)


def trial_marks_survive_a_resync(engine, tool, mutate=None):
    """Rows that went while the table was not followed are marked by its first merge; those marked before keep their time."""
    world = World(random.Random(43), [SHAPES["full"]])
    for _ in range(24):
        world.random_commit(truncate_chance=0)
    places = positions(world)
    run = Run(engine, tool, world, mutate, marks=True)
    run.copy("full", places[4])
    run.stream("full", places[-1])
    run.merge(places[8])
    run.check_all()
    run.copy("full", places[14])
    run.merge(places[16])
    run.check_all()
    run.merge(places[-1])
    run.check_all()
    # Another key by now: what the target holds cannot be told apart by it, and is not kept.
    row = 'INSERT INTO "D"."S"."FULL" SELECT * FROM "D"."S"."FULL"'
    engine.run(row)
    run.copy("full", places[-1])
    run.marked["full"] = {}
    run.merge(places[-1] + 1)
    run.check_all()


def trial_marks_are_lost_when_deletes_are_done(engine, tool, mutate=None):
    """The option was taken back: the column is there, rows are deleted, and a key that comes back is not marked."""
    world = World(random.Random(44), [SHAPES["plain"]])
    row = {"id": 1, "body": "x", "n": 1}
    world.commit(("plain", "insert", row), ("plain", "insert", {**row, "id": 2}), ("plain", "insert", {**row, "id": 3}))
    world.commit(("plain", "delete", (1,)))
    world.commit(("plain", "insert", {**row, "n": 2}), ("plain", "delete", (2,)))
    places = positions(world)
    run = Run(engine, tool, world, mutate, marks=True)
    run.copy("plain", places[1])
    run.stream("plain", places[-1])
    run.merge(places[2])
    run.check_all()
    run.merge(places[-1], marks_deletes=False)
    found = engine.read(SCHEMA, "PLAIN", [SHAPES["plain"].columns[0], DELETED_AT])
    assert sorted((int(one["id"]), one[DELETED_AT.name]) for one in found) == [(1, None), (3, None)]


def trial_landing_is_cleaned(engine, tool, mutate=None):
    """Merged rows go when they have been kept long enough; never others, and merges go on as if they were there."""
    world = World(random.Random(50), [SHAPES["plain"], SHAPES["events"], SHAPES["bag"]])
    for _ in range(40):
        world.random_commit(truncate_chance=0)
    run = Run(engine, tool, world, mutate)
    places = positions(world)
    for name in world.tables:
        run.stream(name, places[6])
        run.copy(name, places[4])
    merged_at, cleaned, kept_s, now_s = {}, "", 100, 1_000_000
    for number, place in enumerate(places[6:]):
        now_s += 30
        for name in world.tables:
            run.stream(name, places[min(len(places) - 1, number + 9)])  # some rows are landed beyond the bound
        answer = run.merge(place, window_more={"now_wall_us": now_s * 1_000_000, "landing_retention_s": kept_s})
        merged_at[position(place)] = now_s
        run.check_all()
        assert answer.startswith("merged ")
        newest = answer.removeprefix("merged ")
        assert newest >= cleaned and (not newest or merged_at.get(newest, now_s) <= now_s - kept_s), "rows that were merged just now would go"
        before = {name: run.landed_sequences(name) for name in world.tables}
        run.clean(newest)
        for name in world.tables:
            assert run.landed_sequences(name) == [seq for seq in before[name] if seq >= newest], name
        cleaned = newest
    assert cleaned > position(places[20])
    # A clean-up that comes late, of one that is not in charge any more, only takes what is gone anyway.
    run.clean(position(places[8]))
    run.check_all()


def trial_merge_of_procedures(engine, tool, mutate=None):
    """Text beyond the limit: procedures that the block calls, in one transaction, as if it were one."""
    world = World(random.Random(60), [SHAPES[name] for name in ("plain", "wide", "full", "bag", "events", "time_key")])
    while len(world.commits) < 24:
        world.random_commit(truncate_chance=0.02)
    run = Run(engine, tool, world, mutate, text_size_max=14000)
    places = positions(world)
    for name in world.tables:
        run.copy(name, places[2])
        run.stream(name, places[-1])
    for place in places[2::5] + [places[-1]]:
        run.merge(place)
        assert run.procedures >= 2
        run.check_all()
    run.check_state()
    # What one of them finds wrong undoes all of them.
    row = {column.name: None for column in SHAPES["plain"].columns}
    world.commit(("plain", "insert", {**row, "id": 700}), ("events", "insert", {"at": None, "what": "x", "raw": None}))
    for name in world.tables:
        run.stream(name, world.lsn + 1)
    run.must_fail("etl_behind_", world.lsn + 1, highest_committed=seq(world.lsn + 9, 2))
    run.land("events", [{"_ETL_OP": "D", "WHAT": "x", "_ETL_SEQ": seq(world.lsn + 1, 4)}])
    run.must_fail("etl_unresolved_4", world.lsn + 2)
    run.merge(world.lsn + 1)
    run.check_all()
    # A procedure that another program replaced in between is not taken for ours.
    ours = run.text(world.lsn + 9, [run.description(name) for name in world.tables])
    theirs = tool.ask(merge_engine.window(run.state, run.merged, world.lsn + 9, writer="00000000000000A2", text_size_max=14000),
                      [run.description(name) for name in world.tables])
    for statement in theirs["procedures"]:
        engine.run(mutate(statement) if mutate else statement)
    run.must_fail("etl_fenced", None, text=ours)


def bag_world(seed, count):
    rng = random.Random(seed)
    world = World(rng, [SHAPES["bag"], SHAPES["wide_bag"]])
    while len(world.commits) < count:
        world.random_commit(truncate_chance=0.01)
    return world


def trial_multiset(engine, tool, mutate=None):
    """Equal rows that nothing tells apart: their number must be right after every window."""
    world = bag_world(16, 40)
    places = positions(world)
    run = Run(engine, tool, world, mutate, world.rng)
    for name in world.tables:
        run.stream(name, places[8])
        run.copy(name, places[8])
        run.stream(name, places[-1], duplicates=0.4)
    for place in places[8::4] + [places[-1]]:
        run.merge(place)
        run.check_all()
    run.copy("bag", places[-1])  # resynchronised: the first merge replaces
    run.merge(places[-1] + 1)
    run.check_all()


def trial_coerced_values(engine, tool, mutate=None):
    """What _ETL_COERCED tells goes with its value: sent now, earlier in the window, or in the target, under other keys too."""
    rng = random.Random(21)
    world = World(rng, [SHAPES["wide"], SHAPES["plain"], SHAPES["bag"]], coerced=0.35)
    while len(world.commits) < 150:
        world.random_commit(truncate_chance=0.005)
    places = positions(world)
    run = Run(engine, tool, world, mutate, rng)
    for name in world.tables:
        run.stream(name, places[10])
        run.copy(name, places[10])
        run.stream(name, places[-1], duplicates=0.2)
    for place in places[10::20] + [places[-1]]:
        run.merge(place)
        run.check_all()


def trial_coerced_values_need_their_column(engine, tool, mutate=None):
    """A target without _ETL_COERCED would lose the originals: the merge says so and does nothing."""
    world = World(random.Random(22), [SHAPES["plain"]], coerced=1.0)
    world.random_commit()
    run = Run(engine, tool, world, mutate)
    run.stream("plain", world.lsn + 1)
    run.must_fail("etl_coerced_0", world.lsn + 1, has_coerced=False)


def trial_multiset_twins(engine, tool, mutate=None):
    """Of four equal rows two go, then another one; a row that was never there cannot go."""
    world = World(random.Random(17), [SHAPES["bag"]])
    row = {"a": 1, "body": None, "f": 0.0, "n": decimal.Decimal("1.5")}
    world.commit(*[("bag", "insert", row)] * 4, ("bag", "insert", {**row, "f": float("nan")}), ("bag", "insert", {**row, "body": ""}))
    world.commit(("bag", "delete", 0), ("bag", "delete", 0))
    world.commit(("bag", "insert", {**row, "f": -0.0}), ("bag", "update", 1, {"a": 2}))
    world.commit(("bag", "delete", 0), ("bag", "delete", 0), ("bag", "insert", row))
    places = positions(world)
    run = Run(engine, tool, world, mutate)
    run.copy("bag", places[1])
    run.stream("bag", places[-1])
    for place in places[1:]:
        run.merge(place)
        run.check_all()
    run.land("bag", [{**world.tables["bag"].line("D", {**row, "a": 9}), "_ETL_SEQ": seq(places[-1], 2)}])
    run.must_fail("etl_unresolved_0", places[-1] + 1)


def trial_multiset_refuses_what_is_not_whole(engine, tool, mutate=None):
    world = bag_world(18, 6)
    run = Run(engine, tool, world, mutate)
    for name in world.tables:
        run.stream(name, world.lsn + 1)
    run.land("bag", [{"_ETL_OP": "I", "A": 1, "_ETL_UNCHANGED": [2], "_ETL_SEQ": seq(world.lsn + 1, 2)}])
    run.must_fail("etl_unresolved_0", world.lsn + 2, ["bag"])
    run.land("wide_bag", [{"_ETL_OP": "U", "OK": True, "_ETL_SEQ": seq(world.lsn + 1, 4)}])
    run.must_fail("etl_unresolved_0", world.lsn + 2, ["wide_bag"])


def chained_world(moves, whole_at=None):
    world = World(random.Random(15), [SHAPES["plain"]])
    world.commit(("plain", "insert", {"id": 1000, "body": "b" * 70, "n": 0}))
    for number in range(moves):
        body = {"body": "c" * 70} if number == whole_at else {}
        world.commit(("plain", "update", (1000 + number,), {"id": 1001 + number, "n": number, **body}))
    return world


def trial_long_chain(engine, tool, mutate=None):
    world = chained_world(90)
    places = positions(world)
    two_merges(engine, tool, world, places[1], places[1], mutate)
    # Nobody looks further back than to an update that sent everything.
    world = chained_world(160, whole_at=100)
    places = positions(world)
    two_merges(engine, tool, world, places[1], places[1], mutate)


def trial_chain_beyond_the_limit(engine, tool, mutate=None):
    """Accounts may limit recursion (100): an error then, never a wrong value. Cut into two windows it passes."""
    world = chained_world(150)
    places = positions(world)
    run = Run(engine, tool, world, mutate)
    run.copy("plain", places[1])
    run.stream("plain", places[-1])
    run.must_fail("Recursion exceeded", places[-1])
    run.merge(places[80])
    run.check_all()
    run.merge(places[-1])
    run.check_all()


TRIALS = [value for name, value in list(globals().items()) if name.startswith("trial_")]


@pytest.mark.parametrize("trial", TRIALS, ids=lambda trial: trial.__name__.removeprefix("trial_"))
def test_merge(engine, tool, trial):
    trial(engine, tool)


# --- every cut of the scripts, every kind of key -----------------------------------------------------------------------

@pytest.mark.parametrize("copy_index", range(6))
def test_merge_scripts_at_every_cut(engine, tool, copy_index):
    world = scripted_world(random.Random(20), SHAPES["plain"], number_key)
    places = positions(world)
    for cut in places[copy_index:]:
        two_merges(engine, tool, world, places[copy_index], cut)


def bytes_key(number, letter):
    return {"k": b"\x00\\" + bytes([number, letter])}


def json_key(number, letter):
    return {"k": {"a": [number, None], "b": "it's"[: letter + 1]}}


def time_key(number, letter):
    return {"k": datetime.datetime(2024, 2, 29, 23, 59, 59, 999990 + letter, datetime.timezone.utc),
            "t": datetime.time(number % 24, number // 24, 0, 7)}


def decimal_key(number, letter):
    return {"k": decimal.Decimal(number) / 4 + decimal.Decimal("1234567890123456") * (number % 2), "f": letter / 8 - 0.125}


def full_key(number, letter):
    return {"id": 10 * number + letter - 100}


@pytest.mark.parametrize("shape, make_key", [("wide", number_key), ("full", full_key), ("pair", pair_key), ("bytes_key", bytes_key),
                                             ("json_key", json_key), ("time_key", time_key), ("decimal_key", decimal_key)])
def test_merge_kinds_of_keys(engine, tool, shape, make_key):
    world = scripted_world(random.Random(21), SHAPES[shape], make_key)
    places = positions(world)
    for copy_at, cut in ((0, 0), (1, 2), (2, 5), (3, 3)):
        two_merges(engine, tool, world, places[copy_at], places[cut])


# --- random histories --------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("seed", SEEDS)
def test_merge_random_histories(engine, tool, seed):
    """Two or three tables in one block, cut anywhere; tables drop out and are copied again; rows are sent twice."""
    rng = random.Random(seed)
    shapes = rng.sample([shape for shape in SHAPES.values() if shape.name not in ("pair",)], rng.choice((1, 2, 3)))
    world = World(rng, shapes, coerced=0.2 if seed % 4 == 3 else 0.0)
    for _ in range(rng.choice((12, 30))):
        world.random_commit(truncate_chance=rng.choice((0, 0.05)))
    run = Run(engine, tool, world, rng=rng, marks=seed % 3 == 1, has_times=seed % 2 == 1)
    spots = positions(world)
    start = rng.randrange(len(spots) // 2)
    for name in world.tables:
        run.stream(name, spots[rng.randrange(start + 1)])
        run.copy(name, spots[start] + rng.choice((0, 0, 1)))
    live = set(world.tables)
    bound = start
    while bound < len(spots) - 1:
        bound = min(len(spots) - 1, bound + rng.choice((1, 2, 5, 12)))
        for name in world.tables:
            run.stream(name, spots[min(len(spots) - 1, bound + rng.choice((0, 3)))], duplicates=rng.choice((0, 0.3)))
        for name in sorted(set(world.tables) - live):
            places = [lsn for lsn in spots[max(0, bound - 3):bound + 1] if lsn > run.copied_at[name]]
            if places:  # a copy's position is always above that of the table's earlier copies
                run.copy(name, rng.choice(places))
                live.add(name)
        run.merge(spots[bound], sorted(live))
        for name in live:
            run.check(name)
        run.check_state()
        if len(live) > 1 and rng.random() < 0.2:
            live.remove(rng.choice(sorted(live)))


# --- mutants -----------------------------------------------------------------------------------------------------------

WINDOW_START = re.compile(r"""("_ETL_SEQ" >= ')([0-9A-F]{18})'""")
WINDOW_END = re.compile(r"""("_ETL_SEQ" < ')([0-9A-F]{18})'""")


def moved_on(found):
    return f"{found.group(1)}{int(found.group(2), 16) + 1:018X}'"


# Name → the trial that must catch it, and what is done to the text.
MUTANTS = {
    "oldest event of a key wins": (trial_scripts_in_one_window, lambda t: t.replace('ORDER BY "_ETL_SEQ" DESC', 'ORDER BY "_ETL_SEQ" ASC')),
    "delete beats put in one change": (trial_scripts_in_one_window, lambda t: t.replace('"_ETL_DO" DESC) = 1', '"_ETL_DO" ASC) = 1')),
    "old keys stay": (trial_scripts_in_one_window, lambda t: t.replace('AND "_ETL_OLD_KEY" IS NOT NULL\n', "AND FALSE\n").replace(
        'WHERE "_ETL_OLD_KEY" IS NOT NULL', "WHERE FALSE")),
    "bound is inclusive": (trial_scripts_cut_in_the_middle, lambda t: WINDOW_END.sub(moved_on, t)),
    "start is exclusive": (trial_scripts_cut_in_the_middle, lambda t: WINDOW_START.sub(moved_on, t)),
    "rows before a truncate count": (trial_truncate_in_the_window, lambda t: t.replace(' AND "_ETL_SEQ" > :etl_from', "")),
    "truncate leaves the target": (trial_truncate_in_the_window, lambda t: t.replace("IF (etl_from <> '') THEN", "IF (etl_from = 'never') THEN")),
    "first merge keeps the target": (trial_resynchronised_table, lambda t: re.sub(r"\n  DELETE FROM [^\n]*;", "", t)),
    "copied rows are left out": (trial_scripts_cut_in_the_middle, lambda t: t.replace("""' AND "_ETL_OP" = 'C')""", """' AND "_ETL_OP" = 'c')""")),
    "copied rows of any attempt": (trial_duplicates_and_leftovers, lambda t: re.sub(r"""OR "_ETL_SEQ" = '\w+' AND "_ETL_OP" = 'C'\)""", """OR "_ETL_OP" = 'C')""",
                                                  re.sub(r"""WHERE "_ETL_SEQ" >= '\w+' AND \(""", "WHERE (", t))),
    "copied rows count as sent twice": (trial_scripts_cut_in_the_middle, lambda t: t.replace("""QUALIFY "_ETL_OP" = 'C' OR ROW""", "QUALIFY ROW")),
    "rows sent twice count twice": (trial_duplicates_and_leftovers, lambda t: t.replace('(PARTITION BY "_ETL_SEQ" ORDER BY "_ETL_OP") = 1',
                                                      '(PARTITION BY "_ETL_SEQ" ORDER BY "_ETL_OP") > 0')),
    "oldest value sent": (trial_scripts_in_one_window, lambda t: t.replace("MAX_BY(", "MIN_BY(")),
    "unsent is NULL": (trial_scripts_in_one_window, lambda t: re.sub(r'CASE WHEN h\."_ETL_Q\d+" IS NOT NULL THEN', "CASE WHEN TRUE THEN", t)),
    "NULL keeps what was there": (trial_scripts_cut_in_the_middle, lambda t: re.sub(r'("[^" ]+") = s\.\1(?=[,\n])', r"\1 = COALESCE(s.\1, t.\1)", t)),
    "a moved row opens no segment": (trial_scripts_in_one_window, lambda t: t.replace("""IN ('I', 'C') OR "_ETL_OLD_KEY" IS NOT NULL, 1, 0)""", """IN ('I', 'C'), 1, 0)""")),
    "a new row opens no segment": (trial_scripts_in_one_window, lambda t: t.replace("""IFF("_ETL_OP" IN ('I', 'C') OR""", """IFF("_ETL_OP" IN ('C') OR""")),
    "links are not followed": (trial_scripts_in_one_window, lambda t: t.replace('FROM p JOIN l ON ', "FROM p JOIN l ON FALSE AND ")),
    "any segment is the target's": (trial_scripts_cut_in_the_middle, lambda t: t.replace('WHERE p."_ETL_SEGMENT" = 0', "WHERE TRUE")),
    "target's value under the new key": (trial_scripts_cut_in_the_middle, lambda t: re.sub(r'(FROM )p( JOIN .*? AS x ON [^\n]*)\n       WHERE p\."_ETL_SEGMENT" = 0',
                                                        r'\1(SELECT "_ETL_SEQ" AS "_ETL_HEAD", h.* FROM h) AS p\2', t)),
    "values of any segment": (trial_scripts_in_one_window, lambda t: t.replace(' AND g."_ETL_SEGMENT" = p."_ETL_SEGMENT"', "")),
    "deletes are not done": (trial_scripts_cut_in_the_middle, lambda t: t.replace("""WHEN MATCHED AND s."_ETL_DO" = 'D' THEN DELETE""",
                                               """WHEN MATCHED AND s."_ETL_DO" = 'X' THEN DELETE""")),
    "deleted rows are inserted": (trial_scripts_in_one_window, lambda t: t.replace("""WHEN NOT MATCHED AND s."_ETL_DO" = 'P'""", "WHEN NOT MATCHED").replace(
        """WHERE s."_ETL_DO" = 'P'""", "WHERE TRUE")),
    "half of the key": (trial_key_of_two_columns, lambda t: re.sub(r" ON t\.(\S+) = s\.(\S+) AND t\.\S+ = s\.\S+\n", r" ON t.\1 = s.\2\n", t)),
    "key in the columns' order": (trial_key_of_two_columns, lambda t: t.replace('"_ETL_OLD_KEY"[0]', '"_ETL_OLD_KEY"[9]').replace(
        '"_ETL_OLD_KEY"[1]', '"_ETL_OLD_KEY"[0]').replace('"_ETL_OLD_KEY"[9]', '"_ETL_OLD_KEY"[1]') if '"_ETL_OLD_KEY"[1]' in t else t),
    "no compare-and-set": (trial_zombie_is_fenced, lambda t: t.replace("IF (SQLROWCOUNT <> 1) THEN", "IF (SQLROWCOUNT > 1) THEN")),
    "any writer": (trial_zombie_is_fenced, lambda t: re.sub(r' AND "WRITER" = \'\w+\'', "", t)),
    "no guard": (trial_landing_is_behind, lambda t: re.sub(r"IF \(etl_seen IS NULL OR [^)]*\)", "IF (FALSE)", t)),
    "no guard of other channels": (trial_landing_is_behind, lambda t: re.sub(r"IFF\(COUNT\(DISTINCT .*? = \d+, (MAX\([^)]*\)), NULL\)", r"\1", t)),
    "copied rows are not counted": (trial_landing_is_behind, lambda t: re.sub(r"IF \(etl_count <> \d+\)", "IF (FALSE)", t)),
    "unresolved values pass": (trial_unresolved_value, lambda t: t.replace("IF (etl_count > 0) THEN", "IF (FALSE) THEN")),
    "wrong hints pass": (trial_wrong_hints, lambda t: t.replace("IF (etl_odd > 0) THEN", "IF (FALSE) THEN")),
    "failure commits": (trial_one_table_fails_all, lambda t: t.replace("    ROLLBACK;\n    RAISE;", "    COMMIT;\n    RAISE;")),
    "failure is silent": (trial_one_table_fails_all, lambda t: t.replace("    ROLLBACK;\n    RAISE;", "    ROLLBACK;\n    RETURN 1;")),
    "table by table": (trial_one_table_fails_all, lambda t: t.replace(";\n  SELECT MAX(", ";\n  COMMIT;\n  BEGIN TRANSACTION;\n  SELECT MAX(")),
    "everything looks whole": (trial_scripts_in_one_window, lambda t: t.replace("""IFF("_ETL_DO" = 'P' AND "_ETL_UNCHANGED" IS NULL, 1, 0)""", "1")),
    "nothing is whole": (trial_long_chain, lambda t: t.replace(' AND a."_ETL_WHOLE" = 0', "")),
    "removed rows count as added": (trial_multiset, lambda t: t.replace("""IFF("_ETL_OP" = 'D', -1, 1)""", "1")),
    "all added rows go in": (trial_multiset, lambda t: t.replace(' AND "_ETL_NUMBER" <= "_ETL_NET"', "")),
    "all copies go": (trial_multiset_twins, lambda t: t.replace('> d."_ETL_SURPLUS"', "> 99999")),
    "one copy goes": (trial_multiset_twins, lambda t: t.replace('> d."_ETL_SURPLUS"', "> 1")),
    "the surplus stays": (trial_multiset_twins, lambda t: t.replace("WHEN MATCHED THEN DELETE", "WHEN MATCHED AND FALSE THEN DELETE")),
    "NULL is equal to nothing": (trial_multiset_twins, lambda t: re.sub(r'EQUAL_NULL\(([^ (),]+), ([^ (),]+)\)', r"\1 = \2", t)),
    "rows of a multiset sent twice": (trial_multiset, lambda t: t.replace('(PARTITION BY "_ETL_SEQ" ORDER BY "_ETL_OP") = 1', '(PARTITION BY "_ETL_SEQ" ORDER BY "_ETL_OP") > 0')),
    "a surplus beyond the target passes": (trial_multiset_twins, lambda t: t.replace("IF (etl_count > 0) THEN", "IF (FALSE) THEN")),
    "updates of a multiset pass": (trial_multiset_refuses_what_is_not_whole, lambda t: t.replace("IF (etl_odd > 0) THEN", "IF (FALSE) THEN")),
    "rows are compared by half": (trial_multiset, lambda t: re.sub(r' AND EQUAL_NULL\([^\n]*?"N"\)', "", re.sub(r'HASH\([^\n]*?\)( AS| = )', r"HASH(1)\1", t))),
    "marks stay": (trial_deleted_rows_stay, lambda t: t.replace('"_ETL_DELETED_AT" = s."_ETL_DELETED_AT"\n  WHEN NOT',
                                                 '"_ETL_DELETED_AT" = COALESCE(t."_ETL_DELETED_AT", s."_ETL_DELETED_AT")\n  WHEN NOT')),
    "rows that came and went leave nothing": (trial_deleted_rows_stay, lambda t: t.replace("""WHEN NOT MATCHED AND s."_ETL_DO" = 'P' THEN""",
                                                """WHEN NOT MATCHED AND s."_ETL_DO" = 'P' AND s."_ETL_DELETED_AT" IS NULL THEN""")),
    "an end wipes the values": (trial_deleted_rows_stay, lambda t: t.replace('ORDER BY "_ETL_DO" DESC, "_ETL_SEQ" DESC) = 1', 'ORDER BY "_ETL_SEQ" DESC, "_ETL_DO" DESC) = 1')),
    "deletes mark nothing": (trial_deleted_rows_stay, lambda t: t.replace("""WHEN MATCHED AND s."_ETL_DO" = 'D' THEN UPDATE""", """WHEN MATCHED AND s."_ETL_DO" = 'D' AND FALSE THEN UPDATE""")),
    "a truncate marks nothing": (trial_truncated_rows_stay, lambda t: t.replace('WHERE "_ETL_DELETED_AT" IS NULL', "WHERE FALSE")),
    "a truncate marks again": (trial_truncated_rows_stay, lambda t: t.replace(' WHERE "_ETL_DELETED_AT" IS NULL', "")),
    "rows of before a truncate live": (trial_truncated_rows_stay, lambda t: t.replace("< :etl_from THEN :etl_at", "< '' THEN :etl_at")),
    "a resync forgets": (trial_marks_survive_a_resync, lambda t: re.sub(r'UPDATE ([^ ]+) SET "_ETL_DELETED_AT" = :etl_at WHERE[^;]*', r"DELETE FROM \1", t)),
    "a resync keeps any rows": (trial_marks_survive_a_resync, lambda t: t.replace("IF (etl_count > 0) THEN\n    DELETE", "IF (FALSE) THEN\n    DELETE")),
    "deletes have the merge's time": (trial_deleted_rows_have_their_time, lambda t: re.sub(r'COALESCE\("_ETL_COMMIT_AT", ([^)]*\(6\))\) AS', r"\1 AS", t)),
    "marks stay when deletes are done": (trial_marks_are_lost_when_deletes_are_done, lambda t: t.replace(', "_ETL_DELETED_AT" = NULL', "")),
    "all landing rows go": (trial_landing_is_cleaned, lambda t: re.sub(r'"_ETL_SEQ" < \'\w*\'', '"_ETL_SEQ" > \'\'', t) if t.startswith("DELETE") else t),
    "merged rows go at once": (trial_landing_is_cleaned, lambda t: t.replace('"CLEAN_POSITION", "MARK_POSITION")', '"CLEAN_POSITION", "POSITION")')),
    "nothing is ever cleaned": (trial_landing_is_cleaned, lambda t: t.replace('"MARK_POSITION", \'', "NULL, '")),
    "anybody's procedure will do": (trial_merge_of_procedures, lambda t: re.sub(r"IF \(etl_token <> '[^']*'\)", "IF (FALSE)", t)),
    "procedures are not called": (trial_merge_of_procedures, lambda t: re.sub(r"  CALL [^\n]*_1_p[^\n]*\n", "", t)),
    "originals do not outlive their event": (trial_coerced_values, lambda t: re.sub(r'ELSE r\."_ETL_ORIGINAL_\d+" END', "ELSE NULL END", t)),
    "originals in the target are forgotten": (trial_coerced_values, lambda t: re.sub(r'THEN GET\(z\."_ETL_COERCED", [^)]*\)', "THEN NULL", t)),
    "originals stay for ever": (trial_coerced_values, lambda t: re.sub(r'(, |SET )"_ETL_COERCED" = s\."_ETL_COERCED"', r'\1"_ETL_COERCED" = COALESCE(s."_ETL_COERCED", t."_ETL_COERCED")', t)),
    "rows that differ in originals are equal": (trial_coerced_values, lambda t: re.sub(r', TO_JSON\((\w+\.)?"_ETL_COERCED"\)', "", re.sub(
        r' AND EQUAL_NULL\(TO_JSON\(\w+\."_ETL_COERCED"\), TO_JSON\(\w+\."_ETL_COERCED"\)\)', "", t))),
    "originals without a column pass": (trial_coerced_values_need_their_column, lambda t: t.replace("IF (etl_coerced > 0) THEN", "IF (FALSE) THEN")),
    "base64 lands as it is": (trial_scripts_in_one_window, lambda t: re.sub(r'BASE64_DECODE_BINARY\(("[^)]*")\) AS', r"TO_BINARY(\1, 'UTF-8') AS", t)),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_merge_mutant_is_caught(engine, tool, name):
    trial, change = MUTANTS[name]
    changed = []

    def mutate(text):
        mutant = change(text)
        changed.append(mutant != text)
        return mutant

    try:
        trial(engine, tool, mutate)
    except (AssertionError, SnowflakeError) as error:
        assert "compilation error" not in str(error), "the mutant is no SQL; that it fails shows nothing"
        assert any(changed), error
    else:
        assert any(changed), "the mutant changes nothing: the text that it replaces is not there any more"
        pytest.fail(f"{trial.__name__} does not notice this mutant")


def test_merge_mutant_of_the_build(engine, tmp_path, monkeypatch):
    """The build for the consistency test commits table by table; otherwise it merges like the program."""
    monkeypatch.setenv("ETL_TRAP", "merge_is_one_transaction")
    mutant = merge_engine.TextTool(tmp_path, ["-DETL_TRAPS"])
    world = World(random.Random(30), [SHAPES["plain"], SHAPES["events"]])
    for _ in range(10):
        world.random_commit(truncate_chance=0)
    places = positions(world)
    two_merges(engine, mutant, world, places[2], places[5])
    with pytest.raises(AssertionError):
        trial_one_table_fails_all(engine, mutant)
    mutant.close()


def test_merge_keeps_the_commit_time(engine, tool):
    run = Run(engine, tool, World(random.Random(32), [SHAPES["plain"]]))
    at = datetime.datetime(2024, 2, 29, 23, 59, 59, 42, datetime.timezone.utc)
    engine.run(tool.ask(merge_engine.window(run.state, 0, 0x2000, commit_wall_us=int(at.timestamp()) * 1_000_000 + 42), [])["merge"])
    found = engine.run(f"""SELECT COUNT(*) FROM "{merge_engine.DATABASE}"."{merge_engine.LANDING_SCHEMA}"."_ETL_STATE_{merge_engine.PIPELINE}"
                           WHERE "COMMIT_AT" = '{at:%Y-%m-%d %H:%M:%S.%f} +00:00'::TIMESTAMP_TZ(6) AND "MERGED_AT" IS NOT NULL""")
    assert found.rows == [["1"]]


def test_merge_without_tables_moves_the_position(engine, tool):
    run = Run(engine, tool, World(random.Random(31), [SHAPES["plain"]]))
    run.merge(0x2000, [])
    run.check_state()
    run.must_fail("etl_fenced", None, text=run.tool.ask(merge_engine.window(position(0x1000), 0x1000, 0x3000), [])["merge"])
