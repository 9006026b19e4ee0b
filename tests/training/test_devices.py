"""Several devices and processes train like one."""

import json
import os
import socket
import subprocess
import sys

import pytest

from sswavenet import checkpoints
from sswavenet.config.document import to_document
from sswavenet.training.session import train
from tests.support import ROOT
from tests.training.conftest import assert_same_training, history, session_config

RUN = """
import json, pathlib, sys
from sswavenet.backend import choice
choice.choose_backend()
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


def assert_close_losses(one, two):
    """In each epoch that two trainings have in common."""
    for left, right in zip(history(one.session_path), history(two.session_path)):
        for name in ("loss", "val_loss"):
            assert float(left[name]) == pytest.approx(float(right[name]), abs=1e-4)


@pytest.mark.slow
@pytest.mark.keras3
def test_two_devices_train_like_one(tree, tmp_path):
    one = session_config(tree, tmp_path / "one")
    train(one)
    two = session_config(tree, tmp_path / "two")
    path = tmp_path / "config.json"
    path.write_text(json.dumps(to_document(two)))
    flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count=2"
    assert run_training(path, XLA_FLAGS=flags).wait(timeout=300) == 0
    assert_close_losses(one, two)


def free_port():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


def run_processes(path, count, code=RUN):
    """The exit statuses of as many processes, which train a session together."""
    shared = {
        "KERAS_DISTRIBUTION_JOB_ADDRESSES": f"127.0.0.1:{free_port()}",
        "KERAS_DISTRIBUTION_NUM_PROCESSES": str(count),
    }
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
    train(one)
    two = one.replace(session_path=str(tmp_path / "two"))
    path = tmp_path / "config.json"
    path.write_text(json.dumps(to_document(two)))
    assert run_processes(path, 2) == [0, 0]
    assert len(history(two.session_path)) == len(history(one.session_path)) < 9
    assert_close_losses(one, two)


@pytest.mark.slow
@pytest.mark.keras3
def test_a_training_goes_on_with_fewer_and_more_processes(tree, tmp_path):
    """The batch is shared out anew; what is drawn and learned stays the same."""
    one = session_config(tree, tmp_path / "one", num_epochs=3)
    train(one)
    other = one.replace(session_path=str(tmp_path / "other"))
    path = tmp_path / "config.json"
    for num_epochs, count in enumerate((2, 1, 2), 1):
        config = other.replace(num_epochs=num_epochs)
        path.write_text(json.dumps(to_document(config)))
        if count == 1:
            train(config)
        else:
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
