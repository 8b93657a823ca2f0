"""The stand-in against a client that is not ours: Snowflake's own streaming SDK, over TLS."""
import json
import os
import subprocess
import sys

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from sandbox_fixtures import Client, Pipe
from standin import StandIn

# Runs in a process of its own: the SDK reads SSL_CERT_FILE once, and keeps threads.
SCRIPT = r'''
import json, sys
from snowflake.ingest.streaming import StreamingIngestClient

told = json.loads(sys.argv[1])
with open(told["key_file"]) as file:
    private_key = file.read()
properties = {"account": told["account"], "user": told["user"], "url": told["url"], "private_key": private_key, "role": "ETL_ROLE"}
answers = {}


def status(channel_status):
    names = ("status_code", "latest_committed_offset_token", "rows_inserted_count", "rows_parsed_count", "rows_error_count",
             "last_error_message", "last_error_offset_token_upper_bound")
    return {name: getattr(channel_status, name) for name in names}


def wait(channel, token):
    channel.wait_for_commit(lambda committed: committed == token, 60)
    return status(channel.get_channel_status())


client = StreamingIngestClient("stand-in test", "DEMO_DB", "PUBLIC", "SDK-STREAMING", properties=properties)
channel, opened = client.open_channel("SDK_CHANNEL")
answers["opened"] = status(opened)
for number in range(1, 501):
    channel.append_row({"ID": number, "NAME": f"name {number}", "J": {"number": number, "list": [1, None, "x"]}}, str(number))
answers["first"] = wait(channel, "500")
channel.append_rows([{"ID": 501}, {"ID": "not a number"}, {"ID": 502}], "501", "503")
answers["second"] = wait(channel, "503")
channel.close()
channel, reopened = client.open_channel("SDK_CHANNEL")
answers["reopened"] = status(reopened)
channel.append_row({"ID": 504}, "504")
answers["third"] = wait(channel, "504")
answers["tokens"] = client.get_latest_committed_offset_tokens(["SDK_CHANNEL"])
channel.close(drop=True)
again, fresh = client.open_channel("SDK_CHANNEL")
answers["after drop"] = status(fresh)
again.close(drop=True)
client.close()
print(json.dumps(answers))
'''


def run_sdk(box):
    environment = {**os.environ, "SSL_CERT_FILE": box.told["ca_file"], "SS_LOG_LEVEL": "warn"}
    # The SDK adds the account URL's port to the ingest host that it is told, as Snowflake's hosts never have one.
    box.ask("/set_answers", {"port": False})
    done = subprocess.run([sys.executable, "-c", SCRIPT, json.dumps(box.told)], env=environment, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def box():
    with StandIn() as standin:
        yield standin


@pytest.fixture
def pipe(box):
    client = Client(box.told)
    pipe = Pipe(client, "SDK")
    client.sql(f'CREATE OR REPLACE TABLE {pipe.qualified} ("ID" NUMBER(38,0), "NAME" VARCHAR(100), "J" VARIANT)')
    yield pipe
    client.close()


def check(answers, pipe):
    healthy = {"status_code": "SUCCESS"}
    assert answers["opened"] == answers["opened"] | healthy | {"latest_committed_offset_token": None, "rows_inserted_count": 0}
    assert answers["first"] == answers["first"] | healthy | {"latest_committed_offset_token": "500", "rows_inserted_count": 500}
    second = answers["second"]
    assert second == second | healthy | {"rows_inserted_count": 502, "rows_parsed_count": 503, "rows_error_count": 1}
    assert "NUMBER(38,0)" in second["last_error_message"]
    assert second["last_error_offset_token_upper_bound"] == "503"
    assert answers["reopened"]["latest_committed_offset_token"] == "503"
    assert answers["third"]["rows_inserted_count"] == 503
    assert answers["tokens"] == {"SDK_CHANNEL": "504"}
    assert answers["after drop"] == answers["after drop"] | {"latest_committed_offset_token": None, "rows_inserted_count": 0}
    rows = pipe.rows('"ID", "NAME", "J"', '"ID"')
    assert [int(row[0]) for row in rows] == [*range(1, 503), 504]
    assert rows[6][1] == "name 7"
    assert json.loads(rows[6][2]) == {"number": 7, "list": [1, None, "x"]}


def test_the_sdk_opens_appends_waits_reopens_and_drops(box, pipe):
    check(run_sdk(box), pipe)
    steps = {entry["step"] for entry in box.ask("/log")["requests"]}
    assert {"hostname", "token", "pipe_info", "open", "append.after", "status", "drop"} <= steps
    assert "internal_errors" not in box.ask("/statistics")


def test_the_sdk_gets_over_refusals_lost_answers_and_resets(box, pipe):
    """It sends the same append again, with the same continuation token: nothing may be there twice."""
    box.ask("/log", method="DELETE")
    for fault in (
        {"step": "append.before", "status": 429, "code": "ReceiverSaturated"},
        {"step": "append.after", "reset": True},
        {"step": "append.after", "status": 503, "skip": 1},
        {"step": "open", "status": 500, "skip": 1},
        {"step": "status", "status": 503},
        {"step": "commit", "status": 500},
    ):
        box.ask("/faults", fault)
    check(run_sdk(box), pipe)
    assert sum(fault["hits"] for fault in box.ask("/faults")["faults"]) == 6


def test_the_sdk_is_refused_with_the_wrong_key(box, tmp_path):
    """The check on the checks: with a key that is not registered the same program must fail."""
    stranger = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    file = tmp_path / "stranger.p8"
    file.write_bytes(stranger.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    box.ask("/set_answers", {"port": False})
    environment = {**os.environ, "SSL_CERT_FILE": box.told["ca_file"], "SS_LOG_LEVEL": "error"}
    told = {**box.told, "key_file": str(file)}
    done = subprocess.run([sys.executable, "-c", SCRIPT, json.dumps(told)], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode != 0
    assert "390144" in done.stdout + done.stderr or "401" in done.stdout + done.stderr
