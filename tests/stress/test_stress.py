"""Signals, and a share of the kills, the soak and the fuzzed cases."""

import json
import os
import signal
import subprocess
import sys

import pytest
import soundfile

import util
from sswavenet import checkpoints
from sswavenet.sound.reader import MonoReader
from sswavenet.sound.writer import AudioWriter
from tests.stress.fuzz import run_case
from tests.support import ROOT, make_tone, without_network, written


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize(
    ("place", "name"),
    [
        (checkpoints, "read_checkpoint"),
        (MonoReader, "__enter__"),
        (AudioWriter, "write"),
        (AudioWriter, "__exit__"),
        (os, "link"),
    ],
)
def test_a_signal_leaves_only_whole_files(
    number, place, name, infer, folder, tmp_path, monkeypatch
):
    for file in ("a", "song"):
        make_tone(folder / f"{file}.wav")
    real, calls = getattr(place, name), []

    def interrupted(*arguments, **keywords):
        calls.append(name)
        if len(calls) == (1 if place is checkpoints else 2):
            os.kill(os.getpid(), number)
        return real(*arguments, **keywords)

    report = tmp_path / "report.json"
    with monkeypatch.context() as patched:
        patched.setattr(place, name, interrupted)
        status, errors = infer(folder, f"--report={report}")
    assert status == 128 + number
    assert errors == [f"error: {'interrupted' if number == 2 else 'terminated'}"]
    out = tmp_path / "out"
    for path in out.rglob("*"):
        assert not path.name.startswith(util.PARTIAL)
        assert len(soundfile.read(str(path))[0]) == 100
    if report.exists():
        assert json.loads(report.read_text())["complete"] is False
    assert infer(folder, "--skip_existing") == (0, [])
    assert len(written(out)) == 8
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="children are forked")
@pytest.mark.parametrize(("form", "kills"), [("wav", 4), ("flac", 2), ("m4a", 2)])
def test_separations_survive_kills(form, kills):
    if form == "m4a":
        pytest.importorskip("av")
    command = [
        sys.executable,
        "tests/stress/kills.py",
        "--trainings",
        "0",
        "--format",
        form,
    ]
    done = subprocess.run(
        [*command, "--separations", str(kills)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"kills {kills}, " in done.stdout


@pytest.mark.slow
@pytest.mark.keras3
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts Linux's way")
def test_a_run_of_many_files_leaks_nothing(tmp_path):
    done = subprocess.run(
        [sys.executable, "tests/stress/soak.py", "--files", "80"],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "80 files, exit status 0" in done.stdout


@pytest.mark.parametrize("number", range(90))
def test_a_share_of_the_fuzzed_cases(number, tmp_path):
    with without_network() as run:
        kind, status, problem = run_case(6, number, tmp_path, run)
    assert problem is None, f"{kind}, status {status}: {problem}"
