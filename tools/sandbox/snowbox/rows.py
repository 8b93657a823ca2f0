"""NDJSON rows → the text of a COPY, by a converter compiled once per table shape.

What Snowflake does with a streamed row: keys are matched to columns by name (without regard to case where the column was not
quoted), a key without a column is ignored or, with schema evolution, adds one, a column without a key gets NULL (its DEFAULT is
not applied), and a row that does not convert is dropped while the rest of the batch stays.
"""

from __future__ import annotations

import asyncio
import base64
import ctypes
import gc
import gzip
import json
import multiprocessing
import re
import signal
import zlib
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from decimal import Decimal

import orjson
import zstandard

from .sftypes import SEMI_STRUCTURED, Type, variant_text
from .values import Refused, exact_number, plain_variant, scalar_converter

# Control characters as COPY's delimiter, NULL and (before escaping) row separator: JSON can hold them in escapes only.
FIELD, ROW, NULL = "\x1f", "\x1e", "\x1d"
# What identifiers without quotes are stored as; only such columns are matched without regard to case.
UNQUOTED_NAME = re.compile(r"[A-Z_][A-Z0-9_$]*")
FOLDABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_$]*")
# A number (not inside of a string that begins there) of more characters than a double is sure to keep. Every character of a
# number is made 0, everything that can stand before one is made a colon, blanks go: then it is a search for fixed bytes.
NUMBER_CHARACTERS = b"0123456789.eE+-"
CLASSES = bytes.maketrans(NUMBER_CHARACTERS + b":[,", b"0" * len(NUMBER_CHARACTERS) + b":::")
LONG_NUMBER = b":" + b"0" * 16
# U+0000 inside of JSON text: the backslash of the escape is not escaped itself.
ESCAPED_ZERO = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
UNCOMPRESSED_BYTES_MAX = 256 * 1024 * 1024
# Below this a batch is converted at once; above, in another process, so that requests are answered meanwhile.
INLINE_BYTES_MAX = 48 * 1024
USUAL_RATIO = 6  # of NDJSON to its compressed form
WORKERS = 2
CONVERTERS_MAX = 256
PR_SET_PDEATHSIG, PR_SET_NAME = 1, 15
WORKER_NAME = b"converter"  # in /proc/PID/comm


class BodyError(ValueError):
    """A body that cannot be unpacked; the message says why."""


@dataclass(frozen=True)
class ColumnShape:
    name: str
    type: Type
    nullable: bool


@dataclass(frozen=True)
class TableShape:
    columns: tuple[ColumnShape, ...]
    evolves: bool
    binary_format: str = "HEX"


@dataclass
class RowError:
    number: int
    message: str
    column: str | None
    payload: str
    content_type: str  # json, json-invalid, binary-base64: as in Snowflake's error tables


@dataclass
class Converted:
    """One batch: `copy` is the text of a COPY of all columns, see COPY_OPTIONS."""

    copy: bytes = b""
    parsed: int = 0
    inserted: int = 0
    errors: list[RowError] = field(default_factory=list)
    new_columns: dict[str, str] = field(default_factory=dict)  # schema evolution: name → type


COPY_OPTIONS = f"(FORMAT text, DELIMITER E'\\x{ord(FIELD):02x}', NULL E'\\x{ord(NULL):02x}')"


def unpack(encoding: str, body: bytes) -> bytes:
    """The body as it was before compression."""
    if encoding == "identity":
        return body
    try:
        if encoding == "zstd":
            return _unpack_zstd(body)
        unpacker = zlib.decompressobj(wbits=31)
        raw = unpacker.decompress(body, UNCOMPRESSED_BYTES_MAX + 1)
    except (zstandard.ZstdError, zlib.error, gzip.BadGzipFile) as error:
        raise BodyError(f"the body is not valid {encoding}: {error}") from None
    if len(raw) > UNCOMPRESSED_BYTES_MAX:
        raise BodyError(f"the body has more than {UNCOMPRESSED_BYTES_MAX} bytes before compression")
    if not unpacker.eof or unpacker.unused_data:
        raise BodyError("the gzip body is cut off, or something follows it")
    return raw


def _unpack_zstd(body: bytes) -> bytes:
    """Any number of frames, each of them complete."""
    parts, size, rest = [], 0, body
    while rest:
        unpacker = zstandard.ZstdDecompressor(max_window_size=1 << 27).decompressobj()
        for start in range(0, len(rest), 1 << 16):
            part = unpacker.decompress(rest[start : start + (1 << 16)])
            size += len(part)
            if size > UNCOMPRESSED_BYTES_MAX:
                raise BodyError(f"the body has more than {UNCOMPRESSED_BYTES_MAX} bytes before compression")
            parts.append(part)
            if unpacker.eof:
                rest = unpacker.unused_data + rest[start + (1 << 16) :]
                break
        else:
            raise BodyError("the zstd body is cut off")
    return b"".join(parts)


class Converter:
    """The rows of one table shape."""

    def __init__(self, shape: TableShape):
        self.shape = shape
        self.names = frozenset(column.name for column in shape.columns)
        self.folded = {name: name for name in self.names if UNQUOTED_NAME.fullmatch(name)}
        self.targets: dict[str, str | None] = {}
        self.convert_row = _compile(shape)
        self.semi_structured = [number for number, column in enumerate(shape.columns) if column.type.kind in SEMI_STRUCTURED]
        # A FLOAT column keeps a double anyway, and clients write doubles with 17 digits: these need no exact reading.
        names = [orjson.dumps(column.name) for column in shape.columns if column.type.kind == "FLOAT"]
        self.float_values = [re.compile(re.escape(name) + rb":[ \t]*-?[0-9][0-9.eE+-]*") for name in names]
        self.float_keys = [name.decode() + ":" for name in names]

    def convert(self, raw: bytes) -> Converted:
        """`raw` is NDJSON, every line ended by a newline; blank lines count for nothing."""
        result = Converted()
        # Three rarities, each looked for once in the whole batch: numbers that need all their digits, U+0000 (which PostgreSQL
        # cannot hold), and our own separators.
        is_long = has_long_numbers(raw)
        is_exact = is_long and self._has_other_long_numbers(raw)
        may_be_nested = is_long and bool(self.float_keys) and bool(self.semi_structured)
        has_zero = b"\\u0000" in raw
        has_separators = b"\\u001" in raw
        names, convert_row, join, loads = self.names, self.convert_row, FIELD.join, orjson.loads
        rows = []
        for line in raw.split(b"\n"):
            if not line or line.isspace():
                continue
            result.parsed += 1
            try:
                row = loads(line)
                if row.__class__ is not dict:
                    raise Refused(100069, "the line is not a JSON object")
                if is_exact and has_long_numbers(line) and self._has_other_long_numbers(line):
                    values = self._convert_exactly(line, result)
                else:
                    if not row.keys() <= names:
                        row = self._matched(row, result)
                    values = convert_row(row, plain_variant)
                    if may_be_nested and self._has_nested_float_key(values):
                        values = self._convert_exactly(line, result)
                if has_zero and b"\\u0000" in line and self._holds_zero(values):
                    raise Refused(100080, "U+0000 is not supported by this stand-in")
                rows.append(_guarded(values) if has_separators else join(values))
            except Refused as refused:
                result.errors.append(_row_error(line, refused))
            except (ValueError, TypeError, RecursionError) as error:
                # TypeError is what orjson raises for JSON that is nested too deep to be written again.
                result.errors.append(_row_error(line, Refused(100069, f"Error parsing JSON: {error}"), is_json=False))
        result.inserted = len(rows)
        result.copy = _copy_text(rows, has_separators)
        return result

    def _convert_exactly(self, line: bytes, result: Converted) -> tuple[str, ...]:
        """With all digits of every number, for a line that orjson has found to be well-formed."""
        row = json.loads(line, parse_int=exact_number, parse_float=exact_number)
        return self.convert_row(self._matched(row, result), variant_text)

    def _has_other_long_numbers(self, raw: bytes) -> bool:
        """Long numbers that are not a FLOAT column's value."""
        for value in self.float_values:
            raw = value.sub(b"", raw)
        return has_long_numbers(raw)

    def _has_nested_float_key(self, values: tuple[str, ...]) -> bool:
        """Whether a FLOAT column's name is a key inside of a VARIANT too, where the number after it must keep its digits."""
        return any(key in values[number] for number in self.semi_structured for key in self.float_keys)

    def _holds_zero(self, values: tuple[str, ...]) -> bool:
        return any(
            ESCAPED_ZERO.search(value) if column.type.kind in SEMI_STRUCTURED else "\0" in value
            for column, value in zip(self.shape.columns, values)
        )

    def _matched(self, row: dict, result: Converted) -> dict:
        """The row with its keys replaced by columns' names; an exact match goes before one that differs in case."""
        matched = {}
        for key, value in row.items():
            if key in self.names:
                matched[key] = value
                continue
            if key not in self.targets:
                if len(self.targets) > 10_000:
                    self.targets.clear()
                self.targets[key] = self.folded.get(key.upper()) if FOLDABLE_NAME.fullmatch(key) else None
            name = self.targets[key]
            if name is not None:
                if name not in row:
                    matched[name] = value
            elif self.shape.evolves and value is not None and key:
                _evolve(result.new_columns, key, value)
        return matched


def has_long_numbers(raw: bytes) -> bool:
    return LONG_NUMBER in raw.translate(CLASSES, b" \t")


def _evolve(new_columns: dict[str, str], key: str, value) -> None:
    """Notes the column that schema evolution adds: named as an identifier without quotes would be, where the key can be one."""
    name = key.upper() if FOLDABLE_NAME.fullmatch(key) else key
    found = {bool: "BOOLEAN", str: "VARCHAR", float: "FLOAT", Decimal: "FLOAT", dict: "OBJECT", list: "ARRAY"}.get(type(value), "NUMBER(38,0)")
    earlier = new_columns.setdefault(name, found)
    if earlier != found:
        new_columns[name] = "FLOAT" if {earlier, found} == {"FLOAT", "NUMBER(38,0)"} else "VARIANT"


def _row_error(line: bytes, refused: Refused, *, is_json: bool = True) -> RowError:
    try:
        payload, kind = line.decode(), "json" if is_json else "json-invalid"
    except UnicodeDecodeError:
        payload, kind = base64.b64encode(line).decode(), "binary-base64"
    return RowError(refused.number, refused.message, refused.column, payload, kind)


def _guarded(values: tuple[str, ...]) -> str:
    """A row in which a value may hold our separators. COPY takes a backslash before any character as that character."""
    return FIELD.join([value if value is NULL else _escape_all(value) for value in values])


def _escape_all(value: str) -> str:
    for plain, escaped in (("\\", "\\\\"), ("\n", "\\n"), ("\r", "\\r"), (FIELD, "\\" + FIELD), (ROW, "\\" + ROW), (NULL, "\\" + NULL)):
        value = value.replace(plain, escaped)
    return value


def _copy_text(rows: list[str], is_escaped: bool) -> bytes:
    if not rows:
        return b""
    if is_escaped:
        return ("\n".join(rows) + "\n").encode()
    text = ROW.join(rows)
    if "\\" in text:
        text = text.replace("\\", "\\\\")
    if "\n" in text:
        text = text.replace("\n", "\\n")
    if "\r" in text:
        text = text.replace("\r", "\\r")
    return (text.replace(ROW, "\n") + "\n").encode()


# What of a column is decided in line, without a call: the JSON type that clients send nearly always. {0} is the column's number.
_QUICK = {
    "FLOAT": "elif v.__class__ is float: a{0} = repr(v)",
    "BOOLEAN": "elif v is True: a{0} = 't'\n elif v is False: a{0} = 'f'",
}


def _compile(shape: TableShape):
    """A function (row, write_variant) → one storage text a column, NULL for none. Raises Refused."""
    scope = {"N": NULL, "M": object(), "missing": _missing}
    lines = ["def convert(row, write):", " g = row.get"]
    for number, column in enumerate(shape.columns):
        key, type_ = repr(column.name), column.type
        nothing = f"a{number} = N" if column.nullable else f"missing({key})"
        if type_.kind == "VARIANT":
            # An explicit null is a JSON null; only a key that is left out is NULL.
            lines += [f" v = g({key}, M)", f" if v is M: {nothing}", f" else: a{number} = write(v)"]
            continue
        scope[f"c{number}"] = scalar_converter(type_, column.name, shape.binary_format)
        lines += [f" v = g({key})", f" if v is None: {nothing}"]
        if type_.kind == "NUMBER":
            limit = 10 ** (type_.precision - type_.scale)
            lines.append(f" elif v.__class__ is int and {-limit} < v < {limit}: a{number} = str(v)")
            # PostgreSQL rounds to the scale as Snowflake does, half away from zero; the margin keeps the result in range.
            lines.append(f" elif v.__class__ is float and {1 - limit} < v < {limit - 1}: a{number} = repr(v)")
        elif type_.kind == "VARCHAR":
            lines.append(f" elif v.__class__ is str and len(v) <= {type_.length}: a{number} = v")
        elif type_.kind in _QUICK:
            lines.append(" " + _QUICK[type_.kind].format(number))
        lines.append(f" else: a{number} = c{number}(v)")
    lines.append(" return (" + "".join(f"a{number}," for number in range(len(shape.columns))) + ")")
    exec("\n".join(lines), scope)  # the text holds our own names and repr() of the columns' names only
    return scope["convert"]


def _missing(column: str):
    raise Refused(100072, f'NULL result in a non-nullable column "{column}"', column)


_converters: dict[TableShape, Converter] = {}


def convert_batch(shape: TableShape, encoding: str, body: bytes) -> Converted:
    """Runs in the event loop's process or in a worker."""
    converter = _converters.get(shape)
    if converter is None:
        if len(_converters) >= CONVERTERS_MAX:
            _converters.clear()
        converter = _converters[shape] = Converter(shape)
    return converter.convert(unpack(encoding, body))


def _start_worker() -> None:
    """The worker ends with the stand-in, however that ends, and leaves Ctrl-C to it."""
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    prctl(PR_SET_NAME, WORKER_NAME)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Rows make no cycles; looking for some after every few hundred of them costs a tenth of the time.
    gc.freeze()
    gc.set_threshold(100_000)


class ConverterPool:
    """Converts small batches at once and large ones in worker processes."""

    def __init__(self, workers: int = WORKERS, *, fork: bool = False):
        """fork: has the workers at once, as copies of this process, which as yet may have no threads, event loop or connections."""
        self._workers = workers
        self._executor = self._make("fork" if fork else "spawn")
        if fork:
            self._executor.submit(int).result()

    def _make(self, method: str = "spawn") -> ProcessPoolExecutor:
        return ProcessPoolExecutor(self._workers, mp_context=multiprocessing.get_context(method), initializer=_start_worker)

    def mend(self) -> None:
        """New workers, if one of the old ones was killed: the executor takes nothing any more then."""
        try:
            self._executor.submit(int)
        except BrokenProcessPool:
            self._executor = self._make()

    def convert(self, shape: TableShape, encoding: str, body: bytes) -> asyncio.Future:
        """A future of the result. It is under way already, so that a caller may have several at once."""
        if len(body) > (INLINE_BYTES_MAX if encoding == "identity" else INLINE_BYTES_MAX // USUAL_RATIO):
            return self._submit(shape, encoding, body)
        future = asyncio.get_running_loop().create_future()
        future.set_result(convert_batch(shape, encoding, body))
        return future

    def _submit(self, shape: TableShape, encoding: str, body: bytes) -> asyncio.Future:
        return asyncio.get_running_loop().run_in_executor(self._executor, convert_batch, shape, encoding, body)

    def close(self) -> None:
        self._executor.shutdown(wait=False, cancel_futures=True)
