#!/usr/bin/env python3
"""Rules of the tree, as a test: who may include whom, lengths, banned calls, layout.

Every rule is a function from a tree (path → text) to its findings, and every rule has two samples below: a tree that
it must find something in and one that it must not. The samples run first; a rule that cannot fail proves nothing.

Usage: tests/tidy.py [RULE…]    (no rule: all)
"""
import concurrent.futures
import pathlib
import posixpath
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))
from list_sources import read_rooms  # noqa: E402

FUNCTION_LINES_MAX = 90
FILE_LINES_MAX = 900
GENERATED_HEADERS = {"embedded_sql.h", "embedded_page.h"}
PACKAGES = ["libpq", "libcurl", "libcrypto", "libzstd", "zlib", "sqlite3", "jansson"]

# Call → the files that may use it (a file name without its ending covers both .c and .h), and why it is banned.
BANNED_CALLS = {
    "strcpy": ((), "has no bound"),
    "strcat": ((), "has no bound"),
    "sprintf": ((), "has no bound"),
    "vsprintf": ((), "has no bound"),
    "gets": ((), "has no bound"),
    "strtok": ((), "keeps hidden state"),
    "atoi": ((), "hides errors"),
    "atol": ((), "hides errors"),
    "atoll": ((), "hides errors"),
    "system": ((), "runs a shell"),
    "popen": ((), "runs a shell"),
    "exit": (("src/cli/main",), "belongs to main"),
    "sleep": ((), "blocks the loop"),
    "usleep": ((), "blocks the loop"),
    "nanosleep": ((), "blocks the loop"),
    "clock_nanosleep": ((), "blocks the loop"),
    "getaddrinfo": (("src/io/resolver",), "blocks the loop"),
    "gethostbyname": ((), "blocks the loop"),
}
# The only mutex: it knows that it is held, and whoever does I/O asserts that none is.
MUTEX_FILES = ("src/io/lock",)

RULES = {}


def rule(function):
    RULES[function.__name__] = function
    return function


def c_files(tree, below="src/", ends=(".c", ".h")):
    return {path: text for path, text in tree.items() if path.startswith(below) and path.endswith(ends)}


COMMENT_OR_LITERAL = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])+\'', re.DOTALL)


def code_only(text):
    """The text with comments and literals blanked; the line numbers stay."""
    return COMMENT_OR_LITERAL.sub(lambda found: re.sub(r"[^\n]", " ", found.group()), text)


def line_of(text, position):
    return text.count("\n", 0, position) + 1


def room_of(path):
    return path.split("/")[1]


INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]+(?:"([^"]+)"|<([^>]+)>)', re.MULTILINE)


@rule
def rooms_include_only_lower_rooms(tree):
    rooms = read_rooms()
    for path, text in c_files(tree).items():
        room = room_of(path)
        if room not in rooms:
            yield f"{path}: src/{room} is no room of tests/rooms.txt"
            continue
        for found in INCLUDE.finditer(text):
            name = found.group(1)
            if name is None or name in GENERATED_HEADERS:
                continue
            where = f"{path}:{line_of(text, found.start())}"
            parts = name.split("/")
            if len(parts) < 2 or parts[0] not in rooms:
                yield f'{where}: "{name}": name headers from src/, as "room/name.h"'
            elif parts[0] != room and parts[0] not in rooms[room]:
                yield f"{where}: {room} may not include {parts[0]} ({name})"
            elif room == "sinks" == parts[0] and len(parts) > 2 and parts[1] != path.split("/")[2]:
                yield f"{where}: one sink may not include another ({name})"


@rule
def includes_are_in_order(tree):
    """Own header, system, project."""
    for path, text in c_files(tree).items():
        own = path.removeprefix("src/").removesuffix(".c") + ".h"
        names = [(found.group(1), found.group(2), line_of(text, found.start())) for found in INCLUDE.finditer(text)]
        if path.endswith(".c") and "src/" + own in tree:
            if not names or names[0][0] != own:
                yield f'{path}: the first include must be its own header, "{own}"'
                continue
            names = names[1:]
        elif path.endswith(".c") and names and names[0][0] and names[0][0].rpartition("/")[0] == own.rpartition("/")[0]:
            names = names[1:]  # one of several files behind a header of the same folder
        seen_project = False
        for project, system, line in names:
            if project is not None:
                seen_project = True
            elif seen_project:
                yield f"{path}:{line}: <{system}> comes before the project's headers"


@rule
def sql_is_used_in_its_own_room(tree):
    for path, text in c_files(tree).items():
        code = code_only(text)
        for found in re.finditer(r"\bsql_([a-z]+)_[a-z0-9_]+\b(?!\s*\()", code):
            if f"src/{found.group(1)}/" in "".join(name for name in tree if name.endswith(".sql")):
                if found.group(1) != room_of(path):
                    yield f"{path}:{line_of(code, found.start())}: {found.group()} belongs to {found.group(1)}"


@rule
def calls_are_not_banned(tree):
    names = "|".join(BANNED_CALLS)
    for path, text in c_files(tree).items():
        code = code_only(text)
        for found in re.finditer(rf"(?<![\w.>])({names})\s*\(", code):
            allowed, why = BANNED_CALLS[found.group(1)]
            if path.rsplit(".", 1)[0] not in allowed:
                yield f"{path}:{line_of(code, found.start())}: {found.group(1)} {why}"
        for found in re.finditer(r"\bpthread_(?:mutex|rwlock|spin)_\w+", code):
            if path.rsplit(".", 1)[0] not in MUTEX_FILES:
                yield f"{path}:{line_of(code, found.start())}: use io/lock.h, not {found.group()}"


@rule
def functions_are_short(tree):
    for path, text in {**c_files(tree), **c_files(tree, "tests/")}.items():
        lines = code_only(text).split("\n")
        start = None
        for number, line in enumerate(lines):
            if line.startswith("{"):
                start = number
                while start > 0 and lines[start - 1].strip() and not lines[start - 1].startswith(("}", "#")):
                    start -= 1
            elif line.startswith("}") and start is not None:
                if number - start + 1 >= FUNCTION_LINES_MAX:
                    yield f"{path}:{start + 1}: {number - start + 1} lines: {text.splitlines()[start][:70]}"
                start = None


@rule
def files_are_short(tree):
    for path, text in tree.items():
        if path.endswith((".c", ".h", ".py", ".sql", ".js", ".css", ".html")) and text.count("\n") >= FILE_LINES_MAX:
            yield f"{path}: {text.count(chr(10))} lines"


@rule
def nothing_is_left_for_later(tree):
    words = re.compile(r"\b(?:TO" + "DO|FIX" + "ME|XX" + "X|HA" + r"CK)\b")
    for path, text in tree.items():
        if not path.startswith("LICENSE"):
            for found in words.finditer(text):
                yield f"{path}:{line_of(text, found.start())}: {found.group()}"


@rule
def sql_is_ascii(tree):
    """Comments too: a server refuses a statement with a letter that its database's encoding does not have."""
    for path, text in tree.items():
        if path.startswith("src/") and path.endswith(".sql"):
            for number, line in enumerate(text.split("\n"), 1):
                if not line.isascii():
                    yield f"{path}:{number}: a letter outside of ASCII"


@rule
def paths_of_one_machine_are_absent(tree):
    words = re.compile(r"(?<![\w.$}/-])/(?:wo" + r"rk|fa" + r"rm|ro" + r"ot)/[a-z.]")
    for path, text in tree.items():
        for found in words.finditer(text):
            yield f"{path}:{line_of(text, found.start())}: {text[found.start():found.start() + 30]!r}"


@rule
def lines_end_cleanly(tree):
    for path, text in tree.items():
        for number, line in enumerate(text.split("\n"), 1):
            if line != line.rstrip():
                yield f"{path}:{number}: blanks at the end of the line"
            if "\t" in line and path.endswith((".c", ".h", ".py", ".sql", ".js", ".css", ".html", "meson.build")):
                yield f"{path}:{number}: a tab"
        if text and not text.endswith("\n"):
            yield f"{path}: no line break at the end"


@rule
def headers_have_guards(tree):
    for path, text in c_files(tree, ends=".h").items():
        guard = "ETL_" + re.sub(r"[^A-Z0-9]", "_", path.removeprefix("src/").upper())
        if f"#ifndef {guard}\n#define {guard}\n" not in text:
            yield f"{path}: no guard {guard}"


def compiler_flags():
    done = subprocess.run(["pkg-config", "--cflags", *PACKAGES], capture_output=True, text=True, check=True)
    return ["-std=gnu17", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", *done.stdout.split()]


@rule
def headers_compile_alone(tree):
    headers = c_files(tree, ends=".h")
    flags = compiler_flags()
    with tempfile.TemporaryDirectory() as folder:
        for path, text in headers.items():
            file = pathlib.Path(folder) / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)

        def compile_one(path):
            unit = f'#include "{path.removeprefix("src/")}"\n'
            done = subprocess.run(["cc", *flags, f"-I{folder}/src", "-fsyntax-only", "-x", "c", "-"], input=unit,
                                  capture_output=True, text=True)
            return None if done.returncode == 0 else f"{path}: {done.stderr.strip().splitlines()[1:2] or ''}"

        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            yield from filter(None, pool.map(compile_one, headers))


@rule
def c_is_formatted(tree):
    sources = {**c_files(tree), **c_files(tree, "tests/")}
    style = "--style=file:" + str(ROOT / ".clang-format")
    with tempfile.TemporaryDirectory() as folder:
        paths = []
        for path, text in sources.items():
            file = pathlib.Path(folder) / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
            paths.append(str(file))
        if paths:
            done = subprocess.run(["clang-format", style, "--dry-run", "--ferror-limit=1", *paths],
                                  capture_output=True, text=True)
            for line in done.stderr.splitlines():
                if " warning: " in line or " error: " in line:
                    yield f"{line.removeprefix(folder + '/').split(': ')[0]}: run `make format`"


# The rooms whose errors can become the reason of a pipeline or a table; what the others refuse is read by who typed the command.
REASON_ROOMS = ("model", "io", "pg", "encode", "sinks", "catalog", "pipeline", "supervisor")
REASON = re.compile(r'\bERR_[A-Z]+,\s*"([a-z][a-z_0-9]*)"|#define \w*CODE\w* "([a-z][a-z_0-9]*)"|\[MARKS_\w+\] = "([a-z][a-z_0-9]*)"')

ALERT = re.compile(r'\[ALERT_(?!NORMAL|WARNING|DANGER)\w+\] = "(\w+)"')


@rule
def every_reason_says_what_to_do(tree):
    """A word that an error can have as its code is explained: in operations.md (first column of a table), or, where check finds it, in check.md.
    So is each type of alert, which the page has words for as well."""
    known = set(re.findall(r"(?m)^### (\w+)$", tree.get("docs/check.md", "")))
    for row in re.findall(r"(?m)^\| (`[^|]*) \|", tree.get("docs/operations.md", "")):
        known |= set(re.findall(r"`(\w+)`", row))
    for path, text in c_files(tree).items():
        for found in ALERT.finditer(text):
            if found.group(1) not in known or found.group(1) not in tree.get("src/http/page/words.js", ""):
                yield f"{path}:{line_of(text, found.start())}: docs/operations.md and the page have no word for the alert {found.group(1)}"
        if room_of(path) in REASON_ROOMS:
            for found in REASON.finditer(text):
                reason = next(filter(None, found.groups()))
                if reason not in known:
                    yield f"{path}:{line_of(text, found.start())}: docs/operations.md does not say what to do about the reason {reason}"


def anchors_of(text):
    """The headings of a page as GitHub names them."""
    text = re.sub(r"(?ms)^```.*?^```", "", text)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in re.findall(r"(?m)^#+ +(.*?) *$", text)}


@rule
def links_and_tests_of_documents_are_there(tree):
    """A link within the tree leads to a file, and to a heading of it; a test that a document names exists. Each row of guarantees.md ends with
    links to what shows it, and the cases in brackets behind a test, `(add…)`, are in one of the row's tests."""
    tests = {path.rsplit("/", 1)[1] for path in tree if path.startswith("tests/")}
    for path, text in tree.items():
        if not path.endswith(".md"):
            continue
        for found in re.finditer(r"\]\((?!\w+:)([^)#\s]*)(?:#([^)\s]*))?\)", text):
            name, anchor = found.groups()
            target = posixpath.normpath(posixpath.join(posixpath.dirname(path), name)) if name else path
            where = f"{path}:{line_of(text, found.start())}"
            if target not in tree and not any(one.startswith(target + "/") for one in tree):
                yield f"{where}: there is no {target}"
            elif anchor and anchor not in anchors_of(tree.get(target, "")):
                yield f"{where}: {target} has no heading for #{anchor}"
        for found in re.finditer(r"`(?:tests/\w+/)?(test_\w+\.(?:py|c))", text):
            if found.group(1) not in tests:
                yield f"{path}:{line_of(text, found.start())}: there is no {found.group(1)}"
    for number, line in enumerate(tree.get("docs/guarantees.md", "").split("\n"), 1):
        shown_by = line.rstrip("| ").rsplit("|", 1)[-1].strip()
        if not line.startswith("|") or line.startswith("|-") or shown_by == "shown by":
            continue
        shown = re.findall(r"\]\(\.\./((?:tests|tools)/[^)]+)\)", shown_by)
        if not shown or re.search(r"(?<!\[)`test_", shown_by):
            yield f"docs/guarantees.md:{number}: what shows it is to be linked"
        for case in re.findall(r"[\w…]+", " ".join(re.findall(r"(?<!\])\(([\w…, ]+)\)", shown_by))):
            if not any(case.strip("…") in tree.get(file, "") for file in shown):
                yield f"docs/guarantees.md:{number}: there is no {case} in {', '.join(shown)}"


@rule
def python_compiles(tree):
    for path, text in tree.items():
        if path.endswith(".py") or text.startswith("#!") and "python3" in text.split("\n", 1)[0]:
            try:
                compile(text, path, "exec")
            except SyntaxError as error:
                yield f"{path}:{error.lineno}: {error.msg}"


def one(text, path="src/pg/a.c"):
    return {path: text}


GUARDED = "#ifndef ETL_PG_A_H\n#define ETL_PG_A_H\n{}\n#endif\n"
# Rule → (trees with a finding, trees without).
SAMPLES = {
    "rooms_include_only_lower_rooms": (
        [one('#include "pipeline/a.h"\n'), one('#include "a.h"\n'), one("", "src/nowhere/a.c"),
         one('#include "sinks/file/a.h"\n', "src/sinks/http/a.c")],
        [one('#include "pg/a.h"\n#include "base/a.h"\n#include "embedded_sql.h"\n#include <a.h>\n'),
         one('#include "sinks/http/b.h"\n#include "sinks/sink.h"\n', "src/sinks/http/a.c")]),
    "includes_are_in_order": (
        [{"src/pg/a.c": '#include <a.h>\n#include "pg/a.h"\n', "src/pg/a.h": ""},
         one('#include "base/a.h"\n#include <a.h>\n')],
        [{"src/pg/a.c": '#include "pg/a.h"\n\n#include <a.h>\n\n#include "base/a.h"\n', "src/pg/a.h": ""},
         one('#include "pg/shared.h"\n\n#include <a.h>\n')]),
    "sql_is_used_in_its_own_room": (
        [{"src/pg/a.c": "f(sql_catalog_x);\n", "src/catalog/sql/x.sql": "select 1\n"}],
        [{"src/catalog/a.c": "f(sql_catalog_x);\n", "src/catalog/sql/x.sql": "select 1\n"},
         {"src/pg/a.c": "// sql_catalog_x\n", "src/catalog/sql/x.sql": "select 1\n"}]),
    "calls_are_not_banned": (
        [one("strcpy(a, b);\n"), one("exit(1);\n"), one("    sleep (1);\n"), one("x = atoi(y);\n"),
         one("getaddrinfo(a);\n"), one("pthread_mutex_lock(&a);\n")],
        [one("// strcpy(a, b)\nlog(\"exit(1)\");\nbuf_system(x);\na->exit(1);\n"), one("exit(1);\n", "src/cli/main.c"),
         one("pthread_mutex_lock(&a);\n", "src/io/lock.c")]),
    "functions_are_short": (
        [one("int f(void)\n{\n" + "    g();\n" * 90 + "}\n")],
        [one("int f(void)\n{\n" + "    g();\n" * 80 + "}\n\nint h(void)\n{\n" + "    g();\n" * 80 + "}\n")]),
    "files_are_short": ([one("\n" * 900)], [one("\n" * 899)]),
    "nothing_is_left_for_later": ([one("// TO" "DO\n"), one("FIX" "ME\n", "a.md")], [one("// what to do\n")]),
    "paths_of_one_machine_are_absent": (
        [one("see /wo" "rk/main\n"), one("'/ro" "ot/.x'\n", "a.py")], [one("src/wo" "rk/a ~/ro" "ot/ a/wo" "rk/b\n")]),
    "sql_is_ascii": ([one("-- …\n", "src/pg/sql/a.sql")], [one("-- ...\n", "src/pg/sql/a.sql"), one("…\n", "a.sql")]),
    "lines_end_cleanly": ([one("a \n"), one("a"), one("\ta\n")], [one("a\n"), one("\ta\n", "Makefile"), one("")]),
    "headers_have_guards": ([one("int a;\n", "src/pg/a.h")], [one(GUARDED.format(""), "src/pg/a.h")]),
    "headers_compile_alone": (
        [one(GUARDED.format("size_t a(void);"), "src/pg/a.h")],
        [one(GUARDED.format("#include <stddef.h>\nsize_t a(void);"), "src/pg/a.h")]),
    "c_is_formatted": ([one("int  a;\n"), one("int f(void) {\n    return 1;\n}\n")],
                       [one("int f(void)\n{\n    return 1;\n}\n")]),
    "every_reason_says_what_to_do": (
        [{"src/pg/a.c": 'err_set(e, ERR_LOST,\n  "slot_lost", "x");\n', "docs/operations.md": "slot_lost\n| x | `slot_lost` |\n"},
         {"src/pg/a.h": '#define PG_CODE_GONE "gone"\n'},
         {"src/monitor/a.c": '[ALERT_X] = "x_down"\n', "docs/operations.md": "| `x_down` |\n"}],
        [{"src/pg/a.c": 'err_set(e, ERR_LOST, "slot_lost", "x"); err_set(e, ERR_DATA, "", "y"); err_set(e, ERR_DATA, "login", "y");\n',
          "docs/operations.md": "| `a`, `slot_lost` | x | y |\n", "docs/check.md": "### login\n"},
         {"src/cli/a.c": 'err_set(e, ERR_CONFIG, "usage", "x");\n'},
         {"src/monitor/a.c": '[ALERT_X] = "x_down", [ALERT_WARNING] = "warning"\n', "docs/operations.md": "| `x_down` | x |\n",
          "src/http/page/words.js": "x_down: 1\n"}]),
    "links_and_tests_of_documents_are_there": (
        [{"docs/a.md": "[x](b.md)\n"}, {"docs/a.md": "[x](b.md#c-d)\n", "docs/b.md": "# C\n"}, one("`test_x.py`\n", "a.md"), one("[x](#y)\n", "a.md"),
         one("| a | `test_x.c` |\n", "docs/guarantees.md"),
         {"docs/guarantees.md": "| a | [`test_x.c`](../tests/unit/test_x.c) (y…) |\n", "tests/unit/test_x.c": "z\n"}],
        [{"docs/a.md": "[x](b.md#c-d) [y](../src) [z](https://x.y/z) `test_x.c`\n", "docs/b.md": "## C, d\n", "src/a.c": "", "tests/unit/test_x.c": ""},
         {"docs/guarantees.md": "| a | shown by |\n|---|---|\n| a | [`test_x.c`](../tests/unit/test_x.c) (y…) |\n", "tests/unit/test_x.c": "y_1\n"}]),
    "python_compiles": ([one("def\n", "a.py"), one("#!/usr/bin/env python3\n(\n", "tools/a")],
                        [one("def f(): pass\n", "a.py"), one("(\n", "a.txt")]),
}


def failing_samples(name):
    bad, good = SAMPLES[name]
    for tree in bad:
        if not list(RULES[name](tree)):
            yield f"the rule finds nothing in {tree}"
    for tree in good:
        for finding in RULES[name](tree):
            yield f"the rule finds what is none: {finding}"


def read_tree():
    done = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT, capture_output=True)
    if done.returncode == 0:
        names = sorted(set(done.stdout.decode().split("\0")) - {""})
    else:  # an unpacked archive
        names = [path.relative_to(ROOT).as_posix() for folder in ("src", "tests", "tools", "bench", "docs")
                 for path in sorted((ROOT / folder).rglob("*")) if "__pycache__" not in path.parts]
    tree = {}
    for name in names:
        path = ROOT / name
        if path.is_file() and not path.is_symlink() and not name.startswith("tests/fuzz/corpus/"):
            data = path.read_bytes()
            if b"\0" not in data:
                tree[name] = data.decode("utf-8")
    return tree


def main(names):
    unknown = set(names) - set(RULES)
    if unknown or set(SAMPLES) != set(RULES):
        print(f"no such rule, or a rule without samples: {unknown or set(SAMPLES) ^ set(RULES)}")
        return 2
    tree, failed = read_tree(), 0
    for name in names or RULES:
        findings = list(failing_samples(name)) or list(RULES[name](tree))
        failed += bool(findings)
        print(f"{'FAILED' if findings else 'ok':7}{name}")
        for finding in findings[:20]:
            print(f"       {finding}")
        if len(findings) > 20:
            print(f"       and {len(findings) - 20} more")
    print(f"{len(names or RULES) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
