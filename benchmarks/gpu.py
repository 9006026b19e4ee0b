"""Measure separation and training on a GPU.

    python benchmarks/gpu.py [--miniature]

Prints a table: rates of large matrix products, the network alone for several fields
and batches, whole processes with reading and writing, and steps of training up to the
batch that fills the card. float32 means TF32 there. With --miniature everything is
small and any device will do, to try the script itself.
"""

from __future__ import annotations

import argparse
import functools
import pathlib
import sys
import tempfile
from collections.abc import Iterator

# First: it settles the backend and where the program is.
import harness
from harness import Row

import models
import util
from sswavenet.backend import compat
from sswavenet.config.session import Config
from sswavenet.separation.framing import Framing
from util import UserError

# (data type and precision of a product, as JAX names them) of each --precision.
PRODUCTS: dict[str, tuple[str, str | None]] = {
    "float32": ("float32", None),
    "highest": ("float32", "highest"),
    "bfloat16": ("bfloat16", None),
}
LARGEST_BATCH = 5120


def products(size: int) -> tuple[dict[str, float], list[Row]]:
    """FLOP/s of a product in each precision, and rows about it."""
    rates = {
        name: harness.matrix_rate(*kind, size=size) for name, kind in PRODUCTS.items()
    }
    return rates, [
        (f"matrix product, {name}", f"{rate / 1e12:.4g} TFLOP/s", "")
        for name, rate in rates.items()
    ]


def bench_network(
    config: Config, rates: dict[str, float], shapes_to_try: list[tuple[int, int]]
) -> Iterator[Row]:
    """The network alone: fields and batches in each precision."""
    weights = harness.random_weights(config)
    for precision, rate in rates.items():
        for field, batch in shapes_to_try:
            name = f"network, {precision}, {batch} fragments of {field}"
            framing = Framing.seamless(config, field)
            predict = models.build_predict(
                config, weights, precision, **framing.lengths
            )
            fragments = harness.noise(batch, framing.input_length)
            try:
                seconds = harness.timed(functools.partial(predict, fragments))
            except Exception as error:
                if not util.is_out_of_memory(error):
                    raise
                yield name, "out of memory", ""
                continue
            audio = batch * field / config.sample_rate
            yield harness.speed_row(name, config, audio, [(s, rate) for s in seconds])


def bench_process(
    config: Config,
    folder: pathlib.Path,
    seconds: float,
    shape: tuple[int, int],
    repeats: int,
) -> Iterator[Row]:
    """Whole processes, which read 44.1 kHz stereo and write all stems."""
    config_path = harness.make_session(folder / "session", config)
    harness.make_mixture(folder / "mixture.wav", seconds)
    flags = ("--target_field_length", str(shape[0]), "--batch_size", str(shape[1]))
    for precision in PRODUCTS:
        name = f"{seconds:g} s through main.py, {precision}"
        try:
            runs = [
                harness.separate(
                    config_path,
                    folder / "mixture.wav",
                    "--precision",
                    precision,
                    *flags,
                )
                for _ in range(repeats)
            ]
        except RuntimeError as error:
            yield name, "not measured", str(error)
            continue
        factors = [seconds / taken for taken, _ in runs]
        # What main.py says itself begins when the network is loaded.
        own = [float(line.split()[-4]) for _, text in runs for line in text.split("\n")
               if line.endswith(" x real time")]  # fmt: skip
        yield (
            name,
            f"{harness.spread(factors)} x real time",
            f"{harness.spread(own)} x without process start",
        )


def bench_training(config: Config, rate: float, largest: int) -> Iterator[Row]:
    """Steps a second from a batch of 10 to the largest that fits."""
    batch = 10
    while batch <= largest:
        this = config.replace(batch_size=batch)
        name = f"training, batch {batch}"
        try:
            seconds = harness.timed(harness.training_step(this))
        except Exception as error:
            if not util.is_out_of_memory(error):
                raise
            yield name, "out of memory", ""
            return
        shares = [100 * harness.training_flops(this) / s / rate for s in seconds]
        rates = [1 / s for s in seconds]
        yield (
            name,
            f"{harness.spread(rates)} steps a second",
            harness.spread(shares) + harness.SHARE,
        )
        batch *= 2


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--miniature", action="store_true", help="everything small")
    miniature = parser.parse_args(arguments).miniature
    out = sys.stdout
    try:
        device = compat.devices()[0]
        if device.platform == "cpu" and not miniature:
            raise UserError("expected a GPU for JAX, got none; try --miniature")
    except UserError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    out.write(
        f"{models.describe_backend()}\n| what | figure | |\n| --- | --- | --- |\n"
    )

    def write(row: Row) -> None:
        out.write(f"| {' | '.join(row)} |\n")
        out.flush()

    config = (
        harness.small().replace(target_field_length=100)
        if miniature
        else harness.full_size()
    )
    rates, rows = products(64 if miniature else 8192)
    for row in rows:
        write(row)
    tried = [(100, 2)]
    if not miniature:
        tried = [(16000, 1), (16000, 16), (160000, 1), (160000, 4), (160000, 16)]
    for row in bench_network(config, rates, tried):
        write(row)
    with tempfile.TemporaryDirectory() as folder:
        what = (1, (8000, 2), 1) if miniature else (3600, (160000, 4), 2)
        for row in bench_process(config, pathlib.Path(folder), *what):
            write(row)
    largest = 20 if miniature else LARGEST_BATCH
    for row in bench_training(config, rates["float32"], largest):
        write(row)
    return 0


if __name__ == "__main__":
    sys.exit(main())
