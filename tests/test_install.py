"""What `pip install` gives: the same program, and nothing else of ours."""

from __future__ import annotations

import ast
import os
import pathlib
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile

import numpy as np
import pytest
import soundfile

import sswavenet
from sswavenet.config import shipped

ROOT = pathlib.Path(__file__).parents[1]
MODULES = {path.stem for path in ROOT.glob("*.py")} - {"setup"}
PARTS = ["*.py", "*.toml", "LICENSE", "README.md", "requirements*.txt"]
pytestmark = [pytest.mark.slow, pytest.mark.keras3]


def run(*command, cwd, **environment):
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built from a copy, since building leaves things behind."""
    source = tmp_path_factory.mktemp("source")
    for part in PARTS:
        for path in ROOT.glob(part):
            shutil.copy(path, source)
    for folder, *left_out in (
        ("sswavenet", "__pycache__"),
        ("sessions", "samples", "evaluation"),
    ):
        ignore = shutil.ignore_patterns(*left_out)
        shutil.copytree(ROOT / folder, source / folder, ignore=ignore)
    (source / "sessions" / "my-retrained").mkdir()  # not one that ships
    (source / "sessions" / "my-retrained" / "config.json").write_text("{}")
    build = ["wheel", "--no-deps", "--no-build-isolation", "--no-index"]
    out = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "pip", *build, "--wheel-dir", out, ".", cwd=source)
    (path,) = out.iterdir()
    return path


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """A new environment with the wheel; what that needs comes from this one."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False)
    (site,) = folder.glob("lib/python*/site-packages")
    here = sysconfig.get_path("purelib")
    (site / "requirements.pth").write_text(f"{here}\n")
    install = ["install", "--no-deps", "--no-index", wheel]
    pip = [sys.executable, "-m", "pip", "--python", folder / "bin" / "python"]
    run(*pip, *install, cwd=folder)
    return folder


def test_the_wheel_holds_one_package_and_no_others(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    version = sswavenet.__version__
    assert tops == {"sswavenet", f"sswavenet-{version}.dist-info"}
    ours = {path.relative_to(ROOT).as_posix() for path in ROOT.glob("sswavenet/**/*")}
    kinds = (".py", ".cc", ".h", ".css", ".js", ".typed")
    files = {name for name in ours if name.endswith(kinds)}
    assert files <= set(names)
    assert {f"sswavenet/{module}.py" for module in MODULES} <= set(names)
    assert wheel.stat().st_size < 40e6


def test_the_wheel_holds_the_sessions_that_ship(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    found = {name.split("/")[2] for name in names if "/sessions/" in name}
    assert found == set(shipped.session_names())
    for session in found:
        inside = [name for name in names if f"/sessions/{session}/" in name]
        assert f"sswavenet/sessions/{session}/config.json" in inside
        assert sum(name.endswith(".hdf5") for name in inside) == 1


def test_nothing_in_the_wheel_imports_a_module_by_its_plain_name(wheel):
    archive = zipfile.ZipFile(wheel)
    imported = set()
    for name in archive.namelist():
        if not name.endswith(".py"):
            continue
        for node in ast.walk(ast.parse(archive.read(name))):
            if isinstance(node, ast.Import):
                imported |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add(node.module)
                imported |= {f"{node.module}.{alias.name}" for alias in node.names}
    assert {"sswavenet.util", "sswavenet.models", "numpy"} <= imported
    assert imported.isdisjoint(MODULES)


def test_the_wheel_asks_for_what_is_tested(wheel):
    archive = zipfile.ZipFile(wheel)
    (name,) = (name for name in archive.namelist() if name.endswith("/METADATA"))
    lines = archive.read(name).decode().split("\n\n")[0].splitlines()
    needed = {line[15:] for line in lines if line.startswith("Requires-Dist: ")}

    def listed(name):
        text = (ROOT / name).read_text("utf-8")
        return {line for line in text.splitlines() if line and line[0] != "#"}

    extras = {
        f'{line}; extra == "{extra}"'
        for extra in ("app", "cluster")
        for line in listed(f"requirements-{extra}.txt")
    }
    plain = {line.replace("'", '"') for line in needed}
    assert plain == listed("requirements.txt") | extras


def test_the_command_gives_the_checkouts_stems_byte_for_byte(installed, tmp_path, rng):
    empty = tmp_path / "empty"
    empty.mkdir()
    song = rng.uniform(-0.5, 0.5, (16000, 2))
    soundfile.write(tmp_path / "song.flac", song, 44100)
    (site,) = installed.glob("lib/python*/site-packages")
    for place, command, folder in (
        ("checkout", [sys.executable, ROOT / "main.py"], ROOT),
        ("installed", [installed / "bin" / "sswavenet"], site / "sswavenet"),
    ):
        config = folder / "sessions" / "multi-instrument" / "config.json"
        arguments = ["--mode", "inference", "--config", config, "--output_path"]
        arguments += [tmp_path / place, "--mixture_input_path", tmp_path / "song.flac"]
        run(*command, *arguments, cwd=empty)
    names = {path.name for path in (tmp_path / "checkout").iterdir()}
    assert len(names) == 4
    for name in names:
        expected = (tmp_path / "checkout" / name).read_bytes()
        assert (tmp_path / "installed" / name).read_bytes() == expected
    assert list(empty.iterdir()) == []


def test_the_short_command_separates_an_mp3_where_it_lies(installed, tmp_path, rng):
    song = rng.uniform(-0.1, 0.1, (22050, 2))
    soundfile.write(tmp_path / "song.mp3", song, 44100)
    command = [installed / "bin" / "sswavenet", "song.mp3", "--session"]
    said = run(*command, "singing-voice", cwd=tmp_path, PYTHONPATH="")
    folder = tmp_path / "separated" / "singing-voice"
    assert said.startswith(f"stems in {folder.resolve()}\n1 of 1 files, ")
    (site,) = installed.glob("lib/python*/site-packages")
    sessions = {path.name for path in (site / "sswavenet" / "sessions").iterdir()}
    assert sessions == set(shipped.session_names())
    stems = {path.name: soundfile.read(path) for path in folder.iterdir()}
    assert sorted(stems) == ["song_accompaniment.wav", "song_vocals.wav"]
    assert {rate for _, rate in stems.values()} == {44100}
    mixture, _ = soundfile.read(tmp_path / "song.mp3")
    total = sum(audio for audio, _ in stems.values())
    np.testing.assert_allclose(total, mixture, rtol=0, atol=1e-4)


def test_the_installed_package_is_the_api(installed, tmp_path, rng):
    mixture = rng.uniform(-0.5, 0.5, 4000)
    np.save(tmp_path / "mixture.npy", mixture)
    code = (
        "import pathlib, sys, numpy, sswavenet\n"
        "assert pathlib.Path(sys.prefix) in pathlib.Path(sswavenet.__file__).parents\n"
        "session = sswavenet.load_session('singing-voice')\n"
        "stems = session.separate(numpy.load('mixture.npy'), 16000)\n"
        "numpy.save('stems.npy', [stems[name] for name in session.stems])\n"
        "loaded = {name for name in sys.modules if '.' not in name}\n"
        "print(*loaded)"
    )
    said = run(installed / "bin" / "python", "-c", code, cwd=tmp_path, PYTHONPATH="")
    assert MODULES.isdisjoint(said.split())
    stems = np.load(tmp_path / "stems.npy")
    expected = sswavenet.load_session("singing-voice").separate(mixture, 16000)
    np.testing.assert_array_equal(stems, list(expected.values()))


def test_the_command_says_its_version(installed, tmp_path):
    said = run(installed / "bin" / "sswavenet", "--version", cwd=tmp_path)
    assert said == f"sswavenet {sswavenet.__version__}\n"
    text = (ROOT / "CHANGELOG.md").read_text("utf-8")
    assert f"\n## {sswavenet.__version__} (" in text
