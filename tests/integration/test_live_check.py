"""tools/live-check itself, against the stand-in: that it judges, that it finds a difference, and that it leaves nothing behind."""
import json
import os
import re
import signal
import subprocess

import pytest

from program import ROOT
from snowflake_client import Snowflake
from standin import StandIn

LIVE_CHECK = ROOT / "tools" / "live-check"
# What the stand-in cannot show: it has no warehouse that could be suspended.
EXPECTED_SKIPS = {"warehouse of an idle pipeline"}
# What nobody knows of a live account, so that the script must not judge it.
OBSERVED = {"a request without Accept", "the statements after one that fails, in one request", "value: a number of 38 digits, bare",
            "open of an existing channel with another offset_token", "15 appends one after the other",
            "ADD COLUMN … DEFAULT of a type that takes none afterwards"}


@pytest.fixture(scope="module")
def box():
    with StandIn() as standin:
        yield standin


@pytest.fixture(autouse=True)
def no_faults(box):
    yield
    box.remove_faults()


def command(box, *options):
    return [LIVE_CHECK, "--to", box.to, *options]


def run(box, *options, seconds=300):
    """Its exit code, and its report by the checks' names."""
    done = subprocess.run(command(box, "--json", *options), capture_output=True, text=True, timeout=seconds, env=os.environ)
    report = json.loads(done.stdout)
    assert len({check["name"] for check in report["checks"]}) == len(report["checks"])
    return done.returncode, {check["name"]: check for check in report["checks"]}, report, done.stderr


def named(checks, outcome):
    return {name for name, check in checks.items() if check["outcome"] == outcome}


def schemas(box):
    return [row[1] for row in Snowflake(box.to).query("SHOW SCHEMAS IN DATABASE DEMO_DB") if row[1].startswith("LIVE_CHECK")]


@pytest.mark.program
def test_everything_is_as_expected_on_the_stand_in(box):
    before = Snowflake(box.to).query("SHOW TABLES IN DATABASE DEMO_DB")
    for statement in ("CREATE ROLE GRANTED", "GRANT ROLE GRANTED TO USER ETL", "GRANT USAGE ON WAREHOUSE ETL_WH TO ROLE GRANTED",
                      "GRANT USAGE ON DATABASE DEMO_DB TO ROLE GRANTED", "GRANT CREATE SCHEMA ON DATABASE DEMO_DB TO ROLE GRANTED"):
        Snowflake(box.to).execute(statement)
    code, checks, report, _ = run(box, "--idle-seconds", "3", "--granted-role", "granted")
    assert named(checks, "DIFFERENT") == set(), [checks[name] for name in named(checks, "DIFFERENT")]
    assert code == 0
    assert named(checks, "skipped") == EXPECTED_SKIPS
    assert OBSERVED <= named(checks, "observed")
    assert len(checks) > 90 and all(check["milliseconds"] is not None and check["seen"] for check in checks.values())
    # The limit is real on the stand-in: were it not met, the check would show nothing.
    limited = checks["15 appends one after the other"]
    assert "429" in limited["seen"] or limited["milliseconds"] > 500, limited  # fifteen in half a second are too many, and only these
    assert re.search(r"\b409\b", checks["open over uncommitted rows, refusing to lose them"]["seen"])
    assert report["used"]["requests"] < 1500 and report["used"]["rows"] < 4500  # a load goes on while it waits, and it polls
    assert schemas(box) == []
    assert Snowflake(box.to).query("SHOW TABLES IN DATABASE DEMO_DB") == before


def test_a_difference_is_found_and_cleaned_up_after(box):
    box.add_fault("open", status=500, code="ERR_OF_A_TEST", times=1, skip=1)
    code, checks, _, _ = run(box, "--without-program")
    assert code == 1
    assert named(checks, "DIFFERENT") == {"created_on_ms over a reopen"}
    assert "ERR_OF_A_TEST" in checks["created_on_ms over a reopen"]["seen"]
    assert schemas(box) == []


def test_a_login_that_fails_ends_it(box, tmp_path):
    other = subprocess.run(["openssl", "genrsa", "2048"], capture_output=True, check=True).stdout
    (tmp_path / "other.p8").write_bytes(other)
    to = re.sub(r"key_file=[^&]*", f"key_file={tmp_path / 'other.p8'}", box.to)
    done = subprocess.run([LIVE_CHECK, "--to", to], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "401" in done.stdout and "nothing can be checked without a login" in done.stdout
    assert schemas(box) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_cleans_up(box, number):
    box.add_fault("append.before", delay_ms=2000, times=None)  # so that it is in the middle of a check
    process = subprocess.Popen(command(box, "--without-program"), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    for line in process.stdout:
        if "append of one zstd frame" in line:
            assert schemas(box) != []
            process.send_signal(number)
            break
    said = process.stdout.read()
    assert process.wait(60) == 1
    assert "interrupted" in said and "are dropped" in said
    assert schemas(box) == []


def test_keep_says_how_to_drop(box):
    code, checks, _, said = run(box, "--without-program", "--keep")
    assert code == 0 and "clean-up" not in checks
    statements = re.findall(r"DROP SCHEMA IF EXISTS [^;\n]+", said)
    assert len(schemas(box)) == 1 and len(statements) == 2
    for statement in statements:
        Snowflake(box.to).query(statement)
    assert schemas(box) == []


def test_a_url_that_is_none_is_one_line():
    done = subprocess.run([LIVE_CHECK, "--to", "postgres://x"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
