"""The runner of documentation pages notices what differs."""
import os

import pytest

import manual


def run_page(tmp_path, text, statements=None):
    page = tmp_path / "page.md"
    page.write_text(text, encoding="utf-8")
    reading = manual.Manual(page, tmp_path, dict(os.environ), (statements if statements is not None else []).append)
    reading.run()
    return reading


@pytest.mark.parametrize("expected, actual, is_equal", [
    (["a"], ["a"], True), (["a"], ["b"], False), (["a"], ["a", "b"], False), (["a", "b"], ["a"], False),
    (["a … c"], ["a b c"], True), (["a … c"], ["a b d"], False), (["a.c"], ["abc"], False), (["a  "], ["a"], True),
    (["…"], [], True), (["…", "z"], ["x", "y", "z"], True), (["…", "z"], ["x", "y"], False), (["a", "…", "z"], ["a", "z"], True),
    ([], [], True), ([], ["a"], False),
])
def test_output_matches(expected, actual, is_equal):
    assert manual.output_matches(expected, actual) == is_equal


def test_commands_run_in_order_and_are_compared(tmp_path):
    statements = []
    reading = run_page(tmp_path, """
```console
$ echo one > file; echo done
done
$ cat file \\
> file
one
one
```
```sql source
SELECT 1;
```
```text
$ exit 1
```
```console exit=2
$ ls nothing-of-this-name
ls: … No such file or directory
```
""", statements)
    assert reading.commands == 3 and statements == ["SELECT 1;"]


@pytest.mark.parametrize("text", [
    "```console\n$ echo a\nb\n```\n", "```console\n$ false\n```\n", "```console exit=1\n$ true\n```\n", "```console\noutput\n```\n",
    "```console\n$ true\n", "```console wait=1\n$ echo a\nb\n```\n", "```console stop\n```\n",
])
def test_what_differs_is_an_error(tmp_path, text):
    with pytest.raises(manual.ManualError):
        run_page(tmp_path, text)


def test_a_command_is_asked_until_it_prints_that(tmp_path):
    reading = run_page(tmp_path, "```console wait=20\n$ echo x >> file; cat file\nx\nx\nx\n```\n")
    assert reading.commands == 3


def test_a_service_runs_until_it_is_stopped(tmp_path):
    run_page(tmp_path, """
```console service
$ bash -c 'trap "echo ended > ended; exit 3" TERM; echo up > up; while true; do sleep 0.05; done'
```
```console wait=20
$ cat up
up
```
```console stop exit=3
```
```console
$ cat ended
ended
```
""")
    with pytest.raises(manual.ManualError):
        run_page(tmp_path, "```console service\n$ bash -c 'exit 1'\n```\n```console stop\n```\n")
