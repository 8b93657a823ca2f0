"""Login, and SQL by the SQL API: the statements and constructs that etl-stream's own statements consist of."""
import base64
import json
import time
import uuid

from .account import form_of, named_or_plain, outcome_of
from .report import OK

TOKEN_SECONDS_MIN = 300
ABSENT, UNKNOWN_OBJECT, MERGE_TWICE, DIVISION_BY_ZERO = "002043", "002003", "100090", "100051"
ITEMS = '"ID" NUMBER(38,0), "GROUP_ID" NUMBER(38,0), "NAME" VARCHAR(100), "J" VARIANT, "A" ARRAY'
# The forms of docs/merge.md. Each: name, what it is to show, statement, rows.
CONSTRUCTS = (
    ("QUALIFY with ROW_NUMBER", "the newest row of each group",
     'SELECT "ID" FROM {items} QUALIFY ROW_NUMBER() OVER (PARTITION BY "GROUP_ID" ORDER BY "ID" DESC) = 1 ORDER BY 1',
     [["2"], ["4"]]),
    ("MAX_BY ignores rows without a place", "values at the highest place that is not NULL, of text and VARIANT",
     'SELECT MAX_BY("NAME", "GROUP_ID"), TO_JSON(MAX_BY("J", IFF("ID" = 1, "ID", NULL))) FROM {items}', None),
    ("MAX_BY over no place at all", "NULL", 'SELECT MAX_BY("NAME", NULLIF("ID", "ID")) FROM {items}', [[None]]),
    ("recursive CTE with a column list", "the three numbers of a walk",
     'WITH RECURSIVE "P" ("N") AS (SELECT "ID" FROM {items} WHERE "ID" = 1 UNION ALL '
     'SELECT i."ID" FROM "P" JOIN {items} AS i ON i."ID" = "P"."N" + 1 WHERE i."ID" < 4) SELECT "N" FROM "P" ORDER BY 1',
     [["1"], ["2"], ["3"]]),
    ("ARRAY_CONTAINS", "true, false and NULL",
     'SELECT ARRAY_CONTAINS(3::VARIANT, "A") FROM {items} ORDER BY "ID" LIMIT 3', [["true"], ["false"], [None]]),
    ("casts of array elements", "number, text, date and timestamp out of an ARRAY",
     'SELECT "A"[0]::NUMBER(38,0), "A"[1]::VARCHAR, "A"[2]::DATE, '
     """"A"[3]::TIMESTAMP_TZ(6) = '2024-01-01 00:00:00Z'::TIMESTAMP_TZ(6) FROM {items} WHERE "ID" = 1""",
     [["3", "x", "19723", "true"]]),
    ("SUM over rows so far", "a running count",
     'SELECT SUM(1) OVER (PARTITION BY "GROUP_ID" ORDER BY "ID" ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) '
     'FROM {items} ORDER BY "ID"', [["1"], ["2"], ["1"], ["2"]]),
    ("COUNT_IF, IFF, COALESCE, EQUAL_NULL", "2, b, -, true",
     """SELECT COUNT_IF("GROUP_ID" = 1), MAX(IFF("ID" = 2, "NAME", 'a')), COALESCE(MAX(NULLIF("NAME", "NAME")), '-'),
        EQUAL_NULL(NULL, NULL) FROM {items}""", [["2", "b", "-", "true"]]),
    ("HASH of equal rows", "equal: with NULLs, and of numbers of another scale",
     "SELECT HASH(NULL, 'x') = HASH(NULL, 'x'), HASH(1.50::NUMBER(10,2)) = HASH(1.5::NUMBER(10,1)), HASH(NULL) IS NULL",
     [["true", "true", "false"]]),
    ("NaN is equal to itself", "true twice", "SELECT 'NaN'::FLOAT = 'NaN'::FLOAT, EQUAL_NULL('NaN'::FLOAT, 'NaN'::FLOAT)", [["true", "true"]]),
    ("FIRST_VALUE over the whole partition", "the newest of each group, at each row",
     'SELECT FIRST_VALUE("ID") OVER (PARTITION BY "GROUP_ID" ORDER BY "ID" DESC) FROM {items} ORDER BY "ID"', [["2"], ["2"], ["4"], ["4"]]),
    ("BASE64_DECODE_BINARY", "the bytes in hex", "SELECT BASE64_DECODE_BINARY('AP+A')", [["00FF80"]]),
)


def run(report, schemas):
    account = schemas.account
    if check_login(report, account) != OK:
        raise RuntimeError("nothing can be checked without a login")
    check_tokens(report, account)
    schemas.make()
    check_shown(report, schemas)
    items = make_items(schemas)
    check_constructs(report, account, items)
    check_blocks(report, account, schemas)
    check_merge(report, account, schemas)
    check_multiset(report, account, schemas)
    check_columns(report, account, schemas)
    check_collations(report, account, schemas)
    check_procedures(report, account, schemas)
    check_requests(report, account, schemas)


def check_login(report, account):
    snowflake = account.snowflake
    with report.check("login with a key-pair JWT", f"200; user {snowflake.user}, role {snowflake.role or '(default)'}") as one:
        row = account.sql("SELECT CURRENT_ACCOUNT(), CURRENT_USER(), CURRENT_ROLE(), CURRENT_WAREHOUSE(), CURRENT_VERSION()",
                          schema=None)[0]
        one.saw(f"account {row[0]}, user {row[1]}, role {row[2]}, warehouse {row[3]}, version {row[4]}",
                row[1] == snowflake.user and snowflake.role in (None, row[2]))
    login = one.outcome
    with report.check("a JWT that has expired", "401 with a code") as one:
        now = int(time.time())
        answer = account.hostname(account.make_jwt(iat=now - 3600, exp=now - 600))
        one.saw(outcome_of(answer), answer.status == 401)
    with report.check("a request without Accept", "refused, code 391902") as one:
        answer = account.request("GET", "/v2/streaming/hostname", headers=account.account_headers(), without=("Accept",))
        one.saw(outcome_of(answer), None)
    return login


def check_tokens(report, account):
    with report.check("ingest host", "200 and a host name, as plain text or JSON") as one:
        answer = account.find_ingest_host()
        one.saw(f"{answer.status}, {form_of(answer)}: {account.ingest_host}", bool(account.ingest_host and "." in account.ingest_host))
    with report.check("scoped token, JWT in header and form", f"200, a JWT that lives {TOKEN_SECONDS_MIN} s or more") as one:
        answer = account.exchange(assertion=account.jwt)
        if answer.status != 200:
            one.saw(outcome_of(answer), False)
        else:
            life = life_of(named_or_plain(answer, "token"))
            one.saw(f"{form_of(answer)}, lives {life} s", life is not None and life >= TOKEN_SECONDS_MIN)
    for name, options in (("in the header only", {}), ("in the form only", {"in_header": False})):
        with report.check(f"scoped token, JWT {name}", "200") as one:
            answer = account.exchange(**options)
            one.saw(outcome_of(answer) if answer.status != 200 else f"200, {form_of(answer)}", None)
    with report.check("scoped token for a role that is not granted", "refused with a code") as one:
        answer = account.exchange(assertion=account.jwt, scope=f"{account.ingest_host} session:role:LIVE_CHECK_NO_SUCH_ROLE")
        one.saw(outcome_of(answer) if answer.status != 200 else f"200, {form_of(answer)}", None)


def life_of(token):
    """Seconds, or None for a token that is not a JWT with exp. The token itself is never shown."""
    try:
        part = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
        return round(claims["exp"] - time.time())
    except (IndexError, ValueError, KeyError, TypeError):
        return None


def check_shown(report, schemas):
    account = schemas.account
    database, target = schemas.qualified(schemas.target).split(".")
    for name, statement, wanted, columns in (
        ("SHOW SCHEMAS", f"SHOW SCHEMAS LIKE '{schemas.target}' IN DATABASE {database}", schemas.target, ("name",)),
        ("SHOW WAREHOUSES", f"SHOW WAREHOUSES LIKE '{account.snowflake.warehouse}'", account.snowflake.warehouse,
         ("name", "state", "auto_suspend")),
    ):
        with report.check(f"{name} without a warehouse", f"one row with {', '.join(columns)}") as one:
            rows = [row for row in account.shown(statement, schema=None, warehouse=None) if row.get("name") == wanted]
            one.saw({column: rows[0].get(column) for column in columns} if rows else "no row",
                    len(rows) == 1 and all(column in rows[0] for column in columns))
    for name, statement in (
        ("SHOW SCHEMAS in a database that is not there", f"SHOW SCHEMAS LIKE 'X' IN DATABASE \"LIVE_CHECK_{schemas.suffix}\""),
        ("SHOW TABLES in a schema that is not there", f"SHOW TABLES LIKE 'X' IN SCHEMA {database}.\"LIVE_CHECK_NONE_{schemas.suffix}\""),
    ):
        with report.check(name, f"422, code {ABSENT}") as one:
            answer = account.statement(statement, schema=None)
            one.saw(outcome_of(answer), answer.status == 422 and answer.code == ABSENT)
    for name, kind, statement, wanted in (
        ("schemas", "SCHEMAS", f"LIKE '{schemas.target}' IN DATABASE {database}", schemas.target),
        ("databases", "DATABASES", f"LIKE '{account.database}'", account.database),
        ("warehouses", "WAREHOUSES", f"LIKE '{account.snowflake.warehouse}'", account.snowflake.warehouse),
    ):
        privilege = "OWNERSHIP" if kind == "SCHEMAS" else "USAGE"
        with report.check(f"SHOW {kind} … WITH PRIVILEGES without a warehouse", f"the row of ours, on which the role holds {privilege}") as one:
            rows = account.shown(f"SHOW {kind} {statement} WITH PRIVILEGES {privilege}", schema=None, warehouse=None)
            one.saw([row.get("name") for row in rows], wanted in [row.get("name") for row in rows])
    with report.check("a table that is not there", f"422, code {UNKNOWN_OBJECT}, SQLSTATE 42S02") as one:
        answer = account.statement(f"SELECT 1 FROM {database}.{target}.\"NO_SUCH_TABLE\"")
        one.saw(outcome_of(answer), answer.status == 422 and answer.code == UNKNOWN_OBJECT and answer.json.get("sqlState") == "42S02")


def table(schemas, name):
    return schemas.qualified(schemas.target) + f'."{name}"'


def make_items(schemas):
    items, run_sql = table(schemas, "ITEMS"), schemas.account.run
    run_sql(f"CREATE TABLE {items} ({ITEMS})")
    array = """PARSE_JSON('[3, "x", "2024-01-01", "2024-01-01 00:00:00Z"]')::ARRAY"""
    schemas.account.budget.take(rows=4)
    run_sql(f"""INSERT INTO {items} SELECT 1, 1, 'a', PARSE_JSON('{{"n": [1, null]}}'), {array}
        UNION ALL SELECT 2, 1, 'b', NULL, PARSE_JSON('[4]')::ARRAY
        UNION ALL SELECT 3, 2, 'c', NULL, NULL UNION ALL SELECT 4, NULL, 'd', NULL, NULL""")
    run_sql(f'UPDATE {items} SET "GROUP_ID" = 2 WHERE "ID" = 4')
    return items


def check_constructs(report, account, items):
    for name, expected, statement, rows in CONSTRUCTS:
        with report.check(name, expected) as one:
            seen = account.sql(statement.format(items=items))
            if rows is None:  # two groups share the highest place: either name is right
                is_right = seen[0][0] in ("c", "d") and json.loads(seen[0][1]) == {"n": [1, None]}
            else:
                is_right = seen == rows
            one.saw(seen, is_right)


def block(*steps, declare="", handler="EXCEPTION WHEN OTHER THEN ROLLBACK; RAISE;"):
    return f"EXECUTE IMMEDIATE $$ {'DECLARE ' + declare if declare else ''} BEGIN {' '.join(steps)} {handler} END; $$"


def check_blocks(report, account, schemas):
    state = table(schemas, "STATE")
    account.run(f'CREATE TABLE IF NOT EXISTS {state} ("PIPELINE" VARCHAR(255), "POSITION" VARCHAR(18), "MERGED_AT" TIMESTAMP_TZ(6))')
    account.run(f"INSERT INTO {state} (\"PIPELINE\", \"POSITION\") SELECT 'p', '01' WHERE NOT EXISTS (SELECT 1 FROM {state} WHERE \"PIPELINE\" = 'p')")
    update = f"UPDATE {state} SET \"POSITION\" = '02', \"MERGED_AT\" = CURRENT_TIMESTAMP() WHERE \"PIPELINE\" = 'p' AND \"POSITION\" = '{{}}';"
    begin = "ALTER SESSION SET LOCK_TIMEOUT = 60, ERROR_ON_NONDETERMINISTIC_MERGE = TRUE; BEGIN TRANSACTION;"
    fenced = "etl_fenced EXCEPTION (-20001, 'etl_fenced: another writer'); n INTEGER; s VARCHAR;"
    with report.check("block: a raised exception, uncaught", "422, code -20001, SQLSTATE P0001, the exception's name and message") as one:
        answer = account.statement(block(begin, update.format("99"), "IF (SQLROWCOUNT <> 1) THEN RAISE etl_fenced; END IF;",
                                         "COMMIT;", declare=fenced))
        said = answer.json
        one.saw(outcome_of(answer), answer.status == 422 and said["code"].lstrip("-") == "20001" and said.get("sqlState") == "P0001"
                and "ETL_FENCED" in said["message"] and "another writer" in said["message"])
    with report.check("block: a statement that fails, raised again", f"422, code {DIVISION_BY_ZERO} in code or message, rolled back") as one:
        answer = account.statement(block(begin, update.format("01"), "SELECT 1 / (\"N\" - 1) INTO :n FROM (SELECT 1 AS \"N\");", "COMMIT;", declare=fenced))
        position = account.value(f'SELECT "POSITION" FROM {state}')
        one.saw(f"{outcome_of(answer)}; position {position}",
                answer.status == 422 and position == "01" and (DIVISION_BY_ZERO in answer.code or "zero" in answer.json["message"].lower()))
    with report.check("block: ALTER SESSION, BEGIN TRANSACTION, SQLROWCOUNT 1, INTO two variables, COMMIT, RETURN", "200 and '1 02'") as one:
        answer = account.run(block(begin, update.format("01"), "IF (SQLROWCOUNT <> 1) THEN RAISE etl_fenced; END IF;",
                                   f'SELECT COUNT(*), MAX("POSITION") INTO :n, :s FROM {state};',
                                   "IF (n <> 1 OR s IS NULL) THEN RAISE etl_fenced; END IF;", "COMMIT;", "RETURN n || ' ' || s;", declare=fenced))
        position = account.value(f'SELECT "POSITION" FROM {state}')
        one.saw(f"{answer['data'][0][0]}, in column {answer['resultSetMetaData']['rowType'][0]['name']}; position {position}",
                answer["data"] == [["1 02"]] and position == "02")


def check_merge(report, account, schemas):
    target = table(schemas, "MERGED")
    account.run(f'CREATE TABLE {target} ("ID" NUMBER(38,0), "N" NUMBER(38,0))')
    account.budget.take(rows=2)
    account.run(f"INSERT INTO {target} SELECT 1, 0")
    merge = (f'MERGE INTO {target} AS t USING (SELECT column1 AS "ID", column2 AS "N", column3 AS "DO" FROM VALUES {{}}) AS s ON t."ID" = s."ID" '
             """WHEN MATCHED AND s."DO" = 'D' THEN DELETE WHEN MATCHED THEN UPDATE SET "N" = s."N" """
             """WHEN NOT MATCHED AND s."DO" = 'P' THEN INSERT ("ID", "N") VALUES (s."ID", s."N")""")
    with report.check("MERGE: update, insert, delete of nothing", "rows (1, 5) and (2, 6)") as one:
        account.run(merge.format("(1, 5, 'P'), (2, 6, 'P'), (3, 7, 'D')"))
        seen = account.sql(f"SELECT * FROM {target} ORDER BY 1")
        one.saw(seen, seen == [["1", "5"], ["2", "6"]])
    with report.check("MERGE with two source rows for one target row", f"422, code {MERGE_TWICE}; nothing changed") as one:
        answer = account.statement(merge.format("(1, 8, 'P'), (1, 9, 'P')"))
        seen = account.sql(f"SELECT * FROM {target} ORDER BY 1")
        one.saw(f"{outcome_of(answer)}; {seen}", answer.status == 422 and answer.code == MERGE_TWICE and seen[0] == ["1", "5"])


def check_multiset(report, account, schemas):
    """The way of docs/merge.md to take some of several equal rows away: its source reads the target, and both sides may be NULL."""
    target = table(schemas, "BAG")
    account.run(f'CREATE TABLE {target} ("A" NUMBER(38,0), "B" VARCHAR(10))')
    account.budget.take(rows=5)
    account.run(f"INSERT INTO {target} SELECT 1, NULL UNION ALL SELECT 1, NULL UNION ALL SELECT 1, NULL UNION ALL SELECT 2, 'x'")
    same = 'HASH({0}."A", {0}."B") = {1}."H" AND EQUAL_NULL({0}."A", {1}."A") AND EQUAL_NULL({0}."B", {1}."B")'
    with report.check("MERGE that takes two of three equal rows away", "rows (1, NULL) once and (2, x)") as one:
        account.run(f"""MERGE INTO {target} AS t USING (
            WITH d AS (SELECT 1 AS "A", NULL::VARCHAR AS "B", HASH(1, NULL::VARCHAR) AS "H", 2 AS "SURPLUS", 's' AS "SEQ")
            SELECT "A", "B", "H", 'D' AS "DO" FROM d
            UNION ALL
            SELECT x."A", x."B", 0, 'P' FROM {target} AS x JOIN d ON {same.format("x", "d")}
            QUALIFY ROW_NUMBER() OVER (PARTITION BY d."SEQ" ORDER BY d."SEQ") > d."SURPLUS"
            ) AS s ON s."DO" = 'D' AND {same.format("t", "s")}
            WHEN MATCHED THEN DELETE
            WHEN NOT MATCHED AND s."DO" = 'P' THEN INSERT ("A", "B") VALUES (s."A", s."B")""")
        seen = account.sql(f"SELECT * FROM {target} ORDER BY 1")
        one.saw(seen, seen == [["1", None], ["2", "x"]])


def check_columns(report, account, schemas):
    """What follows a changed column in place: rows that are there show the default at once, and keep their values under another name."""
    target = table(schemas, "EVOLVED")
    account.run(f'CREATE TABLE {target} ("ID" NUMBER(38,0), "NAME" VARCHAR(10))')
    account.budget.take(rows=3)
    account.run(f"INSERT INTO {target} SELECT 1, 'a' UNION ALL SELECT 2, NULL")
    with report.check("ADD COLUMN … DEFAULT", "rows that are there have the default at once, of number, text and boolean; so has a later one") as one:
        for column in ('"N" NUMBER(38,0) DEFAULT 7', """"T" VARCHAR DEFAULT 'it''s'""", '"B" BOOLEAN DEFAULT TRUE', '"X" VARCHAR'):
            account.run(f"ALTER TABLE {target} ADD COLUMN {column}")
        account.run(f'INSERT INTO {target} ("ID") SELECT 3')
        seen = account.sql(f'SELECT "ID", "N", "T", "B", "X" FROM {target} ORDER BY 1')
        one.saw(seen, seen == [[str(number), "7", "it's", "true", None] for number in (1, 2, 3)])
    with report.check("ADD COLUMN … DEFAULT of a type that takes none afterwards", "what is documented of VARIANT is not tried by etl-stream") as one:
        one.saw(outcome_of(account.statement(f"""ALTER TABLE {target} ADD COLUMN "V" VARIANT DEFAULT 'x'""")), None)
    with report.check("ALTER COLUMN … SET DATA TYPE, wider", "200 for a longer text and a number of more digits; values stay") as one:
        answer = account.statement(f'ALTER TABLE {target} ALTER COLUMN "NAME" SET DATA TYPE VARCHAR(20)')
        seen = account.sql(f'SELECT "NAME" FROM {target} ORDER BY "ID"')
        one.saw(f"{outcome_of(answer)}; {seen}", answer.status == 200 and seen == [["a"], [None], [None]])
    with report.check("RENAME COLUMN and DROP COLUMN", "values and default under the new name, nothing under the dropped one") as one:
        account.run(f'ALTER TABLE {target} RENAME COLUMN "N" TO "M"')
        account.run(f'ALTER TABLE {target} DROP COLUMN "NAME"')
        seen = account.sql(f'SELECT "M" FROM {target} ORDER BY "ID"')
        columns = [row["name"] for row in account.shown(f"DESCRIBE TABLE {target}")]
        one.saw(f"{seen}; {columns}", seen == [["7"]] * 3 and "M" in columns and "N" not in columns and "NAME" not in columns)


def check_collations(report, account, schemas):
    """A schema's default collation, and how our tables do without it."""
    schema = schemas.qualified(schemas.target)
    folded, exact, like = (table(schemas, name) for name in ("FOLDED", "EXACT", "EXACT_LIKE"))
    account.run(f"ALTER SCHEMA {schema} SET DEFAULT_DDL_COLLATION = 'en-ci'")
    try:
        account.run(f'CREATE TABLE {folded} ("K" VARCHAR(5))')
        account.run(f"""CREATE TABLE {exact} ("K" VARCHAR(5)) DEFAULT_DDL_COLLATION = ''""")
        account.run(f"CREATE TABLE {like} LIKE {exact}")
        account.run(f'ALTER TABLE {exact} ADD COLUMN "LATER" VARCHAR(5)')
        account.run(f"""ALTER TABLE {like} ADD COLUMN "OWN" VARCHAR(5) DEFAULT 'x' COLLATE ''""")
        with report.check("DESCRIBE TABLE of a column with a collation", "VARCHAR(5) COLLATE 'en-ci'") as one:
            types = [row["type"] for row in account.shown(f"DESCRIBE TABLE {folded}")]
            one.saw(types, types == ["VARCHAR(5) COLLATE 'en-ci'"])
        for name, of in (("DEFAULT_DDL_COLLATION = '' of a table, and ADD COLUMN after it", exact),
                         ("CREATE TABLE … LIKE such a table, and ADD COLUMN … COLLATE ''", like)):
            with report.check(name, "VARCHAR(5) twice, without a collation") as one:
                types = [row["type"] for row in account.shown(f"DESCRIBE TABLE {of}")]
                one.saw(types, types == ["VARCHAR(5)"] * 2)
        with report.check("equality by the default collation, and without", "2 rows equal 'a', and 1") as one:
            account.budget.take(rows=4)
            for of in folded, exact:
                account.run(f"INSERT INTO {of} (\"K\") SELECT 'a' UNION ALL SELECT 'A'")
            seen = [account.value(f"SELECT COUNT(*) FROM {of} WHERE \"K\" = 'a'") for of in (folded, exact)]
            one.saw(seen, seen == ["2", "1"])
    finally:
        account.run(f"ALTER SCHEMA {schema} SET DEFAULT_DDL_COLLATION = ''")


def check_procedures(report, account, schemas):
    target, procedure = table(schemas, "CALLED"), table(schemas, "CHECKED")
    account.run(f'CREATE TABLE {target} ("ID" NUMBER(38,0))')
    create = f"CREATE OR REPLACE PROCEDURE {procedure}(token VARCHAR) RETURNS VARCHAR LANGUAGE SQL EXECUTE AS CALLER AS $$ {{}} $$"
    mine = "etl_mine EXCEPTION (-20010, 'etl_mine: it was me');"
    account.budget.take(rows=4)
    with report.check("a procedure within the caller's transaction, rolled back", "no row") as one:
        account.run(create.format(f"DECLARE {mine} BEGIN INSERT INTO {target} SELECT 1; IF (token <> 'ours') THEN RAISE etl_mine; END IF; RETURN 'done'; END;"))
        account.run(block("BEGIN TRANSACTION;", f"CALL {procedure}('ours');", "ROLLBACK;"))
        count = account.value(f"SELECT COUNT(*) FROM {target}")
        one.saw(f"{count} row(s)", count == "0")
    with report.check("an exception of a procedure", "422, its name and message reach the caller; no row") as one:
        answer = account.statement(block("BEGIN TRANSACTION;", f"CALL {procedure}('theirs');", "COMMIT;"))
        count = account.value(f"SELECT COUNT(*) FROM {target}")
        one.saw(f"{outcome_of(answer)}; {count} row(s)", answer.status == 422 and "etl_mine" in answer.json["message"] and count == "0")
    with report.check("a procedure that ends its caller's transaction", "refused: the transaction is of a different scope") as one:
        account.run(create.format(f"BEGIN INSERT INTO {target} SELECT 2; COMMIT; RETURN 'done'; END;"))
        answer = account.statement(block("BEGIN TRANSACTION;", f"CALL {procedure}('x');", "COMMIT;"))
        one.saw(outcome_of(answer), answer.status == 422 and "scope" in answer.json["message"])
    account.run(f"DROP PROCEDURE IF EXISTS {procedure}(VARCHAR)")


def check_requests(report, account, schemas):
    target = table(schemas, "REQUESTS")
    account.run(f'CREATE TABLE {target} ("ID" NUMBER(38,0))')
    with report.check("the same requestId with retry=true", "200 twice with one statementHandle; one row") as one:
        request_id, text = uuid.uuid4(), f"INSERT INTO {target} SELECT 1"
        account.budget.take(rows=1)
        answers = [account.wait(account.post(text, f"?requestId={request_id}{more}")) for more in ("", "&retry=true")]
        handles = {answer.json.get("statementHandle") for answer in answers}
        count = account.value(f"SELECT COUNT(*) FROM {target}")
        one.saw(f"{[answer.status for answer in answers]}, {len(handles)} handle(s), {count} row(s)",
                [answer.status for answer in answers] == [200, 200] and count == "1")
    with report.check("asynchronous execution and polling", "202 with a statementHandle, then 200") as one:
        answer = account.post(f"SELECT COUNT(*) FROM {target}", f"?async=true&requestId={uuid.uuid4()}")
        done = account.wait(answer)
        one.saw(f"{outcome_of(answer)}; then {outcome_of(done)}", answer.status == 202 and done.status == 200 and done.json["data"] == [["1"]])
    with report.check("the statements after one that fails, in one request", "documentation does not say whether they run") as one:
        text = f"BEGIN; INSERT INTO {target} SELECT 2; INSERT INTO {target} SELECT 'x'::NUMBER; INSERT INTO {target} SELECT 3; COMMIT"
        account.budget.take(rows=2)
        answer = account.statement(text, parameters={"MULTI_STATEMENT_COUNT": "0"})
        rows = account.sql(f'SELECT "ID" FROM {target} ORDER BY 1')
        one.saw(f"{outcome_of(answer)}; rows {rows}", None)
