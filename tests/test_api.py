"""The package as other people's programs import it, in processes of their own."""

import importlib.util
import os
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest
import soundfile

import main
import sswavenet

ROOT = pathlib.Path(__file__).parents[1]
API_MD = (ROOT / "docs" / "api.md").read_text("utf-8")


def run(code, folder, **environment):
    """Run a program in a folder, as a user would who has the checkout on the path."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def examples():
    return re.findall(r"^```python\n(.*?)^```", API_MD, flags=re.M | re.S)


def test_importing_it_imports_nothing_else(tmp_path):
    code = (
        "import sys; before = set(sys.modules); import sswavenet\n"
        "print(*{name.split('.')[0] for name in set(sys.modules) - before})"
    )
    loaded = set(run(code, tmp_path).split())
    assert "sswavenet" in loaded
    assert loaded - {"sswavenet"} <= set(sys.stdlib_module_names)


def test_loading_a_session_leaves_the_backend_open(tmp_path):
    code = (
        "import sys, sswavenet\n"
        "sswavenet.load_session('singing-voice')\n"
        "print({'keras', 'jax'} & set(sys.modules))"
    )
    assert run(code, tmp_path) == "set()\n"


def test_its_names_are_all_there_and_no_others():
    assert {name for name in dir(sswavenet) if name in sswavenet.__all__} == set(
        sswavenet.__all__
    )
    for name in sswavenet.__all__:
        assert getattr(sswavenet, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        sswavenet.nothing  # noqa: B018 - looking it up is the test


def test_the_documents_links_lead_somewhere():
    links = re.findall(r"\]\(([^)#]+)", API_MD)
    assert links
    for link in links:
        assert (ROOT / "docs" / link).exists(), link


@pytest.mark.slow
def test_the_documented_examples_run_elsewhere(tmp_path, rng):
    song = rng.uniform(-0.5, 0.5, (8000, 2)).astype("float32")
    soundfile.write(tmp_path / "song.wav", song, 44100, subtype="FLOAT")
    assert len(examples()) >= 2
    for example in examples():
        run(example, tmp_path)
    stems = [
        soundfile.read(tmp_path / f"{name}.wav")
        for name in ("vocals", "drums", "bass", "other")
    ]
    assert {rate for _, rate in stems} == {44100}
    # soundfile rounds each of the four down, to 16 bits.
    total = sum(samples for samples, _ in stems)
    np.testing.assert_allclose(total, song, rtol=0, atol=4 / 2**15)


@pytest.mark.keras3
@pytest.mark.parametrize(("rate", "channels"), [(16000, 1), (44100, 2)])
def test_stems_are_those_of_the_command_line(rate, channels, tmp_path, rng):
    song = rng.uniform(-0.5, 0.5, (7000, channels)).astype("float32")
    soundfile.write(tmp_path / "song.wav", song, rate, subtype="FLOAT")
    config = ROOT / "sessions" / "singing-voice" / "config.json"
    arguments = ["--mode=inference", f"--config={config}", "--subtype=FLOAT"]
    arguments += [f"--mixture_input_path={tmp_path / 'song.wav'}"]
    assert main.main([*arguments, f"--output_path={tmp_path / 'stems'}"]) == 0
    stems = sswavenet.load_session("singing-voice").separate(song, rate)
    for name, stem in stems.items():
        path = tmp_path / "stems" / f"song_{name}.wav"
        written, found_rate = soundfile.read(path, always_2d=True)
        assert found_rate == rate
        np.testing.assert_allclose(stem, written, rtol=0, atol=1e-5)


COMPARE = """
import numpy, sswavenet
mixture = numpy.random.default_rng(5).uniform(-0.5, 0.5, 2000)
stems = sswavenet.load_session("multi-instrument").separate(mixture, 16000)
numpy.save("stems.npy", list(stems.values()))
import keras
print(keras.backend.backend())
"""


# On Theano, tests/separation/test_separator.py holds sessions against the formulas.
@pytest.mark.keras3
@pytest.mark.parametrize("backend", ["torch", "tensorflow"])
def test_stems_are_the_same_on_another_backend(backend, tmp_path):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    found = []
    for name in ("jax", backend):
        folder = tmp_path / name
        folder.mkdir()
        assert run(COMPARE, folder, KERAS_BACKEND=name).split() == [name]
        found.append(np.load(folder / "stems.npy"))
    np.testing.assert_allclose(found[1], found[0], rtol=0, atol=1e-5)


@pytest.mark.slow
@pytest.mark.keras3
def test_a_backend_that_runs_already_is_kept(tmp_path):
    code = (
        "import os; os.environ.pop('KERAS_BACKEND', None)\n"
        "os.environ['KERAS_BACKEND'] = 'jax'; import keras\n"
        "del os.environ['KERAS_BACKEND']\n"
        "keras.backend.backend = lambda: 'numpy'\n"
        "import sswavenet\n"
        "session = sswavenet.load_session()\n"
        "try: session.separate([0.5], 16000)\n"
        "except sswavenet.UserError as error: print(error)"
    )
    said = run(code, tmp_path)
    assert "KERAS_BACKEND must be one of" in said
    assert "got 'numpy'" in said
