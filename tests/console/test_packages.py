"""The answer to a missing package is a command that helps."""

import pathlib
import re
import subprocess
import sys

import pytest

import util
from sswavenet.console import packages

ROOT = pathlib.Path(__file__).parents[2]


def names_in(file):
    lines = (ROOT / file).read_text().splitlines()
    return {line.split("==")[0] for line in lines if line and line[0] != "#"}


MAKE = "make .venv, then run .venv/bin/python"
MAKE_THEANO = "make .venv-theano, then run .venv-theano/bin/python"


@pytest.mark.parametrize(
    ("module", "backend", "expected"),
    [
        ("h5py", "jax", MAKE),
        ("keras.ops", "torch", MAKE),
        ("tqdm.auto", "tensorflow", MAKE),
        ("museval", "jax", MAKE),
        ("ml_dtypes", "jax", MAKE),  # comes with the others
        (None, "jax", MAKE),
        ("h5py", "theano", MAKE_THEANO),
        ("six", "theano", MAKE_THEANO),
        ("theano", "jax", MAKE_THEANO),
    ],
)
def test_make_sets_up_what_is_missing(module, backend, expected, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", backend)
    assert packages.how_to_install(module) == expected


@pytest.mark.parametrize("folder", [".venv", ".venv-theano"])
def test_make_has_these_targets(folder):
    assert re.search(rf"^{re.escape(folder)}:", (ROOT / "Makefile").read_text(), re.M)


@pytest.mark.parametrize(
    ("module", "backend"),
    [
        *(("torch", "torch"), ("tensorflow", "tensorflow"), ("tensorboardX", "jax")),
        ("museval", "theano"),  # which Theano's environment does without
    ],
)
def test_what_no_environment_has_is_installed_by_its_name(module, backend, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", backend)
    theano = backend == "theano"
    assert module not in names_in(f"requirements{'-theano' if theano else ''}.txt")
    # Into the environment that runs, and not into whatever `pip` belongs to.
    monkeypatch.setattr("sys.executable", "/my environments/bin/python")
    expected = f"'/my environments/bin/python' -m pip install {module}"
    assert packages.how_to_install(module) == expected


@pytest.mark.parametrize(("name", "file"), [("ray", "cluster"), ("gradio", "app")])
def test_what_is_optional_has_a_file_of_its_own(name, file, monkeypatch):
    monkeypatch.setattr("sys.executable", "python")
    command = packages.how_to_install(f"{name}.runtime")
    assert command == f"python -m pip install -r requirements-{file}.txt"
    assert name in names_in(f"requirements-{file}.txt")


def test_an_installed_program_names_packages_for_it_has_no_files(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.executable", "python")
    monkeypatch.setattr(util, "__file__", str(tmp_path / "util.py"))
    for name in ("h5py", "gradio"):
        command = packages.how_to_install(f"{name}.more")
        assert command == f"python -m pip install {name}"


# The teacher's own script runs in another environment.
TOOLS = [
    path.name
    for path in sorted((ROOT / "data").glob("*.py"))
    if "__main__" in path.read_text() and path.name != "spleeter_teacher.py"
]


@pytest.mark.parametrize("name", TOOLS)
def test_a_tool_that_lacks_its_packages_says_so_in_a_line(name):
    # Without `site` there is nothing but Python's own library.
    done = subprocess.run(
        [sys.executable, "-S", str(ROOT / "data" / name)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert re.match(rf"error: needs the package \w+, .*: {re.escape(MAKE)}$", line)
