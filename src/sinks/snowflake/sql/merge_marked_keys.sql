-- A first merge keeps the rows marked earlier, if they were told apart by the same key.
  SELECT COUNT(*) INTO :etl_count FROM (SELECT 1 AS "_ETL_ONE" FROM {target} GROUP BY {partition} HAVING COUNT(*) > 1);
  IF (etl_count > 0) THEN
    DELETE FROM {target};
  END IF;
