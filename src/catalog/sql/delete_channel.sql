DELETE FROM etl_channels WHERE pipeline = $1 AND name = $2
