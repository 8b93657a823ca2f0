"""docs/tutorial.md holds: its commands are run in order against a real PostgreSQL and the stand-in, and print what it says."""
import os
import pathlib

import manual
from program import PROGRAM, SANITIZER_OPTIONS
from standin import ROOT


def test_every_command_of_the_tutorial(tmp_path, source, standin):
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    (bin_folder / "etl-stream").symlink_to(pathlib.Path(PROGRAM).resolve())
    (bin_folder / "snowsql").write_text(f'#!/bin/sh\nexec {ROOT}/tools/sandbox/sql --to "$SNOWFLAKE" --csv "$1"\n')
    (bin_folder / "snowsql").chmod(0o755)
    work = tmp_path / "work"
    work.mkdir()
    reading = manual.Manual(ROOT / "docs" / "tutorial.md", work, {
        "PATH": f"{bin_folder}:{os.environ['PATH']}", "HOME": str(work), "LOG_FORMAT": "text", "PIPELINE_POLL_INTERVAL_SECS": "1",
        "METRICS_ADDR": "off", "HEALTH_ADDR": "off",
        "SOURCE": source.server.url(source.name), "SNOWFLAKE": standin.to, **SANITIZER_OPTIONS}, source.sql)
    reading.run()
    assert reading.commands > 30
