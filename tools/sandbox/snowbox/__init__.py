"""A local stand-in for Snowflake: Snowpipe Streaming's REST interface and the SQL API, on a private PostgreSQL."""
