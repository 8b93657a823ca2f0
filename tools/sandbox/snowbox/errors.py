"""Errors as Snowflake gives them: code, SQLSTATE, message."""

from __future__ import annotations

import psycopg


class SnowflakeError(Exception):
    """A statement failed. `code` has six digits, or is a raised exception's own negative number."""

    def __init__(self, code: str, sql_state: str, message: str):
        super().__init__(message)
        self.code = code
        self.sql_state = sql_state
        self.message = message

    def __repr__(self) -> str:
        return f"SnowflakeError({self.code!r}, {self.sql_state!r}, {self.message!r})"


def compilation(code: str, sql_state: str, message: str) -> SnowflakeError:
    return SnowflakeError(code, sql_state, f"SQL compilation error:\n{message}")


def syntax(unexpected: str, line: int = 1, position: int = 0) -> SnowflakeError:
    return compilation("001003", "42000", f"syntax error line {line} at position {position} unexpected '{unexpected}'.")


def unsupported(what: str) -> SnowflakeError:
    """What Snowflake may have and the stand-in has not, or what neither has."""
    return SnowflakeError("000002", "0A000", f"Unsupported feature '{what}'.")


def invalid_identifier(name: str) -> SnowflakeError:
    return compilation("000904", "42000", f"invalid identifier '{name}'")


def missing_object(kind: str, name: str) -> SnowflakeError:
    state = "42S02" if kind == "Table" else "02000"
    return compilation("002003", state, f"{kind} '{name}' does not exist or not authorized.")


def insufficient_privileges(kind: str, name: str) -> SnowflakeError:
    return SnowflakeError("003001", "42501", f"SQL access control error:\nInsufficient privileges to operate on {kind} '{name}'.")


def no_warehouse() -> SnowflakeError:
    return SnowflakeError(
        "000606", "57P03", "No active warehouse selected in the current session.  Select an active warehouse with the 'use warehouse' command."
    )


def timed_out(seconds: int) -> SnowflakeError:
    return SnowflakeError("000630", "57014", f"Statement reached its statement or warehouse timeout of {seconds} second(s) and was canceled.")


def canceled() -> SnowflakeError:
    return SnowflakeError("000604", "57014", "SQL execution canceled")


_BY_SQLSTATE = {
    "21000": ("100090", "42P18", "Duplicate row detected during DML action"),
    "22003": ("100039", "22003", "Numeric value is out of range"),
    "22012": ("100051", "22012", "Division by zero"),
    "23502": ("100072", "22000", "NULL result in a non-nullable column"),
    "55P03": ("000603", "57014", "Statement was aborted: the lock on a table that it changes was not released within LOCK_TIMEOUT"),
    "40P01": ("000603", "57014", "Your statement was aborted because of a deadlock between transactions"),
    "42803": ("000979", "42601", "SQL compilation error:\nnot a valid group by expression"),
    "42P10": ("002035", "42601", "SQL compilation error:\nORDER BY of SELECT DISTINCT takes expressions of the select list only"),
    "54001": ("000002", "0A000", "Unsupported feature 'an expression this deep'."),
    "22P05": ("100132", "22000", "Invalid character in a value"),
}


def from_postgres(error: psycopg.Error) -> SnowflakeError:
    """What PostgreSQL refused, in Snowflake's words. A case that is not known keeps PostgreSQL's text: it is a fault of the stand-in."""
    diagnostic = error.diag
    if diagnostic.sqlstate == "SF000":
        code, sql_state = diagnostic.message_detail.split()
        return SnowflakeError(code, sql_state, diagnostic.message_primary)
    if diagnostic.sqlstate == "21000" and "MERGE" not in (diagnostic.message_primary or ""):
        return SnowflakeError("090150", "22000", "Single-row subquery returns more than one row.")
    if diagnostic.sqlstate in ("22007", "22008"):
        return SnowflakeError("100035", "22007", f"Timestamp is not recognized: {diagnostic.message_primary}")
    if diagnostic.sqlstate == "23514":
        return SnowflakeError("100078", "22000", f"A value does not fit its column: {diagnostic.message_primary}")
    if diagnostic.sqlstate in _BY_SQLSTATE:
        code, sql_state, message = _BY_SQLSTATE[diagnostic.sqlstate]
        detail = diagnostic.column_name if diagnostic.sqlstate == "23502" else None
        return SnowflakeError(code, sql_state, f"{message}: {detail}" if detail else message)
    return SnowflakeError("000603", "XX000", f"SQL execution internal error: {diagnostic.sqlstate} {diagnostic.message_primary or error}")
