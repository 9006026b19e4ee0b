"""Mono from any number of channels, and one rate from another, piece by piece.

Conventions: audio is float32, shape (frames,) where mono and (frames, channels)
otherwise; rates are in Hz.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import numpy as np

# SciPy's filter takes so many samples of the lower rate on either side.
FILTER_REACH = 10
KAISER_BETA = 5.0
OUTPUTS_AT_ONCE = 1 << 14  # some 4 MB of their inputs
# The larger term of a reduced ratio of rates: the filter for it takes 100 MB.
MAX_RATIO = 100_000


def rate_problem(from_rate: int, to_rate: int) -> str:
    """Why there is no resampling from a rate to another; empty where there is."""
    if max(from_rate, to_rate) // math.gcd(from_rate, to_rate) <= MAX_RATIO:
        return ""
    return (
        f"expected a usual sample rate, got {from_rate} Hz: the filter from it to "
        f"{to_rate} Hz would fill the memory"
    )


def to_mono(audio: np.ndarray) -> np.ndarray:
    """The mean of all channels: (frames, channels) or (frames,) to (frames,)."""
    return audio if audio.ndim == 1 else audio.mean(axis=1, dtype=audio.dtype)


class _Filter:
    """SciPy's `resample_poly` without `scipy.signal`, whose import takes half a second.

    A Kaiser window's low pass. Of it each output sample takes the taps that fall on
    input samples, a row of `_taps`; the same ones every `up` samples.
    """

    def __init__(self, up: int, down: int):
        self._down = down
        half = FILTER_REACH * max(up, down)
        places = np.arange(-half, half + 1) / max(up, down)
        low_pass = np.sinc(places) * np.kaiser(2 * half + 1, KAISER_BETA)
        low_pass *= up / low_pass.sum()
        # The first input sample that each output sample takes, and the tap it falls on.
        moments = np.arange(up) * down - half
        self._first = -(-moments // up)
        taps = np.arange(0, 2 * half + 1, up)
        taps = (self._first * up - moments)[:, np.newaxis] + taps
        self._taps = np.append(low_pass, 0)[np.minimum(taps, len(low_pass))]

    def __call__(self, audio: np.ndarray, start: int, length: int) -> np.ndarray:
        """So many output samples from an input sample on, a multiple of `down`.

        There is silence around the audio.
        """
        up, width = self._taps.shape
        padded = np.pad(audio, (width, width + self._down))
        windows = np.lib.stride_tricks.sliding_window_view(padded, width)
        starts = range(start, start + -(-length // up) * self._down, self._down)
        parts = [np.zeros(0, audio.dtype)]
        taps = self._taps.astype(audio.dtype)
        at_once = max(1, OUTPUTS_AT_ONCE // up)
        for k in range(0, len(starts), at_once):
            rows = self._first + np.array(starts[k : k + at_once])[:, np.newaxis]
            parts.append(np.einsum("rpw,pw->rp", windows[rows + width], taps))
        return np.concatenate([part.ravel() for part in parts])[:length]


def resample(
    blocks: Iterable[np.ndarray], *, from_rate: int, to_rate: int
) -> Iterator[np.ndarray]:
    """Resample mono audio with SciPy's polyphase filter, as the 2018 program did.

    From pieces of one signal, (frames,), to pieces of what resampling it at once gives:
    together ceil(frames * to_rate / from_rate) samples of the same type. Rates are in
    Hz.
    """
    divisor = math.gcd(from_rate, to_rate)
    up, down = to_rate // divisor, from_rate // divisor
    if up == down:
        yield from blocks
        return
    polyphase = _Filter(up, down)
    # It reaches this far, rounded up to whole steps of `down` samples, at which the
    # samples of both rates fall together.
    reach = -(-FILTER_REACH * max(up, down) // (up * down)) * down
    waiting = np.zeros(reach, np.float32)  # silence before the signal
    for block in blocks:
        waiting = np.concatenate([waiting.astype(block.dtype, copy=False), block])
        count = (len(waiting) - 2 * reach) // down * down
        if count > 0:
            yield polyphase(waiting, reach, count // down * up)
            waiting = waiting[count:]
    count = len(waiting) - reach
    if count > 0:
        yield polyphase(waiting, reach, -(-count * up // down))
