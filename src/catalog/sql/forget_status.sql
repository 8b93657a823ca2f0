DELETE FROM etl_status
 WHERE pipeline = $1 AND NOT EXISTS (SELECT 1 FROM pipelines p JOIN sources f ON f.id = p.source_id JOIN destinations t ON t.id = p.destination_id WHERE p.name = $1)
