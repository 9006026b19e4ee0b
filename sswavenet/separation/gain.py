"""Quiet mixtures and passages brought to the level of loud ones, and back.

A network separates best what is as loud as what it was trained on, and is biased at
levels that it does not know: to silence it answers with a constant, which is louder
than very quiet music. So what is softer is amplified, and the gain taken back from the
estimates. Where the network hears nothing, they are zero.

Loud music passes unchanged: only where all of the last seconds were softer than `QUIET`
is there a gain. The level is the largest mean power of pieces of 10 ms, counted from
the first sample of a signal, and it falls by `FALL` at most. The gain goes from border
to border of the pieces in a straight line (in dB); at a border it follows from the
level up to the end of the next piece, so that it has fallen when something loud begins.
It depends on the signal alone, not on how that comes in blocks.

Conventions: signals are float32, shape (frames,), full scale 1.0; levels and gains are
in dB.
"""

from __future__ import annotations

import numpy as np

# What is softer is brought there. Sessions are trained at about -20 dB, give or take 6
# or 9; the loudest 10 ms are 8 to 10 dB louder than the whole.
QUIET = -12.0
FALL = 3.0  # dB a second
# Seconds: of what was longer ago only what was 60 dB louder has an effect.
MEMORY = 20
PIECES = 100  # a second
MOST = 120.0  # dB of gain, which brings the softest sounds of 24 bits near `QUIET`
SILENCE = 1e-8  # samples below are nothing: less than a tenth of a step of 24 bits
FLOOR = -200.0  # dB, the level of nothing, which has no gain


def piece_length(sample_rate: int) -> int:
    """Samples of a piece."""
    return max(1, sample_rate // PIECES)


class GainControl:
    """The gain for one signal, block by block; the rate is in Hz.

    An estimate depends on `context_length` samples on either side.
    """

    def __init__(self, sample_rate: int, context_length: int):
        self.length = piece_length(sample_rate)
        self._fall = FALL * self.length / sample_rate
        self._context = context_length
        self._waiting = np.zeros(0, np.float32)  # samples whose gain is not known
        self._level = FLOOR  # before the first piece that waits
        self._gains = np.zeros(0, np.float32)  # factors of estimates that are to come
        # Where there is something, from `context_length` before the next estimate on.
        self._sounding = np.zeros(context_length, bool)

    def amplify(self, samples: np.ndarray) -> np.ndarray:
        """Add samples; returns those that can be amplified now, 1 or 2 pieces late."""
        samples = np.asarray(samples, np.float32)
        self._sounding = np.concatenate([self._sounding, np.abs(samples) >= SILENCE])
        self._waiting = np.concatenate([self._waiting, samples])
        whole = len(self._waiting) // self.length
        powers = self._powers(self._waiting[: whole * self.length])
        # The gain at the end of the last whole piece is not known yet.
        return self._amplify(powers, max(0, whole - 1) * self.length)

    def finish(self) -> np.ndarray:
        """The rest of the samples, amplified."""
        count = len(self._waiting)
        padded = np.pad(self._waiting, (0, 2 * self.length - count % self.length))
        powers = self._powers(padded)
        powers[count // self.length] *= self.length / max(1, count % self.length)
        return self._amplify(powers, count)

    def take_back(self, estimates: np.ndarray) -> np.ndarray:
        """The next estimates, (estimates, frames), without the gain."""
        count = estimates.shape[1]
        gains, self._gains = self._gains[:count], self._gains[count:]
        reach = count + 2 * self._context
        around = self._sounding[:reach]
        sums = np.cumsum(np.pad(around, (1, reach - len(around))))
        heard = sums[2 * self._context + 1 :] != sums[:count]
        self._sounding = self._sounding[count:]
        return np.where(heard, estimates / gains, np.float32(0))

    def _powers(self, samples: np.ndarray) -> np.ndarray:
        """The mean power of each piece."""
        pieces = samples.reshape(-1, self.length).astype(np.float64)
        return np.mean(np.where(np.abs(pieces) < SILENCE, 0, pieces) ** 2, axis=1)

    def _amplify(self, powers: np.ndarray, count: int) -> np.ndarray:
        """Amplify the first samples that wait; `powers` go on behind them."""
        if not count:
            return np.zeros(0, np.float32)
        levels = 10 * np.log10(np.maximum(powers, 10 ** (FLOOR / 10)))
        steps = self._fall * np.arange(1, len(levels) + 1)
        falling = np.maximum.accumulate([self._level, *(levels + steps)])[1:] - steps
        levels = np.maximum(falling, levels)  # where a sum was rounded down
        self._level = levels[-(-count // self.length) - 1]
        borders = np.where(levels > FLOOR, np.clip(QUIET - levels, 0, MOST), 0)
        places = np.arange(count) / self.length
        gains = np.interp(places, np.arange(len(borders)), borders)
        factors = (10 ** (gains / 20)).astype(np.float32)
        self._gains = np.concatenate([self._gains, factors])
        samples, self._waiting = self._waiting[:count], self._waiting[count:]
        return samples * factors
