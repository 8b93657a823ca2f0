"""One JSON value → the storage form of one column, by the rules of a streaming load.

Where Snowflake would guess (a number as a date, a time zone that is not named) the value is refused: a client that passes
here does not depend on session or account parameters. Messages never quote the value, as Snowflake's do not either.
"""

from __future__ import annotations

import base64
import datetime
import decimal
import re

import orjson

from .sftypes import FRACTION_DIGITS_HELD, Type, variant_text

NUMBER_CONTEXT = decimal.Context(prec=120, rounding=decimal.ROUND_HALF_UP, Emax=decimal.MAX_EMAX, Emin=decimal.MIN_EMIN)
# Snowflake keeps at most this many digits of a number exactly; in a VARIANT a longer one becomes a double.
EXACT_DIGITS_MAX = 38
OFFSET_HOURS_MAX = 14
SPECIAL_FLOATS = frozenset({"NaN", "Infinity", "-Infinity"})

NUMBER_TEXT = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,6})?")
DATE_TEXT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
TIME_TEXT = re.compile(r"[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.([0-9]{1,9}))?")
TIMESTAMP_TEXT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[ T][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.([0-9]{1,9}))?")
OFFSET_TIMESTAMP_TEXT = re.compile(TIMESTAMP_TEXT.pattern + r" ?(Z|[+-][0-9]{2}:?[0-9]{2})")
# What is stored as it came, once date and time are known to exist.
PLAIN_TIMESTAMP_TEXT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[ T][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,6})?")
UTC_TIMESTAMP_TEXT = re.compile(PLAIN_TIMESTAMP_TEXT.pattern + "Z")
HEX_TEXT = re.compile(r"(?:[0-9A-Fa-f]{2})*")
BASE64_TEXT = re.compile(r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")


class Refused(Exception):
    """A row that is dropped: Snowflake's error number, what is wrong, and the column."""

    def __init__(self, number: int, message: str, column: str | None = None):
        super().__init__(message)
        self.number, self.message, self.column = number, message, column


def scalar_converter(type_: Type, column: str, binary_format: str):
    """The function from a JSON value that is not null to the storage form, for every kind but VARIANT."""
    maker = {
        "NUMBER": _number,
        "FLOAT": _float,
        "VARCHAR": _varchar,
        "BINARY": _binary,
        "BOOLEAN": _boolean,
        "DATE": _date,
        "TIME": _time,
        "TIMESTAMP_NTZ": _timestamp_ntz,
        "TIMESTAMP_TZ": _timestamp_with_offset,
        "TIMESTAMP_LTZ": _timestamp_with_offset,
        "OBJECT": _object,
        "ARRAY": _array,
    }[type_.kind]
    convert = maker(type_, binary_format)

    def converter(value):
        try:
            return convert(value)
        except Refused as refused:
            refused.column = column
            refused.message = f'Failed to cast the value of column "{column}" to {type_.sql()}: {refused.message}'
            raise

    return converter


def _number(type_: Type, _):
    limit = decimal.Decimal(10) ** (type_.precision - type_.scale)
    quantum = decimal.Decimal(1).scaleb(-type_.scale)

    def convert(value):
        if isinstance(value, bool) or isinstance(value, (dict, list)):
            raise Refused(100038, "not a number")
        if isinstance(value, str):
            if not NUMBER_TEXT.fullmatch(value):
                raise Refused(100038, "numeric value not recognized")
            number = decimal.Decimal(value)
        else:
            number = decimal.Decimal(repr(value)) if isinstance(value, float) else decimal.Decimal(value)
        try:
            number = number.quantize(quantum, context=NUMBER_CONTEXT)
        except decimal.InvalidOperation:
            raise Refused(100132, "number out of representable range") from None
        if number.copy_abs() >= limit:  # abs() would round to the context of the caller, which may be shorter
            raise Refused(100132, "number out of representable range")
        return format(number, "f")

    return convert


def _float(_type, _):
    def convert(value):
        if isinstance(value, bool) or isinstance(value, (dict, list)):
            raise Refused(100038, "not a number")
        if isinstance(value, str):
            if value in SPECIAL_FLOATS:
                return value
            if not NUMBER_TEXT.fullmatch(value):
                raise Refused(100038, "numeric value not recognized")
        try:
            number = float(value)
        except OverflowError:
            number = float("inf")
        if number in (float("inf"), float("-inf")):
            raise Refused(100132, "number out of representable range")
        return repr(number)

    return convert


def _varchar(type_: Type, _):
    def convert(value):
        if isinstance(value, str):
            text = value
        elif isinstance(value, bool):
            text = "true" if value else "false"
        elif isinstance(value, decimal.Decimal):
            text = format(value, "f")
        elif isinstance(value, (int, float)):
            text = repr(value)
        else:
            text = variant_text(value)
        if len(text) > type_.length:
            raise Refused(100078, f"the string has {len(text)} characters")
        return text

    return convert


def _binary(type_: Type, binary_format: str):
    pattern = HEX_TEXT if binary_format == "HEX" else BASE64_TEXT

    def convert(value):
        if not isinstance(value, str) or not pattern.fullmatch(value):
            raise Refused(100115, f"the value is not a {binary_format} string")
        size = len(value) // 2 if binary_format == "HEX" else len(value) // 4 * 3 - value.count("=")
        if size > type_.length:
            raise Refused(100145, f"the binary value has {size} bytes")
        if binary_format == "HEX":
            return "\\x" + value
        return "\\x" + base64.b64decode(value).hex()

    return convert


def _boolean(_type, _):
    def convert(value):
        if value is True:
            return "t"
        if value is False:
            return "f"
        if isinstance(value, str) and value.lower() in ("true", "false"):
            return value[0].lower()
        raise Refused(100037, "boolean value not recognized")

    return convert


def _date(_type, _):
    def convert(value):
        if not isinstance(value, str) or not DATE_TEXT.fullmatch(value):
            raise Refused(100040, "date not recognized")
        try:
            datetime.date.fromisoformat(value)
        except ValueError:
            raise Refused(100040, "no such date") from None
        return value

    return convert


def _time(type_: Type, _):
    def convert(value):
        match = TIME_TEXT.fullmatch(value) if isinstance(value, str) else None
        if match is None:
            raise Refused(100108, "time not recognized")
        try:
            datetime.time.fromisoformat(value[:8])
        except ValueError:
            raise Refused(100108, "no such time") from None
        return value[:8] + _fraction(match[1], type_.scale)

    return convert


def _timestamp_ntz(type_: Type, _):
    scale, matches, check = type_.scale, TIMESTAMP_TEXT.fullmatch, datetime.datetime.fromisoformat
    is_plain = PLAIN_TIMESTAMP_TEXT.fullmatch if scale >= FRACTION_DIGITS_HELD else lambda value: None

    def convert(value):
        if value.__class__ is str and is_plain(value):
            try:
                check(value[:19])
            except ValueError:
                raise Refused(100035, "no such date or time") from None
            return value
        match = matches(value) if value.__class__ is str else None
        if match is None:
            raise Refused(100035, "timestamp not recognized, or it has an offset")
        try:
            check(value[:19])
        except ValueError:
            raise Refused(100035, "no such date or time") from None
        return value[:19] + _fraction(match[1], scale)

    return convert


def _timestamp_with_offset(type_: Type, _):
    scale, matches, check = type_.scale, OFFSET_TIMESTAMP_TEXT.fullmatch, datetime.datetime.fromisoformat
    is_plain = UTC_TIMESTAMP_TEXT.fullmatch if scale >= FRACTION_DIGITS_HELD else lambda value: None

    def convert(value):
        if value.__class__ is str and is_plain(value):
            try:
                check(value[:19])
            except ValueError:
                raise Refused(100035, "no such date or time") from None
            return value
        match = matches(value) if value.__class__ is str else None
        if match is None:
            raise Refused(100035, "timestamp not recognized, or it has no offset")
        offset = match[2]
        try:
            check(value[:19])
        except ValueError:
            raise Refused(100035, "no such date or time") from None
        if offset != "Z" and (int(offset[1:3]) > OFFSET_HOURS_MAX or int(offset[-2:]) > 59):
            raise Refused(100035, "no such offset")
        return value[:19] + _fraction(match[1], scale) + offset

    return convert


def _fraction(digits: str | None, scale: int) -> str:
    """Cut to the type's digits, as Snowflake does. PostgreSQL holds microseconds: what is finer is refused rather than lost."""
    if digits is None or scale == 0:
        return ""
    held = digits[:scale]
    if len(held) > FRACTION_DIGITS_HELD and held[FRACTION_DIGITS_HELD:].strip("0"):
        raise Refused(100035, "nanoseconds are not supported by this stand-in")
    return "." + held[:FRACTION_DIGITS_HELD]


def _object(_type, _):
    def convert(value):
        if not isinstance(value, dict):
            raise Refused(100071, "not an object")
        return variant_text(value)

    return convert


def _array(_type, _):
    def convert(value):
        return variant_text(value if isinstance(value, list) else [value])

    return convert


def exact_number(text: str):
    """A JSON number with all its digits, or a double where Snowflake would keep one."""
    digits = sum(character.isdigit() for character in text.lower().partition("e")[0])
    if digits > EXACT_DIGITS_MAX:
        return float(text)
    return decimal.Decimal(text) if set(text) & set(".eE") else int(text)


def plain_variant(value) -> str:
    """The storage form of a VARIANT whose numbers orjson has read without loss."""
    return orjson.dumps(value).decode()
