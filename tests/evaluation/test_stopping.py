"""Signals, kills and the processes that score."""

import contextlib
import os
import pathlib
import pkgutil
import signal as signals
import subprocess
import sys
import time

import pytest

from main import main
from tests.evaluation.conftest import copy_session, run
from tests.support import ROOT


@pytest.mark.slow
def test_scoring_in_several_processes_gives_the_same(tree, tmp_path):
    session = copy_session(tmp_path, "singing-voice")
    for jobs in ("1", "2"):
        out = tmp_path / jobs
        assert run(session, tree, "--jobs", jobs, "--output_path", str(out)) == 0
    for path in (tmp_path / "1").rglob("*.json"):
        assert (
            path.read_text()
            == (tmp_path / "2" / path.relative_to(tmp_path / "1")).read_text()
        )


@pytest.mark.slow
@pytest.mark.parametrize("number", [signals.SIGINT, signals.SIGTERM])
@pytest.mark.parametrize(
    ("place", "call", "before"),
    [
        ("sswavenet.musdb.cache.prepare_tracks", 1, 0),
        ("sswavenet.evaluation.run.score_methods", 2, 1),
        ("sswavenet.evaluation.summary.write_report", 1, 2),
    ],
)
def test_a_signal_ends_in_one_line_and_the_next_run_goes_on(
    number, place, call, before, multi_instrument, tree, monkeypatch, capsys
):
    real, calls = pkgutil.resolve_name(place), []

    def interrupted(*arguments, **keywords):
        calls.append(arguments)
        if len(calls) == call:
            os.kill(os.getpid(), number)
        return real(*arguments, **keywords)

    with monkeypatch.context() as patched:
        patched.setattr(place, interrupted)
        assert run(multi_instrument, tree, "--metrics", "si_sdr") == 128 + number
    said = capsys.readouterr().err.splitlines()
    assert said[-1] == f"error: {'interrupted' if number == 2 else 'terminated'}"
    assert not any("Traceback" in line for line in said)
    assert not list(multi_instrument.rglob("summary*"))
    assert len(list(multi_instrument.rglob("model/test/*.json"))) == before
    assert run(multi_instrument, tree, "--metrics", "si_sdr") == 0
    assert f"2 tracks, {before} of them scored before" in capsys.readouterr().err


KILLED = """
import os, signal, sys
import main
from sswavenet.evaluation import run
calls = []
def score(*arguments, real=run.score_methods, **keywords):
    calls.append(1)
    if len(calls) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*arguments, **keywords)
run.score_methods = score
main.main(sys.argv[1:])
"""


@pytest.mark.slow
def test_scores_made_before_a_kill_are_kept(multi_instrument, tree, capsys):
    arguments = ["--mode=evaluation", f"--config={multi_instrument / 'config.json'}"]
    arguments += [f"--dataset_path={tree}", "--jobs=1", "--metrics=si_sdr"]
    done = subprocess.run([sys.executable, "-c", KILLED, *arguments], cwd=ROOT)
    assert done.returncode == -signals.SIGKILL
    assert not list(multi_instrument.rglob("summary*"))
    assert main(arguments) == 0
    assert "2 tracks, 1 of them scored before" in capsys.readouterr().err


def children_of(process):
    """Ids of the processes that score."""
    path = pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children")
    found = []
    for child in path.read_text().split():
        with contextlib.suppress(OSError):  # it has ended
            command = pathlib.Path(f"/proc/{child}/cmdline").read_bytes()
            if b"spawn_main" in command:
                found.append(int(child))
    return found


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
@pytest.mark.parametrize(
    ("number", "to_child", "status", "message"),
    [
        (signals.SIGKILL, True, 2, "error: a scoring process ended early"),
        (signals.SIGINT, False, 130, "error: interrupted"),
    ],
)
def test_processes_that_score_end_together(
    number, to_child, status, message, multi_instrument, tree
):
    process = subprocess.Popen(
        [
            sys.executable,
            "main.py",
            *("--mode", "evaluation", "--dataset_path", str(tree), "--jobs", "2"),
            *("--config", str(multi_instrument / "config.json"), "--metrics", "bss"),
        ],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )
    children = []
    try:
        while len(children) < 2:
            assert process.poll() is None
            time.sleep(0.01)
            children = children_of(process)
        os.kill(children[0] if to_child else process.pid, number)
        _, said = process.communicate(timeout=200)
    finally:
        process.kill()
    assert process.returncode == status, said
    assert said.splitlines()[-1].startswith(message)
    assert "Traceback" not in said
    assert not any(pathlib.Path(f"/proc/{child}").exists() for child in children)
