#!/usr/bin/env python3
"""Compiles SQL files in as C strings.

Usage: embed_sql.py OUTPUT.c OUTPUT.h FILE.sql…

The symbol is the file's path below src/ without a folder named sql, joined by underscores:
src/catalog/sql/open_floor.sql is `extern const char sql_catalog_open_floor[]`, src/pg/catalog/tables.sql would be
sql_pg_catalog_tables. Code includes "embedded_sql.h", which the build makes; a room uses only its own strings
(tests/tidy.py looks). The text is the file's, comments and all, without blank lines at its end.
"""
import pathlib
import re
import sys


def symbol(path):
    parts = pathlib.Path(path).with_suffix("").parts
    below = parts[len(parts) - parts[::-1].index("src"):]
    name = "_".join(["sql", *(part for part in below[:-1] if part != "sql"), below[-1]])
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise SystemExit(f"{path}: the name must be lower case with underscores")
    return name


def literal(text):
    """One C literal a line; octal escapes because a hexadecimal one would swallow the digits that follow."""
    for line in text.splitlines():
        escaped = "".join(chr(byte) if 32 <= byte < 127 and byte not in b'"\\?' else f"\\{byte:03o}"
                          for byte in (line + "\n").encode())
        yield f'    "{escaped}"'


def main(output_c, output_h, *paths):
    named = {}
    for path in sorted(paths):
        name = symbol(path)
        if name in named:
            raise SystemExit(f"{path} and {named[name]} would share the name {name}")
        named[name] = path
    header = ["#ifndef ETL_EMBEDDED_SQL_H", "#define ETL_EMBEDDED_SQL_H", ""]
    body = ['#include "embedded_sql.h"', ""]
    for name, path in named.items():
        text = pathlib.Path(path).read_text(encoding="utf-8").rstrip()
        header.append(f"extern const char {name}[];")
        body += [f"const char {name}[] =", *(literal(text) if text else ['    ""'])]
        body[-1] += ";"
    pathlib.Path(output_h).write_text("\n".join([*header, "", "#endif", ""]))
    pathlib.Path(output_c).write_text("\n".join([*body, ""]))


if __name__ == "__main__":
    main(*sys.argv[1:])
