"""The one signal that the network hears of a mixture of several channels.

That is their mean, as the 2018 program took it. Where channels cancel each other in it
(one was inverted, an instrument is out of phase in two), the mean lacks what they hold,
and masks made of it would share that out by chance. There, frequency by frequency,
channels against the others are turned over before the mean is taken.

Conventions: audio is float32, channels (frames, channels) or their mean (frames,).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from sswavenet.separation.spectra import Overlapping, Windows
from sswavenet.sound.resampling import to_mono

# A frequency is lost where the power of the channels' sum is below this share of their
# powers' sum, which on average equals it where channels have nothing in common.
LOST = 0.0632
# The share of the energy that is lost from which on channels are turned over. In parts
# of songs as they are published it is below 0.04.
CANCELLED = 0.1
WINDOWS_OF_PART = 64  # looked at together, some 1.5 s


class Downmix:
    """Takes the mean of channels, block by block, at a sample rate in Hz.

    `start` is the frame of a longer signal that this part of it begins with: behind its
    first `part_length` samples, which are looked at together, and before its last ones,
    the part's mean is that of the whole. `turned_length` counts the samples given out
    in which channels are turned over.
    """

    def __init__(self, sample_rate: int, start: int = 0):
        self.turned_length = 0
        self._windows = Windows(sample_rate)
        self.part_length = WINDOWS_OF_PART * self._windows.hop
        self._start = start

    def blocks(self, blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """The mean of pieces of a signal: (frames, channels) to (frames',)."""
        overlap = self._windows.length - self._windows.hop
        needed = self.part_length + overlap
        overlapping = Overlapping(self._windows)
        # Silence before the signal: windows begin `overlap` before whole parts.
        lead = (self._start + overlap) % self.part_length
        waiting: np.ndarray | None = None
        for block in blocks:
            if waiting is None:
                waiting = np.zeros((lead, block.shape[1]), np.float32)
            waiting = np.concatenate([waiting, block])
            while len(waiting) >= needed:
                yield self._part(waiting, overlapping, slice(lead, self.part_length))
                waiting, lead = waiting[self.part_length :], 0
        while waiting is not None and len(waiting) > lead:
            padded = np.pad(waiting, ((0, needed), (0, 0)))
            end = min(len(waiting), self.part_length)
            yield self._part(padded, overlapping, slice(lead, end))
            waiting, lead = waiting[self.part_length :], 0

    def _part(
        self, audio: np.ndarray, overlapping: Overlapping, wanted: slice
    ) -> np.ndarray:
        """The mean of what is wanted of a part: shape (frames,)."""
        # One channel at a time, since there may be many.
        channels = [channel[:, np.newaxis] for channel in audio.T]
        total = np.zeros((WINDOWS_OF_PART, self._windows.num_bins), np.complex64)
        powers = np.zeros(total.shape, np.float32)
        for channel in channels:
            (spectra,) = self._windows.spectra(channel, WINDOWS_OF_PART)
            powers += _power(spectra)
            total += spectra
        lost = _power(total) < LOST * powers
        change = np.zeros_like(total)
        if powers[lost].sum() > CANCELLED * powers.sum():
            for channel in channels:
                (spectra,) = self._windows.spectra(channel, WINDOWS_OF_PART)
                against = (change * spectra.conj()).real < 0
                change += np.where(against, -spectra, spectra)
            change = (change - total) / np.float32(audio.shape[1])
            self.turned_length += wanted.stop - wanted.start
        return to_mono(audio[wanted]) + overlapping.add(change)[wanted]


def _power(spectra: np.ndarray) -> np.ndarray:
    return np.square(spectra.real) + np.square(spectra.imag)
