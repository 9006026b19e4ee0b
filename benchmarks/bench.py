"""Measure separation and training side by side on this machine.

    make bench                      (or python benchmarks/bench.py [SECTION ...])

prints a table and writes it to benchmarks/RESULTS.md with machine, versions and date.
Rates are shares of the float32 matrix-product rate, measured in the same run: what
other processes take from the one they take from the other. Weights are random; they
do not change the time.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import datetime
import functools
import importlib.metadata
import os
import pathlib
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "jax")
ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import jax
import jax.numpy as jnp
import numpy as np
import soundfile

import checkpoints
import compat
import losses
import models
import streaming
import util
from config import Config, parse_config, to_document

REPEATS = 3
SEPARATION_FLOPS = 2 * 1.72e6 * 16000  # a second of audio, head merged
SHARE = " % of the matrix product"
Row = tuple[str, str, str]


def full_size(task_name: str = "multi-instrument", **changes: object) -> Config:
    """The shipped configuration of a task."""
    name = f"config_{task_name.replace('-', '_')}.json"
    config = parse_config(util.read_json(ROOT / name), name, task_name)
    return config.replace(**changes)


def random_weights(config: Config) -> dict:
    """Weights that keep the signal's level from layer to layer."""
    rng = np.random.default_rng(0)
    return {
        name: (rng.standard_normal(shape) / np.sqrt(np.prod(shape[:-1]))).astype("f4")
        for name, shape in config.weight_shapes.items()
    }


def timed(run: Callable[[], object], repeats: int = REPEATS) -> list[float]:
    """Seconds of each repetition, after one that is not counted."""
    run()
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - started)
    return seconds


def spread(values: list[float]) -> str:
    """The best of some rates, and the worst."""
    return f"{max(values):.2f} ({min(values):.2f})"


def spread_seconds(values: list[float]) -> str:
    """The best of some times, and the worst."""
    return f"{min(values):.2f} ({max(values):.2f}) s"


def matrix_rate() -> float:
    """FLOP/s of a large float32 product on every core at once, best of five."""
    size, cores = 2048, compat.num_cores()
    product = jax.jit(lambda a: a @ a)
    matrix = jnp.ones((size, size), jnp.float32)

    def one(_: int) -> None:
        product(matrix).block_until_ready()

    with concurrent.futures.ThreadPoolExecutor(cores) as pool:
        seconds = timed(lambda: list(pool.map(one, range(cores))), 5)
    return cores * 2 * size**3 / min(seconds)


def share(audio_seconds: float, wall_seconds: float, rate: float) -> float:
    """Percent of the matrix-product rate, on the work that separation needs."""
    return 100 * SEPARATION_FLOPS * audio_seconds / wall_seconds / rate


def make_session(folder: pathlib.Path, config: Config) -> pathlib.Path:
    """A session of random weights; returns its config file."""
    path = folder / "checkpoints" / "checkpoint.00001-0.000.hdf5"
    checkpoints.write_checkpoint(path, random_weights(config))
    util.write_json(folder / "config.json", to_document(config))
    return folder / "config.json"


def make_mixture(path: pathlib.Path, seconds: float, rate: int = 44100) -> None:
    """Stereo noise."""
    noise = np.random.default_rng(1).standard_normal((int(seconds * rate), 2)) / 10
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, noise, rate, subtype="PCM_16")


def separate(
    config_path: pathlib.Path,
    mixtures: pathlib.Path,
    *flags: str,
    python: str = sys.executable,
    **environment: str,
) -> float:
    """Wall seconds of a whole `main.py --mode inference` process."""
    with tempfile.TemporaryDirectory() as out:
        started = time.perf_counter()
        subprocess.run(
            [python, str(ROOT / "main.py"), "--mode", "inference", "--config",
             str(config_path), "--mixture_input_path", str(mixtures), "--output_path",
             str(pathlib.Path(out, "stems")), *flags],
            check=True,
            capture_output=True,
            env={**os.environ, **environment},
        )  # fmt: skip
        return time.perf_counter() - started


def bench_separation(folder: pathlib.Path) -> list[Row]:
    """60 s through the command line, default flags; other forms beside it."""
    config_path = make_session(folder / "full", full_size())
    make_mixture(folder / "60.wav", 60)
    rows = []
    shares, factors = [], []
    for _ in range(REPEATS):
        rate = matrix_rate()
        seconds = separate(config_path, folder / "60.wav")
        factors.append(60 / seconds)
        shares.append(share(60, seconds, rate))
    rows.append(
        (
            "separation, 60 s, whole process",
            f"{spread(factors)} x real time",
            spread(shares) + SHARE,
        )
    )
    config = full_size()
    weights, cores = random_weights(config), compat.num_cores()
    for field in (16000, 160000):
        framing: dict[str, Any] = {
            "target_field_length": field,
            "target_padding": config.head_margin,
            "input_length": field + 2 * config.context_length,
        }
        for form, batch, predict in (
            ("one pass", 1, models.build_predict(config, weights, **framing)),
            (
                "blocks",
                cores,
                streaming.build_predict(config, weights, num_threads=cores, **framing),
            ),
        ):
            shape = (batch, framing["input_length"])
            fragments = np.random.default_rng(2).standard_normal(shape) / 10
            rate = matrix_rate()
            passes = timed(functools.partial(predict, fragments.astype("f4")), 2)
            audio = batch * field / 16000
            rows.append(
                (
                    f"network alone, field {field}, {form}",
                    f"{spread([audio / taken for taken in passes])} x real time",
                    spread([share(audio, taken, rate) for taken in passes]) + SHARE,
                )
            )
    return rows


def bench_theano(folder: pathlib.Path) -> list[Row]:
    """The same session on Theano, as the original ran by default and faster."""
    python = ROOT / ".venv-theano" / "bin" / "python"
    if not python.is_file():
        return [("Theano", "not measured", "make test-theano makes its environment")]
    config_path = make_session(folder / "full", full_size())
    flags = "device=cpu,floatX=float32,blas.ldflags=,base_compiledir="
    environment = {
        "KERAS_BACKEND": "theano",
        "THEANO_FLAGS": flags + str(ROOT / ".venv-theano" / "theano"),
    }
    rows = []
    for field, batch, seconds in ((1601, 10, 4), (16001, 1, 4)):
        make_mixture(folder / "theano.wav", seconds, 16000)
        shape = ["--original_framing", "--target_field_length", str(field),
                 "--batch_size", str(batch)]  # fmt: skip
        walls = [
            separate(config_path, folder / "theano.wav", *shape, python=str(python),
                     **environment)
            for _ in range(2)
        ]  # fmt: skip
        rows.append(
            (
                f"Theano, field {field}, batch {batch}, {seconds} s, whole process",
                f"{seconds / min(walls):.3f} x real time",
                f"{min(walls):.1f} s, compiled code kept",
            )
        )
    return rows


def bench_latency(folder: pathlib.Path) -> list[Row]:
    """From process start to the first finished 10 s mixture."""
    config_path = make_session(folder / "full", full_size())
    make_mixture(folder / "10.wav", 10)
    cache = {"JAX_COMPILATION_CACHE_DIR": str(folder / "xla")}
    cold = separate(config_path, folder / "10.wav", **cache)
    warm = [separate(config_path, folder / "10.wav", **cache) for _ in range(REPEATS)]
    return [
        ("first 10 s mixture, nothing compiled yet", f"{cold:.1f} s", ""),
        ("first 10 s mixture, second run", spread_seconds(warm), ""),
    ]


def bench_files(folder: pathlib.Path) -> list[Row]:
    """A folder of short clips against one file of the same length."""
    config = full_size(residual_channels=32, skip_channels=32)
    config_path = make_session(folder / "files", config)
    for number in range(20):
        make_mixture(folder / "clips" / f"{number:02d}.wav", 5, 16000)
    make_mixture(folder / "whole.wav", 100, 16000)
    whole = min(separate(config_path, folder / "whole.wav") for _ in range(2))
    clips = min(separate(config_path, folder / "clips") for _ in range(2))
    return [
        (
            "20 clips of 5 s against one file of 100 s (32 channels)",
            f"{100 / clips:.2f} against {100 / whole:.2f} x real time",
            f"{100 * whole / clips:.0f} %",
        )
    ]


def bench_memory(folder: pathlib.Path) -> list[Row]:
    """Peak memory against the length of the file, with a small network."""
    config = full_size(
        residual_channels=4, skip_channels=4, final_channels=[8, 4], num_stacks=1
    )
    config_path = make_session(folder / "small", config)
    rows = []
    for minutes in (3, 30):
        make_mixture(folder / "long.wav", 60 * minutes, 16000)
        script = (
            "import pathlib, sys; sys.argv[0] = 'main.py'; import main; "
            "status = main.main(sys.argv[1:]); "
            # Not ru_maxrss: it begins at what the parent had.
            "lines = pathlib.Path('/proc/self/status').read_text().splitlines(); "
            "print(*[line.split()[1] for line in lines if 'VmHWM' in line]); "
            "sys.exit(status)"
        )
        done = subprocess.run(
            [sys.executable, "-c", script, "--mode", "inference", "--config",
             str(config_path), "--mixture_input_path", str(folder / "long.wav"),
             "--output_path", str(folder / f"stems{minutes}")],
            check=True, capture_output=True, text=True, cwd=ROOT,
        )  # fmt: skip
        peak = int(done.stdout.split()[-1]) / 1024
        rows.append((f"peak memory, {minutes} min", f"{peak:.0f} MiB", "small network"))
    return rows


def bench_stream(folder: pathlib.Path) -> list[Row]:
    """Real-time factor of a stream in blocks of 100 ms."""
    del folder
    config = full_size()
    separator = streaming.StreamingSeparator(config, random_weights(config))
    samples = np.random.default_rng(3).standard_normal(32000).astype("f4") / 10

    def run() -> None:
        for start in range(0, len(samples), 1600):
            separator.push(samples[start : start + 1600])

    factors = [2 / seconds for seconds in timed(run)]
    return [("stream, blocks of 100 ms", f"{spread(factors)} x real time", "")]


def training_flops(config: Config) -> float:
    """Of one step: three times the forward pass of the cropped graph."""
    field, length = config.padded_target_field_length, config.input_length
    residual, skip = config.residual_channels, config.skip_channels
    work, reach = 3.0 * residual * length, 0
    for dilation in reversed(config.dilations * config.num_stacks):
        frames = min(length, field + 2 * reach)
        work += frames * residual * (6 * residual + residual + skip)
        reach += dilation
    first, outputs = config.final_channels[0], len(config.task.estimates)
    work += field * (3 * skip * first + 3 * first * outputs)
    return 3 * 2 * work * config.batch_size


def bench_training(folder: pathlib.Path) -> list[Row]:
    """One step of the shipped configuration, and of a longer target field."""
    del folder
    rows = []
    for field, batch in ((1601, 10), (16001, 1)):
        config = full_size(target_field_length=field, batch_size=batch)
        model = models.build_wavenet(config)
        model.compile(
            optimizer=compat.make_optimizer(1e-3, 1e-8),
            **losses.compile_arguments(config),
        )
        rng = np.random.default_rng(4)
        inputs = rng.standard_normal((batch, config.input_length)).astype("f4") / 10
        shape = (batch, config.padded_target_field_length)
        targets = [rng.standard_normal(shape).astype("f4") / 10 for _ in range(3)]
        rate = matrix_rate()
        step = functools.partial(compat.train_on_batch, model, inputs, targets)
        seconds = timed(step)
        shares = [100 * training_flops(config) / s / rate for s in seconds]
        rows.append(
            (
                f"training step, {batch} fragments of {field}",
                spread_seconds(seconds),
                f"{spread(shares)}{SHARE}; "
                f"{min(seconds) * 16000 / field / batch:.2f} s per second of target",
            )
        )
    return rows


SECTIONS = {
    "separation": bench_separation,
    "stream": bench_stream,
    "latency": bench_latency,
    "files": bench_files,
    "memory": bench_memory,
    "training": bench_training,
    "theano": bench_theano,
}


def main() -> None:
    """Run the sections named on the command line, or all."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "sections", nargs="*", metavar="SECTION", default=list(SECTIONS)
    )
    names = parser.parse_args().sections
    packages = ("jax", "keras", "numpy", "scipy", "soundfile")
    versions = ", ".join(f"{p} {importlib.metadata.version(p)}" for p in packages)
    lines = [
        "# Benchmarks",
        "",
        "Made by `make bench`; best of a few repetitions, the worst in parentheses.",
        "",
        f"{datetime.date.today()}, {platform.processor() or platform.machine()}, "
        f"{compat.num_cores()} cores, Python {platform.python_version()}, {versions}. "
        f"Float32 matrix product: {matrix_rate() / 1e9:.0f} GFLOP/s.",
        "",
        "| what | figure | |",
        "| --- | --- | --- |",
    ]
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            for row in SECTIONS[name](pathlib.Path(folder)):
                lines.append(f"| {' | '.join(row)} |")
                sys.stdout.write(lines[-1] + "\n")
                sys.stdout.flush()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    lines += ["", f"Peak memory of the benchmark itself: {peak:.0f} MiB."]
    (ROOT / "benchmarks" / "RESULTS.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
