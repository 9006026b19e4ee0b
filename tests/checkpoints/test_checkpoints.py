"""Checkpoints: the files of 2018 and ours, conventions, names, state."""

import errno
import os
import pathlib
import subprocess
import sys

import h5py
import numpy as np
import pytest

from sswavenet import checkpoints
from tests.checkpoints.conftest import read
from tests.support import (
    TASK_NAMES,
    golden_checkpoint,
    golden_config,
    random_weights,
    tiny_config,
)
from util import UserError


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


@pytest.mark.slow
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


FULL = """
import pathlib, resource, sys
sys.path.insert(0, ".")
from sswavenet import checkpoints
from util import UserError
from tests.support import random_weights, tiny_config
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
