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

import contextlib
import dataclasses
import os
import pathlib
from collections.abc import Sequence
from typing import Callable

import numpy as np

from config import Config, UserError

Predict = Callable[[np.ndarray], np.ndarray]

# Target samples of one pass: enough to keep the context's share of the work low,
# few enough to keep the activations near the processor's caches.
PASS_LENGTH = 16000
MEMORY_BUDGET = 2 * 2**30


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


def estimate_stems(
    mixture: np.ndarray,
    framing: Framing,
    predict: Predict,
    *,
    num_estimates: int,
    batch_size: int,
    on_progress: Callable[[int], object] = lambda num_samples: None,
) -> np.ndarray:
    """Run the network over one mixture.

    Every batch has the same shape; the last one is filled up with zeros.

    Args:
        mixture: shape (frames,), more than `framing.lost` of them.
        framing: how to cut it.
        predict: the network, built for `framing`.
        num_estimates: stems that it puts out.
        batch_size: fragments of one call.
        on_progress: called with the number of new stem samples after each call.

    Returns:
        Shape (estimates, frames - framing.lost).
    """
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
        fields = predict(fragments)[:, :count, padding : padding + hop]
        new = estimates[:, first * hop : (first + count) * hop]
        new[:] = fields.reshape(num_estimates, -1)[:, : new.shape[1]]
        on_progress(new.shape[1])
    return estimates


def bytes_needed(config: Config, framing: Framing, batch_size: int) -> int:
    """Estimated peak of memory for one pass of the network.

    What the blocks put out lives until the skips are summed; its length falls from
    the fragment's to the target field's. Then the head's widest layer, before and
    after its ReLU. Measured peaks lie within 25 % of this, plus 200 MiB for compiling.
    """
    channels = config.num_residual_blocks * (
        config.residual_channels + config.skip_channels
    )
    blocks = channels * (framing.input_length + framing.target_field_length) // 2
    head = 2 * config.final_channels[0] * framing.target_field_length
    return 4 * batch_size * max(blocks, head)


def available_memory() -> int:
    """Bytes to be had without swapping; where that is unknown, all there are."""
    with contextlib.suppress(OSError):
        for line in pathlib.Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def check_memory(config: Config, framing: Framing, batch_size: int) -> None:
    """Refuse a pass that does not fit into the memory.

    Raises:
        UserError: with the memory needed and the memory available.
    """
    needed, available = bytes_needed(config, framing, batch_size), available_memory()
    if needed > available:
        raise UserError(
            f"a target field of {framing.target_field_length} samples, {batch_size} "
            f"a batch, needs about {needed / 2**20:.0f} MiB of memory, but "
            f"{available / 2**20:.0f} MiB are available"
        )


def choose_shape(
    config: Config,
    make_framing: Callable[[Config, int], Framing],
    mixture_lengths: Sequence[int],
    *,
    target_field_length: int | None = None,
    batch_size: int | None = None,
) -> tuple[Framing, int]:
    """The framing and the batch size of a run, within a budget of memory.

    Args:
        config: the session's configuration.
        make_framing: `Framing.seamless` or `Framing.original`.
        mixture_lengths: samples of each mixture.
        target_field_length: samples. Defaults to about `PASS_LENGTH` a batch, less
            where the longest mixture needs less.
        batch_size: fragments. Defaults to about `PASS_LENGTH` samples a batch.

    Raises:
        UserError: what was given does not fit into the memory.
    """
    budget = min(MEMORY_BUDGET, available_memory() // 4)
    if target_field_length is None:
        longest = max([1, *mixture_lengths])
        most = max(1, PASS_LENGTH // (batch_size or 1))
        num_fragments = -(-longest // most)
        target_field_length = -(-longest // num_fragments)
        while target_field_length > 1 and budget < bytes_needed(
            config, make_framing(config, target_field_length), batch_size or 1
        ):
            target_field_length //= 2
    framing = make_framing(config, target_field_length)
    if batch_size is None:
        fitting = budget // bytes_needed(config, framing, 1)
        wanted = (PASS_LENGTH + 2 * config.context_length) // framing.input_length
        needed = framing.num_fragments(max([1, *mixture_lengths]))
        batch_size = max(1, min(fitting, wanted, needed))
    check_memory(config, framing, batch_size)
    return framing, batch_size
