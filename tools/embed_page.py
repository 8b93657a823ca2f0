#!/usr/bin/env python3
"""Compiles the files of the page in, as they are.

Usage: embed_page.py OUTPUT.c OUTPUT.h FILE…

The header, "embedded_page.h", declares `struct embedded_file` and the array of all files in the order of their names, the last
followed by one without a name. A file is named by its own name: src/http/page/page.js is "page.js".
"""
import pathlib
import sys

TYPES = {".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8",
         ".svg": "image/svg+xml"}
HEADER = """#ifndef ETL_EMBEDDED_PAGE_H
#define ETL_EMBEDDED_PAGE_H

#include <stddef.h>

struct embedded_file {
    const char *name, *content_type;
    const unsigned char *bytes;
    size_t size;
};

extern const struct embedded_file embedded_page[];

#endif
"""


def main(output_c, output_h, *paths):
    body, entries = ['#include "embedded_page.h"', ""], []
    for number, path in enumerate(sorted(map(pathlib.Path, paths), key=lambda path: path.name)):
        if path.suffix not in TYPES:
            raise SystemExit(f"{path}: of what type is it? There are {', '.join(TYPES)}")
        data = path.read_bytes()
        body += [f"static const unsigned char bytes_{number}[] = {{",
                 *("    " + ", ".join(map(str, data[i:i + 32])) + "," for i in range(0, len(data), 32)), "};", ""]
        entries.append(f'    {{"{path.name}", "{TYPES[path.suffix]}", bytes_{number}, sizeof bytes_{number}}},')
    body += ["const struct embedded_file embedded_page[] = {", *entries, "    {NULL, NULL, NULL, 0},", "};", ""]
    pathlib.Path(output_h).write_text(HEADER)
    pathlib.Path(output_c).write_text("\n".join(body))


if __name__ == "__main__":
    main(*sys.argv[1:])
