"""Who asks: key-pair JWTs against registered public keys, and the scoped tokens of the streaming interface.

Snowflake's codes for what is wrong: 390144 for an invalid JWT, 390303 and 390318 for an invalid and an expired OAuth
token, 390189 for a role that the user does not have, 391902 for a missing Accept header.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
import time
from dataclasses import dataclass, field

import orjson
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from . import errors

JWT_LIFE_SECONDS_MAX = 3600
# A client's clock may be ahead of ours by this much.
CLOCK_SKEW_SECONDS = 60
RSA_BITS_MIN = 2048
# Above this a time in a claim is taken as milliseconds (in seconds it would be the year 5138): Snowflake's SDK sends those.
SECONDS_MAX = 100_000_000_000
GRANT_TYPE = "urn:ietf:params:oauth:grant-type:jwt-bearer"
ROLE_PREFIX = "session:role:"
CACHE_SIZE_MAX = 1024


class RequestError(Exception):
    """A request that is refused: HTTP status, Snowflake's code, and a message for a person."""

    def __init__(self, status: int, code: str, message: str):
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


@dataclass(frozen=True)
class Principal:
    """The user of a request. `role` is the role that the token names, else the user's default."""

    user: str
    role_default: str
    roles: frozenset[str]
    role: str = ""


@dataclass
class User:
    name: str
    role_default: str
    roles: frozenset[str]
    keys: dict[str, rsa.RSAPublicKey] = field(default_factory=dict)  # fingerprint → key; Snowflake holds up to two


def fingerprint(key: rsa.RSAPublicKey) -> str:
    der = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return "SHA256:" + base64.b64encode(hashlib.sha256(der).digest()).decode()


class Auth:
    """Users, and the tokens given to them. `clock_offset_seconds` and `token_life_seconds` are for tests of expiry.

    Scoped tokens are valid across a restart if the signing key is.
    """

    def __init__(self, account: str, *, token_life_seconds: int = 600, signing_key: bytes | None = None):
        self.account = account.upper()
        self.users: dict[str, User] = {}
        self.token_life_seconds = token_life_seconds
        self.clock_offset_seconds = 0.0
        self.ingest_host = ""
        self._signing_key = signing_key or secrets.token_bytes(32)
        self._verified: dict[str, tuple[Principal, float]] = {}

    def add_user(self, name: str, public_key: bytes, *, role_default: str, roles: set[str] = frozenset()) -> User:
        """`public_key` is PEM, or the base64 of its DER as in ALTER USER … SET RSA_PUBLIC_KEY."""
        if b"-----" not in public_key:
            public_key = b"-----BEGIN PUBLIC KEY-----\n" + public_key.strip() + b"\n-----END PUBLIC KEY-----\n"
        key = serialization.load_pem_public_key(public_key)
        if not isinstance(key, rsa.RSAPublicKey) or key.key_size < RSA_BITS_MIN:
            raise ValueError(f"the public key of {name} must be RSA with at least {RSA_BITS_MIN} bits")
        user = self.users.setdefault(name.upper(), User(name.upper(), role_default, frozenset(roles) | {role_default}))
        user.keys[fingerprint(key)] = key
        return user

    def alter_user(self, name: str, options: dict) -> None:
        user = self.users.get(name)
        if user is None:
            raise errors.missing_object("User", name)
        if "DEFAULT_ROLE" in options:
            user.role_default = options["DEFAULT_ROLE"]
        if "RSA_PUBLIC_KEY" in options:
            try:
                self.add_user(name, options["RSA_PUBLIC_KEY"].encode(), role_default=user.role_default)
            except ValueError as error:
                raise errors.compilation("001008", "22023", f"New public key rejected by current policy. Reason: {error}") from None
        self._verified.clear()

    def change_roles(self, name: str, role: str, *, is_granted: bool) -> None:
        user = self.users.get(name)
        if user is None:
            raise errors.missing_object("User", name)
        user.roles = user.roles | {role} if is_granted else user.roles - {role}
        self._verified.clear()

    @property
    def ingest_host_name(self) -> str:
        """Without the port, which Snowflake's own host never has."""
        return self.ingest_host.rpartition(":")[0]

    def now(self) -> float:
        return time.time() + self.clock_offset_seconds

    def revoke_tokens(self) -> None:
        """All scoped tokens that were given out are invalid from now on."""
        self._signing_key = secrets.token_bytes(32)
        self._verified.clear()

    # ----- requests of the account interface (hostname, SQL API): the key-pair JWT itself

    def authenticate(self, request) -> Principal:
        """The user behind a request with a key-pair JWT. Raises RequestError (401)."""
        token = bearer(request)
        kind = request.headers.get("X-Snowflake-Authorization-Token-Type")
        if kind != "KEYPAIR_JWT":
            raise RequestError(401, "390146", f"X-Snowflake-Authorization-Token-Type must be KEYPAIR_JWT here, not {kind}")
        return self.verify_jwt(token)

    def verify_jwt(self, token: str) -> Principal:
        cached = self._verified.get(token)
        if cached and self.now() < cached[1]:
            return cached[0]
        principal, expires = self._check_jwt(token)
        if len(self._verified) >= CACHE_SIZE_MAX:
            self._verified.clear()
        self._verified[token] = (principal, expires)
        return principal

    def _check_jwt(self, token: str) -> tuple[Principal, float]:
        header, claims, signed, signature = _split_jwt(token, "390144")
        if header.get("alg") != "RS256":
            raise RequestError(401, "390144", "JWT token is invalid: the algorithm must be RS256.")
        subject, issuer = claims.get("sub"), claims.get("iss")
        if not isinstance(subject, str) or not isinstance(issuer, str):
            raise RequestError(401, "390144", "JWT token is invalid: iss and sub are needed.")
        account, _, user_name = subject.partition(".")
        if account != self.account:
            raise RequestError(401, "390144", f"JWT token is invalid: sub names account {account!r}, this one is {self.account}.")
        user = self.users.get(user_name)
        if user is None:
            raise RequestError(401, "390144", f"JWT token is invalid: no user {user_name!r}.")
        if not issuer.startswith(subject + "."):
            raise RequestError(401, "390144", "JWT token is invalid: iss must be sub and the key's fingerprint.")
        key = user.keys.get(issuer[len(subject) + 1 :])
        if key is None:
            raise RequestError(401, "390144", "JWT token is invalid: the public key's fingerprint is not registered for the user.")
        try:
            key.verify(signature, signed, padding.PKCS1v15(), hashes.SHA256())
        except InvalidSignature:
            raise RequestError(401, "390144", "JWT token is invalid: wrong signature.") from None
        expires = self._check_times(claims)
        role = self._role(user, _role_in_scope(claims.get("scp")))
        return Principal(user.name, user.role_default, user.roles, role), expires

    def _check_times(self, claims: dict) -> float:
        issued, expires = _seconds(claims.get("iat")), _seconds(claims.get("exp"))
        now = self.now()
        if issued is None or expires is None:
            raise RequestError(401, "390144", "JWT token is invalid: iat and exp are needed, as numbers.")
        if issued > now + CLOCK_SKEW_SECONDS:
            raise RequestError(401, "390144", "JWT token is invalid: it was issued in the future.")
        if expires - issued > JWT_LIFE_SECONDS_MAX:
            raise RequestError(401, "390144", "JWT token is invalid: exp is more than one hour after iat.")
        if expires <= now:
            raise RequestError(401, "390144", "JWT token is invalid: it has expired.")
        return expires

    @staticmethod
    def _role(user: User, name: str | None) -> str:
        if name is None:
            return user.role_default
        if name not in user.roles:
            raise RequestError(403, "390189", f"Role '{name}' specified in the connect string is not granted to this user.")
        return name

    # ----- the scoped token

    def exchange(self, request, form) -> str:
        """The scoped token for POST /oauth/token. The JWT comes as `assertion` in the form, as a header, or as both."""
        if form.get("grant_type") != GRANT_TYPE:
            raise RequestError(400, "390400", f"grant_type must be {GRANT_TYPE}")
        principal = None
        if request.headers.get("Authorization"):
            principal = self.authenticate(request)
        if "assertion" in form:
            asserted = self.verify_jwt(form["assertion"])
            if principal is not None and asserted.user != principal.user:
                raise RequestError(401, "390144", "the assertion and the Authorization header name different users")
            principal = asserted
        if principal is None:
            raise RequestError(401, "390144", "JWT token is invalid: no assertion and no Authorization header.")
        scopes = form.get("scope", "").split(" ")
        roles = [scope for scope in scopes if scope.startswith(ROLE_PREFIX)]
        hosts = [scope for scope in scopes if scope and not scope.startswith(ROLE_PREFIX)]
        if hosts not in ([self.ingest_host], [self.ingest_host_name]) or len(roles) > 1:
            raise RequestError(400, "390400", f"scope must be the ingest host {self.ingest_host}, and at most one {ROLE_PREFIX}NAME")
        role = self._role(self.users[principal.user], roles[0][len(ROLE_PREFIX) :]) if roles else principal.role
        return self._issue(principal.user, role)

    def _issue(self, user: str, role: str) -> str:
        issued = self.now()
        claims = {
            "iss": "snowbox",
            "sub": user,
            "aud": self.ingest_host,
            "scp": ROLE_PREFIX + role,
            "iat": int(issued),
            "exp": int(issued) + self.token_life_seconds,
            "jti": secrets.token_hex(8),
        }
        signed = b".".join(_encode(orjson.dumps(part)) for part in ({"alg": "HS256", "typ": "JWT"}, claims))
        return (signed + b"." + _encode(hmac.digest(self._signing_key, signed, "sha256"))).decode()

    def authenticate_scoped(self, request) -> Principal:
        """The user behind a request to the ingest host. Raises RequestError (401)."""
        token = bearer(request)
        kind = request.headers.get("X-Snowflake-Authorization-Token-Type", "OAUTH")
        if kind != "OAUTH":
            raise RequestError(401, "390146", f"X-Snowflake-Authorization-Token-Type must be OAUTH on the ingest host, not {kind}")
        cached = self._verified.get("scoped " + token)
        if cached:
            if self.now() < cached[1]:
                return cached[0]
            raise RequestError(401, "390318", "OAuth access token expired.")
        header, claims, signed, signature = _split_jwt(token, "390303")
        if header.get("alg") != "HS256" or not hmac.compare_digest(signature, hmac.digest(self._signing_key, signed, "sha256")):
            raise RequestError(401, "390303", "Invalid OAuth access token.")
        if claims["exp"] <= self.now():
            raise RequestError(401, "390318", "OAuth access token expired.")
        user = self.users.get(claims["sub"])
        if user is None or claims["aud"] != self.ingest_host:
            raise RequestError(401, "390303", "Invalid OAuth access token.")
        principal = Principal(user.name, user.role_default, user.roles, claims["scp"][len(ROLE_PREFIX) :])
        self._verified["scoped " + token] = (principal, claims["exp"])
        return principal


def bearer(request) -> str:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise RequestError(401, "390101", "Authorization header not found in the request data.")
    return token


def check_headers(request) -> None:
    """What Snowflake wants of every request, whoever sends it."""
    accept = request.headers.get("Accept")
    if accept is None:
        raise RequestError(400, "391902", "Unsupported Accept header null is specified.")
    kinds = {part.split(";")[0].strip().lower() for part in accept.split(",")}
    if not kinds & {"application/json", "application/*", "*/*", "text/plain"}:
        raise RequestError(400, "391902", f"Unsupported Accept header {accept} is specified.")
    if not request.headers.get("User-Agent"):
        raise RequestError(400, "391903", "A User-Agent header is required.")


def _encode(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def _decode(text: str) -> bytes:
    if "=" in text or "+" in text or "/" in text:
        raise binascii.Error("not base64url")
    return base64.b64decode(text.replace("-", "+").replace("_", "/") + "=" * (-len(text) % 4), validate=True)


def _split_jwt(token: str, code: str) -> tuple[dict, dict, bytes, bytes]:
    parts = token.split(".")
    try:
        header, claims = (orjson.loads(_decode(part)) for part in parts[:2])
        signature = _decode(parts[2])
    except (ValueError, IndexError):
        raise RequestError(401, code, "the token is not a JWT") from None
    if len(parts) != 3 or not isinstance(header, dict) or not isinstance(claims, dict):
        raise RequestError(401, code, "the token is not a JWT")
    return header, claims, f"{parts[0]}.{parts[1]}".encode(), signature


def _seconds(value) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return value / 1000 if value > SECONDS_MAX else float(value)


def _role_in_scope(scope) -> str | None:
    if not isinstance(scope, str):
        return None
    roles = [part[len(ROLE_PREFIX) :] for part in scope.split(" ") if part.startswith(ROLE_PREFIX)]
    return roles[0] if roles else None
