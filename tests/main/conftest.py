"""What the tests of the command line share."""

import functools

import numpy as np
import pytest
import soundfile

from main import main
from sswavenet.separation import separator
from sswavenet.separation.engine import Engine
from tests.support import copy_golden_session


@pytest.fixture
def session(tmp_path):
    """A session of 2018, whose config still names its folder of then."""
    return make_session(tmp_path, "multi-instrument")


def make_session(tmp_path, task_name):
    return copy_golden_session(tmp_path / f"session {task_name}", task_name)


@pytest.fixture
def song(tmp_path):
    path = tmp_path / "audio" / "song.wav"
    path.parent.mkdir()
    rng = np.random.default_rng(3)
    soundfile.write(path, rng.uniform(-0.5, 0.5, 600), 16000)
    return path


@pytest.fixture
def quick(monkeypatch):
    """Stands in for the network; gives the framings it was built for."""
    shapes = []

    def build_predict(config, weights, **shape):
        assert set(weights) == set(config.weight_shapes)
        shapes.append(shape)
        count = shape["target_field_length"] + 2 * shape["target_padding"]
        num_estimates = len(config.task.estimates)
        return lambda fragments: np.zeros(
            (num_estimates, len(fragments), count), np.float32
        )

    def make_engine(session, whole):
        given = session.config, session.checkpoint.weights
        return Engine(session.config, functools.partial(build_predict, *given))

    monkeypatch.setattr(separator, "make_engine", make_engine)
    return shapes


def infer(session, mixture, *flags):
    return main(
        [
            "--mode=inference",
            f"--config={session / 'config.json'}",
            f"--mixture_input_path={mixture}",
            *flags,
        ]
    )


def one_error(capsys):
    """The only line of level error on stderr."""
    lines = capsys.readouterr().err.splitlines()
    errors = [line for line in lines if line.startswith("error: ")]
    assert len(errors) == 1, lines
    assert not any("Traceback" in line for line in lines)
    return errors[0]
