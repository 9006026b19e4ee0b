"""The loop of a training, and its state: what a checkpoint saves and restores.

The loop is the program's own and not `fit`, because it must be able to stop after
any step and to go on from there with the same numbers: batches follow from their
place alone (see `batches`), and so does the learning rate.
"""

from __future__ import annotations

import json
import logging
import operator
import pathlib
import signal
import sys
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import tqdm

import models
import util
from sswavenet import checkpoints
from sswavenet.backend import compat, fused
from sswavenet.config.session import Config
from sswavenet.training import batches, losses
from sswavenet.training import history as session_log
from util import UserError

logger = logging.getLogger(__name__)

LARGEST = 10**9  # epochs, and steps in one


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


def compiled_precision(config: Config, precision: str) -> str | None:
    """What compiled code is to compute in; None where layers are to do without it.

    Args:
        config: the session's configuration.
        precision: `float32`, `bfloat16` or `highest`.

    Raises:
        UserError: nothing here computes in this precision.
    """
    compat.check_precision(precision)
    factors = "bfloat16" if precision == "bfloat16" else "float32"
    if fused.available(config, factors):
        return factors
    if precision == "bfloat16" and compat.is_jax_on_cpu():
        raise UserError(
            "--precision bfloat16 needs, to train on a processor, AVX512_BF16, a C++ "
            "compiler, a single device, and channel counts that are multiples of 16 "
            "and kernels of 3; float32 is faster without them"
        )
    return None


def build_model(config: Config, precision: str) -> Any:
    """The network to train, on compiled code where that can be had.

    Args:
        config: the session's configuration.
        precision: `float32`, `bfloat16` or `highest`.

    Raises:
        UserError: nothing here computes in this precision.
    """
    factors = compiled_precision(config, precision)
    if factors is not None:
        return models.build_wavenet(config, compiled=factors)
    with compat.layers_in(precision):
        return models.build_wavenet(config, gathered=compat.is_jax_on_gpu())


class Trainer:
    """The state of one training and the loop that moves it on.

    Args:
        config: the session's configuration.
        dataset: loaded, with the subsets "train" and "validation".
        session: the session's folder.
        precision: `float32`, `bfloat16` or `highest`. Defaults to `float32`.

    Raises:
        UserError: nothing here computes in this precision, or the batch cannot be
            shared by the devices.
    """

    def __init__(
        self,
        config: Config,
        dataset: Any,
        session: pathlib.Path,
        precision: str = "float32",
    ):
        self.config = config
        self.dataset = dataset
        self.session = session
        self.log = session_log.SessionLog(session, config)
        self.epoch = 0  # complete epochs
        self.step = 0  # steps done in the epoch that runs
        self.sums: dict = {}  # sums of the metrics over those steps
        self.last_row: dict = {}  # of the history, for the last complete epoch
        self.resumed_from: pathlib.Path | None = None
        self.origin = ""  # SHA-256 of the file whose weights it began with
        self.stop_signal: int | None = None
        self.processes, self.process = compat.processes()
        if config.batch_size % compat.num_devices():
            raise UserError(
                f"training.batch_size must be a multiple of the number of devices "
                f"({compat.num_devices()}), got {config.batch_size}"
            )
        compat.set_seed(config.seed)
        self.model = build_model(config, precision)
        self.model.compile(
            optimizer=compat.make_optimizer(config.learning_rate, config.epsilon),
            **losses.compile_arguments(config),
        )

    # -- weights and state ---------------------------------------------------------

    def restore(
        self, path: pathlib.Path, *, weights_only: bool, convention: str | None = None
    ) -> None:
        """Go on from a checkpoint; log what was found in it.

        Args:
            path: the checkpoint.
            weights_only: take the weights and begin at epoch 0.
            convention: of its kernels. Defaults to what the file says.
        """
        checkpoint = checkpoints.read_checkpoint(path, self.config, convention)
        models.load_weights(self.model, self.config, checkpoint.weights)
        if weights_only:
            self.origin = util.sha256(path)
            logger.info("starting from the weights of %s", path)
            return
        self.resumed_from = path
        try:
            self._load_progress(checkpoint)
            if checkpoint.slots:
                self._load_optimizer(checkpoint)
        except (
            ArithmeticError,
            AttributeError,
            LookupError,
            RecursionError,
            TypeError,
            ValueError,
        ) as error:
            raise UserError(
                f"{path}: expected the state of a training, got {error!r}"
            ) from None
        logger.info(
            "resuming from %s: epoch %d, step %d, optimizer state %s",
            path,
            self.epoch,
            self.step,
            "restored" if checkpoint.slots else "not in the file, starts afresh",
        )

    def _load_progress(self, checkpoint: checkpoints.Checkpoint) -> None:
        state = checkpoint.state
        self.epoch = operator.index(checkpoint.epoch or 0)
        self.step = operator.index(state.get("step", 0))
        sums, row = (json.loads(state.get(name, "{}")) for name in ("sums", "row"))
        self.sums = {name: float(value) for name, value in sums.items()}
        self.last_row = {name: float(value) for name, value in row.items()}
        self.origin = str(state.get("origin", ""))
        named = checkpoints.epoch_of(checkpoint.path)
        if named not in (None, self.epoch):
            raise ValueError(f"epoch {self.epoch} under the name of epoch {named}")
        if not (0 <= self.epoch < LARGEST and 0 <= self.step < LARGEST):
            raise ValueError(f"epoch {self.epoch}, step {self.step}")
        if self.step and "loss" not in self.sums:
            raise ValueError(f"step {self.step} without sums of the loss")
        if self.last_row:
            self.log.check_row(self.last_row)

    def _load_optimizer(self, checkpoint: checkpoints.Checkpoint) -> None:
        counter, first, second = compat.adam_state(self.model)
        compat.set_value(counter, checkpoint.state["iterations"])
        for slot, variables in (("momentum", first), ("velocity", second)):
            arrays = {
                name: checkpoint.slots[f"{slot}/{name}"]
                for name in self.config.weight_shapes
            }
            models.write_arrays(self.model, self.config, variables, arrays)

    def save(self, path: pathlib.Path, **more: Any) -> None:
        """Write weights, optimizer state, progress and `more` (first process only)."""
        counter, first, second = compat.adam_state(self.model)
        slots = {}
        for slot, variables in (("momentum", first), ("velocity", second)):
            arrays = models.read_arrays(self.model, self.config, variables)
            slots.update({f"{slot}/{name}": array for name, array in arrays.items()})
        state = {
            "epoch": self.epoch,
            "step": self.step,
            "iterations": int(compat.get_value(counter)),
            "sums": json.dumps(self.sums),
            "row": json.dumps(self.last_row),
            "origin": self.origin,
            **more,
        }
        weights = models.weights_of(self.model, self.config)
        if self.process == 0:
            checkpoints.write_checkpoint(path, weights, state=state, slots=slots)

    # -- the loop ------------------------------------------------------------------

    def run(self) -> None:
        """Train until the last epoch or until nothing has improved for long enough.

        Raises:
            Interrupted: a signal came; the state lies in `interrupted.hdf5`.
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
        name = session_log.checkpoint_name({"epoch": self.epoch + 1, **row})
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
            logger.info("stopped; the same command goes on from %s", path)
            raise Interrupted(number)

    def _remove_stopped(self, but: pathlib.Path | None = None) -> None:
        """Remove the state of an epoch that is complete, or is saved anew in `but`."""
        for path in checkpoints.stopped_states(self.session):
            if path != but:
                path.unlink()

    def _progress(self, steps: range, what: str) -> Any:
        hidden = self.config.verbosity == 0 or not sys.stderr.isatty()
        return tqdm.tqdm(
            steps,
            desc=f"epoch {self.epoch + 1} {what}",
            disable=hidden or self.process > 0,
            leave=False,
        )

    def _batches(self, subset: str, epoch: int, steps: range) -> Iterator[tuple]:
        share = self.config.batch_size // self.processes
        fragments = range(self.process * share, (self.process + 1) * share)
        return batches.stream(
            self.dataset, subset, self.config.seed, epoch, steps, fragments
        )
