-- SQLite only: what ON DELETE CASCADE would have deleted, had whoever deleted the source or destination asked for foreign keys.
DELETE FROM pipelines
 WHERE NOT EXISTS (SELECT 1 FROM sources f WHERE f.id = source_id) OR NOT EXISTS (SELECT 1 FROM destinations t WHERE t.id = destination_id)
