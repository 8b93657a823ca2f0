"""One value of PostgreSQL and the same value in Snowflake, brought to a common form.

The source's side is the text that the server sends (with the settings of SOURCE_SETTINGS); the target's side is the text
of the SQL API's JSON results (https://docs.snowflake.com/en/developer-guide/sql-api/handling-responses: a DATE is a
number of days, a TIME and a TIMESTAMP a number of seconds). What the target type cannot hold is Unfit: then the target
has NULL or the nearest value, and _ETL_COERCED tells the source's text.
"""
import base64
import datetime
import decimal
import json
import re

SOURCE_SETTINGS = {"datestyle": "ISO, YMD", "intervalstyle": "iso_8601", "timezone": "UTC", "extra_float_digits": "1",
                   "bytea_output": "hex", "lc_monetary": "C", "search_path": "pg_catalog", "client_encoding": "UTF8"}

decimal.getcontext().prec = 1000  # more than any value here that arithmetic is done with: none of ours rounds
UNBOUNDED_SCALE = 9
UNBOUNDED_INTEGER_DIGITS = 29
VARIANT_DIGITS_MAX, VARIANT_SCALE_MAX = 38, 37
EPOCH_DAY = datetime.date(1970, 1, 1).toordinal()
DAY_MICROSECONDS = 86400 * 1000000

TEXT_KINDS = {"text", "varchar", "bpchar", "name", "char", "citext", "xml", "uuid", "money", "timetz", "interval"}
INTEGER_KINDS = {"int2", "int4", "int8", "oid", "xid8"}
NUMBER_KINDS = {*INTEGER_KINDS, "numeric", "float4", "float8"}
# Source kind → what Snowflake calls the target column's type in a result.
TARGET_TYPES = {
    "bool": "boolean", "numeric": "fixed", "float4": "real", "float8": "real", "bytea": "binary", "date": "date",
    "time": "time", "timestamp": "timestamp_ntz", "timestamptz": "timestamp_tz", "json": "variant", "jsonb": "variant",
    **{kind: "text" for kind in TEXT_KINDS}, **{kind: "fixed" for kind in INTEGER_KINDS},
}


class Unfit:
    """The target type cannot hold the value: `nearest` is what it has instead."""

    def __init__(self, text, nearest=None):
        self.text, self.nearest = text, nearest


class Kind:
    """What decides how a column is compared: the base type's name, its modifier, and what it is made of.

    element is an array's, with the delimiter between its elements; fields are a composite's, [(name, Kind)]. Domains are resolved.
    """

    def __init__(self, name, modifier=-1, element=None, fields=None, delimiter=","):
        self.name, self.modifier, self.element, self.fields, self.delimiter = name, modifier, element, fields, delimiter
        self.precision = self.scale = None
        if name == "numeric" and modifier >= 4:
            # https://github.com/postgres/postgres/blob/REL_15_STABLE/src/backend/utils/adt/numeric.c, make_numeric_typmod
            self.precision = (modifier - 4) >> 16 & 0xFFFF
            self.scale = ((modifier - 4 & 0x7FF) ^ 1024) - 1024

    def target_type(self):
        if self.element:
            return "array"
        if self.fields is not None or self.name == "hstore":
            return "variant"
        if self.name == "numeric" and self.precision is not None and not self._fits_number():
            return "text"
        return TARGET_TYPES.get(self.name, "text")

    def _fits_number(self):
        return max(self.precision, self.precision - self.scale) <= 38 and self.scale <= 37

    def source(self, text):
        """The server's text → the common form, or Unfit."""
        if text is None:
            return None
        if self.element:
            return self._source_array(text)
        if self.fields is not None:
            return self._source_composite(text)
        reader = getattr(self, "_source_" + self.name, None)
        if reader is None and self.name in INTEGER_KINDS:
            reader = decimal.Decimal
        return reader(text) if reader else text

    def _source_bool(self, text):
        return ("bool", text == "t")

    def _source_numeric(self, text):
        if self.target_type() == "text":
            return text
        if text in ("NaN", "Infinity", "-Infinity"):
            return Unfit(text)
        value = decimal.Decimal(text)
        if self.precision is not None:
            return value
        if value.adjusted() >= UNBOUNDED_INTEGER_DIGITS:
            return Unfit(text)
        # Halves away from zero, as PostgreSQL and Snowflake round.
        nearest = value.quantize(decimal.Decimal(1).scaleb(-UNBOUNDED_SCALE), decimal.ROUND_HALF_UP)
        if abs(nearest) >= decimal.Decimal(10) ** UNBOUNDED_INTEGER_DIGITS:
            return Unfit(text)
        return value if value == nearest else Unfit(text, nearest)

    def _source_float8(self, text):
        return common_float(text)

    _source_float4 = _source_float8

    def _source_bytea(self, text):
        return bytes.fromhex(text.removeprefix("\\x"))

    def _source_date(self, text):
        day = days(text)
        return Unfit(text) if day is None else day

    def _source_time(self, text):
        return Unfit(text) if text.startswith("24:") else microseconds_of_day(text)

    def _source_timestamp(self, text):
        value = microseconds(text)
        return Unfit(text) if value is None else value

    def _source_timestamptz(self, text):
        return self._source_timestamp(text)

    def _source_json(self, text):
        try:
            value = common_json(json.loads(text, parse_float=decimal.Decimal, parse_int=decimal.Decimal, object_pairs_hook=unique_object))
        except KeyTwice:
            return Unfit(text)
        return Unfit(text) if has_inexact_number(value) else value

    _source_jsonb = _source_json

    def _source_hstore(self, text):
        return ("object", frozenset((unescape(key), None if value == "NULL" else unescape(value[1:-1]))
                                    for key, value in HSTORE_PAIR.findall(text)))

    def _source_part(self, text, found):
        """An element or a field: what it is inside of its whole, which keeps no SQL NULL apart from a JSON null."""
        value = self.source(text)
        if isinstance(value, Unfit):
            found.append(value)
            value = value.nearest
        return None if value == ("null",) else value

    def _source_array(self, text):
        unfit = []

        def convert(item):
            return tuple(map(convert, item)) if isinstance(item, list) else self.element._source_part(item, unfit)
        value = ("array", convert(parse_array(text, self.delimiter)))
        return Unfit(text, value) if unfit or text.startswith("[") else value

    def _source_composite(self, text):
        unfit = []
        parts = parse_composite(text, len(self.fields))
        value = ("object", frozenset((name, kind._source_part(part, unfit)) for (name, kind), part in zip(self.fields, parts)))
        return Unfit(text, value) if unfit else value

    def target(self, text):
        """The SQL API's text → the common form."""
        if text is None:
            return None
        kind = self.target_type()
        if self.element or self.fields is not None or self.name == "hstore":
            return self._encoded(json.loads(text, parse_float=decimal.Decimal, parse_int=decimal.Decimal))
        if kind == "boolean":
            return ("bool", {"true": True, "false": False}[text.lower()])
        if kind == "fixed":
            return decimal.Decimal(text)
        if kind == "real":
            return common_float(text)
        if kind == "binary":
            return bytes.fromhex(text)
        if kind == "date":
            return int(text) * DAY_MICROSECONDS
        if kind in ("time", "timestamp_ntz"):
            return int(decimal.Decimal(text) * 1000000)
        if kind == "timestamp_tz":
            return int(decimal.Decimal(text.split(" ")[0]) * 1000000)
        if kind == "variant":
            return common_json(json.loads(text, parse_float=decimal.Decimal, parse_int=decimal.Decimal))
        return text

    def _encoded(self, item):
        """NDJSON's encoding of a value inside of another, as Snowflake gives it back."""
        name = self.name
        if item is None:
            return None
        if name in ("json", "jsonb"):
            return common_json(item)
        if self.element:
            return ("array", self._encoded_items(item)) if isinstance(item, list) else ("not of this type", str(item))
        if self.fields is not None or name == "hstore":
            kinds = dict(self.fields or {})
            if not isinstance(item, dict) or (self.fields is not None and item.keys() != kinds.keys()):
                return ("not of this type", str(item))
            return ("object", frozenset((key, kinds[key]._encoded(value) if kinds else value) for key, value in item.items()))
        is_number = isinstance(item, decimal.Decimal)
        is_made = isinstance(item, (dict, list))
        if is_made or isinstance(item, bool) != (name == "bool") or is_number and name not in NUMBER_KINDS:
            return ("not of this type", str(item))
        if name == "bool":
            return ("bool", item)
        if name == "bytea":
            return base64.b64decode(item)
        try:
            value = self.source(str(item) if is_number else item)
        except (ValueError, decimal.InvalidOperation):
            return ("not of this type", str(item))
        return ("unfit", value.text) if isinstance(value, Unfit) else value

    def _encoded_items(self, items):
        # An element of json may itself be a list: such arrays are of one dimension here.
        is_deeper = self.element.name not in ("json", "jsonb")
        return tuple(self._encoded_items(item) if is_deeper and isinstance(item, list) else self.element._encoded(item)
                     for item in items)


def common_float(text):
    value = float({"Infinity": "inf", "-Infinity": "-inf"}.get(text, text))
    return "NaN" if value != value else value


DATE = re.compile(r"(\d{4})-(\d\d)-(\d\d)\Z")
TIME = re.compile(r"(\d\d):(\d\d):(\d\d)(?:\.(\d{1,6}))?\Z")


def days(text):
    """A date in microseconds since 1970, or None for what Snowflake's DATE cannot hold."""
    found = DATE.match(text)
    if not found:
        return None
    return (datetime.date(*map(int, found.groups())).toordinal() - EPOCH_DAY) * DAY_MICROSECONDS


def microseconds_of_day(text):
    hours, minutes, seconds, fraction = TIME.match(text).groups()
    return (int(hours) * 3600 + int(minutes) * 60 + int(seconds)) * 1000000 + int((fraction or "").ljust(6, "0"))


def microseconds(text):
    date, _, time = text.partition(" ")
    time = re.sub(r"(?:\+00|Z)\Z", "", time)
    day = days(date)
    return None if day is None or not TIME.match(time) else day + microseconds_of_day(time)


def common_json(value):
    """Hashable, with true kept apart from 1 and null kept apart from SQL NULL."""
    if isinstance(value, dict):
        return ("object", frozenset((name, common_json(item)) for name, item in value.items()))
    if isinstance(value, list):
        return ("list", tuple(common_json(item) for item in value))
    if value is None:
        return ("null",)
    if isinstance(value, bool):
        return ("bool", value)
    return ("number", value) if isinstance(value, decimal.Decimal) else ("string", value)


class KeyTwice(ValueError):
    """An object that names a key twice, which json allows: a VARIANT's object cannot hold it."""


def unique_object(pairs):
    found = dict(pairs)
    if len(found) != len(pairs):
        raise KeyTwice
    return found


def is_exact_number(number):
    """As NUMBER(38, up to 37), or as the double that prints the same digits."""
    digits, exponent = number.normalize().as_tuple()[1:]
    if not number or exponent >= 0 and len(digits) + exponent <= VARIANT_DIGITS_MAX:
        return True
    if exponent < 0 and exponent >= -VARIANT_SCALE_MAX and len(digits) <= VARIANT_DIGITS_MAX:
        return True
    double = float(number)
    return abs(double) != float("inf") and decimal.Decimal(repr(double)) == number


def has_inexact_number(value):
    if value[0] == "number":
        return not is_exact_number(value[1])
    if value[0] == "object":
        return any(has_inexact_number(item) for _, item in value[1])
    return value[0] == "list" and any(map(has_inexact_number, value[1]))


HSTORE_PAIR = re.compile(r'"((?:[^"\\]|\\.)*)"=>(NULL|"(?:[^"\\]|\\.)*")', re.DOTALL)


def unescape(text):
    return re.sub(r"\\(.)", r"\1", text, flags=re.DOTALL)


def parse_array(text, delimiter=","):
    """https://www.postgresql.org/docs/15/arrays.html#ARRAYS-IO; lower bounds before the first brace are dropped."""
    text = text[text.index("{"):]
    token_text = re.compile(rf'[{{}}{delimiter}]|"(?:[^"\\]|\\.)*"|[^{{}}{delimiter}"]+', re.DOTALL)
    stack, top = [], []
    for token in token_text.findall(text):
        if token == "{":
            stack.append(top)
            top = []
        elif token == "}":
            stack[-1].append(top)
            top = stack.pop()
        elif token != delimiter:
            quoted = token.startswith('"')
            value = unescape(token[1:-1]) if quoted else token
            top.append(None if not quoted and value.upper() == "NULL" else value)
    return top[0]


def parse_composite(text, count):
    """https://www.postgresql.org/docs/15/rowtypes.html#ROWTYPES-IO-SYNTAX: nothing between two commas is NULL."""
    if not count:
        return []
    parts, part, quoted, was_quoted, position = [], "", False, False, 1
    while True:
        character = text[position]
        position += 1
        if quoted and character == '"' and text[position] == '"' or character == "\\":
            part += text[position]
            position += 1
        elif character == '"':
            quoted, was_quoted = not quoted, True
        elif not quoted and character in ",)":
            parts.append(part if part or was_quoted else None)
            part, was_quoted = "", False
            if character == ")":
                return parts
        else:
            part += character
