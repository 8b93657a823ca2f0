"""The functions that may be called: each sqlglot node with what it becomes. What is not here is an unknown function."""

from __future__ import annotations

import re

from sqlglot import exp

from . import errors
from .conversions import (
    ARRAY,
    BINARY,
    BOOLEAN,
    DATE,
    FLOAT,
    NUMBER,
    OBJECT,
    TEXT,
    TIMESTAMP_LTZ,
    TIMESTAMP_NTZ,
    TIMESTAMP_TZ,
    VARIANT,
    Value,
    cast,
    combine,
    quote_literal,
)
from .expressions import Expressions, arguments, conditional, element, invalid_arguments
from .sftypes import Type

# The names that may stand before a parenthesis as a function's. sqlglot also reads other databases' names for the same
# nodes, so names are checked on the tokens (dialect.py), before parsing.
NAMES = frozenset(
    """
    ABS ANY_VALUE ARRAY_AGG ARRAY_CONSTRUCT ARRAY_CONTAINS ARRAY_SIZE AVG BASE64_DECODE_BINARY BASE64_ENCODE CAST CEIL COALESCE CONCAT CONTAINS
    COUNT COUNT_IF CURRENT_ACCOUNT CURRENT_DATABASE CURRENT_DATE CURRENT_ROLE CURRENT_SCHEMA CURRENT_TIMESTAMP CURRENT_USER CURRENT_VERSION
    CURRENT_WAREHOUSE DENSE_RANK ENDSWITH EQUAL_NULL ERROR_TABLE FIRST_VALUE FLOOR GET GREATEST HASH HEX_DECODE_BINARY HEX_ENCODE IFF IFNULL
    IS_NULL_VALUE IS_ROLE_IN_SESSION LAG LAST_VALUE LEAD LEAST LEFT LENGTH LEN LISTAGG LOWER LTRIM MAX MAX_BY MD5 MD5_NUMBER_LOWER64 MD5_NUMBER_UPPER64 MIN MIN_BY MOD NULLIF NVL NVL2 OBJECT_CONSTRUCT
    OCTET_LENGTH PARSE_JSON RANK REPLACE RIGHT ROUND ROW_NUMBER RTRIM SHA2 STARTSWITH SUBSTR SUBSTRING SUM SYSDATE TO_ARRAY TO_BINARY TO_BOOLEAN
    TO_CHAR TO_DATE TO_DOUBLE TO_JSON TO_NUMBER TO_TIMESTAMP TO_TIMESTAMP_LTZ TO_TIMESTAMP_NTZ TO_TIMESTAMP_TZ TO_VARCHAR TO_VARIANT TRIM
    TRY_BASE64_DECODE_BINARY TRY_CAST TRY_PARSE_JSON TYPEOF UPPER UUID_STRING ZEROIFNULL
    """.split()
)


def _plain(template: str, result: Type, *kinds: Type):
    """A function of fixed arguments. The template has {0}, {1}, … for them; each is converted to its kind."""

    def handler(self: Expressions, node, scope) -> Value:
        values = [self.typed(item, scope, kind) for item, kind in zip(_operands(node), kinds)]
        if len(values) != len(kinds) or len(_operands(node)) != len(kinds):
            raise errors.compilation("000938", "22023", f"not enough or too many arguments for function [{node.sql(dialect='snowflake')[:100]}]")
        return combine(template.format(*(value.sql for value in values)), result, *values)

    return handler


def _operands(node: exp.Expression) -> list[exp.Expression]:
    operands = []
    for value in node.args.values():
        operands += [value] if isinstance(value, exp.Expression) else [item for item in value if isinstance(item, exp.Expression)] if isinstance(value, list) else []
    return operands


def _coalesce(self: Expressions, node: exp.Coalesce, scope) -> Value:
    arguments(node, "this", "expressions")
    parts = [self.value(item, scope) for item in _operands(node)]
    values, type_ = self.alike(parts)
    return combine(f"COALESCE({', '.join(value.sql for value in values)})", type_, *parts)


def _nullif(self: Expressions, node: exp.Nullif, scope) -> Value:
    arguments(node, "this", "expression")
    first = self.value(node.this, scope)
    left, right, _ = self.pair(first, self.value(node.expression, scope))
    return combine(f"(CASE WHEN {left.sql} = {right.sql} THEN NULL ELSE {first.sql} END)", first.type, first, right)


def _if(self: Expressions, node: exp.If, scope) -> Value:
    given = arguments(node, "this", "true", "false")
    if given.get("false") is None:
        raise errors.compilation("000938", "22023", "not enough arguments for function [IFF], expected 3")
    return conditional(self, [self.condition(node.this, scope)], [self.value(given["true"], scope), self.value(given["false"], scope)])


def _nvl2(self: Expressions, node: exp.Nvl2, scope) -> Value:
    given = arguments(node, "this", "true", "false")
    first = self.value(node.this, scope)
    return conditional(self, [first.with_(f"({first.sql} IS NOT NULL)", BOOLEAN)], [self.value(given["true"], scope), self.value(given["false"], scope)])


def _extreme(name: str):
    def handler(self: Expressions, node, scope) -> Value:
        parts = [self.value(item, scope) for item in _operands(node)]
        values, type_ = self.alike(parts)
        # PostgreSQL's skip NULLs, Snowflake's answer NULL.
        nulls = " OR ".join(f"{value.sql} IS NULL" for value in values)
        return combine(f"(CASE WHEN {nulls} THEN NULL ELSE {name}({', '.join(value.sql for value in values)}) END)", type_, *parts)

    return handler


def aggregate_call(self: Expressions, node: exp.Expression, scope) -> tuple[str, str, Type | None, list[Value]]:
    """An aggregate as (the call, what goes around it, its type, its arguments): a window's OVER goes between the two."""
    if isinstance(node, exp.Count):
        return _count(self, node, scope)
    if isinstance(node, exp.CountIf):
        arguments(node, "this", "zero_on_all_null")
        value = self.condition(node.this, scope)
        return f"count(*) FILTER (WHERE {value.sql})", "({})::numeric", NUMBER, [value]
    distinct = isinstance(node.this, exp.Distinct)
    operand = node.this.expressions[0] if distinct else node.this
    if distinct and len(node.this.expressions) != 1:
        raise errors.unsupported(node.sql(dialect="snowflake"))
    arguments(node, "this")
    value = self.value(operand, scope)
    kind = value.type.kind if value.type else "NUMBER"
    prefix = "DISTINCT " if distinct else ""
    if isinstance(node, (exp.Min, exp.Max, exp.AnyValue)):
        if kind in ("OBJECT", "ARRAY", "VARIANT", "BINARY", "BOOLEAN") and not isinstance(node, exp.AnyValue):
            raise errors.unsupported(f"{node.key.upper()} of {kind}")
        if isinstance(node, exp.AnyValue):
            return f"(array_agg({value.sql}))[1]", "{}", value.type, [value]
        return f"{node.key}({value.sql})", "{}", value.type, [value]
    if kind not in ("NUMBER", "FLOAT"):
        value = self.typed(operand, scope, NUMBER)
        kind = "NUMBER"
    if kind == "FLOAT":
        return f"{node.key}({prefix}{value.sql})", "{}", FLOAT, [value]
    scale = value.type.scale if value.type else 0
    if isinstance(node, exp.Sum):
        return f"sum({prefix}{value.sql})", "{}", Type("NUMBER", precision=38, scale=scale), [value]
    scale = max(scale, min(scale + 6, 12))
    return f"avg({prefix}{value.sql})", "round({}, %d)" % scale, Type("NUMBER", precision=38, scale=scale), [value]


def _count(self: Expressions, node: exp.Count, scope) -> tuple[str, str, Type, list[Value]]:
    given = arguments(node, "this", "expressions", "big_int")
    if isinstance(node.this, exp.Star):
        arguments(node.this)
        return "count(*)", "({})::numeric", NUMBER, []
    distinct = isinstance(node.this, exp.Distinct)
    operands = node.this.expressions if distinct else [node.this, *(given.get("expressions") or ())]
    if len(operands) != 1:
        raise errors.unsupported(node.sql(dialect="snowflake"))
    value = self.value(operands[0], scope)
    return f"count({'DISTINCT ' if distinct else ''}{value.sql})", "({})::numeric", NUMBER, [value]


def _aggregate(self: Expressions, node, scope) -> Value:
    call, around, type_, parts = aggregate_call(self, node, scope)
    if any(part.is_aggregate for part in parts):
        raise errors.compilation("002064", "42601", "Aggregate functions cannot be nested")
    return Value(around.format(call), type_, is_aggregate=True, is_window=any(part.is_window for part in parts))


def _by(direction: str):
    """MAX_BY and MIN_BY: rows whose ordering value is NULL do not take part; the answer itself may be NULL."""

    def handler(self: Expressions, node, scope) -> Value:
        arguments(node, "this", "expression")
        value, place = self.value(node.this, scope), self.value(node.expression, scope)
        return Value(f"(array_agg({value.sql} ORDER BY {place.sql} {direction}) FILTER (WHERE {place.sql} IS NOT NULL))[1]", value.type, is_aggregate=True)

    return handler


def _array_agg(self: Expressions, node: exp.ArrayAgg, scope, order: str = "") -> Value:
    arguments(node, "this", "nulls_excluded")
    value = self.value(node.this, scope)
    item = cast(value, VARIANT) if value.type and value.type.kind not in ("VARIANT", "ARRAY", "OBJECT") else value
    return Value(f"COALESCE(jsonb_agg({item.sql}{order}) FILTER (WHERE {value.sql} IS NOT NULL), '[]')", ARRAY, is_aggregate=True)


def _listagg(self: Expressions, node: exp.GroupConcat, scope) -> Value:
    given = arguments(node, "this", "separator")
    operand, order = node.this, ""
    if isinstance(operand, exp.Order):
        order = " " + self.order(operand.expressions, scope)
        operand = operand.this
    value = self.typed(operand, scope, TEXT)
    separator = self.typed(given["separator"], scope, TEXT).sql if given.get("separator") else "''"
    return Value(f"COALESCE(string_agg({value.sql}, {separator}{order}), '')", TEXT, is_aggregate=True)


def _within_group(self: Expressions, node: exp.WithinGroup, scope) -> Value:
    inner = node.this.this if isinstance(node.this, exp.Filter) else node.this
    if not isinstance(inner, exp.ArrayAgg) or not isinstance(node.expression, exp.Order):
        raise errors.unsupported(node.sql(dialect="snowflake"))
    return _array_agg(self, inner, scope, " " + self.order(node.expression.expressions, scope))


def _array_contains(self: Expressions, node: exp.ArrayContains, scope) -> Value:
    arguments(node, "this", "expression", "ensure_variant", "check_null")
    elements, value = self.value(node.this, scope), self.value(node.expression, scope)
    if value.type is None or value.type.kind != "VARIANT" or elements.type is None or elements.type.kind not in ("ARRAY", "VARIANT"):
        raise invalid_arguments("ARRAY_CONTAINS", value, elements)
    return combine(f"sf.array_contains({value.sql}, {elements.sql})", BOOLEAN, value, elements)


def _array(self: Expressions, node: exp.Array, scope) -> Value:
    arguments(node, "expressions", "bracket_notation", "struct_name_inheritance")
    values = [self.value(item, scope) for item in node.expressions]
    # SQL NULL is undefined inside an ARRAY; JSON null is as near as it gets.
    items = [f"COALESCE({_variant(value).sql}, 'null'::jsonb)" for value in values]
    return combine(f"jsonb_build_array({', '.join(items)})", ARRAY, *values)


def _object(self: Expressions, node: exp.Struct, scope) -> Value:
    arguments(node, "expressions")
    parts, values = [], []
    for item in node.expressions:
        if not isinstance(item, exp.PropertyEQ):
            raise errors.unsupported(node.sql(dialect="snowflake"))
        key, value = self.typed(item.this, scope, TEXT), self.value(item.expression, scope)
        parts.append(f"CASE WHEN {value.sql} IS NULL THEN '{{}}'::jsonb ELSE jsonb_build_object({key.sql}, {_variant(value).sql}) END")
        values += [key, value]
    return combine(f"({' || '.join(parts) or quote_literal('{}') + '::jsonb'})", OBJECT, *values)


def _variant(value: Value) -> Value:
    if value.type is not None and value.type.kind in ("VARIANT", "ARRAY", "OBJECT"):
        return value
    return cast(value, VARIANT)


def _conversion(target: Type, *allowed: str):
    """TO_X(value): like a cast to X, with no format."""

    def handler(self: Expressions, node, scope) -> Value:
        given = arguments(node, "this", "precision", "scale", "safe", "nested", *allowed)
        if given.get("safe"):
            raise errors.unsupported(node.sql(dialect="snowflake"))
        wanted = target
        if isinstance(node, exp.ToNumber):
            wanted = Type.make("NUMBER", tuple(int(given[key].name) for key in ("precision", "scale") if given.get(key)))
        return cast(self.value(node.this, scope), wanted)

    return handler


HASHED = Type("NUMBER", precision=19, scale=0)
_NAMED_CONVERSIONS = {
    "TO_TIMESTAMP": TIMESTAMP_NTZ,
    "TO_TIMESTAMP_NTZ": TIMESTAMP_NTZ,
    "TO_TIMESTAMP_TZ": TIMESTAMP_TZ,
    "TO_TIMESTAMP_LTZ": TIMESTAMP_LTZ,
}


def _hash(self: Expressions, node: exp.Anonymous, scope) -> Value:
    """A number of 64 bits that is never NULL; equal values have the same one. HASH(*) is not here."""
    values = [self.value(item, scope) for item in node.expressions]
    if not values or any(isinstance(item, exp.Star) for item in node.expressions):
        raise errors.unsupported(node.sql(dialect="snowflake")[:100])
    return combine(f"hash_record_extended(ROW({', '.join(value.sql for value in values)}), 0)::numeric", HASHED, *values)


def _anonymous(self: Expressions, node: exp.Anonymous, scope) -> Value:
    name = str(node.this).upper()
    if name == "HASH":
        return _hash(self, node, scope)
    if name == "IS_ROLE_IN_SESSION" and len(node.expressions) == 1:
        role = self.value(node.expressions[0], scope).constant
        if not isinstance(role, str):
            raise errors.unsupported("IS_ROLE_IN_SESSION of what is no literal")
        return Value("true" if role in self.session_facts.get("roles", ()) else "false", BOOLEAN)
    if name not in _NAMED_CONVERSIONS or len(node.expressions) != 1:
        raise errors.compilation("002140", "42601", f"Unknown function {name}")
    return cast(self.value(node.expressions[0], scope), _NAMED_CONVERSIONS[name])


# Snowflake's date and time formats (sql-reference/date-time-input-output), the elements that are asked for here, with
# PostgreSQL's: https://www.postgresql.org/docs/current/functions-formatting.html. A literal may be one of the separators.
_FORMAT_ELEMENTS = {"YYYY": "YYYY", "MM": "MM", "DD": "DD", "HH24": "HH24", "MI": "MI", "SS": "SS", "FF6": "US", "TZHTZM": '"+0000"'}
_FORMAT_PART = re.compile(r"TZHTZM|YYYY|HH24|FF6|MM|DD|MI|SS|[-:. /]")


def _to_char(self: Expressions, node: exp.ToChar, scope) -> Value:
    """TO_CHAR(value), or of a moment with a format. An instant is kept as UTC here, so its offset is +0000."""
    given = arguments(node, "this", "format", "is_numeric")
    if given.get("format") is None:
        return cast(self.value(node.this, scope), TEXT)
    value, form = self.value(node.this, scope), self.value(given["format"], scope).constant
    allowed = {"DATE": {"YYYY", "MM", "DD"}, "TIME": {"HH24", "MI", "SS", "FF6"}}
    kind = value.type.kind if value.type is not None else None
    if kind not in ("DATE", "TIME", "TIMESTAMP_NTZ", "TIMESTAMP_TZ") or not isinstance(form, str):
        raise errors.unsupported(node.sql(dialect="snowflake"))
    parts = _FORMAT_PART.findall(form.upper())
    elements = {part for part in parts if len(part) > 1}
    zoned = {"TZHTZM"} if kind == "TIMESTAMP_TZ" else set()
    if "".join(parts) != form.upper() or elements - allowed.get(kind, {*allowed["DATE"], *allowed["TIME"], *zoned}):
        raise errors.unsupported(node.sql(dialect="snowflake"))
    pattern = "".join(_FORMAT_ELEMENTS.get(part, part) for part in parts)
    moment = {"TIME": f"('2000-01-01'::date + {value.sql})", "TIMESTAMP_TZ": f"({value.sql} AT TIME ZONE 'UTC')"}.get(kind, value.sql)
    return value.with_(f"to_char({moment}, {quote_literal(pattern)})", TEXT)


def _to_binary(self: Expressions, node: exp.ToBinary, scope) -> Value:
    given = arguments(node, "this", "format")
    form = self.value(given["format"], scope).constant.upper() if given.get("format") else "HEX"
    value = self.typed(node.this, scope, TEXT)
    templates = {"HEX": "sf.text_to_binary({})", "BASE64": "sf.base64_to_binary({})", "UTF-8": "convert_to({}, 'UTF8')", "UTF8": "convert_to({}, 'UTF8')"}
    if form not in templates:
        raise errors.unsupported(f"TO_BINARY with format {form}")
    return value.with_(templates[form].format(value.sql), BINARY)


def _length(self: Expressions, node: exp.Length, scope) -> Value:
    arguments(node, "this", "binary")
    value = self.value(node.this, scope)
    if value.type is not None and value.type.kind == "BINARY":
        return value.with_(f"octet_length({value.sql})::numeric", NUMBER)
    value = self.typed(node.this, scope, TEXT)
    return value.with_(f"char_length({value.sql})::numeric", NUMBER)


def _byte_length(self: Expressions, node: exp.ByteLength, scope) -> Value:
    value = self.value(node.this, scope)
    value = value if value.type is not None and value.type.kind == "BINARY" else self.typed(node.this, scope, TEXT)
    return value.with_(f"octet_length({value.sql})::numeric", NUMBER)


def _substring(self: Expressions, node: exp.Substring, scope) -> Value:
    given = arguments(node, "this", "start", "length", "zero_start")
    text, start = self.typed(node.this, scope, TEXT), self.typed(given["start"], scope, NUMBER)
    length = self.typed(given["length"], scope, NUMBER) if given.get("length") else None
    # A start below one counts from the end in Snowflake, zero is one; PostgreSQL would cut the length instead.
    place = f"(CASE WHEN {start.sql} < 0 THEN char_length({text.sql}) + {start.sql} + 1 ELSE greatest({start.sql}, 1) END)::integer"
    count = f", greatest({length.sql}, 0)::integer" if length else ""
    return combine(f"substr({text.sql}, {place}{count})", TEXT, text, start)


def _end(name: str):
    def handler(self: Expressions, node, scope) -> Value:
        arguments(node, "this", "expression", "negative_length_returns_empty")
        text, count = self.typed(node.this, scope, TEXT), self.typed(node.expression, scope, NUMBER)
        return combine(f"{name}({text.sql}, greatest({count.sql}, 0)::integer)", TEXT, text, count)

    return handler


def _concat(self: Expressions, node: exp.Concat, scope) -> Value:
    arguments(node, "expressions", "safe", "coalesce")
    values = [self.typed(item, scope, TEXT) for item in node.expressions]
    return combine("(" + " || ".join(value.sql for value in values) + ")", TEXT, *values)


def _trim(self: Expressions, node: exp.Trim, scope) -> Value:
    given = arguments(node, "this", "position", "expression")
    name = {"LEADING": "ltrim", "TRAILING": "rtrim"}.get(str(given.get("position") or "").upper(), "btrim")
    text = self.typed(node.this, scope, TEXT)
    marks = self.typed(given["expression"], scope, TEXT).sql if given.get("expression") else "' '"
    return text.with_(f"{name}({text.sql}, {marks})", TEXT)


def _rounding(name: str):
    def handler(self: Expressions, node, scope) -> Value:
        given = arguments(node, "this", "decimals", "casts_non_integer_decimals")
        value = self.value(node.this, scope)
        value = value if value.type is not None and value.type.kind in ("NUMBER", "FLOAT") else self.typed(node.this, scope, NUMBER)
        places = self.value(given["decimals"], scope).constant if given.get("decimals") else "0"
        if value.type.kind == "FLOAT":
            if given.get("decimals"):
                raise errors.unsupported(node.sql(dialect="snowflake"))
            return value.with_(f"{name}({value.sql})", FLOAT)
        scale = 0 if name != "round" else min(value.type.scale, max(0, int(str(places))))
        extra = f", {int(str(places))}" if name == "round" else ""
        return value.with_(f"{name}({value.sql}{extra})", Type("NUMBER", precision=38, scale=scale))

    return handler


def _absolute(self: Expressions, node: exp.Abs, scope) -> Value:
    value = self.value(node.this, scope)
    value = value if value.type is not None and value.type.kind in ("NUMBER", "FLOAT") else self.typed(node.this, scope, NUMBER)
    return value.with_(f"abs({value.sql})", value.type)


def _get(self: Expressions, node: exp.GetExtract, scope) -> Value:
    return element(self.value(node.this, scope), self.value(node.expression, scope))


def _parse_json(self: Expressions, node: exp.ParseJSON, scope) -> Value:
    given = arguments(node, "this", "safe")
    value = self.typed(node.this, scope, TEXT)
    if given.get("safe"):
        return value.with_(f"sf.attempt('sf.parse_json($1)', {value.sql})::jsonb", VARIANT)
    return value.with_(f"sf.parse_json({value.sql})", VARIANT)


def _semi_structured(template: str, result: Type):
    def handler(self: Expressions, node, scope) -> Value:
        arguments(node, "this", "options", "is_json", "to_json")
        value = self.value(node.this, scope)
        if value.type is None or value.type.kind not in ("VARIANT", "ARRAY", "OBJECT"):
            raise invalid_arguments(node.sql(dialect="snowflake")[:60], value)
        return value.with_(template.format(value.sql), result)

    return handler


def _now(self: Expressions, node: exp.CurrentTimestamp, scope) -> Value:
    given = arguments(node, "this", "sysdate")
    if given.get("this"):
        raise errors.unsupported(node.sql(dialect="snowflake"))
    if given.get("sysdate"):
        return Value("(statement_timestamp() AT TIME ZONE 'UTC')", TIMESTAMP_NTZ)
    return Value("statement_timestamp()", TIMESTAMP_LTZ)


def _fact(name: str):
    def handler(self: Expressions, node, scope) -> Value:
        arguments(node)
        value = self.session_facts.get(name)
        return Value("NULL::text" if value is None else f"{quote_literal(value)}::text", TEXT)

    return handler


def _window_only(self: Expressions, node, scope) -> Value:
    raise errors.compilation("002303", "42601", f"Window function [{node.sql(dialect='snowflake')}] requires an OVER clause.")


FUNCTIONS = {
    exp.Coalesce: _coalesce,
    exp.Nullif: _nullif,
    exp.If: _if,
    exp.Nvl2: _nvl2,
    exp.Greatest: _extreme("greatest"),
    exp.Least: _extreme("least"),
    **{node: _aggregate for node in (exp.Count, exp.CountIf, exp.Sum, exp.Min, exp.Max, exp.Avg, exp.AnyValue)},
    exp.ArgMax: _by("DESC"),
    exp.ArgMin: _by("ASC"),
    exp.ArrayAgg: _array_agg,
    exp.Filter: lambda self, node, scope: _array_agg(self, node.this, scope) if isinstance(node.this, exp.ArrayAgg) else _window_only(self, node, scope),
    exp.GroupConcat: _listagg,
    exp.WithinGroup: _within_group,
    **{node: _window_only for node in (exp.RowNumber, exp.Rank, exp.DenseRank, exp.Lag, exp.Lead, exp.FirstValue, exp.LastValue)},
    exp.ArrayContains: _array_contains,
    exp.ArraySize: _semi_structured("(CASE WHEN jsonb_typeof({0}) = 'array' THEN jsonb_array_length({0}) END)::numeric", NUMBER),
    exp.Array: _array,
    exp.Struct: _object,
    exp.ParseJSON: _parse_json,
    exp.JSONFormat: _semi_structured("sf.compact_json({})", TEXT),
    exp.ToVariant: lambda self, node, scope: _variant(self.value(node.this, scope)),
    exp.Typeof: _semi_structured("sf.type_of({})", TEXT),
    exp.IsNullValue: _semi_structured("(jsonb_typeof({}) = 'null')", BOOLEAN),
    exp.GetExtract: _get,
    exp.Base64DecodeBinary: _plain("sf.base64_to_binary({0})", BINARY, TEXT),
    exp.TryBase64DecodeBinary: _plain("sf.attempt('sf.base64_to_binary($1)', {0})::bytea", BINARY, TEXT),
    exp.Base64Encode: _plain("replace(encode({0}, 'base64'), E'\\n', '')", TEXT, BINARY),
    exp.Hex: _plain("upper(encode({0}, 'hex'))", TEXT, BINARY),
    exp.Unhex: _plain("sf.text_to_binary({0})", BINARY, TEXT),
    exp.ToBinary: _to_binary,
    exp.ToChar: _to_char,
    exp.ToNumber: _conversion(NUMBER),
    exp.TsOrDsToDate: _conversion(DATE),
    exp.ToBoolean: _conversion(BOOLEAN),
    exp.ToDouble: _conversion(FLOAT),
    exp.ToArray: _conversion(ARRAY),
    exp.Anonymous: _anonymous,
    exp.Length: _length,
    exp.ByteLength: _byte_length,
    exp.Substring: _substring,
    exp.Left: _end("left"),
    exp.Right: _end("right"),
    exp.Concat: _concat,
    exp.Trim: _trim,
    exp.Upper: _plain("upper({0})", TEXT, TEXT),
    exp.Lower: _plain("lower({0})", TEXT, TEXT),
    exp.Replace: _plain("replace({0}, {1}, {2})", TEXT, TEXT, TEXT, TEXT),
    exp.StartsWith: _plain("starts_with({0}, {1})", BOOLEAN, TEXT, TEXT),
    exp.EndsWith: _plain("(right({0}, char_length({1})) = {1})", BOOLEAN, TEXT, TEXT),
    exp.Contains: _plain("(strpos({0}, {1}) > 0)", BOOLEAN, TEXT, TEXT),
    exp.MD5: _plain("md5({0})", TEXT, TEXT),
    exp.MD5NumberUpper64: _plain("sf.unsigned64(left(md5({0}), 16))", NUMBER, TEXT),
    exp.MD5NumberLower64: _plain("sf.unsigned64(right(md5({0}), 16))", NUMBER, TEXT),
    exp.SHA2: lambda self, node, scope: _sha2(self, node, scope),
    exp.Abs: _absolute,
    exp.Round: _rounding("round"),
    exp.Floor: _rounding("floor"),
    exp.Ceil: _rounding("ceil"),
    exp.CurrentTimestamp: _now,
    exp.CurrentDate: lambda self, node, scope: Value("statement_timestamp()::date", DATE),
    exp.CurrentUser: _fact("user"),
    exp.CurrentRole: _fact("role"),
    exp.CurrentAccount: _fact("account"),
    exp.CurrentWarehouse: _fact("warehouse"),
    exp.CurrentVersion: _fact("version"),
    exp.CurrentDatabase: _fact("database"),
    exp.CurrentSchema: _fact("schema"),
    exp.Uuid: lambda self, node, scope: Value("sf.uuid()", TEXT),
}


def _sha2(self: Expressions, node: exp.SHA2, scope) -> Value:
    given = arguments(node, "this", "length")
    bits = given["length"].name if given.get("length") else "256"
    if bits not in ("224", "256", "384", "512"):
        raise errors.unsupported(node.sql(dialect="snowflake"))
    text = self.typed(node.this, scope, TEXT)
    return text.with_(f"encode(sha{bits}(convert_to({text.sql}, 'UTF8')), 'hex')", TEXT)
