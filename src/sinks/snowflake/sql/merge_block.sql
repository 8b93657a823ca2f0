-- The merge of one pipeline: one block, one transaction, one position for all tables.
-- {...} is filled in by sf_merge.c and sf_merge_source.c; lines of comment are left out of the statement.
DECLARE
{exceptions}  etl_seen VARCHAR;
  etl_from VARCHAR;
  etl_count INTEGER;
  etl_odd INTEGER;
  etl_coerced INTEGER;
{variables}BEGIN
  ALTER SESSION SET LOCK_TIMEOUT = {lock_timeout}, ERROR_ON_NONDETERMINISTIC_MERGE = TRUE;
  BEGIN TRANSACTION;
-- First of all, so that whoever merges from an older state finds out before it touches a target.
  UPDATE {state} SET "POSITION" = {below}, "COMMIT_AT" = {commit_at}, "MERGED_AT" = CURRENT_TIMESTAMP(){retention}
   WHERE "PIPELINE" = {pipeline} AND "POSITION" = {state_from} AND "WRITER" = {writer};
  IF (SQLROWCOUNT <> 1) THEN
    RAISE etl_fenced;
  END IF;
{tables}{end}EXCEPTION
  WHEN OTHER THEN
    ROLLBACK;
    RAISE;
END;
