"""Grow a trained network into a larger one that computes the same function.

    python grow.py SMALL_CONFIG BIG_CONFIG [--target TASK] [--load_checkpoint FILE]

writes `checkpoint.00000-0.000.hdf5` into the session of BIG_CONFIG, where training
goes on from it. The old kernels lie in the corner of the new ones. What leads from a
new channel into an old one is zero, new stacks write nothing to old channels, and
what the outputs read of new channels is zero; all else is initialised as usual, so
the new parts learn from the first step on while the outputs start where they were.

Only channels and stacks can grow: filter lengths, dilations and task stay.
"""

from __future__ import annotations

import argparse
import pathlib
import sys

import numpy as np

import checkpoints
import shapes
import util
from config import TASKS, Config, UserError, parse_config, to_document


def grown_weights(
    small: Config, weights: dict, big: Config, rng: np.random.Generator
) -> dict:
    """Weights of `big` that compute what `weights` compute in `small`.

    Args:
        small: configuration of the trained network.
        weights: its arrays by name.
        big: configuration of the larger network.
        rng: where the new parts come from.

    Returns:
        Arrays by the names of `big.weight_shapes`.

    Raises:
        UserError: the one cannot grow into the other.
    """
    _check(small, big)
    arrays = {name: _initial(shape, rng) for name, shape in big.weight_shapes.items()}
    residual = np.arange(small.residual_channels)
    skip = np.arange(small.skip_channels)
    gates = np.concatenate([residual, big.residual_channels + residual])
    both = np.concatenate([residual, big.residual_channels + skip])
    first, second = (np.arange(channels) for channels in small.final_channels)
    outputs = np.arange(len(small.task.estimates))
    arrays["initial_causal_conv/kernel"][:, :, residual] = weights[
        "initial_causal_conv/kernel"
    ]
    for block, name in enumerate(big.block_names, 1):
        if block > small.num_residual_blocks:  # reads all, writes to new channels only
            arrays[f"conv1d_{block}/kernel"][:, :, both] = 0
            continue
        _insert(arrays[f"{name}/kernel"], weights[f"{name}/kernel"], residual, gates)
        kernel = weights[f"conv1d_{block}/kernel"]
        _insert(arrays[f"conv1d_{block}/kernel"], kernel, residual, both)
    there, here = big.num_residual_blocks, small.num_residual_blocks
    for layer, rows, columns in ((1, skip, first), (2, first, second)):
        kernel = weights[f"conv1d_{here + layer}/kernel"]
        _insert(arrays[f"conv1d_{there + layer}/kernel"], kernel, rows, columns)
    kernel = weights[f"conv1d_{here + 3}/kernel"]
    _insert(arrays[f"conv1d_{there + 3}/kernel"], kernel, second, outputs)
    arrays[f"conv1d_{there + 3}/bias"] = weights[f"conv1d_{here + 3}/bias"].copy()
    return arrays


def _insert(
    kernel: np.ndarray, old: np.ndarray, rows: np.ndarray, columns: np.ndarray
) -> None:
    """Put an old kernel into the channels it had; they hear nothing new."""
    kernel[:, :, columns] = 0
    kernel[:, rows[:, None], columns] = old


def _initial(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Glorot's uniform distribution for kernels, zeros for the bias."""
    if len(shape) == 1:
        return np.zeros(shape, "float32")
    limit = np.sqrt(6 / (shape[0] * (shape[1] + shape[2])))
    return rng.uniform(-limit, limit, shape).astype("float32")


def _check(small: Config, big: Config) -> None:
    for field in ("task_name", "dilations", "filter_length", "final_filter_lengths"):
        if getattr(small, field) != getattr(big, field):
            raise UserError(
                f"expected the same {field} in both networks, got "
                f"{getattr(small, field)} and {getattr(big, field)}"
            )
    for name, old, new in (
        ("num_stacks", small.num_stacks, big.num_stacks),
        ("residual_channels", small.residual_channels, big.residual_channels),
        ("skip_channels", small.skip_channels, big.skip_channels),
        ("final_channels", small.final_channels[0], big.final_channels[0]),
        ("final_channels", small.final_channels[1], big.final_channels[1]),
    ):
        if new < old:
            raise UserError(f"expected {name} of at least {old}, got {new}")


def main() -> int:
    """Grow the checkpoint named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("small_config", type=pathlib.Path)
    parser.add_argument("big_config", type=pathlib.Path)
    parser.add_argument("--load_checkpoint", type=pathlib.Path)
    parser.add_argument("--target", choices=list(TASKS))
    args = parser.parse_args()
    try:
        small, big = (
            parse_config(util.read_json(path), str(path), args.target)
            for path in (args.small_config, args.big_config)
        )
        for config in (small, big):
            shapes.check_network(config)
        source = args.load_checkpoint or checkpoints.find_latest(
            checkpoints.find_session(args.small_config, small)
        )
        weights = checkpoints.read_checkpoint(source, small).weights
        session = pathlib.Path(big.session_path)
        if (session / "checkpoints").exists():
            raise UserError(f"{session} has checkpoints; choose a new training.path")
        arrays = grown_weights(small, weights, big, np.random.default_rng(big.seed))
        target = session / "checkpoints" / "checkpoint.00000-0.000.hdf5"
        checkpoints.write_checkpoint(target, arrays, state={"epoch": 0})
        util.write_json(session / "config.json", to_document(big))
    except (UserError, OSError, MemoryError) as error:
        sys.stderr.write(f"error: {' '.join(str(error).split()) or 'out of memory'}\n")
        return 1
    sys.stdout.write(f"{target}: {small.num_params} parameters in {big.num_params}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
