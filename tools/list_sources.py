#!/usr/bin/env python3
"""Prints what the build is made of, one item a line, so that nobody keeps lists by hand.

    room NAME FILE…         the .c files under src/NAME (for cli: without main.c)
    main FILE               src/cli/main.c, once it exists
    sql FILE…               SQL that is compiled in (tools/embed_sql.py)
    page FILE…              the page's files, compiled in as well (tools/embed_page.py)
    unit FILE ROOMS         a test program and the rooms that it is linked with, separated by commas
    sim FILE ROOMS
    fuzz FILE ROOMS
    support FILE…           tests/unit/*.c that are no tests: linked into each of them

A program is linked with the rooms whose headers it includes and with all that these may include (tests/rooms.txt
says which), so that a room that does not compile stops only the tests that need it. meson.build reads the list when
it configures; the Makefile configures again when the list has changed.
"""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
INCLUDE = re.compile(r'^\s*#\s*include\s+"([a-z]+)/', re.MULTILINE)


def read_rooms(path=ROOT / "tests" / "rooms.txt"):
    """Room → the rooms that it may include, in order from the lowest."""
    rooms = {}
    for line in path.read_text().splitlines():
        line = line.split("#")[0].strip()
        if line:
            name, _, allowed = line.partition(":")
            rooms[name.strip()] = allowed.split()
    return rooms


def closure(names, rooms):
    found, todo = set(), [name for name in names if name in rooms]
    while todo:
        name = todo.pop()
        if name not in found:
            found.add(name)
            todo += rooms[name]
    return [name for name in rooms if name in found]


def files(folder, pattern):
    return sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / folder).glob(pattern) if path.is_file())


def programs(kind, folder, rooms, support):
    seen = {room for path in support for room in INCLUDE.findall((ROOT / path).read_text())}
    for path in files(folder, f"{kind}_*.c"):
        used = closure(seen | set(INCLUDE.findall((ROOT / path).read_text())), rooms)
        # "base" at least: an empty list would be hard to read in meson
        yield path, ",".join(used or ["base"])


def main():
    rooms = read_rooms()
    for room in rooms:
        sources = [path for path in files(f"src/{room}", "**/*.c") if path != "src/cli/main.c"]
        print("room", room, *sources)
    for path in files("src/cli", "main.c"):
        print("main", path)
    print("sql", *files("src", "**/*.sql"))
    print("page", *files("src/http/page", "*"))
    support = [path for path in files("tests/unit", "*.c") if not pathlib.Path(path).name.startswith("test_")]
    print("support", *support)
    for word, kind, folder in (("unit", "test", "tests/unit"), ("sim", "sim", "tests/sim"),
                               ("fuzz", "fuzz", "tests/fuzz")):
        for path, used in programs(kind, folder, rooms, support if kind == "test" else []):
            print(word, path, used)


if __name__ == "__main__":
    sys.exit(main())
