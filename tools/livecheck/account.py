"""The account under check: where it is, requests to it (counted), and the schemas that are made in it and dropped again."""
import copy
import json
import ssl
import time
import urllib.parse
import uuid

from sandbox_fixtures import Answer, Client, Pipe, make_jwt
from snowflake_client import Snowflake

# Snowflake takes a key-pair JWT for an hour at most.
JWT_LIFE_SECONDS, JWT_RENEW_SECONDS = 3300, 2400
TOKEN_RENEW_SECONDS = 240
# A server closes idle connections; a request on one that is about to be closed would look like an ambiguous failure.
IDLE_SECONDS_MAX = 4
POLL_SECONDS_MIN, POLL_SECONDS_MAX = 0.05, 2.0
INGEST_PATHS = ("/v2/streaming/databases/", "/v2/streaming/data/")
ROLE_SCOPE = " session:role:"
FOLDED = ("warehouse", "role")  # plain names; the SQL API takes them as they are stored


class CountedSnowflake(Snowflake):
    """The SQL client of tests and demo, within the budget."""

    budget = None

    def _request(self, *arguments, **options):
        self.budget.take(requests=1)
        return super()._request(*arguments, **options)


def with_schemas(url, schema, landing_schema):
    """The same destination with other schemas."""
    parts = urllib.parse.urlsplit(url)
    database = parts.path.strip("/").split("/")[0]
    query = [(name, value.upper() if name in FOLDED else value) for name, value in urllib.parse.parse_qsl(parts.query)
             if name != "landing_schema"]
    query.append(("landing_schema", landing_schema))
    return urllib.parse.urlunsplit(parts._replace(path=f"/{database}/{schema}",
                                                  query=urllib.parse.urlencode(query, safe="/:")))


def with_role(url, role):
    """The same destination, used by another role."""
    parts = urllib.parse.urlsplit(url)
    query = [(name, value) for name, value in urllib.parse.parse_qsl(parts.query) if name != "role"]
    query.append(("role", role.upper()))
    return urllib.parse.urlunsplit(parts._replace(query=urllib.parse.urlencode(query, safe="/:")))


class Account(Client):
    """Both hosts of an account behind the client that tests use; nothing is retried."""

    def __init__(self, url, budget):
        self.snowflake = CountedSnowflake(url)
        self.snowflake.budget = budget
        self.budget = budget
        self.key = self.snowflake._key
        self.account_host, self.ingest_host = self.snowflake.host, None
        self.host, self.token = self.account_host, None
        query = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(url).query))
        self._tls = ssl.create_default_context(cafile=query.get("ca_file"))
        self._connection = None
        self._connections = {}  # host → (connection, when it was used last)
        self._jwt, self._jwt_until, self._token_until = None, 0, 0

    @property
    def database(self):
        return self.snowflake.database

    @property
    def jwt(self):
        if time.monotonic() > self._jwt_until:
            self._jwt = self.make_jwt()
            self._jwt_until = time.monotonic() + JWT_RENEW_SECONDS
        return self._jwt

    def make_jwt(self, **changes):
        now = int(time.time())
        claims = {"iat": now, "exp": now + JWT_LIFE_SECONDS, **changes}
        return make_jwt(self.key, self.snowflake.account, self.snowflake.user, **claims)

    # ----- requests

    def request(self, method, path, body=None, headers=None, without=()):
        self.budget.take(requests=1)
        self.host = self.ingest_host if path.startswith(INGEST_PATHS) else self.account_host
        self._connection, used = self._connections.pop(self.host, (None, 0))
        if time.monotonic() - used > IDLE_SECONDS_MAX:
            self.close()
        answer = super().request(method, path, body, headers, without)
        self._connections[self.host] = self._connection, time.monotonic()
        return answer

    def close_all(self):
        for self._connection, _ in self._connections.values():
            self.close()
        self._connections = {}

    # ----- tokens

    def find_ingest_host(self):
        """The answer, whose text is the host or JSON that names it."""
        answer = self.hostname()
        if answer.status == 200:
            self.ingest_host = named_or_plain(answer, "hostname").replace("_", "-")
        return answer

    def exchange(self, jwt=None, scope=None, in_header=True, **form):
        """As etl-stream asks: the JWT in header and form, the role in the scope."""
        role = self.snowflake.role
        return super().exchange(jwt, scope or self.ingest_host + (ROLE_SCOPE + role if role else ""), in_header, **form)

    def renew_token(self):
        answer = self.exchange(assertion=self.jwt)
        if answer.status != 200:
            raise RuntimeError(f"no scoped token: {answer}")
        self.token = named_or_plain(answer, "token")
        self._token_until = time.monotonic() + TOKEN_RENEW_SECONDS
        return self.token

    def ingest_headers(self, **more):
        if time.monotonic() > self._token_until:
            self.renew_token()
        return super().ingest_headers(**more)

    # ----- SQL

    def post(self, text, query="", **more):
        """Submits one statement. `more` goes into the body, where None leaves a field out."""
        body = {"statement": text, "timeout": 60, "database": self.database, "schema": self.snowflake.schema,
                "warehouse": self.snowflake.warehouse, "role": self.snowflake.role, **more}
        body = {name: value for name, value in body.items() if value is not None}
        query = query or f"?requestId={uuid.uuid4()}"
        headers = {**self.account_headers(), "Content-Type": "application/json"}
        return self.request("POST", f"/api/v2/statements{query}", json.dumps(body).encode(), headers)

    def get_statement(self, handle):
        return self.request("GET", f"/api/v2/statements/{handle}", headers=self.account_headers())

    def wait(self, answer, seconds=120):
        deadline, pause = time.monotonic() + seconds, POLL_SECONDS_MIN
        while answer.status == 202:
            if time.monotonic() > deadline:
                raise RuntimeError(f"no result within {seconds} s: {answer}")
            time.sleep(pause)  # between two polls
            pause = min(POLL_SECONDS_MAX, pause * 1.5)
            answer = self.get_statement(answer.json["statementHandle"])
        return answer

    def statement(self, text, **more):
        return self.wait(self.post(text, **more))

    def run(self, text, **more):
        """The answer of a statement that must succeed, as JSON."""
        answer = self.statement(text, **more)
        if answer.status != 200:
            raise RuntimeError(f"HTTP {answer.status}: {outcome_of(answer)}")
        return answer.json

    def sql(self, text, **more):
        return self.run(text, **more)["data"]

    def value(self, text, **more):
        return self.sql(text, **more)[0][0]

    def shown(self, text, **more):
        """Rows of SHOW and DESCRIBE by their columns' names in lower case."""
        answer = self.run(text, **more)
        names = [column["name"].lower() for column in answer["resultSetMetaData"]["rowType"]]
        return [dict(zip(names, row)) for row in answer["data"]]

    # ----- streaming

    def make_pipe(self, table, columns, options="", kind="TABLE"):
        pipe = Pipe(self, table, self.database, self.snowflake.schema)
        self.run(f"CREATE {kind} {pipe.qualified} ({columns}) {options}")
        return pipe


def named_or_plain(answer: Answer, name):
    text = answer.body.decode("utf-8", "replace").strip()
    try:
        found = json.loads(text)
    except ValueError:
        return text
    return found[name] if isinstance(found, dict) else str(found)


def form_of(answer: Answer):
    try:
        return "JSON " + type(json.loads(answer.body)).__name__
    except ValueError:
        return "plain text"


def outcome_of(answer: Answer):
    """What an answer says: of an error its code, state and message."""
    try:
        found = answer.json
    except ValueError:
        return f"{answer.status} {answer.body[:200]!r}"
    if not isinstance(found, dict):
        return f"{answer.status} {found!r}"
    names = ("code", "error_code", "status_code", "sqlState", "message")
    said = ", ".join(f"{name} {found[name]}" for name in names if found.get(name) is not None)
    return f"{answer.status} {said}"


class Schemas:
    """The two schemas of this run. Their names have a random suffix, and nothing else is ever dropped."""

    def __init__(self, url, budget):
        self.suffix = uuid.uuid4().hex[:12].upper()
        self.target, self.landing = f"LIVE_CHECK_{self.suffix}", f"LIVE_CHECK_{self.suffix}_LANDING"
        self.to = with_schemas(url, self.target, self.landing)
        self.account = Account(self.to, budget)
        self.may_exist = False
        self.granted = None  # the same schemas for a role of the documented grants only

    def qualified(self, name):
        return ".".join('"' + part.replace('"', '""') + '"' for part in (self.account.database, name))

    def make(self):
        """The target's; etl-stream itself makes the landing schema. That neither was there is what allows dropping both."""
        names = [row["name"] for name in (self.target, self.landing) for row in self.account.shown(
            f"SHOW SCHEMAS LIKE '{name}' IN DATABASE {self.qualified(name).split('.')[0]}", schema=None)]
        if names:
            raise RuntimeError(f"schemas of these names exist already: {names}")
        self.may_exist = True
        self.account.run(f"CREATE SCHEMA {self.qualified(self.target)} COMMENT = 'etl-stream live-check; may be dropped'", schema=None)

    def as_granted(self, role):
        """What docs/snowflake.md grants on the target's schema; all else the role has to have been granted before."""
        self.account.run(f'GRANT USAGE, CREATE TABLE ON SCHEMA {self.qualified(self.target)} TO ROLE "{role.upper()}"', schema=None)
        self.granted = copy.copy(self)
        self.granted.to = with_role(self.to, role)
        self.granted.account = Account(self.granted.to, self.account.budget)
        return self.granted

    def statements(self):
        return [f"DROP SCHEMA IF EXISTS {self.qualified(name)} CASCADE" for name in (self.target, self.landing)]

    def drop(self):
        """What could not be dropped, with the reason."""
        failed = []
        owners = (self.account, self.granted.account if self.granted else self.account)  # who makes a schema drops it
        for account, statement in zip(owners, self.statements()) if self.may_exist else ():
            try:
                account.run(statement, schema=None)
            except Exception as error:  # whatever it is, the other schema is still tried
                failed.append(f"{statement}: {error}")
        return failed
