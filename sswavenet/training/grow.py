"""Grow trained networks into a larger one that computes what they compute.

    python -m sswavenet.training.grow SMALL_CONFIG [SMALL_CONFIG ...] BIG_CONFIG
        [--target TASK] [--load_checkpoint FILE]

writes `config.json` and then `checkpoint.00000-0.000.hdf5` into the session of
BIG_CONFIG, where training goes on from it. The old kernels lie on the diagonal of the
new ones, those of the first network in the corner. What leads from another channel into
an old one is zero, new stacks write nothing to old channels, and what the outputs read
of new channels is zero; all else is initialised as usual. In the first step the zeros
learn, and then what they connect, while the outputs start where they were: at the
estimates of the one network, or at the mean of those of several. `--help` lists the
flags.

Only channels and stacks can grow: rate, filter lengths and dilations stay. The task
stays, too, or multi-instrument gives singing-voice its vocals, or singing-voice joins
multi-instrument with them.
"""

from __future__ import annotations

import pathlib
import sys
from collections.abc import Sequence

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
    parts: Sequence[tuple[Config, dict]], big: Config, rng: np.random.Generator
) -> dict:
    """Weights of `big`, by name, that compute the mean of what `parts` estimate.

    A part is a network and its weights; the mean of a stem is that of the parts that
    estimate it. What is new comes from `rng`. Raises UserError where they cannot grow
    into `big`, as where nobody estimates one of its stems.
    """
    _check([small for small, _ in parts], big)
    arrays = {name: _initial(shape, rng) for name, shape in big.weight_shapes.items()}
    there = big.num_residual_blocks
    readers = arrays[f"conv1d_{there + 3}/kernel"]
    bias = arrays[f"conv1d_{there + 3}/bias"]
    heads = _heads(parts, big)
    used = [0, 0, 0, 0]  # channels: residual, skip, and of the head's two layers
    for (small, weights), (kernel_2, kernel_3, bias_3) in zip(parts, heads):
        sizes = (small.residual_channels, small.skip_channels, *kernel_2.shape[1:])
        residual, skip, first, second = (
            start + np.arange(size) for start, size in zip(used, sizes)
        )
        used = [start + size for start, size in zip(used, sizes)]
        gates = np.concatenate([residual, big.residual_channels + residual])
        both = np.concatenate([residual, big.residual_channels + skip])
        name = "initial_causal_conv/kernel"
        arrays[name][:, :, residual] = weights[name]
        for block, name in enumerate(big.block_names, 1):
            mixed = arrays[f"conv1d_{block}/kernel"]
            if block > small.num_residual_blocks:  # reads all, writes to new channels
                mixed[:, :, both] = 0
                continue
            _insert(
                arrays[f"{name}/kernel"], weights[f"{name}/kernel"], residual, gates
            )
            _insert(mixed, weights[f"conv1d_{block}/kernel"], residual, both)
        kernel = weights[f"conv1d_{small.num_residual_blocks + 1}/kernel"]
        _insert(arrays[f"conv1d_{there + 1}/kernel"], kernel, skip, first)
        _insert(arrays[f"conv1d_{there + 2}/kernel"], kernel_2, first, second)
        readers[:, second] = kernel_3
        bias += bias_3
    readers[:, used[3] :] = 0
    return arrays


def _heads(
    parts: Sequence[tuple[Config, dict]], big: Config
) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """The last two kernels and the bias of each part's share in the outputs of `big`.

    Nothing lies between the kernels, so where their channels do not fit side by side,
    one kernel stands for both and the other passes on what it gives.
    """
    num_estimating = {
        stem: sum(stem in small.task.estimates for small, _ in parts)
        for stem in big.task.estimates
    }
    fit = sum(small.final_channels[1] for small, _ in parts) <= big.final_channels[1]
    heads = []
    for small, weights in parts:
        layers = [f"conv1d_{small.num_residual_blocks + layer}" for layer in (2, 3)]
        kernel_2, kernel_3 = (weights[f"{layer}/kernel"] for layer in layers)
        bias = weights[f"{layers[1]}/bias"]
        if not fit:
            kernel_2, kernel_3 = kernel_2 @ kernel_3[0], np.eye(len(bias))[None]
        shares = np.zeros((len(bias), len(big.task.estimates)))
        for column, stem in enumerate(big.task.estimates):
            if stem in small.task.estimates:
                row = small.task.estimates.index(stem)
                shares[row, column] = 1 / num_estimating[stem]
        heads.append((kernel_2, kernel_3 @ shares, bias @ shares))
    return heads


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


def _check(smalls: Sequence[Config], big: Config) -> None:
    estimated = {stem for small in smalls for stem in small.task.estimates}
    if not set(big.task.estimates) <= estimated:
        raise UserError(
            f"expected a network that estimates {', '.join(big.task.estimates)}, got "
            f"one of {', '.join(sorted(estimated))}"
        )
    for small in smalls:
        fields = ("sample_rate", "dilations", "filter_length", "final_filter_lengths")
        for field in fields:
            if getattr(small, field) != getattr(big, field):
                raise UserError(
                    f"expected the same {field} in all networks, got "
                    f"{getattr(small, field)} and {getattr(big, field)}"
                )
    # Of the head's second layer a network needs as many channels as it has estimates.
    needed = [
        (
            small.residual_channels,
            small.skip_channels,
            small.final_channels[0],
            len(small.task.estimates),
        )
        for small in smalls
    ]
    there = (big.residual_channels, big.skip_channels, *big.final_channels)
    names = ("residual_channels", "skip_channels", "final_channels", "final_channels")
    for name, old, new in (
        ("num_stacks", max(small.num_stacks for small in smalls), big.num_stacks),
        *zip(names, map(sum, zip(*needed)), there),
    ):
        if new < old:
            raise UserError(f"expected {name} of at least {old}, got {new}")


def _grow(
    small_configs: Sequence[pathlib.Path],
    big_config: pathlib.Path,
    *,
    load_checkpoint: pathlib.Path | None,
    kernel_convention: str | None,
    target: str | None,
) -> int:
    """Write the session of the larger network and say so."""
    if load_checkpoint and len(small_configs) > 1:
        raise UserError(
            "expected no --load_checkpoint where several networks grow together: the "
            "newest checkpoint of each session is read"
        )
    big = read_config(big_config, target)
    memory.check_network(big)
    parts = []
    for place in small_configs:
        small = read_config(place, target)
        memory.check_network(small)
        source = load_checkpoint or checkpoints.find_latest(
            checkpoints.find_session(place, small)
        )
        read = checkpoints.read_checkpoint(source, small, kernel_convention)
        parts.append((small, read.weights))
    arrays = grown_weights(parts, big, np.random.default_rng(big.seed))
    written = _write_session(pathlib.Path(big.session_path), big, arrays)
    counts = " and ".join(str(small.num_params) for small, _ in parts)
    streams.write(f"{written}: {counts} parameters in {big.num_params}\n")
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
    parser.add_argument(
        "small_configs",
        type=path,
        nargs="+",
        metavar="small_config",
        help="of a trained network; several grow together",
    )
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
