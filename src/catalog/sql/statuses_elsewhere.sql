-- PostgreSQL only. What pipelines say that other processes run, but for what is known already: $2 is {"pipeline": "updated_ms", ...}.
SELECT s.pipeline, s.json, s.updated_ms
  FROM etl_status s JOIN etl_claims c ON c.pipeline = s.pipeline
 WHERE c.holder <> $1 AND CAST(s.updated_ms AS text) IS DISTINCT FROM (CAST($2 AS jsonb) ->> s.pipeline)
