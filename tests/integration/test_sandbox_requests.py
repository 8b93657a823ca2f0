"""The stand-in's streaming interface: bodies, limits, tokens, headers."""
import time
import uuid

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from program import patience, wait_until
from sandbox_fixtures import make_jwt
from streaming_box import box, channel, client, ids, numbered, pipe, plain_settings  # noqa: F401 (fixtures)

# ----- bodies and limits


@pytest.mark.parametrize("encoding", [None, "zstd", "gzip"])
def test_encodings(pipe, channel, encoding):
    channel.append(b'\n{"ID":1}\r\n\n  \n{"ID":2}\n\n', "1", encoding=encoding)
    assert channel.wait_committed("1")["rows_parsed"] == 2
    assert ids(pipe) == [1, 2]


@pytest.mark.parametrize("rows, headers", [
    (b'{"ID":1}', {}),
    (b"", {}),
    (b"\n \n", {}),
    (b'{"ID":1}\n', {"Content-Encoding": "zstd", "x-snowflake-uncompressed-content-length": "9"}),
    (b'{"ID":1}\n', {"Content-Encoding": "br"}),
    (b'{"ID":1}\n', {"x-snowflake-uncompressed-content-length": "10"}),
])
def test_wrong_bodies_are_refused(channel, rows, headers):
    assert channel.try_append(rows, "1", headers=headers).status == 400
    assert channel.try_append(numbered(1, 1), "1").status == 200


def test_declared_length_is_checked_and_needed(channel):
    for declared in ("8", "", "nine"):
        answer = channel.try_append(numbered(1, 1), "1", encoding="zstd", headers={"x-snowflake-uncompressed-content-length": declared})
        assert answer.status == 400, declared
    whole = channel.try_append(numbered(1, 100), "1", encoding="zstd")
    assert whole.status == 200


def test_content_type_and_unknown_parameters_are_refused(channel):
    assert channel.try_append(numbered(1, 1), "1", headers={"Content-Type": "text/csv"}).status == 415
    assert channel.try_append(numbered(1, 1), "1", what="x").status == 400
    assert channel.try_append(numbered(1, 1), "1", requestId="x").status == 400
    assert channel.try_append(numbered(1, 1), "1", requestId=str(uuid.uuid4()), retryCount="1").status == 200


def test_four_megabytes_on_the_wire(pipe, channel):
    limit = 4 * 1024 * 1024
    row = b'{"ID":1,"ignored":"' + b"x" * 1000 + b'"}\n'
    body = row * (limit // len(row) + 1)
    assert channel.try_append(body, "1").status == 413
    body = row * (limit // len(row))
    body = body[:-1] + b" " * (limit - len(body)) + b"\n"
    assert len(body) == limit
    channel.append(body, "1")
    channel.wait_committed("1")
    assert channel.try_append(body + b"\n", "2").status == 413


def test_ten_requests_a_second(box, pipe, channel):
    answers = []
    started = time.monotonic()
    while len(answers) < 40 or 429 not in answers and time.monotonic() < started + patience(60):  # a machine that stands still is within the limit
        number = len(answers) + 1
        answer = channel.try_append(numbered(number, number), str(number))
        answers.append(answer.status)
        if answer.status == 200:
            channel.token = answer.json["next_continuation_token"]
            last = str(number)
    seconds = time.monotonic() - started
    assert set(answers) == {200, 429}
    assert answers.count(200) <= 10 + 10 * seconds + 1
    channel.wait_committed(last)
    box.ask("/set_limits", {"enabled": False})
    channel.token = channel.try_append(numbered(50, 50), "fifty").json["next_continuation_token"]
    assert [channel.try_append(numbered(51, 51), "fifty-one", token=channel.token).status for _ in range(20)] == [200] * 20


def test_twenty_megabytes_a_second(channel):
    body = (b'{"ID":1,"ignored":"' + b"x" * 1000 + b'"}\n') * 50_000
    for number in range(1, 6):
        channel.append(body, f"large {number}", encoding="zstd")  # more than a second's worth: passes, and is paid off afterwards
        answer = channel.try_append(numbered(2, 2), f"small {number}")
        if answer.status == 429:
            break
        channel.token = answer.json["next_continuation_token"]  # the machine stood still, and it is paid off already
    assert answer.status == 429
    wait_until(lambda: channel.try_append(numbered(2, 2), "last").status != 429, 60, "it to be paid off", pause=0.1)


# ----- who asks


def test_jwt_is_checked(box, client):
    now = int(time.time())
    stranger = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    assert client.hostname().status == 200
    wrong = {
        "expired": make_jwt(client.key, iat=now - 4000, exp=now - 500),
        "longer than an hour": make_jwt(client.key, iat=now, exp=now + 3601),
        "from the future": make_jwt(client.key, iat=now + 600, exp=now + 1200),
        "without exp": make_jwt(client.key, exp=None),
        "other account": make_jwt(client.key, account="OTHER"),
        "other user": make_jwt(client.key, user="NOBODY"),
        "lower case": make_jwt(client.key, user="etl"),
        "unknown key": make_jwt(stranger),
        "issuer of another key": make_jwt(stranger, iss=f"SANDBOX.ETL.{make_jwt(client.key)}"),
        "no fingerprint": make_jwt(client.key, iss="SANDBOX.ETL"),
        "algorithm": make_jwt(client.key, alg="none"),
        "signature": client.jwt[:-8] + "AAAAAAAA",
        "no jwt": "abc",
    }
    for what, jwt in wrong.items():
        answer = client.hostname(jwt)
        assert (answer.status, answer.code) == (401, "390144"), what
        assert client.exchange(jwt).status == 401, what
    assert client.request("GET", "/v2/streaming/hostname").status == 401


def test_times_in_milliseconds_are_taken(client):
    now = int(time.time() * 1000)
    assert client.hostname(make_jwt(client.key, iat=now, exp=now + 600_000)).status == 200
    assert client.hostname(make_jwt(client.key, iat=now - 4_000_000, exp=now - 500_000)).status == 401


def test_scoped_token_in_every_documented_form(box, client):
    for answer in (
        client.exchange(),
        client.exchange(in_header=True),
        client.exchange(in_header=True, assertion=client.jwt),
        client.exchange(scope=f"{client.host} session:role:ETL_ROLE"),
        client.exchange(jwt=make_jwt(client.key, scp="session:role:ETL_ROLE")),
    ):
        assert answer.status == 200, answer
        assert answer.body.count(b".") == 2
    box.ask("/set_answers", {"json": True})
    assert client.exchange().json["token"].count(".") == 2
    assert client.hostname().json == {"hostname": client.host}
    assert client.exchange(scope="elsewhere.example").status == 400
    assert client.exchange(grant_type="client_credentials").status == 400
    assert client.exchange(scope=f"{client.host} session:role:ACCOUNTADMIN").code == "390189"
    assert client.exchange(jwt=make_jwt(client.key, scp="session:role:ACCOUNTADMIN")).code == "390189"


def test_scoped_tokens_expire_and_can_be_revoked(box, client, channel):
    box.ask("/set_token_life", {"seconds": 30})
    client.renew_token()
    channel.append(numbered(1, 1), "1")
    box.ask("/set_clock", {"offset_seconds": 31})
    answer = channel.try_append(numbered(2, 2), "2")
    assert (answer.status, answer.code) == (401, "390318")
    client.renew_token()
    channel.append(numbered(2, 2), "2")
    box.ask("/revoke_tokens", {})
    assert channel.try_append(numbered(3, 3), "3").code == "390303"
    client.renew_token()
    channel.append(numbered(3, 3), "3")


def test_tokens_are_not_interchangeable(client, pipe):
    scoped = client.renew_token()
    assert client.hostname(scoped).status == 401
    answer = client.request("PUT", pipe.channel().path, b"{}", client.account_headers())
    assert answer.status == 401
    answer = client.request("PUT", pipe.channel().path, b"{}", {"Authorization": f"Bearer {client.jwt}"})
    assert (answer.status, answer.code) == (401, "390303")


def test_headers_that_snowflake_wants(client):
    answer = client.request("GET", "/v2/streaming/hostname", headers=client.account_headers(), without=("Accept",))
    assert (answer.status, answer.code) == (400, "391902")
    answer = client.request("GET", "/v2/streaming/hostname", headers={**client.account_headers(), "Accept": "text/csv"})
    assert answer.code == "391902"
    assert client.request("GET", "/v2/streaming/hostname", headers=client.account_headers(), without=("User-Agent",)).status == 400
