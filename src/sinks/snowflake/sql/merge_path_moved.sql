-- l: a segment that a moved row opened continues the one that this row left, under its old key.
    ), l AS (
      SELECT {key:a}, a."_ETL_SEGMENT"{left_key}, b."_ETL_SEGMENT" AS "_ETL_LEFT_SEGMENT"
        FROM g AS a JOIN g AS b ON b."_ETL_SEQ" = a."_ETL_SEQ"
       WHERE a."_ETL_MOVED" = 1 AND a."_ETL_DO" = 'P' AND a."_ETL_WHOLE" = 0
         AND b."_ETL_MOVED" = 1 AND b."_ETL_DO" = 'D'
-- p: the segments of the row's life, back from its newest event as far as there is something to look for.
    ), p ("_ETL_HEAD", {key}, "_ETL_SEGMENT") AS (
      SELECT h."_ETL_SEQ", {key:h}, h."_ETL_SEGMENT"
        FROM h
       WHERE h."_ETL_DO" = 'P' AND h."_ETL_UNCHANGED" IS NOT NULL
      UNION ALL
      SELECT p."_ETL_HEAD"{left_key_names}, l."_ETL_LEFT_SEGMENT"
        FROM p JOIN l ON {match:l,p} AND l."_ETL_SEGMENT" = p."_ETL_SEGMENT"
