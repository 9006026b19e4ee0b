"""The command that describes a checkpoint."""

import re

import h5py
import numpy as np
import pytest

from sswavenet import checkpoints
from sswavenet.checkpoints.__main__ import describe, main
from tests.support import golden_checkpoint, random_weights, tiny_config
from util import UserError


def test_description_of_a_file_of_2018(monkeypatch, capsys):
    path = str(golden_checkpoint("singing-voice"))
    monkeypatch.setattr("sys.argv", ["checkpoints.py", path])
    assert main() == 0
    lines = capsys.readouterr().out.splitlines()
    facts = dict(re.split(r"  +", line.strip(), maxsplit=1) for line in lines)
    assert facts["backend"] == "theano"
    assert facts["Keras version"] == "2.1.5"
    assert facts["epoch"] == "2"
    assert facts["parameters"] == "5,861"
    assert facts["task"] == "singing-voice (1 outputs)"
    assert "flipped" in facts["kernels"]
    assert facts["res_10_dilated_conv_d16_s1/kernel"] == "(3, 8, 16)"
    assert facts["conv1d_13/bias"] == "(1,)"


def test_the_backend_of_our_files_is_no_more_than_a_convention(tmp_path, rng):
    path = tmp_path / "checkpoint.00007-0.1.hdf5"
    checkpoints.write_checkpoint(path, random_weights(tiny_config(), rng))
    (line,) = [x for x in describe(path).splitlines() if x.startswith("backend ")]
    assert line.endswith(
        "tensorflow (how kernels are stored; files of JAX and torch say so, too)"
    )


def test_a_description_shows_a_terminal_nothing_that_it_would_obey(
    monkeypatch, capsys, tmp_path, rng
):
    evil = "\x1b]0;title\x07\x1b[2J\x9b31m\u202e"
    path = tmp_path / f"{evil}.hdf5"
    checkpoints.write_checkpoint(path, random_weights(tiny_config(), rng))
    with h5py.File(path, "r+") as file:
        file.attrs["keras_version"] = f"{evil}\n2.1.5"
        file["model_weights"].attrs["keras_version"] = f"{evil}\n2.1.5"
        file["training_state/x"] = 1.0
        file["training_state"].attrs["epoch"] = evil
        file[f"model_weights/{evil}/kernel"] = np.ones(3)
    monkeypatch.setattr("sys.argv", ["", str(path)])
    assert main() == 0
    said = capsys.readouterr().out
    with h5py.File(path, "r+") as file:
        file[f"model_weights/{evil}/other/kernel"] = np.ones(3)
    assert main() == 1
    said += capsys.readouterr().err
    assert said.count(r"\x1b]0;title\x07") >= 5
    assert [c for c in said if not c.isprintable() and c != "\n"] == []


LAST = "model_weights/conv1d_9/conv1d_9/bias"


def replaced(file, name, value):
    del file[name]
    file[name] = value


@pytest.mark.parametrize(
    ("spoil", "line"),
    [
        (lambda file: file.attrs.create("backend", h5py.Empty("f4")), "not said"),
        (lambda file: file.attrs.create("backend", [1, 2]), "not said"),
        # In a file, many texts may all be the same large one.
        (lambda file: file.attrs.create("backend", ["jax"] * 3), "not said"),
        (lambda file: replaced(file, LAST, 1.0), "(0 outputs)"),
        (
            lambda file: replaced(file, LAST, h5py.Empty("f4")),
            "(0 outputs)",
        ),
        (
            lambda file: file.create_dataset(
                f"model_weights/res_{'9' * 5000}/kernel", (2,), "f4"
            ),
            f"res_{'9' * 5000}/kernel (2,)",
        ),
    ],
)
def test_description_of_an_odd_file(spoil, line, tmp_path):
    path = tmp_path / "odd.hdf5"
    weights = random_weights(tiny_config(), np.random.default_rng(1))
    checkpoints.write_checkpoint(path, weights)
    with h5py.File(path, "r+") as file:
        del file["model_weights"].attrs["backend"]
        spoil(file)
    try:
        said = describe(path)
    except UserError as error:
        said = str(error)
    assert line in said


@pytest.mark.parametrize("name", ["none", "a\nb", "a" * 300])
def test_description_of_a_missing_file(name, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr("sys.argv", ["checkpoints.py", str(tmp_path / name)])
    assert main() == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.splitlines()) == 1
