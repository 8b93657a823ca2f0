    SELECT d."_ETL_SEQ"
      FROM d LEFT JOIN (SELECT {columns}, 1 AS "_ETL_FOUND" FROM {target}) AS x ON {same:x,d}
     GROUP BY d."_ETL_SEQ", d."_ETL_SURPLUS"
    HAVING COUNT(x."_ETL_FOUND") < d."_ETL_SURPLUS"
