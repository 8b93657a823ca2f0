-- More was removed than there is: the target is not what it should be.
  SELECT COUNT(*) INTO :etl_count FROM (
{multiset}{surplus}  );
  IF (etl_count > 0) THEN
    RAISE etl_unresolved_{index};
  END IF;
