"""Which checkpoint of a session is the newest, and which one training goes on from."""

import os
import pathlib

import pytest

from sswavenet import checkpoints
from tests.support import random_weights, tiny_config
from util import UserError


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


def write_session(session, rng, *names, **state):
    """A session with files of weights; those whose names have an epoch have a state."""
    weights = random_weights(tiny_config(), rng)
    for name in names:
        epoch = checkpoints.epoch_of(pathlib.Path(name))
        given = state if epoch is None else {"epoch": epoch}
        checkpoints.write_checkpoint(session / name, weights, state=given)


def names_of(*paths):
    return [path.name for path in paths]


def test_epochs_are_numbers_and_not_text(tmp_path, rng):
    names = ["checkpoint.9-a.hdf5", "checkpoint.10-b.hdf5", "checkpoint.00008-c.hdf5"]
    write_session(tmp_path / "checkpoints", rng, *names)
    found = checkpoints.find_latest(tmp_path), checkpoints.find_resumable(tmp_path)
    assert names_of(*found) == ["checkpoint.10-b.hdf5"] * 2


def test_what_is_no_file_is_no_checkpoint(tmp_path, rng):
    write_session(tmp_path / "checkpoints", rng, "checkpoint.00001-0.1.hdf5")
    (tmp_path / "checkpoints" / "checkpoint.00002-0.1.hdf5").mkdir()
    os.mkfifo(tmp_path / "checkpoints" / "checkpoint.00003-0.1.hdf5")
    os.mkfifo(tmp_path / "interrupted.hdf5")
    found = checkpoints.find_latest(tmp_path), checkpoints.find_resumable(tmp_path)
    assert names_of(*found) == ["checkpoint.00001-0.1.hdf5"] * 2


def test_training_goes_on_from_the_only_file_as_separation_uses_it(tmp_path, rng):
    assert checkpoints.find_resumable(tmp_path) is None
    write_session(tmp_path / "checkpoints", rng, "weights.hdf5")
    found = checkpoints.find_latest(tmp_path), checkpoints.find_resumable(tmp_path)
    assert names_of(*found) == ["weights.hdf5"] * 2
    write_session(tmp_path / "checkpoints", rng, "more.hdf5")
    for find in (checkpoints.find_latest, checkpoints.find_resumable):
        with pytest.raises(UserError, match="--load_checkpoint"):
            find(tmp_path)


def test_training_goes_on_from_a_stopped_epoch_and_separation_does_not(tmp_path, rng):
    write_session(tmp_path, rng, "interrupted.hdf5", epoch=0, step=3, newest=0)
    found = checkpoints.find_latest(tmp_path), checkpoints.find_resumable(tmp_path)
    assert names_of(*found) == ["interrupted.hdf5"] * 2  # there is nothing else
    # Below the state, since the training went back to an earlier epoch.
    write_session(tmp_path, rng, "interrupted.hdf5", epoch=1, step=3, newest=2)
    names = ["checkpoint.00001-a.hdf5", "checkpoint.00002-b.hdf5"]
    write_session(tmp_path / "checkpoints", rng, *names)
    assert checkpoints.find_latest(tmp_path).name == "checkpoint.00002-b.hdf5"
    assert checkpoints.find_resumable(tmp_path) == tmp_path / "interrupted.hdf5"
    # Another program has gone on since.
    write_session(tmp_path / "checkpoints", rng, "checkpoint.00003-c.hdf5")
    assert checkpoints.find_resumable(tmp_path).name == "checkpoint.00003-c.hdf5"


def test_a_stopped_epoch_of_an_earlier_version_is_found(tmp_path, rng):
    names = ["checkpoint.00002-b.hdf5", "interrupted.hdf5"]
    write_session(tmp_path / "checkpoints", rng, *names, epoch=1, step=3)
    assert checkpoints.find_latest(tmp_path).name == "checkpoint.00002-b.hdf5"
    assert checkpoints.find_resumable(tmp_path).name == "interrupted.hdf5"


def test_checkpoints_at_the_end_of_links_are_the_sessions_own(tmp_path, rng):
    write_session(tmp_path, rng, "elsewhere/a.hdf5", "disk/checkpoint.00001-b.hdf5")
    (tmp_path / "session").mkdir()
    (tmp_path / "session" / "checkpoints").symlink_to(tmp_path / "disk")
    (tmp_path / "disk" / "checkpoint.00002-c.hdf5").symlink_to(
        tmp_path / "elsewhere" / "a.hdf5"
    )
    newest = checkpoints.find_resumable(tmp_path / "session")
    assert newest.name == "checkpoint.00002-c.hdf5"
    assert checkpoints.is_of(tmp_path / "session", newest)
    elsewhere = tmp_path / "elsewhere" / "a.hdf5"
    assert not checkpoints.is_of(tmp_path / "session", elsewhere)


def test_session_lies_where_the_config_lies(tmp_path):
    config = tiny_config(training={"path": str(tmp_path / "elsewhere")})
    path = tmp_path / "moved" / "config.json"
    assert checkpoints.find_session(path, config) == tmp_path / "elsewhere"
    (tmp_path / "moved").mkdir()
    (tmp_path / "moved" / "interrupted.hdf5").touch()
    assert checkpoints.find_session(path, config) == tmp_path / "moved"
    (tmp_path / "moved" / "interrupted.hdf5").unlink()
    (tmp_path / "moved" / "checkpoints").mkdir(parents=True)
    assert checkpoints.find_session(path, config) == tmp_path / "moved"
