"""Checkpoints that are spoiled, huge or strange."""

import h5py
import numpy as np
import pytest

from sswavenet import checkpoints
from sswavenet.checkpoints.__main__ import describe
from tests.support import random_weights, tiny_config
from util import UserError


def read_spoiled(session, spoil):
    (path,) = (session / "checkpoints").iterdir()
    with h5py.File(path, "r+") as file:
        spoil(file)
    return checkpoints.read_checkpoint(path, tiny_config())


def many_circles(file):
    layer = file["model_weights/initial_causal_conv"]
    for k in range(30):
        layer[f"circle {k}"] = layer


def circles_in_many_layers(file):
    for number in range(8):  # each of them with fewer than all together may have
        layer = file.create_group(f"model_weights/extra_{number}")
        layer["array"] = np.zeros(1, "f4")
        for k in range(5):  # 4686 names
            layer[f"circle {k}"] = layer


def circles_in_the_state(file):
    slots = file["training_state/momentum"]
    for k in range(30):
        slots[f"circle {k}"] = slots


def test_slots_that_nothing_uses_are_not_read(session):
    def add(file):
        file["training_state/other/x"] = np.full(3, "no number", "S9")
        file["training_state/more"] = h5py.Empty("f4")

    slots = read_spoiled(session, add).slots
    assert {name.split("/")[0] for name in slots} == {"momentum"}


@pytest.mark.slow
def test_a_network_of_many_layers_is_no_circle(tmp_path, rng):
    config = tiny_config().replace(num_stacks=500, dilations=[1, 1])
    weights = random_weights(config, rng)
    slots = {
        f"{slot}/{name}": array
        for slot in checkpoints.SLOTS
        for name, array in weights.items()
    }
    checkpoints.write_checkpoint(tmp_path / "a.hdf5", weights, slots=slots)
    checkpoint = checkpoints.read_checkpoint(tmp_path / "a.hdf5", config)
    assert len(checkpoint.weights) == 2 * 1000 + 5
    assert len(checkpoint.slots) == 2 * len(weights)


@pytest.mark.slow
def test_a_network_of_any_depth_is_described(tmp_path, rng):
    config = tiny_config().replace(num_stacks=1000, dilations=[1, 1, 1])
    weights = random_weights(config, rng)
    checkpoints.write_checkpoint(tmp_path / "a.hdf5", weights)
    lines = describe(tmp_path / "a.hdf5").splitlines()
    assert sum(line.startswith("  ") for line in lines) == 2 * 3000 + 5


def replace(file, array):
    name = "model_weights/conv1d_1/conv1d_1/kernel"
    del file[name]
    file[name] = array


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (many_circles, "expected one kernel in the layer initial_causal_conv, got "),
        (circles_in_many_layers, "expected one array in the layer extra_0, got "),
        (circles_in_the_state, r"expected at most \d+ groups and arrays"),
        (lambda file: replace(file, np.full((1, 4, 9), 1e300)), "finite numbers"),
        (
            lambda file: file.create_dataset(
                "model_weights/x/" + "y/" * 20 + "z", (2,), "f4"
            ),
            "",
        ),
        (
            lambda file: file["model_weights"].create_group(b"\xff"),
            "can't decode",
        ),
        (
            lambda file: file["model_weights/conv1d_1"].attrs.create("backend", [1, 2]),
            "",
        ),
        (
            lambda file: file.attrs.create("backend", np.arange(5)),
            "",
        ),
    ],
)  # fmt: skip
def test_odd_files_are_read_or_refused_in_one_line(spoil, message, session):
    if message:
        with pytest.raises(UserError, match=message) as caught:
            read_spoiled(session, spoil)
        assert "\n" not in str(caught.value)
    else:
        weights = read_spoiled(session, spoil).weights
        assert set(weights) == set(tiny_config().weight_shapes)


def test_names_that_climb_out_of_the_folder_lead_nowhere(session, tmp_path):
    def climb(file):
        group = file["model_weights"]
        names = [b"../../escaped", b"/etc/passwd", b".."]
        group.attrs["layer_names"] = names
        group["conv1d_1"].attrs["weight_names"] = names

    before = sorted(tmp_path.rglob("*"))
    weights = read_spoiled(session, climb).weights
    assert set(weights) == set(tiny_config().weight_shapes)
    assert sorted(tmp_path.rglob("*")) == before


def test_an_array_of_terabytes_in_a_small_file_is_not_read(session):
    def spoil(file):
        name = "model_weights/conv1d_1/conv1d_1/kernel"
        del file[name]
        file.create_dataset(name, (1, 10**6, 10**6), "float32", chunks=(1, 100, 100))

    with pytest.raises(UserError, match=r"got shape \(1, 1000000, 1000000\)"):
        read_spoiled(session, spoil)


@pytest.mark.parametrize(
    "state",
    [
        {"epoch": "three"},
        {"epoch": 1, "step": 0.5},
        {"epoch": 1, "sums": "no JSON"},
        {"epoch": 1, "sums": "[1]"},
        {"epoch": 1, "step": 2, "sums": '{"loss": "x"}'},
        {"epoch": 1, "step": 2, "sums": "{}"},
        {"epoch": 1, "sums": "[" * 50_000},
        {"epoch": 1, "row": '{"val_loss": "x"}'},
        {"epoch": 1, "row": '{"a": 1}'},
        {"epoch": -3},
        {"epoch": 1, "step": -5},
        {"epoch": 10**12},
        {"epoch": 1, "iterations": 2**62},
        {"epoch": 1},
    ],
)
@pytest.mark.keras3
def test_a_spoiled_training_state_is_refused(state, session, tmp_path):
    from sswavenet.training.loop import Trainer

    config = tiny_config()
    (path,) = (session / "checkpoints").iterdir()
    checkpoint = checkpoints.read_checkpoint(path, config)
    if state != {"epoch": 1}:  # which has slots without their counter
        state = {"iterations": 3, **state}
    path = tmp_path / "checkpoint.00001-0.1.hdf5"
    checkpoints.write_checkpoint(
        path, checkpoint.weights, state=state, slots=checkpoint.slots
    )
    trainer = Trainer(config, None, tmp_path)
    with pytest.raises(UserError, match="expected the state of a training"):
        trainer.restore(path, weights_only=False)
