"""`etl-stream keygen`: the key that it makes is one that the program and others take, and is kept to its owner."""
import base64
import hashlib
import os
import pty
import re
import stat
import subprocess

import pytest
from cryptography.hazmat.primitives import serialization

from program import PROGRAM, run_command

PASSPHRASE = "correct horse battery"
VARIABLE = "SNOWFLAKE_PRIVATE_KEY_PASSPHRASE"


def keygen(tmp_path, *arguments, **more):
    return run_command("keygen", *arguments, state=tmp_path / "state.db", **more)


def load(path, passphrase):
    return serialization.load_pem_private_key(path.read_bytes(), passphrase.encode() if passphrase else None)


@pytest.mark.parametrize("bits", [2048, 3072, 4096])
def test_key_and_what_is_printed_belong_together(tmp_path, bits):
    path = tmp_path / "key.p8"
    done = keygen(tmp_path, path, "--bits", bits, "--user", "LOADER", **{VARIABLE: PASSPHRASE})
    assert done.returncode == 0 and done.stderr == "", done.stderr
    key = load(path, PASSPHRASE)
    assert key.key_size == bits and stat.S_IMODE(path.stat().st_mode) == 0o600
    public = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    assert f"""ALTER USER "LOADER" SET RSA_PUBLIC_KEY = '{base64.b64encode(public).decode()}';""" in done.stdout
    assert f"SHA256:{base64.b64encode(hashlib.sha256(public).digest()).decode()}\n" in done.stdout
    assert "ENCRYPTED" in path.read_text() and PASSPHRASE not in done.stdout


def test_the_program_takes_it(tmp_path, standin, source):
    source.sql("CREATE TABLE t (id int PRIMARY KEY)")
    source.sql("CREATE PUBLICATION etl FOR TABLE t")
    path = tmp_path / "key.p8"
    assert keygen(tmp_path, path, **{VARIABLE: PASSPHRASE}).returncode == 0
    to = re.sub(r"key_file=[^&]*", f"key_file={path}", standin.to)
    done = run_command("check", "--from", source.url(), "--to", to, state=tmp_path / "state.db", **{VARIABLE: PASSPHRASE})
    assert done.returncode == 1 and "passphrase" not in done.stderr + done.stdout
    assert "public key" in done.stdout + done.stderr, (done.stdout, done.stderr)  # loaded, and unknown to the account


@pytest.mark.parametrize("arguments, environment, message", [
    ([], {}, "keygen needs the FILE"),
    (["FILE"], {}, "there is no passphrase and no terminal"),
    (["FILE"], {VARIABLE: "short"}, "the passphrase has 5 characters; 8 or more are allowed"),
    (["FILE", "--passphrase-env", "ABSENT"], {}, "the environment variable ABSENT is not set or empty"),
    (["FILE", "--no-passphrase", "--passphrase-env", "X"], {}, "exclude each other"),
    (["FILE", "--bits", "1024"], {}, '--bits is "1024"; allowed is one of 2048|3072|4096'),
    (["/nowhere/key.p8", "--no-passphrase"], {}, "/nowhere/key.p8 cannot be made: No such file or directory"),
])
def test_misuse_is_one_line_and_leaves_nothing(tmp_path, arguments, environment, message):
    path = tmp_path / "key.p8"
    done = subprocess.run([PROGRAM, "keygen", *(str(path) if word == "FILE" else word for word in arguments)], text=True,
                          env={"PATH": os.environ["PATH"], **environment}, capture_output=True, stdin=subprocess.DEVNULL,
                          start_new_session=True, timeout=60)  # a session of its own: no terminal
    assert done.returncode == 2 and message in done.stderr and done.stderr.count("\n") == 1, done.stderr
    assert not path.exists() and done.stdout == ""


def test_a_file_that_is_there_stays_as_it_is(tmp_path):
    path = tmp_path / "key.p8"
    path.write_text("precious")
    done = keygen(tmp_path, path, **{VARIABLE: PASSPHRASE})
    assert done.returncode == 2 and "exists and is left as it is" in done.stderr and path.read_text() == "precious"


def test_unencrypted_only_when_said_and_with_a_warning(tmp_path):
    path = tmp_path / "key.p8"
    done = keygen(tmp_path, path, "--no-passphrase")
    assert done.returncode == 0 and "warning: the key is not encrypted" in done.stderr
    assert load(path, None).key_size == 2048


def at_a_terminal(path, answers):
    """The exit code, and what a person sees."""
    pid, terminal = pty.fork()
    if pid == 0:
        try:
            os.execve(PROGRAM, ["etl-stream", "keygen", str(path)], {"PATH": os.environ["PATH"]})
        finally:
            os._exit(127)  # not into pytest, whose end would take the servers along
    seen = b""
    for answer in answers:
        asked = seen.count(b": ")
        while seen.count(b": ") == asked:
            seen += os.read(terminal, 1000)
        os.write(terminal, answer.encode() + b"\n")
    try:
        while piece := os.read(terminal, 1000):
            seen += piece
    except OSError:
        pass  # the terminal is closed
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), seen.decode()


def test_a_person_is_asked_twice_without_echo(tmp_path):
    path = tmp_path / "key.p8"
    code, seen = at_a_terminal(path, [PASSPHRASE, "something else"])
    assert code == 2 and "the two passphrases differ; no key was made" in seen and not path.exists()
    code, seen = at_a_terminal(path, [PASSPHRASE, PASSPHRASE])
    assert code == 0 and PASSPHRASE not in seen and load(path, PASSPHRASE).key_size == 2048
