"""Which weights and which config a run takes, and which it refuses."""

import json
import os

import h5py
import pytest

from sswavenet import checkpoints
from sswavenet.config.document import read_config
from tests.main.conftest import infer, one_error
from tests.support import GOLDEN, ROOT, TASK_NAMES, golden_checkpoint

# Weights.


def test_the_newest_checkpoint_is_the_one_of_the_highest_epoch(
    session, song, quick, capsys
):
    (file,) = (session / "checkpoints").iterdir()
    newest = file.with_name("checkpoint.00010-0.200.hdf5")
    newest.write_bytes(file.read_bytes())
    os.utime(newest, (0, 0))
    assert infer(session, song) == 0
    assert "checkpoint.00010-0.200.hdf5" in capsys.readouterr().err


def test_load_checkpoint_is_honoured_in_a_session_without_checkpoints(
    tmp_path, song, quick, capsys
):
    config = tmp_path / "config.json"
    document = json.loads((GOLDEN / "singing-voice" / "config.json").read_text())
    document["training"]["path"] = str(tmp_path / "new session")
    config.write_text(json.dumps(document))
    checkpoint = golden_checkpoint("singing-voice")
    assert infer(tmp_path, song, f"--load_checkpoint={checkpoint}") == 0
    assert checkpoint.name in capsys.readouterr().err
    assert len(list((tmp_path / "new session/samples/samples_1").iterdir())) == 2


def test_without_weights_nothing_is_separated(session, song, quick, capsys):
    for file in (session / "checkpoints").iterdir():
        file.unlink()
    assert infer(session, song) == 2
    assert "expected a checkpoint" in one_error(capsys)
    assert not (session / "samples").exists()


def test_a_file_that_does_not_name_its_backend_needs_the_flag(
    session, song, quick, capsys
):
    (file,) = (session / "checkpoints").iterdir()
    with h5py.File(file, "r+") as checkpoint:
        for group in (checkpoint, checkpoint["model_weights"]):
            group.attrs.pop("backend", None)
    assert infer(session, song) == 2
    assert "--kernel_convention" in one_error(capsys)
    assert infer(session, song, "--kernel_convention=theano") == 0


@pytest.mark.parametrize("content", [b"", b"not HDF5", None])
def test_a_checkpoint_that_cannot_be_read_is_refused(
    content, session, song, tmp_path, quick, capsys
):
    path = tmp_path / "weights.hdf5"
    if content is not None:
        path.write_bytes(content)
    assert infer(session, song, f"--load_checkpoint={path}") == 2
    assert "weights.hdf5" in one_error(capsys)
    assert not (session / "samples").exists()


def test_a_checkpoint_of_the_other_task_is_refused(session, song, quick, capsys):
    checkpoint = golden_checkpoint("singing-voice")
    assert infer(session, song, f"--load_checkpoint={checkpoint}") == 2
    assert "conv1d" in one_error(capsys)


# Configuration.


def test_the_target_fills_in_the_type(session, song, quick, capsys):
    path = session / "config.json"
    document = json.loads(path.read_text())
    del document["model"]["type"]
    path.write_text(json.dumps(document))
    assert infer(session, song) == 0
    assert infer(session, song, "--target=multi-instrument") == 0
    assert infer(session, song, "--target=singing-voice") == 2


def test_a_target_that_contradicts_the_config_is_refused(session, song, capsys):
    assert infer(session, song, "--target=singing-voice") == 2
    line = one_error(capsys)
    assert "'multi-instrument'" in line
    assert "'singing-voice'" in line


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "cannot read"), ("{", "expected JSON"), ("{}", "is missing")],
)
def test_a_config_that_cannot_be_used_is_refused(
    content, message, tmp_path, song, capsys
):
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    assert infer(tmp_path, song) == 2
    line = one_error(capsys)
    assert message in line
    assert "config.json" in line


# What the repository holds.


@pytest.mark.parametrize("task_name", TASK_NAMES)
def test_the_shipped_sessions_load(task_name):
    folder = ROOT / "sessions" / task_name
    config = read_config(folder / "config.json")
    assert config.task_name == task_name
    checkpoint = checkpoints.read_checkpoint(checkpoints.find_latest(folder), config)
    assert sum(array.size for array in checkpoint.weights.values()) == config.num_params
