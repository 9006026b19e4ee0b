"""Training: golden steps, what a session gets, and what ends in one line."""

import json
import os
import resource
import signal

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
from sswavenet.training import losses
from sswavenet.training.loop import Trainer, learning_rate
from sswavenet.training.session import train
from tests.support import (
    GOLDEN,
    STEMS,
    TASK_NAMES,
    golden_checkpoint,
    golden_config,
    random_weights,
    tiny_config,
)
from tests.training.conftest import history, session_config
from util import UserError


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
    train(parse_config(document))
    assert float(history(tmp_path / "s")[0]["learning_rate"]) == 1


def test_learning_rate_decays_with_the_steps():
    config = tiny_config().replace(learning_rate=0.5, decay=0.25)
    assert learning_rate(config, 0) == 0.5
    assert learning_rate(config, 4) == 0.25


def test_cooldown_leads_to_zero_at_the_end():
    config = tiny_config(training={"num_epochs": 5, "num_steps_train": 8})
    config = config.replace(learning_rate=1.0, cooldown=0.5)  # 40 steps, 20 of them
    rates = [learning_rate(config, step) for step in (0, 19, 20, 30, 39, 40)]
    assert rates == [1.0, 1.0, 1.0, 0.5, 0.05, 0.0]


@pytest.mark.slow
@pytest.mark.parametrize("task_name", TASK_NAMES)
def test_a_session_has_what_2018_wrote(task_name, tree, tmp_path):
    session = tmp_path / "session"
    config = session_config(tree, session, task_name)
    train(config)
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
    train(config)
    rows = history(tmp_path / "s")
    silence = 2000 / 32768  # mean |vocals|, the loss of putting out nothing
    assert float(rows[-1]["val_loss"]) < 0.6 * silence


@pytest.mark.slow
def test_training_stops_early(tree, tmp_path, monkeypatch, caplog):
    caplog.set_level("INFO")
    config = session_config(
        tree, tmp_path / "s", num_epochs=9, early_stopping_patience=1
    ).replace(learning_rate=1e-30)
    train(config)
    assert len(history(tmp_path / "s")) < 9
    assert "has not improved for 1 epochs" in caplog.text


def test_a_broken_set_is_refused_before_any_compute(tmp_path):
    config = session_config(tmp_path / "none", tmp_path / "s")
    with pytest.raises(UserError, match="none"):
        train(config)
    assert not (tmp_path / "s").exists()


def test_a_loss_that_explodes_ends_training(tree, tmp_path):
    config = session_config(tree, tmp_path / "s", num_steps_train=40)
    with pytest.raises(UserError, match="not finite any more"):
        train(config.replace(learning_rate=1e30))


def test_a_session_that_cannot_be_written_is_refused_first(tmp_path):
    (tmp_path / "file").touch()
    config = session_config(tmp_path / "no data", tmp_path / "file" / "s")
    with pytest.raises(UserError, match="to be a folder that can be written"):
        train(config)


@pytest.mark.slow
def test_a_validation_loss_that_is_not_finite_is_not_kept(tree, tmp_path, monkeypatch):
    config = session_config(tree, tmp_path / "s", num_epochs=2)
    train(config.replace(num_epochs=1))
    before = sorted((tmp_path / "s" / "checkpoints").iterdir())

    def diverged(*arguments, real=compat.test_on_batch):
        return {**real(*arguments), "loss": float("nan")}

    with monkeypatch.context() as patched:
        patched.setattr(compat, "test_on_batch", diverged)
        with pytest.raises(UserError, match="validation loss is not finite"):
            train(config)
    assert sorted((tmp_path / "s" / "checkpoints").iterdir()) == before
    assert len(history(tmp_path / "s")) == 1
    train(config)
    assert len(history(tmp_path / "s")) == 2


def test_two_trainings_never_share_a_session(tree, tmp_path):
    config = session_config(tree, tmp_path / "s")
    with (
        util.locked(tmp_path / "s", what="a training"),
        pytest.raises(UserError, match="another process runs a training"),
    ):
        train(config)
    assert list((tmp_path / "s").iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    ("place", "name"),
    [(Dataset, "load"), (Trainer, "restore"), (util, "write_json")],
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
