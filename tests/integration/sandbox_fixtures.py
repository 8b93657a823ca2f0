"""A client of the streaming interface, for tests of the stand-in itself. It shares no code with the program or the stand-in.

One request after the other on one connection, nothing retried: a test sees every answer as it came.
"""
import base64
import gzip
import hashlib
import http.client
import json
import ssl
import time
import urllib.parse
import uuid

import zstandard
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding

GRANT_TYPE = "urn:ietf:params:oauth:grant-type:jwt-bearer"
USER_AGENT = "etl-stream-test/1 (Linux)"


class Answer:
    def __init__(self, status, body):
        self.status, self.body = status, body

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def code(self):
        return self.json["code"]

    def __repr__(self):
        return f"Answer({self.status}, {self.body[:300]!r})"


def base64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def quoted(name):
    return urllib.parse.quote('"' + name.replace('"', '""') + '"', safe="")


def load_key(file):
    with open(file, "rb") as opened:
        return serialization.load_pem_private_key(opened.read(), None)


def fingerprint(key):
    public = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return "SHA256:" + base64.b64encode(hashlib.sha256(public).digest()).decode()


def make_jwt(key, account="SANDBOX", user="ETL", **changes):
    """`changes` replace claims; None leaves one out. `alg` changes the header."""
    now = int(time.time())
    header = {"alg": changes.pop("alg", "RS256"), "typ": "JWT"}
    claims = {"iss": f"{account}.{user}.{fingerprint(key)}", "sub": f"{account}.{user}", "iat": now, "exp": now + 3600}
    claims = {name: value for name, value in {**claims, **changes}.items() if value is not None}
    signed = ".".join(base64url(json.dumps(part).encode()) for part in (header, claims))
    return signed + "." + base64url(key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256()))


class Client:
    """A connection to a stand-in that has told where it is (`told`, the line it prints at its start)."""

    def __init__(self, told):
        self.told = told
        self.host = told["url"].removeprefix("https://")
        self.key = load_key(told["key_file"])
        self.jwt = make_jwt(self.key)
        self.token = None
        self._tls = ssl.create_default_context(cafile=told["ca_file"])
        self._connection = None

    def close(self):
        if self._connection:
            self._connection.close()
        self._connection = None

    def request(self, method, path, body=None, headers=None, without=()):
        """`without`: names of standard headers to leave out."""
        if self._connection is None:
            self._connection = http.client.HTTPSConnection(self.host, context=self._tls, timeout=60)
        standard = {"Accept": "application/json", "User-Agent": USER_AGENT}
        sent = {**{name: value for name, value in standard.items() if name not in without}, **(headers or {})}
        try:
            self._connection.putrequest(method, path, skip_accept_encoding=True)
            if body is not None:
                sent["Content-Length"] = str(len(body))
            for name, value in sent.items():
                self._connection.putheader(name, value)
            self._connection.endheaders(body)
            answer = self._connection.getresponse()
            return Answer(answer.status, answer.read())
        except (OSError, http.client.HTTPException):
            self.close()
            raise

    # ----- account host

    def account_headers(self, jwt=None):
        return {"Authorization": f"Bearer {jwt or self.jwt}", "X-Snowflake-Authorization-Token-Type": "KEYPAIR_JWT"}

    def hostname(self, jwt=None):
        return self.request("GET", "/v2/streaming/hostname", headers=self.account_headers(jwt))

    def exchange(self, jwt=None, scope=None, in_header=False, **form):
        form = {"grant_type": GRANT_TYPE, "scope": scope or self.host, **form}
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        if in_header:
            headers |= self.account_headers(jwt)
        else:
            form.setdefault("assertion", jwt or self.jwt)
        return self.request("POST", "/oauth/token", urllib.parse.urlencode(form).encode(), headers)

    def renew_token(self):
        answer = self.exchange()
        assert answer.status == 200, answer
        self.token = answer.body.decode()
        return self.token

    def ingest_headers(self, **more):
        token = self.token or self.renew_token()
        return {"Authorization": f"Bearer {token}", "X-Snowflake-Authorization-Token-Type": "OAUTH", **more}

    def statement(self, text, **more):
        """One statement over the SQL API, waited for; its answer."""
        body = {"statement": text, "timeout": 60, "warehouse": "ETL_WH", **more}
        headers = {**self.account_headers(), "Content-Type": "application/json"}
        answer = self.request("POST", f"/api/v2/statements?requestId={uuid.uuid4()}", json.dumps(body).encode(), headers)
        while answer.status == 202:
            time.sleep(0.02)
            answer = self.request("GET", f"/api/v2/statements/{answer.json['statementHandle']}", headers=self.account_headers())
        return answer

    def sql(self, text, **more):
        """The rows of a statement that must succeed."""
        answer = self.statement(text, **more)
        assert answer.status == 200, answer
        return answer.json["data"]


class Pipe:
    """The default pipe of a table; all names are sent quoted."""

    def __init__(self, client, table, database="DEMO_DB", schema="PUBLIC"):
        self.client, self.table, self.database, self.schema = client, table, database, schema

    def path(self, data=False):
        names = quoted(self.database), quoted(self.schema), quoted(self.table + "-STREAMING")
        return "/v2/streaming/" + ("data/" if data else "") + "databases/{}/schemas/{}/pipes/{}".format(*names)

    @property
    def qualified(self):
        return ".".join('"' + name.replace('"', '""') + '"' for name in (self.database, self.schema, self.table))

    def channel(self, name="C1"):
        return ChannelClient(self, name)

    def status(self, *names):
        answer = self.client.request("POST", self.path() + ":bulk-channel-status", json.dumps({"channel_names": names}).encode(),
                                     self.client.ingest_headers(**{"Content-Type": "application/json"}))
        assert answer.status == 200, answer
        return answer.json["channel_statuses"]

    def rows(self, columns="*", order="1"):
        return self.client.sql(f"SELECT {columns} FROM {self.qualified} ORDER BY {order}")


class ChannelClient:
    def __init__(self, pipe, name):
        self.pipe, self.client, self.name = pipe, pipe.client, name
        self.token = None

    @property
    def path(self):
        return f"{self.pipe.path()}/channels/{self.name}"

    def try_open(self, body=None, **options):
        text = json.dumps(options).encode() if body is None else body
        return self.client.request("PUT", self.path, text, self.client.ingest_headers(**{"Content-Type": "application/json"}))

    def open(self, **options):
        answer = self.try_open(**options)
        assert answer.status == 200, answer
        self.token = answer.json["next_continuation_token"]
        return answer.json["channel_status"]

    def try_append(self, rows, end=None, start=None, token=None, encoding=None, headers=None, **query):
        """`rows`: objects, or the bytes of the body before compression."""
        raw = rows if isinstance(rows, bytes) else b"".join(json.dumps(row).encode() + b"\n" for row in rows)
        body, sent = raw, {"Content-Type": "application/x-ndjson"}
        if encoding:
            body = zstandard.compress(raw) if encoding == "zstd" else gzip.compress(raw)
            sent |= {"Content-Encoding": encoding, "x-snowflake-uncompressed-content-length": str(len(raw))}
        parameters = {"continuationToken": token or self.token, "startOffsetToken": start, "endOffsetToken": end, **query}
        parameters = {name: value for name, value in parameters.items() if value is not None}
        path = f"{self.pipe.path(data=True)}/channels/{self.name}/rows?{urllib.parse.urlencode(parameters)}"
        return self.client.request("POST", path, body, self.client.ingest_headers(**{**sent, **(headers or {})}))

    def append(self, rows, end=None, **options):
        answer = self.try_append(rows, end, **options)
        assert answer.status == 200, answer
        self.token = answer.json["next_continuation_token"]
        return self.token

    def status(self):
        return self.pipe.status(self.name)[self.name]

    def wait_committed(self, token, seconds=60, pause=0.02):
        deadline = time.monotonic() + seconds
        while True:
            status = self.status()
            if status["last_committed_offset_token"] == token:
                return status
            assert time.monotonic() < deadline, f"token {token} is not committed: {status}"
            time.sleep(pause)

    def drop(self, **options):
        body = json.dumps(options).encode() if options else None
        return self.client.request("DELETE", self.path, body, self.client.ingest_headers())
