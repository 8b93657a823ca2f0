    SELECT {resolved}, h."_ETL_DO"{marked}
      FROM h LEFT JOIN r ON r."_ETL_HEAD" = h."_ETL_SEQ"{join_before}
