"""What every command begins with: config, session, checkpoint, backend, network.

What imports Keras is imported only after its backend has been chosen.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import gc
import importlib
import importlib.util
import logging
import os
import pathlib
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import util
from sswavenet import checkpoints
from sswavenet.backend import environment
from sswavenet.config.document import parse_config
from sswavenet.config.session import Config
from sswavenet.console import packages, signals
from sswavenet.separation import shapes
from util import UserError

logger = logging.getLogger(__name__)

BACKENDS = ("jax", "torch", "tensorflow", "theano")
# Keras imports them where they are installed, which takes as long as all else in it,
# for parts that nothing here uses.
UNUSED_BY_KERAS = ("matplotlib", "pandas", "sklearn")


def read_config(args: argparse.Namespace) -> Config:
    """The configuration that the arguments name."""
    return _read_config(args.config, args.target)


def _read_config(path: os.PathLike | str, task_name: str | None) -> Config:
    document = util.read_json(pathlib.Path(path))
    return parse_config(document, source=str(path), task_name=task_name)


def load_session(args: argparse.Namespace) -> tuple[Config, pathlib.Path, Any]:
    """The session that the arguments name: config, folder and checkpoint."""
    return open_session(
        args.config,
        task_name=args.target,
        checkpoint_path=args.load_checkpoint,
        kernel_convention=args.kernel_convention,
    )


def open_session(
    config_path: os.PathLike | str,
    *,
    task_name: str | None = None,
    checkpoint_path: os.PathLike | str | None = None,
    kernel_convention: str | None = None,
) -> tuple[Config, pathlib.Path, Any]:
    """Read a session: its config, its folder and its checkpoint.

    Args:
        config_path: its config.json.
        task_name: the task, where the config has no `model.type`.
        checkpoint_path: the weights. Defaults to the session's newest.
        kernel_convention: of a checkpoint that does not say it.

    Raises:
        UserError: something of it is missing or cannot be used.
    """
    config = _read_config(config_path, task_name)
    shapes.check_network(config)
    folder = checkpoints.find_session(pathlib.Path(config_path), config)
    checkpoint = checkpoints.read_checkpoint(
        pathlib.Path(checkpoint_path or checkpoints.find_latest(folder)),
        config,
        kernel_convention,
    )
    return config, folder, checkpoint


def announce(session: pathlib.Path, checkpoint: Any) -> None:
    """Log what runs: backend, device, checkpoint, and the session's notice."""
    import models

    logger.info("%s", models.describe_backend())
    epoch = "unknown" if checkpoint.epoch is None else checkpoint.epoch
    logger.info("checkpoint %s, epoch %s", checkpoint.path, epoch)
    notice = session / "NOTICE.txt"
    if notice.is_file():
        logger.warning("%s", " ".join(notice.read_text("utf-8", "replace").split()))


def choose_backend() -> None:
    """Settle KERAS_BACKEND and import Keras for the first time."""
    # A program that uses this one may have imported Keras itself.
    running = sys.modules.get("keras")
    default = running.backend.backend() if running else "jax"
    name = os.environ.setdefault("KERAS_BACKEND", default)
    if name not in BACKENDS:
        raise UserError(
            f"KERAS_BACKEND must be one of {', '.join(BACKENDS)}, got {name!r}"
        )
    if importlib.util.find_spec(name) is None:
        raise UserError(
            f"KERAS_BACKEND is {name}, but {name} is not installed: "
            f"{packages.how_to_install(name)} (docs/usage.md, Backends, has more)"
        )
    environment.prepare()
    if name == "jax" and "keras" not in sys.modules:
        _import_keras()


def _import_keras() -> None:
    """Import Keras in half the time, and let the program end at once."""
    gc.disable()
    try:
        with signals.waiting(), _absent(UNUSED_BY_KERAS):
            importlib.import_module("keras")
    finally:
        gc.enable()
    # Modules stay to the end: the garbage collector need not go through them again.
    gc.freeze()


@contextlib.contextmanager
def _absent(names: Sequence[str]) -> Iterator[None]:
    """Let packages that are not imported yet be as if they were not installed."""
    hidden = [name for name in names if name not in sys.modules]
    modules: dict[str, Any] = sys.modules
    modules.update(dict.fromkeys(hidden))
    try:
        yield
    finally:
        for name in hidden:
            del modules[name]


def network(
    config: Config, weights: dict, *, whole: bool, precision: str
) -> tuple[Any, Any]:
    """What builds the network for a framing, and how it runs fragments.

    On a processor fragments are run by blocks, unless each must be one `whole` pass.
    """
    import models
    from sswavenet.backend import compat
    from sswavenet.separation import streaming

    compat.check_precision(precision)
    if not compat.is_jax_on_cpu():
        return functools.partial(models.build_predict, config, weights, precision), None
    if whole and precision == "bfloat16":
        raise UserError(
            "--precision bfloat16 on a processor works block by block, so neither with "
            "--one_shot nor with --original_framing"
        )
    if whole:
        return functools.partial(models.build_predict, config, weights), None
    blocks = shapes.Blocks(streaming.BLOCK_LENGTH, compat.num_cores())
    build = functools.partial(
        streaming.BlockwisePredict,
        config,
        weights,
        num_threads=blocks.num_parallel,
        precision=precision,
    )
    return build, blocks
