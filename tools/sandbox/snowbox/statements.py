"""The statements that are not queries or DML: a strict grammar of their own over sqlglot's tokens."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from sqlglot.tokens import Token, TokenType

from . import errors, sftypes
from .sftypes import Type, TypeError_
from .storage import IDENTIFIER_BYTES_MAX, Column

RESERVED = frozenset(
    """
    ACCOUNT ALL ALTER AND ANY AS BETWEEN BY CASE CAST CHECK COLUMN CONNECT CONNECTION CONSTRAINT CREATE CROSS CURRENT CURRENT_DATE CURRENT_TIME
    CURRENT_TIMESTAMP CURRENT_USER DATABASE DELETE DISTINCT DROP ELSE EXISTS FALSE FOLLOWING FOR FROM FULL GRANT GROUP GSCLUSTER HAVING ILIKE IN
    INCREMENT INNER INSERT INTERSECT INTO IS ISSUE JOIN LATERAL LEFT LIKE LOCALTIME LOCALTIMESTAMP MINUS NATURAL NOT NULL OF ON OR ORDER ORGANIZATION
    QUALIFY REGEXP REVOKE RIGHT RLIKE ROW ROWS SAMPLE SCHEMA SELECT SET SOME START TABLE TABLESAMPLE THEN TO TRIGGER TRUE TRY_CAST UNION UNIQUE UPDATE
    USING VALUES VIEW WHEN WHENEVER WHERE WITH
    """.split()
)
_UNQUOTED = re.compile(r"[A-Za-z_][A-Za-z0-9_$]*\Z")
QUERY_WORDS = frozenset({"SELECT", "WITH", "("})
DML_WORDS = frozenset({"INSERT", "UPDATE", "DELETE", "MERGE"})
TABLE_OPTIONS = {
    "COMMENT": "text",
    "DATA_RETENTION_TIME_IN_DAYS": "number",
    "MAX_DATA_EXTENSION_TIME_IN_DAYS": "number",
    "ENABLE_SCHEMA_EVOLUTION": "boolean",
    "ERROR_LOGGING": "boolean",
    "CHANGE_TRACKING": "boolean",
    "DEFAULT_DDL_COLLATION": "collation",
}
SCHEMA_OPTIONS = {"COMMENT": "text", "DATA_RETENTION_TIME_IN_DAYS": "number", "DEFAULT_DDL_COLLATION": "collation"}
WAREHOUSE_OPTIONS = {"WAREHOUSE_SIZE": "any", "AUTO_SUSPEND": "number", "AUTO_RESUME": "boolean", "INITIALLY_SUSPENDED": "boolean", "COMMENT": "text"}


@dataclass
class Statement:
    """A parsed statement: its kind (for example CREATE TABLE) and what the grammar found in it."""

    kind: str
    facts: dict = field(default_factory=dict)

    def __getattr__(self, name: str):
        try:
            return self.__dict__["facts"][name]
        except KeyError:
            raise AttributeError(name) from None


class Reader:
    """Goes through tokens; whatever is not what the grammar wants is Snowflake's syntax error at that place."""

    def __init__(self, tokens: list[Token], text: str):
        self.tokens = tokens
        self.text = text
        self.index = 0

    @property
    def token(self) -> Token | None:
        return self.tokens[self.index] if self.index < len(self.tokens) else None

    def word(self, offset: int = 0) -> str:
        """The next token in upper case; empty for a quoted identifier, a string and the end."""
        if self.index + offset >= len(self.tokens):
            return ""
        token = self.tokens[self.index + offset]
        # sqlglot makes one token of some pairs of words: PRIMARY KEY, ORDER BY, …
        return "" if token.token_type in (TokenType.STRING, TokenType.RAW_STRING, TokenType.IDENTIFIER) else " ".join(token.text.upper().split())

    def fail(self) -> errors.SnowflakeError:
        token = self.token
        return errors.syntax(token.text[:60], token.line, token.col) if token else errors.syntax("<EOF>")

    def accept(self, *words: str) -> bool:
        """Takes the words if all of them come next."""
        for offset, word in enumerate(words):
            if self.word(offset) != word:
                return False
        self.index += len(words)
        return True

    def expect(self, *words: str) -> None:
        if not self.accept(*words):
            raise self.fail()

    def end(self) -> None:
        if self.token is not None:
            raise self.fail()

    def identifier(self) -> str:
        token = self.token
        if token is None:
            raise self.fail()
        if token.token_type == TokenType.IDENTIFIER:
            name = token.text
        elif token.token_type not in (TokenType.STRING, TokenType.RAW_STRING) and _UNQUOTED.match(token.text) and token.text.upper() not in RESERVED:
            name = token.text.upper()
        else:
            raise self.fail()
        if not name or len(name.encode()) > IDENTIFIER_BYTES_MAX:
            raise errors.compilation("000109", "42601", f"Invalid identifier: it is empty or longer than {IDENTIFIER_BYTES_MAX} bytes")
        self.index += 1
        return name

    def path(self) -> tuple[str, ...]:
        parts = [self.identifier()]
        while self.accept("."):
            parts.append(self.identifier())
        if len(parts) > 3:
            raise self.fail()
        return tuple(parts)

    def string(self) -> str:
        token = self.token
        if token is None or token.token_type not in (TokenType.STRING, TokenType.RAW_STRING):
            raise self.fail()
        self.index += 1
        return token.text

    def collation(self) -> str:
        name = self.string().lower()
        if name not in ("", "utf8", *sftypes.COLLATIONS):
            raise errors.unsupported(f"collation '{name}'")
        return "" if name == "utf8" else name

    def integer(self) -> int:
        sign = -1 if self.accept("-") else 1
        token = self.token
        if token is None or token.token_type != TokenType.NUMBER or not token.text.isdigit():
            raise self.fail()
        self.index += 1
        return sign * int(token.text)

    def boolean(self) -> bool:
        if self.accept("TRUE"):
            return True
        self.expect("FALSE")
        return False

    def type(self) -> Type:
        name = self.word()
        self.index += 1
        while self.word() and f"{name} {self.word()}" in _TYPE_PREFIXES:
            name = f"{name} {self.word()}"
            self.index += 1
        numbers = []
        if self.accept("("):
            numbers.append(self.integer())
            while self.accept(","):
                numbers.append(self.integer())
            self.expect(")")
        try:
            return Type.make(name, tuple(numbers))
        except TypeError_ as error:
            raise errors.compilation("002040", "42601", str(error)) from None

    def options(self, known: dict[str, str]) -> dict:
        """NAME = value, in any order, each at most once."""
        found = {}
        while self.token is not None and self.word() in known:
            name = self.word()
            if name in found:
                raise self.fail()
            self.index += 1
            self.expect("=")
            kind = known[name]
            if kind == "text":
                found[name] = self.string()
            elif kind == "number":
                found[name] = self.integer()
            elif kind == "boolean":
                found[name] = self.boolean()
            elif kind == "collation":
                found[name] = self.collation()
            else:
                found[name] = self.token.text if self.token else ""
                self.index += 1
        return found

    def source(self, first: int, last: int) -> str:
        """The text of tokens first up to, without, last."""
        return self.text[self.tokens[first].start : self.tokens[last - 1].end + 1]


def _prefixes() -> set[str]:
    names = set(sftypes.TIMESTAMP_NAMES) | sftypes.VARCHAR_NAMES | sftypes.FLOAT_NAMES
    return {" ".join(name.split()[:count]) for name in names for count in range(2, len(name.split()) + 1)}


_TYPE_PREFIXES = _prefixes()


def parse_statement(tokens: list[Token], text: str) -> Statement:
    """Finds out what a statement is. Queries and DML come back with their kind alone: dialect.py parses them."""
    reader = Reader(tokens, text)
    first = reader.word()
    if first in QUERY_WORDS:
        return Statement("QUERY")
    if first in DML_WORDS:
        return Statement("DML")
    handler = _STATEMENTS.get(first)
    if handler is None:
        raise reader.fail()
    reader.index += 1
    statement = handler(reader)
    reader.end()
    return statement


def _begin(reader: Reader) -> Statement:
    reader.accept("WORK") or reader.accept("TRANSACTION")
    if reader.accept("NAME"):
        reader.identifier()
    return Statement("BEGIN")


def _start(reader: Reader) -> Statement:
    reader.expect("TRANSACTION")
    if reader.accept("NAME"):
        reader.identifier()
    return Statement("BEGIN")


def _end_of_transaction(kind: str):
    def handler(reader: Reader) -> Statement:
        reader.accept("WORK")
        return Statement(kind)

    return handler


def _use(reader: Reader) -> Statement:
    for kind in ("DATABASE", "WAREHOUSE", "ROLE", "SCHEMA"):
        if reader.accept(kind):
            return Statement(f"USE {kind}", {"path": reader.path()})
    return Statement("USE SCHEMA" if "." in [token.text for token in reader.tokens] else "USE DATABASE", {"path": reader.path()})


def _execute(reader: Reader) -> Statement:
    reader.expect("IMMEDIATE")
    return Statement("EXECUTE IMMEDIATE", {"text": reader.string()})


def _truncate(reader: Reader) -> Statement:
    reader.accept("TABLE")
    return Statement("TRUNCATE", {"if_exists": reader.accept("IF", "EXISTS"), "path": reader.path()})


def _describe(reader: Reader) -> Statement:
    reader.expect("TABLE")
    path = reader.path()
    if reader.accept("TYPE", "="):
        reader.expect("COLUMNS")
    return Statement("DESCRIBE TABLE", {"path": path})


def _show(reader: Reader) -> Statement:
    terse = reader.accept("TERSE")
    if terse:
        raise errors.unsupported("SHOW TERSE")
    if reader.accept("GRANTS"):
        from . import grants

        return grants.show(reader)
    kind = reader.word()
    if kind not in ("DATABASES", "SCHEMAS", "TABLES", "WAREHOUSES", "COLUMNS", "PARAMETERS", "CHANNELS", "TASKS"):
        raise reader.fail()
    reader.index += 1
    pattern = reader.string() if reader.accept("LIKE") else None
    within, path = "", ()
    if reader.accept("IN"):
        for within in ("ACCOUNT", "DATABASE", "SCHEMA", "TABLE", "PIPE" if kind == "CHANNELS" else "SESSION"):
            if reader.accept(within):
                path = reader.path() if within not in ("ACCOUNT", "SESSION") else ()
                break
        else:
            within, path = ("SCHEMA" if kind in ("TABLES", "COLUMNS", "CHANNELS", "TASKS") else "DATABASE"), reader.path()
    wanted = []
    if kind in ("DATABASES", "SCHEMAS", "WAREHOUSES") and reader.accept("WITH", "PRIVILEGES"):
        from .privileges import KINDS, _privilege

        wanted.append(_privilege(reader))
        while reader.accept(","):
            wanted.append(_privilege(reader))
        if not set(wanted) <= KINDS[kind[:-1]]:
            raise reader.fail()
    return Statement(f"SHOW {kind}", {"pattern": pattern, "within": within, "path": path, "wanted": wanted})


def _create(reader: Reader) -> Statement:
    replace = reader.accept("OR", "REPLACE")
    if reader.accept("PROCEDURE"):
        from . import procedures

        return procedures.create(reader, replace)
    if reader.accept("TASK"):
        from . import tasks

        return tasks.create(reader, replace)
    if not replace and reader.accept("ROLE"):
        from . import grants

        return grants.create_role(reader)
    transient = reader.accept("TRANSIENT")
    kind = reader.word()
    if kind not in ("TABLE", "SCHEMA", "DATABASE", "WAREHOUSE") or kind == "WAREHOUSE" and transient:
        raise reader.fail()
    reader.index += 1
    if_not_exists = reader.accept("IF", "NOT", "EXISTS")
    if replace and if_not_exists:
        raise errors.compilation("002184", "42601", "options IF NOT EXISTS and OR REPLACE are incompatible.")
    facts = {"replace": replace, "transient": transient, "if_not_exists": if_not_exists, "path": reader.path()}
    if kind != "TABLE":
        facts["options"] = reader.options(WAREHOUSE_OPTIONS if kind == "WAREHOUSE" else SCHEMA_OPTIONS)
        return Statement(f"CREATE {kind}", facts)
    if reader.accept("LIKE"):
        if transient:
            raise errors.unsupported("CREATE TRANSIENT TABLE … LIKE")
        facts["source"] = reader.path()
        reader.accept("COPY", "GRANTS")  # privileges are not modelled
        return Statement("CREATE TABLE LIKE", facts)
    facts["columns"] = _column_list(reader)
    facts["options"] = reader.options(TABLE_OPTIONS)
    return Statement("CREATE TABLE", facts)


def _column_list(reader: Reader) -> list[Column]:
    reader.expect("(")
    columns = []
    while True:
        if reader.word() in ("PRIMARY KEY", "UNIQUE", "CONSTRAINT"):
            _table_constraint(reader)
        else:
            columns.append(column_definition(reader))
        if not reader.accept(","):
            break
    reader.expect(")")
    names = [column.name for column in columns]
    if not names:
        raise reader.fail()
    for name in names:
        if names.count(name) > 1:
            raise errors.compilation("002025", "42S21", f"duplicate column name '{name}'")
    return columns


def _table_constraint(reader: Reader) -> None:
    """Primary and unique keys may be declared; Snowflake does not enforce them, and neither does this."""
    if reader.accept("CONSTRAINT"):
        reader.identifier()
    if not reader.accept("PRIMARY KEY"):
        reader.expect("UNIQUE")
    reader.expect("(")
    reader.identifier()
    while reader.accept(","):
        reader.identifier()
    reader.expect(")")


def column_definition(reader: Reader) -> Column:
    name, type_ = reader.identifier(), reader.type()
    nullable, default, comment, collation = True, None, "", None
    while True:
        if reader.accept("NOT", "NULL"):
            nullable = False
        elif reader.accept("NULL"):
            nullable = True
        elif reader.accept("DEFAULT"):
            first = reader.index
            _skip_expression(reader)
            default = reader.source(first, reader.index)
        elif reader.accept("COMMENT"):
            comment = reader.string()
        elif type_.kind == "VARCHAR" and reader.accept("COLLATE"):
            collation = reader.collation()
        elif not (reader.accept("PRIMARY KEY") or reader.accept("UNIQUE")):
            return Column(name, type_, nullable, default, comment, collation)


def _skip_expression(reader: Reader) -> None:
    depth, first = 0, reader.index
    while reader.token is not None:
        word = reader.word()
        if depth == 0 and (word in (",", ")", "COMMENT", "COLLATE", "PRIMARY KEY", "UNIQUE") or word == "NOT" and reader.word(1) == "NULL"):
            break
        depth += {"(": 1, ")": -1}.get(word, 0)
        reader.index += 1
    if reader.index == first:
        raise reader.fail()


def _call(reader: Reader) -> Statement:
    from . import procedures

    return procedures.call(reader)


def _drop(reader: Reader) -> Statement:
    if reader.accept("PROCEDURE"):
        from . import procedures

        return procedures.drop(reader)
    if reader.accept("TASK"):
        from . import tasks

        return tasks.drop(reader)
    kind = reader.word()
    if kind not in ("TABLE", "SCHEMA", "DATABASE", "WAREHOUSE"):
        raise reader.fail()
    reader.index += 1
    facts = {"if_exists": reader.accept("IF", "EXISTS"), "path": reader.path()}
    if kind != "WAREHOUSE":
        reader.accept("CASCADE") or reader.accept("RESTRICT")
    return Statement(f"DROP {kind}", facts)


def _alter(reader: Reader) -> Statement:
    if reader.accept("SESSION"):
        return _alter_session(reader)
    if reader.accept("TASK"):
        from . import tasks

        return tasks.alter(reader)
    if reader.accept("WAREHOUSE"):
        facts = {"path": reader.path(), "state": None, "options": {}}
        if reader.accept("SUSPEND"):
            facts["state"] = "SUSPENDED"
        elif reader.accept("RESUME"):
            facts["state"] = "STARTED"
        else:
            reader.expect("SET")
            facts["options"] = reader.options(WAREHOUSE_OPTIONS)
            if not facts["options"]:
                raise reader.fail()
        return Statement("ALTER WAREHOUSE", facts)
    if reader.accept("USER"):
        name = reader.identifier()
        reader.expect("SET")
        if reader.accept("DEFAULT_ROLE", "="):
            return Statement("ALTER USER", {"name": name, "options": {"DEFAULT_ROLE": reader.identifier()}})
        reader.expect("RSA_PUBLIC_KEY", "=")
        return Statement("ALTER USER", {"name": name, "options": {"RSA_PUBLIC_KEY": reader.string()}})
    if reader.accept("SCHEMA"):
        facts = {"path": reader.path()}
        reader.expect("SET")
        if reader.word() != "DEFAULT_DDL_COLLATION":
            raise reader.fail()
        return Statement("ALTER SCHEMA", {**facts, "options": reader.options(SCHEMA_OPTIONS)})
    reader.expect("TABLE")
    facts = {"if_exists": reader.accept("IF", "EXISTS"), "path": reader.path()}
    if reader.accept("RENAME", "TO"):
        return Statement("ALTER TABLE RENAME", {**facts, "to": reader.path()})
    if reader.accept("SWAP", "WITH"):
        return Statement("ALTER TABLE SWAP", {**facts, "to": reader.path()})
    if reader.accept("RENAME", "COLUMN"):
        column = reader.identifier()
        reader.expect("TO")
        return Statement("ALTER TABLE RENAME COLUMN", {**facts, "column": column, "to": reader.identifier()})
    if reader.accept("ADD"):
        reader.accept("COLUMN")
        if_not_exists = reader.accept("IF", "NOT", "EXISTS")
        columns = [column_definition(reader)]
        while reader.accept(","):
            reader.accept("COLUMN")
            columns.append(column_definition(reader))
        return Statement("ALTER TABLE ADD", {**facts, "columns": columns, "if_not_exists": if_not_exists})
    if reader.accept("DROP"):
        reader.accept("COLUMN")
        column_if_exists = reader.accept("IF", "EXISTS")
        columns = [reader.identifier()]
        while reader.accept(","):
            columns.append(reader.identifier())
        return Statement("ALTER TABLE DROP", {**facts, "columns": columns, "column_if_exists": column_if_exists})
    if reader.accept("SET"):
        options = reader.options(TABLE_OPTIONS)
        if not options:
            raise reader.fail()
        return Statement("ALTER TABLE SET", {**facts, "options": options})
    if reader.accept("ALTER") or reader.accept("MODIFY"):
        return _alter_column(reader, facts)
    raise reader.fail()


def _alter_column(reader: Reader, facts: dict) -> Statement:
    reader.accept("COLUMN")
    column = reader.identifier()
    if reader.accept("DROP", "NOT", "NULL"):
        return Statement("ALTER TABLE DROP NOT NULL", {**facts, "column": column})
    reader.accept("SET", "DATA")
    reader.expect("TYPE")
    return Statement("ALTER TABLE SET TYPE", {**facts, "column": column, "type": reader.type()})


def _alter_session(reader: Reader) -> Statement:
    if reader.accept("UNSET"):
        names = [reader.identifier()]
        while reader.accept(","):
            names.append(reader.identifier())
        return Statement("ALTER SESSION", {"set": {}, "unset": names})
    reader.expect("SET")
    found = {}
    while reader.token is not None:
        name = reader.identifier()
        reader.expect("=")
        if reader.word() in ("TRUE", "FALSE"):
            found[name] = reader.boolean()
        elif reader.token is not None and reader.token.token_type == TokenType.NUMBER:
            found[name] = reader.integer()
        else:
            found[name] = reader.string()
        reader.accept(",")
    if not found:
        raise reader.fail()
    return Statement("ALTER SESSION", {"set": found, "unset": []})


def _comment(reader: Reader) -> Statement:
    if_exists = reader.accept("IF", "EXISTS")
    reader.expect("ON", "TABLE")
    path = reader.path()
    reader.expect("IS")
    return Statement("ALTER TABLE SET", {"if_exists": if_exists, "path": path, "options": {"COMMENT": reader.string()}})


def _grant(is_revoke: bool):
    def handler(reader: Reader) -> Statement:
        from . import grants, privileges

        # What is granted on tables and tasks is in grants.py; on all else, and to users and roles, in privileges.py.
        words = [token.text.upper() for token in reader.tokens]
        on = words[words.index("ON") + 1 :] if "ON" in words else []
        if not is_revoke and on[:1] in (["TABLE"], ["TASK"]) and reader.word() != "OWNERSHIP":
            return grants.grant(reader)
        return privileges.grant(reader, is_revoke)

    return handler


_STATEMENTS = {
    "GRANT": _grant(False),
    "REVOKE": _grant(True),
    "BEGIN": _begin,
    "START": _start,
    "COMMIT": _end_of_transaction("COMMIT"),
    "ROLLBACK": _end_of_transaction("ROLLBACK"),
    "USE": _use,
    "EXECUTE": _execute,
    "TRUNCATE": _truncate,
    "DESCRIBE": _describe,
    "DESC": _describe,
    "SHOW": _show,
    "CREATE": _create,
    "DROP": _drop,
    "CALL": _call,
    "ALTER": _alter,
    "COMMENT": _comment,
}
