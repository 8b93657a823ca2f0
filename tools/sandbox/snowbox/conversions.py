"""Snowflake's typing: which types meet in an operator, which convert into which, and the PostgreSQL expression that does it."""

from __future__ import annotations

from dataclasses import dataclass, field

from . import errors
from .sftypes import SEMI_STRUCTURED, TIMESTAMPS, VARCHAR_LENGTH_MAX, Type

NUMBER = Type("NUMBER", precision=38, scale=0)
FLOAT = Type("FLOAT")
TEXT = Type("VARCHAR", length=VARCHAR_LENGTH_MAX)
BOOLEAN = Type("BOOLEAN")
BINARY = Type("BINARY", length=67_108_864)
DATE = Type("DATE")
TIME = Type("TIME", scale=9)
VARIANT = Type("VARIANT")
ARRAY = Type("ARRAY")
OBJECT = Type("OBJECT")
TIMESTAMP_NTZ = Type("TIMESTAMP_NTZ", scale=9)
TIMESTAMP_TZ = Type("TIMESTAMP_TZ", scale=9)
TIMESTAMP_LTZ = Type("TIMESTAMP_LTZ", scale=9)
MOMENTS = frozenset({"DATE", *TIMESTAMPS})

# Kinds a value takes by itself when it is written into a column or meets another kind. Explicit casts reach further.
# VARIANT from a scalar is not among them: Snowflake refuses it in INSERT, UPDATE and MERGE.
IMPLICIT = {
    "NUMBER": {"FLOAT", "VARCHAR", "BOOLEAN"},
    "FLOAT": {"NUMBER", "VARCHAR", "BOOLEAN"},
    "VARCHAR": {"NUMBER", "FLOAT", "BOOLEAN", "DATE", "TIME", *TIMESTAMPS},
    "BOOLEAN": {"VARCHAR", "NUMBER"},
    "BINARY": set(),
    "DATE": {"VARCHAR", *TIMESTAMPS},
    "TIME": {"VARCHAR"},
    "TIMESTAMP_NTZ": {"VARCHAR", "DATE", "TIME", *TIMESTAMPS},
    "TIMESTAMP_TZ": {"VARCHAR", "DATE", "TIME", *TIMESTAMPS},
    "TIMESTAMP_LTZ": {"VARCHAR", "DATE", "TIME", *TIMESTAMPS},
    "VARIANT": {"NUMBER", "FLOAT", "VARCHAR", "BOOLEAN", "DATE", "TIME", *TIMESTAMPS},
    "OBJECT": {"VARIANT"},
    "ARRAY": {"VARIANT"},
}


@dataclass(frozen=True)
class Value:
    """A compiled expression: PostgreSQL text that needs no parentheses around it, and its Snowflake type (None: an untyped NULL)."""

    sql: str
    type: Type | None
    constant: object = field(default=None, compare=False)  # the value of a literal, for what only takes literals
    is_aggregate: bool = False
    is_window: bool = False

    def with_(self, sql: str, type_: Type | None) -> "Value":
        return Value(sql, type_, None, self.is_aggregate, self.is_window)


def combine(sql: str, type_: Type | None, *parts: Value) -> Value:
    return Value(sql, type_, None, any(part.is_aggregate for part in parts), any(part.is_window for part in parts))


def quote_literal(text: str) -> str:
    if "\0" in text:
        raise errors.unsupported("the character U+0000 in a string")
    return "'" + text.replace("'", "''") + "'"


def base_storage(type_: Type | None) -> str:
    """The PostgreSQL type without bounds."""
    if type_ is None:
        return "text"
    return type_.storage.split("(", 1)[0]


def type_name(type_: Type | None) -> str:
    return type_.sql() if type_ else "NULL"


def common_type(left: Type | None, right: Type | None) -> Type | None:
    """The type that both take in CASE, COALESCE, a set operation or a comparison."""
    if left is None or right is None or left == right:
        return left or right
    kinds = {left.kind, right.kind}
    if len(kinds) == 1:
        return _wider(left, right)
    if kinds == {"NUMBER", "FLOAT"}:
        return FLOAT
    if "VARIANT" in kinds:
        other = left if right.kind == "VARIANT" else right
        if other.kind in ("NUMBER", "FLOAT", "VARCHAR", "BOOLEAN", "OBJECT", "ARRAY"):
            return VARIANT
    if kinds <= TIMESTAMPS:
        return TIMESTAMP_TZ if "TIMESTAMP_TZ" in kinds else TIMESTAMP_LTZ
    if "DATE" in kinds and kinds & TIMESTAMPS:
        return left if right.kind == "DATE" else right
    if "VARCHAR" in kinds:
        other = left if right.kind == "VARCHAR" else right
        if other.kind in IMPLICIT["VARCHAR"]:
            # The scale of a text is not known: as many digits as there is room for.
            return Type("NUMBER", precision=38, scale=max(other.scale, 5)) if other.kind == "NUMBER" else other
    if kinds == {"BOOLEAN", "NUMBER"}:
        return BOOLEAN
    raise errors.compilation("001044", "42P13", f"Expressions of types {type_name(left)} and {type_name(right)} have no type in common")


def _wider(left: Type, right: Type) -> Type:
    if left.kind == "NUMBER":
        scale = max(left.scale, right.scale)
        whole = max(left.precision - left.scale, right.precision - right.scale)
        return Type("NUMBER", precision=min(38, whole + scale), scale=scale)
    if left.kind in ("VARCHAR", "BINARY"):
        return Type(left.kind, length=max(left.length, right.length))
    if left.scale is not None:
        return Type(left.kind, scale=max(left.scale, right.scale))
    return left


def cast(value: Value, target: Type) -> Value:
    """CAST(value AS target), failing at run time where the value does not fit."""
    source = value.type
    if source is None:
        return value.with_(f"NULL::{base_storage(target)}" if value.sql == "NULL::text" else f"({value.sql})::{base_storage(target)}", target)
    convert = _CASTS.get((source.kind, target.kind))
    if convert is None:
        if source.kind != target.kind:
            raise errors.compilation("002016", "22000", f"invalid type [CAST({source.sql()} AS {target.sql()})]")
        sql = value.sql
    else:
        sql = convert(value.sql, source, target)
    return value.with_(_fit(sql, source, target), target)


def assign(value: Value, target: Type, column: str) -> Value:
    """The value as it is written into a column: only what Snowflake converts by itself."""
    source = value.type
    if source is not None and source.kind != target.kind and target.kind not in IMPLICIT[source.kind]:
        raise errors.compilation(
            "002023", "22000", f"Expression type does not match column data type, expecting {target.sql()} but got {source.sql()} for column {column}"
        )
    return cast(value, target)


def coerce(value: Value, target: Type | None) -> Value:
    """The value as an operand of the type that common_type found."""
    if target is None or value.type == target:
        return value
    if value.type is not None and value.type.kind == target.kind and target.kind in ("NUMBER", "VARCHAR", "BINARY"):
        return value.with_(value.sql, target)
    if value.type is not None and value.type.kind in SEMI_STRUCTURED and target.kind in SEMI_STRUCTURED:
        return value.with_(value.sql, target)
    if target.kind == "NUMBER" and value.type is not None:
        # No bounds: rounding an operand would change what is compared.
        return value.with_(_CASTS[value.type.kind, "NUMBER"](value.sql, value.type, target), target)
    return cast(value, target)


def _fit(sql: str, source: Type, target: Type) -> str:
    """The bounds of the target, where the source may exceed them."""
    same = source.kind == target.kind
    if target.kind == "NUMBER":
        fits = same and target.scale >= source.scale and target.precision - target.scale >= source.precision - source.scale
        return sql if fits and source.scale == target.scale else f"({sql})::{target.storage}"
    if target.kind in ("VARCHAR", "BINARY"):
        if same and source.length <= target.length or target.kind == "VARCHAR" and target.length == VARCHAR_LENGTH_MAX:
            return sql
        return f"sf.fit_{target.kind.lower()}({sql}, {target.length})"
    if target.scale is not None and target.scale < 6 and not (same and source.scale <= target.scale):
        return f"sf.cut_{'time' if target.kind == 'TIME' else 'timestamp'}({sql}, {target.scale})"
    return sql


def _call(name: str):
    return lambda sql, source, target: f"sf.{name}({sql})"


def _to(storage: str):
    return lambda sql, source, target: f"({sql})::{storage}"


def _number_to_text(sql: str, source: Type, target: Type) -> str:
    return f"round({sql}, {source.scale})::text"


def _utc(storage: str):
    """A TIMESTAMP_TZ is kept as an instant; its wall clock is taken to be UTC's."""
    return lambda sql, source, target: f"(({sql}) AT TIME ZONE 'UTC')::{storage}"


def _through(first: str, second: str):
    return lambda sql, source, target: f"sf.{second}(sf.{first}({sql}, '{target.kind}'))"


_SHOWN = "YYYY-MM-DD HH24:MI:SS.MS"
_CASTS = {
    ("VARCHAR", "NUMBER"): _call("text_to_number"),
    ("FLOAT", "NUMBER"): _call("float_to_number"),
    ("BOOLEAN", "NUMBER"): lambda sql, source, target: f"({sql})::integer::numeric",
    ("VARIANT", "NUMBER"): _call("variant_to_number"),
    ("NUMBER", "FLOAT"): _to("double precision"),
    ("VARCHAR", "FLOAT"): _call("text_to_float"),
    ("BOOLEAN", "FLOAT"): lambda sql, source, target: f"({sql})::integer::double precision",
    ("VARIANT", "FLOAT"): _call("variant_to_float"),
    ("NUMBER", "VARCHAR"): _number_to_text,
    ("FLOAT", "VARCHAR"): _to("text"),
    ("BOOLEAN", "VARCHAR"): _to("text"),
    ("DATE", "VARCHAR"): _to("text"),
    ("TIME", "VARCHAR"): lambda sql, source, target: f"date_trunc('second', {sql})::time::text",
    ("TIMESTAMP_NTZ", "VARCHAR"): lambda sql, source, target: f"to_char({sql}, '{_SHOWN}')",
    ("TIMESTAMP_TZ", "VARCHAR"): lambda sql, source, target: f"to_char(({sql}) AT TIME ZONE 'UTC', '{_SHOWN} \"+0000\"')",
    ("TIMESTAMP_LTZ", "VARCHAR"): lambda sql, source, target: f"to_char({sql}, '{_SHOWN} TZHTZM')",
    ("BINARY", "VARCHAR"): lambda sql, source, target: f"upper(encode({sql}, 'hex'))",
    ("VARIANT", "VARCHAR"): _call("variant_to_text"),
    ("ARRAY", "VARCHAR"): _call("variant_to_text"),
    ("OBJECT", "VARCHAR"): _call("variant_to_text"),
    ("VARCHAR", "BINARY"): _call("text_to_binary"),
    ("VARIANT", "BINARY"): _call("variant_to_binary"),
    ("VARCHAR", "BOOLEAN"): _call("text_to_boolean"),
    ("NUMBER", "BOOLEAN"): lambda sql, source, target: f"({sql} <> 0)",
    ("FLOAT", "BOOLEAN"): lambda sql, source, target: f"({sql} <> 0)",
    ("VARIANT", "BOOLEAN"): _call("variant_to_boolean"),
    ("VARCHAR", "DATE"): _call("text_to_date"),
    ("TIMESTAMP_NTZ", "DATE"): _to("date"),
    ("TIMESTAMP_TZ", "DATE"): _utc("date"),
    ("TIMESTAMP_LTZ", "DATE"): _to("date"),
    ("VARIANT", "DATE"): _through("variant_moment", "text_to_date"),
    ("VARCHAR", "TIME"): _call("text_to_time"),
    ("TIMESTAMP_NTZ", "TIME"): _to("time"),
    ("TIMESTAMP_TZ", "TIME"): _utc("time"),
    ("TIMESTAMP_LTZ", "TIME"): _to("time"),
    ("VARIANT", "TIME"): _through("variant_moment", "text_to_time"),
    ("VARCHAR", "TIMESTAMP_NTZ"): _call("text_to_timestamp"),
    ("DATE", "TIMESTAMP_NTZ"): _to("timestamp"),
    ("TIMESTAMP_TZ", "TIMESTAMP_NTZ"): _utc("timestamp"),
    ("TIMESTAMP_LTZ", "TIMESTAMP_NTZ"): _to("timestamp"),
    ("VARIANT", "TIMESTAMP_NTZ"): _through("variant_moment", "text_to_timestamp"),
    ("NUMBER", "VARIANT"): lambda sql, source, target: f"to_jsonb({sql})",
    ("FLOAT", "VARIANT"): _call("float_to_variant"),
    ("BOOLEAN", "VARIANT"): lambda sql, source, target: f"to_jsonb({sql})",
    ("VARCHAR", "VARIANT"): lambda sql, source, target: f"to_jsonb(({sql})::text)",
    ("OBJECT", "VARIANT"): _to("jsonb"),
    ("ARRAY", "VARIANT"): _to("jsonb"),
    ("VARIANT", "ARRAY"): _call("variant_to_array"),
    ("VARIANT", "OBJECT"): _call("variant_to_object"),
}
for _zoned in ("TIMESTAMP_TZ", "TIMESTAMP_LTZ"):
    # A time without a zone is in the session's: the connection's TimeZone is the session's TIMEZONE parameter.
    _CASTS["VARCHAR", _zoned] = _call("text_to_timestamptz")
    _CASTS["DATE", _zoned] = _to("timestamptz")
    _CASTS["TIMESTAMP_NTZ", _zoned] = _to("timestamptz")
    _CASTS["VARIANT", _zoned] = _through("variant_moment", "text_to_timestamptz")
_CASTS["TIMESTAMP_TZ", "TIMESTAMP_LTZ"] = _CASTS["TIMESTAMP_LTZ", "TIMESTAMP_TZ"] = _to("timestamptz")
