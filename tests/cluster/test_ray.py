"""Separation and evaluation spread over Ray nodes on the loopback interface."""

from __future__ import annotations

import itertools
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import soundfile

from tests.cluster.conftest import SAME_ROUNDING, STEMS, contents, report

pytest.importorskip("ray", reason="make .venv/cluster-installed")

pytestmark = pytest.mark.slow

ROOT = pathlib.Path(__file__).parents[2]
NUM_SONGS = 60
WAIT = 120  # seconds
WORKER = "PYTEST_XDIST_WORKER"


@pytest.fixture
def many(tmp_path):
    """A folder of 60 short songs that are not alike."""
    folder = tmp_path / "many"
    folder.mkdir()
    rng = np.random.default_rng(5)
    for number in range(NUM_SONGS):
        length = 4000 + 400 * (number % 7)
        samples = 0.1 * rng.standard_normal((length, 1 + number % 2))
        soundfile.write(folder / f"{number:02d}.wav", samples, 16000)
    return folder


# In a process of its own, for Ray leaves files and processes open behind it.
NODES = """
import sys

from ray.cluster_utils import Cluster

cluster = Cluster(True, head_node_args={"num_cpus": 0, "include_dashboard": False})
nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
cluster.wait_for_nodes()
print(cluster.address, flush=True)
for _ in sys.stdin:  # a line takes a node away
    cluster.remove_node(nodes.pop(), allow_graceful=False)
    print(flush=True)
cluster.shutdown()
"""


@pytest.fixture
def environment(monkeypatch, tmp_path_factory):
    """Let Ray write below the temporary folder, whose path is short as sockets want."""
    folder, worker = tmp_path_factory.getbasetemp(), os.environ.get(WORKER, "")
    if worker:  # one of several processes, with a folder of its own below that of all
        folder = folder.parent
    folder = next(
        place
        for number in itertools.count()
        if not (place := folder / f"r{worker[2:]}-{number}").exists()
    )
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("RAY_TMPDIR", str(folder))
    monkeypatch.setenv("RAY_worker_niceness", "0")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


@pytest.fixture
def cluster(environment):
    """A node without processors and two with one each; lines to it end these."""
    with subprocess.Popen(
        [sys.executable, "-c", NODES],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        process.address = process.stdout.readline().strip()
        assert process.address
        yield process
        process.stdin.close()
        process.wait(WAIT)


def start(session, *arguments):
    """The command line in a process of its own; for `infer`."""
    words = ["--mode", "inference", "--config", session, *arguments]
    return subprocess.Popen(
        [sys.executable, "main.py", *map(str, words)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_stems(folder, count):
    """Until so many songs have stems."""
    end = time.monotonic() + WAIT
    while len(list(folder.glob("*_other.wav"))) < count:
        assert time.monotonic() < end, "no stems came"
        time.sleep(0.02)


@pytest.fixture
def slow_reading(monkeypatch, tmp_path):
    """Let each mixture take a moment, so that something can happen in between."""
    place = tmp_path / "slow"
    place.mkdir()
    (place / "sitecustomize.py").write_text(
        "import os, tempfile, time\n"
        "if 'RAY_RAYLET_PID' in os.environ:\n"
        "    make = tempfile.TemporaryDirectory\n"
        "    def slowly(*args, **more):\n"
        "        if str(more.get('prefix')).startswith('sswavenet-'):\n"
        "            time.sleep(0.1)\n"
        "        return make(*args, **more)\n"
        "    tempfile.TemporaryDirectory = slowly\n"
    )
    monkeypatch.setenv("PYTHONPATH", f"{place}{os.pathsep}{ROOT}")


def test_stems_are_those_of_one_machine_though_a_node_dies(
    session, run, many, environment, slow_reading, cluster, tmp_path
):
    assert run(many, *SAME_ROUNDING, "--output_path", tmp_path / "plain") == 0
    out, place = tmp_path / "out", tmp_path / "report.jsonl"
    arguments = [many, *SAME_ROUNDING, "--output_path", out, "--report", place]
    process = start(session, *arguments, "--cluster", cluster.address)
    wait_for_stems(out, 10)
    print(file=cluster.stdin, flush=True)
    cluster.stdout.readline()
    _, errors = process.communicate(timeout=WAIT)
    assert process.returncode == 0, errors
    assert contents(out) == contents(tmp_path / "plain")
    lines = [json.loads(line) for line in place.read_text().splitlines()]
    separated = [line["path"] for line in lines if line.get("status") == "separated"]
    assert len(separated) == len(set(separated)) == NUM_SONGS
    assert lines[-1] == {
        "complete": True,
        "separated": NUM_SONGS,
        "skipped": 0,
        "failed": 0,
    }
    assert "an actor ended during its work" in errors


def test_after_its_death_the_same_command_goes_on(
    session, run, many, environment, slow_reading, cluster, tmp_path
):
    out, place = tmp_path / "out", tmp_path / "report.jsonl"
    arguments = [many, *SAME_ROUNDING, "--output_path", out, "--report", place]
    arguments += ["--skip_existing"]
    process = start(session, *arguments, "--cluster", cluster.address)
    wait_for_stems(out, 5)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=WAIT)
    known = len(report(place))
    assert 0 < known < NUM_SONGS
    process = start(session, *arguments, "--cluster", cluster.address)
    _, errors = process.communicate(timeout=WAIT)
    assert process.returncode == 0, errors
    assert run(many, *SAME_ROUNDING, "--output_path", tmp_path / "plain") == 0
    assert contents(out) == contents(tmp_path / "plain")
    assert len(report(place)) == NUM_SONGS


def test_files_that_fail_are_told_once_and_the_rest_is_done(
    session, many, environment, tmp_path
):
    for path in sorted(many.iterdir())[3:]:
        path.unlink()
    (many / "bad.wav").write_text("no audio")
    out, place = tmp_path / "out", tmp_path / "report.jsonl"
    process = start(
        session,
        *(many, "--output_path", out, "--report", place),
        *("--cluster", "local", "--cluster_resources", "num_cpus=1,actors=1"),
    )
    printed, errors = process.communicate(timeout=WAIT)
    assert process.returncode == 1
    assert "3 of 4 files" in printed
    lines = [line for line in errors.splitlines() if line.startswith("error:")]
    assert len(lines) == 1
    assert "bad.wav: expected an audio file" in lines[0]
    assert len(contents(out)) == 3 * len(STEMS)
    assert report(place)["bad.wav"]["status"] == "failed"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--cluster", "127.0.0.1:1"], "--cluster 127.0.0.1:1: expected a Ray cluster"),
        (["--cluster", "auto"], "--cluster auto: expected a Ray cluster"),
        (
            ["--cluster", "local", "--cluster_resources", "num_cpus=1000"],
            "no actor with num_cpus=1000 fits into the cluster",
        ),
        (["--cluster_resources", "num_cpus=1"], "--cluster_resources is for --cluster"),
    ],
)
def test_a_cluster_that_cannot_be_used_is_told_in_a_line(
    session, songs, environment, tmp_path, words, message
):
    process = start(session, songs, "--output_path", tmp_path / "out", *words)
    _, errors = process.communicate(timeout=WAIT)
    assert process.returncode == 2
    (line,) = [line for line in errors.splitlines() if line.startswith("error:")]
    assert message in line
    assert "Traceback" not in errors


def test_scores_are_those_of_one_machine(session, environment, tmp_path):
    rng = np.random.default_rng(2)
    tracks = tmp_path / "musdb" / "test"
    for name in ("first", "second", "third"):
        (tracks / name).mkdir(parents=True)
        stems = 0.1 * rng.standard_normal((len(STEMS), 40000)).astype(np.float32)
        for stem, audio in zip((*STEMS, "mixture"), (*stems, stems.sum(axis=0))):
            soundfile.write(tracks / name / f"{stem}.wav", audio, 16000, "FLOAT")
    soundfile.write(tracks / "third" / "bass.wav", stems[0][:7], 16000, "FLOAT")
    scores, errors = {}, {}
    for name, words in {"plain": [], "spread": ["--cluster", "local"]}.items():
        out = tmp_path / name
        process = subprocess.run(
            [
                *(sys.executable, "main.py", "--mode", "evaluation"),
                *("--config", str(session), "--metrics", "si_sdr"),
                *("--dataset_path", str(tmp_path / "musdb")),
                *("--output_path", str(out), *SAME_ROUNDING, *words),
            ],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            timeout=WAIT,
        )
        assert process.returncode == 1, process.stderr
        lines = process.stderr.splitlines()
        errors[name] = [line for line in lines if line.startswith("error:")]
        scores[name] = {
            (place, target["name"]): [target["si_sdr"], target["level_db"]]
            for place, content in contents(out).items()
            if place.endswith(".json")
            for target in json.loads(content)["targets"]
        }
    # Of the model and the mixture, of two tracks. The order of sums depends on how many
    # cores there are.
    assert len(scores["plain"]) == 2 * 2 * len(STEMS)
    assert scores["spread"].keys() == scores["plain"].keys()
    for key, numbers in scores["plain"].items():
        assert scores["spread"][key] == pytest.approx(numbers, rel=1e-9)
    assert errors["spread"] == errors["plain"]
