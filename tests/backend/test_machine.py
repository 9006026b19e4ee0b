"""What the machine lacks: a GPU, packages, space, rights."""

import importlib.util
import os
import subprocess
import sys

import pytest

from sswavenet import checkpoints
from sswavenet.training.history import check_packages
from tests.support import ROOT, make_tone, tiny_config
from util import UserError


def start(session, folder, tmp_path, **environment):
    return subprocess.run(
        [
            sys.executable,
            "main.py",
            "--mode=inference",
            f"--config={session / 'config.json'}",
            f"--mixture_input_path={folder}",
            f"--output_path={tmp_path / 'out'}",
        ],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.slow
@pytest.mark.keras3
def test_a_missing_gpu_is_said_in_one_line(session, folder, tmp_path):
    make_tone(folder / "song.wav")
    done = start(session, folder, tmp_path, JAX_PLATFORMS="cuda")
    if done.returncode == 0:
        pytest.skip("there is a GPU")
    assert done.returncode == 2
    assert "error: expected a device for JAX (JAX_PLATFORMS='cuda')" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ModuleNotFoundError("", name="h5py"), "make .venv, then run .venv/bin/python"),
        (ModuleNotFoundError("", name="gradio"), "requirements-app.txt"),
        (MemoryError(), "out of memory"),
        (RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9"), "out of mem"),
        (OSError(28, "No space left on device", "a.hdf5"), "a.hdf5: No space left"),
        (PermissionError(13, "Permission denied", "b"), "b: Permission denied"),
    ],
)
def test_what_the_machine_lacks_takes_one_line(
    error, message, infer, folder, monkeypatch
):
    def fail(*_, **__):
        raise error

    make_tone(folder / "song.wav")
    monkeypatch.setattr(checkpoints, "read_checkpoint", fail)
    status, (line,) = infer(folder)
    assert status == 2
    assert message in line


def test_a_fault_of_the_program_is_not_hidden(infer, folder, monkeypatch):
    def fail(*_, **__):
        raise ZeroDivisionError

    make_tone(folder / "song.wav")
    monkeypatch.setattr(checkpoints, "read_checkpoint", fail)
    with pytest.raises(ZeroDivisionError):
        infer(folder)


def test_a_missing_package_for_tensorboard_is_named_before_training(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install tensorboardX"):
        check_packages(tiny_config(training={"tensorboard": True}))
    check_packages(tiny_config())
