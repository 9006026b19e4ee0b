"""A mixture in its own channels and at its own rate: through the network, and back.

Conventions: audio is float32; mixtures have shape (frames, channels), estimates of
their stems (estimates, frames, channels). What the network hears has shape (frames',),
what it puts out (estimates, frames'), both at the model's rate. The remainder is what
the estimates leave of the mixture.
"""

from __future__ import annotations

import collections
from collections.abc import Iterable, Iterator
from typing import Callable

import numpy as np

from sswavenet.config.session import Config
from sswavenet.separation.downmix import Downmix
from sswavenet.separation.masks import NativeStems
from sswavenet.separation.spectra import Windows
from sswavenet.sound.resampling import resample


class NativeMixture:
    """One mixture, block by block: `heard` goes to the network, `parts` comes back.

    The rate is in Hz; `start` is that of `NativeStems`.
    """

    def __init__(
        self, config: Config, *, sample_rate: int, num_channels: int, start: int = 0
    ):
        self._rates = {"from_rate": sample_rate, "to_rate": config.sample_rate}
        self._downmix = Downmix(sample_rate, start)
        self._stems = NativeStems(
            mixture_rate=sample_rate,
            estimates_rate=config.sample_rate,
            num_stems=len(config.task.stems),
            num_channels=num_channels,
            start=start,
        )
        self._num_channels = num_channels
        self._waiting: collections.deque = collections.deque()  # until its stems come

    @property
    def turned_seconds(self) -> float:
        """How much of it cancels in the mean of its channels, once all was heard."""
        return self._downmix.turned_length / self._rates["from_rate"]

    def heard(self, blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """What the network is to hear of a mixture in pieces, (frames',) each."""

        def kept() -> Iterator[np.ndarray]:
            for block in blocks:
                self._waiting.append(block)
                yield block

        yield from resample(self._downmix.blocks(kept()), **self._rates)

    def parts(
        self, estimated: Iterable[tuple[np.ndarray, np.ndarray]]
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Parts of the mixture and of its stems' estimates, from what was heard.

        It may run in another thread than `heard`.
        """
        for heard, estimates in estimated:
            remainder = heard - estimates.sum(axis=0)
            stems = np.concatenate([estimates, remainder[np.newaxis]])
            mixture, native = self._stems.push(self._taken(), stems)
            yield mixture, native[:-1]
        # By now all was read.
        mixture, native = self._stems.finish(self._taken())
        yield mixture, native[:-1]

    def _taken(self) -> np.ndarray:
        """The mixture as far as it was read."""
        parts = [np.zeros((0, self._num_channels), np.float32)]
        while self._waiting:
            parts.append(self._waiting.popleft())
        return np.concatenate(parts)


def margin_of_parts(config: Config, sample_rate: int) -> int:
    """Samples that a part needs on either side, to come out as in the whole.

    At the model's rate, beside those that its stems depend on there.
    """
    frames = 2 * Windows(sample_rate).length + Downmix(sample_rate).part_length
    return -(-frames * config.sample_rate // sample_rate)


def separate_array(
    config: Config,
    estimate: Callable[[np.ndarray], np.ndarray],
    mixture: np.ndarray,
    sample_rate: int,
    *,
    masks: bool = False,
) -> dict[str, np.ndarray]:
    """Separate a mixture in memory, float32, (frames, channels) or (frames,).

    `estimate` runs the network, from what it hears, mono at the model's rate,
    (frames,), to (estimates, frames). Returns each stem by name, remainder included, in
    the same shape and at the same rate; they sum to the mixture. Those of a mono
    mixture at the model's rate are the network's own, unless it is to be shared out by
    `masks`, too.
    """
    channels = mixture.reshape(len(mixture), -1)
    form = (sample_rate, channels.shape[1])
    if form == (config.sample_rate, 1) and not masks:
        estimates = estimate(channels[:, 0])[..., np.newaxis]
    else:
        native = NativeMixture(
            config, sample_rate=sample_rate, num_channels=channels.shape[1]
        )
        heard = np.concatenate(list(native.heard([channels])))
        parts = native.parts([(heard, estimate(heard))])
        estimates = np.concatenate([found for _, found in parts], axis=1)
    remainder = channels - estimates.sum(axis=0)
    return {
        name: stem.reshape(mixture.shape)
        for name, stem in zip(config.task.stems, [*estimates, remainder])
    }
