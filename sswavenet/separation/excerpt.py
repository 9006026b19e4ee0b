"""A part of a mixture, separated as the whole would be.

What is beside the part is read and separated, too, as far as the network hears it, and
then cut off. What lies some seconds before is read for its level (see `gain`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator

import numpy as np

from sswavenet.separation.source import ModelSource, NativeSource
from util import UserError


@dataclasses.dataclass(frozen=True)
class Excerpt:
    """Where a part begins and how long it is."""

    start: float = 0.0  # seconds
    duration: float | None = None  # seconds; defaults to all that is left

    @property
    def is_whole(self) -> bool:
        """Whether it is all of the mixture."""
        return not self.start and self.duration is None

    def length(self, available: int, rate: int) -> int:
        """Its samples, of which so many are there behind its start."""
        wanted = available if self.duration is None else round(self.duration * rate)
        return max(0, min(available, wanted))

    def heard_length(self, length: int, rate: int, margin: int) -> int:
        """Samples that are estimated of a mixture of so many, 0 where nobody knows.

        `length` is 0 where that of the mixture is not known; `margin` is what the
        network hears on either side of the part.
        """
        available = length - round(self.start * rate)
        if self.is_whole or available <= 0:
            return max(0, available)
        return min(length, self.length(available, rate) + 2 * margin)

    def select(
        self, source: ModelSource | NativeSource, margin: int
    ) -> tuple[int, int]:
        """Let a source read the part and what its stems depend on on either side.

        The network is to hear `margin` samples there. Returns how many of the stems'
        samples come before the part, and how many samples the network need not hear,
        for only their level counts. Raises UserError where the part begins behind the
        end.
        """
        if self.is_whole:
            return 0, 0
        first = round(self.start * source.sample_rate)
        stop = None
        if self.duration is not None:
            stop = first + round(self.duration * source.sample_rate)
        before, unheard = source.select_part(first, stop, margin)
        if source.length <= before:
            raise self._nothing()
        return before, unheard

    def cut(
        self,
        parts: Iterable[tuple[np.ndarray, np.ndarray]],
        before: int,
        rate: int,
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Of what is made of a mixture, that of the part, behind `before` samples.

        Takes and yields pieces of the mixture, time first, and of its estimates, time
        second. Raises UserError where nothing of the part is there.
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
