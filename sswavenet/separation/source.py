"""A mixture's file: what of it the network hears, and what its stems are made of.

A source gives the mixture twice. `heard` is mono at the model's rate and goes to the
network; `parts` is what comes back, with the rate and the channels that the stems are
to have. Both are read from one pass through the file.

Conventions: audio is float32; `sample_rate`, `channels`, `length` and the samples of
`select_part` are those of the stems, but for what the network hears.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

import numpy as np

from sswavenet.config.session import Config
from sswavenet.separation import gain
from sswavenet.separation.native import NativeMixture, margin_of_parts
from sswavenet.sound.reader import MonoReader

Parts = Iterable[tuple[np.ndarray, np.ndarray]]


class ModelSource(MonoReader):
    """Stems are the network's own: mono at the model's rate."""

    channels = 1

    @property
    def heard_length(self) -> int:
        """Samples at the model's rate to be read; exact once all was read."""
        return self.length

    def select_part(self, start: int, stop: int | None, margin: int) -> tuple[int, int]:
        """Read no more than a part, what is beside it, and what it has its gain from.

        The part goes from the sample `start` to `stop`, or to the end; the network is
        to hear `margin` samples on either side. Returns how many samples are read
        before it, and how many of these the network need not hear.
        """
        rate = self.sample_rate
        lead, step = gain.MEMORY * rate, gain.piece_length(rate)
        before = self.select(start, stop, margin, lead, step)
        return before, max(0, before - margin)

    def mixture(self) -> Iterator[np.ndarray]:
        """The mixture that the stems sum to, in pieces of shape (frames,)."""
        return self.blocks()

    def heard(self) -> Iterator[np.ndarray]:
        """What the network is to hear, in pieces of shape (frames,)."""
        return self.blocks()

    def parts(self, estimated: Parts) -> Parts:
        """Parts of the mixture and the estimates of its stems, of what was heard."""
        return estimated


class NativeSource:
    """Stems have the mixture's own rate and channels; nothing was read of its file."""

    def __init__(self, reader: ModelSource, config: Config):
        self.source = reader.source
        self.sample_rate = reader.source_rate
        self.channels = reader.source.channels
        self._reader, self._config = reader, config
        self._start = 0
        self._native: NativeMixture | None = None

    def __enter__(self) -> NativeSource:
        """Give the source itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close the file."""
        self._reader.__exit__(*error)

    def select_part(self, start: int, stop: int | None, margin: int) -> tuple[int, int]:
        """As `ModelSource` does it: frames before the part, samples not to be heard."""
        rate = self._config.sample_rate
        first = start * rate // self.sample_rate
        last = None if stop is None else -(-stop * rate // self.sample_rate)
        margin += margin_of_parts(self._config, self.sample_rate)
        before, unheard = self._reader.select_part(first, last, margin)
        # The samples of both rates fall together there.
        self._start = (first - before) * self.sample_rate // rate
        return start - self._start, unheard

    @property
    def length(self) -> int:
        """Frames to be read: by what the file says, exact once all was read."""
        return self.source.frames

    @property
    def heard_length(self) -> int:
        """Samples at the model's rate to be read; exact once all was read."""
        return self._reader.length

    @property
    def warnings(self) -> list[str]:
        """What is to be told of the file, after all was read."""
        found = [self.source.damage] if self.source.damage else []
        seconds = self._native.turned_seconds if self._native else 0
        if seconds:
            found.append(
                f"the channels cancel each other in {seconds:.1f} s of it: there the "
                "network heard them turned into phase"
            )
        return found

    def mixture(self) -> Iterator[np.ndarray]:
        """The mixture that the stems sum to: pieces of shape (frames, channels)."""
        return self.source.blocks(self._reader.block_frames)

    def heard(self) -> Iterator[np.ndarray]:
        """What the network is to hear, in pieces of shape (frames,)."""
        self._native = NativeMixture(
            self._config,
            sample_rate=self.sample_rate,
            num_channels=self.channels,
            start=self._start,
        )
        return self._native.heard(self.mixture())

    def parts(self, estimated: Parts) -> Parts:
        """Parts of the mixture and the estimates of its stems, from what was heard.

        Shapes (frames, channels) and (estimates, frames, channels).
        """
        if self._native is None:
            raise RuntimeError("nothing was heard yet")
        return self._native.parts(estimated)


def open_source(
    path: os.PathLike, config: Config, stem_format: str, *, strict: bool = False
) -> ModelSource | NativeSource:
    """Open a mixture's file; a context manager. A UserError if it cannot be read.

    `stem_format` is that of `Options`: native stems of a mono file at the model's rate
    are the network's own. A damaged file is refused if strict.
    """
    reader = ModelSource(path, sample_rate=config.sample_rate, strict=strict)
    form = (reader.source_rate, reader.source.channels)
    own = stem_format == "native" and form == (config.sample_rate, 1)
    return reader if own or stem_format == "model" else NativeSource(reader, config)
