SELECT p.name, s.json, coalesce(s.updated_ms, 0)
  FROM etl_pipelines p LEFT JOIN etl_status s ON s.pipeline = p.name ORDER BY p.name
