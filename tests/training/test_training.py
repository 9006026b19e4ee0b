"""Training: golden steps, sessions, resuming, signals, devices."""

import csv
import itertools
import json
import os
import pathlib
import resource
import signal
import socket
import subprocess
import sys
import time

import h5py
import numpy as np
import pytest
import soundfile

import models
import util
from datasets import Dataset
from main import main
from sswavenet import checkpoints
from sswavenet.backend import compat
from sswavenet.config.document import parse_config, to_document
from sswavenet.training import batches, losses
from sswavenet.training import history as session_log
from sswavenet.training import loop as trainer
from sswavenet.training import session as training
from tests.support import (
    GOLDEN,
    TASK_NAMES,
    golden_checkpoint,
    golden_config,
    random_weights,
    tiny_config,
    tiny_document,
)
from util import UserError

ROOT = pathlib.Path(__file__).parents[2]
STEMS = ("vocals", "drums", "bass", "other")


@pytest.fixture(scope="module")
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
    document = tiny_document(
        task_name,
        dataset={"path": str(tree)},
        training={"path": str(session), "num_epochs": 2, **training_keys},
    )
    document["optimizer"]["lr"] = 0.01
    return parse_config(document)


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


@pytest.mark.slow
@pytest.mark.parametrize("task_name", TASK_NAMES)
def test_five_steps_equal_those_of_2018(task_name):
    config = golden_config(task_name)
    checkpoint = checkpoints.read_checkpoint(golden_checkpoint(task_name), config)
    golden = np.load(GOLDEN / task_name / "training.npz")
    names = [name.decode() for name in golden["metric_names"]]
    model = models.build_wavenet(config)
    models.load_weights(model, config, checkpoint.weights)
    model.compile(
        optimizer=compat.make_optimizer(config.learning_rate, config.epsilon),
        **losses.compile_arguments(config),
    )
    for inputs, targets, expected in zip(
        golden["data_input"], golden["targets"], golden["metrics"]
    ):
        logs = compat.train_on_batch(model, inputs, list(targets))
        assert sorted(logs) == sorted(names)
        for name, value in zip(names, expected):
            assert float(logs[name]) == pytest.approx(value, abs=1e-5), name
    fragments = np.load(GOLDEN / task_name / "forward.npz")["data_input"]
    for k, output in enumerate(model.predict_on_batch(fragments)):
        expected = golden[f"after_output_{k + 1}"]
        np.testing.assert_allclose(output, expected, rtol=0, atol=1e-4)


@pytest.mark.slow
def test_a_learning_rate_of_one_is_no_less_a_number(tree, tmp_path):
    document = to_document(session_config(tree, tmp_path / "s", num_epochs=1))
    document["optimizer"]["lr"] = 1
    training.train(parse_config(document))
    assert float(history(tmp_path / "s")[0]["learning_rate"]) == 1


def test_learning_rate_decays_with_the_steps():
    config = tiny_config().replace(learning_rate=0.5, decay=0.25)
    assert trainer.learning_rate(config, 0) == 0.5
    assert trainer.learning_rate(config, 4) == 0.25


def test_cooldown_leads_to_zero_at_the_end():
    config = tiny_config(training={"num_epochs": 5, "num_steps_train": 8})
    config = config.replace(learning_rate=1.0, cooldown=0.5)  # 40 steps, 20 of them
    rates = [trainer.learning_rate(config, step) for step in (0, 19, 20, 30, 39, 40)]
    assert rates == [1.0, 1.0, 1.0, 0.5, 0.05, 0.0]


@pytest.mark.slow
@pytest.mark.parametrize("task_name", TASK_NAMES)
def test_a_session_has_what_2018_wrote(task_name, tree, tmp_path):
    session = tmp_path / "session"
    config = session_config(tree, session, task_name)
    training.train(config)
    document = json.loads((session / "config.json").read_text())
    golden = json.loads((GOLDEN / task_name / "config.json").read_text())
    assert set(golden["model"]) == set(document["model"])
    assert parse_config(document) == config
    rows = history(session)
    (golden_history,) = (GOLDEN / task_name).glob("history_*.csv")
    columns = golden_history.read_text().splitlines()[0]
    for output, stem in enumerate(config.task.supervised, 1):
        columns = columns.replace(f"data_output_{output}_", f"{stem}_")
    assert list(rows[0]) == [*columns.split(","), "learning_rate", "seconds"]
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert (session / golden_history.name).is_file()
    names = sorted(path.name for path in (session / "checkpoints").iterdir())
    assert names == [
        f"checkpoint.{k + 1:05d}-{float(row['val_loss']):.3f}.hdf5"
        for k, row in enumerate(rows)
    ]
    best = json.loads((session / "best.json").read_text())
    losses_of_epochs = [float(row["val_loss"]) for row in rows]
    assert best["epoch"] == 1 + int(np.argmin(losses_of_epochs))
    assert best["checkpoint"] == names[best["epoch"] - 1]


def test_learning_curve_is_drawn_however_slow_the_machine(tmp_path, monkeypatch):
    pytest.importorskip("matplotlib", reason="drawn only where matplotlib is")
    monkeypatch.setattr(time, "perf_counter", itertools.count(step=2.0).__next__)
    log = session_log.SessionLog(tmp_path, tiny_config())
    log.add_epoch(1, {"loss": 1.0, "val_loss": 2.0})
    content = (tmp_path / "learning_curve.png").read_bytes()
    assert content.startswith(b"\x89PNG")


@pytest.mark.slow
def test_training_learns(tmp_path, rng):
    # Only the vocals sound: they are the mixture, the other estimates are silent.
    for number in range(27):
        track = tmp_path / "musdb" / "train" / f"{number:02d}"
        track.mkdir(parents=True)
        audio = rng.integers(-4000, 4000, 200).astype("int16")
        for stem in ("mixture", *STEMS):
            loud = stem in ("mixture", "vocals")
            soundfile.write(str(track / f"{stem}.wav"), audio * loud, 16000)
    config = session_config(
        tmp_path / "musdb", tmp_path / "s", num_epochs=3, num_steps_train=60
    )
    training.train(config)
    rows = history(tmp_path / "s")
    silence = 2000 / 32768  # mean |vocals|, the loss of putting out nothing
    assert float(rows[-1]["val_loss"]) < 0.6 * silence


@pytest.mark.slow
def test_more_epochs_continue_a_session(tree, tmp_path, caplog):
    whole = session_config(tree, tmp_path / "whole")
    training.train(whole)
    parts = session_config(tree, tmp_path / "parts")
    training.train(parts.replace(num_epochs=1))
    caplog.set_level("INFO")
    training.train(parts)
    assert "epoch 1, step 0, optimizer state restored" in caplog.text
    assert_same_training(tmp_path / "whole", tmp_path / "parts", whole)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_a_signal_finishes_the_step_and_training_goes_on(
    number, tree, tmp_path, monkeypatch
):
    whole = session_config(tree, tmp_path / "whole")
    training.train(whole)
    config = session_config(tree, tmp_path / "parts")
    steps = []

    def interrupt(*arguments, real=batches.draw):
        steps.append(arguments)
        if len(steps) == 8:  # in the second epoch, after training and validation
            os.kill(os.getpid(), number)
        return real(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(batches, "draw", interrupt)
        with pytest.raises(training.Interrupted) as stopped:
            training.train(config)
    assert stopped.value.exit_status == 128 + number
    # The 2018 program takes what lies in checkpoints/ for its newest, and dies of it.
    assert (tmp_path / "parts" / "interrupted.hdf5").is_file()
    names = {path.name[:16] for path in (tmp_path / "parts" / "checkpoints").iterdir()}
    assert names == {"checkpoint.00001"}
    training.train(config)
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
    training.train(whole)
    config = session_config(tree, tmp_path / "parts")
    path = tmp_path / "config.json"
    path.write_text(json.dumps(to_document(config)))
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(path)], cwd=ROOT, check=False, timeout=300
    )
    assert done.returncode == -signal.SIGKILL
    assert len(history(tmp_path / "parts")) == 1
    training.train(config)
    assert_same_training(tmp_path / "whole", tmp_path / "parts", whole)


@pytest.mark.slow
def test_a_kill_between_checkpoint_and_history_loses_no_epoch(
    tree, tmp_path, monkeypatch
):
    whole = session_config(tree, tmp_path / "whole")
    training.train(whole)
    config = session_config(tree, tmp_path / "parts")
    add_epoch = session_log.SessionLog.add_epoch
    for last in (0, 1):

        def killed(self, epoch, *arguments, last=last, **keywords):
            if epoch == last + 1:
                raise KeyboardInterrupt  # what leaves nothing behind, like a kill
            add_epoch(self, epoch, *arguments, **keywords)

        with monkeypatch.context() as patched:
            patched.setattr(session_log.SessionLog, "add_epoch", killed)
            with pytest.raises(KeyboardInterrupt):
                training.train(config)
    training.train(config)
    assert_same_training(tmp_path / "whole", tmp_path / "parts", whole)
    best = [json.loads((tmp_path / name / "best.json").read_text())
            for name in ("whole", "parts")]  # fmt: skip
    assert best[0] == best[1]


def test_early_stopping_counts_epochs_without_improvement(tmp_path):
    config = tiny_config(training={"early_stopping_patience": 2})
    log = session_log.SessionLog(tmp_path, config)
    for loss, stops in [(3, False), (2, False), (2, False), (1, False), (1, False)]:
        log.rows.append({"epoch": len(log.rows) + 1, "loss": loss, "val_loss": 0})
        assert log.should_stop() == stops
    log.rows.append({"epoch": 6, "loss": 1.5, "val_loss": 0})
    assert log.should_stop()


@pytest.mark.slow
def test_training_stops_early(tree, tmp_path, monkeypatch, caplog):
    caplog.set_level("INFO")
    config = session_config(
        tree, tmp_path / "s", num_epochs=9, early_stopping_patience=1
    ).replace(learning_rate=1e-30)
    training.train(config)
    assert len(history(tmp_path / "s")) < 9
    assert "has not improved for 1 epochs" in caplog.text


def test_old_checkpoints_are_removed_but_the_best(tmp_path):
    config = tiny_config(training={"keep_checkpoints": 2})
    log = session_log.SessionLog(tmp_path, config)
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    for epoch, loss in enumerate([5.0, 1.0, 4.0, 3.0, 2.0], 1):
        row = {"epoch": epoch, "loss": loss, "val_loss": loss}
        (folder / session_log.checkpoint_name(row)).touch()
        log.add_epoch(epoch, row)
        log.remove_old_checkpoints(None)
    assert sorted(path.name for path in folder.iterdir()) == [
        "checkpoint.00002-1.000.hdf5",
        "checkpoint.00004-3.000.hdf5",
        "checkpoint.00005-2.000.hdf5",
    ]


@pytest.mark.slow
def test_what_a_training_resumes_from_is_never_deleted(tree, tmp_path):
    config = session_config(tree, tmp_path / "s", keep_checkpoints=1)
    training.train(config)
    folder = tmp_path / "s" / "checkpoints"
    last = next(folder.glob("checkpoint.00002-*"))
    content = last.read_bytes()
    last = last.rename(folder / "checkpoint.00002-final.hdf5")
    (tmp_path / "s" / "history_multi_instrument.csv").unlink()
    training.train(config)  # it is finished
    assert last.read_bytes() == content
    training.train(config.replace(num_epochs=3))
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
    training.train(config)
    names = sorted(path.name[:16] for path in folder.iterdir())
    assert names == ["checkpoint.00011", "checkpoint.10-a.", "checkpoint.9-a.h"]
    assert [row["epoch"] for row in history(tmp_path / "s")] == ["11"]


@pytest.mark.slow
def test_a_checkpoint_under_the_name_of_another_epoch_is_refused(tree, tmp_path):
    config = session_config(tree, tmp_path / "s", num_epochs=1)
    training.train(config)
    path = checkpoints.find_latest(tmp_path / "s")
    path.rename(path.with_name("checkpoint.00007-a.hdf5"))
    with pytest.raises(UserError, match="epoch 1 under the name of epoch 7"):
        training.train(config.replace(num_epochs=8))


@pytest.mark.slow
def test_a_session_that_an_earlier_version_stopped_goes_on(tree, tmp_path, monkeypatch):
    config = session_config(tree, tmp_path / "s", num_epochs=1)
    real = batches.draw

    def interrupt(*arguments):
        os.kill(os.getpid(), signal.SIGTERM)
        return real(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(batches, "draw", interrupt)
        with pytest.raises(training.Interrupted):
            training.train(config)
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
        with pytest.raises(training.Interrupted):
            training.train(config)
    assert list(old.parent.iterdir()) == []
    state = checkpoints.state_of(tmp_path / "s" / "interrupted.hdf5")
    assert (state["epoch"], state["step"] > before >= 1) == (0, True)
    training.train(config)
    assert [row["epoch"] for row in history(tmp_path / "s")] == ["1"]


@pytest.mark.parametrize("task_name", TASK_NAMES)
def test_a_history_of_2018_or_of_an_earlier_version_is_read(task_name, tmp_path):
    """It has Keras's names and counts from 0."""
    config = golden_config(task_name)
    (golden,) = (GOLDEN / task_name).glob("history_*.csv")
    (tmp_path / golden.name).write_bytes(golden.read_bytes())
    with golden.open(newline="") as file:
        before = list(csv.DictReader(file))
    count = len(before)
    log = session_log.SessionLog(tmp_path, config)
    log.rewind(count, {})
    assert [row["epoch"] for row in log.rows] == list(range(1, count + 1))
    row = {name: float(value) for name, value in before[0].items() if name != "epoch"}
    log.add_epoch(count + 1, row)
    after = history(tmp_path)
    assert [int(row["epoch"]) for row in after] == list(range(1, count + 2))
    for old, new in zip([*before, before[0]], after):
        for output, stem in enumerate(config.task.supervised, 1):
            for name in ("loss", "mean_absolute_error", "valid_mean_absolute_error"):
                for kind in ("", "val_"):
                    expected = float(old[f"{kind}data_output_{output}_{name}"])
                    assert float(new[f"{kind}{stem}_{name}"]) == expected
    again = session_log.SessionLog(tmp_path, config)
    again.rewind(count, {})
    assert len(again.rows) == count
    for row, expected in zip(again.rows, log.rows):
        assert {name: row[name] for name in expected} == expected


@pytest.mark.parametrize("task_name", TASK_NAMES)
def test_a_history_that_the_program_of_2018_went_on_with_is_read(task_name, tmp_path):
    """It adds rows to the file as they were in its own."""
    config = golden_config(task_name)
    (golden,) = (GOLDEN / task_name).glob("history_*.csv")
    names, first, second = golden.read_text().splitlines()
    values = list(map(float, first.split(",")[1:]))
    log = session_log.SessionLog(tmp_path, config)
    log.add_epoch(
        1, {**dict(zip(names.split(",")[1:], values)), "learning_rate": 1, "seconds": 2}
    )
    with (tmp_path / golden.name).open("a", newline="") as file:
        file.write(f"{second}\r\n")
    again = session_log.SessionLog(tmp_path, config)
    again.rewind(2, {})
    assert [row["epoch"] for row in again.rows] == [1, 2]
    expected = dict(zip(names.split(",")[1:], map(float, second.split(",")[1:])))
    assert {name: again.rows[1][name] for name in expected} == expected
    again.add_epoch(3, again.rows[0])
    assert [row["seconds"] for row in history(tmp_path)] == ["2.0", "nan", "2.0"]


@pytest.mark.slow
def test_a_finished_session_says_how_it_goes_on(tree, tmp_path, caplog):
    caplog.set_level("INFO")
    config = session_config(tree, tmp_path / "s", num_epochs=1)
    training.train(config)
    training.train(config)
    said = [text for text in caplog.messages if text.startswith("finished: ")]
    expected = f"finished: 1 of 1 epochs in {tmp_path / 's'}; a higher "
    assert said == [f"{expected}training.num_epochs goes on"] * 2


@pytest.mark.slow
def test_load_checkpoint_gives_a_new_session_its_weights(tree, tmp_path):
    first = session_config(tree, tmp_path / "first")
    training.train(first)
    source = checkpoints.find_latest(tmp_path / "first")
    second = session_config(tree, tmp_path / "second", num_epochs=1)
    training.train(second.replace(learning_rate=1e-30), load_checkpoint=str(source))
    expected = checkpoints.read_checkpoint(source, first).weights
    got = final_weights(tmp_path / "second", second)
    assert got.epoch == 1
    for name, array in expected.items():
        np.testing.assert_allclose(got.weights[name], array, rtol=0, atol=1e-7)
    before = history(tmp_path / "second")
    training.train(second, load_checkpoint=str(source))  # it has all its epochs
    assert history(tmp_path / "second") == before
    other = next((tmp_path / "first" / "checkpoints").glob("checkpoint.00001-*"))
    with pytest.raises(UserError, match="which did not begin with"):
        training.train(second, load_checkpoint=str(other))


@pytest.mark.slow
@pytest.mark.parametrize("convention", [None, "theano"])
def test_the_command_that_began_with_other_weights_goes_on(
    convention, tree, tmp_path, monkeypatch
):
    training.train(session_config(tree, tmp_path / "first"))
    source = checkpoints.find_latest(tmp_path / "first")
    given = {"load_checkpoint": str(source), "kernel_convention": convention}
    whole = session_config(tree, tmp_path / "whole")
    training.train(whole, **given)
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
            with pytest.raises(training.Interrupted):
                training.train(config, **given)
    training.train(config, **given)
    assert_same_training(tmp_path / "whole", tmp_path / "parts", whole)


@pytest.mark.slow
def test_load_checkpoint_rewinds_its_own_session(tree, tmp_path):
    session = tmp_path / "s"
    config = session_config(tree, session)
    training.train(config)
    before = history(session)
    first = next((session / "checkpoints").glob("checkpoint.00001-*"))
    training.train(config, load_checkpoint=str(first))
    after = history(session)
    assert [row["epoch"] for row in after] == ["1", "2"]
    assert float(after[1]["loss"]) == pytest.approx(float(before[1]["loss"]), abs=1e-5)


@pytest.mark.slow
def test_a_session_of_2018_goes_on_with_a_fresh_optimizer(tree, tmp_path, caplog):
    caplog.set_level("INFO")
    config = golden_config("multi-instrument").replace(
        datasets=str(tree),
        session_path=str(tmp_path / "s"),
        num_epochs=3,
        target_field_length=31,
        num_steps_train=1,
        num_steps_validation=1,
    )
    folder = tmp_path / "s" / "checkpoints"
    folder.mkdir(parents=True)
    golden = golden_checkpoint("multi-instrument")
    (folder / golden.name).write_bytes(golden.read_bytes())
    training.train(config)
    assert "epoch 2, step 0, optimizer state not in the file" in caplog.text
    assert checkpoints.find_latest(tmp_path / "s").name.startswith("checkpoint.00003-")


@pytest.mark.slow
def test_another_network_is_refused_in_a_session(tree, tmp_path):
    config = session_config(tree, tmp_path / "s", num_epochs=1)
    training.train(config)
    with pytest.raises(UserError, match="describes another network"):
        training.train(config.replace(residual_channels=5))


def test_a_broken_set_is_refused_before_any_compute(tmp_path):
    config = session_config(tmp_path / "none", tmp_path / "s")
    with pytest.raises(UserError, match="none"):
        training.train(config)
    assert not (tmp_path / "s").exists()


def test_a_loss_that_explodes_ends_training(tree, tmp_path):
    config = session_config(tree, tmp_path / "s", num_steps_train=40)
    with pytest.raises(UserError, match="not finite any more"):
        training.train(config.replace(learning_rate=1e30))


@pytest.mark.slow
@pytest.mark.parametrize("keep", [0, 1])
def test_going_back_leaves_no_checkpoints_of_what_came_after(keep, tree, tmp_path):
    session = tmp_path / "s"
    config = session_config(tree, session, num_epochs=4)
    training.train(config)
    folder = session / "checkpoints"
    first = next(folder.glob("checkpoint.00001-*"))
    # Other losses, so that an epoch's old checkpoint has another name than the new.
    other = config.replace(learning_rate=0.1, keep_checkpoints=keep, num_epochs=3)
    training.train(other, load_checkpoint=str(first))
    epochs = [checkpoints.epoch_of(path) for path in sorted(folder.iterdir())]
    best = json.loads((session / "best.json").read_text())["epoch"]
    # The first is what this training resumed from.
    assert epochs == (sorted({1, best, 3}) if keep else [1, 2, 3])
    assert len(history(session)) == 3


def test_a_session_that_cannot_be_written_is_refused_first(tmp_path):
    (tmp_path / "file").touch()
    config = session_config(tmp_path / "no data", tmp_path / "file" / "s")
    with pytest.raises(UserError, match="to be a folder that can be written"):
        training.train(config)


@pytest.mark.slow
def test_a_validation_loss_that_is_not_finite_is_not_kept(tree, tmp_path, monkeypatch):
    config = session_config(tree, tmp_path / "s", num_epochs=2)
    training.train(config.replace(num_epochs=1))
    before = sorted((tmp_path / "s" / "checkpoints").iterdir())

    def diverged(*arguments, real=compat.test_on_batch):
        return {**real(*arguments), "loss": float("nan")}

    with monkeypatch.context() as patched:
        patched.setattr(compat, "test_on_batch", diverged)
        with pytest.raises(UserError, match="validation loss is not finite"):
            training.train(config)
    assert sorted((tmp_path / "s" / "checkpoints").iterdir()) == before
    assert len(history(tmp_path / "s")) == 1
    training.train(config)
    assert len(history(tmp_path / "s")) == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    [
        "a,b\n1,x\n",
        "epoch,loss\n0,1\n",
        "epoch,loss,val_loss\n-inf,1,1\n",
        "epoch,loss,val_loss\n0,1,1\n",
        f"epoch,loss,val_loss\n0,1,{'1' * 200_000}\n",
    ],
)
def test_a_spoiled_history_is_refused(text, tree, tmp_path):
    config = session_config(tree, tmp_path / "s", num_epochs=1)
    training.train(config)
    (tmp_path / "s" / "history_multi_instrument.csv").write_text(text)
    with pytest.raises(UserError, match="expected a history"):
        training.train(config.replace(num_epochs=2))


@pytest.mark.slow
def test_a_history_that_lacks_epochs_is_said(tree, tmp_path, caplog):
    config = session_config(tree, tmp_path / "s", num_epochs=2)
    training.train(config)
    (tmp_path / "s" / "history_multi_instrument.csv").unlink()
    training.train(config.replace(num_epochs=3))
    assert "has 1 of the 2 epochs so far" in caplog.text


RUN = """
import json, pathlib, sys
from sswavenet.training import session as training
from sswavenet.config.document import parse_config
training.train(parse_config(json.loads(pathlib.Path(sys.argv[1]).read_text())))
"""


def run_training(path, code=RUN, **environment):
    return subprocess.Popen(
        [sys.executable, "-c", code, str(path)],
        cwd=ROOT,
        env={**os.environ, **environment},
    )


@pytest.mark.slow
@pytest.mark.keras3
def test_two_devices_train_like_one(tree, tmp_path):
    one = session_config(tree, tmp_path / "one")
    training.train(one)
    two = session_config(tree, tmp_path / "two")
    path = tmp_path / "config.json"
    path.write_text(json.dumps(to_document(two)))
    flags = "--xla_force_host_platform_device_count=2"
    assert run_training(path, XLA_FLAGS=flags).wait(timeout=300) == 0
    for left, right in zip(history(one.session_path), history(two.session_path)):
        for name in ("loss", "val_loss"):
            assert float(left[name]) == pytest.approx(float(right[name]), abs=1e-4)


def free_port():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


def run_processes(path, count, code=RUN):
    """The exit statuses of as many processes, which train a session together."""
    shared = {}
    if count > 1:
        shared["KERAS_DISTRIBUTION_JOB_ADDRESSES"] = f"127.0.0.1:{free_port()}"
        shared["KERAS_DISTRIBUTION_NUM_PROCESSES"] = str(count)
    processes = [
        run_training(path, code, **shared, KERAS_DISTRIBUTION_PROCESS_ID=str(number))
        for number in range(count)
    ]
    return [process.wait(timeout=300) for process in processes]


@pytest.mark.slow
@pytest.mark.keras3
def test_two_processes_train_like_one_and_stop_together(tree, tmp_path):
    one = session_config(tree, tmp_path / "one", early_stopping_patience=1)
    one = one.replace(num_epochs=9, learning_rate=1e-30)  # stops early
    training.train(one)
    two = one.replace(session_path=str(tmp_path / "two"))
    path = tmp_path / "config.json"
    path.write_text(json.dumps(to_document(two)))
    assert run_processes(path, 2) == [0, 0]
    assert len(history(two.session_path)) == len(history(one.session_path)) < 9
    for left, right in zip(history(one.session_path), history(two.session_path)):
        for name in ("loss", "val_loss"):
            assert float(left[name]) == pytest.approx(float(right[name]), abs=1e-4)


@pytest.mark.slow
@pytest.mark.keras3
def test_a_training_goes_on_with_fewer_and_more_processes(tree, tmp_path):
    """The batch is shared out anew; what is drawn and learned stays the same."""
    one = session_config(tree, tmp_path / "one", num_epochs=3)
    training.train(one)
    other = one.replace(session_path=str(tmp_path / "other"))
    path = tmp_path / "config.json"
    for num_epochs, count in enumerate((2, 1, 2), 1):
        path.write_text(json.dumps(to_document(other.replace(num_epochs=num_epochs))))
        assert run_processes(path, count) == [0] * count
    assert len(history(other.session_path)) == 3
    assert_same_training(one.session_path, other.session_path, one)


STOPPED = """
import os, signal, sys
import main
from sswavenet.training import batches
steps = []
def stop(*arguments, real=batches.draw):
    steps.append(arguments)
    if len(steps) == 3 and os.environ["KERAS_DISTRIBUTION_PROCESS_ID"] == "1":
        os.kill(os.getpid(), signal.SIGTERM)
    return real(*arguments)
batches.draw = stop
sys.exit(main.main(["--mode=training", f"--config={sys.argv[1]}"]))
"""


@pytest.mark.slow
@pytest.mark.keras3
def test_a_signal_to_one_process_stops_all_at_the_same_step(tree, tmp_path):
    config = session_config(tree, tmp_path / "s", num_steps_train=1000)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(to_document(config)))
    assert run_processes(path, 2, STOPPED) == [143, 143]
    interrupted = tmp_path / "s" / "interrupted.hdf5"
    state = checkpoints.read_checkpoint(interrupted, config).state
    assert (state["epoch"], state["step"]) in [(0, 1), (0, 2), (0, 3)]


def test_two_trainings_never_share_a_session(tree, tmp_path):
    config = session_config(tree, tmp_path / "s")
    with (
        util.locked(tmp_path / "s", what="a training"),
        pytest.raises(UserError, match="another process runs a training"),
    ):
        training.train(config)
    assert list((tmp_path / "s").iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    ("place", "name"),
    [(Dataset, "load"), (trainer.Trainer, "restore"), (util, "write_json")],
)
def test_a_signal_before_the_first_step_ends_in_one_line(
    number, place, name, tree, tmp_path, monkeypatch, capsys
):
    config = session_config(tree, tmp_path / "s", num_epochs=1)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(to_document(config)))
    source = tmp_path / "weights.hdf5"
    rng = np.random.default_rng(1)
    checkpoints.write_checkpoint(source, random_weights(config, rng))
    real = getattr(place, name)

    def interrupted(*arguments, **keywords):
        os.kill(os.getpid(), number)
        return real(*arguments, **keywords)

    monkeypatch.setattr(place, name, interrupted)
    arguments = [f"--config={path}", f"--load_checkpoint={source}"]
    assert main(["--mode=training", *arguments]) == 128 + number
    said = capsys.readouterr().err.splitlines()
    assert said[-1] == f"error: {'interrupted' if number == 2 else 'terminated'}"
    assert not any("Traceback" in line for line in said)
    assert not (tmp_path / "s" / "checkpoints").exists()


@pytest.mark.slow
def test_a_full_disk_ends_training_in_one_line_and_it_goes_on_later(
    tree, tmp_path, capsys
):
    config = session_config(tree, tmp_path / "s", num_epochs=1)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(to_document(config)))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20000, before[1]))
    try:
        status = main(["--mode=training", f"--config={path}"])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert status == 2
    said = capsys.readouterr().err.splitlines()
    (line,) = [line for line in said if line.startswith("error: ")]
    assert "cannot write" in line
    assert "checkpoint.00001" in line
    assert not any("Traceback" in line for line in said)
    assert [file.name for file in (tmp_path / "s").rglob("*.*")] == ["config.json"]
    assert main(["--mode=training", f"--config={path}"]) == 0
    assert len(history(tmp_path / "s")) == 1


@pytest.mark.slow
def test_a_checkpoint_that_names_no_backend_needs_the_convention(tree, tmp_path):
    source = tmp_path / "checkpoint.hdf5"
    source.write_bytes(golden_checkpoint("multi-instrument").read_bytes())
    with h5py.File(source, "r+") as file:
        del file.attrs["backend"], file["model_weights"].attrs["backend"]
    config = golden_config("multi-instrument").replace(
        datasets=str(tree),
        session_path=str(tmp_path / "s"),
        num_epochs=1,
        target_field_length=31,
        num_steps_train=1,
        num_steps_validation=1,
        learning_rate=1e-30,
    )
    with pytest.raises(UserError, match="--kernel_convention"):
        training.train(config, load_checkpoint=str(source))
    training.train(config, load_checkpoint=str(source), kernel_convention="theano")
    expected = checkpoints.read_checkpoint(source, config, "theano").weights
    for name, array in final_weights(tmp_path / "s", config).weights.items():
        np.testing.assert_allclose(array, expected[name], rtol=0, atol=1e-7)
