"""Settings and fixtures of all tests."""

from __future__ import annotations

import os
import pathlib
import signal
import tempfile

# Read when Keras, JAX and matplotlib are first imported, so set before any test is.
os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("MPLBACKEND", "Agg")
# What tests compile runs for moments: to compile it well would take more than it saves.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")

import hypothesis
import numpy as np
import pytest

from tests.support import base_session, without_network, write_session

# Tests send signals, which a shell's background job or nohup would have ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

GOLDEN = pathlib.Path(__file__).parent / "data" / "golden"

# The same examples each time, however busy the machine, and nothing written.
hypothesis.settings.register_profile(
    "repeatable", deadline=None, derandomize=True, database=None
)
hypothesis.settings.load_profile("repeatable")


def pytest_configure(config):
    """Give the tests a cache folder of their own, before anything reads where it is.

    What XLA and the C++ compiler made of the tests' networks is much of the time they
    take, so pytest keeps it from run to run, except with `-p no:cacheprovider`.
    """
    cache = getattr(config, "cache", None)
    if cache is None:
        home = tempfile.TemporaryDirectory(prefix="sswavenet-")
        config.add_cleanup(home.cleanup)
        os.environ["XDG_CACHE_HOME"] = home.name
    else:
        os.environ["XDG_CACHE_HOME"] = str(cache.mkdir("home"))
    if os.environ["KERAS_BACKEND"] == "jax":
        _keep_what_xla_compiles(os.environ["XDG_CACHE_HOME"])


def _keep_what_xla_compiles(home):
    """In this process: the tests import Keras without what sees to that in a program.

    Each worker has its own folder, for JAX may read what another one has half written.
    """
    import jax

    folder = pathlib.Path(home, os.environ.get("PYTEST_XDIST_WORKER", "alone"))
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)


@pytest.fixture
def rng():
    """A random generator that starts at the same seed in every test."""
    return np.random.default_rng(1810)


@pytest.fixture(scope="session")
def golden():
    """The folder of what the 2018 program computed; one folder per task in it."""
    return GOLDEN


@pytest.fixture
def session(tmp_path):
    """A folder with a tiny session of the multi-instrument task."""
    folder = tmp_path / "session"
    write_session(folder, *base_session("multi-instrument"))
    return folder


@pytest.fixture
def folder(tmp_path):
    """An empty folder for mixtures."""
    folder = tmp_path / "in"
    folder.mkdir()
    return folder


@pytest.fixture
def infer(session, tmp_path, capsys):
    """The command line with a network that gives each estimate a quarter."""

    def infer(path, *flags, output=tmp_path / "out"):
        arguments = ["--mode=inference", f"--config={session / 'config.json'}"]
        if output:
            arguments.append(f"--output_path={output}")
        with without_network() as run:
            status = run([*arguments, f"--mixture_input_path={path}", *flags])
        said = capsys.readouterr().err.splitlines()
        assert not any("Traceback" in line for line in said)
        return status, [line for line in said if line.startswith("error: ")]

    return infer


@pytest.fixture
def require_av():
    """What FFmpeg has to read is left out where there is no PyAV, as beside Theano."""
    pytest.importorskip("av")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport():
    """What a test printed or logged, so that a report reaches another process.

    Names of files that are not in UTF-8 have no place in what is sent.
    """
    report = yield
    report.sections = [
        (title, text.encode(errors="backslashreplace").decode())
        for title, text in report.sections
    ]
    return report
