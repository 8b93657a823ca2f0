-- What was said of pipelines that are not configured (each_status.sql).
SELECT s.pipeline, s.json
  FROM etl_status s
 WHERE NOT EXISTS (SELECT 1 FROM pipelines p JOIN sources f ON f.id = p.source_id JOIN destinations t ON t.id = p.destination_id WHERE p.name = s.pipeline)
 ORDER BY s.pipeline
