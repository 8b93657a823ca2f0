-- w: the rows of the window, each sequence once.
    WITH w AS (
      SELECT {landing_columns}, "_ETL_OP", "_ETL_SEQ"
        FROM {landing}
       WHERE {window}
      QUALIFY "_ETL_OP" = 'C' OR ROW_NUMBER() OVER (PARTITION BY "_ETL_SEQ" ORDER BY "_ETL_OP") = 1
-- n: by how much the number of equal rows changes (_ETL_NET), and the number of each among those added or removed.
    ), n AS (
      SELECT w.*, SUM(IFF("_ETL_OP" = 'D', -1, 1)) OVER (PARTITION BY {partition}) AS "_ETL_NET",
             ROW_NUMBER() OVER (PARTITION BY IFF("_ETL_OP" = 'D', 1, 0), {partition} ORDER BY "_ETL_SEQ") AS "_ETL_NUMBER"
        FROM w
-- d: of which rows the target has too many, and how many.
    ), d AS (
      SELECT {columns}, {hash} AS "_ETL_HASH", "_ETL_SEQ", -"_ETL_NET" AS "_ETL_SURPLUS"
        FROM n
       WHERE "_ETL_NET" < 0 AND "_ETL_OP" = 'D' AND "_ETL_NUMBER" = 1
    )
