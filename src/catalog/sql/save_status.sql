INSERT INTO etl_status (pipeline, json, updated_ms) VALUES ($1, $2, $3)
ON CONFLICT (pipeline) DO UPDATE SET json = excluded.json, updated_ms = excluded.updated_ms
