"""The Debian package: built, installed, run, removed; the unit as systemd judges it."""
import os
import pathlib
import re
import subprocess

import pytest

from program import PROGRAM, ROOT

UNIT = ROOT / "packaging" / "etl-stream.service"
EXPOSURE_MAX = 2.0  # of 10; systemd calls that OK


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
