-- Version 1 of the catalog. LSNs are stored as 16 hex digits: SQLite's integers are signed.
CREATE TABLE etl_pipelines (
    name TEXT PRIMARY KEY,
    identity TEXT NOT NULL,
    slot TEXT NOT NULL,
    source TEXT NOT NULL,
    destination TEXT NOT NULL,
    system_identifier TEXT NOT NULL,
    timeline INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    is_slot_made INTEGER NOT NULL,
    received_lsn TEXT NOT NULL,
    floor_lsn TEXT NOT NULL,
    merged_lsn TEXT NOT NULL,
    state_epoch INTEGER NOT NULL,
    state_lsn TEXT NOT NULL,
    writer TEXT NOT NULL,
    merge_intent_lsn TEXT NOT NULL
) STRICT;
CREATE TABLE etl_tables (
    pipeline TEXT NOT NULL REFERENCES etl_pipelines (name) ON DELETE CASCADE,
    schema_name TEXT NOT NULL,
    table_name TEXT NOT NULL,
    oid INTEGER NOT NULL,
    state INTEGER NOT NULL,
    copy_lsn TEXT NOT NULL,
    copied_rows INTEGER NOT NULL,
    is_in_merge INTEGER NOT NULL,
    reason TEXT NOT NULL,
    channel TEXT NOT NULL,
    token TEXT NOT NULL,
    created_on_ms INTEGER NOT NULL,
    error_count INTEGER NOT NULL,
    PRIMARY KEY (pipeline, schema_name, table_name)
) STRICT;
CREATE TABLE etl_status (
    pipeline TEXT PRIMARY KEY,
    json TEXT NOT NULL,
    updated_ms INTEGER NOT NULL
) STRICT;
PRAGMA user_version = 1;
