"""The command that starts the page, as far as it gets without one."""

from __future__ import annotations

import pathlib
import re
import subprocess
import sys

import pytest

from sswavenet.app import command
from tests.documents import DOCUMENTS, plain, read_tables

ROOT = pathlib.Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--port", "70000"], "--port: expected a whole number from 0 to 65535"),
        (["--concurrency", "0"], "--concurrency: expected a whole number from 1 to 64"),
        (["--max_minutes", "x"], "--max_minutes: expected a whole number from 1 "),
        (["song.mp3"], "unrecognized arguments: song.mp3"),
    ],
)
def test_wrong_arguments_take_one_line(words, expected, capsys):
    with pytest.raises(SystemExit) as end:
        command.main(words)
    assert end.value.code == 2
    text = capsys.readouterr().err
    assert expected in text
    assert text.count("\n") == 1


def test_app_is_the_first_word_of_the_command_line():
    line = [sys.executable, "main.py", "app", "--help"]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "--max_minutes" in done.stdout
    assert done.stdout.startswith("usage: sswavenet app")


def test_without_gradio_a_line_says_how_to_get_it():
    code = (
        "import sys; sys.modules.update(gradio=None, uvicorn=None); "
        "import tempfile; tempfile.TemporaryDirectory = None; "  # that of Python 3.9
        "from sswavenet.app.command import main; sys.exit(main(['--port', '0']))"
    )
    line = [sys.executable, "-c", code]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: needs the package uvicorn")
    assert done.stderr.endswith("-m pip install -r requirements-app.txt\n")


def test_the_document_names_every_argument_with_its_default():
    actions = command.build_parser()._actions[1:]  # but for --help
    (table,) = read_tables(DOCUMENTS["docs/app.md"])
    rows = {plain(row["Argument"]): plain(row["Default"]) for row in table}
    assert list(rows) == [action.option_strings[0] for action in actions]
    for action in actions:
        if isinstance(action.default, int):
            assert rows[action.option_strings[0]] == str(action.default)


def test_requirements_are_exact_and_the_core_has_none_of_them():
    core = (ROOT / "requirements.txt").read_text()
    for name in ("requirements-app.txt", "requirements-app-test.txt"):
        for line in (ROOT / name).read_text().splitlines():
            if line.startswith("#"):
                continue
            package, version = line.split("==")
            assert re.fullmatch(r"[\d.]+", version)
            assert package not in core
