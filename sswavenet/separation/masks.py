"""Stems at the mixture's own rate and channels, by masks from the network's estimates.

The network hears one signal at its own rate. Its estimates say how to share out what
the mixture holds: in each frame and at each frequency, stem i gets |S_i| / sum |S_j| of
every channel. The masks sum to one, hence the stems to the mixture.

Mixture and estimates have short-time spectra of their own, with windows of the same
duration around the same moments, so that no estimate is resampled. Masks are
interpolated from the frequencies of one to those of the other.

Conventions: audio is float32, full scale 1.0; estimates have shape (stems, frames) at
the network's rate, mixtures (frames, channels) at their own. The first sample of both
is the same moment. The last stem is the remainder.
"""

from __future__ import annotations

import numpy as np

from sswavenet.separation.spectra import (
    FIRST_FRAME,
    OVERLAP,
    Overlapping,
    Windows,
    fast_length,
    hann,
    transform,
)

# Parts of the network's rate, at 16 kHz 4 and 7.5 kHz. Above TOP resampling has left
# little to compare, or nothing: there a frame is shared out like the energy between.
HIGH_FROM, TOP = 4 / 16, 7.5 / 16
# Of a frame's mean magnitude. What all estimates together have less than that is left
# to the remainder, and not to how their arithmetic rounds.
SILENCE = 1e-3
MOST_WINDOWS = 64  # computed at a time, of all channels together


class NativeStems:
    """Shares out one mixture among its stems, block by block.

    Rates are in Hz, the remainder counts as a stem. `start` is the frame of a longer
    mixture that this part of it begins with, at which the samples of both rates fall
    together: what the part shares with the whole is then cut into the same windows.
    """

    def __init__(
        self,
        *,
        mixture_rate: int,
        estimates_rate: int,
        num_stems: int,
        num_channels: int,
        start: int = 0,
    ):
        self._rates = (mixture_rate, estimates_rate)
        self._windows = Windows(mixture_rate)
        self._overlapping = Overlapping(self._windows)
        # As long, and even, so that both windows have their middle at a sample.
        half = max(1, round(self._windows.length / 2 * estimates_rate / mixture_rate))
        self._window = hann(2 * half)
        # Twice as many frequencies, to interpolate between.
        self._fft_length = fast_length(4 * half)
        self._below, self._fraction, self._high = self._places()
        self._end = self._start = start  # of the mixture so far
        self._frame = start // self._windows.hop + FIRST_FRAME  # the next one
        # Both signals are kept from where its window begins.
        silence = start - self._first()
        self._mixture = np.zeros((silence, num_channels), np.float32)
        silence = start * estimates_rate // mixture_rate
        silence -= self._center(self._frame) - half
        self._estimates = np.zeros((num_stems, silence), np.float32)

    def push(
        self, mixture: np.ndarray, estimates: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Add some of the mixture, (frames, channels), and estimates, (stems, n).

        Returns the next part of the mixture that is finished, shape (frames'',
        channels), and its stems, (stems, frames'', channels), which sum to it; frames''
        may be 0.
        """
        self._end += len(mixture)
        self._mixture = np.concatenate([self._mixture, mixture])
        self._estimates = np.concatenate([self._estimates, estimates], axis=1)
        return self._advance()

    def finish(self, mixture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """End the mixture with what was not pushed yet; returns as `push` does."""
        hop = self._windows.hop
        self._end += len(mixture)
        end = -(-(self._end + self._windows.length // 2) // hop)
        mixture = np.concatenate([self._mixture, mixture])
        missing = (end - self._frame + OVERLAP - 1) * hop - len(mixture)
        self._mixture = np.pad(mixture, ((0, missing), (0, 0)))
        silence = self._window.size + 2
        self._estimates = np.pad(self._estimates, ((0, 0), (0, silence)))
        return self._advance()

    def _first(self) -> int:
        """The sample of the mixture that the next window begins with."""
        return self._frame * self._windows.hop - self._windows.length // 2

    def _center(self, frame: int) -> int:
        """The sample of the estimates in the middle of a frame."""
        mixture_rate, estimates_rate = self._rates
        return round(frame * self._windows.hop * estimates_rate / mixture_rate)

    def _places(self) -> tuple[np.ndarray, np.ndarray, slice]:
        """Where in the estimates' spectrum the mixture's frequencies lie.

        For each of them up to `TOP` the frequency below it and how far it is to the
        next one; and those that stand for what lies above.
        """
        mixture_rate, estimates_rate = self._rates
        step = estimates_rate / self._fft_length
        frequencies = np.fft.rfftfreq(self._windows.length, 1 / mixture_rate)
        places = frequencies[frequencies <= TOP * estimates_rate] / step
        below = places.astype(int)
        high = slice(int(HIGH_FROM * self._fft_length), int(TOP * self._fft_length) + 1)
        return below, (places - below).astype(np.float32), high

    def _num_ready(self) -> int:
        """Frames that can be computed."""
        mixture_rate, estimates_rate = self._rates
        hop = self._windows.hop
        mixture = (len(self._mixture) - self._windows.length) // hop
        # The samples of the estimates that there are up to the last frame's middle.
        samples = self._estimates.shape[1] - self._window.size
        samples += self._center(self._frame)
        last = samples * mixture_rate // (hop * estimates_rate)
        return min(mixture, last - self._frame) + 1

    def _advance(self) -> tuple[np.ndarray, np.ndarray]:
        hop, num_stems = self._windows.hop, len(self._estimates)
        mixtures = [np.zeros((0, self._mixture.shape[1]), np.float32)]
        stems = [np.zeros((num_stems, *mixtures[0].shape), np.float32)]
        most = max(1, MOST_WINDOWS // self._mixture.shape[1])
        while (count := min(self._num_ready(), most)) > 0:
            # The part of what is finished that lies in the mixture.
            first = self._first()
            part = slice(max(0, self._start - first), max(0, self._end - first))
            mixture = self._mixture[: count * hop][part]
            with np.errstate(over="ignore", invalid="ignore"):  # whoever writes checks
                spectra = self._windows.spectra(self._mixture, count)
                masked = self._overlapping.add(self._masks(count) * spectra)
            masked = masked[..., part].transpose(0, 2, 1)
            remainder = mixture - masked.sum(axis=0)
            mixtures.append(mixture)
            stems.append(np.concatenate([masked, remainder[np.newaxis]]))
            used = self._center(self._frame + count) - self._center(self._frame)
            self._frame += count
            self._mixture = self._mixture[count * hop :]
            self._estimates = self._estimates[:, used:]
        return np.concatenate(mixtures), np.concatenate(stems, axis=1)

    def _masks(self, count: int) -> np.ndarray:
        """Those of the next frames: shape (stems - 1, 1, count, frequencies)."""
        starts = [
            self._center(frame) - self._center(self._frame)
            for frame in range(self._frame, self._frame + count)
        ]
        windows = np.lib.stride_tricks.sliding_window_view(
            self._estimates, self._window.size, axis=1
        )[:, starts]
        magnitudes = np.abs(transform(windows, self._fft_length, self._window))
        total = magnitudes.sum(axis=0)
        floor = SILENCE * total.mean(axis=-1, keepdims=True) + np.float32(1e-15)
        masks = magnitudes[:-1] / (total + floor)
        within = masks[..., self._below] * (1 - self._fraction)
        within += masks[..., self._below + 1] * self._fraction
        energies = np.square(magnitudes[..., self._high]).mean(axis=-1, keepdims=True)
        above = energies[:-1] / (energies.sum(axis=0) + np.square(floor))
        num_above = self._windows.num_bins - len(self._below)
        masks = np.concatenate([within, np.repeat(above, num_above, axis=-1)], axis=-1)
        return masks[:, np.newaxis]
