      UNION ALL
      SELECT {old_row}, "_ETL_SEQ", 'D'{event_at}
        FROM {landing}
       WHERE {window} AND "_ETL_OLD_KEY" IS NOT NULL
