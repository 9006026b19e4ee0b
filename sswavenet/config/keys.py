"""The keys of a session's config.json: the field each fills and what it may hold.

The keys are those of the 2018 program plus a few optional ones; `config.md` explains
each. This is the one place where JSON names meet the program's own.

Conventions: `num_*` counts, `*_length` samples, `sample_rate` Hz.
"""

from __future__ import annotations

import dataclasses
import math
import os
from typing import Any, Callable

from sswavenet.config.tasks import TASKS, OutputLoss
from util import UserError

REQUIRED = object()  # the key has no default


@dataclasses.dataclass(frozen=True)
class Key:
    """One JSON key."""

    # The field of `Config` that it fills; None where nothing reads it and it is
    # accepted, and written, for the 2018 program's sake
    field: str | None
    # Checks and converts a value; raises ValueError or TypeError
    convert: Callable[[Any], Any]
    expected: str  # what the value must be, for messages
    default: Any = REQUIRED  # value where the key is missing
    added: bool = False  # whether the 2018 program did not have it

    def checked(self, name: str, value: Any, source: str = "") -> Any:
        """The converted value.

        Raises:
            UserError: it cannot be used; the message begins with `source` and `name`.
        """
        try:
            return self.convert(value)
        except (ValueError, TypeError, OverflowError):
            raise UserError(
                f"{source}{name} must be {self.expected}, got {shown(value)}"
            ) from None


def shown(value: Any) -> str:
    """A value as a message shows it: on one line of bounded length."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


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
        return float(value)  # Keras tells 1 from 1.0

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


def _path(value: Any) -> str:
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise ValueError
    os.fsencode(value)  # a ValueError where no file can have such a name
    return os.path.expanduser(value)  # noqa: PTH111 - which leaves an unknown user be


def _datasets(value: Any) -> tuple[tuple[str, float], ...]:
    """Folders and their shares; a path is all there is.

    In the order of their names: that of an object's keys means nothing.
    """
    if not isinstance(value, dict):
        return ((_path(value), 1.0),)
    if not value:
        raise ValueError
    positive = _number(above=0)
    return tuple((_path(path), positive(value[path])) for path in sorted(value))


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
    "dataset.path": Key(
        "datasets",
        _datasets,
        "a folder's path, or an object of such paths and their shares, numbers above 0",
    ),
    "dataset.type": Key("dataset_type", _choice("musdb18"), '"musdb18"', "musdb18"),
    "dataset.sample_rate": Key(
        "sample_rate", _integer(100, 768000), "a whole number of Hz, 100 to 768000"
    ),
    "dataset.extract_voice_percentage": Key(
        "extract_voice_percentage", _share, _SHARE, 0.0
    ),
    "dataset.in_memory_percentage": Key("in_memory_percentage", _share, _SHARE, 1.0),
    "dataset.augmentation.mix": Key(
        "augmentation_mix", _share, _SHARE, 0.0, added=True
    ),
    "dataset.augmentation.gain_db": Key(
        "augmentation_gain_db",
        _number(0, 60),
        "a number of dB, 0 to 60",
        0.0,
        added=True,
    ),
    "dataset.augmentation.polarity": Key(
        "augmentation_polarity", _share, _SHARE, 0.0, added=True
    ),
    "dataset.augmentation.resample": Key(
        "augmentation_resample",
        _number(0, 0.5),
        "a number between 0 and 0.5",
        0.0,
        added=True,
    ),
    "dataset.augmentation.tilt": Key(
        "augmentation_tilt",
        _number(0, 0.9),
        "a number between 0 and 0.9",
        0.0,
        added=True,
    ),
    "dataset.augmentation.level_db": Key(
        "augmentation_level_db",
        _number(0, 60),
        "a number of dB, 0 to 60",
        0.0,
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
    "optimizer.cooldown": Key("cooldown", _share, _SHARE, 0.0, added=True),
    "training.path": Key("session_path", _path, "a folder's path"),
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
