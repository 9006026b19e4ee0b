"""The answer to a missing package installs it."""

import pathlib
import re

import pytest

from sswavenet.console import packages

ROOT = pathlib.Path(__file__).parents[2]


def names_in(file):
    lines = (ROOT / file).read_text().splitlines()
    return {line.split("==")[0] for line in lines if line and line[0] != "#"}


@pytest.mark.parametrize("backend", ["jax", "torch", "theano"])
@pytest.mark.parametrize(
    "module",
    ["h5py", "keras", "soundfile", "openvino", "theano", "scipy.signal", "tqdm.auto"],
)
def test_the_file_named_lists_the_package(module, backend, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", backend)
    command = packages.how_to_install(module)
    (file,) = re.fullmatch(r"pip install -r (\S+)", command).groups()
    assert module.split(".")[0] in names_in(file)
    if module in ("h5py", "keras"):
        assert ("theano" in file) == (backend == "theano")


@pytest.mark.parametrize("module", ["torch", "tensorflow", "tensorboardX"])
def test_what_no_file_lists_is_installed_by_its_name(module):
    assert not any(module in names_in(path.name) for path in ROOT.glob("req*.txt"))
    assert packages.how_to_install(module) == f"pip install {module}"


def test_what_the_packages_themselves_need_comes_with_them(monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    for module in ("ml_dtypes", None):
        assert packages.how_to_install(module) == "pip install -r requirements.txt"
