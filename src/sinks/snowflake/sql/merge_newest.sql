-- The newest event of each key when every value was sent. An event puts a row under its key (P) or takes it away (D);
-- an update that moved a row to another key does both.
    WITH e AS (
      SELECT {landing_columns}, "_ETL_SEQ", IFF("_ETL_OP" = 'D', 'D', 'P') AS "_ETL_DO"{event_at}
        FROM {landing}
       WHERE {window}
{moved_out}    )
    SELECT {columns}, "_ETL_DO"{deleted_at}
      FROM e
    QUALIFY ROW_NUMBER() OVER (PARTITION BY {partition} ORDER BY {newest_first}) = 1
