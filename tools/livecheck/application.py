"""tools/live-check: what only a live account can show.

Makes a schema LIVE_CHECK_<random> and a landing schema LIVE_CHECK_<random>_LANDING in the database that --to names, runs
its checks there, prints for each what was expected and what was seen, and drops both schemas at the end, also after a
failure or Ctrl-C. Nothing else is touched: the schema in --to is not used, and no warehouse, role, user or other object
is changed. Outcomes: ok; DIFFERENT from what etl-stream relies on; observed, where nobody knows what a live account
does; skipped, where the account's own settings leave nothing to see. Exit code 0 if nothing is DIFFERENT, otherwise 1.
"""
import argparse
import os
import signal
import sys
import time

from . import program_checks, sql_checks, streaming_checks, value_checks
from .account import Schemas
from .report import Budget, OutOfBudget, Report, Skip

REQUESTS_MAX, ROWS_MAX, MINUTES_MAX = 2000, 5000, 20
GROUPS = (("SQL and login", sql_checks), ("streaming", streaming_checks), ("values", value_checks), ("the program", program_checks))
BOUNDS = f"""
Bounds, of a whole run: at most {REQUESTS_MAX:,} requests of its own, {ROWS_MAX:,} rows written (the program's copies of its rows
included), and {MINUTES_MAX} minutes, in which the warehouse may be awake; a run takes some 5 minutes, or 2 with --idle-seconds 0.
The comparison's two statements a table come on top, and what etl-stream sends for at most {program_checks.PROGRAM_SECONDS_MAX // 60} minutes until it is idle (some
400 requests against the stand-in): at most 10 appends a second and table, and a merge every {program_checks.MERGE_SECONDS} seconds.

The role needs USAGE on the database and the warehouse, and CREATE SCHEMA on the database. Names in --to are plain ones, and
the key comes from key_file; its passphrase from SNOWFLAKE_PRIVATE_KEY_PASSPHRASE. A throw-away PostgreSQL runs on this
machine for the last group; ETL_STREAM_PROGRAM names the built program (default: build/etl-stream).
"""


def parse_arguments(arguments):
    parser = argparse.ArgumentParser(prog="tools/live-check", description=__doc__, epilog=BOUNDS,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--to", required=True, metavar="URL",
                        help="snowflake://USER@ACCOUNT/DATABASE/SCHEMA?warehouse=…&role=…&key_file=…, as for etl-stream run")
    parser.add_argument("--json", action="store_true", help="one JSON object at the end instead of lines")
    parser.add_argument("--keep", action="store_true", help="leave the schemas, and say how to drop them")
    parser.add_argument("--without-program", action="store_true", help="only the single checks: no PostgreSQL, no etl-stream")
    parser.add_argument("--granted-role", metavar="NAME",
                        help="a role of the user that has been granted what docs/snowflake.md says and nothing else: the program runs with it. "
                             "Usage on warehouse and database and CREATE SCHEMA on the database must be granted to it before; what it needs "
                             "on the schema that is made here the other role grants")
    parser.add_argument("--idle-seconds", type=float, default=120, metavar="N",
                        help="how long the idle pipeline and its warehouse are watched [120]")
    return parser.parse_args(arguments)


def schemas_for_program(options, report, schemas):
    name, expected = "the program with a role of the documented grants only", "all that follows"
    if not options.granted_role:
        with report.check(name, expected):
            raise Skip("--granted-role names none; the program runs with the role of --to")
        return schemas
    with report.check(name, expected) as one:
        granted = schemas.as_granted(options.granted_role)
        role = granted.account.value("SELECT CURRENT_ROLE()")
        one.saw(role, role == options.granted_role.upper())
    return granted


def run_groups(options, report, schemas):
    for name, group in GROUPS:
        if group is program_checks and options.without_program:
            continue
        report.say(f"\n--- {name}")
        try:
            if group is program_checks:
                group.run(report, schemas_for_program(options, report, schemas), options.idle_seconds)
            else:
                group.run(report, schemas)
        except OutOfBudget as reason:
            with report.check(f"{name}: all checks", "within the bounds of a run"):
                raise RuntimeError(f"ended early: {reason}") from None
            return
        except Exception as error:  # what one group cannot do says nothing of the next
            with report.check(f"{name}: all checks", "could be made") as one:
                one.saw(f"ended early: {type(error).__name__}: {error}", False)
            if not schemas.may_exist:
                return


def clean_up(options, report, schemas):
    """Not interrupted by Ctrl-C, and never out of budget."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    schemas.account.budget.is_enforced = False
    if not schemas.may_exist:
        return
    if options.keep:
        print("kept; drop them with:\n  " + ";\n  ".join(schemas.statements()), file=sys.stderr)
        return
    failed = []
    with report.check("clean-up", "both schemas are dropped") as one:
        failed = schemas.drop()
        one.saw("; ".join(failed) or f"{schemas.target} and {schemas.landing} are dropped", not failed)
    if failed:
        print("drop by hand:\n  " + ";\n  ".join(schemas.statements()), file=sys.stderr)
    schemas.account.close_all()
    if schemas.granted:
        schemas.granted.account.close_all()


def stop(*_):
    """Once: what runs is ended and dropped after that, whatever is pressed."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def main(arguments=None):
    options = parse_arguments(arguments)
    budget, report = Budget(REQUESTS_MAX, ROWS_MAX, MINUTES_MAX), Report(options.json)
    try:
        schemas = Schemas(options.to, budget)
    except (KeyError, TypeError, ValueError, AttributeError, OSError) as error:
        print(f"live-check: --to cannot be used: {type(error).__name__}: {error}; --help shows its form", file=sys.stderr)
        return 2
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    facts = {"account": schemas.account.snowflake.account, "database": schemas.account.database, "schema": schemas.target,
             "landing_schema": schemas.landing, "program": os.environ.get("ETL_STREAM_PROGRAM", "build/etl-stream"),
             "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
    report.say(f"account {facts['account']}, database {facts['database']}, schemas {schemas.target} and {schemas.landing}")
    try:
        run_groups(options, report, schemas)
    except (KeyboardInterrupt, SystemExit):
        with report.check("the whole run", "came to its end") as one:
            one.saw("interrupted", False)
    finally:
        clean_up(options, report, schemas)
    return report.finish(budget, facts)
