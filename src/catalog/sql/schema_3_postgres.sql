-- Version 3: what is configured. sources, destinations and pipelines are the first etl-stream's tables, which are kept where they
-- are; etl_settings holds what they have no column for. Commands to a running service, and who runs which pipeline.
CREATE TABLE IF NOT EXISTS sources (
    id serial PRIMARY KEY,
    name VARCHAR(255) NOT NULL UNIQUE,
    pg_host VARCHAR(255) NOT NULL,
    pg_port INTEGER NOT NULL DEFAULT 5432,
    pg_database VARCHAR(255) NOT NULL,
    pg_username VARCHAR(255) NOT NULL,
    pg_password VARCHAR(255),
    pg_tls_enabled BOOLEAN NOT NULL DEFAULT false,
    publication_name VARCHAR(255) NOT NULL,
    created_at TIMESTAMPTZ NOT NULL DEFAULT CURRENT_TIMESTAMP,
    updated_at TIMESTAMPTZ NOT NULL DEFAULT CURRENT_TIMESTAMP
);
CREATE TABLE IF NOT EXISTS destinations (
    id serial PRIMARY KEY,
    name VARCHAR(255) NOT NULL UNIQUE,
    destination_type VARCHAR(50) NOT NULL,
    snowflake_account VARCHAR(255),
    snowflake_user VARCHAR(255),
    snowflake_database VARCHAR(255),
    snowflake_schema VARCHAR(255),
    snowflake_warehouse VARCHAR(255),
    snowflake_role VARCHAR(255),
    snowflake_private_key_path TEXT,
    snowflake_private_key_passphrase TEXT,
    snowflake_landing_schema VARCHAR(255) DEFAULT 'ETL_SCHEMA',
    snowflake_task_schedule_minutes INTEGER DEFAULT 60,
    snowflake_host VARCHAR(255),
    http_url TEXT,
    http_timeout_ms BIGINT DEFAULT 30000,
    http_retry_attempts INTEGER DEFAULT 3,
    created_at TIMESTAMPTZ NOT NULL DEFAULT CURRENT_TIMESTAMP,
    updated_at TIMESTAMPTZ NOT NULL DEFAULT CURRENT_TIMESTAMP
);
CREATE TABLE IF NOT EXISTS pipelines (
    id serial PRIMARY KEY,
    name VARCHAR(255) NOT NULL UNIQUE,
    source_id INTEGER NOT NULL REFERENCES sources (id) ON DELETE CASCADE,
    destination_id INTEGER NOT NULL REFERENCES destinations (id) ON DELETE CASCADE,
    status VARCHAR(20) NOT NULL DEFAULT 'PAUSE',
    batch_max_size INTEGER NOT NULL DEFAULT 1000,
    batch_max_fill_ms BIGINT NOT NULL DEFAULT 5000,
    table_error_retry_delay_ms BIGINT NOT NULL DEFAULT 10000,
    table_error_retry_max_attempts INTEGER NOT NULL DEFAULT 5,
    max_table_sync_workers INTEGER NOT NULL DEFAULT 4,
    id_pipeline BIGINT NOT NULL DEFAULT 0,
    created_at TIMESTAMPTZ NOT NULL DEFAULT CURRENT_TIMESTAMP,
    updated_at TIMESTAMPTZ NOT NULL DEFAULT CURRENT_TIMESTAMP
);
CREATE INDEX IF NOT EXISTS idx_pipelines_status ON pipelines (status);
CREATE INDEX IF NOT EXISTS idx_pipelines_source_id ON pipelines (source_id);
CREATE INDEX IF NOT EXISTS idx_pipelines_destination_id ON pipelines (destination_id);
CREATE TABLE etl_settings (
    owner TEXT NOT NULL,
    owner_id BIGINT NOT NULL,
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (owner, owner_id, name)
);
CREATE TABLE etl_commands (
    id bigserial PRIMARY KEY,
    pipeline TEXT NOT NULL,
    word TEXT NOT NULL,
    arguments TEXT NOT NULL,
    state TEXT NOT NULL,
    answer TEXT NOT NULL,
    made_ms BIGINT NOT NULL
);
CREATE TABLE etl_claims (
    pipeline TEXT PRIMARY KEY,
    claim BIGINT NOT NULL,
    holder TEXT NOT NULL,
    since_ms BIGINT NOT NULL,
    saved_ms BIGINT NOT NULL
);
UPDATE etl_catalog SET version = 3;
