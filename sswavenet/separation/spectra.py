"""Short-time spectra of a signal that comes block by block, and the way back.

Conventions: frame k has its middle at sample k * hop; the first frame that holds
sample 0 is `FIRST_FRAME`. Audio is float32 (frames, channels).
"""

from __future__ import annotations

import itertools

import numpy as np

HOP_SECONDS = 1024 / 44100
OVERLAP = 4  # windows that hold a sample
FIRST_FRAME = 1 - OVERLAP // 2


def hann(length: int) -> np.ndarray:
    """A period of the window, without `scipy.signal`, whose import takes long."""
    turns = np.arange(length) / length
    return (0.5 - 0.5 * np.cos(2 * np.pi * turns)).astype(np.float32)


def fast_length(least: int) -> int:
    """The next length that transforms are fast with: its prime factors are 2, 3 and 5.

    That of `scipy.fft.next_fast_len`, which takes a third of a second to import.
    """
    return next(n for n in itertools.count(least) if pow(30, 64, n) == 0)


def transform(signals: np.ndarray, length: int, window: np.ndarray) -> np.ndarray:
    """Spectra of windows of signals, (..., samples), padded to a length.

    In single precision; NumPy 1, which Theano needs, has double precision only.
    """
    # Without a scale NumPy would compute in double precision.
    return np.fft.rfft(signals * (window * np.float32(length)), length, norm="forward")


class Windows:
    """Hann windows of 4 hops, for a sample rate in Hz.

    `hop` samples lie between windows of `length` samples, whose spectra have `num_bins`
    frequencies.
    """

    def __init__(self, sample_rate: int):
        hop = max(1, round(HOP_SECONDS * sample_rate))
        self.hop: int = fast_length(hop)
        self.length = OVERLAP * self.hop
        self.num_bins = self.length // 2 + 1
        self._window = hann(self.length)

    def spectra(self, audio: np.ndarray, count: int) -> np.ndarray:
        """Spectra of the `count` frames whose windows begin at the samples 0, hop, ...

        From (frames, channels), at least as long as the windows reach, to complex
        (channels, count, frequencies).
        """
        windows = np.lib.stride_tricks.sliding_window_view(audio, self.length, axis=0)
        windows = windows[:: self.hop][:count].transpose(1, 0, 2)
        return transform(windows, self.length, self._window)

    def signals(self, spectra: np.ndarray) -> np.ndarray:
        """What each spectrum adds to the signal: shape (..., count, length)."""
        # The squares of the windows over a sample sum to 3 / 8 of their number.
        scale = np.float32(8 / 3 / OVERLAP)
        return np.fft.irfft(spectra, self.length) * (self._window * scale)


class Overlapping:
    """Adds up what frames put out, in their order, to a signal."""

    def __init__(self, windows: Windows):
        self._windows = windows
        self._begun: np.ndarray | None = None  # by the frames before

    def add(self, spectra: np.ndarray) -> np.ndarray:
        """Add the next frames, (..., count, frequencies): what no later frame adds to.

        Shape (..., count * hop), from where the first of these windows begins to where
        that of the next one will.
        """
        signals = self._windows.signals(spectra)
        *shape, count, _ = signals.shape
        parts = signals.reshape(*shape, count, OVERLAP, self._windows.hop)
        added = np.zeros((*shape, count + OVERLAP - 1, self._windows.hop), np.float32)
        if self._begun is not None:
            added[..., : OVERLAP - 1, :] = self._begun
        # The earliest frame first, as in what is begun: else rounding would depend on
        # how many frames come at once.
        for part in reversed(range(OVERLAP)):
            added[..., part : part + count, :] += parts[..., part, :]
        self._begun = added[..., count:, :]
        return added[..., :count, :].reshape(*shape, -1)
