INSERT INTO etl_watch (scope, kind, name, json, process, seen_ms) VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (scope, kind, name) DO UPDATE SET json = excluded.json, process = excluded.process, seen_ms = excluded.seen_ms
