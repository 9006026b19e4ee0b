"""Cut a mixture into fragments, run the network over them, put the stems together.

The target fields of a mixture's fragments lie side by side. Seamless, each fragment
carries all the context that its target field depends on, so that the result depends
neither on the field's length nor on the batch size.

Conventions: audio is float32 at the model's rate, time last: a mixture has shape
(frames,), estimates have shape (estimates, frames). The network is a function
`predict` from (batch, input_length) to (estimates, batch, target_field_length +
2 * target_padding).
"""

from __future__ import annotations

import dataclasses
from typing import Callable

import numpy as np

from config import Config

Predict = Callable[[np.ndarray], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Framing:
    """How a mixture is cut into fragments, all lengths in samples.

    Args:
        target_field_length: what a fragment adds to each stem.
        target_padding: what the network puts out on either side of that, cropped.
        input_length: one fragment.
        lead: zeros before the mixture.
        lost: how much shorter the stems are than the mixture, half on each side.
    """

    target_field_length: int
    target_padding: int
    input_length: int
    lead: int
    lost: int

    @classmethod
    def seamless(cls, config: Config, target_field_length: int) -> Framing:
        """Every target sample with all of its context; stems as long as mixtures."""
        return cls(
            target_field_length=target_field_length,
            target_padding=config.head_margin,
            input_length=target_field_length + 2 * config.context_length,
            lead=config.context_length,
            lost=0,
        )

    @classmethod
    def original(cls, config: Config, target_field_length: int) -> Framing:
        """The 2018 framing: the network pads the fragments' edges with zeros."""
        return cls(
            target_field_length=target_field_length,
            target_padding=config.target_padding,
            input_length=config.receptive_field_length + target_field_length - 1,
            lead=0,
            lost=config.receptive_field_length - 1,
        )

    def num_fragments(self, mixture_length: int) -> int:
        """How many fragments a mixture of so many samples takes."""
        return -(-(mixture_length - self.lost) // self.target_field_length)

    def aligned(self, mixture: np.ndarray) -> np.ndarray:
        """The part of the mixture that the stems stand for."""
        return mixture[self.lost // 2 : len(mixture) - self.lost // 2]


@dataclasses.dataclass(frozen=True)
class Network:
    """A network built for one shape of its input."""

    framing: Framing
    batch_size: int
    predict: Predict

    @classmethod
    def build(
        cls, build_predict: Callable[..., Predict], framing: Framing, batch_size: int
    ) -> Network:
        """Have the network made that fits a framing."""
        predict = build_predict(
            target_field_length=framing.target_field_length,
            target_padding=framing.target_padding,
            input_length=framing.input_length,
        )
        return cls(framing, batch_size, predict)


def estimate_stems(
    mixture: np.ndarray,
    network: Network,
    *,
    num_estimates: int,
    on_progress: Callable[[int], object] = lambda num_samples: None,
) -> np.ndarray:
    """Run the network over one mixture.

    Every batch has the same shape; the last one is filled up with zeros.

    Args:
        mixture: shape (frames,), more than the framing's `lost` of them.
        network: what to run.
        num_estimates: stems that it puts out.
        on_progress: called with the number of new stem samples after each call.

    Returns:
        Shape (estimates, frames - lost).
    """
    framing, batch_size = network.framing, network.batch_size
    hop, padding = framing.target_field_length, framing.target_padding
    num_fragments = framing.num_fragments(len(mixture))
    padded = np.zeros((num_fragments - 1) * hop + framing.input_length, np.float32)
    padded[framing.lead : framing.lead + len(mixture)] = mixture
    estimates = np.empty((num_estimates, len(mixture) - framing.lost), np.float32)
    fragments = np.zeros((batch_size, framing.input_length), np.float32)
    for first in range(0, num_fragments, batch_size):
        count = min(batch_size, num_fragments - first)
        for row in range(count):
            start = (first + row) * hop
            fragments[row] = padded[start : start + framing.input_length]
        fragments[count:] = 0
        fields = network.predict(fragments)[:, :count, padding : padding + hop]
        new = estimates[:, first * hop : (first + count) * hop]
        new[:] = fields.reshape(num_estimates, -1)[:, : new.shape[1]]
        on_progress(new.shape[1])
    return estimates
