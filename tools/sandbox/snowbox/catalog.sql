-- The stand-in's own catalog: what Snowflake knows of databases, schemas, tables and columns.
-- Rows of a table live in rows.t<table_id>; its error table, if it has one, in rows.e<table_id>.
CREATE SCHEMA IF NOT EXISTS rows;
CREATE SCHEMA IF NOT EXISTS snowbox;

CREATE TABLE IF NOT EXISTS snowbox.databases (
    database_id bigserial PRIMARY KEY,
    name        text NOT NULL UNIQUE,
    comment     text NOT NULL DEFAULT '',
    owner       text NOT NULL DEFAULT 'SYSADMIN',
    created_on  timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE IF NOT EXISTS snowbox.schemas (
    schema_id   bigserial PRIMARY KEY,
    database_id bigint NOT NULL REFERENCES snowbox.databases ON DELETE CASCADE,
    name        text NOT NULL,
    comment     text NOT NULL DEFAULT '',
    owner       text NOT NULL DEFAULT 'SYSADMIN',
    transient   boolean NOT NULL DEFAULT false,
    retention   integer NOT NULL DEFAULT 1,
    created_on  timestamptz NOT NULL DEFAULT clock_timestamp(),
    UNIQUE (database_id, name)
);
ALTER TABLE snowbox.schemas ADD COLUMN IF NOT EXISTS ddl_collation text NOT NULL DEFAULT '';

-- A table that is created or replaced always gets a new table_id: that is its identity.
CREATE TABLE IF NOT EXISTS snowbox.tables (
    table_id         bigserial PRIMARY KEY,
    schema_id        bigint NOT NULL REFERENCES snowbox.schemas ON DELETE CASCADE,
    name             text NOT NULL,
    transient        boolean NOT NULL DEFAULT false,
    error_logging    boolean NOT NULL DEFAULT false,
    schema_evolution boolean NOT NULL DEFAULT false,
    comment          text NOT NULL DEFAULT '',
    owner            text NOT NULL DEFAULT 'SYSADMIN',
    retention        integer NOT NULL DEFAULT 1,
    created_on       timestamptz NOT NULL DEFAULT clock_timestamp(),
    UNIQUE (schema_id, name)
);
-- NULL: its schema's.
ALTER TABLE snowbox.tables ADD COLUMN IF NOT EXISTS ddl_collation text;

-- default_text is the Snowflake expression, applied by the compiler of INSERT and MERGE only.
CREATE TABLE IF NOT EXISTS snowbox.columns (
    table_id     bigint NOT NULL REFERENCES snowbox.tables ON DELETE CASCADE,
    position     integer NOT NULL,
    name         text NOT NULL,
    type_text    text NOT NULL,
    nullable     boolean NOT NULL DEFAULT true,
    default_text text,
    comment      text NOT NULL DEFAULT '',
    PRIMARY KEY (table_id, position),
    UNIQUE (table_id, name)
);
ALTER TABLE snowbox.columns ADD COLUMN IF NOT EXISTS collated_by text NOT NULL DEFAULT '';

CREATE TABLE IF NOT EXISTS snowbox.warehouses (
    name       text PRIMARY KEY,
    owner      text NOT NULL DEFAULT 'SYSADMIN',
    comment    text NOT NULL DEFAULT '',
    created_on timestamptz NOT NULL DEFAULT clock_timestamp()
);

ALTER TABLE snowbox.warehouses ADD COLUMN IF NOT EXISTS auto_suspend integer DEFAULT 600;
ALTER TABLE snowbox.warehouses ADD COLUMN IF NOT EXISTS auto_resume boolean NOT NULL DEFAULT true;
ALTER TABLE snowbox.warehouses ADD COLUMN IF NOT EXISTS state text NOT NULL DEFAULT 'STARTED';

-- What roles were granted on databases, schemas and warehouses (privileges.py), and of other roles. name: the object's, part by part.
CREATE TABLE IF NOT EXISTS snowbox.role_grants (
    role      text NOT NULL,
    kind      text NOT NULL,
    name      text[] NOT NULL,
    privilege text NOT NULL,
    PRIMARY KEY (role, kind, name, privilege)
);

-- Requests of the SQL API that carry an id, so that a retry finds them after a restart too. status and body are the
-- answer; both are NULL while the statement runs, and for ever if the stand-in was killed meanwhile.
CREATE TABLE IF NOT EXISTS snowbox.requests (
    handle        text PRIMARY KEY,
    user_name     text NOT NULL,
    request_id    text NOT NULL,
    created_on_ms bigint NOT NULL,
    status        integer,
    body          text
);
CREATE INDEX IF NOT EXISTS requests_by_id ON snowbox.requests (user_name, request_id);
DELETE FROM snowbox.requests WHERE created_on_ms < (extract(epoch FROM now()) - 86400) * 1000;

-- Procedures. What their arguments' types are tells overloads apart.
CREATE TABLE IF NOT EXISTS snowbox.procedures (
    schema_id  bigint NOT NULL REFERENCES snowbox.schemas ON DELETE CASCADE,
    name       text NOT NULL,
    types      text NOT NULL,
    arguments  text NOT NULL,
    returns    text NOT NULL,
    body       text NOT NULL,
    comment    text NOT NULL DEFAULT '',
    created_on timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (schema_id, name, types)
);

CREATE TABLE IF NOT EXISTS snowbox.tasks (
    task_id      bigserial PRIMARY KEY,
    schema_id    bigint NOT NULL REFERENCES snowbox.schemas ON DELETE CASCADE,
    name         text NOT NULL,
    owner        text NOT NULL,
    warehouse    text NOT NULL,
    schedule     text NOT NULL,
    comment      text NOT NULL DEFAULT '',
    may_overlap     boolean NOT NULL DEFAULT false,
    state        text NOT NULL DEFAULT 'suspended',
    definition   text NOT NULL,
    created_on   timestamptz NOT NULL DEFAULT clock_timestamp(),
    suspended_on timestamptz,
    UNIQUE (schema_id, name)
);

-- Beside those that users have.
CREATE TABLE IF NOT EXISTS snowbox.roles (name text PRIMARY KEY);

-- kind and object_id: TABLE and tables.table_id, TASK and tasks.task_id. No number is used twice.
CREATE TABLE IF NOT EXISTS snowbox.grants (
    kind        text NOT NULL,
    object_id   bigint NOT NULL,
    privilege   text NOT NULL,
    grantee     text NOT NULL,
    with_option boolean NOT NULL,
    granted_by  text NOT NULL,
    created_on  timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (kind, object_id, privilege, grantee)
);
