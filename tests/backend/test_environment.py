"""Settings for other programs change nothing here; what JAX keeps mends itself."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

pytestmark = pytest.mark.keras3

ROOT = pathlib.Path(__file__).parents[2]
BEGIN = """
import logging
from sswavenet.backend import choice
logging.basicConfig(format="%(levelname)s %(message)s")
choice.choose_backend()
import jax, keras
"""


def run(code, **environment):
    """A Python of its own, which must not fail; gives its output and its log."""
    kept = {name: value for name, value in os.environ.items() if name[:4] != "JAX_"}
    done = subprocess.run(
        [sys.executable, "-c", BEGIN + code],
        cwd=ROOT,
        env={**kept, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu", **environment},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr.splitlines()


SETTINGS = """
print(keras.config.floatx(), keras.config.epsilon(), keras.config.image_data_format())
print(keras.config.is_nnx_enabled(), keras.config.max_epochs())
print(jax.numpy.zeros(1, float).dtype, jax.numpy.ones(3) + jax.numpy.ones((2, 3)).sum())
print(jax.devices()[0].platform)
"""
VARIABLES = {
    "KERAS_NNX_ENABLED": "true",
    "KERAS_MAX_EPOCHS": "one",
    "JAX_ENABLE_X64": "true",
    "JAX_NUMPY_RANK_PROMOTION": "raise",
    "JAX_NUMPY_DTYPE_PROMOTION": "strict",
    "JAX_DEFAULT_MATMUL_PRECISION": "nonsense",
    "JAX_DISABLE_JIT": "1",
}
DOCUMENT = {
    "floatx": "float16",
    "epsilon": 0.1,
    "image_data_format": "channels_first",
    "nnx_enabled": True,
}


@pytest.mark.slow
@pytest.mark.parametrize("document", [DOCUMENT, []])
@pytest.mark.parametrize("home", ["HOME", "KERAS_HOME"])
def test_nothing_that_was_set_for_other_programs_counts(document, home, tmp_path):
    folder = tmp_path / ".keras" if home == "HOME" else tmp_path
    folder.mkdir(exist_ok=True)
    (folder / "keras.json").write_text(json.dumps(document))
    places = {home: str(tmp_path), "JAX_COMPILATION_CACHE_DIR": ""}
    out, log = run(SETTINGS, **places, **VARIABLES)
    assert out.splitlines() == [
        "float32 1e-07 channels_last",
        "False None",
        "float32 [7. 7. 7.]",
        "cpu",
    ]
    names = ", ".join(sorted(VARIABLES))
    reason = "since they could change the result"
    assert log == [f"WARNING ignored in the environment, {reason}: {names}"]


@pytest.mark.parametrize("name", ["JAX_LOG_COMPILES", "JAX_TRACEBACK_FILTERING"])
def test_a_variable_that_is_kept_and_cannot_be_used_is_refused(name, tmp_path):
    code = "from sswavenet.console import run\ndef work():\n"
    code += "".join(f"    {line}\n" for line in BEGIN.splitlines() if line)
    done = subprocess.run(
        [sys.executable, "-c", f"{code}raise SystemExit(run.run(work))"],
        cwd=ROOT,
        env={**os.environ, "KERAS_BACKEND": "jax", name: "maybe"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    *_, line = done.stderr.splitlines()
    assert line.startswith("error: JAX cannot use a variable of the environment: ")
    assert name.lower() in line.lower()
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_nothing_is_written_for_keras(tmp_path):
    places = {"HOME": str(tmp_path), "JAX_COMPILATION_CACHE_DIR": ""}
    assert run("", **places) == ("", [])
    assert list(tmp_path.iterdir()) == []


COMPILE = """
for k in range(3):
    print(jax.jit(lambda x: k * x + 1)(2.0))
"""


@pytest.mark.slow
def test_what_is_spoiled_among_what_was_compiled_is_said_once_and_mended(tmp_path):
    places = {"XDG_CACHE_HOME": str(tmp_path)}
    expected, log = run(COMPILE, **places)
    assert log == []
    kept = sorted((tmp_path / "sswavenet" / "xla").glob("*-cache"))
    assert len(kept) >= 3
    for path in kept:
        os.truncate(path, 20)
    out, log = run(COMPILE, **places)
    assert out == expected
    (line,) = log
    assert "compiled anew, for it cannot be read in" in line
    assert run(COMPILE, **places) == (expected, [])
    assert sorted((tmp_path / "sswavenet" / "xla").glob("*-cache")) == kept


@pytest.mark.slow
def test_what_cannot_be_kept_is_said_once(tmp_path):
    (tmp_path / "file").touch()
    expected = run(COMPILE, JAX_COMPILATION_CACHE_DIR="")[0]
    out, (line,) = run(COMPILE, XDG_CACHE_HOME=str(tmp_path / "file"))
    assert out == expected
    assert "nothing that is compiled is kept: " in line
    out, log = run(COMPILE, JAX_COMPILATION_CACHE_DIR=str(tmp_path / "file" / "deep"))
    assert out == expected
    assert 1 <= len(log) <= 2  # once for reading, once for writing
