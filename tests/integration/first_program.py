"""What the first etl-stream leaves behind, made by the statements that it used.

Source of the facts: github.com/dwickyfp/etl-stream (dd3e3a8), etl-snowflake-py/etl_snowflake/ddl.py, task.py and client.py;
its replication slots are named by github.com/supabase/etl (etl-postgres/src/slots.rs).
"""
LANDING_COLUMNS = ('"OPERATION" VARCHAR(6) NOT NULL', '"SEQUENCE" VARCHAR(64) NOT NULL',
                   '"TIMESTAMP" TIMESTAMP_NTZ DEFAULT CURRENT_TIMESTAMP()')


def task_name(table):
    return f"ETL_MERGE_{table.upper()}_TASK"


def make_table(snowflake, schema, landing_schema, table, columns, key, warehouse="ETL_WH", minutes=60):
    """Landing table, target and started task of one table. columns: name in PostgreSQL → type in Snowflake."""
    database = snowflake.database
    landing = f'"{database}"."{landing_schema}"."LANDING_{table.upper()}"'
    target = f'"{database}"."{schema}"."{table.upper()}"'
    task = f'"{database}"."{landing_schema}"."{task_name(table)}"'
    listed = ", ".join(f'"{name}"' for name in columns)
    snowflake.execute(f'CREATE SCHEMA IF NOT EXISTS "{database}"."{landing_schema}"')
    snowflake.execute(f"CREATE TABLE IF NOT EXISTS {landing} ("
                      + ", ".join([*(f'"{name}" {kind}' for name, kind in columns.items()), *LANDING_COLUMNS])
                      + ") ENABLE_SCHEMA_EVOLUTION = TRUE")
    snowflake.execute(f"CREATE TABLE IF NOT EXISTS {target} ("
                      + ", ".join(f'"{name}" {kind}' for name, kind in columns.items()) + ") ENABLE_SCHEMA_EVOLUTION = TRUE")
    snowflake.execute(f"""CREATE OR REPLACE TASK {task}
WAREHOUSE = {warehouse}
SCHEDULE = '{minutes} MINUTES'
AS
BEGIN
    LET max_seq VARCHAR;

    SELECT COALESCE(MAX("SEQUENCE"), '0') INTO :max_seq
    FROM {landing};

    -- Only proceed if there's data to merge
    IF (max_seq != '0') THEN
        MERGE INTO {target} AS target
        USING (
            SELECT *
            FROM (
                SELECT *, ROW_NUMBER() OVER (
                    PARTITION BY "{key}"
                    ORDER BY "SEQUENCE" DESC
                ) AS _dedupe_id
                FROM {landing}
                WHERE "SEQUENCE" <= :max_seq
            ) AS subquery
            WHERE _dedupe_id = 1
        ) AS source
        ON target."{key}" = source."{key}"
        WHEN MATCHED AND source."OPERATION" = 'DELETE' THEN DELETE
        WHEN MATCHED AND source."OPERATION" IN ('INSERT', 'UPDATE') THEN
            UPDATE SET {", ".join(f'target."{name}" = source."{name}"' for name in columns)}
        WHEN NOT MATCHED AND source."OPERATION" IN ('INSERT', 'UPDATE') THEN
            INSERT ({listed}) VALUES ({", ".join(f'source."{name}"' for name in columns)});

        -- Clean up processed rows
        DELETE FROM {landing}
        WHERE "SEQUENCE" <= :max_seq;
    END IF;
END;""")
    snowflake.execute(f"ALTER TASK {task} RESUME")


def apply_slot(pipeline_id):
    return f"supabase_etl_apply_{pipeline_id}"


def table_sync_slot(pipeline_id, oid):
    return f"supabase_etl_table_sync_{pipeline_id}_{oid}"


def make_config_tables(catalog):
    """The configuration database as its own start makes it, with nothing of ours in it."""
    catalog.transact([(statement, ()) for statement in (
        """CREATE TABLE sources (
            id SERIAL PRIMARY KEY, name VARCHAR(255) NOT NULL UNIQUE, pg_host VARCHAR(255) NOT NULL,
            pg_port INTEGER NOT NULL DEFAULT 5432, pg_database VARCHAR(255) NOT NULL, pg_username VARCHAR(255) NOT NULL,
            pg_password VARCHAR(255), pg_tls_enabled BOOLEAN NOT NULL DEFAULT false,
            publication_name VARCHAR(255) NOT NULL, created_at TIMESTAMP DEFAULT NOW(), updated_at TIMESTAMP DEFAULT NOW())""",
        """CREATE TABLE destinations (
            id SERIAL PRIMARY KEY, name VARCHAR(255) NOT NULL UNIQUE, destination_type VARCHAR(50) NOT NULL,
            snowflake_account VARCHAR(255), snowflake_user VARCHAR(255), snowflake_database VARCHAR(255),
            snowflake_schema VARCHAR(255), snowflake_warehouse VARCHAR(255), snowflake_role VARCHAR(255),
            snowflake_private_key_path VARCHAR(255), snowflake_private_key_passphrase VARCHAR(255),
            snowflake_landing_schema VARCHAR(255) DEFAULT 'ETL_SCHEMA', snowflake_task_schedule_minutes INTEGER DEFAULT 60,
            snowflake_host VARCHAR(255), http_url VARCHAR(255), http_timeout_ms BIGINT DEFAULT 30000,
            http_retry_attempts INTEGER DEFAULT 3, created_at TIMESTAMP DEFAULT NOW(), updated_at TIMESTAMP DEFAULT NOW())""",
        """CREATE TABLE pipelines (
            id SERIAL PRIMARY KEY, name VARCHAR(255) NOT NULL UNIQUE,
            source_id INTEGER NOT NULL REFERENCES sources (id) ON DELETE CASCADE,
            destination_id INTEGER NOT NULL REFERENCES destinations (id) ON DELETE CASCADE,
            status VARCHAR(20) NOT NULL DEFAULT 'PAUSE', batch_max_size INTEGER NOT NULL DEFAULT 1000,
            batch_max_fill_ms BIGINT NOT NULL DEFAULT 5000, table_error_retry_delay_ms BIGINT NOT NULL DEFAULT 10000,
            table_error_retry_max_attempts INTEGER NOT NULL DEFAULT 5, max_table_sync_workers INTEGER NOT NULL DEFAULT 4,
            id_pipeline BIGINT NOT NULL DEFAULT 0, created_at TIMESTAMP DEFAULT NOW(), updated_at TIMESTAMP DEFAULT NOW())""")])
