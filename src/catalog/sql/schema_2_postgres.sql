-- Version 2: a table's stream may have several channels, each with a record of its own. etl_tables.spread tells from which
-- sequence on there are how many ("": one from the beginning).
CREATE TABLE etl_channels (
    pipeline TEXT NOT NULL REFERENCES etl_pipelines (name) ON DELETE CASCADE,
    name TEXT NOT NULL,
    table_oid BIGINT NOT NULL,
    token TEXT NOT NULL,
    created_on_ms BIGINT NOT NULL,
    error_count BIGINT NOT NULL,
    PRIMARY KEY (pipeline, name)
);
INSERT INTO etl_channels (pipeline, name, table_oid, token, created_on_ms, error_count)
SELECT pipeline, channel, oid, token, created_on_ms, error_count FROM etl_tables WHERE channel <> '';
ALTER TABLE etl_tables DROP COLUMN channel;
ALTER TABLE etl_tables DROP COLUMN token;
ALTER TABLE etl_tables DROP COLUMN created_on_ms;
ALTER TABLE etl_tables DROP COLUMN error_count;
ALTER TABLE etl_tables ADD COLUMN spread TEXT NOT NULL DEFAULT '';
UPDATE etl_catalog SET version = 2;
