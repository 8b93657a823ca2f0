"""The small tools of the build."""
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tools"))
import embed_sql  # noqa: E402
import list_sources  # noqa: E402


def test_embedded_sql_is_the_file_byte_for_byte(tmp_path):
    text = "-- \"quotes\", back\\slash, ??=, ünï, \t tab\nselect '\\x41' || 'a';\n\nselect 2"
    path = tmp_path / "src" / "pg" / "sql" / "odd_text.sql"
    path.parent.mkdir(parents=True)
    path.write_text(text + "\n\n")
    embed_sql.main(str(tmp_path / "embedded_sql.c"), str(tmp_path / "embedded_sql.h"), str(path))
    (tmp_path / "main.c").write_text('#include <stdio.h>\n#include "embedded_sql.h"\n'
                                     "int main(void) { return fputs(sql_pg_odd_text, stdout) < 0; }\n")
    subprocess.run(["cc", "-std=gnu17", "-Wall", "-Wextra", "-Werror", "-o", tmp_path / "show", tmp_path / "main.c",
                    tmp_path / "embedded_sql.c"], check=True)
    assert subprocess.run([tmp_path / "show"], capture_output=True, check=True).stdout.decode() == text + "\n"


def test_embedded_sql_has_one_name_a_file():
    assert embed_sql.symbol("a/src/catalog/sql/x.sql") == "sql_catalog_x"
    assert embed_sql.symbol("src/sinks/snowflake/sql/state.sql") == "sql_sinks_snowflake_state"
    with pytest.raises(SystemExit):
        embed_sql.symbol("src/pg/sql/Upper.sql")


def test_a_program_is_linked_with_the_rooms_it_needs():
    rooms = list_sources.read_rooms()
    assert list_sources.closure(["model"], rooms) == ["base", "model"]
    assert list_sources.closure(["catalog"], rooms) == ["base", "model", "io", "pg", "catalog"]
    assert list_sources.closure(["cmocka"], rooms) == []
    for room, allowed in rooms.items():
        order = list(rooms)
        assert all(order.index(lower) < order.index(room) for lower in allowed), room
