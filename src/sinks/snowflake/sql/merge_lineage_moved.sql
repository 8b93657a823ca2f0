      UNION ALL
      SELECT {old_row}, "_ETL_SEQ", NULL, 'D', 0, 1{at}{nothing_sent}
        FROM w
       WHERE "_ETL_OLD_KEY" IS NOT NULL
