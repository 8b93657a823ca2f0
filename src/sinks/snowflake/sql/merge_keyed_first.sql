-- The first merge after a copy: the target was emptied; rows that live at the bound come in.
  INSERT INTO {target} ({columns})
  SELECT {columns:s} FROM (
{source}  ) AS s
   WHERE s."_ETL_DO" = 'P';
