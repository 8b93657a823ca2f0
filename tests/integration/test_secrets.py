"""Keys and passwords stay where they belong: searched for in files, logs, the argument list and, from outside, in memory."""
import pathlib
import re
import urllib.parse

import pytest
from cryptography.hazmat.primitives import serialization

import load
from program import run_command, wait_until
from test_pipeline import MERGE_OFTEN, make_tables, settle

PASSWORD = "correct-horse-7319-battery"
PIECE = 24  # bytes of a secret that count as finding it
CHUNK = 1 << 22


def key_patterns(key_file):
    """Pieces of the key by name: PEM lines, and each number of it as OpenSSL stores it (limbs) and as DER does."""
    pem = pathlib.Path(key_file).read_bytes()
    key = serialization.load_pem_private_key(pem, None)
    numbers = key.private_numbers()
    patterns = {}
    for name in ("p", "q", "d", "dmp1", "dmq1", "iqmp"):
        raw = getattr(numbers, name).to_bytes((getattr(numbers, name).bit_length() + 7) // 8, "big")
        patterns[f"{name} as DER"] = raw[:PIECE]
        patterns[f"{name} as limbs"] = raw[::-1][:PIECE]
    lines = pem.decode().splitlines()
    # The first line holds the public modulus in PKCS#8; the private parts fill the second half.
    for number in (len(lines) // 2, len(lines) * 3 // 4, len(lines) - 3):
        patterns[f"PEM line {number}"] = lines[number].encode()[:PIECE]
    modulus = numbers.public_numbers.n.to_bytes(key.key_size // 8, "big")
    return patterns, {"modulus as DER": modulus[:PIECE], "modulus as limbs": modulus[::-1][:PIECE]}


def mappings(pid):
    """(start, end, is the secure heap) of what can be read. The secure heap is locked and left out of dumps (lo, dd)."""
    found, current = [], None
    for line in pathlib.Path(f"/proc/{pid}/smaps").read_text().splitlines():
        head = re.match(r"([0-9a-f]+)-([0-9a-f]+) (\S{4}) .*?(\[v\w+\])?$", line)
        if head:
            current = (int(head[1], 16), int(head[2], 16), head[3].startswith("r") and not head[4])
        elif line.startswith("VmFlags:") and current and current[2]:
            flags = line.split()[1:]
            found.append((current[0], current[1], "dd" in flags and "lo" in flags))
    return found


def search_memory(pid, patterns):
    """Names of the patterns that are in the process's memory, outside and inside of the secure heap."""
    outside, inside = set(), set()
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for start, end, is_secure in mappings(pid):
            at, rest = start, b""
            while at < end:
                try:
                    memory.seek(at)
                    piece = memory.read(min(CHUNK, end - at))
                except OSError:
                    break  # a guard page, or gone meanwhile
                if not piece:
                    break
                for name, pattern in patterns.items():
                    if pattern in rest + piece:
                        (inside if is_secure else outside).add(name)
                rest, at = piece[-PIECE:], at + len(piece)
    return outside, inside


def assert_no_secret(texts, secrets):
    for where, text in texts.items():
        for name, secret in secrets.items():
            assert secret not in text, f"{name} is in {where}"


@pytest.mark.unsanitized
def test_the_private_key_is_in_the_secure_heap_only(source, standin, stream, tmp_path):
    patterns, public = key_patterns(standin.told["key_file"])
    make_tables(source, 50)
    work = load.Load(source.conninfo, seed=51, rate=60).start()
    try:
        standin.ask("/set_token_life", {"seconds": 4})
        program = stream(*MERGE_OFTEN)
        program.wait_for_event("live", 60)
        renewals = lambda: len(standin.ask("/log?step=token")["requests"])  # noqa: E731
        before, outside = renewals(), set()

        def search():
            outside.update(search_memory(program.pid, patterns)[0])
            return renewals() >= before + 3
        wait_until(search, 90, "three renewals of the token", pause=0.05)
        assert outside == set(), "parts of the private key lie in ordinary memory"
        found, _ = search_memory(program.pid, {"channel prefix": b"ETL_STREAM_NOT_THERE_", **public,
                                               "landing name": b"LANDING_CUSTOMERS-STREAMIN"[:PIECE]})
        assert "landing name" in found and "channel prefix" not in found, "the search does not find what is there"
        work.stop()
        settle(source, standin, program)
        limits = pathlib.Path(f"/proc/{program.pid}/limits").read_text()
        assert re.search(r"Max core file size +0 +0 ", limits)
        # The files in /proc of a process that cannot be dumped belong to root, whoever runs it; its limits are as shown.
        assert program.terminate() == 0
    finally:
        work.close()
    written = {str(path): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    logs = {"the log": program.tail(100_000).encode()}
    assert written
    assert_no_secret({**written, **logs}, patterns)


def test_the_search_finds_a_key_that_leaked(standin, tmp_path):
    """The control: a process that keeps the key in ordinary memory is found out."""
    import subprocess
    import sys
    patterns, _ = key_patterns(standin.told["key_file"])
    code = ("import sys; from cryptography.hazmat.primitives import serialization; pem = open(sys.argv[1], 'rb').read();"
            "n = serialization.load_pem_private_key(pem, None).private_numbers();"
            "kept = [x.to_bytes((x.bit_length() + 7) // 8, order) for x in (n.p, n.q, n.d) for order in ('big', 'little')];"
            "print('ready', flush=True); sys.stdin.read()")
    leaky = subprocess.Popen([sys.executable, "-c", code, standin.told["key_file"]], stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE)
    try:
        assert leaky.stdout.readline() == b"ready\n"
        outside, _ = search_memory(leaky.pid, patterns)
        assert {"p as DER", "p as limbs", "d as DER"} <= outside and any(name.startswith("PEM") for name in outside)
    finally:
        leaky.kill()
        leaky.wait(10)


def test_passwords_are_in_no_log_error_status_or_argument_list(own_postgres, standin, start_stream, tmp_path):
    server = own_postgres.server
    make_tables(own_postgres, 10)
    server.sql(f"CREATE ROLE walker LOGIN SUPERUSER REPLICATION PASSWORD '{PASSWORD}'")
    server.set_hba("local all all trust", "host all postgres 127.0.0.1/32 trust", "host all all 127.0.0.1/32 scram-sha-256",
                   "host replication all 127.0.0.1/32 scram-sha-256")
    server.reload()
    parts = urllib.parse.urlsplit(own_postgres.url())
    with_password = parts._replace(netloc=f"walker:{PASSWORD}@127.0.0.1:{server.port}").geturl()
    program = start_stream(with_password, standin.to, *MERGE_OFTEN)
    program.wait_for_event("live", 60)
    seen = {"the argument list": pathlib.Path(f"/proc/{program.pid}/cmdline").read_bytes(),
            "status": run_command("status", "--json", state=program.state).stdout.encode()}
    assert program.terminate() == 0
    wrong = parts._replace(netloc=f"walker:{PASSWORD}-wrong@127.0.0.1:{server.port}").geturl()
    failed = run_command("run", "--from", wrong, "--to", standin.to, state=tmp_path / "other.db")
    assert failed.returncode in (1, 2) and "walker" in failed.stderr
    seen["the error"] = failed.stderr.encode()
    seen["the log"] = program.tail(100_000).encode()
    seen.update({str(path): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()})
    assert_no_secret(seen, {"the password": PASSWORD.encode()})
