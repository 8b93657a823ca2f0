    SELECT h."_ETL_SEQ"
      FROM h LEFT JOIN r ON r."_ETL_HEAD" = h."_ETL_SEQ"{join_before}
     WHERE h."_ETL_DO" = 'P'{not_found} AND ({lacking})
