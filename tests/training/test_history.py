"""The table of epochs: what it decides, and tables of other programs."""

import csv
import itertools
import time

import pytest

from sswavenet.training.history import SessionLog, checkpoint_name
from sswavenet.training.session import train
from tests.support import GOLDEN, TASK_NAMES, golden_config, tiny_config
from tests.training.conftest import history, session_config
from util import UserError


def test_learning_curve_is_drawn_however_slow_the_machine(tmp_path, monkeypatch):
    pytest.importorskip("matplotlib", reason="drawn only where matplotlib is")
    monkeypatch.setattr(time, "perf_counter", itertools.count(step=2.0).__next__)
    log = SessionLog(tmp_path, tiny_config())
    log.add_epoch(1, {"loss": 1.0, "val_loss": 2.0})
    content = (tmp_path / "learning_curve.png").read_bytes()
    assert content.startswith(b"\x89PNG")


def test_early_stopping_counts_epochs_without_improvement(tmp_path):
    config = tiny_config(training={"early_stopping_patience": 2})
    log = SessionLog(tmp_path, config)
    for loss, stops in [(3, False), (2, False), (2, False), (1, False), (1, False)]:
        log.rows.append({"epoch": len(log.rows) + 1, "loss": loss, "val_loss": 0})
        assert log.should_stop() == stops
    log.rows.append({"epoch": 6, "loss": 1.5, "val_loss": 0})
    assert log.should_stop()


def test_old_checkpoints_are_removed_but_the_best(tmp_path):
    config = tiny_config(training={"keep_checkpoints": 2})
    log = SessionLog(tmp_path, config)
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    for epoch, loss in enumerate([5.0, 1.0, 4.0, 3.0, 2.0], 1):
        row = {"epoch": epoch, "loss": loss, "val_loss": loss}
        (folder / checkpoint_name(row)).touch()
        log.add_epoch(epoch, row)
        log.remove_old_checkpoints(None)
    assert sorted(path.name for path in folder.iterdir()) == [
        "checkpoint.00002-1.000.hdf5",
        "checkpoint.00004-3.000.hdf5",
        "checkpoint.00005-2.000.hdf5",
    ]


@pytest.mark.parametrize("task_name", TASK_NAMES)
def test_a_history_of_2018_or_of_an_earlier_version_is_read(task_name, tmp_path):
    """It has Keras's names and counts from 0."""
    config = golden_config(task_name)
    (golden,) = (GOLDEN / task_name).glob("history_*.csv")
    (tmp_path / golden.name).write_bytes(golden.read_bytes())
    with golden.open(newline="") as file:
        before = list(csv.DictReader(file))
    count = len(before)
    log = SessionLog(tmp_path, config)
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
    again = SessionLog(tmp_path, config)
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
    log = SessionLog(tmp_path, config)
    log.add_epoch(
        1, {**dict(zip(names.split(",")[1:], values)), "learning_rate": 1, "seconds": 2}
    )
    with (tmp_path / golden.name).open("a", newline="") as file:
        file.write(f"{second}\r\n")
    again = SessionLog(tmp_path, config)
    again.rewind(2, {})
    assert [row["epoch"] for row in again.rows] == [1, 2]
    expected = dict(zip(names.split(",")[1:], map(float, second.split(",")[1:])))
    assert {name: again.rows[1][name] for name in expected} == expected
    again.add_epoch(3, again.rows[0])
    assert [row["seconds"] for row in history(tmp_path)] == ["2.0", "nan", "2.0"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    [
        "a,b\n1,x\n",
        "epoch,loss\n0,1\n",
        "epoch,loss,val_loss\n-inf,1,1\n",
        "epoch,loss,val_loss\n0,1,1\n",
        f"epoch,loss,val_loss\n0,1,{'1' * 200_000}\n",
        f"epoch,loss,val_loss\n0,1,{'x' * 5000}\n",
    ],
)
def test_a_spoiled_history_is_refused(text, tree, tmp_path):
    config = session_config(tree, tmp_path / "s", num_epochs=1)
    train(config)
    (tmp_path / "s" / "history_multi_instrument.csv").write_text(text)
    with pytest.raises(UserError, match="expected a history") as caught:
        train(config.replace(num_epochs=2))
    assert len(str(caught.value)) < 500


@pytest.mark.slow
def test_a_history_that_lacks_epochs_is_said(tree, tmp_path, caplog):
    config = session_config(tree, tmp_path / "s", num_epochs=2)
    train(config)
    (tmp_path / "s" / "history_multi_instrument.csv").unlink()
    train(config.replace(num_epochs=3))
    assert "has 1 of the 2 epochs so far" in caplog.text
