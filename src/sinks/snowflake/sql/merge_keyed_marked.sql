-- A table with a key whose deleted rows stay: the newest row of each key that the window holds, marked if it is gone since;
-- where the window only holds its end, the mark alone.
  MERGE INTO {target} AS t USING (
{source}  ) AS s ON {match:t,s}
  WHEN MATCHED AND s."_ETL_DO" = 'D' THEN UPDATE SET "_ETL_DELETED_AT" = s."_ETL_DELETED_AT"
{update}  WHEN NOT MATCHED AND s."_ETL_DO" = 'P' THEN INSERT ({columns}, "_ETL_DELETED_AT") VALUES ({columns:s}, s."_ETL_DELETED_AT");
