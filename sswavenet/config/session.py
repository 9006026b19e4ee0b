"""The frozen configuration of a session, and the facts that follow from it.

Receptive field, input length, names and shapes of the weights: all are computed from
the settings, none is stored.

Conventions: `num_*` counts, `*_length` samples, `sample_rate` Hz.

Reference: Lluis, Pons, Serra, "End-to-end music source separation: is it possible
in the waveform domain?", arXiv 1810.12187.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from sswavenet.config import keys
from sswavenet.config.keys import (
    CHANNELS,
    COUNT,
    DECIBELS,
    SHARE,
    choice,
    integer,
    key,
    number,
    odd,
    pair,
)
from sswavenet.config.tasks import TASKS, OutputLoss, Task
from util import UserError

# Facts that the 2018 program writes into a session's config.json, too.
DERIVED = (
    "input_length",
    "receptive_field_length",
    "num_residual_blocks",
    "num_params",
)


@dataclasses.dataclass(frozen=True)
class Config:
    """A session's settings under the program's own names, and the JSON keys of each."""

    # Folders and their shares.
    datasets: tuple[tuple[str, float], ...] = key(
        "dataset.path",
        keys.datasets,
        "a folder's path, or an object of such paths and their shares, numbers above 0",
    )
    dataset_type: str = key("dataset.type", choice("musdb18"), '"musdb18"', "musdb18")
    sample_rate: int = key(
        "dataset.sample_rate",
        integer(100, 768000),
        "a whole number of Hz, 100 to 768000",
    )
    extract_voice_percentage: float = key(
        "dataset.extract_voice_percentage", *SHARE, 0.0
    )
    in_memory_percentage: float = key("dataset.in_memory_percentage", *SHARE, 1.0)
    augmentation_mix: float = key("dataset.augmentation.mix", *SHARE, 0.0, True)
    augmentation_gain_db: float = key(
        "dataset.augmentation.gain_db", *DECIBELS, 0.0, True
    )
    augmentation_polarity: float = key(
        "dataset.augmentation.polarity", *SHARE, 0.0, True
    )
    augmentation_resample: float = key(
        "dataset.augmentation.resample",
        number(0, 0.5),
        "a number between 0 and 0.5",
        0.0,
        True,
    )
    augmentation_tilt: float = key(
        "dataset.augmentation.tilt",
        number(0, 0.9),
        "a number between 0 and 0.9",
        0.0,
        True,
    )
    augmentation_level_db: float = key(
        "dataset.augmentation.level_db", *DECIBELS, 0.0, True
    )
    task_name: str = key("model.type", choice(*TASKS), " or ".join(map(repr, TASKS)))
    dilations: tuple[int, ...] = key(
        "model.dilations",
        keys.dilations,
        "a whole number n of 0 to 20 (dilations 1, 2, ..., 2**n) or a list of whole "
        "numbers of at least 1",
    )
    num_stacks: int = key(
        "model.num_stacks", integer(1, 1000), "a whole number of 1 to 1000"
    )
    residual_channels: int = key("model.filters.depths.res", *CHANNELS)
    skip_channels: int = key("model.filters.depths.skip", *CHANNELS)
    final_channels: tuple[int, int] = key(
        "model.filters.depths.final",
        pair(CHANNELS[0]),
        "a list of two whole numbers of at least 1",
    )
    filter_length: int = key(
        "model.filters.lengths.res", odd, "an odd whole number of 1 to 999"
    )
    final_filter_lengths: tuple[int, int] = key(
        "model.filters.lengths.final",
        pair(odd),
        "a list of two odd whole numbers of 1 to 999",
    )
    target_field_length: int = key("model.target_field_length", *COUNT)
    target_padding: int = key(
        "model.target_padding", integer(0, 10**6), "a whole number of at least 0", 1
    )
    optimizer_type: str = key("optimizer.type", choice("adam"), '"adam"', "adam")
    learning_rate: float = key("optimizer.lr", number(above=0), "a number above 0")
    decay: float = key("optimizer.decay", number(0), "a number of at least 0", 0.0)
    epsilon: float = key("optimizer.epsilon", number(above=0), "a number above 0", 1e-8)
    cooldown: float = key("optimizer.cooldown", *SHARE, 0.0, True)
    session_path: str = key("training.path", keys.path, "a folder's path")
    batch_size: int = key("training.batch_size", integer(1, 10**6), COUNT[1])
    losses: tuple[OutputLoss, ...] = key(
        "training.loss",
        keys.losses,
        'an object {"out_1": {"weight": w, "l1": a, "l2": b}, ...} of numbers, '
        "l1 and l2 of at least 0",
    )
    num_epochs: int = key("training.num_epochs", *COUNT)
    num_steps_train: int = key("training.num_steps_train", *COUNT)
    num_steps_validation: int = key("training.num_steps_test", *COUNT)
    early_stopping_patience: int = key("training.early_stopping_patience", *COUNT, 16)
    early_stopping_monitor: str = key(
        "training.early_stopping_monitor",
        choice("loss", "val_loss"),
        "loss or val_loss",
        "loss",
        True,
    )
    keep_checkpoints: int = key(
        "training.keep_checkpoints",
        integer(0, 10**9),
        "a whole number of at least 0 (0 keeps all)",
        0,
        True,
    )
    tensorboard: bool = key(
        "training.tensorboard", choice(True, False), "true or false", False, True
    )
    seed: int = key(
        "training.seed",
        integer(0, 2**32 - 1),
        "a whole number of 0 to 4294967295",
        1337,
        True,
    )
    verbosity: int = key("training.verbosity", choice(0, 1, 2), "0, 1 or 2", 1)

    @property
    def dataset_path(self) -> str:
        """The data set's folder; a UserError where there are several."""
        if len(self.datasets) > 1:
            raise UserError(
                "expected one data set, got "
                f"{', '.join(path for path, _ in self.datasets)}; --dataset_path "
                "chooses one"
            )
        return self.datasets[0][0]

    @property
    def task(self) -> Task:
        """The row of `TASKS`."""
        return TASKS[self.task_name]

    @property
    def num_residual_blocks(self) -> int:
        """Blocks in all stacks together."""
        return self.num_stacks * len(self.dilations)

    @property
    def receptive_field_length(self) -> int:
        """Samples that one sample sees through the residual blocks alone.

        As in the original: the convolutions before and after the blocks are not
        counted; `context_length` counts them.
        """
        return self.num_stacks * sum(self.dilations) * (self.filter_length - 1) + 1

    @property
    def head_margin(self) -> int:
        """Samples per side that the convolutions after the blocks look at."""
        return sum(length // 2 for length in self.final_filter_lengths)

    @property
    def context_length(self) -> int:
        """Samples per side that an output sample depends on, all layers counted."""
        return (
            self.receptive_field_length // 2
            + self.filter_length // 2
            + self.head_margin
        )

    @property
    def input_length(self) -> int:
        """Samples of one fragment in the 2018 framing, which training uses."""
        return self.receptive_field_length + self.target_field_length - 1

    @property
    def padded_target_field_length(self) -> int:
        """Samples the network puts out: the target field and its padding."""
        return self.target_field_length + 2 * self.target_padding

    @property
    def block_names(self) -> list[str]:
        """Names of the dilated convolutions, numbered through all stacks from 1."""
        return [
            f"res_{block + 1}_dilated_conv_d{dilation}_s{block // len(self.dilations)}"
            for block, dilation in enumerate(self.dilations * self.num_stacks)
        ]

    @property
    def weight_shapes(self) -> dict[str, tuple[int, ...]]:
        """Every weight of the network, "<layer>/kernel" or "/bias", in file order."""
        residual, skip = self.residual_channels, self.skip_channels
        first, second = self.final_channels
        first_length, second_length = self.final_filter_lengths
        count, outputs = self.num_residual_blocks, len(self.task.estimates)
        shapes: dict[str, tuple[int, ...]] = {
            "initial_causal_conv/kernel": (self.filter_length, 1, residual)
        }
        for block, name in enumerate(self.block_names, 1):
            shapes[f"{name}/kernel"] = (self.filter_length, residual, 2 * residual)
            # The last block's residual half is unused, but it exists and counts.
            shapes[f"conv1d_{block}/kernel"] = (1, residual, residual + skip)
        shapes[f"conv1d_{count + 1}/kernel"] = (first_length, skip, first)
        shapes[f"conv1d_{count + 2}/kernel"] = (second_length, first, second)
        shapes[f"conv1d_{count + 3}/kernel"] = (1, second, outputs)
        shapes[f"conv1d_{count + 3}/bias"] = (outputs,)
        return shapes

    @property
    def num_params(self) -> int:
        """Number of weights."""
        return sum(math.prod(shape) for shape in self.weight_shapes.values())

    def replace(self, **changes: Any) -> Config:
        """A copy with some fields changed, checked like values from a file."""
        for name, facts in KEYS.items():
            if facts.field in changes:
                changes[facts.field] = facts.checked(name, changes[facts.field])
        return dataclasses.replace(self, **changes)


KEYS = keys.keys_of(Config)
