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

from sswavenet.config.keys import KEYS
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
    """A session's settings under the program's own names; `KEYS` maps the JSON's."""

    datasets: tuple[tuple[str, float], ...]  # folders and their shares
    dataset_type: str
    sample_rate: int
    extract_voice_percentage: float
    in_memory_percentage: float
    augmentation_mix: float
    augmentation_gain_db: float
    augmentation_polarity: float
    augmentation_resample: float
    augmentation_tilt: float
    augmentation_level_db: float
    task_name: str
    dilations: tuple[int, ...]
    num_stacks: int
    residual_channels: int
    skip_channels: int
    final_channels: tuple[int, int]
    filter_length: int
    final_filter_lengths: tuple[int, int]
    target_field_length: int
    target_padding: int
    optimizer_type: str
    learning_rate: float
    decay: float
    epsilon: float
    cooldown: float
    session_path: str
    batch_size: int
    losses: tuple[OutputLoss, ...]
    num_epochs: int
    num_steps_train: int
    num_steps_validation: int
    early_stopping_patience: int
    early_stopping_monitor: str
    keep_checkpoints: int
    tensorboard: bool
    seed: int
    verbosity: int

    @property
    def dataset_path(self) -> str:
        """The data set's folder.

        Raises:
            UserError: there are several.
        """
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
        keys = {key.field: (name, key) for name, key in KEYS.items() if key.field}
        for field, value in changes.items():
            name, key = keys[field]
            changes[field] = key.checked(name, value)
        return dataclasses.replace(self, **changes)
