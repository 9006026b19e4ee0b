"""Actors beside the program's own cores, on the same folders in one run.

A folder of few songs and one of more are separated by one process on all cores, and by
an actor on each core, in turns. What the further songs take is what an archive takes:
Ray's start, some seconds, counts once.
"""

from __future__ import annotations

import pathlib
import subprocess
import sys
import tempfile
import time

from harness import REPEATS, ROOT, make_mixture, spread

COUNTS, SECONDS = (4, 20), 30  # songs, and how long each is


def separate(folder: pathlib.Path, *words: str) -> float:
    """Seconds that the program takes for a folder."""
    line = [sys.executable, str(ROOT / "main.py"), str(folder), *words]
    line += ["--session", str(ROOT / "sessions" / "multi-instrument-fast")]
    line += ["--output_path", str(folder.parent / "stems"), "--overwrite"]
    started = time.perf_counter()
    subprocess.run(line, cwd=ROOT, check=True, capture_output=True)
    return time.perf_counter() - started


def main() -> None:
    """Print both rates and their ratio."""
    rates: dict[str, list[float]] = {"one process": [], "actors": []}
    with tempfile.TemporaryDirectory() as name:
        folders = [pathlib.Path(name, str(count)) for count in COUNTS]
        for folder, count in zip(folders, COUNTS):
            for number in range(count):
                make_mixture(folder / f"{number:02d}.wav", SECONDS)
        for _ in range(REPEATS):
            for what, words in (("one process", []), ("actors", ["--cluster=local"])):
                few, many = (separate(folder, *words) for folder in folders)
                audio = SECONDS * (COUNTS[1] - COUNTS[0])
                rates[what].append(audio / (many - few))
    for what, found in rates.items():
        sys.stdout.write(f"{what}: {spread(found)} x real time\n")
    ratio = max(rates["actors"]) / max(rates["one process"])
    sys.stdout.write(f"ratio {ratio:.2f}\n")


if __name__ == "__main__":
    main()
