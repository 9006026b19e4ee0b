"""Frozen, validated configuration of a session, and the facts derived from it.

A session is described by one JSON file with the sections `dataset`, `model`,
`optimizer` and `training`; its keys are those of the 2018 program plus a few
optional ones (`config.md` explains each). This module maps the JSON keys to the
names that the rest of the program uses, checks every value, and computes what
follows from them (receptive field, input length, number of parameters). It reads
and writes no file and imports no Keras.

Conventions: `num_*` counts, `*_length` samples, `sample_rate` Hz.

Reference: Lluis, Pons, Serra, "End-to-end music source separation: is it possible
in the waveform domain?", arXiv 1810.12187.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import os
from typing import Any, Callable

MULTI_INSTRUMENT = "multi-instrument"
SINGING_VOICE = "singing-voice"


class UserError(ValueError):
    """What the user gave cannot be used; the message is one line for stderr."""


@dataclasses.dataclass(frozen=True)
class Task:
    """What is estimated, what supervises it, and what is left of the mixture.

    Args:
        estimates: stems the network puts out, in the order of its channels.
        supervised: stems the losses compare with; the k-th loss sees the k-th
            channel, or the only channel where there is one.
        remainder: name of mixture minus estimates.
    """

    estimates: tuple[str, ...]
    supervised: tuple[str, ...]
    remainder: str

    @property
    def stems(self) -> tuple[str, ...]:
        """All stems that separation writes, remainder last."""
        return (*self.estimates, self.remainder)


TASKS = {
    MULTI_INSTRUMENT: Task(
        estimates=("vocals", "drums", "bass"),
        supervised=("vocals", "drums", "bass"),
        remainder="other",
    ),
    SINGING_VOICE: Task(
        estimates=("vocals",),
        supervised=("vocals", "accompaniment"),
        remainder="accompaniment",
    ),
}


@dataclasses.dataclass(frozen=True)
class OutputLoss:
    """weight * (l1 * mean |error| + l2 * mean error^2) of one supervised stem."""

    weight: float
    l1: float
    l2: float


REQUIRED = object()  # the key has no default


@dataclasses.dataclass(frozen=True)
class Key:
    """One JSON key.

    Args:
        field: the field of `Config` that it fills; None where nothing reads it and
            it is accepted, and written, for the 2018 program's sake.
        convert: checks and converts a value; raises ValueError or TypeError.
        expected: what the value must be, for messages.
        default: value where the key is missing. Defaults to `REQUIRED`.
        added: whether the 2018 program did not have it. Defaults to False.
    """

    field: str | None
    convert: Callable[[Any], Any]
    expected: str
    default: Any = REQUIRED
    added: bool = False


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _integer(minimum: int, maximum: int) -> Callable[[Any], int]:
    def convert(value: Any) -> int:
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if not _is_int(value) or not minimum <= value <= maximum:
            raise ValueError
        return value

    return convert


def _number(
    minimum: float = -math.inf, maximum: float = math.inf, above: float = -math.inf
) -> Callable[[Any], float]:
    def convert(value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ValueError
        if not math.isfinite(value) or not minimum <= value <= maximum:
            raise ValueError
        if value <= above:
            raise ValueError
        return value

    return convert


def _choice(*options: Any) -> Callable[[Any], Any]:
    def convert(value: Any) -> Any:
        # 1 and true are equal, but not the same kind of thing.
        if not any(type(value) is type(o) and value == o for o in options):
            raise ValueError
        return value

    return convert


def _any(value: Any) -> Any:
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise ValueError
    os.fsencode(value)  # a ValueError where no file can have such a name
    return value


def _dilations(value: Any) -> tuple[int, ...]:
    """An int n means 1, 2, 4, ..., 2**n; a list is taken as it is."""
    if isinstance(value, (list, tuple)):
        if not 0 < len(value) <= 64:
            raise ValueError
        return tuple(_integer(1, 2**20)(dilation) for dilation in value)
    return tuple(2**power for power in range(_integer(0, 20)(value) + 1))


def _pair(convert_one: Callable[[Any], int]) -> Callable[[Any], tuple[int, ...]]:
    def convert(value: Any) -> tuple[int, ...]:
        if not isinstance(value, (list, tuple)) or len(value) != 2:
            raise ValueError
        return tuple(convert_one(item) for item in value)

    return convert


def _odd(value: Any) -> int:
    value = _integer(1, 999)(value)
    if value % 2 == 0:
        raise ValueError
    return value


def _losses(value: Any) -> tuple[OutputLoss, ...]:
    names = [f"out_{k + 1}" for k in range(len(value))]
    if not isinstance(value, dict) or not value or sorted(value) != names:
        raise ValueError
    number, positive, losses = _number(), _number(minimum=0), []
    for name in names:
        terms = value[name]
        if not isinstance(terms, dict) or set(terms) != {"weight", "l1", "l2"}:
            raise ValueError
        losses.append(
            OutputLoss(
                number(terms["weight"]), positive(terms["l1"]), positive(terms["l2"])
            )
        )
    return tuple(losses)


_COUNT = "a whole number of at least 1"
_SHARE = "a number between 0 and 1"
_count = _integer(1, 10**9)
_channels = _integer(1, 10**7)
_share = _number(0, 1)

KEYS: dict[str, Key] = {
    "dataset.path": Key("dataset_path", _text, "a folder's path"),
    "dataset.type": Key("dataset_type", _choice("musdb18"), '"musdb18"', "musdb18"),
    "dataset.sample_rate": Key(
        "sample_rate", _integer(100, 768000), "a whole number of Hz, 100 to 768000"
    ),
    "dataset.extract_voice_percentage": Key(
        "extract_voice_percentage", _share, _SHARE, 0
    ),
    "dataset.in_memory_percentage": Key("in_memory_percentage", _share, _SHARE, 1),
    "dataset.augmentation.mix": Key("augmentation_mix", _share, _SHARE, 0, added=True),
    "dataset.augmentation.gain_db": Key(
        "augmentation_gain_db",
        _number(0, 60),
        "a number of dB, 0 to 60",
        0,
        added=True,
    ),
    "dataset.augmentation.polarity": Key(
        "augmentation_polarity", _share, _SHARE, 0, added=True
    ),
    "dataset.augmentation.resample": Key(
        "augmentation_resample",
        _number(0, 0.5),
        "a number between 0 and 0.5",
        0,
        added=True,
    ),
    "dataset.augmentation.tilt": Key(
        "augmentation_tilt",
        _number(0, 0.9),
        "a number between 0 and 0.9",
        0,
        added=True,
    ),
    "model.type": Key("task_name", _choice(*TASKS), " or ".join(map(repr, TASKS))),
    "model.condition_encoding": Key(None, _any, "anything", "binary"),
    "model.dilations": Key(
        "dilations",
        _dilations,
        "a whole number n of 0 to 20 (dilations 1, 2, ..., 2**n) or a list of "
        "whole numbers of at least 1",
    ),
    "model.num_stacks": Key(
        "num_stacks", _integer(1, 1000), "a whole number of 1 to 1000"
    ),
    "model.filters.depths.res": Key("residual_channels", _channels, _COUNT),
    "model.filters.depths.skip": Key("skip_channels", _channels, _COUNT),
    "model.filters.depths.final": Key(
        "final_channels", _pair(_channels), "a list of two whole numbers of at least 1"
    ),
    "model.filters.lengths.res": Key(
        "filter_length", _odd, "an odd whole number of 1 to 999"
    ),
    "model.filters.lengths.skip": Key(None, _any, "anything", 1),
    "model.filters.lengths.final": Key(
        "final_filter_lengths",
        _pair(_odd),
        "a list of two odd whole numbers of 1 to 999",
    ),
    "model.target_field_length": Key("target_field_length", _count, _COUNT),
    "model.target_padding": Key(
        "target_padding", _integer(0, 10**6), "a whole number of at least 0", 1
    ),
    "optimizer.type": Key("optimizer_type", _choice("adam"), '"adam"', "adam"),
    "optimizer.lr": Key("learning_rate", _number(above=0), "a number above 0"),
    "optimizer.decay": Key("decay", _number(minimum=0), "a number of at least 0", 0.0),
    "optimizer.epsilon": Key("epsilon", _number(above=0), "a number above 0", 1e-8),
    "optimizer.momentum": Key(None, _any, "anything", 0.9),
    "optimizer.cooldown": Key("cooldown", _share, _SHARE, 0, added=True),
    "training.path": Key("session_path", _text, "a folder's path"),
    "training.batch_size": Key("batch_size", _integer(1, 10**6), _COUNT),
    "training.loss": Key(
        "losses",
        _losses,
        'an object {"out_1": {"weight": w, "l1": a, "l2": b}, ...} of numbers, '
        "l1 and l2 of at least 0",
    ),
    "training.num_epochs": Key("num_epochs", _count, _COUNT),
    "training.num_steps_train": Key("num_steps_train", _count, _COUNT),
    "training.num_steps_test": Key("num_steps_validation", _count, _COUNT),
    "training.early_stopping_patience": Key(
        "early_stopping_patience", _count, _COUNT, 16
    ),
    "training.early_stopping_monitor": Key(
        "early_stopping_monitor",
        _choice("loss", "val_loss"),
        "loss or val_loss",
        "loss",
        added=True,
    ),
    "training.keep_checkpoints": Key(
        "keep_checkpoints",
        _integer(0, 10**9),
        "a whole number of at least 0 (0 keeps all)",
        0,
        added=True,
    ),
    "training.tensorboard": Key(
        "tensorboard",
        _choice(True, False),
        "true or false",
        False,
        added=True,
    ),
    "training.seed": Key(
        "seed",
        _integer(0, 2**32 - 1),
        "a whole number of 0 to 4294967295",
        1337,
        added=True,
    ),
    "training.verbosity": Key("verbosity", _choice(0, 1, 2), "0, 1 or 2", 1),
}

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
