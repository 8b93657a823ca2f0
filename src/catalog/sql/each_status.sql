-- Every pipeline that is configured or has said something.
SELECT p.name, s.json, coalesce(s.updated_ms, 0)
  FROM (SELECT name FROM pipelines UNION SELECT pipeline FROM etl_status) AS p
  LEFT JOIN etl_status s ON s.pipeline = p.name ORDER BY p.name
