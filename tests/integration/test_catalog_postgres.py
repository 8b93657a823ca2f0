"""The catalog's unit tests once more, in PostgreSQL: two catalogs, the same tests."""
import os
import pathlib
import subprocess

import pytest

from program import PROGRAM, environment


@pytest.mark.parametrize("name", ["test_catalog", "test_catalog_config", "test_catalog_requests"])
def test_the_unit_tests_of_the_catalog_hold_in_postgresql(source, tmp_path, name):
    server = source.server
    done = subprocess.run(
        [pathlib.Path(PROGRAM).parent / "tests" / name], text=True, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, timeout=240,
        env=environment(tmp_path / "unused", CONFIG_DB_HOST="127.0.0.1", CONFIG_DB_PORT=server.port,
                        CONFIG_DB_DATABASE=source.name, CONFIG_DB_USERNAME="postgres"))
    assert done.returncode == 0, done.stdout[-4000:]
    assert not os.path.exists(tmp_path / "unused")
