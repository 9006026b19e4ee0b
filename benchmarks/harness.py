"""What the benchmarks share: sessions, mixtures, timing, and what to count against.

Rates are shares of the rate of a large matrix product, measured in the same run: what
other processes take from the one they take from the other. Weights are random; they
do not change the time.
"""

from __future__ import annotations

import concurrent.futures
import functools
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence

os.environ.setdefault("KERAS_BACKEND", "jax")
ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np
import soundfile

import util
from sswavenet import checkpoints
from sswavenet.backend import compat
from sswavenet.backend.cores import num_cores
from sswavenet.config.document import parse_config, to_document
from sswavenet.config.session import Config
from sswavenet.training import losses
from sswavenet.training.state import build_model

REPEATS = 3
SHARE = " % of the matrix product"
Row = tuple[str, str, str]

# Runs main.py and prints the peak of the process's memory, KiB. Not ru_maxrss: that
# begins at what the parent had.
WITH_PEAK = """
import pathlib, sys
sys.argv[0] = "main.py"
import main
status = main.main(sys.argv[1:])
lines = pathlib.Path("/proc/self/status").read_text().splitlines()
print(*[line.split()[1] for line in lines if "VmHWM" in line])
sys.exit(status)
"""


def full_size(task_name: str = "multi-instrument", **changes: object) -> Config:
    """The shipped configuration of a task."""
    name = f"config_{task_name.replace('-', '_')}.json"
    config = parse_config(util.read_json(ROOT / name), name, task_name)
    return config.replace(**changes)


def compact() -> Config:
    """The shape of the shipped sessions."""
    return full_size(
        residual_channels=32, skip_channels=32, num_stacks=3, final_channels=(512, 256)
    )


def small() -> Config:
    """A network whose work is next to nothing."""
    return full_size(
        residual_channels=4, skip_channels=4, final_channels=[8, 4], num_stacks=1
    )


def random_weights(config: Config) -> dict:
    """Weights that keep the signal's level from layer to layer."""
    rng = np.random.default_rng(0)
    return {
        name: (rng.standard_normal(shape) / np.sqrt(np.prod(shape[:-1]))).astype("f4")
        for name, shape in config.weight_shapes.items()
    }


def noise(*shape: int) -> np.ndarray:
    """Samples for whatever takes some."""
    return (np.random.default_rng(1).standard_normal(shape) / 10).astype("f4")


def make_session(folder: pathlib.Path, config: Config) -> pathlib.Path:
    """A session of random weights; returns its config file."""
    path = folder / "checkpoints" / "checkpoint.00001-0.000.hdf5"
    checkpoints.write_checkpoint(path, random_weights(config))
    util.write_json(folder / "config.json", to_document(config))
    return folder / "config.json"


def make_mixture(path: pathlib.Path, seconds: float, rate: int = 44100) -> None:
    """Noise: stereo, but mono at the model's rate, written minute by minute."""
    path.parent.mkdir(parents=True, exist_ok=True)
    minute = noise(60 * rate, 1 if rate == 16000 else 2)
    left = int(seconds * rate)
    with soundfile.SoundFile(
        path, "w", rate, channels=minute.shape[1], subtype="PCM_16"
    ) as file:
        while left:
            file.write(minute[:left])
            left -= len(minute[:left])


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
    return f"{max(values):.3g} ({min(values):.3g})"


def speed_row(
    name: str, config: Config, audio: float, runs: Sequence[tuple[float, float]]
) -> Row:
    """How fast so many seconds of audio were, and of what a product could do.

    Args:
        name: what ran.
        config: of the network.
        audio: seconds of it.
        runs: seconds of each, and the `matrix_rate` at its time.
    """
    work = 100 * separation_flops(config) * audio
    shares = [work / seconds / rate for seconds, rate in runs]
    factors = spread([audio / seconds for seconds, _ in runs])
    return name, f"{factors} x real time", spread(shares) + SHARE


def spread_seconds(values: list[float]) -> str:
    """The best of some times, and the worst."""
    return f"{min(values):.3g} ({max(values):.3g}) s"


def matrix_rate(
    dtype: str = "float32", precision: str | None = None, size: int = 2048
) -> float:
    """FLOP/s of a large product, on every core of a processor at once, best of five.

    Args:
        dtype: of the matrices. Defaults to float32.
        precision: of the products, as JAX names it. Defaults to the device's.
        size: of the matrices. Defaults to 2048, enough for a processor.
    """
    import jax  # not with Theano, which measures training steps, too
    import jax.numpy as jnp

    copies = num_cores() if compat.is_jax_on_cpu() else 1
    product = jax.jit(functools.partial(jnp.matmul, precision=precision))
    matrix = jnp.ones((size, size), dtype)

    def one(_: int) -> None:
        product(matrix, matrix).block_until_ready()

    with concurrent.futures.ThreadPoolExecutor(copies) as pool:
        seconds = timed(lambda: list(pool.map(one, range(copies))), 5)
    return copies * 2 * size**3 / min(seconds)


def separation_flops(config: Config) -> float:
    """That a second of audio needs, the last two convolutions merged."""
    residual, skip = config.residual_channels, config.skip_channels
    first, outputs = config.final_channels[0], len(config.task.estimates)
    work = 3 * residual + 3 * skip * first + 3 * first * outputs
    work += config.num_residual_blocks * residual * (7 * residual + skip)
    return 2.0 * config.sample_rate * work


def training_flops(config: Config) -> float:
    """Of one step: three times the forward pass of the cropped graph."""
    field, length = config.padded_target_field_length, config.input_length
    residual, skip = config.residual_channels, config.skip_channels
    work, reach = 3.0 * residual * length, 0
    for dilation in reversed(config.dilations * config.num_stacks):
        frames = min(length, field + 2 * reach)
        work += frames * residual * (7 * residual + skip)
        reach += dilation
    first, outputs = config.final_channels[0], len(config.task.estimates)
    work += field * (3 * skip * first + 3 * first * outputs)
    return 3 * 2 * work * config.batch_size


def training_step(config: Config, precision: str = "float32") -> Callable[[], object]:
    """A step of training on one batch of noise, compiled when it first runs."""
    model = build_model(config, precision)
    model.compile(
        optimizer=compat.make_optimizer(1e-3, 1e-8), **losses.compile_arguments(config)
    )
    inputs = noise(config.batch_size, config.input_length)
    target = noise(config.batch_size, config.padded_target_field_length)
    targets = [target] * len(config.task.supervised)
    return functools.partial(compat.train_on_batch, model, inputs, targets)


def separate(
    config_path: pathlib.Path,
    mixtures: pathlib.Path,
    *flags: str,
    python: str = sys.executable,
    **environment: str,
) -> tuple[float, str]:
    """A whole process of `main.py --mode inference`.

    Returns:
        Its wall seconds and what it printed.

    Raises:
        RuntimeError: it failed; with its last line.
    """
    with tempfile.TemporaryDirectory() as out:
        started = time.perf_counter()
        done = subprocess.run(
            [python, "-c", WITH_PEAK, "--mode", "inference", "--config",
             str(config_path), "--mixture_input_path", str(mixtures), "--output_path",
             str(pathlib.Path(out, "stems")), *flags],
            capture_output=True, text=True, cwd=ROOT,
            env={**os.environ, **environment},
        )  # fmt: skip
        seconds = time.perf_counter() - started
    if done.returncode:
        raise RuntimeError(done.stderr.strip().split("\n")[-1])
    return seconds, done.stdout
