"""Values: what is read back of each form in which etl-stream writes one, and of forms that it must not use."""
import json

from compare_values import Kind

from .streaming_checks import settle, wait_committed

COLUMNS = ('"ID" NUMBER(38,0), "N38" NUMBER(38,0), "N9" NUMBER(38,9), "F" FLOAT, "B" BOOLEAN, "V" VARCHAR(100), "J" VARIANT, "A" ARRAY, '
           '"D" DATE, "T" TIME(6), "NTZ" TIMESTAMP_NTZ(6), "TZ" TIMESTAMP_TZ(6), "DEF" NUMBER(38,0) DEFAULT 7')
OPTIONS = "DATA_RETENTION_TIME_IN_DAYS = 1 ERROR_LOGGING = TRUE"
DIGITS = "12345678901234567890123456789012345678"
# Read as the API encodes them, and compared as the comparison of whole tables does; the others by their text.
KINDS = {"F": Kind("float8"), "D": Kind("date"), "T": Kind("time"), "NTZ": Kind("timestamp"), "TZ": Kind("timestamptz")}
READ = {"J": """IFF("J" IS NULL, 'SQL NULL', TO_JSON("J"))""", "A": """IFF("A" IS NULL, 'SQL NULL', TO_JSON("A"))"""}
REFUSED = object()  # the row must be dropped and counted
ANYTHING = object()  # nobody knows: noted
# Name, column, the value as it stands in the NDJSON line (None: no key at all), what is read back.
VALUES = (
    ("a number of 38 digits as a string", "N38", f'"{DIGITS}"', DIGITS),
    ("a negative number of 38 digits as a string", "N38", f'"-{DIGITS}"', "-" + DIGITS),
    ("a number of 38 digits, bare", "N38", DIGITS, ANYTHING),
    ("a number of 15 digits, bare", "N38", "123456789012345", "123456789012345"),
    ("a number of 19 digits, bare", "N38", "9223372036854775807", ANYTHING),
    ("29 and 9 digits as a string", "N9", '"12345678901234567890123456789.123456789"', "12345678901234567890123456789.123456789"),
    ("15 digits with a fraction, bare", "N9", "123456.123456789", "123456.123456789"),
    ("29 and 9 digits, bare", "N9", "12345678901234567890123456789.123456789", ANYTHING),
    ("a number that is too long", "N38", '"1' + "0" * 38 + '"', REFUSED),
    ("FLOAT NaN", "F", '"NaN"', "NaN"),
    ("FLOAT Infinity", "F", '"Infinity"', "Infinity"),
    ("FLOAT -Infinity", "F", '"-Infinity"', "-Infinity"),
    ("FLOAT 1e308", "F", "1e308", "1e308"),
    ("FLOAT 5e-324", "F", "5e-324", ANYTHING),
    ("true for BOOLEAN", "B", "true", "true"),
    ("1 for BOOLEAN", "B", "1", REFUSED),
    ("an empty text", "V", '""', ""),
    ("blanks, quotes, backslash, line break, emoji", "V", json.dumps(' "a"\\\n\t😀 '), ' "a"\\\n\t😀 '),
    ("VARIANT null", "J", "null", "null"),
    ("VARIANT without its key", "J", None, "SQL NULL"),
    ("nested JSON into VARIANT", "J", '{"a":[1,null,{"b":"x"}],"c":true}', {"a": [1, None, {"b": "x"}], "c": True}),
    ("a string into VARIANT", "J", '"{\\"a\\":1}"', '{"a":1}'),
    ("a number of 38 digits inside a VARIANT", "J", f'{{"n":{DIGITS}}}', ANYTHING),
    ("a nested array into ARRAY", "A", '[1,null,["x"]]', [1, None, ["x"]]),
    ("a string into ARRAY", "A", '"x"', ANYTHING),
    ("an empty ARRAY", "A", "[]", []),
    ("DATE 0001-01-01", "D", '"0001-01-01"', "0001-01-01"),
    ("DATE 9999-12-31", "D", '"9999-12-31"', "9999-12-31"),
    ("DATE 2024-02-30", "D", '"2024-02-30"', REFUSED),
    ("TIME 00:00:00", "T", '"00:00:00"', "00:00:00"),
    ("TIME 23:59:59.999999", "T", '"23:59:59.999999"', "23:59:59.999999"),
    ("TIME 24:00:00", "T", '"24:00:00"', ANYTHING),
    ("TIMESTAMP_NTZ, the first", "NTZ", '"0001-01-01 00:00:00"', "0001-01-01 00:00:00"),
    ("TIMESTAMP_NTZ, the last", "NTZ", '"9999-12-31 23:59:59.999999"', "9999-12-31 23:59:59.999999"),
    ("TIMESTAMP_TZ with Z", "TZ", '"2024-02-29 23:59:59.123456Z"', "2024-02-29 23:59:59.123456"),
    ("TIMESTAMP_TZ before 1970, with Z", "TZ", '"1883-11-18 12:03:57.000001Z"', "1883-11-18 12:03:57.000001"),
    ("a DEFAULT, without its key", "DEF", None, None),
)


def run(report, schemas):
    account = schemas.account
    pipe = account.make_pipe("VALUE_FORMS", COLUMNS, OPTIONS, kind="TRANSIENT TABLE")
    channel = pipe.channel("C1")
    before = channel.open(fail_on_uncommitted_rows=True)
    lines = [line(number, column, text) for number, (_, column, text, _) in enumerate(VALUES, 1)]
    account.budget.take(rows=len(lines))
    channel.append(b"".join(lines), "A", start="A", encoding="zstd")
    status = wait_committed(channel, "A")
    for number, (name, column, _, expected) in enumerate(VALUES, 1):
        check_value(report, account, pipe, number, name, column, expected)
    check_keys(report, account, pipe, channel)
    check_offset(report, account, pipe)
    with report.check("rows_error_count after all values", "the number of rows that are missing") as one:
        missing = len(VALUES) - int(account.value(f'SELECT COUNT(*) FROM {pipe.qualified} WHERE "ID" <= {len(VALUES)}'))
        counted = (status.get("rows_error_count") or 0) - (before.get("rows_error_count") or 0)
        one.saw(f"{counted} counted, {missing} missing", counted == missing)


def line(number, column, text):
    return f'{{"ID":{number}{"" if text is None else f",{json.dumps(column)}:{text}"}}}\n'.encode()


def check_value(report, account, pipe, number, name, column, expected):
    if expected is REFUSED:
        said = "the row is dropped"
    else:
        said = "not documented" if expected is ANYTHING else json.dumps(expected, ensure_ascii=False)
    with report.check(f"value: {name}", said) as one:
        read = READ.get(column, f'"{column}"')
        rows = account.sql(f'SELECT {read} FROM {pipe.qualified} WHERE "ID" = {number}')
        seen = rows[0][0] if rows else REFUSED
        told = "the row was dropped" if seen is REFUSED else json.dumps(seen, ensure_ascii=False)
        if expected is ANYTHING:
            one.saw(told, None)
        elif seen is REFUSED or expected is REFUSED:
            one.saw(told, seen is expected)
        elif column in "JA" and expected != "SQL NULL":
            found = None if seen == "SQL NULL" else json.loads(seen)
            one.saw(told, seen == "null" if expected == "null" else found == expected)
        else:
            kind = KINDS.get(column)
            one.saw(told, kind.target(seen) == kind.source(expected) if kind else seen == expected)


def check_keys(report, account, pipe, channel):
    settle(channel)
    account.budget.take(rows=2)
    channel.append(b'{"ID":1001,"NO_SUCH_COLUMN":1}\n{"id":1002,"v":"lower"}\n', "B", start="B", encoding="zstd")
    wait_committed(channel, "B")
    with report.check("an unknown key, without schema evolution", "ignored: the row is there") as one:
        count = account.value(f'SELECT COUNT(*) FROM {pipe.qualified} WHERE "ID" = 1001')
        one.saw(f"{count} row(s)", count == "1")
    with report.check("keys in lower case for columns in upper case", "matched") as one:
        rows = account.sql(f'SELECT "V" FROM {pipe.qualified} WHERE "ID" = 1002')
        one.saw(rows, rows == [["lower"]])


def check_offset(report, account, pipe):
    with report.check("the offset that TIMESTAMP_TZ keeps of Z", "0: its wall clock is that of UTC") as one:
        number = 1 + next(index for index, value in enumerate(VALUES) if value[0] == "TIMESTAMP_TZ with Z")
        seen = account.value(f'SELECT "TZ" FROM {pipe.qualified} WHERE "ID" = {number}')
        one.saw(seen, seen.endswith(" 1440"))
