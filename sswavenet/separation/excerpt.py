"""A part of a mixture, separated as the whole would be.

What is beside the part is read and separated, too, as far as the network hears it, and
then cut off.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator

import numpy as np

from sswavenet.sound.reader import MonoReader
from util import UserError


@dataclasses.dataclass(frozen=True)
class Excerpt:
    """Where a part begins and how long it is.

    Args:
        start: seconds. Defaults to 0.
        duration: seconds. Defaults to all that is left.
    """

    start: float = 0.0
    duration: float | None = None

    @property
    def is_whole(self) -> bool:
        """Whether it is all of the mixture."""
        return not self.start and self.duration is None

    def length(self, available: int, rate: int) -> int:
        """Its samples, of which so many are there behind its start."""
        wanted = available if self.duration is None else round(self.duration * rate)
        return max(0, min(available, wanted))

    def select(self, reader: MonoReader, margin: int, history: int = 0) -> int:
        """Let a reader read the part and what it depends on.

        Args:
            reader: of the mixture.
            margin: samples on either side.
            history: more samples, before it alone. Defaults to 0.

        Returns:
            How many samples come before the part.

        Raises:
            UserError: it begins behind the end.
        """
        if self.is_whole:
            return 0
        first = round(self.start * reader.sample_rate)
        stop = None
        if self.duration is not None:
            stop = first + round(self.duration * reader.sample_rate)
        history = min(first, history)
        before = history + reader.select(first - history, stop, margin)
        if reader.length <= before:
            raise self._nothing()
        return before

    def cut(
        self,
        parts: Iterable[tuple[np.ndarray, np.ndarray]],
        before: int,
        rate: int,
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Of what is made of a mixture, that of the part.

        Args:
            parts: arrays, time last, of the same length in each.
            before: samples before the part.
            rate: Hz.

        Yields:
            The same arrays, shortened.

        Raises:
            UserError: nothing of the part is there.
        """
        stop = None if self.duration is None else before + round(self.duration * rate)
        place = 0
        is_empty = True
        for mixture, estimates in parts:
            end = place + len(mixture)
            low = max(before, place)
            high = end if stop is None else min(stop, end)
            if low < high:
                is_empty = False
                kept = slice(low - place, high - place)
                yield mixture[kept], estimates[:, kept]
            place = end
        if is_empty and not self.is_whole:
            raise self._nothing()

    def _nothing(self) -> UserError:
        return UserError(f"expected audio behind {self.start:g} s, got none")
