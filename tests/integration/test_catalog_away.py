"""The configuration database goes away and comes back: what runs runs on, confirms nothing that is not kept there, and stops when its
claim cannot be renewed in time; then all goes on.

The program of the traps build gives claims up after ten seconds instead of thirty (ETL_TRAP=claims_are_patient).
"""
import contextlib

import load
from http_side import Client, checks_of, ports_of, wait_for_checks
from program import TRAPS_PROGRAM, wait_until
from service import PostgresCatalog
from snowflake_client import Snowflake
from test_service import POLL, STANDIN_DATABASE, make_destination, settle, sources, wait_live  # noqa: F401 (sources is a fixture)


def lsn(text):
    high, low = text.split("/")
    return int(high, 16) << 32 | int(low, 16)


def landing(table):
    return f'"{STANDIN_DATABASE}"."WH_LANDING"."LANDING_{table.upper()}"'


def newest_landed(snowflake):
    """The commit of the newest row that came by the stream: sequences are epoch, commit's LSN, ordinal."""
    newest = [snowflake.value(f'SELECT MAX("_ETL_SEQ") FROM {landing(table)} WHERE "_ETL_OP" <> \'C\'') for table in load.TABLES]
    return max(int(sequence[2:18], 16) for sequence in newest if sequence)


def test_the_catalog_goes_away_and_comes_back(sources, own_postgres, standin, start_service):  # noqa: F811
    catalog = start_service.catalog = PostgresCatalog(own_postgres.server, "configuration")
    service = start_service(*POLL, binary=TRAPS_PROGRAM, ETL_TRAP="claims_are_patient", HEALTH_ADDR="127.0.0.1:0")
    client = Client(ports_of(service)[1])
    source = sources(20)
    catalog.add_source("s", source)
    target = make_destination(catalog, standin, "wh")
    catalog.add_pipeline("p", "s", "wh")
    wait_live(service, "p")
    snowflake = Snowflake(target)
    wait_for_checks(client, 200)
    with contextlib.closing(load.Load(source.conninfo, 51, rate=20).start()) as work:
        wait_until(lambda: work.book.committed > 20, 60, "commits of the load")
        mark = service.mark()
        own_postgres.server.stop("immediate")
        wait_for_checks(client, 503, database=False, pipelines=True)
        # Its claim cannot be renewed: it stops.
        service.wait_for_event("claim_lost", 60, since=mark)
        wait_until(lambda: (checks := checks_of(client, 503)) and checks["pipelines"]["active"] == 0, 60, "the pipeline to stop")
        confirmed = source.value("SELECT confirmed_flush_lsn::text FROM pg_replication_slots WHERE slot_name = 'etl_p'")
        # What the catalog holds, before anybody writes to it again.
        service.freeze()
        try:
            own_postgres.server.start()
            floor = int(catalog.execute("SELECT floor_lsn FROM etl_pipelines WHERE name = 'p'")[0][0], 16)
        finally:
            mark = service.mark()
            service.thaw()
        assert lsn(confirmed) <= floor, "more was confirmed than is kept"
        assert newest_landed(snowflake) >= floor, "it ran on while the catalog was away"
        service.wait_for_event("streaming", 90, since=mark, pipeline="p")
        wait_for_checks(client, 200)
        assert work.stop().committed > 20
    settle(source, target, 120)
    for table in load.TABLES:
        twice = snowflake.query(f'SELECT "_ETL_SEQ", COUNT(*) FROM {landing(table)} WHERE "_ETL_OP" <> \'C\' GROUP BY 1 HAVING COUNT(*) > 1')
        assert twice == [], (table, twice)
    assert service.terminate() == 0
