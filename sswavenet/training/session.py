"""Train a session: fragments in, checkpoints, a history and curves out.

A session is a folder:

    config.json           the configuration, derived keys included
    checkpoints/          checkpoint.00012-0.034.hdf5: epoch and validation loss
    history_<task>.csv    one row an epoch, counted from 1: losses and metrics
    learning_curve.png    loss and validation loss over the epochs
    best.json             the checkpoint of the lowest validation loss so far
    interrupted.hdf5      the state of an epoch that was stopped, until it is complete
"""

from __future__ import annotations

import contextlib
import logging
import pathlib
import signal
import sys
from typing import Any

import models
import util
from datasets import Dataset
from sswavenet import checkpoints
from sswavenet.backend import compat, memory
from sswavenet.config.document import to_document
from sswavenet.config.session import Config
from sswavenet.console import places, signals
from sswavenet.training import history, losses
from sswavenet.training.loop import Interrupted, Trainer
from sswavenet.training.state import compiled_precision
from util import UserError

__all__ = ["Interrupted", "train"]

logger = logging.getLogger(__name__)


def train(
    config: Config,
    *,
    load_checkpoint: str | None = None,
    kernel_convention: str | None = None,
    print_model_summary: bool = False,
    precision: str = "float32",
) -> None:
    """Train the session that `config` describes, from where it stands.

    `load_checkpoint` is a file to go on from, if it is one of this session, or to take
    the weights from, whose kernels have a convention; a session that began with them
    goes on from where it stands. By default that is the session's latest checkpoint, if
    any. The network computes in a precision; weights, sums and losses are float32.
    Raises UserError where the data set or the session cannot be used, and Interrupted
    where a signal stopped the training; its state is saved.
    """
    compat.distribute()
    history.check_packages(config)
    losses.check_field(config)
    memory.check_training(config)
    session = pathlib.Path(config.session_path)
    # These refuse before the work what they would after it.
    places.check_place(session / "config.json")
    source, convention = _source(session, load_checkpoint, kernel_convention)
    checkpoints.check_session(session, config)
    if source is not None:
        checkpoints.read_checkpoint(source, config, convention)
    compiled_precision(config, precision)
    dataset = Dataset(config)
    dataset.load(("train", "validation"), progress=sys.stderr.isatty())
    trainer = Trainer(config, dataset, session, precision)
    logger.info(
        "%s; %s, %d parameters, fragments of %d samples, target field %d, batch %d",
        models.describe_backend(),
        config.task_name,
        config.num_params,
        config.input_length,
        config.target_field_length,
        config.batch_size,
    )
    if print_model_summary:
        models.print_summary(trainer.model)
    with contextlib.ExitStack() as stack:
        if trainer.process == 0:
            stack.enter_context(util.locked(session, what="a training"))
        # Again, now that nobody else trains there.
        source, convention = _source(session, load_checkpoint, kernel_convention)
        if source is not None:
            trainer.restore(
                source,
                weights_only=not checkpoints.is_of(session, source),
                convention=convention,
            )
        if trainer.process == 0:
            for place in (session, session / "checkpoints"):
                util.remove_leftovers(place)
            util.write_json(session / "config.json", to_document(config))
        trainer.log.rewind(trainer.epoch, trainer.last_row, write=trainer.process == 0)
        stack.enter_context(_signals(trainer))
        stack.enter_context(compat.products_in(precision))
        try:
            trainer.run()
        except Interrupted:
            # To go back is what it does each time.
            rewinds = load_checkpoint is not None and checkpoints.is_of(
                session, pathlib.Path(load_checkpoint)
            )
            logger.info(
                "stopped; the same command%s goes on from %s",
                " without --load_checkpoint" if rewinds else "",
                session / checkpoints.STOPPED,
            )
            raise
    more = "; a higher training.num_epochs goes on"
    logger.info(
        "finished: %d of %d epochs in %s%s",
        trainer.epoch,
        config.num_epochs,
        session.resolve(),
        more if trainer.epoch >= config.num_epochs else "",
    )


def _source(
    session: pathlib.Path, load_checkpoint: str | None, convention: str | None
) -> tuple[pathlib.Path | None, str | None]:
    """The checkpoint to begin with, None for fresh weights, and its convention.

    That is the given one of the file that was given; what the session wrote itself says
    its own.
    """
    if load_checkpoint is None:
        return checkpoints.find_resumable(session), convention
    path = pathlib.Path(load_checkpoint)
    if checkpoints.is_of(session, path) or not path.is_file():
        return path, convention
    own = checkpoints.find_resumable(session)
    if own is None:
        return path, convention
    # The command that has begun this session goes on with it.
    if checkpoints.state_of(own).get("origin") == util.sha256(path):
        return own, None
    raise UserError(
        f"{session} has checkpoints of its own, which did not begin with "
        f"{load_checkpoint}; to start from it, choose a new training.path"
    )


class _signals:
    """While it lasts, signals are noted for the loop to act on."""

    def __init__(self, trainer: Trainer):
        self.trainer = trainer
        self.before: dict[int, Any] = {}

    def _note(self, number: int, _frame: Any) -> None:
        self.trainer.stop_signal = number

    def __enter__(self) -> None:
        for number in signals.heard():
            self.before[number] = signal.signal(number, self._note)

    def __exit__(self, *_: Any) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)
