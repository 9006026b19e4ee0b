"""Quiet passages brought to a level that the networks know, and back.

A network is biased at levels that it was not trained at: to silence it answers with a
constant, which is louder than very quiet music. So what is quiet is amplified, and the
gain taken back from the estimates; where the network hears nothing but zeros, they are
zero.

Music at the levels of training passes unchanged: only where all of the last seconds
were quieter than `QUIET` is there a gain. The level is the largest mean power of pieces
of 10 ms, counted from the first sample of a signal, and it falls by `FALL` at most. The
gain goes from border to border of the pieces in a straight line (in dB); at a border it
follows from the level up to the end of the next piece, so that it has fallen when
something loud begins. It depends on the signal alone, not on how that comes in blocks.

Conventions: signals are float32, shape (frames,), full scale 1.0; levels and gains are
in dB.
"""

from __future__ import annotations

import numpy as np

# dB; what is below is brought there. Sessions are trained at about -20, give or take 6;
# down to -40 the shipped ones were found to separate as well.
QUIET = -28.0
FALL = 10.0  # dB a second
MOST = 120.0  # dB of gain: the softest sounds of 24 bits become loud enough
PIECES = 100  # a second


class GainControl:
    """The gain for one signal, block by block.

    Args:
        sample_rate: Hz.
        context_length: samples on either side that an estimate depends on.
    """

    def __init__(self, sample_rate: int, context_length: int):
        self.length = max(1, sample_rate // PIECES)  # of a piece
        self._fall = FALL * self.length / sample_rate
        self._context = context_length
        self._level = -np.inf  # before the first piece that waits
        self._waiting = np.zeros(0, np.float32)  # samples whose gain is not known
        self._gains: list[np.ndarray] = []  # of samples whose estimates are to come
        # Where samples are not zero, from `context_length` before the next estimate.
        self._sounding = np.zeros(context_length, bool)

    def amplify(self, samples: np.ndarray) -> np.ndarray:
        """Add samples; returns those that can be amplified now, 1 or 2 pieces late."""
        samples = np.asarray(samples, np.float32)
        self._sounding = np.concatenate([self._sounding, samples != 0])
        self._waiting = np.concatenate([self._waiting, samples])
        whole = len(self._waiting) // self.length
        powers = self._powers(self._waiting[: whole * self.length])
        # The gain at the end of the last whole piece is not known yet.
        return self._amplify(self._levels(powers), max(0, whole - 1) * self.length)

    def finish(self) -> np.ndarray:
        """The rest of the samples, amplified."""
        count = len(self._waiting)
        borders = -(-count // self.length) + 1
        padded = np.pad(self._waiting, (0, borders * self.length - count))
        powers = self._powers(padded)
        if count % self.length:
            powers[-2] *= self.length / (count % self.length)
        return self._amplify(self._levels(powers), count)

    def _powers(self, samples: np.ndarray) -> np.ndarray:
        """The mean power of each piece."""
        pieces = samples.reshape(-1, self.length).astype(np.float64)
        return np.mean(pieces**2, axis=1)

    def _levels(self, powers: np.ndarray) -> np.ndarray:
        """The level up to the end of each piece that waits."""
        steps = self._fall * np.arange(1, len(powers) + 1)
        levels = 10 * np.log10(powers + 1e-30) + steps
        return np.maximum.accumulate([self._level, *levels])[1:] - steps

    def _amplify(self, levels: np.ndarray, count: int) -> np.ndarray:
        """Amplify the first samples that wait; `levels` go on behind them."""
        if not count:
            return np.zeros(0, np.float32)
        gains = np.clip(QUIET - levels, 0, MOST)
        places = np.arange(count) / self.length
        factors = 10 ** (np.interp(places, np.arange(len(gains)), gains) / 20)
        factors = factors.astype(np.float32)
        samples, self._waiting = self._waiting[:count], self._waiting[count:]
        self._level = levels[-(-count // self.length) - 1]
        self._gains.append(factors)
        return samples * factors

    def take_back(self, estimates: np.ndarray) -> np.ndarray:
        """Estimates of what was amplified, in order, without the gain.

        Args:
            estimates: shape (estimates, frames).
        """
        count = estimates.shape[1]
        gains = np.concatenate([np.zeros(0, np.float32), *self._gains])
        self._gains = [gains[count:]]
        reach = count + 2 * self._context
        heard = self._sounding[:reach]
        sums = np.cumsum(np.pad(heard, (1, reach - len(heard))))
        sounding = sums[2 * self._context + 1 :] != sums[:count]
        self._sounding = self._sounding[count:]
        return np.where(sounding, estimates / gains[:count], np.float32(0))
