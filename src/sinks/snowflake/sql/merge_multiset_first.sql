-- The first merge after a copy: the target was emptied.
  INSERT INTO {target} ({columns})
  SELECT {columns:s} FROM (
{multiset}    SELECT {columns}
      FROM n
     WHERE "_ETL_OP" <> 'D' AND "_ETL_NUMBER" <= "_ETL_NET"
  ) AS s;
