-- The newest event of each key when some values were not sent (unchanged TOAST). docs/merge.md explains the steps.
-- w: the rows of the window, each sequence once.
    {with} w AS (
      SELECT {landing_columns}, "_ETL_OP", "_ETL_SEQ", "_ETL_OLD_KEY", "_ETL_UNCHANGED"{event_at}
        FROM {landing}
       WHERE {window}
      QUALIFY "_ETL_OP" = 'C' OR ROW_NUMBER() OVER (PARTITION BY "_ETL_SEQ" ORDER BY "_ETL_OP") = 1
-- e: events by key, as above; _ETL_Q<n> is the sequence if the event sent column n, else NULL.
    ), e AS (
      SELECT {columns}, "_ETL_SEQ", "_ETL_UNCHANGED", IFF("_ETL_OP" = 'D', 'D', 'P') AS "_ETL_DO",
             IFF("_ETL_OP" IN ('I', 'C') OR "_ETL_OLD_KEY" IS NOT NULL, 1, 0) AS "_ETL_OPENS",
             IFF("_ETL_OLD_KEY" IS NOT NULL, 1, 0) AS "_ETL_MOVED"{at}{sent}
        FROM w
{moved_out}
-- f: the events of a key fall into segments, one for each row that lived there; 0 is the row of the target.
    ), f AS (
      SELECT e.*, SUM("_ETL_OPENS") OVER (PARTITION BY {partition} ORDER BY "_ETL_SEQ", "_ETL_DO"
                                          ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS "_ETL_SEGMENT"
        FROM e
-- g: a segment is whole when one of its events sent everything: then nobody looks further back.
    ), g AS (
      SELECT f.*, MAX(IFF("_ETL_DO" = 'P' AND "_ETL_UNCHANGED" IS NULL, 1, 0))
                  OVER (PARTITION BY {partition}, "_ETL_SEGMENT") AS "_ETL_WHOLE"
        FROM f
-- h: the newest event of each key; where deleted rows stay, its newest row.
    ), h AS (
      SELECT g.*{deleted_at}
        FROM g
      QUALIFY ROW_NUMBER() OVER (PARTITION BY {partition} ORDER BY {newest_first}) = 1
{path}
-- r: the newest value sent in the life of the row, through all its keys: sequences rise along it.
    ), r AS (
      SELECT p."_ETL_HEAD"{newest_sent}
        FROM p JOIN g ON {match:g,p} AND g."_ETL_SEGMENT" = p."_ETL_SEGMENT"
       WHERE g."_ETL_DO" = 'P'
       GROUP BY p."_ETL_HEAD"
{before}
    )
{result}
