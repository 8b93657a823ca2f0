-- Append-only: every inserted row, each sequence once. Copied rows share theirs.
  INSERT INTO {target} ({columns})
  SELECT {landing_columns}
    FROM {landing}
   WHERE {window}
  QUALIFY "_ETL_OP" = 'C' OR ROW_NUMBER() OVER (PARTITION BY "_ETL_SEQ" ORDER BY "_ETL_OP") = 1;
