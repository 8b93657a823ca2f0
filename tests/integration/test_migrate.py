"""migrate: takes over from the first etl-stream, whose tables, tasks, slots and configuration are made as it leaves them."""
import json
import subprocess

import pytest

import compare
import first_program
from conftest import Source, numbers
from pgserver import CLIENT_BIN
from program import PROGRAM, environment, run_command, wait_until
from service import PostgresCatalog
from snowflake_client import Snowflake
from test_service import POLL, wait_live

ID = 7
TABLES = {"customers": {"id": "INTEGER", "name": "VARCHAR", "note": "VARCHAR"},
          "orders": {"id": "INTEGER", "customer": "INTEGER", "total": "NUMBER(12,2)"}}
SQL = """create table customers (id int primary key, name text not null, note text);
         create table orders (id int primary key, customer int, total numeric(12,2));
         insert into customers select n, 'customer ' || n, repeat('x', n) from generate_series(1, 40) n;
         insert into orders select n, n % 40 + 1, n * 1.25 from generate_series(1, 200) n;
         create publication etl for table customers, orders"""


class First:
    """What the first etl-stream left of one pipeline "shop", in schemas of its own."""

    def __init__(self, postgres, standin, folder):
        number = next(numbers)
        self.postgres, self.standin, self.state = postgres, standin, folder / "unused.db"
        self.schema, self.landing_schema = f"SHOP_{number}", f"SHOP_{number}_LANDING"
        self.snowflake = Snowflake(standin.to)
        self.source = Source(postgres, f"first_{number}")
        postgres.create_database(self.source.name)
        self.source.sql(SQL)
        self.catalog = PostgresCatalog(postgres, f"first_config_{number}")
        self.snowflake.execute(f'CREATE SCHEMA "DEMO_DB"."{self.schema}"')
        self.leave_tables()
        self.slots = [first_program.apply_slot(ID + number), first_program.table_sync_slot(ID + number, 16400)]
        for slot in self.slots:
            self.make_slot(slot)
        first_program.make_config_tables(self.catalog)
        self.catalog.add_source("pg", self.source)
        self.catalog.execute("INSERT INTO destinations (name, destination_type, http_url) VALUES ('hook', 'http', 'http://127.0.0.1:9/')")
        self.catalog.execute("INSERT INTO pipelines (name, source_id, destination_id, status, id_pipeline) SELECT 'shop', s.id, d.id, "
                             f"'START', {ID + number} FROM sources s, destinations d")

    def leave_tables(self):
        """With its mistakes: a row whose key was changed long ago, another whose large value was lost, and rows not merged."""
        for table, columns in TABLES.items():
            first_program.make_table(self.snowflake, self.schema, self.landing_schema, table, columns, "id")
        self.snowflake.execute(f"INSERT INTO {self.target('customers')} VALUES (1, 'customer 1', NULL), (900, 'old key', 'x')")
        self.snowflake.execute(f"INSERT INTO {self.landing('orders')} (\"id\", \"OPERATION\", \"SEQUENCE\") VALUES (1, 'INSERT', '0001')")

    def make_slot(self, name):
        self.source.sql("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", [name])

    def target(self, table):
        return f'"DEMO_DB"."{self.schema}"."{table.upper()}"'

    def landing(self, table):
        return f'"DEMO_DB"."{self.landing_schema}"."LANDING_{table.upper()}"'

    def use_snowflake(self):
        """Its destination, and our one setting beside it: whom the stand-in's certificate is of."""
        self.ours("destination", "add", "first_of_ours", "--to", "file:" + str(self.state.parent))  # makes etl_settings
        self.catalog.add_destination("wh", self.standin.to, schema=self.schema, landing=self.landing_schema)
        self.catalog.execute("UPDATE pipelines SET destination_id = (SELECT id FROM destinations WHERE name = 'wh')")
        return self

    def ours(self, *arguments, code=0, **more):
        done = run_command(*arguments, state=self.state, seconds=150, **self.catalog.environment, **more)
        assert done.returncode == code, done
        return done

    def shown(self, statement):
        columns, rows = self.snowflake.execute(statement)
        names = [column["name"] for column in columns]
        return [dict(zip(names, row)) for row in rows]

    def tables(self):
        return {(schema, row["name"]): (row["comment"], row["rows"]) for schema in (self.schema, self.landing_schema)
                for row in self.shown(f'SHOW TABLES IN SCHEMA "DEMO_DB"."{schema}"')}

    def names(self, schema):
        return sorted(row["name"] for row in self.shown(f'SHOW TABLES IN SCHEMA "DEMO_DB"."{schema}"'))

    def tasks(self):
        return {row["name"]: row["state"] for row in self.shown(f'SHOW TASKS IN SCHEMA "DEMO_DB"."{self.landing_schema}"')}

    def left_slots(self):
        return sorted(name for name, in self.source.sql("SELECT slot_name FROM pg_replication_slots WHERE database = current_database()"))

    def config(self):
        """Every table of the configuration database, and what is in it."""
        tables = [name for name, in self.catalog.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1")]
        return {table: sorted(map(str, self.catalog.execute(f"SELECT t::text FROM {table} t"))) for table in tables}

    def everything(self):
        return self.tables(), self.tasks(), self.left_slots(), self.config()

    def delete(self):
        self.postgres.drop_database(self.source.name)
        self.postgres.drop_database(self.catalog.database)


@pytest.fixture
def first(postgres, shared_standin, tmp_path):
    shared_standin.remove_faults()
    made = []

    def make():
        made.append(First(postgres, shared_standin, tmp_path))
        return made[-1]
    yield make
    shared_standin.remove_faults()
    for one in made:
        one.delete()


def moved(first):
    """Nothing is under the old names, and everything is there under the new ones."""
    assert first.names(first.schema) == ["CUSTOMERS_BEFORE_ETL_STREAM", "ORDERS_BEFORE_ETL_STREAM"]
    assert first.names(first.landing_schema) == ["LANDING_CUSTOMERS_BEFORE_ETL_STREAM", "LANDING_ORDERS_BEFORE_ETL_STREAM"]
    assert first.snowflake.query(f'SELECT "id", "name", "note" FROM "DEMO_DB"."{first.schema}"."CUSTOMERS_BEFORE_ETL_STREAM" ORDER BY 1') == [
        ["1", "customer 1", None], ["900", "old key", "x"]]
    assert first.snowflake.value(f'SELECT COUNT(*) FROM "DEMO_DB"."{first.landing_schema}"."LANDING_ORDERS_BEFORE_ETL_STREAM"') == "1"
    assert set(first.tasks().values()) == {"suspended"} and first.left_slots() == sorted(first.slots)
    return True


def test_a_dry_run_shows_the_plan_and_changes_nothing(first):
    world = first()
    world.make_slot("somebody_elses")
    before = world.everything()
    # The configuration database holds the contract's tables alone: not even ours are made.
    plan = world.ours("migrate", "--dry-run").stdout
    assert f"SELECT pg_drop_replication_slot('{world.slots[0]}')" in plan and "etl-stream run" in plan
    assert "slot somebody_elses is read by nobody" in plan and world.everything() == before
    assert not world.state.exists()
    # The other commands know them as well, before anything of ours was started.
    assert "shop" in world.ours("pipeline", "list").stdout and world.everything() == before
    world.use_snowflake()
    before = world.everything()
    plan = world.ours("migrate", "shop", "--dry-run").stdout
    statements = [line.strip() for line in plan.splitlines() if line.startswith("      ")]
    database = '"DEMO_DB"'
    assert statements == [
        *(f'ALTER TASK {database}."{world.landing_schema}"."ETL_MERGE_{table}_TASK" SUSPEND' for table in ("CUSTOMERS", "ORDERS")),
        *(f'ALTER TABLE {database}."{world.schema}"."{table}" RENAME TO {database}."{world.schema}"."{table}_BEFORE_ETL_STREAM"'
          for table in ("CUSTOMERS", "ORDERS")),
        *(f'ALTER TABLE {database}."{world.landing_schema}"."LANDING_{table}" RENAME TO '
          f'{database}."{world.landing_schema}"."LANDING_{table}_BEFORE_ETL_STREAM"' for table in ("CUSTOMERS", "ORDERS")),
        *(f"SELECT pg_drop_replication_slot('{slot}')" for slot in world.slots)]
    assert "readers are without the targets" in plan and "upper case" in plan
    asked = world.ours("migrate", stdin="", code=2)
    assert "--yes says that it is meant" in asked.stderr and statements[0] in asked.stdout
    document = json.loads(world.ours("migrate", "--dry-run", "--json").stdout)
    (pipeline,) = document["pipelines"]
    assert [step["statement"] for step in pipeline["steps"]] == statements
    assert [step["state"] for step in pipeline["steps"]] == ["due"] * 6 + ["waiting"] * 2
    assert world.everything() == before


def test_the_takeover_from_beginning_to_end(first, start_stream, start_service):
    world = first().use_snowflake()
    world.snowflake.execute("CREATE ROLE IF NOT EXISTS READER")
    world.snowflake.execute(f"GRANT SELECT ON TABLE {world.target('orders')} TO ROLE READER")
    world.catalog.execute("INSERT INTO etl_settings (owner, owner_id, name, value) SELECT 'pipeline', id, 'merge_interval_seconds', '1' FROM pipelines")
    columns = world.catalog.execute("SELECT table_name, column_name, data_type, column_default FROM information_schema.columns WHERE "
                                    "table_name IN ('sources', 'destinations', 'pipelines') ORDER BY 1, 2")
    done = world.ours("migrate", "--yes")
    assert done.stdout.count("done: ") == 6 and "give this command again then, or with --wait" in done.stdout
    assert moved(world)
    again = world.ours("migrate", "--yes").stdout
    assert "done: " not in again and "later, when every table of pipeline shop is live" in again and moved(world)
    # It waits for the service, which is started with the same environment, and does the rest.
    waiting = subprocess.Popen([PROGRAM, "migrate", "--yes", "--wait", "--timeout", "300"], text=True, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, env=environment(world.state, **world.catalog.environment))
    start_service.catalog = world.catalog
    service = start_service(*POLL)
    world.source.sql("UPDATE orders SET total = total + 1 WHERE id % 3 = 0; DELETE FROM customers WHERE id = 40")
    rest, _ = waiting.communicate(timeout=330)
    assert waiting.returncode == 0, rest
    assert rest.count("done: ") == 3 and "grant SELECT on the new" in rest
    assert world.left_slots() == ["etl_shop"]
    grants = world.shown(f"SHOW GRANTS ON TABLE {world.target('orders')}")
    assert [row["grantee_name"] for row in grants if row["privilege"] == "SELECT"] == ["READER"]
    before = world.tables()
    nothing = world.ours("migrate").stdout
    assert "nothing to do, it is live" in nothing and "      " not in nothing and world.tables() == before
    target = world.standin.to.replace("/PUBLIC?", f"/{world.schema}?")
    world.source.sql("INSERT INTO orders VALUES (5000, 1, 5)")
    wait_until(lambda: world.snowflake.query(f"SELECT 1 FROM {world.target('orders')} WHERE ID = 5000"), 60, "the last row")
    compare.assert_equal(world.source.conninfo, world.source.publication, target)
    assert first_content(world) == [["1", "customer 1", None], ["900", "old key", "x"]]
    assert columns == world.catalog.execute("SELECT table_name, column_name, data_type, column_default FROM information_schema.columns "
                                            "WHERE table_name IN ('sources', 'destinations', 'pipelines') ORDER BY 1, 2")
    assert service.terminate() == 0


def test_readers_keep_the_old_tables_until_ours_take_their_place(first, start_stream, start_service):
    """docs/migration.md, "Readers who cannot do without": ours begin in a schema of their own and move when they are live."""
    world = first().use_snowflake()
    world.catalog.execute("INSERT INTO etl_settings (owner, owner_id, name, value) SELECT 'pipeline', id, 'merge_interval_seconds', '1' FROM pipelines")
    new = world.schema + "_NEW"
    world.snowflake.execute(f'CREATE SCHEMA "DEMO_DB"."{new}"')
    world.ours("destination", "edit", "wh", "--schema", new)
    assert world.ours("migrate", "--yes").stdout.count("done: ") == 4
    start_service.catalog = world.catalog
    service = start_service(*POLL)
    wait_live(service, "shop")
    assert world.names(world.schema) == ["CUSTOMERS", "ORDERS"] and world.names(new) == ["CUSTOMERS", "ORDERS"]
    assert world.snowflake.value(f"SELECT COUNT(*) FROM {world.target('customers')}") == "2", "as the first one left it"
    assert service.terminate() == 0
    world.ours("destination", "edit", "wh", "--schema", world.schema)
    assert world.ours("migrate", "--yes").stdout.count("done: move the old target") == 2
    for table in ("CUSTOMERS", "ORDERS"):
        world.snowflake.execute(f'ALTER TABLE "DEMO_DB"."{new}"."{table}" RENAME TO {world.target(table)}')
    world.source.sql("INSERT INTO orders VALUES (5000, 1, 5); DELETE FROM customers WHERE id = 3")
    service = start_service(*POLL)
    wait_until(lambda: world.snowflake.query(f"SELECT 1 FROM {world.target('orders')} WHERE ID = 5000"), 60, "the last row")
    compare.assert_equal(world.source.conninfo, world.source.publication, world.standin.to.replace("/PUBLIC?", f"/{world.schema}?"))
    assert world.ours("migrate", "--yes").stdout.count("done: drop the first") == 2 and world.left_slots() == ["etl_shop"]
    assert service.events("snapshot") == [] and first_content(world)[1] == ["900", "old key", "x"]
    assert service.terminate() == 0


def first_content(world):
    return world.snowflake.query(f'SELECT "id", "name", "note" FROM "DEMO_DB"."{world.schema}"."CUSTOMERS_BEFORE_ETL_STREAM" ORDER BY 1')


def test_killed_after_a_statement_of_each_kind(first):
    """The statement was carried out, its answer never came, and the process is gone. What is left is found again."""
    world = first().use_snowflake()
    world.standin.ask("/log", method="DELETE")
    world.ours("migrate", "--dry-run")
    looks = sum(entry["method"] == "POST" for entry in world.standin.ask("/log?path=/api/v2/statements&limit=1000")["requests"])
    for number in (1, 3, 5, 6):
        fault = world.standin.add_fault("sql.submit.after", skip=looks + number - 1, delay_ms=60000)
        process = subprocess.Popen([PROGRAM, "migrate", "--yes"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                                   env=environment(world.state, **world.catalog.environment))
        wait_until(lambda: world.standin.fault_hits(fault) or process.poll() is not None, 60, "the statement", pause=0.02)
        assert process.poll() is None, process.stderr.read()
        process.kill()
        process.communicate()
        world.standin.remove_faults()
        left = world.ours("migrate", "--yes").stdout
        assert left.count("done: ") == 6 - number and moved(world), left
        # As it was, for the next one.
        for schema, prefix in ((world.schema, ""), (world.landing_schema, "LANDING_")):
            for table in ("CUSTOMERS", "ORDERS"):
                world.snowflake.execute(f'ALTER TABLE "DEMO_DB"."{schema}"."{prefix}{table}_BEFORE_ETL_STREAM" RENAME TO '
                                        f'"DEMO_DB"."{schema}"."{prefix}{table}"')
        for task in world.tasks():
            world.snowflake.execute(f'ALTER TASK "DEMO_DB"."{world.landing_schema}"."{task}" RESUME')


def test_it_is_refused_while_the_first_one_runs(first):
    world = first().use_snowflake()
    before = world.everything()
    reader = subprocess.Popen(
        [CLIENT_BIN / "pg_recvlogical", "-h", "127.0.0.1", "-p", str(world.postgres.port), "-U", "postgres",
         "-d", world.source.name, "-S", world.slots[0], "--start", "-f", "/dev/null", "-o", "proto_version=1", "-o", "publication_names=etl"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: world.source.value("SELECT count(active_pid) FROM pg_replication_slots WHERE slot_name = %s", [world.slots[0]]),
                   30, "the slot to be read")
        refused = world.ours("migrate", "--yes", code=1)
        assert "the first etl-stream still runs" in refused.stderr and "pg_recvlogical" in refused.stderr
        assert world.everything() == before
    finally:
        reader.terminate()
        reader.wait(60)
    wait_until(lambda: not world.source.value("SELECT count(active_pid) FROM pg_replication_slots WHERE slot_name = %s", [world.slots[0]]),
               30, "the slot to be free")
    # A task of somebody else's: it is said who mends that and how, and nothing is moved while it may still run.
    task = f'"DEMO_DB"."{world.landing_schema}"."SOMEBODYS"'
    world.snowflake.execute(f"CREATE TASK {task} WAREHOUSE = ETL_WH SCHEDULE = '5 MINUTES' AS DELETE FROM {world.landing('orders')}", role="PUBLIC")
    world.snowflake.execute(f"GRANT MONITOR ON TASK {task} TO ROLE ETL_ROLE", role="PUBLIC")
    world.snowflake.execute(f"ALTER TASK {task} RESUME", role="PUBLIC")
    refused = world.ours("migrate", "--yes", code=1)
    assert f'have the task\'s owner run: GRANT OPERATE ON TASK {task} TO ROLE "ETL_ROLE"' in refused.stderr
    assert world.names(world.schema) == ["CUSTOMERS", "ORDERS"]
    world.snowflake.execute(f"GRANT OPERATE ON TASK {task} TO ROLE ETL_ROLE", role="PUBLIC")
    # Somebody has started a task again: it is suspended again, and nothing else is done twice.
    world.ours("migrate", "--yes")
    world.snowflake.execute(f'ALTER TASK "DEMO_DB"."{world.landing_schema}"."ETL_MERGE_ORDERS_TASK" RESUME')
    assert world.ours("migrate", "--yes").stdout.count("done: ") == 1 and moved(world)
