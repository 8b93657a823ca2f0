    SELECT "_ETL_SEQ"
      FROM d
