-- When rows were deleted that have no change of their own: by the truncate, or unseen, before this merge.
  SELECT COALESCE(MAX("_ETL_COMMIT_AT"), {commit_at:NOW}) INTO :etl_at FROM {landing} WHERE "_ETL_SEQ" = :etl_from;
