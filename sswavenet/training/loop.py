"""The loop of a training.

The loop is the program's own and not `fit`, because it must be able to stop after
any step and to go on from there with the same numbers: batches follow from their
place alone (see `batches`), and so does the learning rate.
"""

from __future__ import annotations

import logging
import pathlib
import signal
import sys
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from sswavenet import checkpoints
from sswavenet.backend import compat
from sswavenet.config.session import Config
from sswavenet.console.bars import make_bar
from sswavenet.training import batches, history
from sswavenet.training.state import State
from util import UserError

logger = logging.getLogger(__name__)


class Interrupted(Exception):
    """A signal asked to stop; the state has been saved."""

    def __init__(self, signal_number: int):
        super().__init__(signal.Signals(signal_number).name)
        self.exit_status = 128 + signal_number


def learning_rate(config: Config, step: int) -> float:
    """The learning rate of a step, counted from 0 through all epochs.

    lr / (1 + decay * step), and over the share `optimizer.cooldown` of the whole
    training, its end, a linear way down to zero.
    """
    total = config.num_epochs * config.num_steps_train
    rate = config.learning_rate / (1 + config.decay * step)
    if config.cooldown:
        rate *= min(1.0, (total - step) / (config.cooldown * total))
    return rate


class Trainer(State):
    """A training: its state, and the loop that moves it on.

    The data set is loaded, with the subsets "train" and "validation".
    """

    def __init__(
        self,
        config: Config,
        dataset: Any,
        session: pathlib.Path,
        precision: str = "float32",
    ):
        super().__init__(config, session, precision)
        self.dataset = dataset
        self.stop_signal: int | None = None

    def run(self) -> None:
        """Train until the last epoch or until nothing has improved for long enough.

        Raises Interrupted where a signal came; the state lies in `interrupted.hdf5`.
        """
        while self.epoch < self.config.num_epochs:
            if self.log.should_stop():
                logger.info(
                    "stopping: %s has not improved for %d epochs; a higher "
                    "training.early_stopping_patience goes on",
                    self.config.early_stopping_monitor,
                    self.config.early_stopping_patience,
                )
                break
            started = time.monotonic()
            row = {**self._train_epoch(), **self._validate()}
            if not np.isfinite(row["val_loss"]):
                raise UserError(
                    f"{self.session}: the validation loss is not finite after epoch "
                    f"{self.epoch + 1}, which is not kept; a lower optimizer.lr may "
                    "help"
                )
            row["learning_rate"] = learning_rate(
                self.config, (self.epoch + 1) * self.config.num_steps_train - 1
            )
            row["seconds"] = time.monotonic() - started
            self._finish_epoch(row)

    def _train_epoch(self) -> dict:
        config, first = self.config, self.step
        steps = range(first, config.num_steps_train)
        for step, (inputs, targets) in zip(
            self._progress(steps, "training"), self._batches("train", self.epoch, steps)
        ):
            compat.set_learning_rate(
                self.model.optimizer,
                learning_rate(config, self.epoch * config.num_steps_train + step),
            )
            logs = compat.train_on_batch(self.model, inputs, targets)
            for name, value in logs.items():
                self.sums[name] = self.sums.get(name, 0.0) + float(value)
            self.step = step + 1
            if not np.isfinite(self.sums["loss"]):
                raise UserError(
                    f"{self.session}: the loss is not finite any more at epoch "
                    f"{self.epoch + 1}, step {self.step}; a lower optimizer.lr may help"
                )
            self._stop_if_asked()
        return {name: total / self.step for name, total in self.sums.items()}

    def _validate(self) -> dict:
        steps = range(self.config.num_steps_validation)
        sums: dict[str, float] = {}
        # The same fragments in every epoch, so that epochs can be compared.
        for _, (inputs, targets) in zip(
            self._progress(steps, "validation"), self._batches("validation", 0, steps)
        ):
            for name, value in compat.test_on_batch(
                self.model, inputs, targets
            ).items():
                sums[f"val_{name}"] = sums.get(f"val_{name}", 0.0) + float(value)
            self._stop_if_asked()
        return {name: total / len(steps) for name, total in sums.items()}

    def _finish_epoch(self, row: dict) -> None:
        name = history.checkpoint_name({"epoch": self.epoch + 1, **row})
        self.epoch, self.step, self.sums = self.epoch + 1, 0, {}
        self.last_row = row
        self.save(self.session / "checkpoints" / name)
        # Every process remembers the epochs, so that all of them stop at the same one.
        self.log.add_epoch(self.epoch, row, write=self.process == 0)
        if self.process == 0:
            self.log.remove_old_checkpoints(self.resumed_from)
            self._remove_stopped()
        logger.info(
            "epoch %d of %d: loss %.6f, validation loss %.6f (best %.6f in %s), %.1f s",
            self.epoch,
            self.config.num_epochs,
            row["loss"],
            row["val_loss"],
            self.log.best_loss,
            self.log.best_name,
            row["seconds"],
        )

    def _stop_if_asked(self) -> None:
        # Several processes stop at the same step, whichever of them was asked.
        number = compat.largest_of_processes(self.stop_signal or 0)
        if number:
            path = self.session / checkpoints.STOPPED
            known = checkpoints.numbered(self.session)
            newest = known[-1][0] if known else 0
            self.save(path, **{checkpoints.NEWEST: newest})
            if self.process == 0:
                self._remove_stopped(but=path)
            raise Interrupted(number)

    def _remove_stopped(self, but: pathlib.Path | None = None) -> None:
        """Remove the state of an epoch that is complete, or is saved anew in `but`."""
        for path in checkpoints.stopped_states(self.session):
            if path != but:
                path.unlink()

    def _progress(self, steps: range, what: str) -> Any:
        hidden = self.config.verbosity == 0 or not sys.stderr.isatty()
        return make_bar(
            steps,
            desc=f"epoch {self.epoch + 1} {what}",
            disable=hidden or self.process > 0,
            leave=False,
        )

    def _batches(self, subset: str, epoch: int, steps: range) -> Iterator[tuple]:
        share = self.config.batch_size // self.processes
        fragments = range(self.process * share, (self.process + 1) * share)
        return batches.prefetch(
            self.dataset, subset, self.config.seed, epoch, steps, fragments
        )
