-- A part of a merge whose block would be too long: it is called within the block's transaction.
DECLARE
{exceptions}  etl_seen VARCHAR;
  etl_from VARCHAR;
  etl_count INTEGER;
  etl_odd INTEGER;
  etl_coerced INTEGER;
{variables}BEGIN
  IF (etl_token <> {token}) THEN
    RAISE etl_fenced;
  END IF;
{tables}  RETURN 'done';
END;
