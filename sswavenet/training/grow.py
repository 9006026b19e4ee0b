"""Grow a trained network into a larger one that computes the same function.

    python -m sswavenet.training.grow SMALL_CONFIG BIG_CONFIG [--target TASK]
        [--load_checkpoint FILE]

writes `config.json` and then `checkpoint.00000-0.000.hdf5` into the session of
BIG_CONFIG, where training goes on from it. The old kernels lie in the corner of the
new ones. What leads from a new channel into an old one is zero, new stacks write
nothing to old channels, and what the outputs read of new channels is zero; all else is
initialised as usual. In the first step the zeros learn, and then what they connect,
while the outputs start where they were. `--help` lists the flags.

Only channels and stacks can grow: filter lengths and dilations stay. The task stays,
too, or multi-instrument gives singing-voice its vocals.
"""

from __future__ import annotations

import pathlib
import sys

import numpy as np

import util
from sswavenet import checkpoints
from sswavenet.backend import memory
from sswavenet.config.document import read_config, to_document
from sswavenet.config.session import Config
from sswavenet.config.tasks import TASKS
from sswavenet.console import run, streams
from sswavenet.console.parser import Parser, add_kernel_convention, path
from util import UserError


def grown_weights(
    small: Config, weights: dict, big: Config, rng: np.random.Generator
) -> dict:
    """Weights of `big`, by name, that compute what `weights` compute in `small`.

    The new parts come from `rng`. Raises UserError where the one cannot grow into the
    other, as where its task estimates something that `small`'s does not.
    """
    _check(small, big)
    arrays = {name: _initial(shape, rng) for name, shape in big.weight_shapes.items()}
    residual = np.arange(small.residual_channels)
    skip = np.arange(small.skip_channels)
    gates = np.concatenate([residual, big.residual_channels + residual])
    both = np.concatenate([residual, big.residual_channels + skip])
    first, second = (np.arange(channels) for channels in small.final_channels)
    estimates = [small.task.estimates.index(stem) for stem in big.task.estimates]
    outputs = np.arange(len(estimates))
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
    kernel = weights[f"conv1d_{here + 3}/kernel"][:, :, estimates]
    _insert(arrays[f"conv1d_{there + 3}/kernel"], kernel, second, outputs)
    arrays[f"conv1d_{there + 3}/bias"] = weights[f"conv1d_{here + 3}/bias"][estimates]
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
    if not set(big.task.estimates) <= set(small.task.estimates):
        raise UserError(
            f"expected a network that estimates {', '.join(big.task.estimates)}, got "
            f"one of {', '.join(small.task.estimates)}"
        )
    for field in ("dilations", "filter_length", "final_filter_lengths"):
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


def _grow(
    small_config: pathlib.Path,
    big_config: pathlib.Path,
    *,
    load_checkpoint: pathlib.Path | None,
    kernel_convention: str | None,
    target: str | None,
) -> int:
    """Write the session of the larger network and say so."""
    small, big = (read_config(path, target) for path in (small_config, big_config))
    for config in (small, big):
        memory.check_network(config)
    source = load_checkpoint or checkpoints.find_latest(
        checkpoints.find_session(small_config, small)
    )
    weights = checkpoints.read_checkpoint(source, small, kernel_convention).weights
    arrays = grown_weights(small, weights, big, np.random.default_rng(big.seed))
    written = _write_session(pathlib.Path(big.session_path), big, arrays)
    streams.write(f"{written}: {small.num_params} parameters in {big.num_params}\n")
    return 0


def _write_session(session: pathlib.Path, big: Config, arrays: dict) -> pathlib.Path:
    """Write config and checkpoint, or neither, into a session without checkpoints."""
    path = session / "config.json"
    target = session / "checkpoints" / "checkpoint.00000-0.000.hdf5"
    with util.locked(session, what="a training or sswavenet.training.grow"):
        _check_session(session, big)
        is_new = not path.exists()
        # In this order: whoever sees the checkpoint finds the config.
        util.write_json(path, to_document(big))
        try:
            checkpoints.write_checkpoint(target, arrays, state={"epoch": 0})
        except BaseException:
            if is_new:  # else the next run could not grow into another network
                path.unlink(missing_ok=True)
            raise
    return target


def _check_session(session: pathlib.Path, big: Config) -> None:
    """Refuse a session with a checkpoint, or with the config of another network."""
    files = (session / "checkpoints").glob("*.hdf5")
    found = any(not path.name.startswith(".") for path in files)
    if found or checkpoints.find_stopped(session):
        raise UserError(f"{session} has checkpoints; choose a new training.path")
    checkpoints.check_session(session, big)


def _build_parser() -> Parser:
    parser = Parser(
        prog="python -m sswavenet.training.grow",
        description=(__doc__ or "").split("\n")[0],
        allow_abbrev=False,
    )
    parser.add_argument("small_config", type=path, help="of the trained network")
    parser.add_argument("big_config", type=path, help="of the larger one")
    parser.add_argument(
        "--load_checkpoint",
        type=path,
        metavar="FILE",
        help="weights to grow (default: the newest of the small session)",
    )
    add_kernel_convention(parser)
    parser.add_argument(
        "--target",
        choices=list(TASKS),
        help="task of the networks, where the configs have no model.type",
    )
    return parser


def main() -> int:
    """Grow the checkpoint named on the command line.

    Returns the exit status of `run`.
    """
    args = _build_parser().parse_args()
    return run.run(lambda: _grow(**vars(args)))


if __name__ == "__main__":
    sys.exit(main())
