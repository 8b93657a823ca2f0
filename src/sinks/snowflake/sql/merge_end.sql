  SELECT COALESCE("CLEAN_POSITION", '') INTO :etl_seen FROM {state} WHERE "PIPELINE" = {pipeline};
  COMMIT;
  RETURN 'merged ' || etl_seen;
