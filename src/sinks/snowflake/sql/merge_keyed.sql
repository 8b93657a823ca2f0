-- A table with a key: what the newest event of each key says.
  MERGE INTO {target} AS t USING (
{source}  ) AS s ON {match:t,s}
  WHEN MATCHED AND s."_ETL_DO" = 'D' THEN DELETE
{update}  WHEN NOT MATCHED AND s."_ETL_DO" = 'P' THEN INSERT ({columns}) VALUES ({columns:s});
