"""Separate thousands of short files in one process: python tests/stress/soak.py

Memory, open files and compilations are counted after the first files and at the end.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))
os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import numpy as np
import soundfile

import main
from sswavenet.separation import folder as separate
from tests.support import base_session, write_session

FIRST = 50


def state(compilations: list) -> tuple:
    """(resident MiB, open files, compilations so far)."""
    pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
    resident = pages * os.sysconf("SC_PAGE_SIZE") / 2**20
    return resident, len(os.listdir("/proc/self/fd")), len(compilations)  # noqa: PTH208


def soak(num_files: int, folder: pathlib.Path) -> tuple[list, int]:
    """Separate `num_files` files; returns the states after each, and the status."""
    import jax

    rng = np.random.default_rng(0)
    (folder / "in").mkdir()
    write_session(folder / "session", *base_session("multi-instrument"))
    for number in range(num_files):
        audio = rng.uniform(
            -1, 1, (int(rng.integers(1, 6000)), int(rng.integers(1, 3)))
        )
        rate = int(rng.choice([8000, 16000, 44100]))
        form = str(rng.choice(["WAV", "FLAC"]))
        soundfile.write(folder / "in" / f"{number:05d}.wav", audio, rate, format=form)
    compilations: list = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, duration_secs, **_: (
            compilations.append(event) if "backend_compile" in event else None
        )
    )
    states, attempt = [], separate.attempt

    def counted(*arguments):
        found = attempt(*arguments)
        states.append(state(compilations))
        return found

    separate.attempt = counted
    status = main.main(
        [
            "--mode=inference",
            f"--config={folder / 'session' / 'config.json'}",
            f"--mixture_input_path={folder / 'in'}",
            f"--output_path={folder / 'out'}",
            f"--report={folder / 'report.json'}",
        ]
    )
    separate.attempt = attempt
    return states, status


def run_all() -> int:
    """Do what the command line asks for; print what it came to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=2000)
    args = parser.parse_args()
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        states, status = soak(args.files, pathlib.Path(folder))
    seconds = time.monotonic() - started
    first, last = states[FIRST - 1], states[-1]
    grown = last[0] / first[0] - 1
    print(  # noqa: T201
        f"{len(states)} files, exit status {status}, {seconds:.0f} s\n"
        f"resident memory: {first[0]:.1f} MiB after {FIRST} files, {last[0]:.1f} MiB "
        f"at the end ({100 * grown:+.1f} %)\n"
        f"open files: {first[1]}, {last[1]}\n"
        f"compilations: {first[2]}, {last[2]}"
    )
    held = status == 0 and grown < 0.05 and first[1:] == last[1:]
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(run_all())
