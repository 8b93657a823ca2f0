"""A small client of Snowflake's SQL API, for tests and demo. It shares no code with the program under test.

Facts: https://docs.snowflake.com/en/developer-guide/sql-api/ (authenticating, submitting requests, handling responses).
"""
import base64
import hashlib
import json
import os
import ssl
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding

TOKEN_SECONDS = 3000
OBJECT_IS_MISSING = "002003"  # "Object does not exist or not authorized."


class SnowflakeError(Exception):
    def __init__(self, status, answer):
        self.status = status
        self.code = answer.get("code") if isinstance(answer, dict) else None
        super().__init__(f"HTTP {status}: {answer}")


def _base64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=")


class Snowflake:
    """Made from the URL that `etl-stream run --to` takes. Threads may share one."""

    def __init__(self, url, warehouse=None):
        parts = urllib.parse.urlsplit(url)
        query = {name: values[0] for name, values in urllib.parse.parse_qs(parts.query).items()}
        self.user = urllib.parse.unquote(parts.username).upper()
        self.account = parts.hostname.split(".")[0].upper()
        database, schema = (urllib.parse.unquote(part) for part in parts.path.strip("/").split("/"))
        self.database, self.schema = database.upper(), schema.upper()
        self.landing_schema = query.get("landing_schema", "ETL_SCHEMA").upper()
        self.warehouse, self.role = warehouse or query.get("warehouse"), query.get("role")
        self.host = query.get("host") or parts.hostname.replace("_", "-") + ".snowflakecomputing.com"  # with a locator's region
        self._tls = ssl.create_default_context(cafile=query.get("ca_file"))
        with open(query["key_file"], "rb") as file:
            self._key = serialization.load_pem_private_key(file.read(), os.environ.get(
                "SNOWFLAKE_PRIVATE_KEY_PASSPHRASE", "").encode() or None)
        self._token, self._token_until = None, 0
        self._lock = threading.Lock()

    def _jwt(self):
        with self._lock:
            now = int(time.time())
            if now >= self._token_until:
                public = self._key.public_key().public_bytes(serialization.Encoding.DER,
                                                             serialization.PublicFormat.SubjectPublicKeyInfo)
                fingerprint = base64.b64encode(hashlib.sha256(public).digest()).decode()
                subject = f"{self.account}.{self.user}"
                claims = {"iss": f"{subject}.SHA256:{fingerprint}", "sub": subject, "iat": now,
                          "exp": now + TOKEN_SECONDS}
                signed = b".".join(_base64url(json.dumps(part).encode())
                                   for part in ({"alg": "RS256", "typ": "JWT"}, claims))
                signature = self._key.sign(signed, padding.PKCS1v15(), hashes.SHA256())
                self._token = (signed + b"." + _base64url(signature)).decode()
                self._token_until = now + TOKEN_SECONDS - 300
            return self._token

    def _request(self, method, path, body=None, seconds=120):
        request = urllib.request.Request(f"https://{self.host}{path}", method=method, headers={
            "Authorization": "Bearer " + self._jwt(),
            "X-Snowflake-Authorization-Token-Type": "KEYPAIR_JWT",
            "Accept": "application/json",
            "Content-Type": "application/json",
            "User-Agent": "etl-stream-compare/1 (Linux)",
        }, data=None if body is None else json.dumps(body).encode())
        try:
            with urllib.request.urlopen(request, timeout=seconds, context=self._tls) as answer:
                return answer.status, json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as error:
            text = error.read()
            try:
                answer = json.loads(text)
            except ValueError:
                answer = {"message": text.decode("utf-8", "replace")}
            raise SnowflakeError(error.code, answer) from None

    def execute(self, statement, seconds=120, **more):
        """Runs one statement; returns (its columns as Snowflake describes them, its rows of texts and None)."""
        body = {"statement": statement, "timeout": seconds, "database": self.database, "schema": self.schema, **more}
        for name in ("warehouse", "role"):
            if getattr(self, name):
                body.setdefault(name, getattr(self, name))
        deadline = time.monotonic() + seconds
        status, answer = self._request("POST", f"/api/v2/statements?requestId={uuid.uuid4()}", body, seconds)
        handle, pause = answer.get("statementHandle"), 0.02
        while status == 202:
            if time.monotonic() > deadline:
                raise SnowflakeError(202, {"message": f"no result within {seconds} s", "statementHandle": handle})
            time.sleep(pause)  # between two polls; the API has no way to be told
            pause = min(1.0, pause * 2)
            status, answer = self._request("GET", f"/api/v2/statements/{handle}", seconds=seconds)
        described = answer.get("resultSetMetaData", {})
        rows = answer.get("data") or []
        for partition in range(1, len(described.get("partitionInfo") or [])):
            rows += self._request("GET", f"/api/v2/statements/{handle}?partition={partition}", seconds=seconds)[1]["data"]
        return described.get("rowType", []), rows

    def query(self, statement, **more):
        return self.execute(statement, **more)[1]

    def value(self, statement, **more):
        return self.query(statement, **more)[0][0]

    def qualified(self, table, schema=None):
        return ".".join('"' + name.replace('"', '""') + '"' for name in (self.database, schema or self.schema, table))

    def landing(self, table):
        """The landing table of a source table."""
        return self.qualified("LANDING_" + table.upper(), self.landing_schema)

    def stream_rows_twice(self, table):
        """Sequences of streamed rows (not of copied ones) that are in the landing table more than once."""
        return self.query(f'SELECT "_ETL_SEQ", COUNT(*) FROM {self.landing(table)} WHERE "_ETL_OP" <> \'C\' '
                          'GROUP BY "_ETL_SEQ" HAVING COUNT(*) > 1')
