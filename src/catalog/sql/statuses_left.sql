-- What was said of pipelines that are not configured.
SELECT s.pipeline, s.json
  FROM etl_status s
 WHERE NOT EXISTS (SELECT 1 FROM pipelines p WHERE p.name = s.pipeline)
 ORDER BY s.pipeline
