-- What must be known of the window: how far the landing reaches (beyond the window too; NULL where rows of some channel
-- are missing), the newest truncate in it (rows before it count for nothing), how many copied rows there are, rows that
-- must not be there, and rows with values that do not fit.
  SELECT {seen},
         COALESCE(MAX(IFF("_ETL_OP" = 'T' AND "_ETL_SEQ" < {below}, "_ETL_SEQ", NULL)), ''),
         COUNT_IF("_ETL_OP" = 'C' AND "_ETL_SEQ" = {copied}),
         COUNT_IF({odd}),
         COUNT_IF("_ETL_COERCED" IS NOT NULL)
    INTO :etl_seen, :etl_from, :etl_count, :etl_odd, :etl_coerced
    FROM {landing}
   WHERE "_ETL_SEQ" >= {from};
{checks}
