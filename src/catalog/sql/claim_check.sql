UPDATE etl_claims SET saved_ms = $3 WHERE pipeline = $1 AND claim = $2
