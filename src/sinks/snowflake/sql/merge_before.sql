-- z: the row of the target with which that life began before the window.
    ), z AS (
      SELECT p."_ETL_HEAD", 1 AS "_ETL_FOUND"{target_values}
        FROM p JOIN {target} AS x ON {match:x,p}
       WHERE p."_ETL_SEGMENT" = 0
