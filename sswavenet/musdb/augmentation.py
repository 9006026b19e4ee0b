"""Stems of a fragment changed each on its own: speed, timbre, level and polarity.

Conventions: audio is float32; all randomness comes from the generator that is passed
in; a part is a piece of one row of a `Track`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from scipy import fft

from sswavenet.config.session import Config

# Samples around a fragment that hide the ends of what augmentation filters.
MARGIN = 256

# The mean level of mixtures under `augmentation.level_db`, in dB of full scale, and how
# far what is quieter is raised at most.
LEVEL_DB = -20.0
MAX_RAISE_DB = 20.0


@dataclasses.dataclass(frozen=True)
class Track:
    """One track, in memory or mapped."""

    name: str  # the track's folder
    stems: np.ndarray  # shape (rows, frames)
    # The stems that each row is the sum of; one where it is known alone
    rows: Sequence[Sequence[str]]
    segments: Sequence[Sequence[int]]  # voiced segments, (start, stop) in frames

    def read(self, row: int, start: int, length: int) -> np.ndarray:
        """A copy of a piece of one row, with zeros where it lies outside the track."""
        num_frames = self.stems.shape[1]
        if start >= 0 and start + length <= num_frames:
            return np.array(self.stems[row, start : start + length])
        piece = np.zeros(length, np.float32)
        first, last = max(start, 0), min(start + length, num_frames)
        if first < last:
            piece[first - start : last - start] = self.stems[row, first:last]
        return piece


def changes_fragments(config: Config) -> bool:
    """Whether any of the configuration's `augmentation` keys does anything."""
    return (
        config.augmentation_mix > 0
        or config.augmentation_gain_db > 0
        or config.augmentation_polarity > 0
        or config.augmentation_resample > 0
        or config.augmentation_tilt > 0
        or config.augmentation_level_db > 0
    )


def draw_part(
    track: Track, row: int, start: int, config: Config, rng: np.random.Generator
) -> np.ndarray:
    """One row of a fragment with drawn changes, shape (input_length,)."""
    length = config.input_length
    speed, tilt, gain_db = rng.uniform(-1, 1, 3) * (
        config.augmentation_resample,
        config.augmentation_tilt,
        config.augmentation_gain_db,
    )
    flips = rng.random() < config.augmentation_polarity
    if speed:
        piece = _at_speed(track, row, start, length, 1 + speed)
    else:
        piece = track.read(row, start, length)
    factor = (-1 if flips else 1) * 10 ** (gain_db / 20)
    if tilt:
        power = np.mean(np.square(piece))
        piece[1:] += np.float32(tilt) * piece[:-1]
        changed = np.mean(np.square(piece))
        factor *= np.sqrt(power / changed) if changed > 0 else 1
    piece *= np.float32(factor)
    return piece


def level(parts: np.ndarray, config: Config, rng: np.random.Generator) -> np.ndarray:
    """All parts, (parts, samples), by the factor that gives their sum a drawn level."""
    spread = config.augmentation_level_db
    power = np.mean(np.square(parts.sum(axis=0))) if spread else 0
    if power == 0:
        return parts
    wanted = LEVEL_DB + rng.uniform(-spread, spread)
    raised = min(wanted - 10 * np.log10(power), MAX_RAISE_DB)
    return parts * np.float32(10 ** (raised / 20))


def _at_speed(
    track: Track, row: int, start: int, length: int, speed: float
) -> np.ndarray:
    """`length` samples around a fragment's middle, played `speed` times as fast.

    The piece is resampled by cutting or padding its spectrum, with faded margins
    against the wrap-around. Lengths are rounded to such that the transform is fast
    for, which rounds the speed by some tenths of a percent.
    """
    num_out = fft.next_fast_len(length + 2 * MARGIN)
    num_in = fft.next_fast_len(round(num_out * speed))
    piece = track.read(row, start + (length - num_in) // 2, num_in)
    ramp = np.linspace(0, 1, MARGIN // 2, dtype=np.float32)
    piece[: len(ramp)] *= ramp
    piece[-len(ramp) :] *= ramp[::-1]
    spectrum = fft.rfft(piece)
    played = fft.irfft(spectrum, num_out) * np.float32(num_out / num_in)
    skipped = (num_out - length) // 2
    return played[skipped : skipped + length]
