"""SIGKILL while a table gets another definition: whatever was done of it by then, the next life ends at the same content, and
readers never see less than the old one."""
import pytest

from program import wait_until
from snowflake_client import Snowflake
from test_schema_changes import OPTIONS, settle
from test_schema_changes_tables import make, run, start

CHANGE = ("alter table thing alter column amount type text using 'about ' || amount, add column extra int default 5;"
          "alter table thing rename column note to remark; insert into thing values (1000, 'five', 'r', 6)")


def was_run(standin, *parts):
    return any(all(part in statement["text"] for part in parts) for statement in standin.ask("/statements?limit=500")["log"])


@pytest.mark.parametrize("moment", ["resync", "evolve", "shadow", "copied", "merge", "swap"])
def test_killed_while_the_definition_changes(moment, source, standin, stream):
    make(source, "create table thing (id int primary key, amount numeric(10, 2), note text); insert into thing select i, i, 'n' from generate_series(1, 300) i",
         "thing")
    program = start(stream)
    mark = program.mark()
    run(source, CHANGE)
    if moment in ("resync", "evolve", "copied"):
        program.wait_for_event(moment, 60, since=mark, table={"evolve": "THING"}.get(moment, "thing"))
    else:
        if moment == "swap":
            wait_until(lambda: was_run(standin, "EXECUTE IMMEDIATE", "_ETL_NEW_THING"), 60, "the merge")
            standin.add_fault("sql.submit.after", hold=True, times=None)  # so that the former target is not dropped yet
        parts = {"shadow": ("CREATE TABLE", " LIKE "), "merge": ("EXECUTE IMMEDIATE", "_ETL_NEW_THING"), "swap": (" SWAP WITH ",)}[moment]
        wait_until(lambda: was_run(standin, *parts), 60, moment)
    program.kill()
    standin.remove_faults()
    assert int(Snowflake(standin.to).value('SELECT COUNT(*) FROM "THING"')) >= 300
    again = stream(*OPTIONS)
    settle(source, standin, again)
    # The former target goes after the new one has taken its place, and so after the tables are equal.
    wait_until(lambda: Snowflake(standin.to).query("SHOW TABLES LIKE '_ETL_NEW_THING'") == [], 60, "the former target to go")
    assert not again.events("parked") and again.terminate() == 0
