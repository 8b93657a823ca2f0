"""The configuration in a database that is a source itself: what is in it stays there."""
import load
from conftest import Source
from program import wait_until
from service import PostgresCatalog
from snowflake_client import Snowflake

CATALOG = {"SOURCES", "DESTINATIONS", "PIPELINES", "ETL_CATALOG", "ETL_CHANNELS", "ETL_CLAIMS", "ETL_COMMANDS", "ETL_PIPELINES", "ETL_SETTINGS",
           "ETL_STATUS", "ETL_TABLES", "ETL_WATCH"}


def test_the_configuration_is_not_copied(postgres, standin, start_service):
    catalog = start_service.catalog = PostgresCatalog(postgres, "own_catalog")
    try:
        source = Source(postgres, "own_catalog")
        # Tables of these names elsewhere are tables like others.
        source.sql(f"create publication {source.publication} for all tables; create schema shop; create table shop.sources (id int primary key);"
                   "create table etl_notes (id int primary key)")
        with source.connect() as connection:
            load.create_tables(connection)
            load.fill(connection, 20)
        secret = "a secret of the source"
        service = start_service("--poll-interval-seconds", 1)
        catalog.add_source("s", source, pg_password=secret)
        catalog.add_destination("d", standin.to)
        catalog.add_pipeline("p", "s", "d")
        wait_until(lambda: service.pipeline("p").get("is_live"), 90, "the pipeline to be live")
        with source.connect() as connection:
            mark = load.write_mark(connection)
        snowflake = Snowflake(standin.to)
        load.wait_for_mark(snowflake, mark)
        there = {row[1] for row in snowflake.query("SHOW TABLES IN ACCOUNT")}
        assert {"SOURCES", "ETL_NOTES", "CUSTOMERS"} <= there
        assert not CATALOG - {"SOURCES"} & there and not {f"LANDING_{name}" for name in CATALOG - {"SOURCES"}} & there
        assert {table["table"] for table in service.pipeline("p")["tables"]} == {"customers", "orders", "order_lines", "order_events", "sources", "etl_notes"}
        assert service.terminate() == 0
    finally:
        postgres.drop_database(catalog.database)
