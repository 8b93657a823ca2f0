-- A table without a key. DELETE knows no number: of rows of which the target has too many all copies go (D), and those that
-- are to stay come in again (P), in one statement, which reads the target as it was before.
  MERGE INTO {target} AS t USING (
{multiset}    SELECT {columns}, 0 AS "_ETL_HASH", 'P' AS "_ETL_DO"
      FROM n
     WHERE "_ETL_OP" <> 'D' AND "_ETL_NUMBER" <= "_ETL_NET"
    UNION ALL
    SELECT {columns}, "_ETL_HASH", 'D'
      FROM d
    UNION ALL
    SELECT {columns:x}, 0, 'P'
      FROM {target} AS x JOIN d ON {same:x,d}
    QUALIFY ROW_NUMBER() OVER (PARTITION BY d."_ETL_SEQ" ORDER BY d."_ETL_SEQ") > d."_ETL_SURPLUS"
  ) AS s ON s."_ETL_DO" = 'D' AND {same:t,s}
  WHEN MATCHED THEN DELETE
  WHEN NOT MATCHED AND s."_ETL_DO" = 'P' THEN INSERT ({columns}) VALUES ({columns:s});
