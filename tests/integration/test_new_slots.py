"""A slot that the server makes while the catalog changes."""
import pytest

import compare
import load
from program import wait_until
from test_schema_changes import settle
from test_traps import is_waited_for, transaction_of, without_background_wal

OPTIONS = ("--merge-interval-seconds", 1)
SETUP = ("create table words (id int primary key); create table other (id int primary key); insert into other values (1); create publication etl for table words, order_events")


@pytest.mark.parametrize("change", ["truncate other", "alter publication etl add table other"])
def test_what_a_slot_forgets_of_the_catalog_is_not_needed(source, standin, stream, change):
    """The server waits for open transactions in two rounds. What one did to the catalog in the first and committed in the second is unknown to
    whoever reads that slot, for transactions that were open then: they cannot be decoded, or their rows are left out without a word."""
    with source.connect() as connection:
        load.create_tables(connection)
    source.sql(SETUP + (", other" if change.startswith("truncate") else ""))
    with source.connect(autocommit=False) as first, source.connect(autocommit=False) as second, source.connect(autocommit=False) as third, \
            without_background_wal(source):
        first.execute("insert into words values (1)")
        program = stream(*OPTIONS)
        wait_until(lambda: is_waited_for(source, transaction_of(first)), 30, "the slot to wait for the first")
        second.execute(change)
        first.commit()
        wait_until(lambda: is_waited_for(source, transaction_of(second)), 30, "the slot to wait for the second")
        third.execute("insert into words values (2)")
        second.commit()
        wait_until(lambda: program.events("snapshot") or is_waited_for(source, transaction_of(third)), 30, "the slot to be made")
        third.execute("insert into other values (3)")
        third.commit()
        program.wait_for_event("live", 60)
    settle(source, standin, program)
    compare.assert_equal(source.conninfo, source.publication, standin.to)
    assert not program.events("retrying") and not program.events("resync")
    assert program.terminate() == 0
