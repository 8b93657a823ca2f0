-- Version 1 of the catalog. LSNs are stored as 16 hex digits: PostgreSQL's integers are signed.
CREATE TABLE etl_pipelines (
    name TEXT PRIMARY KEY,
    identity TEXT NOT NULL,
    slot TEXT NOT NULL,
    source TEXT NOT NULL,
    destination TEXT NOT NULL,
    system_identifier TEXT NOT NULL,
    timeline BIGINT NOT NULL,
    epoch INTEGER NOT NULL,
    is_slot_made INTEGER NOT NULL,
    received_lsn TEXT NOT NULL,
    floor_lsn TEXT NOT NULL,
    merged_lsn TEXT NOT NULL,
    state_epoch INTEGER NOT NULL,
    state_lsn TEXT NOT NULL,
    writer TEXT NOT NULL,
    merge_intent_lsn TEXT NOT NULL
);
CREATE TABLE etl_tables (
    pipeline TEXT NOT NULL REFERENCES etl_pipelines (name) ON DELETE CASCADE,
    schema_name TEXT NOT NULL,
    table_name TEXT NOT NULL,
    oid BIGINT NOT NULL,
    state INTEGER NOT NULL,
    copy_lsn TEXT NOT NULL,
    copied_rows BIGINT NOT NULL,
    is_in_merge INTEGER NOT NULL,
    reason TEXT NOT NULL,
    channel TEXT NOT NULL,
    token TEXT NOT NULL,
    created_on_ms BIGINT NOT NULL,
    error_count BIGINT NOT NULL,
    PRIMARY KEY (pipeline, schema_name, table_name)
);
CREATE TABLE etl_status (
    pipeline TEXT PRIMARY KEY,
    json TEXT NOT NULL,
    updated_ms BIGINT NOT NULL
);
-- With a key, as a publication FOR ALL TABLES refuses updates without one.
CREATE TABLE etl_catalog (version INTEGER PRIMARY KEY);
INSERT INTO etl_catalog (version) VALUES (1);
