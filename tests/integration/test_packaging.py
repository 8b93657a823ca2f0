"""The Debian package: built, installed, run, removed; the unit as systemd judges it, and the program confined as the unit has it;
`make install`; the container file's commands against what the package needs."""
import json
import os
import pathlib
import re
import shutil
import subprocess
import urllib.parse

import pytest
from cryptography.hazmat.primitives import serialization

from http_side import JSON, LISTENS, TOKEN, Client, ports_of
from pgserver import SERVER_USER, scratch_folder
from program import PROGRAM, ROOT
from service import Service
from test_http_side import change

UNIT = ROOT / "packaging" / "etl-stream.service"
EXPOSURE_MAX = 2.0  # of 10; systemd calls that OK
CONTAINER = ROOT / "packaging" / "Containerfile"
PASSPHRASE = "of-the-key-in-this-test"


def run(*command, **options):
    return subprocess.run([str(word) for word in command], text=True, capture_output=True, stdin=subprocess.DEVNULL, **options)


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    built = run(ROOT / "tools" / "deb", tmp_path_factory.mktemp("deb"), timeout=900)
    assert built.returncode == 0, built.stderr
    return pathlib.Path(built.stdout.strip())


@pytest.fixture(scope="module")
def root(package, tmp_path_factory):
    """Where the package is installed: the machine itself where we may, else a folder that it is unpacked to."""
    is_there = run("dpkg-query", "-W", "-f", "${db:Status-Status}", "etl-stream").stdout == "installed"
    if os.geteuid() != 0 or is_there:
        folder = tmp_path_factory.mktemp("root")
        assert run("dpkg-deb", "-x", package, folder).returncode == 0
        yield folder
        return
    installed = run("dpkg", "-i", package, timeout=300)
    assert installed.returncode == 0, installed.stderr
    yield pathlib.Path("/")
    removed = run("dpkg", "-P", "etl-stream", timeout=300)
    assert removed.returncode == 0, removed.stderr
    assert not pathlib.Path("/usr/bin/etl-stream").exists() and not pathlib.Path("/lib/systemd/system/etl-stream.service").exists()


def test_what_is_installed_runs(package, root):
    version = run(PROGRAM, "version").stdout
    installed = run(root / "usr/bin/etl-stream", "version")
    assert installed.returncode == 0 and installed.stdout == version
    assert f"etl-stream {run('dpkg-deb', '-f', package, 'Version').stdout}" == version
    for path in ("usr/share/man/man1/etl-stream.1.gz", "usr/share/bash-completion/completions/etl-stream",
                 "usr/share/zsh/vendor-completions/_etl-stream", "usr/share/fish/vendor_completions.d/etl-stream.fish",
                 "usr/share/doc/etl-stream/docs/operations.md.gz", "etc/etl-stream",
                 "usr/share/doc/etl-stream/monitoring/alerts.yml", "usr/share/doc/etl-stream/monitoring/grafana.json"):
        assert (root / path).exists(), path


def test_the_program_is_hardened(root):
    elf = run("readelf", "-hdlW", root / "usr/bin/etl-stream").stdout
    assert "DYN" in elf and "BIND_NOW" in elf and "GNU_RELRO" in elf
    assert re.search(r"GNU_STACK.* RW ", elf) and "RPATH" not in elf and "RUNPATH" not in elf


def test_systemd_takes_the_unit(root, tmp_path):
    unit = tmp_path / "etl-stream.service"
    unit.write_text(UNIT.read_text().replace("/usr/bin/etl-stream", str(root / "usr/bin/etl-stream")))
    verified = run("systemd-analyze", "verify", "--man=no", unit)
    mine = [line for line in verified.stderr.splitlines() if "etl-stream" in line]
    assert verified.returncode == 0 and not mine, verified.stderr
    judged = run("systemd-analyze", "security", "--offline=true", f"--threshold={EXPOSURE_MAX * 10:.0f}", unit)
    assert judged.returncode == 0, judged.stdout
    print(judged.stdout.splitlines()[-1])


def test_a_unit_that_is_less_guarded_is_told(tmp_path):
    unit = tmp_path / "etl-stream.service"
    unit.write_text(re.sub(r"(?m)^(Protect|Restrict|SystemCall|Capability|Private|NoNew|DynamicUser).*\n", "", UNIT.read_text()))
    assert run("systemd-analyze", "security", "--offline=true", f"--threshold={EXPOSURE_MAX * 10:.0f}", unit).returncode != 0


class UnitsService(Service):
    """The service as the unit runs it: its user, its limits, its system calls, its credentials."""

    def __init__(self, program, folder, **environment):
        super().__init__(folder / "state" / "etl-stream.db", CREDENTIALS_DIRECTORY=folder / "credentials", **environment)
        self.arguments = ["/usr/bin/python3", ROOT / "tests/integration/confined.py", UNIT, SERVER_USER or "-", program, "run"]


def write_credentials(folder, key_file):
    """The files that LoadCredential makes: the service's to read, and nobody else's."""
    key = serialization.load_pem_private_key(pathlib.Path(key_file).read_bytes(), None)
    encrypted = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                  serialization.BestAvailableEncryption(PASSPHRASE.encode()))
    for name, content in {"snowflake_private_key": encrypted, "snowflake_private_key_passphrase": PASSPHRASE.encode(),
                          "etl_api_token": TOKEN.encode()}.items():
        (folder / name).write_bytes(content)
        (folder / name).chmod(0o400)


@pytest.fixture
def units_folder(standin):
    folder = scratch_folder("etl-unit-")
    for name in ("state", "credentials"):
        (folder / name).mkdir(mode=0o700)
    write_credentials(folder / "credentials", standin.told["key_file"])
    ca_file = shutil.copy(standin.told["ca_file"], folder)
    if SERVER_USER:
        for path in [folder, *folder.rglob("*")]:
            shutil.chown(path, SERVER_USER)
    yield folder, ca_file
    shutil.rmtree(folder, ignore_errors=True)


def test_the_service_runs_as_the_unit_confines_it(root, source, standin, units_folder):
    """From a row in the source to the target, and a change by the API; key, passphrase and token are the unit's credentials."""
    folder, ca_file = units_folder
    source.sql("CREATE TABLE words (id int PRIMARY KEY); INSERT INTO words VALUES (1); CREATE PUBLICATION etl FOR TABLE words")
    parts = urllib.parse.urlsplit(standin.to)
    query = {**dict(urllib.parse.parse_qsl(parts.query)), "ca_file": ca_file}
    query.pop("key_file")
    to = parts._replace(query=urllib.parse.urlencode(query)).geturl()
    program = shutil.copy(root / "usr/bin/etl-stream", folder)  # where the unit's user may go, wherever the package was put
    service = UnitsService(program, folder, **LISTENS).start()
    try:
        client = Client(ports_of(service)[1])
        for arguments in (("source", "add", "shop", "--url", source.url()), ("destination", "add", "sf", "--to", to),
                          ("pipeline", "add", "shop", "--source", "shop", "--destination", "sf", "--merge-interval-seconds", "1", "--start")):
            done = service.command(*arguments)
            assert done.returncode == 0, done.stderr
        service.wait_for_event("live", 60, pipeline="shop")
        assert client.ask("POST", "/api/v1/pipelines/shop/pause", "{}", **JSON).status == 401
        paused = change(client, "/api/v1/pipelines/shop/pause")
        assert paused.json["state"] == "paused", paused
        assert service.terminate() == 0
        assert (folder / "state/etl-stream.db").stat().st_mode & 0o777 == 0o600
    finally:
        service.close()


# --- without dpkg --------------------------------------------------------------------------------------------------------


def test_make_install(tmp_path):
    """The same files below DESTDIR, and a unit that starts what was installed."""
    options = json.loads((PROGRAM.parent / "meson-info" / "intro-buildoptions.json").read_text())
    prefix = next(option["value"] for option in options if option["name"] == "prefix")  # another one would configure anew
    own = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")}
    done = run("make", "install", f"BUILD={PROGRAM.parent}", f"PREFIX={prefix}", f"DESTDIR={tmp_path}", cwd=ROOT, env=own, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    installed = tmp_path / prefix.lstrip("/")
    assert run(installed / "bin/etl-stream", "version").stdout == run(PROGRAM, "version").stdout
    for path in ("share/man/man1/etl-stream.1", "share/bash-completion/completions/etl-stream", "share/zsh/site-functions/_etl-stream",
                 "share/fish/vendor_completions.d/etl-stream.fish", "share/doc/etl-stream/README.md",
                 "share/doc/etl-stream/docs/operations.md", "share/doc/etl-stream/monitoring/alerts.yml"):
        assert (installed / path).is_file(), path
    unit = (installed / "lib/systemd/system/etl-stream.service").read_text()
    assert unit == UNIT.read_text().replace("/usr/bin/etl-stream", f"{prefix}/bin/etl-stream")
    assert f"ExecStart={prefix}/bin/etl-stream run\n" in unit


def test_the_container_file_installs_what_the_package_needs(package):
    """No image is built here: what it would lack, the package's own lists of dependencies tell."""
    text = re.sub(r"\\\n", " ", CONTAINER.read_text())
    build, runtime = (set(words.split()) for words in re.findall(r"--no-install-recommends ([^&\n]+)", text))
    control = re.sub(r"\n ", " ", (ROOT / "packaging/debian/control").read_text())
    needed = {re.split(r"[ (]", part.strip())[0] for part in re.search(r"Build-Depends: (.*)", control)[1].split(",")}
    assert needed - {"debhelper-compat"} <= build
    depends = {re.split(r"[ (]", part.strip())[0] for part in run("dpkg-deb", "-f", package, "Depends").stdout.split(",")}
    assert len(depends) > 8 and depends - {"libc6"} <= runtime
    assert {"src", "packaging", "tests", "tools"}.isdisjoint((ROOT / ".dockerignore").read_text().split())
