"""What a key of a session's config.json may hold, and how it becomes a field.

The keys are those of the 2018 program plus a few optional ones; `config.md` explains
each. JSON names meet the program's own in `session.Config`, and nowhere else.

Conventions: `num_*` counts, `*_length` samples, `sample_rate` Hz.
"""

from __future__ import annotations

import dataclasses
import math
import os
from typing import Any, Callable

from sswavenet.config.tasks import OutputLoss
from util import UserError

REQUIRED = object()  # the key has no default


@dataclasses.dataclass(frozen=True)
class Key:
    """One JSON key."""

    # Checks and converts a value; raises ValueError or TypeError
    convert: Callable[[Any], Any]
    expected: str  # what the value must be, for messages
    default: Any = REQUIRED  # value where the key is missing
    added: bool = False  # whether the 2018 program did not have it
    # The field of `Config` that it fills; None where nothing reads it and it is
    # accepted, and written, for the 2018 program's sake
    field: str | None = None

    def checked(self, name: str, value: Any, source: str = "") -> Any:
        """The converted value; a UserError, which begins with `source` and `name`."""
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


def integer(minimum: int, maximum: int) -> Callable[[Any], int]:
    """Converts to a whole number between bounds."""

    def convert(value: Any) -> int:
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if not _is_int(value) or not minimum <= value <= maximum:
            raise ValueError
        return value

    return convert


def number(
    minimum: float = -math.inf, maximum: float = math.inf, above: float = -math.inf
) -> Callable[[Any], float]:
    """Converts to a finite number between bounds."""

    def convert(value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ValueError
        if not math.isfinite(value) or not minimum <= value <= maximum:
            raise ValueError
        if value <= above:
            raise ValueError
        return float(value)  # Keras tells 1 from 1.0

    return convert


def choice(*options: Any) -> Callable[[Any], Any]:
    """Converts to one of some values."""

    def convert(value: Any) -> Any:
        # 1 and true are equal, but not the same kind of thing.
        if not any(type(value) is type(o) and value == o for o in options):
            raise ValueError
        return value

    return convert


def path(value: Any) -> str:
    """Converts to a path; `~` is the home folder."""
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise ValueError
    os.fsencode(value)  # a ValueError where no file can have such a name
    return os.path.expanduser(value)  # noqa: PTH111 - which leaves an unknown user be


def datasets(value: Any) -> tuple[tuple[str, float], ...]:
    """Folders and their shares; a path is all there is.

    In the order of their names: that of an object's keys means nothing.
    """
    if not isinstance(value, dict):
        return ((path(value), 1.0),)
    if not value:
        raise ValueError
    share = number(above=0)
    return tuple((path(place), share(value[place])) for place in sorted(value))


def dilations(value: Any) -> tuple[int, ...]:
    """An int n means 1, 2, 4, ..., 2**n; a list is taken as it is."""
    if isinstance(value, (list, tuple)):
        if not 0 < len(value) <= 64:
            raise ValueError
        return tuple(integer(1, 2**20)(dilation) for dilation in value)
    return tuple(2**power for power in range(integer(0, 20)(value) + 1))


def pair(convert_one: Callable[[Any], int]) -> Callable[[Any], tuple[int, ...]]:
    """Converts to two of what another converter makes."""

    def convert(value: Any) -> tuple[int, ...]:
        if not isinstance(value, (list, tuple)) or len(value) != 2:
            raise ValueError
        return tuple(convert_one(item) for item in value)

    return convert


def odd(value: Any) -> int:
    """Converts to an odd length of a filter."""
    value = integer(1, 999)(value)
    if value % 2 == 0:
        raise ValueError
    return value


def losses(value: Any) -> tuple[OutputLoss, ...]:
    """Converts to the terms of each output's loss."""
    names = [f"out_{k + 1}" for k in range(len(value))]
    if not isinstance(value, dict) or not value or sorted(value) != names:
        raise ValueError
    if any(set(value[name]) != {"weight", "l1", "l2"} for name in names):
        raise ValueError
    weight, factor = number(), number(0)
    return tuple(
        OutputLoss(weight(terms["weight"]), factor(terms["l1"]), factor(terms["l2"]))
        for terms in (value[name] for name in names)
    )


COUNT = (integer(1, 10**9), "a whole number of at least 1")
CHANNELS = (integer(1, 10**7), "a whole number of at least 1")
SHARE = (number(0, 1), "a number between 0 and 1")
DECIBELS = (number(0, 60), "a number of dB, 0 to 60")


def key(name: str, *facts: Any, **more: Any) -> Any:
    """A field of `Config` that the JSON key `name` fills, with the facts of a `Key`."""
    return dataclasses.field(metadata={name: Key(*facts, **more)})


# What the 2018 program writes and nothing reads.
UNUSED = {
    "model.condition_encoding": Key(lambda value: value, "anything", "binary"),
    "model.filters.lengths.skip": Key(lambda value: value, "anything", 1),
    "optimizer.momentum": Key(lambda value: value, "anything", 0.9),
}


def keys_of(config: type) -> dict[str, Key]:
    """The keys of all fields by name, and the unused ones, section by section."""
    keys = {
        name: dataclasses.replace(facts, field=field.name)
        for field in dataclasses.fields(config)
        for name, facts in field.metadata.items()
    }
    keys.update(UNUSED)
    return {name: keys[name] for name in sorted(keys, key=lambda n: n.split(".")[0])}
