"""Snowflake's data types: their names, their bounds, and what PostgreSQL keeps for them.

A value in storage form is the text that PostgreSQL's input function of `Type.storage` takes, or None for SQL NULL.
That is what `Storage.copy_rows` wants and what `storage_text` makes of a Python value that already has the right type;
turning NDJSON values into them by Snowflake's rules is the caller's work.
"""

from __future__ import annotations

import datetime
import decimal
import math
import re
from dataclasses import dataclass

import orjson

VARCHAR_LENGTH_MAX = 134_217_728
VARCHAR_LENGTH_DEFAULT = 16_777_216
BINARY_LENGTH_MAX = 67_108_864
BINARY_LENGTH_DEFAULT = 8_388_608
VARIANT_BYTES_MAX = 134_217_728
NUMBER_PRECISION_MAX = 38
NUMBER_SCALE_MAX = 37
# PostgreSQL counts microseconds. A type may say 9 (Snowflake's default), but a value with nanoseconds in it is refused.
FRACTION_DIGITS_HELD = 6
FRACTION_DIGITS_MAX = 9

NUMBER_NAMES = frozenset({"NUMBER", "DECIMAL", "DEC", "NUMERIC"})
INTEGER_NAMES = frozenset({"INT", "INTEGER", "BIGINT", "SMALLINT", "TINYINT", "BYTEINT"})
FLOAT_NAMES = frozenset({"FLOAT", "FLOAT4", "FLOAT8", "DOUBLE", "DOUBLE PRECISION", "REAL"})
VARCHAR_NAMES = frozenset({"VARCHAR", "STRING", "TEXT", "NVARCHAR", "NVARCHAR2", "CHAR VARYING", "NCHAR VARYING"})
CHAR_NAMES = frozenset({"CHAR", "CHARACTER", "NCHAR"})
BINARY_NAMES = frozenset({"BINARY", "VARBINARY"})
TIMESTAMP_NAMES = {
    "TIMESTAMP": "TIMESTAMP_NTZ",
    "DATETIME": "TIMESTAMP_NTZ",
    "TIMESTAMP_NTZ": "TIMESTAMP_NTZ",
    "TIMESTAMPNTZ": "TIMESTAMP_NTZ",
    "TIMESTAMP WITHOUT TIME ZONE": "TIMESTAMP_NTZ",
    "TIMESTAMP_TZ": "TIMESTAMP_TZ",
    "TIMESTAMPTZ": "TIMESTAMP_TZ",
    "TIMESTAMP WITH TIME ZONE": "TIMESTAMP_TZ",
    "TIMESTAMP_LTZ": "TIMESTAMP_LTZ",
    "TIMESTAMPLTZ": "TIMESTAMP_LTZ",
    "TIMESTAMP WITH LOCAL TIME ZONE": "TIMESTAMP_LTZ",
}
PLAIN_NAMES = frozenset({"BOOLEAN", "DATE", "VARIANT", "OBJECT", "ARRAY"})
SEMI_STRUCTURED = frozenset({"VARIANT", "OBJECT", "ARRAY"})
TIMESTAMPS = frozenset({"TIMESTAMP_NTZ", "TIMESTAMP_TZ", "TIMESTAMP_LTZ"})

_TYPE_TEXT = re.compile(r"\s*([A-Za-z_0-9]+(?:\s+[A-Za-z]+)*)\s*(?:\(\s*(\d{1,10})\s*(?:,\s*(\d{1,10})\s*)?\))?\s*\Z")


# Those that are known here, and PostgreSQL's locale for each. '' and 'utf8' are none.
COLLATIONS = {"en-ci": "en-u-ks-level2"}


class TypeError_(ValueError):
    """The text names no type that Snowflake has, or its bounds are outside of Snowflake's."""


@dataclass(frozen=True)
class Type:
    """One Snowflake type.

    NUMBER has precision and scale; TIME and the TIMESTAMPs have scale (digits of the fraction); VARCHAR (characters)
    and BINARY (bytes) have length. What a kind does not have is None.
    """

    kind: str
    precision: int | None = None
    scale: int | None = None
    length: int | None = None

    @classmethod
    def parse(cls, text: str) -> "Type":
        match = _TYPE_TEXT.match(text)
        if not match:
            raise TypeError_(f"invalid data type {text!r}")
        name = " ".join(match.group(1).upper().split())
        arguments = tuple(int(group) for group in match.group(2, 3) if group is not None)
        return cls.make(name, arguments)

    @classmethod
    def make(cls, name: str, arguments: tuple[int, ...] = ()) -> "Type":
        """`name` in upper case, with single blanks; `arguments` are the numbers in parentheses."""
        arguments_max = 2 if name in NUMBER_NAMES else 0 if name in FLOAT_NAMES | PLAIN_NAMES | INTEGER_NAMES else 1
        if len(arguments) > arguments_max:
            raise TypeError_(f"too many arguments for data type {name}")
        first = arguments[0] if arguments else None
        if name in NUMBER_NAMES:
            precision = NUMBER_PRECISION_MAX if first is None else first
            scale = arguments[1] if len(arguments) == 2 else 0
            if not 1 <= precision <= NUMBER_PRECISION_MAX:
                raise TypeError_(f"invalid number precision: {precision}. Must be between 1 and 38.")
            if not 0 <= scale <= min(precision, NUMBER_SCALE_MAX):
                raise TypeError_(f"invalid number scale: {scale}. Must be between 0 and {min(precision, NUMBER_SCALE_MAX)}.")
            return cls("NUMBER", precision=precision, scale=scale)
        if name in INTEGER_NAMES:
            return cls("NUMBER", precision=NUMBER_PRECISION_MAX, scale=0)
        if name in FLOAT_NAMES:
            return cls("FLOAT")
        if name in VARCHAR_NAMES or name in CHAR_NAMES:
            default = 1 if name in CHAR_NAMES else VARCHAR_LENGTH_DEFAULT
            return cls("VARCHAR", length=_bounded(name, default if first is None else first, 1, VARCHAR_LENGTH_MAX))
        if name in BINARY_NAMES:
            default = BINARY_LENGTH_DEFAULT if first is None else first
            return cls("BINARY", length=_bounded(name, default, 1, BINARY_LENGTH_MAX))
        if name == "TIME" or name in TIMESTAMP_NAMES:
            kind = TIMESTAMP_NAMES.get(name, "TIME")
            scale = FRACTION_DIGITS_MAX if first is None else first
            return cls(kind, scale=_bounded(name, scale, 0, FRACTION_DIGITS_MAX))
        if name in PLAIN_NAMES:
            return cls(name)
        raise TypeError_(f"Unsupported data type '{name}'.")

    def sql(self) -> str:
        if self.kind == "NUMBER":
            return f"NUMBER({self.precision},{self.scale})"
        if self.kind in ("VARCHAR", "BINARY"):
            return f"{self.kind}({self.length})"
        if self.scale is not None:
            return f"{self.kind}({self.scale})"
        return self.kind

    @property
    def storage(self) -> str:
        """The PostgreSQL type of a column that holds values of this type."""
        if self.kind == "NUMBER":
            return f"numeric({self.precision},{self.scale})"
        if self.kind in ("TIME", *TIMESTAMPS):
            digits = min(self.scale, FRACTION_DIGITS_HELD)
            name = {"TIME": "time", "TIMESTAMP_NTZ": "timestamp"}.get(self.kind)
            return f"{name}({digits})" if name else f"timestamptz({digits})"
        return {
            "FLOAT": "double precision",
            "VARCHAR": "text",
            "BINARY": "bytea",
            "BOOLEAN": "boolean",
            "DATE": "date",
        }.get(self.kind, "jsonb")

    def check(self, column: str) -> str | None:
        """The condition, in PostgreSQL, that every stored value of `column` (a quoted name) meets; None if the storage type says it all.

        The compiler and the streaming side convert and refuse before; this is the net below them.
        """
        if self.kind == "NUMBER":
            return f"{column} <> 'NaN'"
        if self.kind == "VARCHAR":
            return f"char_length({column}) <= {self.length}"
        if self.kind == "BINARY":
            return f"octet_length({column}) <= {self.length}"
        if self.kind == "DATE":
            return f"{column} BETWEEN '0001-01-01' AND '9999-12-31'"
        if self.kind in TIMESTAMPS:
            zone = "" if self.kind == "TIMESTAMP_NTZ" else "+00"
            return f"{column} >= '0001-01-01 00:00:00{zone}' AND {column} < '10000-01-01 00:00:00{zone}'"
        if self.kind == "TIME":
            return f"{column} < '24:00:00'"
        if self.kind in ("ARRAY", "OBJECT"):
            return f"jsonb_typeof({column}) = '{self.kind.lower()}'"
        return None


def _bounded(name: str, value: int, lowest: int, highest: int) -> int:
    if not lowest <= value <= highest:
        raise TypeError_(f"invalid {name} size: {value}. Must be between {lowest} and {highest}.")
    return value


def variant_text(value) -> str:
    """The storage form of a VARIANT, ARRAY or OBJECT: JSON text.

    Integers and Decimals are written with all their digits; floats as the shortest text that reads back the same.
    Beware of orjson when reading: an integer above 64 bits and any fraction becomes a float there.
    """
    return orjson.dumps(value, default=_variant_default, option=orjson.OPT_PASSTHROUGH_DATETIME).decode() if _plain(value) else _slow_text(value)


def _plain(value) -> bool:
    """Whether orjson writes the value without loss (no Decimal, no integer beyond 64 bits)."""
    if isinstance(value, dict):
        return all(map(_plain, value.values()))
    if isinstance(value, list):
        return all(map(_plain, value))
    if isinstance(value, int):
        return -(2**63) <= value < 2**64
    return not isinstance(value, decimal.Decimal)


def _variant_default(value):
    raise TypeError_(f"a value of type {type(value).__name__} has no VARIANT form")


def _slow_text(value) -> str:
    if isinstance(value, dict):
        return "{" + ",".join(f"{_slow_text(str(key))}:{_slow_text(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_slow_text, value)) + "]"
    if isinstance(value, decimal.Decimal):
        return format(value, "f")
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return orjson.dumps(value, default=_variant_default).decode()


def storage_text(type_: Type, value) -> str | None:
    """The storage form of a Python value that already fits the type (None is SQL NULL; for a JSON null see variant_text)."""
    if value is None:
        return None
    if type_.kind in SEMI_STRUCTURED:
        return variant_text(value)
    if isinstance(value, bool):
        return "t" if value else "f"
    if isinstance(value, (bytes, bytearray, memoryview)):
        return "\\x" + bytes(value).hex()
    if isinstance(value, float):
        if math.isnan(value):
            return "NaN"
        return ("Infinity" if value > 0 else "-Infinity") if math.isinf(value) else repr(value)
    if isinstance(value, decimal.Decimal):
        return format(value, "f")
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    return str(value)
