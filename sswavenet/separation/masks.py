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
from scipy import fft, signal

HOP_SECONDS = 1024 / 44100
OVERLAP = 4  # windows that hold a sample
# Parts of the network's rate, at 16 kHz 4 and 7.5 kHz. Above TOP resampling has left
# little to compare, or nothing: there the mask is the mean of what lies between.
MEAN_FROM, TOP = 4 / 16, 7.5 / 16
# Of a frame's mean magnitude. What all estimates together have less than that is left
# to the remainder, and not to how their arithmetic rounds.
SILENCE = 1e-4
MOST_FRAMES = 32  # computed at a time


class NativeStems:
    """Shares out one mixture among its stems, block by block.

    Args:
        mixture_rate: Hz.
        estimates_rate: the network's, Hz.
        num_stems: remainder included.
        num_channels: of the mixture.
    """

    def __init__(
        self,
        *,
        mixture_rate: int,
        estimates_rate: int,
        num_stems: int,
        num_channels: int,
    ):
        self._rates = (mixture_rate, estimates_rate)
        hop = max(1, round(HOP_SECONDS * mixture_rate))
        self._hop = fft.next_fast_len(hop, real=True)
        length = OVERLAP * self._hop
        # Even, so that both windows have their middle at a sample.
        half = max(1, round(length / 2 * estimates_rate / mixture_rate))
        self._window = signal.get_window("hann", length).astype(np.float32)
        self._estimates_window = signal.get_window("hann", 2 * half).astype(np.float32)
        self._fft_length = fft.next_fast_len(2 * half, real=True)
        self._below, self._fraction, self._mean = self._places()
        self._length = 0  # of the mixture so far
        # The next frame, the first of which is the first to hold sample 0. Both
        # signals are kept from where its window begins.
        self._frame = 1 - OVERLAP // 2
        self._mixture = np.zeros((length // 2 + self._hop, num_channels), np.float32)
        self._estimates = np.zeros(
            (num_stems, half - self._center(self._frame)), np.float32
        )
        # What the frames before have added to the samples of the next one.
        self._begun = np.zeros(
            (num_stems - 1, num_channels, OVERLAP - 1, self._hop), np.float32
        )

    def push(
        self, mixture: np.ndarray, estimates: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Add some of the mixture and some of the estimates, as many as there are.

        Args:
            mixture: shape (frames, channels).
            estimates: shape (stems, frames').

        Returns:
            The next part of the mixture that is finished, shape (frames'', channels),
            and its stems, shape (stems, frames'', channels), which sum to it;
            frames'' may be 0.
        """
        self._length += len(mixture)
        self._mixture = np.concatenate([self._mixture, mixture])
        self._estimates = np.concatenate([self._estimates, estimates], axis=1)
        return self._advance()

    def finish(self) -> tuple[np.ndarray, np.ndarray]:
        """End the mixture; the rest of it and its stems, as `push` returns them."""
        num_windows = -(-(self._length + self._window.size // 2) // self._hop)
        num_hops = num_windows - self._frame + OVERLAP - 1
        missing = num_hops * self._hop - len(self._mixture)
        self._mixture = np.pad(self._mixture, ((0, missing), (0, 0)))
        silence = self._estimates_window.size + 2
        self._estimates = np.pad(self._estimates, ((0, 0), (0, silence)))
        return self._advance()

    def _center(self, frame: int) -> int:
        """The sample of the estimates in the middle of a frame."""
        mixture_rate, estimates_rate = self._rates
        return round(frame * self._hop * estimates_rate / mixture_rate)

    def _places(self) -> tuple[np.ndarray, np.ndarray, slice]:
        """Where in the estimates' spectrum the mixture's frequencies lie.

        Returns:
            For each of them up to `TOP` the frequency below it and how far it is to
            the next one; and those of whose masks the mean is taken above `TOP`.
        """
        mixture_rate, estimates_rate = self._rates
        step = estimates_rate / self._fft_length
        frequencies = fft.rfftfreq(self._window.size, 1 / mixture_rate)
        places = frequencies[frequencies <= TOP * estimates_rate] / step
        below = places.astype(int)
        mean = slice(int(MEAN_FROM * self._fft_length), below[-1] + 1)
        return below, (places - below).astype(np.float32), mean

    def _num_ready(self) -> int:
        """Frames that can be computed."""
        mixture_rate, estimates_rate = self._rates
        mixture = (len(self._mixture) - self._window.size) // self._hop
        # The samples of the estimates that there are up to the last frame's middle.
        half = self._estimates_window.size // 2
        samples = self._center(self._frame) + self._estimates.shape[1] - 2 * half
        last = samples * mixture_rate // (self._hop * estimates_rate)
        return min(mixture, last - self._frame) + 1

    def _advance(self) -> tuple[np.ndarray, np.ndarray]:
        num_stems, num_channels = len(self._estimates), self._mixture.shape[1]
        mixtures = [np.zeros((0, num_channels), np.float32)]
        stems = [np.zeros((num_stems, 0, num_channels), np.float32)]
        while (count := min(self._num_ready(), MOST_FRAMES)) > 0:
            first = self._frame * self._hop - self._window.size // 2
            part = slice(max(0, -first), max(0, self._length - first))
            mixture = self._mixture[: count * self._hop][part]
            masked = self._masked(count)[:, part]
            remainder = mixture - masked.sum(axis=0)
            mixtures.append(mixture)
            stems.append(np.concatenate([masked, remainder[np.newaxis]]))
            used = self._center(self._frame + count) - self._center(self._frame)
            self._frame += count
            self._mixture = self._mixture[count * self._hop :]
            self._estimates = self._estimates[:, used:]
        return np.concatenate(mixtures), np.concatenate(stems, axis=1)

    def _masked(self, count: int) -> np.ndarray:
        """All stems but the remainder, of what the next frames finish.

        Returns:
            Shape (stems - 1, count * hop, channels), from where the first one begins.
        """
        windows = np.lib.stride_tricks.sliding_window_view(
            self._mixture, self._window.size, axis=0
        )[:: self._hop][:count]
        spectra = fft.rfft(windows * self._window)  # (count, channels, frequencies)
        masked = self._masks(count)[:, :, np.newaxis] * spectra
        # The squares of the windows over a sample sum to 3 / 8 of their number.
        frames = fft.irfft(masked, self._window.size) * (
            self._window / np.float32(OVERLAP * 3 / 8)
        )
        num_stems, _, num_channels, _ = frames.shape
        # (stems, channels, frames, part of the window, hop)
        frames = frames.reshape(num_stems, count, num_channels, OVERLAP, self._hop)
        frames = frames.transpose(0, 2, 1, 3, 4)
        shape = (num_stems, num_channels, count + OVERLAP - 1, self._hop)
        added = np.zeros(shape, np.float32)
        added[:, :, : OVERLAP - 1] = self._begun
        for part in range(OVERLAP):
            added[:, :, part : part + count] += frames[:, :, :, part]
        self._begun = added[:, :, count:]
        finished = added[:, :, :count].reshape(num_stems, num_channels, -1)
        return finished.transpose(0, 2, 1)

    def _masks(self, count: int) -> np.ndarray:
        """The masks of the next frames: shape (stems - 1, count, frequencies)."""
        length = self._estimates_window.size
        starts = [
            self._center(frame) - self._center(self._frame)
            for frame in range(self._frame, self._frame + count)
        ]
        windows = self._estimates[:, np.add.outer(starts, np.arange(length))]
        spectra = fft.rfft(windows * self._estimates_window, self._fft_length)
        magnitudes = np.abs(spectra)  # (stems, count, frequencies)
        total = magnitudes.sum(axis=0)
        floor = SILENCE * total.mean(axis=-1, keepdims=True) + np.float32(1e-30)
        masks = magnitudes[:-1] / (total + floor)
        within = masks[..., self._below] * (1 - self._fraction)
        within += masks[..., self._below + 1] * self._fraction
        above = masks[..., self._mean].mean(axis=-1, keepdims=True)
        num_above = self._window.size // 2 + 1 - len(self._below)
        return np.concatenate([within, np.repeat(above, num_above, axis=-1)], axis=-1)
