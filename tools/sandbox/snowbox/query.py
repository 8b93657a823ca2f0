"""tools/sandbox/sql: statements over the SQL API, rows on standard output. Knows only the public interface, so it works on Snowflake too."""

from __future__ import annotations

import argparse
import base64
import csv
import datetime
import hashlib
import http.client
import json
import os
import ssl
import sys
import time
import urllib.parse
import uuid
from pathlib import Path

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding

JWT_LIFE_SECONDS = 600
REQUEST_SECONDS_MAX = 120
WIDTH_MAX = 60
_EPOCH = datetime.datetime(1970, 1, 1)


class QueryError(Exception):
    """What went wrong, in one line."""


class Target:
    """A snowflake:// URL: snowflake://USER@ACCOUNT/DATABASE/SCHEMA?warehouse=…&role=…&key_file=…&host=…&ca_file=…"""

    def __init__(self, url: str, key_file: str | None):
        parts = urllib.parse.urlsplit(url)
        options = dict(urllib.parse.parse_qsl(parts.query))
        if parts.scheme != "snowflake" or not parts.username or not parts.hostname:
            raise QueryError(f"not a snowflake:// URL: {url}")
        self.account = parts.netloc.rpartition("@")[2].upper()
        self.user = urllib.parse.unquote(parts.username).upper()
        path = [urllib.parse.unquote(part) for part in parts.path.strip("/").split("/")] + ["", ""]
        self.context = {"database": path[0], "schema": path[1], "warehouse": options.get("warehouse"), "role": options.get("role")}
        self.context = {name: value for name, value in self.context.items() if value}
        self.host = options.get("host") or f"{self.account.lower().replace('_', '-')}.snowflakecomputing.com"
        self.tls = ssl.create_default_context(cafile=options.get("ca_file"))
        key_file = key_file or options.get("key_file")
        if not key_file:
            raise QueryError("no key_file in the URL: give one with --key-file")
        self.key = serialization.load_pem_private_key(Path(key_file).read_bytes(), None)

    def jwt(self) -> str:
        def encode(data: bytes) -> bytes:
            return base64.urlsafe_b64encode(data).rstrip(b"=")

        public = self.key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        fingerprint = base64.b64encode(hashlib.sha256(public).digest()).decode()
        name, now = f"{self.account.partition('.')[0]}.{self.user}", int(time.time())
        claims = {"iss": f"{name}.SHA256:{fingerprint}", "sub": name, "iat": now, "exp": now + JWT_LIFE_SECONDS}
        signed = b".".join(encode(json.dumps(part).encode()) for part in ({"alg": "RS256", "typ": "JWT"}, claims))
        return (signed + b"." + encode(self.key.sign(signed, padding.PKCS1v15(), hashes.SHA256()))).decode()


class Api:
    def __init__(self, target: Target):
        self.target = target
        self.connection = http.client.HTTPSConnection(target.host, context=target.tls, timeout=REQUEST_SECONDS_MAX)
        self.headers = {
            "Authorization": f"Bearer {target.jwt()}",
            "X-Snowflake-Authorization-Token-Type": "KEYPAIR_JWT",
            "Accept": "application/json",
            "Content-Type": "application/json",
            "User-Agent": "etl-stream-sql/1 (Linux)",
        }

    def _request(self, method: str, path: str, body: dict | None = None) -> tuple[int, dict]:
        self.connection.request(method, path, json.dumps(body) if body else None, self.headers)
        answer = self.connection.getresponse()
        return answer.status, json.loads(answer.read())

    def _wait(self, status: int, answer: dict) -> dict:
        while status == 202:
            time.sleep(0.2)
            status, answer = self._request("GET", f"/api/v2/statements/{answer['statementHandle']}")
        if status != 200:
            raise QueryError(f"{answer.get('code')} ({answer.get('sqlState', status)}): {answer.get('message')}")
        return answer

    def run(self, statement: str):
        """Yields the complete answer of each statement."""
        body = {"statement": statement, "parameters": {"MULTI_STATEMENT_COUNT": "0"}, **self.target.context}
        answer = self._wait(*self._request("POST", f"/api/v2/statements?requestId={uuid.uuid4()}", body))
        for handle in answer.get("statementHandles") or [answer["statementHandle"]]:
            part = answer if handle == answer["statementHandle"] else self._wait(*self._request("GET", f"/api/v2/statements/{handle}"))
            for index in range(1, len(part["resultSetMetaData"]["partitionInfo"])):
                part["data"] += self._wait(*self._request("GET", f"/api/v2/statements/{handle}?partition={index}"))["data"]
            yield part


def readable(kind: str, text: str | None) -> str | None:
    """The SQL API's text of a value as a person writes it."""
    if text is None:
        return None
    if kind == "date":
        return str(datetime.date(1970, 1, 1) + datetime.timedelta(days=int(text)))
    if kind == "time" or kind.startswith("timestamp"):
        seconds, _, offset = text.partition(" ")
        whole, _, fraction = seconds.partition(".")
        microseconds = int(whole.lstrip("-") or 0) * 1_000_000 + int(fraction[:6].ljust(6, "0"))
        moment = _EPOCH + datetime.timedelta(microseconds=-microseconds if seconds.startswith("-") else microseconds)
        if kind == "time":
            return moment.time().isoformat()
        minutes = int(offset) - 1440 if offset else 0
        zone = "" if kind == "timestamp_ntz" else f" {'-' if minutes < 0 else '+'}{abs(minutes) // 60:02d}:{abs(minutes) % 60:02d}"
        return (moment + datetime.timedelta(minutes=minutes)).isoformat(sep=" ") + zone
    return text


def show(answer: dict, form: str) -> None:
    columns = answer["resultSetMetaData"]["rowType"]
    names = [column["name"] for column in columns]
    rows = [[readable(column["type"], cell) for column, cell in zip(columns, row)] for row in answer["data"]]
    if form == "json":
        for row in rows:
            print(json.dumps(dict(zip(names, row)), ensure_ascii=False))
    elif form == "csv":
        csv.writer(sys.stdout, lineterminator="\n").writerows([names, *rows])
    else:
        show_table(names, rows)


def show_table(names: list[str], rows: list[list[str | None]]) -> None:
    cells = [[("NULL" if cell is None else " ".join(cell.split()))[:WIDTH_MAX] for cell in row] for row in rows]
    widths = [max([len(name), *(len(row[index]) for row in cells)]) for index, name in enumerate(names)]
    for row in [names, ["-" * width for width in widths], *cells]:
        print(" | ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())
    print(f"({len(rows)} row{'' if len(rows) == 1 else 's'})")


def find_target(options: argparse.Namespace) -> Target:
    url = options.to or os.environ.get("SNOWFLAKE_TO")
    key_file = options.key_file
    if not url:
        ready = options.directory / "ready.json"
        if not ready.exists():
            raise QueryError(f"no {ready}: start the stand-in with tools/sandbox/start, or give --to or --directory")
        told = json.loads(ready.read_text())
        url, key_file = told["to"], key_file or told["key_file"]
    return Target(url, key_file)


def main() -> int:
    parser = argparse.ArgumentParser(prog="tools/sandbox/sql", description="Runs SQL over the SQL API and prints the rows.")
    parser.add_argument("statement", nargs="?", help="one statement, or several with semicolons (default: standard input)")
    parser.add_argument("--to", metavar="URL", help="snowflake://… as etl-stream takes it (default: SNOWFLAKE_TO, else the stand-in of --directory)")
    parser.add_argument("--directory", type=Path, default=Path("sandbox-state"), help="the stand-in's directory (default: sandbox-state)")
    parser.add_argument("--key-file", help="private key, if the URL names none")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_const", const="json", dest="form", help="one JSON object a row")
    form.add_argument("--csv", action="store_const", const="csv", dest="form", help="CSV with a header")
    options = parser.parse_args()
    try:
        for answer in Api(find_target(options)).run(options.statement or sys.stdin.read()):
            show(answer, options.form)
    except (QueryError, OSError, ValueError, http.client.HTTPException) as error:
        print(f"sql: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
