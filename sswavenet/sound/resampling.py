"""Mono from any number of channels, and one rate from another, piece by piece.

Conventions: audio is float32, shape (frames,) where mono and (frames, channels)
otherwise; rates are in Hz.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import numpy as np
from scipy import signal

# SciPy's filter takes so many samples of the lower rate on either side.
FILTER_REACH = 10
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
    # Whoever reads checks for infinity.
    with np.errstate(over="ignore", invalid="ignore"):
        return audio if audio.ndim == 1 else audio.mean(axis=1, dtype=audio.dtype)


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
    # SciPy's filter reaches this far, rounded up to whole steps of `down` samples,
    # at which the samples of both rates fall together.
    reach = -(-FILTER_REACH * max(up, down) // (up * down)) * down
    waiting = np.zeros(reach, np.float32)  # silence before the signal
    for block in blocks:
        waiting = np.concatenate([waiting.astype(block.dtype, copy=False), block])
        count = (len(waiting) - 2 * reach) // down * down
        if count > 0:
            piece = signal.resample_poly(waiting[: count + 2 * reach], up, down)
            start = reach // down * up
            yield piece[start : start + count // down * up].astype(block.dtype)
            waiting = waiting[count:]
    count = len(waiting) - reach
    if count > 0:
        piece = signal.resample_poly(waiting, up, down).astype(waiting.dtype)
        yield piece[reach // down * up :][: -(-count * up // down)]
