"""Frozen, validated configuration of a session, and the facts derived from it.

A session is described by one JSON file with the sections `dataset`, `model`,
`optimizer` and `training`. This module checks it by the table in `keys.py`, and
computes what follows from it (receptive field, input length, shapes of the weights).
It reads and writes no file and imports no Keras.

Conventions: `num_*` counts, `*_length` samples, `sample_rate` Hz.

Reference: Lluis, Pons, Serra, "End-to-end music source separation: is it possible
in the waveform domain?", arXiv 1810.12187.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
from typing import Any

from keys import KEYS, REQUIRED, Key
from tasks import MULTI_INSTRUMENT, SINGING_VOICE, TASKS, OutputLoss, Task, UserError

__all__ = [
    "DERIVED",
    "KEYS",
    "MULTI_INSTRUMENT",
    "REQUIRED",
    "SINGING_VOICE",
    "TASKS",
    "Config",
    "OutputLoss",
    "Task",
    "UserError",
    "parse_config",
    "to_document",
]

DERIVED = (
    "input_length",
    "receptive_field_length",
    "num_residual_blocks",
    "num_params",
)


@dataclasses.dataclass(frozen=True)
class Config:
    """A session's settings under the program's own names; `KEYS` maps the JSON's."""

    dataset_path: str
    dataset_type: str
    sample_rate: int
    extract_voice_percentage: float
    in_memory_percentage: float
    augmentation_mix: float
    augmentation_gain_db: float
    augmentation_polarity: float
    augmentation_resample: float
    augmentation_tilt: float
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
            changes[field] = _converted(name, key, value, "")
        return dataclasses.replace(self, **changes)


def _flatten(
    section: dict, prefix: str, leaves: dict[str, Any], source: str
) -> dict[str, Any]:
    """Nested objects as dotted names, down to the names that `KEYS` holds."""
    for name, value in section.items():
        path = f"{prefix}{name}"
        inside = any(key.startswith(f"{path}.") for key in KEYS)
        if "." in name:
            leaves[f"{prefix}{name!r}"] = value  # a dot is no way into a section
        elif inside and isinstance(value, dict):
            _flatten(value, f"{path}.", leaves, source)
        elif inside:
            raise UserError(f"{source}{path} must be an object, got {_shown(value)}")
        else:
            leaves[path] = value
    return leaves


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _converted(name: str, key: Key, value: Any, source: str) -> Any:
    try:
        return key.convert(value)
    except (ValueError, TypeError, OverflowError):
        raise UserError(
            f"{source}{name} must be {key.expected}, got {_shown(value)}"
        ) from None


def parse_config(
    document: Any, source: str = "config", task_name: str | None = None
) -> Config:
    """Check a parsed JSON document and make a `Config` of it.

    Args:
        document: what `json.load` returned.
        source: name of the file, for messages.
        task_name: task to use where the document has no `model.type`; where it has
            one, the two must agree.

    Returns:
        The configuration, frozen.

    Raises:
        UserError: a key is missing, unknown or has a value that cannot be used; the
            message names the key, what was expected and what came.
    """
    prefix = f"{source}: "
    if not isinstance(document, dict):
        raise UserError(
            f"{prefix}expected a JSON object with the sections dataset, model, "
            f"optimizer and training, got {_shown(document)}"
        )
    leaves = _flatten(document, "", {}, prefix)
    derived = {name: leaves.pop(f"model.{name}", None) for name in DERIVED}
    for name in leaves:
        if name not in KEYS:
            known = [*KEYS, *(f"model.{derived_name}" for derived_name in DERIVED)]
            # The time it takes grows with the name's length, which may be millions.
            nearest = difflib.get_close_matches(name[:100], known, n=1, cutoff=0)
            raise UserError(
                f"{prefix}unknown key {_shown(name)}; the nearest known key is "
                f"{nearest[0]!r}"
            )
    given = leaves.get("model.type")
    if given is None:
        leaves["model.type"] = task_name or MULTI_INSTRUMENT
    elif task_name is not None and given in TASKS and given != task_name:
        raise UserError(
            f"{prefix}model.type is {given!r}, but --target asks for {task_name!r}"
        )
    fields = {}
    for name, key in KEYS.items():
        if key.field is None:
            continue
        if name in leaves:
            fields[key.field] = _converted(name, key, leaves[name], prefix)
        elif key.default is REQUIRED:
            raise UserError(f"{prefix}key {name} is missing; expected {key.expected}")
        else:
            fields[key.field] = key.default
    config = Config(**fields)
    _check_consistency(config, derived, prefix)
    return config


def _check_consistency(config: Config, derived: dict[str, Any], prefix: str) -> None:
    """Checks that need more than one key."""
    expected = len(config.task.supervised)
    if len(config.losses) != expected:
        raise UserError(
            f"{prefix}training.loss must have the keys out_1 to out_{expected} for "
            f"{config.task_name}, got {len(config.losses)}; --target chooses the task"
        )
    if config.target_padding > config.receptive_field_length // 2:
        raise UserError(
            f"{prefix}model.target_padding must be at most half the receptive field "
            f"({config.receptive_field_length // 2}), got {config.target_padding}"
        )
    for name, value in derived.items():
        computed = getattr(config, name)
        if value is not None and value != computed:
            raise UserError(
                f"{prefix}model.{name} is {_shown(value)}, but the other keys give "
                f"{computed}"
            )


def to_document(config: Config) -> dict:
    """The JSON document of a session: the 2018 layout with its derived keys.

    Optional keys that the 2018 program did not have are left out where they have
    their default, but for the seed, which a session always records.
    """
    document: dict = {}
    for name, key in KEYS.items():
        value = key.default if key.field is None else getattr(config, key.field)
        if key.added and value == key.default and name != "training.seed":
            continue
        *sections, last = name.split(".")
        place = document
        for section in sections:
            place = place.setdefault(section, {})
        if name == "training.loss":
            value = {
                f"out_{k}": dataclasses.asdict(loss) for k, loss in enumerate(value, 1)
            }
        place[last] = list(value) if isinstance(value, tuple) else value
    dilations = config.dilations
    if dilations == tuple(2**power for power in range(len(dilations))):
        # As in the original: powers of two are written as the last one's exponent.
        document["model"]["dilations"] = len(dilations) - 1
    document["model"].update({name: getattr(config, name) for name in DERIVED})
    return document
