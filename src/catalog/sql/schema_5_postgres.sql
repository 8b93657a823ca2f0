-- Version 5: why a table is parked, as a word for machines (the error's code). What the WAL monitor found, and the book of alerts, so that status shows them and that a restart or another process tells nothing
-- twice. scope is whose it is: the service's, or of one pipeline that runs by run --from --to. kind is source or alerts.
CREATE TABLE etl_watch (
    scope TEXT NOT NULL,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    json TEXT NOT NULL,
    process TEXT NOT NULL,
    seen_ms BIGINT NOT NULL,
    PRIMARY KEY (scope, kind, name)
);
ALTER TABLE etl_tables ADD COLUMN reason_code TEXT NOT NULL DEFAULT '';
UPDATE etl_tables SET reason_code = 'rows_refused' WHERE state = 4 AND reason LIKE '%Snowflake refused %';
UPDATE etl_catalog SET version = 5;
