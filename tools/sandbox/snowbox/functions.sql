-- Functions that Snowflake has and PostgreSQL has not.
CREATE SCHEMA IF NOT EXISTS sf;
