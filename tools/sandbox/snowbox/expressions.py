"""Compiles one Snowflake expression, as sqlglot parsed it, into PostgreSQL text with a Snowflake type.

Strict by construction: a node without a handler here, or with an argument that its handler does not know, is an error.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from sqlglot import exp

from . import errors
from .conversions import (
    BINARY,
    BOOLEAN,
    FLOAT,
    IMPLICIT,
    NUMBER,
    TEXT,
    VARIANT,
    Value,
    cast,
    coerce,
    combine,
    common_type,
    quote_literal,
    type_name,
)
from .sftypes import Type, TypeError_
from .storage import IDENTIFIER_BYTES_MAX, physical_name

_NUMBER_TEXT = re.compile(r"\d+(\.\d*)?|\.\d+")
_FLOAT_TEXT = re.compile(r"(\d+(\.\d*)?|\.\d+)[eE][+-]?\d+")


def folded(identifier: exp.Expression) -> str:
    """An identifier as it is stored: upper case unless quoted."""
    if not isinstance(identifier, exp.Identifier):
        raise errors.syntax(identifier.sql(dialect="snowflake"))
    name = identifier.this if identifier.args.get("quoted") else identifier.this.upper()
    if not name or len(name.encode()) > IDENTIFIER_BYTES_MAX:
        raise errors.compilation("000109", "42601", f"Invalid identifier: {name[:40]}… is empty or longer than {IDENTIFIER_BYTES_MAX} bytes")
    return name


class Internal(str):
    """A name that the compiler made: it starts with a tilde, which physical_name gives to nobody's own name in that place."""


def quoted(name: str) -> str:
    text = name if isinstance(name, Internal) else physical_name(name)
    return '"' + text.replace('"', '""') + '"'


class _Arguments(dict):
    """An argument that sqlglot left out is None."""

    def __missing__(self, key: str) -> None:
        return None


def arguments(node: exp.Expression, *known: str) -> dict:
    """The node's arguments, after making sure that nothing but what the caller knows is among them."""
    for key, value in node.args.items():
        if key not in known and value not in (None, False, []):
            raise errors.unsupported(f"{key.rstrip('_').upper()} in {node.key.upper()}: {node.sql(dialect='snowflake')[:100]}")
    return _Arguments(node.args)


@dataclass
class Source:
    """One item of FROM: its alias and its columns."""

    alias: str
    columns: list[tuple[str, Type | None]]
    path: tuple[str, str] | None = None  # database and schema, for a table that is named without alias


@dataclass
class Scope:
    """Where a name is looked up: the items of FROM, then the select list's aliases where the clause allows them, then the query around."""

    sources: list[Source] = field(default_factory=list)
    parent: "Scope | None" = None
    aliases: dict[str, Value] = field(default_factory=dict)

    def find(self, name: str, table: str | None, path: tuple[str, ...]) -> Value | None:
        found = []
        for source in self.sources:
            if table is not None and source.alias != table or path and (source.path or ())[-len(path) :] != path:
                continue
            found += [Value(f"{quoted(source.alias)}.{quoted(name)}", type_) for column, type_ in source.columns if column == name]
        if len(found) > 1:
            raise errors.compilation("002028", "42601", f"ambiguous column name '{name}'")
        if found:
            return found[0]
        if table is None and name in self.aliases:
            return self.aliases[name]
        return self.parent.find(name, table, path) if self.parent else None


class Expressions:
    """The expression half of the compiler. The other half (queries.py) adds `query` for subqueries, `window`, and `order` for ORDER BY.

    variables: what :name stands for inside a scripting block. bindings: the values of the question marks.
    """

    def __init__(self, session_facts: dict[str, str | None], variables: dict[str, Value], bindings: list[Value]):
        self.session_facts = session_facts
        self.variables = variables
        self.bindings = bindings
        self.bindings_used = 0

    def value(self, node: exp.Expression, scope: Scope) -> Value:
        handler = _HANDLERS.get(type(node))
        if handler is None:
            from .functions import FUNCTIONS

            handler = FUNCTIONS.get(type(node))
        if handler is None:
            if isinstance(node, exp.Func):
                raise errors.compilation("002140", "42601", f"Unknown function {node.sql_name() if not isinstance(node, exp.Anonymous) else node.this.upper()}")
            raise errors.unsupported(node.sql(dialect="snowflake")[:200])
        return handler(self, node, scope)

    def condition(self, node: exp.Expression, scope: Scope) -> Value:
        value = self.value(node, scope)
        if value.type is not None and value.type.kind != "BOOLEAN":
            raise errors.compilation("001045", "42P13", f"Invalid predicate: a BOOLEAN is needed, not {type_name(value.type)}: {node.sql(dialect='snowflake')[:100]}")
        return value if value.type else value.with_("NULL::boolean", BOOLEAN)

    def typed(self, node: exp.Expression, scope: Scope, target: Type) -> Value:
        """An argument that Snowflake converts to `target` by itself."""
        value = self.value(node, scope)
        if value.type is not None and value.type.kind != target.kind and target.kind not in IMPLICIT[value.type.kind]:
            raise invalid_arguments(node.sql(dialect="snowflake")[:100], value)
        if value.type is not None and value.type.kind == target.kind:
            return value
        return cast(value, target)

    def pair(self, left: Value, right: Value) -> tuple[Value, Value, Type | None]:
        type_ = common_type(left.type, right.type)
        return coerce(left, type_), coerce(right, type_), type_

    def alike(self, values: list[Value]) -> tuple[list[Value], Type | None]:
        type_ = None
        for value in values:
            type_ = common_type(type_, value.type)
        return [coerce(value, type_) for value in values], type_


def invalid_arguments(name: str, *values: Value) -> errors.SnowflakeError:
    types = ", ".join(type_name(value.type) for value in values)
    return errors.compilation("001044", "42P13", f"Invalid argument types for function '{name}': ({types})")


def type_from(node: exp.DataType) -> Type:
    """sqlglot's DataType as ours. Which names the text may use was checked on its tokens."""
    parameters = []
    for parameter in arguments(node, "this", "expressions", "nested", "nullable")["expressions"] or ():
        if not isinstance(parameter, exp.DataTypeParam) or not re.fullmatch(r"\d{1,10}", parameter.this.name):
            raise errors.unsupported(node.sql(dialect="snowflake"))
        parameters.append(int(parameter.this.name))
    name = _TYPE_NAMES.get(node.this)
    try:
        if name is None:
            raise TypeError_(f"Unsupported data type '{node.sql(dialect='snowflake')}'.")
        return Type.make(name, tuple(parameters))
    except TypeError_ as error:
        raise errors.compilation("002040", "42601", str(error)) from None


_D = exp.DataType.Type
_TYPE_NAMES = {
    _D.DECIMAL: "NUMBER",
    _D.INT: "INT",
    _D.BIGINT: "INT",
    _D.SMALLINT: "INT",
    _D.TINYINT: "INT",
    _D.FLOAT: "FLOAT",
    _D.DOUBLE: "FLOAT",
    _D.VARCHAR: "VARCHAR",
    _D.TEXT: "VARCHAR",
    _D.NVARCHAR: "VARCHAR",
    _D.CHAR: "CHAR",
    _D.NCHAR: "CHAR",
    _D.BINARY: "BINARY",
    _D.VARBINARY: "BINARY",
    _D.BOOLEAN: "BOOLEAN",
    _D.DATE: "DATE",
    _D.TIME: "TIME",
    _D.DATETIME: "TIMESTAMP_NTZ",
    _D.TIMESTAMP: "TIMESTAMP_NTZ",
    _D.TIMESTAMPNTZ: "TIMESTAMP_NTZ",
    _D.TIMESTAMPTZ: "TIMESTAMP_TZ",
    _D.TIMESTAMPLTZ: "TIMESTAMP_LTZ",
    _D.VARIANT: "VARIANT",
    _D.OBJECT: "OBJECT",
    _D.ARRAY: "ARRAY",
}


def _column(self: Expressions, node: exp.Column, scope: Scope) -> Value:
    given = arguments(node, "this", "table", "db", "catalog")
    path = tuple(folded(given[key]) for key in ("catalog", "db") if given.get(key))
    table = folded(given["table"]) if given.get("table") else None
    name = folded(given["this"])
    found = scope.find(name, table, path)
    if found is None:
        raise errors.invalid_identifier(".".join([*path, *([table] if table else []), name]))
    return found


def _literal(self, node: exp.Literal, scope) -> Value:
    text = node.this
    if node.args.get("is_string"):
        return Value(f"{quote_literal(text)}::text", Type("VARCHAR", length=max(1, len(text))), constant=text)
    if _FLOAT_TEXT.fullmatch(text):
        return Value(f"{text}::double precision", FLOAT, constant=float(text))
    if not _NUMBER_TEXT.fullmatch(text):
        raise errors.syntax(text)
    whole, _, fraction = text.partition(".")
    digits = len(whole.lstrip("0")) + len(fraction)
    if digits > 38 or len(fraction) > 37:
        raise errors.unsupported(f"a number of more than 38 digits: {text[:60]}")
    return Value(f"{text}::numeric", Type("NUMBER", precision=max(1, digits), scale=len(fraction)), constant=text)


def _raw_string(self, node: exp.RawString, scope) -> Value:
    return Value(f"{quote_literal(node.this)}::text", Type("VARCHAR", length=max(1, len(node.this))), constant=node.this)


def _hex_string(self, node: exp.HexString, scope) -> Value:
    if not re.fullmatch(r"([0-9A-Fa-f]{2})*", node.this):
        raise errors.syntax(node.this)
    return Value(f"'\\x{node.this}'::bytea", BINARY)


def _placeholder(self: Expressions, node: exp.Placeholder, scope) -> Value:
    given = arguments(node, "this")
    if given.get("this"):
        name = given["this"].upper()
        if name not in self.variables:
            raise errors.compilation("002211", "42601", f"Bind variable :{name} not set.")
        return self.variables[name]
    if self.bindings_used >= len(self.bindings):
        raise errors.compilation("002049", "42601", "Bind variable ? not set.")
    self.bindings_used += 1
    return self.bindings[self.bindings_used - 1]


def _arithmetic(operator: str):
    def handler(self: Expressions, node, scope) -> Value:
        arguments(node, "this", "expression", "typed", "safe")
        left, right = self.value(node.this, scope), self.value(node.expression, scope)
        kinds = {value.type.kind for value in (left, right) if value.type}
        if not kinds <= {"NUMBER", "FLOAT", "VARCHAR", "VARIANT"}:
            raise invalid_arguments(operator, left, right)
        if "FLOAT" in kinds:
            return combine(f"({cast(left, FLOAT).sql} {operator} {cast(right, FLOAT).sql})", FLOAT, left, right)
        left, right = (value if value.type and value.type.kind == "NUMBER" else cast(value, NUMBER) for value in (left, right))
        scale, sql = _number_result(operator, left, right)
        return combine(sql, Type("NUMBER", precision=38, scale=scale), left, right)

    return handler


def _number_result(operator: str, left: Value, right: Value) -> tuple[int, str]:
    """Scale and text of an operation on NUMBERs, by Snowflake's rules of arithmetic."""
    s1, s2 = left.type.scale, right.type.scale
    plain = f"({left.sql} {operator} {right.sql})"
    if operator == "*":
        scale = min(s1 + s2, max(s1, s2, 12))
        return scale, plain if scale == s1 + s2 else f"round{plain[:-1]}, {scale})"
    if operator == "/":
        scale = max(s1, min(s1 + 6, 12))
        return scale, f"round({left.sql}::numeric(70,{scale + 8}) / {right.sql}, {scale})"
    return max(s1, s2), plain


def _negative(self: Expressions, node: exp.Neg, scope) -> Value:
    arguments(node, "this")
    value = self.typed(node.this, scope, FLOAT if self.value(node.this, scope).type == FLOAT else NUMBER)
    return Value(f"(- {value.sql})", value.type, f"-{value.constant}" if value.constant else None, value.is_aggregate, value.is_window)


def _comparison(operator: str):
    def handler(self: Expressions, node, scope) -> Value:
        arguments(node, "this", "expression")
        left, right, type_ = self.pair(self.value(node.this, scope), self.value(node.expression, scope))
        if type_ is not None and type_.kind in ("OBJECT", "ARRAY") and operator not in ("=", "<>"):
            raise invalid_arguments(operator, left, right)
        return combine(f"({left.sql} {operator} {right.sql})", BOOLEAN, left, right)

    return handler


def _logical(operator: str):
    def handler(self: Expressions, node, scope) -> Value:
        arguments(node, "this", "expression")
        left, right = self.condition(node.this, scope), self.condition(node.expression, scope)
        return combine(f"({left.sql} {operator} {right.sql})", BOOLEAN, left, right)

    return handler


def _not(self: Expressions, node: exp.Not, scope) -> Value:
    value = self.condition(node.this, scope)
    return value.with_(f"(NOT {value.sql})", BOOLEAN)


def _is(self: Expressions, node: exp.Is, scope) -> Value:
    if not isinstance(node.expression, exp.Null):
        raise errors.unsupported(node.sql(dialect="snowflake"))
    value = self.value(node.this, scope)
    return value.with_(f"({value.sql} IS NULL)", BOOLEAN)


def _between(self: Expressions, node: exp.Between, scope) -> Value:
    arguments(node, "this", "low", "high")
    value = self.value(node.this, scope)
    low, high = self.value(node.args["low"], scope), self.value(node.args["high"], scope)
    first, low, _ = self.pair(value, low)
    second, high, _ = self.pair(value, high)
    return combine(f"({first.sql} >= {low.sql} AND {second.sql} <= {high.sql})", BOOLEAN, value, low, high)


def _in(self: Expressions, node: exp.In, scope) -> Value:
    given = arguments(node, "this", "expressions", "query")
    value = self.value(node.this, scope)
    if given.get("query"):
        query = self.query(given["query"].this, scope)
        if len(query.columns) != 1:
            raise errors.compilation("001044", "42P13", "A subquery of IN answers one column")
        inner = Value('"~q"."~1"', query.columns[0][1])
        left, right, _ = self.pair(value, inner)
        return combine(f'({left.sql} IN (SELECT {right.sql} FROM ({query.sql}) AS "~q" ("~1")))', BOOLEAN, value)
    values, _ = self.alike([value, *(self.value(item, scope) for item in given["expressions"])])
    return combine(f"({values[0].sql} IN ({', '.join(item.sql for item in values[1:])}))", BOOLEAN, *values)


def _case(self: Expressions, node: exp.Case, scope) -> Value:
    given = arguments(node, "this", "ifs", "default")
    subject = self.value(given["this"], scope) if given.get("this") else None
    conditions, results = [], []
    for branch in given["ifs"]:
        if subject is None:
            conditions.append(self.condition(branch.this, scope))
        else:
            left, right, _ = self.pair(subject, self.value(branch.this, scope))
            conditions.append(combine(f"({left.sql} = {right.sql})", BOOLEAN, left, right))
        results.append(self.value(branch.args["true"], scope))
    results.append(self.value(given["default"], scope) if given.get("default") else Value("NULL::text", None))
    return conditional(self, conditions, results)


def conditional(self: Expressions, conditions: list[Value], results: list[Value]) -> Value:
    parts = results + conditions
    results, type_ = self.alike(results)
    branches = " ".join(f"WHEN {condition.sql} THEN {result.sql}" for condition, result in zip(conditions, results))
    return combine(f"(CASE {branches} ELSE {results[-1].sql} END)", type_, *parts)


def _cast(self: Expressions, node, scope) -> Value:
    given = arguments(node, "this", "to", "safe", "requires_string")
    value, target = self.value(node.this, scope), type_from(given["to"])
    if isinstance(node, exp.TryCast):
        if value.type is not None and value.type.kind != "VARCHAR":
            raise invalid_arguments("TRY_CAST", value)
        converted = cast(Value("$1::text", TEXT), target)
        return value.with_(f"sf.attempt({quote_literal(converted.sql)}, {value.sql})::{target.storage}", target)
    return cast(value, target)


def _bracket(self: Expressions, node: exp.Bracket, scope) -> Value:
    given = arguments(node, "this", "expressions", "offset", "safe")
    if len(given["expressions"]) != 1:
        raise errors.unsupported(node.sql(dialect="snowflake"))
    return element(self.value(node.this, scope), self.value(given["expressions"][0], scope))


def element(container: Value, key: Value) -> Value:
    """container[key]: a VARIANT; SQL NULL where there is no such element."""
    if container.type is None or container.type.kind not in ("VARIANT", "ARRAY", "OBJECT"):
        raise invalid_arguments("GET", container, key)
    if key.type is not None and key.type.kind == "VARCHAR":
        return combine(f"sf.member({container.sql}, {key.sql})", VARIANT, container, key)
    if key.type is None or key.type.kind != "NUMBER":
        raise invalid_arguments("GET", container, key)
    return combine(f"sf.element({container.sql}, {key.sql})", VARIANT, container, key)


def _json_extract(self: Expressions, node: exp.JSONExtract, scope) -> Value:
    arguments(node, "this", "expression", "variant_extract", "requires_json", "expressions")
    value = self.value(node.this, scope)
    if value.type is None or value.type.kind == "ARRAY" or not isinstance(node.expression, exp.JSONPath):
        raise invalid_arguments("GET_PATH", value)
    for part in node.expression.expressions:
        if isinstance(part, exp.JSONPathKey) and isinstance(part.this, str):
            value = element(value, Value(f"{quote_literal(part.this)}::text", TEXT))
        elif isinstance(part, exp.JSONPathSubscript) and isinstance(part.this, (int, str)):
            key = Value(f"{part.this}::numeric", NUMBER) if isinstance(part.this, int) else Value(f"{quote_literal(part.this)}::text", TEXT)
            value = element(value, key)
        elif not isinstance(part, exp.JSONPathRoot):
            raise errors.unsupported(node.sql(dialect="snowflake"))
    return value


def _subquery(self: Expressions, node: exp.Subquery, scope) -> Value:
    arguments(node, "this")
    query = self.query(node.this, scope)
    if len(query.columns) != 1:
        raise errors.compilation("001044", "42P13", "A scalar subquery answers one column")
    return Value(f"({query.sql})", query.columns[0][1])


def _exists(self: Expressions, node: exp.Exists, scope) -> Value:
    arguments(node, "this")
    return Value(f"EXISTS ({self.query(node.this, scope).sql})", BOOLEAN)


def _concat_operator(self: Expressions, node: exp.DPipe, scope) -> Value:
    arguments(node, "this", "expression", "safe")
    left, right = self.typed(node.this, scope, TEXT), self.typed(node.expression, scope, TEXT)
    return combine(f"({left.sql} || {right.sql})", TEXT, left, right)


def _like(operator: str):
    def handler(self: Expressions, node, scope) -> Value:
        arguments(node, "this", "expression")
        left, right = self.typed(node.this, scope, TEXT), self.typed(node.expression, scope, TEXT)
        # Snowflake's LIKE has no escape character unless one is named.
        return combine(f"({left.sql} {operator} {right.sql} ESCAPE '')", BOOLEAN, left, right)

    return handler


def _escape(self: Expressions, node: exp.Escape, scope) -> Value:
    if not isinstance(node.this, (exp.Like, exp.ILike)):
        raise errors.unsupported(node.sql(dialect="snowflake"))
    operator = "LIKE" if isinstance(node.this, exp.Like) else "ILIKE"
    left, right = self.typed(node.this.this, scope, TEXT), self.typed(node.this.expression, scope, TEXT)
    mark = self.value(node.expression, scope)
    if not isinstance(mark.constant, str) or len(mark.constant) != 1:
        raise errors.unsupported(node.sql(dialect="snowflake"))
    return combine(f"({left.sql} {operator} {right.sql} ESCAPE {quote_literal(mark.constant)})", BOOLEAN, left, right)


def _distinctness(operator: str):
    def handler(self: Expressions, node, scope) -> Value:
        arguments(node, "this", "expression")
        left, right, _ = self.pair(self.value(node.this, scope), self.value(node.expression, scope))
        return combine(f"({left.sql} {operator} {right.sql})", BOOLEAN, left, right)

    return handler


_HANDLERS = {
    exp.Column: _column,
    exp.Literal: _literal,
    exp.RawString: _raw_string,
    exp.HexString: _hex_string,
    exp.Placeholder: _placeholder,
    exp.Boolean: lambda self, node, scope: Value("true" if node.this else "false", BOOLEAN, constant=bool(node.this)),
    exp.Null: lambda self, node, scope: Value("NULL::text", None),
    exp.Paren: lambda self, node, scope: self.value(node.this, scope),
    exp.Neg: _negative,
    exp.Not: _not,
    exp.And: _logical("AND"),
    exp.Or: _logical("OR"),
    exp.Is: _is,
    exp.Between: _between,
    exp.In: _in,
    exp.Case: _case,
    exp.Cast: _cast,
    exp.TryCast: _cast,
    exp.Window: lambda self, node, scope: self.window(node, scope),
    exp.Bracket: _bracket,
    exp.JSONExtract: _json_extract,
    exp.Subquery: _subquery,
    exp.Exists: _exists,
    exp.DPipe: _concat_operator,
    exp.Like: _like("LIKE"),
    exp.ILike: _like("ILIKE"),
    exp.Escape: _escape,
    exp.NullSafeEQ: _distinctness("IS NOT DISTINCT FROM"),
    exp.NullSafeNEQ: _distinctness("IS DISTINCT FROM"),
    exp.EqualNull: _distinctness("IS NOT DISTINCT FROM"),
    **{node: _comparison(sign) for node, sign in ((exp.EQ, "="), (exp.NEQ, "<>"), (exp.LT, "<"), (exp.LTE, "<="), (exp.GT, ">"), (exp.GTE, ">="))},
    **{node: _arithmetic(sign) for node, sign in ((exp.Add, "+"), (exp.Sub, "-"), (exp.Mul, "*"), (exp.Div, "/"), (exp.Mod, "%"))},
}
