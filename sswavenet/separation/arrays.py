"""What programs give as audio, checked."""

from __future__ import annotations

import operator

import numpy as np
from numpy.typing import ArrayLike

from sswavenet.sound.choice import MAX_RATE
from sswavenet.sound.loudness import check_samples
from util import UserError

MAX_CHANNELS = 64  # who gives more has probably given (channels, frames)


def as_mixture(audio: ArrayLike) -> np.ndarray:
    """Audio (frames,) or (frames, channels) as float32, refused where it is none."""
    samples = _as_samples(audio)
    if samples.ndim not in (1, 2) or not samples.size:
        raise UserError(
            "expected audio of shape (frames,) or (frames, channels), got "
            f"{samples.shape}"
        )
    if samples.ndim == 2 and samples.shape[1] > MAX_CHANNELS:
        raise UserError(
            f"expected audio of shape (frames, channels) with at most {MAX_CHANNELS} "
            f"channels, got {samples.shape}; audio.T turns (channels, frames) over"
        )
    return samples


def as_piece(audio: ArrayLike) -> np.ndarray:
    """A piece (frames,) of a stream as float32, perhaps empty, refused as a mixture."""
    samples = _as_samples(audio)
    if samples.ndim != 1:
        raise UserError(f"expected samples of shape (frames,), got {samples.shape}")
    return samples


def _as_samples(audio: ArrayLike) -> np.ndarray:
    """Finite samples of any shape as float32."""
    try:
        samples = np.asarray(audio)
    except ValueError:
        raise UserError("expected an array of samples, got none of one shape") from None
    if not np.issubdtype(samples.dtype, np.floating):
        raise UserError(
            f"expected floating-point samples, full scale 1.0, got {samples.dtype}"
        )
    with np.errstate(over="ignore"):  # infinity is refused below
        samples = samples.astype(np.float32)
    check_samples(samples)
    return samples


def as_rate(sample_rate: int) -> int:
    """A sample rate in Hz, refused where it is none."""
    try:
        rate = operator.index(sample_rate)
    except TypeError:
        rate = 0
    if not 1 <= rate <= MAX_RATE:
        raise UserError(
            f"expected a sample rate of 1 to {MAX_RATE} Hz as an integer, got "
            f"{sample_rate!r}"
        )
    return rate


def rounded_up(length: int) -> int:
    """One of four lengths an octave, so that similar ones share a network."""
    step = 1 << max(0, length.bit_length() - 3)
    return -(-length // step) * step
