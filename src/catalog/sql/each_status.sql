-- Every pipeline that is configured or has said something. A row whose source or destination is not there is none: in SQLite it stays
-- where whoever deleted these did not ask for foreign keys, and so for the cascade.
SELECT p.name, s.json, coalesce(s.updated_ms, 0)
  FROM (SELECT p.name FROM pipelines p JOIN sources f ON f.id = p.source_id JOIN destinations t ON t.id = p.destination_id
        UNION SELECT pipeline FROM etl_status) AS p
  LEFT JOIN etl_status s ON s.pipeline = p.name ORDER BY p.name
