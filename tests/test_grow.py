"""A grown network computes what the small one computed, and new parts can learn."""

import json
import sys

import numpy as np
import pytest
from networks import oracle, random_weights, tiny_config, tiny_document

import checkpoints
import grow
from config import UserError

BIGGER = {
    "num_stacks": 3,
    "filters": {
        "depths": {"res": 6, "skip": 8, "final": [11, 9]},
        "lengths": {"res": 3, "final": [3, 3], "skip": 1},
    },
}


def test_grown_network_computes_the_same(rng):
    small, big = tiny_config(), tiny_config(model=BIGGER)
    weights = random_weights(small, rng)
    arrays = grow.grown_weights(small, weights, big, rng)
    assert {n: a.shape for n, a in arrays.items()} == big.weight_shapes
    field, margin = 7, big.head_margin
    fragment = rng.standard_normal(field + 2 * big.context_length)
    cut = big.context_length - small.context_length
    expected = oracle(small, weights, fragment[cut:-cut], margin, field)
    got = oracle(big, arrays, fragment, margin, field)
    inside = slice(margin, margin + field)
    np.testing.assert_allclose(got[:, inside], expected[:, inside], rtol=0, atol=1e-9)


def test_new_channels_are_not_dead(rng):
    """Old parts read nothing new, but new parts are neither silent nor unread."""
    small, big = tiny_config(), tiny_config(model=BIGGER)
    arrays = grow.grown_weights(small, random_weights(small, rng), big, rng)
    assert np.abs(arrays["res_1_dilated_conv_d1_s0/kernel"][:, :, 4:6]).min() > 0
    assert np.abs(arrays["conv1d_9/kernel"][:, :, 4:6]).min() > 0  # an added stack
    assert np.abs(arrays["conv1d_9/kernel"][:, :, :4]).max() == 0
    assert np.abs(arrays["conv1d_11/kernel"][:, 7:, :6]).max() == 0


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"dilations": [1, 2, 8]}, "same dilations"),
        ({"num_stacks": 1}, "num_stacks of at least 2, got 1"),
    ],
)
def test_what_does_not_fit_is_refused(model, message, rng):
    small = tiny_config()
    with pytest.raises(UserError, match=message):
        grow.grown_weights(
            small, random_weights(small, rng), tiny_config(model=model), rng
        )


def test_command_writes_a_session_to_go_on_from(tmp_path, monkeypatch, capsys, rng):
    small = tiny_config(training={"path": str(tmp_path / "small")})
    weights = random_weights(small, rng)
    source = tmp_path / "small" / "checkpoints" / "checkpoint.00004-0.1.hdf5"
    checkpoints.write_checkpoint(source, weights)
    paths = []
    for name, model in (("small", {}), ("big", BIGGER)):
        document = tiny_document(model=model, training={"path": str(tmp_path / name)})
        paths.append(tmp_path / f"{name}.json")
        paths[-1].write_text(json.dumps(document))
    monkeypatch.setattr(sys, "argv", ["grow.py", *map(str, paths)])
    assert grow.main() == 0
    assert "checkpoint.00000" in capsys.readouterr().out
    big = tiny_config(model=BIGGER, training={"path": str(tmp_path / "big")})
    target = checkpoints.find_latest(tmp_path / "big")
    assert checkpoints.read_checkpoint(target, big).epoch == 0
    assert (tmp_path / "big" / "config.json").is_file()
    assert grow.main() == 1
    assert "choose a new training.path" in capsys.readouterr().err


def test_a_network_too_large_for_the_memory_is_refused(tmp_path, monkeypatch, capsys):
    paths = []
    for channels in (4, 10**6):
        document = tiny_document(training={"path": str(tmp_path / "new")})
        document["model"]["filters"]["depths"]["res"] = channels
        paths.append(tmp_path / f"{channels}.json")
        paths[-1].write_text(json.dumps(document))
    monkeypatch.setattr(sys, "argv", ["grow.py", *map(str, paths)])
    assert grow.main() == 1
    said = capsys.readouterr().err
    assert "MiB of memory, but" in said
    assert len(said.splitlines()) == 1
    assert not (tmp_path / "new").exists()
