"""Kill the program at random moments: python tests/stress/kills.py

A separation of a folder, and a training, is started again and again and ended by
SIGKILL after a random time, until it gets through; then the next one begins. What must
hold after each kill: no file of a final name is incomplete, no input has changed. What
must hold at the end of each: the results are those of an undisturbed run.
"""

from __future__ import annotations

import argparse
import csv
import functools
import json
import os
import pathlib
import signal
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))
os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import h5py
import numpy as np
import soundfile

import main
import util
from sswavenet import checkpoints
from sswavenet.config.document import parse_config
from tests.support import base_session, tiny_document, without_network, write_session

NUM_MIXTURES = 15
SOURCES = ("mixture", "vocals", "drums", "bass", "other")


class Failure(Exception):
    """Something that must hold does not."""


def run_forked(work, delay: float | None) -> int | None:
    """Run `work` in a child that is killed after `delay` seconds.

    Returns:
        The exit status, or None where it was killed.
    """
    child = os.fork()
    if child == 0:
        status = 99
        try:
            with open(os.devnull, "w") as nothing:  # noqa: PTH123
                os.dup2(nothing.fileno(), 1)
                os.dup2(nothing.fileno(), 2)
            status = work()
        finally:
            os._exit(status)
    if delay is not None:
        time.sleep(delay)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    return None if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def contents(folder: pathlib.Path) -> dict:
    """The bytes of each file below a folder by name, but for temporary ones."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.parent.name.startswith(util.PARTIAL)
    }


def kill_until_done(work, seconds: float, rng, num_left: int, check) -> int:
    """Run `work` over and over, killed at random moments, until it gets through.

    Returns:
        How many kills there were, `num_left` at most.
    """
    kills = 0
    while True:
        # Half of the kills come early, where files are opened and checked.
        longest = seconds * rng.choice([0.6, 1.2])
        delay = rng.uniform(0, longest) if kills < num_left else None
        status = run_forked(work, delay)
        check()
        if status is None:
            kills += 1
        elif status == 0:
            return kills
        else:
            raise Failure(f"exit status {status}")


def time_of(work) -> float:
    """Seconds of an undisturbed run."""
    started = time.monotonic()
    if run_forked(work, None) != 0:
        raise Failure("the undisturbed run failed")
    return time.monotonic() - started


# Separation.


def kill_separations(
    num_kills: int, rng, folder: pathlib.Path, form: str = "wav"
) -> dict:
    """Kill separations of one folder, into stems of a format."""
    inputs = folder / "inputs"
    (inputs / "in").mkdir(parents=True)
    write_session(inputs / "session", *base_session("multi-instrument"))
    for number in range(NUM_MIXTURES):
        audio = rng.uniform(-1, 1, (int(rng.integers(1, 40000)), 2))
        soundfile.write(inputs / "in" / f"{number:02d}.wav", audio, 44100)

    def work_in(out: pathlib.Path):
        def work() -> int:
            with without_network() as run:
                return run(
                    [
                        "--mode=inference",
                        f"--config={inputs / 'session' / 'config.json'}",
                        f"--mixture_input_path={inputs / 'in'}",
                        f"--output_path={out}",
                        f"--format={form}",
                        "--skip_existing",
                    ]
                )

        return work

    seconds = time_of(work_in(folder / "undisturbed"))
    expected, before = contents(folder / "undisturbed"), contents(inputs)
    kills, runs, partial = 0, 0, 0
    while kills < num_kills:
        out = folder / f"out {runs}"

        def check(out=out) -> None:
            for name, data in contents(out).items():
                if data != expected[name]:
                    raise Failure(f"{name} is incomplete")
            if contents(inputs) != before:
                raise Failure("an input has changed")

        kills += kill_until_done(work_in(out), seconds, rng, num_kills - kills, check)
        runs += 1
        partial += len(list(out.rglob(f"{util.PARTIAL}*")))
        if contents(out) != expected:
            raise Failure("the result is not that of an undisturbed run")
    return {"kills": kills, "completed": runs, "temporary files left": partial}


# Training.


def make_tracks(folder: pathlib.Path, rng) -> None:
    """A data set with folders `train` and `validation`, three tracks in all."""
    for part, count in (("train", 2), ("validation", 1)):
        for number in range(count):
            track = folder / part / f"track {number}"
            track.mkdir(parents=True)
            stems = rng.integers(-4000, 4000, (4, 300)).astype("int16")
            for name, audio in zip(SOURCES, [stems.sum(0), *stems]):
                soundfile.write(track / f"{name}.wav", audio.astype("int16"), 16000)


def history(session: pathlib.Path) -> list:
    """The rows of a session's history, without its times."""
    (path,) = session.glob("history_*.csv")
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [
        [float(value) for name, value in row.items() if name != "seconds"]
        for row in rows
    ]


def check_session(session: pathlib.Path, config) -> None:
    """Every file of a final name is whole."""
    for path in contents(session):
        whole = session / path
        if whole.suffix == ".hdf5":
            checkpoint = checkpoints.read_checkpoint(whole, config)
            with h5py.File(whole) as file:
                if set(file["training_state"]) != {"momentum", "velocity"}:
                    raise Failure(f"{path} is incomplete")
            if set(checkpoint.weights) != set(config.weight_shapes):
                raise Failure(f"{path} is incomplete")
        elif whole.suffix == ".json":
            json.loads(whole.read_text())
        elif whole.suffix == ".csv":
            if not whole.read_text().endswith("\n") or not history(session):
                raise Failure(f"{path} is incomplete")
        elif whole.suffix == ".png" and whole.read_bytes()[-8:-4] != b"IEND":
            raise Failure(f"{path} is incomplete")


def kill_trainings(num_kills: int, rng, folder: pathlib.Path) -> dict:
    """Kill trainings of one session after the other."""
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(folder / "compiled")
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    from sswavenet.training import session as training  # noqa: F401 - loaded here, not by each child

    make_tracks(folder / "tracks", rng)
    before = contents(folder / "tracks" / "train")

    def work_in(session: pathlib.Path):
        document = tiny_document(
            dataset={"path": str(folder / "tracks")},
            training={"path": str(session), "num_epochs": 4},
        )
        path = session.with_suffix(".json")
        path.write_text(json.dumps(document))
        config = parse_config(document)
        return config, lambda: main.main(["--mode=training", f"--config={path}"])

    config, work = work_in(folder / "undisturbed")
    time_of(work)
    config, work = work_in(folder / "again")  # with what is compiled and decoded
    seconds = time_of(work)

    def final(session: pathlib.Path):
        path = checkpoints.find_latest(session)
        return path.name[:16], checkpoints.read_checkpoint(path, config).weights

    name, weights = final(folder / "undisturbed")
    rows, kills, runs, worst = history(folder / "undisturbed"), 0, 0, 0.0
    while kills < num_kills:
        session = folder / f"session {runs}"
        _, work = work_in(session)

        def check(session=session) -> None:
            if session.exists():
                check_session(session, config)
            if contents(folder / "tracks" / "train") != before:
                raise Failure("an input has changed")

        kills += kill_until_done(work, seconds, rng, num_kills - kills, check)
        runs += 1
        found_name, found = final(session)
        if found_name != name or len(history(session)) != len(rows):
            raise Failure("another epoch than that of an undisturbed run")
        differences = [np.abs(found[key] - weights[key]).max() for key in weights]
        differences.append(np.abs(np.subtract(history(session), rows)).max())
        worst = max(worst, *differences)
        if worst > 1e-5:
            raise Failure(f"the result differs from an undisturbed run's by {worst}")
    return {"kills": kills, "completed": runs, "largest difference": f"{worst:.1g}"}


def run_all() -> int:
    """Do what the command line asks for; print what it came to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--separations", type=int, default=140, help="kills")
    parser.add_argument("--trainings", type=int, default=60, help="kills")
    parser.add_argument("--format", default="wav", help="of the stems")
    args = parser.parse_args()
    separations = functools.partial(kill_separations, form=args.format)
    for what, kill, count in (
        ("separation", separations, args.separations),
        ("training", kill_trainings, args.trainings),
    ):
        if not count:
            continue
        rng = np.random.default_rng(args.seed)
        started = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            try:
                found = kill(count, rng, pathlib.Path(folder))
            except Failure as error:
                print(f"{what}: {error}")  # noqa: T201
                return 1
        facts = ", ".join(f"{name} {value}" for name, value in found.items())
        seconds = time.monotonic() - started
        print(  # noqa: T201
            f"{what}: seed {args.seed}, {facts}, {seconds:.0f} s", flush=True
        )
    return 0


if __name__ == "__main__":
    sys.exit(run_all())
