"""What shells complete, asked of the shells themselves."""
import shlex
import subprocess

import pytest

from program import PROGRAM, run_command


@pytest.fixture(scope="module")
def catalog(tmp_path_factory):
    """A catalog with two pipelines, and a folder with the program and the three scripts."""
    folder = tmp_path_factory.mktemp("completion")
    state = folder / "catalog.db"
    for arguments in (("source", "add", "shop", "--host", "127.0.0.1", "--port", "1", "--database", "d", "--username", "u",
                       "--publication", "p"),
                      ("destination", "add", "wh", "--to", f"file:{folder}/out"),
                      ("pipeline", "add", "orders", "--source", "shop", "--destination", "wh"),
                      ("pipeline", "add", "stock", "--source", "shop", "--destination", "wh")):
        done = run_command(*arguments, state=state)
        assert done.returncode == 0, done.stderr
    for shell in ("bash", "zsh", "fish"):
        done = run_command("completion", shell, state=state)
        assert done.returncode == 0
        (folder / f"completion.{shell}").write_text(done.stdout)
    (folder / "bin").mkdir()
    (folder / "bin" / "etl-stream").symlink_to(PROGRAM)
    return folder


def shell_run(catalog, *command):
    environment = {"PATH": f"{catalog}/bin:/usr/bin:/bin", "ETL_STATE": str(catalog / "catalog.db"), "HOME": str(catalog)}
    done = subprocess.run(command, env=environment, cwd=catalog, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)
    assert done.returncode == 0 and not done.stderr, done
    return sorted(line.partition("\t")[0] for line in done.stdout.splitlines() if line)  # fish puts what it means behind a tab


def complete(catalog, shell, line):
    """What the shell offers for the last word of the line."""
    words = line.split(" ")
    if shell == "fish":
        offered = shell_run(catalog, "fish", "-c", f"source completion.fish; complete -C {shlex.quote(line)}")
        # fish completes --option=value as a whole word.
        return sorted(word.partition("=")[2] if "=" in word else word for word in offered)
    # As bash gives them to the function: = is a word of its own.
    words = [part for word in words for part in ([word] if "=" not in word else [word.partition("=")[0], "=", word.partition("=")[2]])]
    if words[-1] == "" and "=" in words[-2:]:
        words.pop()
    listed, index = " ".join(map(shlex.quote, words)), len(words) - 1
    if shell == "bash":
        return shell_run(catalog, "bash", "--norc", "-c", f"source completion.bash; COMP_WORDS=({listed}) COMP_CWORD={index};"
                                                          " _etl_stream; printf '%s\\n' \"${COMPREPLY[@]}\"")
    # zsh counts arrays from 1 unless told; bashcompinit tells it. What does not begin with the word it leaves out itself, later.
    offered = shell_run(catalog, "zsh", "-f", "-c", "autoload -U +X compinit && compinit -u -D; source completion.zsh; emulate ksh;"
                                                 f" COMP_WORDS=({listed}); COMP_CWORD={index}; _etl_stream; printf '%s\\n' \"${{COMPREPLY[@]}}\"")
    return [word for word in offered if word.startswith(words[-1].lstrip("="))]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_words_options_values_and_names(catalog, shell):
    def offered(line):
        return complete(catalog, shell, line)
    assert {"run", "pipeline", "source", "status", "completion"} <= set(offered("etl-stream "))
    assert offered("etl-stream pip") == ["pipeline"]
    assert offered("etl-stream pipeline re") == ["remove", "resync"]
    assert offered("etl-stream pipeline start ") == ["orders", "stock"]
    assert offered("etl-stream pipeline resync st") == ["stock"]
    assert offered("etl-stream status o") == ["orders"]
    assert offered("etl-stream source show ") == ["shop"]
    assert offered("etl-stream pipeline add new --source ") == ["shop"]
    assert offered("etl-stream run --on-slot-lost ") == ["resync", "stop"]
    assert offered("etl-stream run --target-naming=schema_") == ["schema_table"]
    assert offered("etl-stream run --merge-int") == ["--merge-interval-seconds"]
    assert "--soft-deletes" in offered("etl-stream pipeline edit orders --")
    assert offered("etl-stream completion ") == ["bash", "fish", "zsh"]
    assert "completion.bash" in offered("etl-stream apply completion.b")
    assert offered("etl-stream keygen --nothing-like-it") == []


def test_a_shell_that_is_not_known(tmp_path):
    for arguments, text in ((("tcsh",), 'no completion for "tcsh"; allowed is one of bash, zsh, fish'), ((), "needs a shell")):
        done = run_command("completion", *arguments, state=tmp_path / "s.db")
        assert done.returncode == 2 and text in done.stderr and not done.stdout
