-- p: the segments of the row's life, back from its newest event. Nobody moved: there is one.
    ), p AS (
      SELECT "_ETL_SEQ" AS "_ETL_HEAD", {columns:key}, "_ETL_SEGMENT"
        FROM h
       WHERE "_ETL_DO" = 'P' AND "_ETL_UNCHANGED" IS NOT NULL
