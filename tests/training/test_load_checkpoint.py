"""Trainings that begin with a checkpoint, of their own session or of another."""

import json
import logging
import os
import signal

import h5py
import numpy as np
import pytest

from sswavenet import checkpoints
from sswavenet.training import batches
from sswavenet.training.session import Interrupted, train
from tests.support import golden_checkpoint
from tests.training.conftest import (
    assert_same_training,
    final_weights,
    golden_session_config,
    history,
    session_config,
)
from util import UserError


@pytest.mark.slow
def test_load_checkpoint_gives_a_new_session_its_weights(tree, tmp_path):
    first = session_config(tree, tmp_path / "first")
    train(first)
    source = checkpoints.find_latest(tmp_path / "first")
    second = session_config(tree, tmp_path / "second", num_epochs=1)
    train(second.replace(learning_rate=1e-30), load_checkpoint=str(source))
    expected = checkpoints.read_checkpoint(source, first).weights
    got = final_weights(tmp_path / "second", second)
    assert got.epoch == 1
    for name, array in expected.items():
        np.testing.assert_allclose(got.weights[name], array, rtol=0, atol=1e-7)
    before = history(tmp_path / "second")
    train(second, load_checkpoint=str(source))  # it has all its epochs
    assert history(tmp_path / "second") == before
    other = next((tmp_path / "first" / "checkpoints").glob("checkpoint.00001-*"))
    with pytest.raises(UserError, match="which did not begin with"):
        train(second, load_checkpoint=str(other))


@pytest.mark.slow
@pytest.mark.parametrize("convention", [None, "theano"])
def test_the_command_that_began_with_other_weights_goes_on(
    convention, tree, tmp_path, monkeypatch
):
    train(session_config(tree, tmp_path / "first"))
    source = checkpoints.find_latest(tmp_path / "first")
    given = {"load_checkpoint": str(source), "kernel_convention": convention}
    whole = session_config(tree, tmp_path / "whole")
    train(whole, **given)
    config = session_config(tree, tmp_path / "parts")
    steps = []

    def interrupt(*arguments, real=batches.draw):
        steps.append(arguments)
        if len(steps) in (2, 12):  # in the first epoch, and in a later one
            os.kill(os.getpid(), signal.SIGTERM)
        return real(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(batches, "draw", interrupt)
        for _ in range(2):
            with pytest.raises(Interrupted):
                train(config, **given)
    train(config, **given)
    assert_same_training(tmp_path / "whole", tmp_path / "parts", whole)


@pytest.mark.slow
def test_load_checkpoint_rewinds_its_own_session(tree, tmp_path):
    session = tmp_path / "s"
    config = session_config(tree, session)
    train(config)
    before = history(session)
    first = next((session / "checkpoints").glob("checkpoint.00001-*"))
    train(config, load_checkpoint=str(first))
    after = history(session)
    assert [row["epoch"] for row in after] == ["1", "2"]
    assert float(after[1]["loss"]) == pytest.approx(float(before[1]["loss"]), abs=1e-5)


@pytest.mark.slow
def test_a_stop_after_going_back_names_the_command_that_goes_on(
    tree, tmp_path, monkeypatch, caplog
):
    caplog.set_level(logging.INFO)
    session = tmp_path / "s"
    config = session_config(tree, session)
    train(config)
    first = next((session / "checkpoints").glob("checkpoint.00001-*"))

    def interrupt(*arguments, real=batches.draw):
        os.kill(os.getpid(), signal.SIGTERM)
        return real(*arguments)

    for given, command in (
        ({"load_checkpoint": str(first)}, "same command without --load_checkpoint"),
        ({}, "same command"),
    ):
        with monkeypatch.context() as patched:
            patched.setattr(batches, "draw", interrupt)
            with pytest.raises(Interrupted):
                train(config, **given)
        state = session / "interrupted.hdf5"
        assert caplog.messages[-1] == f"stopped; the {command} goes on from {state}"
    train(config)
    assert [row["epoch"] for row in history(session)] == ["1", "2"]


@pytest.mark.slow
@pytest.mark.parametrize("keep", [0, 1])
def test_going_back_leaves_no_checkpoints_of_what_came_after(keep, tree, tmp_path):
    session = tmp_path / "s"
    config = session_config(tree, session, num_epochs=4)
    train(config)
    folder = session / "checkpoints"
    first = next(folder.glob("checkpoint.00001-*"))
    # Other losses, so that an epoch's old checkpoint has another name than the new.
    other = config.replace(learning_rate=0.1, keep_checkpoints=keep, num_epochs=3)
    train(other, load_checkpoint=str(first))
    epochs = [checkpoints.epoch_of(path) for path in sorted(folder.iterdir())]
    best = json.loads((session / "best.json").read_text())["epoch"]
    # The first is what this training resumed from.
    assert epochs == (sorted({1, best, 3}) if keep else [1, 2, 3])
    assert len(history(session)) == 3


@pytest.mark.slow
def test_a_checkpoint_that_names_no_backend_needs_the_convention(tree, tmp_path):
    source = tmp_path / "checkpoint.hdf5"
    source.write_bytes(golden_checkpoint("multi-instrument").read_bytes())
    with h5py.File(source, "r+") as file:
        del file.attrs["backend"], file["model_weights"].attrs["backend"]
    config = golden_session_config(
        tree, tmp_path / "s", num_epochs=1, learning_rate=1e-30
    )
    with pytest.raises(UserError, match="--kernel_convention"):
        train(config, load_checkpoint=str(source))
    train(config, load_checkpoint=str(source), kernel_convention="theano")
    expected = checkpoints.read_checkpoint(source, config, "theano").weights
    for name, array in final_weights(tmp_path / "s", config).weights.items():
        np.testing.assert_allclose(array, expected[name], rtol=0, atol=1e-7)


@pytest.mark.parametrize("spoil", ["missing", "text", "of another network"])
def test_what_is_no_checkpoint_is_refused_before_the_data_set_is_read(spoil, tmp_path):
    config = session_config(tmp_path / "no data set", tmp_path / "s")
    source = tmp_path / "checkpoint.hdf5"
    if spoil == "text":
        source.write_text("none")
    if spoil == "of another network":
        source = golden_checkpoint("singing-voice")
    with pytest.raises(UserError) as caught:
        train(config, load_checkpoint=str(source))
    assert str(caught.value).startswith(f"{source}: ")
    assert not (tmp_path / "s").exists()
