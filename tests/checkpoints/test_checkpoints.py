"""Checkpoints: the files of 2018 and ours, conventions, mapping, refusals."""

import errno
import os
import pathlib
import re
import shutil
import subprocess
import sys

import h5py
import numpy as np
import pytest
from networks import (
    TASK_NAMES,
    golden_checkpoint,
    golden_config,
    random_weights,
    tiny_config,
)

from sswavenet.checkpoints import files as checkpoints
from util import UserError


@pytest.fixture
def copied(tmp_path):
    """A copy of the golden multi-instrument checkpoint to spoil."""
    path = tmp_path / "checkpoint.00002-0.169.hdf5"
    shutil.copy(golden_checkpoint("multi-instrument"), path)
    return path


def read(path, convention=None):
    return checkpoints.read_checkpoint(
        path, golden_config("multi-instrument"), convention
    )


@pytest.mark.parametrize("task_name", TASK_NAMES)
def test_theano_kernels_are_flipped(task_name):
    config, path = golden_config(task_name), golden_checkpoint(task_name)
    checkpoint = checkpoints.read_checkpoint(path, config)
    assert (checkpoint.backend, checkpoint.keras_version) == ("theano", "2.1.5")
    assert (checkpoint.convention, checkpoint.epoch) == ("theano", 2)
    with h5py.File(path, "r") as file:
        for name, array in checkpoint.weights.items():
            layer = name.split("/")[0]
            stored = file[f"model_weights/{layer}/{name}"][()]
            expected = stored if name.endswith("bias") else stored[::-1]
            np.testing.assert_array_equal(array, expected)


def test_a_correlation_file_gives_the_same_weights(tmp_path):
    theano = read(golden_checkpoint("multi-instrument"))
    path = tmp_path / "checkpoint.00003-0.1.hdf5"
    checkpoints.write_checkpoint(path, theano.weights)
    ours = read(path)
    assert ours.convention == "tensorflow"
    for name, array in theano.weights.items():
        np.testing.assert_array_equal(ours.weights[name], array)


def test_written_files_have_the_layout_of_2018(tmp_path):
    config = golden_config("multi-instrument")
    weights = read(golden_checkpoint("multi-instrument")).weights
    path = tmp_path / "ours.hdf5"
    checkpoints.write_checkpoint(path, weights)
    with h5py.File(golden_checkpoint("multi-instrument"), "r") as file:
        group = file["model_weights"]
        named = [name.decode() for name in group.attrs["layer_names"]]
        expected = [n for n in named if len(group[n].attrs["weight_names"])]
        arrays = [group[n].attrs["weight_names"].tolist() for n in expected]
    with h5py.File(path, "r") as file:
        group = file["model_weights"]
        layers = [name.decode() for name in group.attrs["layer_names"]]
        assert layers == expected
        assert [group[n].attrs["weight_names"].tolist() for n in layers] == arrays
        assert file.attrs["backend"] == b"tensorflow"
        assert group.attrs["backend"] == b"tensorflow"
        assert isinstance(file.attrs["keras_version"], bytes)
        for name, shape in config.weight_shapes.items():
            assert group[name.split("/")[0]][name].shape == shape


def test_a_thousand_blocks_are_written_and_read(tmp_path, rng):
    config = tiny_config(model={"num_stacks": 600})
    weights = random_weights(config, rng)
    path = tmp_path / "checkpoint.00001-0.1.hdf5"
    checkpoints.write_checkpoint(path, weights)
    for name, array in checkpoints.read_checkpoint(path, config).weights.items():
        np.testing.assert_array_equal(array, weights[name])
    with h5py.File(path, "r") as file:
        group = file["model_weights"]
        # As Keras numbers the parts of a list that HDF5 cannot hold in one attribute.
        parts = sorted(set(group.attrs) - {"backend", "keras_version"})
        assert parts == [f"layer_names{k}" for k in range(len(parts))]
        named = np.concatenate([group.attrs[part] for part in parts])
        assert [name.decode() for name in named] == list(
            dict.fromkeys(name.split("/")[0] for name in weights)
        )


def test_weights_only_files_are_read(tmp_path, copied):
    path = tmp_path / "weights.hdf5"
    with h5py.File(copied, "r") as full, h5py.File(path, "w") as file:
        for layer in full["model_weights"]:
            full.copy(f"model_weights/{layer}", file)
        file.attrs["backend"] = b"theano"
        file.attrs["keras_version"] = b"2.1.5"
    expected = read(copied).weights
    for name, array in read(path).weights.items():
        np.testing.assert_array_equal(array, expected[name])


def test_conv1d_numbers_may_start_anywhere(copied):
    expected = read(copied).weights
    with h5py.File(copied, "r+") as file:
        group = file["model_weights"]
        for k in range(13, 0, -1):  # 1..13 -> 96..108: text order is not number order
            group.move(f"conv1d_{k}", f"conv1d_{k + 95}")
            inner = group[f"conv1d_{k + 95}"]
            inner.move(f"conv1d_{k}", f"conv1d_{k + 95}")
    for name, array in read(copied).weights.items():
        np.testing.assert_array_equal(array, expected[name])


def test_no_backend_is_refused_unless_told(copied):
    expected = read(copied).weights
    with h5py.File(copied, "r+") as file:
        del file.attrs["backend"]
        del file["model_weights"].attrs["backend"]
    with pytest.raises(UserError, match="--kernel_convention"):
        read(copied)
    name = "res_1_dilated_conv_d1_s0/kernel"
    np.testing.assert_array_equal(read(copied, "theano").weights[name], expected[name])
    np.testing.assert_array_equal(
        read(copied, "tensorflow").weights[name], expected[name][::-1]
    )


def _replace(file, name, array):
    del file[name]
    file[name] = array


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda g: _replace(g, "conv1d_2/conv1d_2/kernel", np.zeros((1, 8, 15))),
            r"conv1d_2 with a kernel of shape \(1, 8, 14\).*got shape \(1, 8, 15\)",
        ),
        (
            lambda g: _replace(
                g, "conv1d_2/conv1d_2/kernel", np.full((1, 8, 14), np.nan)
            ),
            "conv1d_2/kernel: expected finite numbers",
        ),
        (
            lambda g: _replace(
                g, "conv1d_2/conv1d_2/kernel", np.zeros((1, 8, 14), "int32")
            ),
            "floating-point numbers inside the file, got int32",
        ),
        (lambda g: g.__delitem__("conv1d_5"), "expected 13 layers conv1d_.*got 12"),
        (
            lambda g: g.__delitem__("res_4_dilated_conv_d8_s0"),
            "expected layer res_4_dilated_conv_d8_s0",
        ),
        (
            lambda g: g.create_dataset("dense_1/dense_1/kernel", data=np.zeros(3)),
            "got more: dense_1",
        ),
        (
            lambda g: g.__setitem__(
                "conv1d_99", h5py.ExternalLink("other.hdf5", "/model_weights/conv1d_1")
            ),
            "links are not followed",
        ),
        (
            lambda g: g.__setitem__("conv1d_99", h5py.SoftLink("/model_weights")),
            "links are not followed",
        ),
    ],
)
def test_spoiled_files_are_refused(copied, spoil, message):
    with h5py.File(copied, "r+") as file:
        spoil(file["model_weights"])
    with pytest.raises(UserError, match=message) as error:
        read(copied)
    assert str(copied) in str(error.value)
    assert "\n" not in str(error.value)


def test_data_outside_the_file_is_not_read(copied, tmp_path):
    (tmp_path / "secret").write_bytes(bytes(1 * 8 * 14 * 4))
    with h5py.File(copied, "r+") as file:
        group = file["model_weights/conv1d_2/conv1d_2"]
        del group["kernel"]
        group.create_dataset(
            "kernel",
            (1, 8, 14),
            "float32",
            external=[(str(tmp_path / "secret"), 0, 448)],
        )
    with pytest.raises(UserError, match="data outside it"):
        read(copied)


def test_code_in_a_file_is_never_run(copied, tmp_path):
    """`model_config` with a pickle that would create a file when loaded."""
    import pickle

    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "boom"), "w"))

    with h5py.File(copied, "r+") as file:
        file.attrs["model_config"] = np.void(pickle.dumps(Bomb()))
    read(copied)
    checkpoints.describe(copied)
    assert not (tmp_path / "boom").exists()


@pytest.mark.parametrize("content", [b"", b"not HDF5 at all", None])
def test_what_is_no_hdf5_is_refused(tmp_path, content):
    path = tmp_path / "checkpoint.00001-0.1.hdf5"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=re.escape(str(path))):
        read(path)
    with pytest.raises(UserError, match=re.escape(str(path))):
        checkpoints.describe(path)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
def test_a_cut_file_is_refused(copied, share):
    content = copied.read_bytes()
    copied.write_bytes(content[: int(share * len(content))])
    with pytest.raises(UserError, match="HDF5"):
        read(copied)


def test_the_wrong_task_is_refused():
    config = golden_config("singing-voice")
    path = golden_checkpoint("multi-instrument")
    with pytest.raises(UserError, match=r"conv1d_13 .*\(1, 12, 1\) .*\(1, 12, 3\)"):
        checkpoints.read_checkpoint(path, config)


def test_state_and_slots_survive(tmp_path, rng):
    config = tiny_config()
    weights, moments = random_weights(config, rng), random_weights(config, rng)
    path = tmp_path / "deep" / "checkpoint.00007-0.1.hdf5"
    checkpoints.write_checkpoint(
        path,
        weights,
        state={"epoch": 7, "step": 3, "sums": '{"loss": 1.5}'},
        slots={f"momentum/{name}": array for name, array in moments.items()},
    )
    checkpoint = checkpoints.read_checkpoint(path, config)
    assert checkpoint.epoch == 7
    assert checkpoint.state == {"epoch": 7, "step": 3, "sums": '{"loss": 1.5}'}
    assert len(checkpoint.slots) == len(moments)
    for name, array in moments.items():
        np.testing.assert_array_equal(checkpoint.slots[f"momentum/{name}"], array)
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_latest_is_by_epoch_not_by_time(tmp_path):
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    for name in ("checkpoint.00010-0.2.hdf5", "checkpoint.00009-0.1.hdf5", "x.hdf5"):
        (folder / name).touch()
    assert checkpoints.find_latest(tmp_path).name == "checkpoint.00010-0.2.hdf5"


def test_no_checkpoint_is_an_error(tmp_path):
    with pytest.raises(UserError, match="found none"):
        checkpoints.find_latest(tmp_path)
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(UserError, match="found none"):
        checkpoints.find_latest(tmp_path)
    (tmp_path / "checkpoints" / "a.hdf5").touch()
    assert checkpoints.find_latest(tmp_path).name == "a.hdf5"
    (tmp_path / "checkpoints" / "b.hdf5").touch()
    with pytest.raises(UserError, match="--load_checkpoint"):
        checkpoints.find_latest(tmp_path)


def test_session_lies_where_the_config_lies(tmp_path):
    config = tiny_config(training={"path": str(tmp_path / "elsewhere")})
    path = tmp_path / "moved" / "config.json"
    assert checkpoints.find_session(path, config) == tmp_path / "elsewhere"
    (tmp_path / "moved" / "checkpoints").mkdir(parents=True)
    assert checkpoints.find_session(path, config) == tmp_path / "moved"


def test_description_of_a_file_of_2018(monkeypatch, capsys):
    path = str(golden_checkpoint("singing-voice"))
    monkeypatch.setattr("sys.argv", ["checkpoints.py", path])
    assert checkpoints.main() == 0
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


LAST = "model_weights/conv1d_9/conv1d_9/bias"


FULL = """
import pathlib, resource, sys
sys.path.insert(0, "tests")
from sswavenet.checkpoints import files as checkpoints
from util import UserError
from networks import random_weights, tiny_config
import numpy as np
weights = random_weights(tiny_config(), np.random.default_rng(0))
path = pathlib.Path(sys.argv[1], "a.hdf5")
checkpoints.write_checkpoint(path, weights)
before = path.read_bytes()
for limit in (0, 500, 5000, len(before) - 1):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        checkpoints.write_checkpoint(path, weights)
    except UserError as error:
        print(error)
    assert path.read_bytes() == before
assert [file.name for file in path.parent.iterdir()] == ["a.hdf5"]
"""


def test_a_full_disk_keeps_what_was_there(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path)],
        cwd=pathlib.Path(__file__).parents[2],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    line = f"cannot write {tmp_path / 'a.hdf5'}: {os.strerror(errno.EFBIG)}"
    assert done.stdout.splitlines() == [line] * 4


def replaced(file, name, value):
    del file[name]
    file[name] = value


@pytest.mark.parametrize(
    ("spoil", "line"),
    [
        (lambda file: file.attrs.create("backend", h5py.Empty("f4")), "not said"),
        (lambda file: file.attrs.create("backend", [1, 2]), "not said"),
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
        said = checkpoints.describe(path)
    except UserError as error:
        said = str(error)
    assert line in said


@pytest.mark.parametrize("name", ["none", "a\nb", "a" * 300])
def test_description_of_a_missing_file(name, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr("sys.argv", ["checkpoints.py", str(tmp_path / name)])
    assert checkpoints.main() == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.splitlines()) == 1
