"""A statement's result, and the SQL API's text forms of values (format jsonv2)."""

from __future__ import annotations

import datetime
import json
from dataclasses import dataclass, field
from decimal import Decimal

from .conversions import NUMBER, TEXT
from .sftypes import Type

_EPOCH = datetime.datetime(1970, 1, 1)
_CYCLE_MICROSECONDS = 146_097 * 86_400 * 1_000_000  # 400 years
_KINDS = {"NUMBER": "fixed", "FLOAT": "real", "VARCHAR": "text"}


@dataclass
class Result:
    """Rows in PostgreSQL's text form, column by column of the types beside them."""

    columns: list[tuple[str, Type | None]]
    rows: list[list[str | None]]
    kind: str = "SELECT"
    row_count: int = 0  # what SQLROWCOUNT says after it
    stats: dict[str, int] = field(default_factory=dict)
    message: str = "Statement executed successfully."

    @classmethod
    def status(cls, text: str, kind: str = "DDL") -> "Result":
        return cls([("status", TEXT)], [[text]], kind)

    @classmethod
    def changed(cls, kind: str, inserted: int, updated: int, deleted: int) -> "Result":
        shown = {
            "INSERT": [("number of rows inserted", inserted)],
            "UPDATE": [("number of rows updated", updated), ("number of multi-joined rows updated", 0)],
            "DELETE": [("number of rows deleted", deleted)],
            "MERGE": [("number of rows inserted", inserted), ("number of rows updated", updated), ("number of rows deleted", deleted)],
        }[kind]
        stats = {"numRowsInserted": inserted, "numRowsUpdated": updated, "numRowsDeleted": deleted, "numDuplicateRowsUpdated": 0}
        return cls([(name, NUMBER) for name, _ in shown], [[str(count) for _, count in shown]], kind, inserted + updated + deleted, stats)


def row_type(name: str, type_: Type | None) -> dict:
    kind = type_.kind if type_ else "VARCHAR"
    length = type_.length if type_ else 1
    text_bytes = min(length * 4, 134_217_728) if kind == "VARCHAR" else length
    return {
        "name": name,
        "database": "",
        "schema": "",
        "table": "",
        "type": _KINDS.get(kind, kind.lower()),
        "nullable": True,
        "precision": type_.precision if type_ and kind == "NUMBER" else 0 if kind.startswith("TIME") else None,
        "scale": type_.scale if type_ else None,
        "length": length,
        "byteLength": text_bytes,
        "collation": None,
    }


def encoder(type_: Type | None):
    """The function that turns a value's PostgreSQL text into the SQL API's."""
    kind = type_.kind if type_ else "VARCHAR"
    if kind == "NUMBER":
        return lambda text: _number(text, type_.scale)
    return _ENCODERS.get(kind, str)


def _number(text: str, scale: int) -> str:
    fraction = len(text) - text.index(".") - 1 if "." in text else 0
    if fraction == scale and "E" not in text:
        return text
    return format(round(Decimal(text), scale), "f") if scale else format(Decimal(text).to_integral_value(), "f")


def _date(text: str) -> str:
    return str((datetime.date.fromisoformat(text) - datetime.date(1970, 1, 1)).days)


def _time(text: str) -> str:
    value = datetime.time.fromisoformat(text)
    return f"{value.hour * 3600 + value.minute * 60 + value.second}.{value.microsecond * 1000:09d}"


def _timestamp(text: str) -> str:
    """Seconds since 1970 with nine digits; of an instant before 1970 the fraction counts back too."""
    # In the session's time zone an instant of the year 1 may be of the year 1 BC, and one of 9999 of 10000: 400 years aside.
    year, rest = text.split("-", 1)
    shift = 400 if text.endswith(" BC") else -400 if int(year) > 9999 else 0
    if shift:
        text = f"{(1 - int(year) if shift > 0 else int(year)) + shift:04d}-{rest.removesuffix(' BC')}"
    value = datetime.datetime.fromisoformat(text)
    if value.tzinfo is not None:
        value = value.astimezone(datetime.timezone.utc).replace(tzinfo=None)
    microseconds = (value - _EPOCH) // datetime.timedelta(microseconds=1) - shift // 400 * _CYCLE_MICROSECONDS
    sign = "-" if microseconds < 0 else ""
    return f"{sign}{abs(microseconds) // 1_000_000}.{abs(microseconds) % 1_000_000 * 1000:09d}"


class _Digits(str):
    """A number in JSON, kept as its digits."""


def _variant(text: str) -> str:
    return _pretty(json.loads(text, parse_float=_Digits, parse_int=_Digits), "")


def _pretty(value, indent: str) -> str:
    """JSON as Snowflake shows it: keys in order, two blanks a level."""
    inner = indent + "  "
    if isinstance(value, _Digits):
        return value.rstrip("0").rstrip(".") if "." in value and "e" not in value.lower() else str(value)
    if isinstance(value, dict) and value:
        items = [f"{inner}{json.dumps(key, ensure_ascii=False)}: {_pretty(value[key], inner)}" for key in sorted(value)]
        return "{\n" + ",\n".join(items) + f"\n{indent}}}"
    if isinstance(value, list) and value:
        return "[\n" + ",\n".join(inner + _pretty(item, inner) for item in value) + f"\n{indent}]"
    return json.dumps(value, ensure_ascii=False)


_ENCODERS = {
    "BOOLEAN": lambda text: "true" if text == "t" else "false",
    "DATE": _date,
    "TIME": _time,
    "TIMESTAMP_NTZ": _timestamp,
    "TIMESTAMP_LTZ": _timestamp,
    # The stand-in keeps the instant; the offset is answered as UTC: 0 + 1440 minutes.
    "TIMESTAMP_TZ": lambda text: _timestamp(text) + " 1440",
    "BINARY": lambda text: text.removeprefix("\\x").upper(),
    "VARIANT": _variant,
    "OBJECT": _variant,
    "ARRAY": _variant,
}


def encode_rows(result: Result) -> list[list[str | None]]:
    encoders = [encoder(type_) for _, type_ in result.columns]
    return [[None if value is None else encode(value) for encode, value in zip(encoders, row)] for row in result.rows]
