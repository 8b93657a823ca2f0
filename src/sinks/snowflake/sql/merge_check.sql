-- A value that nobody has must stop the merge: it would become NULL.
  SELECT COUNT(*) INTO :etl_count FROM (
{source}  );
  IF (etl_count > 0) THEN
    RAISE etl_unresolved_{index};
  END IF;
