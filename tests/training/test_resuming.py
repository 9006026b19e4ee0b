"""A training that was stopped, killed or finished goes on as if it had not been."""

import json
import os
import signal
import subprocess
import sys

import h5py
import pytest

from sswavenet import checkpoints
from sswavenet.config.document import to_document
from sswavenet.training import batches
from sswavenet.training.history import SessionLog
from sswavenet.training.session import Interrupted, train
from tests.support import ROOT, golden_checkpoint, random_weights
from tests.training.conftest import (
    assert_same_training,
    golden_session_config,
    history,
    session_config,
)
from util import UserError


@pytest.mark.slow
def test_more_epochs_continue_a_session(tree, tmp_path, caplog):
    whole = session_config(tree, tmp_path / "whole")
    train(whole)
    parts = session_config(tree, tmp_path / "parts")
    train(parts.replace(num_epochs=1))
    caplog.set_level("INFO")
    train(parts)
    assert "epoch 1, step 0, optimizer state restored" in caplog.text
    assert_same_training(tmp_path / "whole", tmp_path / "parts", whole)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_a_signal_finishes_the_step_and_training_goes_on(
    number, tree, tmp_path, monkeypatch
):
    whole = session_config(tree, tmp_path / "whole")
    train(whole)
    config = session_config(tree, tmp_path / "parts")
    steps = []

    def interrupt(*arguments, real=batches.draw):
        steps.append(arguments)
        if len(steps) == 8:  # in the second epoch, after training and validation
            os.kill(os.getpid(), number)
        return real(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(batches, "draw", interrupt)
        with pytest.raises(Interrupted) as stopped:
            train(config)
    assert stopped.value.exit_status == 128 + number
    # The 2018 program takes what lies in checkpoints/ for its newest, and dies of it.
    assert (tmp_path / "parts" / "interrupted.hdf5").is_file()
    names = {path.name[:16] for path in (tmp_path / "parts" / "checkpoints").iterdir()}
    assert names == {"checkpoint.00001"}
    train(config)
    assert not (tmp_path / "parts" / "interrupted.hdf5").exists()
    assert_same_training(tmp_path / "whole", tmp_path / "parts", whole)


KILLED = """
import json, os, pathlib, signal, sys
from sswavenet.training import batches
from sswavenet.training import session as training
from sswavenet.config.document import parse_config
steps = []
def kill(*arguments, real=batches.draw):
    steps.append(arguments)
    if len(steps) == 9:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*arguments)
batches.draw = kill
training.train(parse_config(json.loads(pathlib.Path(sys.argv[1]).read_text())))
"""


@pytest.mark.slow
def test_training_goes_on_after_sigkill(tree, tmp_path):
    whole = session_config(tree, tmp_path / "whole")
    train(whole)
    config = session_config(tree, tmp_path / "parts")
    path = tmp_path / "config.json"
    path.write_text(json.dumps(to_document(config)))
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(path)], cwd=ROOT, check=False, timeout=300
    )
    assert done.returncode == -signal.SIGKILL
    assert len(history(tmp_path / "parts")) == 1
    train(config)
    assert_same_training(tmp_path / "whole", tmp_path / "parts", whole)


@pytest.mark.slow
def test_a_kill_between_checkpoint_and_history_loses_no_epoch(
    tree, tmp_path, monkeypatch
):
    whole = session_config(tree, tmp_path / "whole")
    train(whole)
    config = session_config(tree, tmp_path / "parts")
    add_epoch = SessionLog.add_epoch
    for last in (0, 1):

        def killed(self, epoch, *arguments, last=last, **keywords):
            if epoch == last + 1:
                raise KeyboardInterrupt  # what leaves nothing behind, like a kill
            add_epoch(self, epoch, *arguments, **keywords)

        with monkeypatch.context() as patched:
            patched.setattr(SessionLog, "add_epoch", killed)
            with pytest.raises(KeyboardInterrupt):
                train(config)
    train(config)
    assert_same_training(tmp_path / "whole", tmp_path / "parts", whole)
    best = [json.loads((tmp_path / name / "best.json").read_text())
            for name in ("whole", "parts")]  # fmt: skip
    assert best[0] == best[1]


@pytest.mark.slow
def test_what_a_training_resumes_from_is_never_deleted(tree, tmp_path):
    config = session_config(tree, tmp_path / "s", keep_checkpoints=1)
    train(config)
    folder = tmp_path / "s" / "checkpoints"
    last = next(folder.glob("checkpoint.00002-*"))
    content = last.read_bytes()
    last = last.rename(folder / "checkpoint.00002-final.hdf5")
    (tmp_path / "s" / "history_multi_instrument.csv").unlink()
    train(config)  # it is finished
    assert last.read_bytes() == content
    train(config.replace(num_epochs=3))
    assert last.read_bytes() == content
    assert checkpoints.find_latest(tmp_path / "s").name.startswith("checkpoint.00003-")


@pytest.mark.slow
def test_training_resumes_from_the_epoch_that_separation_uses(tree, tmp_path, rng):
    config = session_config(tree, tmp_path / "s", num_epochs=11)
    folder = tmp_path / "s" / "checkpoints"
    for epoch in (9, 10):
        weights = random_weights(config, rng)
        path = folder / f"checkpoint.{epoch}-a.hdf5"
        checkpoints.write_checkpoint(path, weights, state={"epoch": epoch})
    train(config)
    names = sorted(path.name[:16] for path in folder.iterdir())
    assert names == ["checkpoint.00011", "checkpoint.10-a.", "checkpoint.9-a.h"]
    assert [row["epoch"] for row in history(tmp_path / "s")] == ["11"]


@pytest.mark.slow
def test_a_checkpoint_under_the_name_of_another_epoch_is_refused(tree, tmp_path):
    config = session_config(tree, tmp_path / "s", num_epochs=1)
    train(config)
    path = checkpoints.find_latest(tmp_path / "s")
    path.rename(path.with_name("checkpoint.00007-a.hdf5"))
    with pytest.raises(UserError, match="epoch 1 under the name of epoch 7"):
        train(config.replace(num_epochs=8))


@pytest.mark.slow
def test_a_session_that_an_earlier_version_stopped_goes_on(tree, tmp_path, monkeypatch):
    config = session_config(tree, tmp_path / "s", num_epochs=1)
    real = batches.draw

    def interrupt(*arguments):
        os.kill(os.getpid(), signal.SIGTERM)
        return real(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(batches, "draw", interrupt)
        with pytest.raises(Interrupted):
            train(config)
    old = tmp_path / "s" / "checkpoints" / "interrupted.hdf5"
    old.parent.mkdir()
    (tmp_path / "s" / "interrupted.hdf5").rename(old)
    with h5py.File(old, "r+") as file:
        del file["training_state"].attrs["newest"]
        before = file["training_state"].attrs["step"]
    steps = []

    def stop_again(*arguments):
        steps.append(arguments)
        if len(steps) == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return real(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(batches, "draw", stop_again)
        with pytest.raises(Interrupted):
            train(config)
    assert list(old.parent.iterdir()) == []
    state = checkpoints.state_of(tmp_path / "s" / "interrupted.hdf5")
    assert (state["epoch"], state["step"] > before >= 1) == (0, True)
    train(config)
    assert [row["epoch"] for row in history(tmp_path / "s")] == ["1"]


@pytest.mark.slow
def test_a_finished_session_says_how_it_goes_on(tree, tmp_path, caplog):
    caplog.set_level("INFO")
    config = session_config(tree, tmp_path / "s", num_epochs=1)
    train(config)
    train(config)
    said = [text for text in caplog.messages if text.startswith("finished: ")]
    expected = f"finished: 1 of 1 epochs in {tmp_path / 's'}; a higher "
    assert said == [f"{expected}training.num_epochs goes on"] * 2


@pytest.mark.slow
def test_a_session_of_2018_goes_on_with_a_fresh_optimizer(tree, tmp_path, caplog):
    caplog.set_level("INFO")
    config = golden_session_config(tree, tmp_path / "s", num_epochs=3)
    folder = tmp_path / "s" / "checkpoints"
    folder.mkdir(parents=True)
    golden = golden_checkpoint("multi-instrument")
    (folder / golden.name).write_bytes(golden.read_bytes())
    train(config)
    assert "epoch 2, step 0, optimizer state not in the file" in caplog.text
    assert checkpoints.find_latest(tmp_path / "s").name.startswith("checkpoint.00003-")


@pytest.mark.slow
def test_another_network_is_refused_in_a_session(tree, tmp_path):
    config = session_config(tree, tmp_path / "s", num_epochs=1)
    train(config)
    with pytest.raises(UserError, match="describes another network"):
        train(config.replace(residual_channels=5))
    with pytest.raises(UserError, match=r"network at 16000 Hz, .* one at 8000 Hz"):
        train(config.replace(sample_rate=8000))
