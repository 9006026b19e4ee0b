"""What the tests of training share."""

import csv
import pathlib

import numpy as np
import pytest
import soundfile

from sswavenet import checkpoints
from sswavenet.config.document import parse_config
from tests.support import STEMS, golden_config, tiny_document

# The keys of a network that the tiny one can grow into.
BIGGER = {
    "num_stacks": 3,
    "filters": {
        "depths": {"res": 6, "skip": 8, "final": [11, 9]},
        "lengths": {"res": 3, "final": [3, 3], "skip": 1},
    },
}


@pytest.fixture(scope="session")
def tree(tmp_path_factory):
    """A MUSDB tree of 27 tracks of 200 samples at 16 kHz."""
    folder, rng = tmp_path_factory.mktemp("musdb"), np.random.default_rng(5)
    for number in range(27):
        track = folder / "train" / f"track {number:02d}"
        track.mkdir(parents=True)
        stems = rng.integers(-4000, 4000, (4, 200)).astype("int16")
        for stem, audio in zip(("mixture", *STEMS), [stems.sum(0), *stems]):
            soundfile.write(str(track / f"{stem}.wav"), audio.astype("int16"), 16000)
    return folder


def session_config(tree, session, task_name="multi-instrument", **training_keys):
    """A training of two epochs, of few blocks: each run traces and compiles them."""
    document = tiny_document(
        task_name,
        dataset={"path": str(tree)},
        model={"dilations": [1], "num_stacks": 2},
        training={"path": str(session), "num_epochs": 2, **training_keys},
    )
    document["optimizer"]["lr"] = 0.01
    return parse_config(document)


def golden_session_config(tree, session, **keys):
    """A training of steps that take no time, of the network of a golden session."""
    return golden_config("multi-instrument").replace(
        datasets=str(tree),
        session_path=str(session),
        target_field_length=31,
        num_steps_train=1,
        num_steps_validation=1,
        **keys,
    )


def history(session):
    (path,) = pathlib.Path(session).glob("history_*.csv")
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def final_weights(session, config):
    path = checkpoints.find_latest(session)
    return checkpoints.read_checkpoint(path, config)


def assert_same_training(one, other, config):
    """The same losses and weights, to 1e-5, and the same epochs."""
    assert [row["epoch"] for row in history(one)] == [
        row["epoch"] for row in history(other)
    ]
    for left, right in zip(history(one), history(other)):
        for name in set(left) - {"seconds"}:
            assert float(left[name]) == pytest.approx(float(right[name]), abs=1e-5)
    left, right = final_weights(one, config), final_weights(other, config)
    assert left.epoch == right.epoch
    for name, array in left.weights.items():
        np.testing.assert_allclose(array, right.weights[name], rtol=0, atol=1e-5)
