"""Print how many fragments a second one thread draws, with and without augmentation.

    python benchmarks/fragments.py

Makes the demo data set in a temporary folder and draws fragments for the field
lengths of the shipped configurations and for a longer one, from memory and from disk.
Training consumes batch_size fragments a step; the network must be the slower of the
two.
"""

from __future__ import annotations

import json
import os

# Read by NumPy's and SciPy's libraries when they are imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import pathlib
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "data")]

import make_demo

from datasets import Dataset
from sswavenet.config.document import parse_config
from sswavenet.config.session import Config

AUGMENTATION = {
    "augmentation_mix": 0.5,
    "augmentation_gain_db": 6,
    "augmentation_polarity": 0.5,
    "augmentation_tilt": 0.3,
    "augmentation_resample": 0.1,
}
BATCH_SIZE = 10
SECONDS = 2.0


def fragments_per_second(
    config: Config, cache_folder: pathlib.Path, seconds: float
) -> list[float]:
    """Rates measured in five rounds that take `seconds` together."""
    dataset = Dataset(config, cache_folder=cache_folder)
    dataset.load(("train",), progress=False)
    rates, rng = [], np.random.default_rng(0)
    dataset.draw_batch("train", BATCH_SIZE, rng)
    for _ in range(5):
        count, start = 0, time.perf_counter()
        while time.perf_counter() - start < seconds / 5:
            dataset.draw_batch("train", BATCH_SIZE, rng)
            count += BATCH_SIZE
        rates.append(count / (time.perf_counter() - start))
    return rates


def measure(seconds: float = SECONDS) -> Iterator[tuple[str, str, str]]:
    """What is drawn, how many a second (median), and the slowest and fastest round."""
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        make_demo.make_demo(folder / "demo", seed=1337)
        document = json.loads((ROOT / "config_multi_instrument.json").read_text())
        document["dataset"]["path"] = str(folder / "demo")
        config = parse_config(document)
        for field in (config.target_field_length, 16001):
            for share in (1, 0):
                for augmentation in ({}, AUGMENTATION):
                    row = config.replace(
                        target_field_length=field,
                        in_memory_percentage=share,
                        **augmentation,
                    )
                    rates = fragments_per_second(row, folder / "cache", seconds)
                    yield (
                        f"fragments of {row.input_length} samples, field {field}, from "
                        f"{'memory' if share else 'disk'}, "
                        f"{'augmented' if augmentation else 'as they are'}",
                        f"{statistics.median(rates):.0f} a second",
                        f"{min(rates):.0f} to {max(rates):.0f}",
                    )


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--seconds", type=float, default=SECONDS, help="for each row (default: 2)"
    )
    for row in measure(parser.parse_args(arguments).seconds):
        sys.stdout.write("; ".join(row) + "\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
