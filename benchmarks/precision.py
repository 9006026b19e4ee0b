"""Print how far each precision's stems are from those of float32, and its speed.

    python benchmarks/precision.py [--mixtures audio/] [SESSION ...]

Separates the mixtures with each session and precision through main.py, so process
start, reading and writing count. An error is the energy of the difference against that
of the float32 stem, in dB; TF32 on a GPU, so it is `highest` that the others are
compared to.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator

import numpy as np
import soundfile

ROOT = pathlib.Path(__file__).resolve().parents[1]
REFERENCE = "highest"
PRECISIONS = (REFERENCE, "float32", "bfloat16")
SESSIONS = [
    ROOT / "sessions" / name
    for name in ("multi-instrument-rendered", "singing-voice-rendered")
]
MIXTURES = ROOT / "audio"


def separate(
    session: pathlib.Path, mixtures: pathlib.Path, out: pathlib.Path, precision: str
) -> tuple[float, str]:
    """Wall seconds of a separation, and what it said if it failed."""
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, str(ROOT / "main.py"), "--mode", "inference", "--config",
         str(session / "config.json"), "--mixture_input_path", str(mixtures),
         "--output_path", str(out), "--subtype", "FLOAT", "--precision", precision],
        capture_output=True, text=True, env={"KERAS_BACKEND": "jax", **os.environ},
    )  # fmt: skip
    failure = done.stderr.strip().split("\n")[-1] if done.returncode else ""
    return time.perf_counter() - started, failure


def errors(out: pathlib.Path, reference: pathlib.Path) -> dict[str, float]:
    """The error of each stem in dB, over all mixtures."""
    energies: dict[str, np.ndarray] = {}
    for path in sorted(reference.rglob("*.wav")):
        exact, _ = soundfile.read(path)
        rough, _ = soundfile.read(out / path.relative_to(reference))
        stem = path.stem.rsplit("_", 1)[1]
        energy = np.array([((rough - exact) ** 2).sum(), (exact**2).sum()])
        energies[stem] = energies.get(stem, 0) + energy
    return {
        stem: float(10 * np.log10(error / signal)) if error else -np.inf
        for stem, (error, signal) in energies.items()
    }


def measure(
    sessions: Iterable[pathlib.Path], mixtures: pathlib.Path
) -> Iterator[tuple[str, str, str]]:
    """What ran, how long it took, and the error of each stem or why it failed."""
    with tempfile.TemporaryDirectory() as name:
        for session in sessions:
            folder = pathlib.Path(name, session.name)
            for precision in PRECISIONS:
                seconds, found = separate(
                    session, mixtures, folder / precision, precision
                )
                if not found:
                    differences = errors(folder / precision, folder / REFERENCE)
                    found = ", ".join(f"{k} {v:.1f} dB" for k, v in differences.items())
                yield (
                    f"{mixtures.name}/ with {session.name}, {precision}, whole process",
                    f"{seconds:.1f} s",
                    found,
                )


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--mixtures", type=pathlib.Path, default=MIXTURES)
    parser.add_argument(
        "sessions",
        nargs="*",
        type=pathlib.Path,
        metavar="SESSION",
        default=SESSIONS,
    )
    options = parser.parse_args(arguments)
    for row in measure(options.sessions, options.mixtures):
        sys.stdout.write("; ".join(row) + "\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
