"""The file destination: the files hold every row exactly once, whatever is killed and whenever the disk is full."""
import contextlib
import json
import os
import random
import re
import subprocess

import pytest

import landed_rows
import load
from program import run_command, wait_until
from test_pipeline import make_tables

SEED = int(os.environ.get("FILE_SEED", "20261125"))
SEQUENCE = re.compile(r"[0-9A-F]{26}")


class Files:
    """What a destination's directory holds."""

    def __init__(self, folder):
        self.folder = folder

    def table(self, name, schema="public"):
        return self.folder / schema / name

    def complete(self, name):
        """Files that never change again: what a batch loader takes."""
        table = self.table(name)
        return sorted([*table.glob("*.ndjson"), *table.glob("copy-*/*.ndjson")])

    def open(self, name):
        return sorted(self.table(name).glob("*.ndjson.open"))

    @staticmethod
    def text(path):
        """A file that was open when it was listed may be complete by now: it has its final name then, for good."""
        try:
            return path.read_text(encoding="utf-8")
        except FileNotFoundError:
            if path.suffix != ".open":
                raise
            return path.with_suffix("").read_text(encoding="utf-8")

    def rows(self, name):
        """A table's copy goes when it was copied anew: then it is looked once more what there is."""
        for _ in range(20):
            with contextlib.suppress(FileNotFoundError):
                return self._rows(name)
        raise AssertionError(f"files of {name} go again and again")

    def _rows(self, name):
        rows = []
        # Open ones are listed first: one that is completed between the two looks is found twice and read once.
        open_ones = self.open(name)
        complete = self.complete(name)
        for path in [*complete, *(path for path in open_ones if path.with_suffix("") not in complete)]:
            text = self.text(path)
            # The last line of the file that grows may not be whole yet.
            rows += [json.loads(line) for line in text.split("\n")[:-1]]
        return rows

    def copies(self, name):
        return sorted(path.name for path in self.table(name).glob("copy-*"))


@pytest.fixture
def files(tmp_path):
    return Files(tmp_path / "files")


@pytest.fixture
def stream_files(source, files, start_stream):
    def start(*options, query="", **environment):
        return start_stream(source.url(), f"file:{files.folder}{query}", *options, **environment)
    return start


def settle(source, files, program, seconds=60):
    program.wait_for_event("live", seconds)  # positions do not wait for copies
    with source.connect() as connection:
        mark = load.write_mark(connection)

    def is_there():
        assert program.is_running(), program.tail()
        return landed_rows.has_mark(files.rows("order_events"), mark)
    wait_until(is_there, seconds, "the last row in the files")
    # Other tables' files are written side by side: the confirmed position has passed them all.
    lsn = source.value("select pg_current_wal_lsn()::text")
    source.sql("select pg_logical_emit_message(true, 'etl', 'settle')")
    wait_until(lambda: source.value("select bool_and(confirmed_flush_lsn >= %s::pg_lsn) from pg_replication_slots "
                                    "where database = current_database()", [lsn]), seconds, "the slot to be confirmed")


def assert_exactly_once(source, files):
    landed_rows.assert_equal(source, files.rows)
    for table in load.TABLES:
        twice = [seq for seq, count in landed_rows.stream_sequences(files.rows(table)).items() if count > 1]
        assert not twice, f"{table}: {len(twice)} rows are there more than once: {twice[:3]}"
        assert len(files.copies(table)) == 1, files.copies(table)


@pytest.mark.threads
def test_files_hold_copy_and_stream(source, files, stream_files):
    make_tables(source, 300)
    loads = [load.Load(source.conninfo, seed, rate=40, truncates=True).start() for seed in (1, 2)]
    program = stream_files()
    program.wait_for_event("live", 60)
    status = program.wait_for_status(lambda status: status["pipelines"][0].get("is_live"), what="a live pipeline")
    assert {table["state"] for table in status["pipelines"][0]["tables"]} == {"live"}
    books = [one.stop() for one in loads]
    assert all(book.committed > 0 for book in books)
    settle(source, files, program)
    assert_exactly_once(source, files)
    assert json.loads((files.folder / "etl-stream.json").read_text())["epoch"] == 1
    row = files.rows("customers")[0]
    assert list(row)[:2] == ["_ETL_OP", "_ETL_SEQ"] and SEQUENCE.fullmatch(row["_ETL_SEQ"])
    assert program.terminate() == 0
    assert_exactly_once(source, files)
    assert not list(files.folder.rglob(".copy-*"))


def test_kills_lose_and_double_nothing_in_files(source, files, stream_files):
    chance = random.Random(SEED)
    print(f"FILE_SEED={SEED}")
    make_tables(source, 3000)
    loads = [load.Load(source.conninfo, SEED + number, rate=60, truncates=True).start() for number in range(2)]
    query = "?rotate_seconds=1"
    for life in range(8):
        program = stream_files(query=query)
        if life == 0:  # in the copy, or after it where that was over before it was seen
            wait_until(lambda: list(files.folder.glob("public/*/.copy-*")) or program.events("copied"), 60, "a copy under way", pause=0.002)
        elif life == 1:
            program.wait_for_line(lambda line: line.get("event") in ("copied", "live"), 60, "a table that is copied")
        else:
            program.wait_for_event("streaming", 30)
            wanted = sum(one.book.committed for one in loads) + chance.randrange(1, 90)
            wait_until(lambda: sum(one.book.committed for one in loads) > wanted, 30, "commits")
        program.kill()
    for one in loads:
        one.stop()
    program = stream_files(query=query)
    settle(source, files, program)
    assert_exactly_once(source, files)
    # Lives that are short, and a quick end, leave one file that goes on through all of them: then its age ends it now.
    wait_until(lambda: len(files.complete("orders")) > 1, 30, "a file of the copy and one that was rotated")
    assert program.terminate() == 0


def test_a_restart_goes_on_in_the_same_file(source, files, stream_files):
    make_tables(source, 20)
    program = stream_files()
    program.wait_for_event("live", 30)
    settle(source, files, program)
    assert program.terminate() == 0
    before = files.open("order_events")
    assert len(before) == 1
    load.Load(source.conninfo, seed=3).run(20)
    program = stream_files()
    settle(source, files, program)
    assert files.open("order_events") == before
    assert_exactly_once(source, files)
    assert not program.events("copied"), "the restart copied again"


def test_files_are_rotated_by_size_and_by_age(source, files, stream_files):
    source.sql("create table rows (id int primary key, body text)")
    source.sql(f"create publication {source.publication} for table rows")
    program = stream_files(query="?rotate_mb=1&rotate_seconds=2")
    program.wait_for_event("live", 30)
    for block in range(6):
        source.sql("insert into rows select i, repeat('x', 1000) from generate_series(%s::int, %s::int) i",
                   [block * 500 + 1, block * 500 + 500])
        wait_until(lambda: len(files.rows("rows")) == (block + 1) * 500, 30, "the rows of a transaction")
    wait_until(lambda: len(list(files.table("rows").glob("*.ndjson"))) >= 3, 30, "files that are complete by size")
    # By age, without another row: nothing but the clock ends the last one.
    wait_until(lambda: not files.open("rows"), 30, "the last file to be complete")
    names = [path.name for path in sorted(files.table("rows").glob("*.ndjson"))]
    firsts = [json.loads((files.table("rows") / name).open().readline())["_ETL_SEQ"] + ".ndjson" for name in names]
    assert names == firsts, "a file is named by its first row"
    ids = [row["ID"] for row in files.rows("rows") if row["_ETL_OP"] == "I"]
    assert ids == list(range(1, 3001))


def test_the_first_coerced_value_of_a_column_is_said(source, files, stream_files):
    """Once for each column, with the original beside the NULL."""
    source.sql("create table odd (id int primary key, at date, n numeric(5,2)); insert into odd values (1, 'infinity', 1)")
    source.sql(f"create publication {source.publication} for table odd")
    program = stream_files()
    program.wait_for_event("live", 30)
    source.sql("insert into odd values (2, '-infinity', 'NaN'), (3, null, 2)")
    wait_until(lambda: len(files.rows("odd")) == 3, 30, "the rows")
    program.wait_for_event("value_coerced", count=2)
    rows = {row["ID"]: row for row in files.rows("odd")}
    assert rows[1]["_ETL_COERCED"] == {"AT": "infinity"} and rows[2]["_ETL_COERCED"] == {"AT": "-infinity", "N": "NaN"}
    said = [line["message"] for line in program.events("value_coerced")]
    assert [message.split(" ")[0] for message in said] == ["public.odd.at", "public.odd.n"]


def test_a_table_that_lost_its_files_is_copied_anew(source, files, stream_files):
    make_tables(source, 20)
    program = stream_files()
    program.wait_for_event("live", 30)
    settle(source, files, program)
    assert program.terminate() == 0
    [grown] = files.open("order_events")
    os.truncate(grown, 10)
    program = stream_files()
    program.wait_for_event("resync", 30)
    program.wait_for_event("copied", 30)
    settle(source, files, program)
    landed_rows.assert_equal(source, files.rows)


def test_a_complete_file_may_be_taken_away(source, files, stream_files):
    source.sql("create table rows (id int primary key)")
    source.sql(f"create publication {source.publication} for table rows")
    program = stream_files(query="?rotate_seconds=1")
    program.wait_for_event("live", 30)
    source.sql("insert into rows values (1)")
    wait_until(lambda: list(files.table("rows").glob("*.ndjson")), 30, "a complete file")
    assert program.terminate() == 0
    for path in files.complete("rows"):
        path.unlink()
    program = stream_files(query="?rotate_seconds=1")
    program.wait_for_event("streaming", 30)
    source.sql("insert into rows values (2)")
    wait_until(lambda: [row["ID"] for row in files.rows("rows")] == [2], 30, "the next row and no other")
    assert not program.events("resync")


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 12 MB, so that a batch of 4 MB, behind an open file, finds room again. Only root can have one."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", folder], capture_output=True, check=False)
    if mounted.returncode != 0:
        pytest.skip("no file system can be mounted here")
    yield folder
    subprocess.run(["umount", "-l", folder], check=False)


def test_a_full_disk_is_waited_for(source, small_disk, start_stream):
    files = Files(small_disk / "files")
    source.sql("create table rows (id int primary key, body text)")
    source.sql(f"create publication {source.publication} for table rows")
    program = start_stream(source.url(), f"file:{files.folder}?rotate_mb=1&rotate_seconds=1")
    program.wait_for_event("live", 30)
    source.sql("insert into rows select i, repeat('x', 1000) from generate_series(1, 20000) i")
    line = program.wait_for_event("destination_trouble", 30)
    assert "No space left on device" in line["message"] and "rows" in line["message"]
    status = program.wait_for_status(lambda status: "trouble" in status["pipelines"][0]["tables"][0], what="the trouble")
    assert "No space left" in status["pipelines"][0]["tables"][0]["trouble"]
    seen = {}

    def take_complete():
        """What a loader does: takes what is complete, and makes room by it."""
        for path in files.complete("rows"):
            for text in path.read_text().splitlines():
                row = json.loads(text)
                assert row["ID"] not in seen, "a row came twice"
                seen[row["ID"]] = row
            path.unlink()
        return len(seen) == 20000
    wait_until(take_complete, 60, "all rows", pause=0.2)
    program.wait_for_event("destination_mended", 30)
    assert program.terminate() == 0


def test_directories_that_cannot_serve_are_refused(source, tmp_path, files, stream_files):
    source.sql("create table rows (id int primary key)")
    source.sql(f"create publication {source.publication} for table rows")
    a_file = tmp_path / "file"
    a_file.write_text("x")
    cases = {f"file:{a_file}": "is a file, not a directory", f"file:{tmp_path}/no/such/dir": "cannot be made",
             "file:": "names no directory", "file:x?rotate_mb=0": "rotate_mb", "file:x?colour=red": "allowed are rotate_mb",
             "file://host/x": "on this machine", "file:x%zz": "two hex digits"}
    for url, text in cases.items():
        done = run_command("run", "--from", source.url(), "--to", url, state=tmp_path / "other.db")
        assert done.returncode == 2 and text in done.stderr.strip().splitlines()[-1], (url, done.stderr)
    program = stream_files()
    program.wait_for_event("live", 30)
    # Another state file, the same directory: by name another pipeline's, and in use.
    done = run_command("run", "--from", source.url(slot="second"), "--to", f"file:{files.folder}", "--name", "second",
                       state=tmp_path / "other.db")
    assert done.returncode == 1 and "in use by another etl-stream" in done.stderr
    assert program.terminate() == 0
    done = run_command("run", "--from", source.url(slot="second"), "--to", f"file:{files.folder}", "--name", "second",
                       state=tmp_path / "other.db")
    assert done.returncode == 2 and "a directory of its own" in done.stderr
    found = run_command("check", "--from", source.url(), "--to", f"file:{files.folder}", state=program.state)
    assert found.returncode == 0 and "the directory can be written to" in found.stdout, found.stdout


def test_a_lost_state_file_begins_a_new_epoch(source, files, stream_files, tmp_path):
    make_tables(source, 10)
    program = stream_files()
    program.wait_for_event("live", 30)
    settle(source, files, program)
    program.kill()
    slot = source.value("select slot_name from pg_replication_slots where database = current_database()")
    source.drop_slot(slot)
    program = stream_files(state=tmp_path / "second.db")
    program.wait_for_event("live", 30)
    settle(source, files, program)
    landed_rows.assert_equal(source, files.rows)
    assert json.loads((files.folder / "etl-stream.json").read_text())["epoch"] == 2
    program.kill()
    # The first state file's pipeline must not write any more.
    late = stream_files()
    assert late.wait(30) != 0
    assert "state file of its own" in late.tail() or "slot" in late.tail()
