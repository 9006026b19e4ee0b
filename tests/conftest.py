"""Settings and fixtures of all tests."""

from __future__ import annotations

import os
import pathlib

# Read when Keras, JAX and matplotlib are first imported, so set before any test is.
os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("MPLBACKEND", "Agg")

import hypothesis
import numpy as np
import pytest

GOLDEN = pathlib.Path(__file__).parent / "data" / "golden"
TASK_NAMES = ("multi-instrument", "singing-voice")

# The same examples each time, however busy the machine, and nothing written.
hypothesis.settings.register_profile(
    "repeatable", deadline=None, derandomize=True, database=None
)
hypothesis.settings.load_profile("repeatable")


@pytest.fixture
def rng():
    """A random generator that starts at the same seed in every test."""
    return np.random.default_rng(1810)


@pytest.fixture(scope="session")
def golden():
    """The folder of what the 2018 program computed: facts, mixtures, both tasks."""
    return GOLDEN


@pytest.fixture(scope="session", params=TASK_NAMES)
def golden_task(request):
    """One task's folder of golden data; a test that asks for it runs for both."""
    return GOLDEN / request.param


@pytest.fixture(scope="session")
def golden_multi_instrument():
    """The golden data of the multi-instrument task."""
    return GOLDEN / "multi-instrument"


@pytest.fixture(scope="session")
def golden_singing_voice():
    """The golden data of the singing-voice task."""
    return GOLDEN / "singing-voice"
