"""The checks behind tools/live-check: what only a live Snowflake account can show."""
