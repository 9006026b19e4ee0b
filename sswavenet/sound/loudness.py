"""How loud a sample may be."""

from __future__ import annotations

import math

import numpy as np

from util import UserError

# Full scale is 1.0. What is squared and summed of these stays finite in float32.
LOUDEST = 1e10


def check_samples(samples: np.ndarray, place: str = "") -> None:
    """Refuse samples of any shape that are not finite, or far too loud for a sound.

    The message begins with `place`.
    """
    loudest = float(np.abs(samples).max(initial=0))
    if not math.isfinite(loudest):
        raise UserError(f"{place}expected finite samples, got NaN or infinity")
    if loudest > LOUDEST:
        raise UserError(
            f"{place}expected samples of at most {LOUDEST:g} (full scale is 1), got "
            f"one of {loudest:.3g}"
        )
