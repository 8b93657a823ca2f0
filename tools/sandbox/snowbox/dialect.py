"""Snowflake's SQL in, PostgreSQL's out: checks the tokens, parses with sqlglot, compiles what the whitelists know."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field

import sqlglot
from sqlglot import exp
from sqlglot.dialects import Snowflake
from sqlglot.errors import ParseError, TokenError
from sqlglot.tokens import Token, TokenType

from . import errors, sftypes
from .conversions import Value, assign, cast
from .expressions import Scope, Source, arguments, folded, quoted
from .functions import NAMES as FUNCTION_NAMES
from .queries import Queries, table_source
from .sftypes import Type
from .storage import Column, Table

SQL_TEXT_BYTES_MAX = 1_048_576
# A chain of a thousand ANDs or UNIONs nests as deep; Python's own limit is a thousand frames.
sys.setrecursionlimit(20_000)

TYPE_WORDS = frozenset(
    sftypes.NUMBER_NAMES
    | sftypes.INTEGER_NAMES
    | sftypes.VARCHAR_NAMES
    | sftypes.CHAR_NAMES
    | sftypes.BINARY_NAMES
    | sftypes.PLAIN_NAMES
    | set(sftypes.TIMESTAMP_NAMES)
    | sftypes.FLOAT_NAMES
    | {"TIME"}
)
# Words before a parenthesis that call nothing.
_KEYWORDS_BEFORE_PARENTHESIS = frozenset(
    """
    ALL AND ANY AS BETWEEN BY CASE CROSS DISTINCT ELSE EXCEPT EXCLUDE EXISTS FROM GROUP HAVING IN INNER INSERT INTERSECT INTO JOIN LEFT LIKE ILIKE LIMIT NOT ON
    OR ORDER OVER PARTITION QUALIFY RIGHT ROWS SELECT SET THEN UNION UPDATE USING VALUES WHEN WHERE WITH
    """.split()
)
# Spellings that sqlglot takes from other databases.
_FOREIGN_OPERATORS = frozenset({"==", "!", "&&", "<=>", "~", "@>", "<@", "->", "->>", "#>", "#>>", "**", "//", "??", "^", "|", "&", "~*", "!~", "~~"})
_FOREIGN_WORDS = frozenset({"ISNULL", "NOTNULL", "RETURNING", "CONFLICT", "DIV", "GLOB", "SIMILAR", "TABLESAMPLE", "PIVOT", "UNPIVOT", "RLIKE", "REGEXP", "UNNEST", "OPERATOR"})
# sqlglot takes an AS without an alias.
_NOT_AFTER_AS = frozenset({",", ")", "FROM", "WHERE", "ON", "USING", "WHEN", "JOIN", "UNION", ";"})


@dataclass
class Compiled:
    """A statement ready for PostgreSQL."""

    kind: str  # SELECT, INSERT, UPDATE, DELETE, MERGE
    sql: str
    columns: list[tuple[str, Type | None]] = field(default_factory=list)
    target: Table | None = None  # what it changes
    needs_warehouse: bool = True


class _Tokenizer(Snowflake.Tokenizer):
    # sqlglot would swallow the rest of an EXECUTE, CALL or the like as one string.
    COMMANDS = set()


def tokenize(text: str) -> list[Token]:
    if len(text.encode()) > SQL_TEXT_BYTES_MAX:
        raise errors.SnowflakeError("000030", "54000", f"SQL text is longer than {SQL_TEXT_BYTES_MAX} bytes")
    try:
        return _Tokenizer(dialect=Snowflake()).tokenize(text)
    except TokenError as error:
        raise errors.compilation("001003", "42000", f"syntax error: {error}") from None


def check_tokens(tokens: list[Token]) -> None:
    """Refuses what sqlglot understands but Snowflake does not: foreign functions, types and operators, by their spelling."""
    for index, token in enumerate(tokens):
        if token.token_type in (TokenType.STRING, TokenType.RAW_STRING, TokenType.IDENTIFIER, TokenType.NUMBER):
            continue
        word = token.text.upper()
        if word in _FOREIGN_OPERATORS or word in _FOREIGN_WORDS:
            raise errors.syntax(token.text, token.line, token.col)
        following = tokens[index + 1] if index + 1 < len(tokens) else None
        if word == "AS" and (following is None or following.text.upper() in _NOT_AFTER_AS) or word == "," and following is not None and following.text.upper() in ("FROM", ")"):
            raise errors.syntax(following.text if following else "<EOF>", token.line, token.col)
        if word == "ARRAY" and following is not None and following.token_type == TokenType.L_BRACKET:
            raise errors.syntax("[", token.line, token.col)
        if token.token_type == TokenType.DCOLON and (following is None or not _is_type(tokens, index + 1)):
            raise errors.compilation("002040", "42601", f"Unsupported data type '{following.text if following else ''}'.")
        if following is not None and following.token_type == TokenType.L_PAREN and (word[:1].isalpha() or word[:1] == "_"):
            _check_call(tokens, index)


def _is_type(tokens: list[Token], index: int) -> bool:
    word = tokens[index].text.upper()
    return word in TYPE_WORDS and tokens[index].token_type != TokenType.IDENTIFIER or word == "DOUBLE"


def _check_call(tokens: list[Token], index: int) -> None:
    # sqlglot makes one token of ORDER BY and the like.
    word = tokens[index].text.upper().split()[-1]
    if word in FUNCTION_NAMES or word in _KEYWORDS_BEFORE_PARENTHESIS or word in TYPE_WORDS:
        return
    before = tokens[index - 1].text.upper() if index else ""
    if before in ("INTO", "AS", "TABLE", "UPDATE", "."):
        return
    depth, place = 0, index + 1
    while place < len(tokens):
        depth += {TokenType.L_PAREN: 1, TokenType.R_PAREN: -1}.get(tokens[place].token_type, 0)
        if depth == 0:
            break
        place += 1
    if before in ("WITH", "RECURSIVE", ",", ")") and place + 2 < len(tokens) and tokens[place + 1].text.upper() == "AS" and tokens[place + 2].token_type == TokenType.L_PAREN:
        return
    raise errors.compilation("002140", "42601", f"Unknown function {word}")


def parse(text: str, tokens: list[Token]) -> exp.Expression:
    check_tokens(tokens)
    try:
        parsed = Snowflake().parser(error_level=sqlglot.ErrorLevel.IMMEDIATE).parse(tokens, text)
    except ParseError as error:
        found = error.errors[0] if error.errors else {}
        raise errors.syntax(found.get("highlight") or "<EOF>", found.get("line") or 1, found.get("col") or 0) from None
    statements = [statement for statement in parsed if statement is not None]
    if len(statements) != 1:
        raise errors.syntax(";")
    return statements[0]


class Compiler:
    """Compiles one parsed query or DML statement. First `table_keys` tells which tables to look up, then `compile` takes them."""

    def __init__(self, node: exp.Expression, database: str | None, schema: str | None):
        self.node = node
        self.database = database
        self.schema = schema

    def resolve(self, node: exp.Expression) -> tuple[str, str, str]:
        """Database, schema and name of a table that is named; a Column is how sqlglot reads the argument of ERROR_TABLE."""
        if isinstance(node, exp.Column):
            parts = [folded(node.args[key]) if node.args.get(key) else None for key in ("db", "table", "this")]
        elif isinstance(node, exp.Table):
            parts = [folded(node.args[key]) if node.args.get(key) else None for key in ("catalog", "db", "this")]
        else:
            raise errors.syntax(node.sql(dialect="snowflake")[:100])
        return self.complete(parts)

    def complete(self, parts: list[str | None]) -> tuple[str, str, str]:
        database, schema = parts[0] or self.database, parts[1] or self.schema
        if not database:
            raise errors.compilation("090105", "22000", "Cannot perform operation. This session does not have a current database. Call 'USE DATABASE', or use a qualified name.")
        if not schema:
            raise errors.compilation("090106", "22000", "Cannot perform operation. This session does not have a current schema. Call 'USE SCHEMA', or use a qualified name.")
        return database, schema, parts[2]

    def table_keys(self) -> set[tuple[str, str, str]]:
        ctes = {folded(cte.args["alias"].this) for cte in self.node.find_all(exp.CTE)}
        keys = set()
        for table in self.node.find_all(exp.Table):
            if isinstance(table.this, exp.Anonymous):
                keys |= {self.resolve(item) for item in table.this.expressions}
            elif isinstance(table.this, exp.Identifier):
                if not table.args.get("db") and folded(table.this) in ctes and not (self.database and self.schema):
                    continue
                keys.add(self.resolve(table))
        return keys

    def compile(self, tables: dict, session_facts: dict, variables: dict[str, Value], bindings: list[Value]) -> Compiled:
        self.queries = Queries(tables, self.resolve, session_facts, variables, bindings)
        self.tables = tables
        node = self.node
        if isinstance(node, exp.Insert):
            compiled = self._insert(node)
        elif isinstance(node, exp.Update):
            compiled = self._update(node)
        elif isinstance(node, exp.Delete):
            compiled = self._delete(node)
        elif isinstance(node, exp.Merge):
            compiled = self._merge(node)
        elif isinstance(node, (exp.Select, exp.Union, exp.Except, exp.Intersect, exp.Subquery)):
            query = self.queries.query(node, None)
            # What has no table needs no warehouse: SELECT CURRENT_VERSION() and the like.
            compiled = Compiled("SELECT", query.sql, query.columns, needs_warehouse=any(node.find_all(exp.Table)))
        else:
            raise errors.syntax(node.sql(dialect="snowflake")[:60])
        if self.queries.bindings_used != len(bindings):
            raise errors.compilation("002049", "42601", f"{len(bindings)} bindings for {self.queries.bindings_used} question marks")
        return compiled

    def compile_expressions(self, session_facts: dict, variables: dict[str, Value]) -> None:
        """Makes ready for compiling single expressions, in which no table can be named."""
        self.queries = Queries({}, self.resolve, session_facts, variables, [])
        self.tables = {}

    def _target(self, node: exp.Expression) -> tuple[Table, str]:
        """The table that a statement changes, and the alias it goes by."""
        if not isinstance(node, exp.Table) or not isinstance(node.this, exp.Identifier):
            raise errors.syntax(node.sql(dialect="snowflake")[:100])
        given = arguments(node, "this", "db", "catalog", "alias")
        key = self.resolve(node)
        table = self.tables.get(key)
        if table is None:
            raise errors.missing_object("Table", ".".join(key))
        alias = None
        if given.get("alias"):
            arguments(given["alias"], "this")
            alias = folded(given["alias"].this)
        return table, alias

    def _refuse_error_logging(self, table: Table, kind: str) -> None:
        if table.error_logging:
            raise errors.unsupported(f"{kind} into {table.name}, which has ERROR_LOGGING = TRUE: Snowflake would skip bad rows instead of failing; the stand-in refuses")

    def _column_of(self, table: Table, name: str) -> Column:
        for column in table.columns:
            if column.name == name:
                return column
        raise errors.invalid_identifier(name)

    def _insert(self, node: exp.Insert) -> Compiled:
        given = arguments(node, "this", "expression", "overwrite", "with_", "is_function")
        if given.get("with_"):
            raise errors.syntax("WITH")
        schema = node.this if isinstance(node.this, exp.Schema) else None
        table, alias = self._target(schema.this if schema else node.this)
        if alias:
            raise errors.syntax(alias)
        self._refuse_error_logging(table, "INSERT")
        names = [folded(item) for item in schema.expressions] if schema else [column.name for column in table.columns]
        if len(set(names)) != len(names):
            raise errors.compilation("002025", "42S21", "duplicate column name in INSERT")
        columns = [self._column_of(table, name) for name in names]
        if isinstance(given["expression"], exp.Values):
            body = self._insert_values(given["expression"], columns)
        else:
            query = self.queries.query(given["expression"], None)
            if len(query.columns) != len(columns):
                raise errors.compilation("002057", "42601", f"Insert value list does not match column list expecting {len(columns)} but got {len(query.columns)}")
            places = [f'"~{i}"' for i in range(len(columns))]
            values = [assign(Value(f'"~i".{spot}', type_), column.type, column.name).sql for spot, (_, type_), column in zip(places, query.columns, columns)]
            body = [f'SELECT {{}} FROM ({query.sql}) AS "~i" ({", ".join(places)})', values]
        rest = [column for column in table.columns if column.name not in set(names)]
        defaults = [self._default(column).sql for column in rest]
        listed = ", ".join(quoted(column.name) for column in [*columns, *rest])
        sql = f'INSERT INTO rows."t{table.id}" ({listed}) '
        sql += body[0].replace("{}", ", ".join(body[1] + defaults), 1) if isinstance(body, list) else "VALUES " + ", ".join(
            "(" + ", ".join(row + defaults) + ")" for row in body
        )
        if given.get("overwrite"):
            raise errors.unsupported("INSERT OVERWRITE")
        return Compiled("INSERT", sql, target=table)

    def _insert_values(self, node: exp.Values, columns: list[Column]) -> tuple:
        arguments(node, "expressions")
        rows = []
        for row in node.expressions:
            items = row.expressions if isinstance(row, exp.Tuple) else [row.this]
            if len(items) != len(columns):
                raise errors.compilation("002057", "42601", f"Insert value list does not match column list expecting {len(columns)} but got {len(items)}")
            for item in items:
                # Snowflake: "Invalid expression [...] in VALUES clause"; such rows take INSERT … SELECT.
                if any(item.find_all(exp.ParseJSON, exp.Array, exp.Struct, exp.Select)):
                    raise errors.compilation("002014", "22000", f"Invalid expression [{item.sql(dialect='snowflake')[:100]}] in VALUES clause")
            rows.append([self._assigned(item, column, Scope()) for item, column in zip(items, columns)])
        return tuple(rows)

    def _assigned(self, node: exp.Expression, column: Column, scope: Scope) -> str:
        if isinstance(node, exp.Var) and node.name.upper() == "DEFAULT":
            return self._default(column).sql
        return assign(self.queries.value(node, scope), column.type, column.name).sql

    def _default(self, column: Column) -> Value:
        if column.default is None:
            return cast(Value("NULL::text", None), column.type)
        tokens = tokenize(f"SELECT {column.default}")
        node = parse(f"SELECT {column.default}", tokens)
        return assign(self.queries.value(node.expressions[0], Scope()), column.type, column.name)

    def _set_list(self, items: list[exp.Expression], table: Table, alias: str | None, scope: Scope) -> str:
        parts, seen = [], set()
        for item in items:
            if not isinstance(item, exp.EQ) or not isinstance(item.this, exp.Column):
                raise errors.syntax(item.sql(dialect="snowflake")[:60])
            qualifier = item.this.args.get("table")
            if qualifier is not None and folded(qualifier) != (alias or table.name):
                raise errors.invalid_identifier(item.this.sql(dialect="snowflake"))
            column = self._column_of(table, folded(item.this.this))
            if column.name in seen:
                raise errors.compilation("002025", "42S21", f"duplicate column name '{column.name}'")
            seen.add(column.name)
            parts.append(f"{quoted(column.name)} = {self._assigned(item.expression, column, scope)}")
        return ", ".join(parts)

    def _update(self, node: exp.Update) -> Compiled:
        given = arguments(node, "this", "expressions", "from_", "where")
        table, alias = self._target(node.this)
        self._refuse_error_logging(table, "UPDATE")
        if given.get("from_"):
            # With more than one match Snowflake would take any one of them, without an error.
            raise errors.unsupported("UPDATE … FROM: use MERGE")
        scope = Scope([table_source(table, alias)])
        sql = f'UPDATE rows."t{table.id}" AS {quoted(alias or table.name)} SET {self._set_list(given["expressions"], table, alias, scope)}'
        if given.get("where"):
            sql += f" WHERE {self.queries.condition(given['where'].this, scope).sql}"
        return Compiled("UPDATE", sql, target=table)

    def _delete(self, node: exp.Delete) -> Compiled:
        given = arguments(node, "this", "where", "using", "cluster")
        table, alias = self._target(node.this)
        scope = Scope([table_source(table, alias)])
        sql = f'DELETE FROM rows."t{table.id}" AS {quoted(alias or table.name)}'
        if given.get("using"):
            inner = Scope([])
            sql += " USING " + ", ".join(self.queries._item(item, inner) for item in given["using"])
            scope.sources += inner.sources
        if given.get("where"):
            sql += f" WHERE {self.queries.condition(given['where'].this, scope).sql}"
        return Compiled("DELETE", sql, target=table)

    def _merge(self, node: exp.Merge) -> Compiled:
        given = arguments(node, "this", "using", "on", "whens", "using_cond")
        table, alias = self._target(node.this)
        self._refuse_error_logging(table, "MERGE")
        target, source_scope = table_source(table, alias), Scope([])
        source_sql = self.queries._item(given["using"], source_scope)
        source = source_scope.sources[0]
        if source.alias == target.alias:
            raise errors.compilation("002014", "42601", f"duplicate alias '{source.alias}'")
        both = Scope([target, source])
        sql = f'MERGE INTO rows."t{table.id}" AS {quoted(target.alias)} USING {source_sql} ON {self.queries.condition(given["on"], both).sql}'
        for when in given["whens"].expressions:
            sql += self._when(when, table, alias, target, source)
        return Compiled("MERGE", sql, target=table)

    def _when(self, when: exp.When, table: Table, alias: str | None, target: Source, source: Source) -> str:
        given = arguments(when, "matched", "source", "condition", "then")
        if given.get("source"):
            raise errors.unsupported("WHEN NOT MATCHED BY SOURCE")
        scope = Scope([target, source] if given["matched"] else [source])
        sql = " WHEN MATCHED" if given["matched"] else " WHEN NOT MATCHED"
        if given.get("condition"):
            sql += f" AND {self.queries.condition(given['condition'], scope).sql}"
        then = given["then"]
        if isinstance(then, exp.Var) and then.name.upper() == "DELETE" and given["matched"]:
            return sql + " THEN DELETE"
        if isinstance(then, exp.Update) and given["matched"]:
            arguments(then, "expressions")
            return f"{sql} THEN UPDATE SET {self._set_list(then.expressions, table, alias, scope)}"
        if not isinstance(then, exp.Insert) or given["matched"]:
            raise errors.syntax(when.sql(dialect="snowflake")[:60])
        arguments(then, "this", "expression")
        if not isinstance(then.expression, exp.Tuple):
            raise errors.syntax(when.sql(dialect="snowflake")[:60])
        names = [folded(item.this if isinstance(item, exp.Column) else item) for item in then.this.expressions] if then.this else [column.name for column in table.columns]
        items = then.expression.expressions
        if len(items) != len(names) or len(set(names)) != len(names):
            raise errors.compilation("002057", "42601", f"Insert value list does not match column list expecting {len(names)} but got {len(items)}")
        columns = [self._column_of(table, name) for name in names]
        rest = [column for column in table.columns if column.name not in set(names)]
        values = [self._assigned(item, column, scope) for item, column in zip(items, columns)] + [self._default(column).sql for column in rest]
        return f"{sql} THEN INSERT ({', '.join(quoted(column.name) for column in [*columns, *rest])}) VALUES ({', '.join(values)})"
