-- Version 4: what is watched of a table at the source, so that a change is noticed that came while nothing ran, and what its columns were
-- called by their attribute numbers, so that a rename is told from another column. Empty: not known.
ALTER TABLE etl_tables ADD COLUMN marks TEXT NOT NULL DEFAULT '';
ALTER TABLE etl_tables ADD COLUMN columns TEXT NOT NULL DEFAULT '';
PRAGMA user_version = 4;
