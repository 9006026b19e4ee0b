"""The state of a training: what a checkpoint saves and restores."""

from __future__ import annotations

import json
import logging
import operator
import pathlib
from typing import Any

import models
import util
from sswavenet import checkpoints
from sswavenet.backend import compat, fused
from sswavenet.config.session import Config
from sswavenet.training import history, losses
from util import UserError

logger = logging.getLogger(__name__)

LARGEST = 10**9  # epochs, and steps in one


def compiled_precision(config: Config, precision: str) -> str | None:
    """What compiled code is to compute in; None where layers are to do without it.

    Raises UserError where nothing here computes in this precision.
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

    Raises UserError where nothing here computes in this precision.
    """
    factors = compiled_precision(config, precision)
    if factors is not None:
        return models.build_wavenet(config, compiled=factors)
    with compat.layers_in(precision):
        return models.build_wavenet(config, gathered=compat.is_jax_on_gpu())


class State:
    """The network, its optimizer and how far a training has come.

    Raises UserError where nothing here computes in this precision, or the batch cannot
    be shared by the devices.
    """

    def __init__(
        self,
        config: Config,
        session: pathlib.Path,
        precision: str = "float32",
    ):
        self.config = config
        self.session = session
        self.log = history.SessionLog(session, config)
        self.epoch = 0  # complete epochs
        self.step = 0  # steps done in the epoch that runs
        self.sums: dict = {}  # sums of the metrics over those steps
        self.last_row: dict = {}  # of the history, for the last complete epoch
        self.resumed_from: pathlib.Path | None = None
        self.origin = ""  # SHA-256 of the file whose weights it began with
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

    def restore(
        self, path: pathlib.Path, *, weights_only: bool, convention: str | None = None
    ) -> None:
        """Go on from a checkpoint, or from its weights alone; log what was found in it.

        Its kernels have the convention that the file says, or this one.
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
