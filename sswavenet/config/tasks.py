"""What is separated from what: the two tasks and the losses of their outputs."""

from __future__ import annotations

import dataclasses

MULTI_INSTRUMENT = "multi-instrument"
SINGING_VOICE = "singing-voice"


@dataclasses.dataclass(frozen=True)
class Task:
    """What is estimated, what supervises it, and what is left of the mixture."""

    # Stems the network puts out, in the order of its channels
    estimates: tuple[str, ...]
    # Stems the losses compare with; the k-th loss sees the k-th channel, or the only
    # channel where there is one
    supervised: tuple[str, ...]
    remainder: str  # name of mixture minus estimates

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
