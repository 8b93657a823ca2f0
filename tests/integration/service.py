"""The service of many pipelines: its catalog, written by plain SQL as an operator would, and its process."""
import contextlib
import sqlite3
import urllib.parse

from program import Program, run_command, wait_until


class Catalog:
    """A SQLite catalog. Every change is plain SQL, as the contract allows at any time."""

    environment = {}

    def __init__(self, path):
        self.path = path

    def execute(self, text, parameters=()):
        return self.transact([(text, parameters)])

    def transact(self, statements):
        with contextlib.closing(sqlite3.connect(self.path, timeout=60)) as connection, connection:
            connection.execute("PRAGMA foreign_keys = ON")
            rows = [connection.execute(text, parameters).fetchall() for text, parameters in statements]
        return rows[-1]

    def add_source(self, name, source, user="postgres", **columns):
        self._insert("sources", {"name": name, "pg_host": "127.0.0.1", "pg_port": source.server.port,
                                 "pg_database": source.name, "pg_username": user,
                                 "publication_name": source.publication, **columns})

    def add_destination(self, name, to, schema=None, landing=None, **columns):
        parts = urllib.parse.urlsplit(to)
        query = dict(urllib.parse.parse_qsl(parts.query))
        user, account = parts.netloc.split("@")
        database, own_schema = parts.path.strip("/").split("/")
        self._insert("destinations", {
            "name": name, "destination_type": "snowflake", "snowflake_account": account, "snowflake_user": user,
            "snowflake_database": database, "snowflake_schema": schema or own_schema,
            "snowflake_warehouse": query.get("warehouse"), "snowflake_role": query.get("role"),
            "snowflake_private_key_path": query["key_file"], "snowflake_host": query["host"],
            "snowflake_landing_schema": landing or "ETL_SCHEMA", **columns})
        self.set("destination", name, "ca_file", query["ca_file"])

    def add_pipeline(self, name, source, destination, status="START", settings=(), **columns):
        """With its settings in one transaction: the service never sees it half."""
        row = {"name": name, "status": status, **columns}
        statements = [(
            f"INSERT INTO pipelines (source_id, destination_id, {', '.join(row)}) VALUES ("
            "(SELECT id FROM sources WHERE name = ?), (SELECT id FROM destinations WHERE name = ?), "
            f"{', '.join('?' for _ in row)})", [source, destination, *row.values()])]
        for setting, value in {"merge_interval_seconds": 1, **dict(settings)}.items():
            statements.append(self._setting("pipeline", name, setting, value))
        self.transact(statements)

    def set(self, kind, name, setting, value):
        self.execute(*self._setting(kind, name, setting, value))

    @staticmethod
    def _setting(kind, name, setting, value):
        return ("INSERT INTO etl_settings (owner, owner_id, name, value) VALUES "
                f"('{kind}', (SELECT id FROM {kind}s WHERE name = ?), ?, ?) "
                "ON CONFLICT (owner, owner_id, name) DO UPDATE SET value = excluded.value", (name, setting, str(value)))

    def set_status(self, name, status):
        self.execute("UPDATE pipelines SET status = ? WHERE name = ?", (status, name))

    def _insert(self, table, row):
        row = {name: value for name, value in row.items() if value is not None}
        self.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({', '.join('?' for _ in row)})", list(row.values()))


class PostgresCatalog(Catalog):
    """The same in a database of a PostgreSQL server."""

    def __init__(self, server, database):
        self.server, self.database = server, database
        server.create_database(database)
        self.environment = {"CONFIG_DB_HOST": "127.0.0.1", "CONFIG_DB_PORT": server.port,
                            "CONFIG_DB_DATABASE": database, "CONFIG_DB_USERNAME": "postgres"}

    def transact(self, statements):
        with self.server.connect(self.database, autocommit=False) as connection:
            for text, parameters in statements:
                cursor = connection.execute(text.replace("?", "%s"), list(parameters))
            return cursor.fetchall() if cursor.description else []


class Service(Program):
    """One life of `etl-stream run` without --from and --to."""

    def __init__(self, state, options=(), **environment):
        super().__init__(None, None, state, options, **environment)

    def command(self, *arguments, seconds=150, stdin=""):
        """Another command beside the service, on the same catalog."""
        return run_command(*arguments, state=self.state, seconds=seconds, stdin=stdin,
                           **{name: value for name, value in self.environment.items() if name.startswith("CONFIG_DB_")})

    def pipeline(self, name):
        status = self.status() or {}
        return next((one for one in status.get("pipelines", []) if one["pipeline"] == name), {})

    def wait_for_state(self, name, state, seconds=60):
        def ask():
            assert self.is_running(), f"the service ended:\n{self.tail()}"
            found = self.pipeline(name)
            return found if found.get("state") == state else None
        return wait_until(ask, seconds, f"pipeline {name} to be {state}", pause=0.1)

    def wait_for_table(self, name, table, state, seconds=60):
        def ask():
            tables = self.pipeline(name).get("tables", [])
            found = next((one for one in tables if one["table"] == table), {})
            return found if found.get("state") == state else None
        return wait_until(ask, seconds, f"{table} of pipeline {name} to be {state}", pause=0.1)
