"""Separate mixtures that lie in memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Callable

import numpy as np

import util
from sswavenet.config.session import Config
from sswavenet.separation.engine import NetworkSource
from sswavenet.separation.framing import Predict, estimate_stems
from sswavenet.separation.native import NativeMixture
from sswavenet.separation.shapes import Blocks


def make_separate(
    config: Config,
    build_predict: Callable[..., Predict],
    lengths: Sequence[int],
    *,
    target_field_length: int | None = None,
    batch_size: int | None = None,
    blocks: Blocks | None = None,
) -> Callable[[np.ndarray, int], dict[str, np.ndarray]]:
    """A function that separates mixtures, framed seamlessly.

    Args:
        config: the session's configuration.
        build_predict: makes the network for a framing.
        lengths: samples, at the model's rate, of the mixtures to come; longer ones
            work, too.
        target_field_length: samples. Defaults to a fitting number.
        batch_size: fragments. Defaults to a fitting number.
        blocks: how `build_predict` runs fragments, if not in one pass.

    Returns:
        A function from a mixture, float32, shape (frames, channels) or (frames,), and
        its rate in Hz to each stem by name, remainder included, in the same shape and
        at the same rate. The stems sum to the mixture. Those of a mono mixture at the
        model's rate are the network's own.

    Raises:
        UserError: what was given does not fit into the memory.
    """
    networks = NetworkSource(
        config,
        build_predict,
        lengths,
        target_field_length=target_field_length,
        batch_size=batch_size,
        blocks=blocks,
    )

    def estimate(heard: np.ndarray) -> np.ndarray:
        while True:
            try:
                return estimate_stems(
                    heard,
                    networks(len(heard)),
                    num_estimates=len(config.task.estimates),
                )
            except Exception as error:
                if not (util.is_out_of_memory(error) and networks.shrink()):
                    raise

    return at_any_rate(config, estimate)


def at_any_rate(
    config: Config, estimate: Callable[[np.ndarray], np.ndarray]
) -> Callable[[np.ndarray, int], dict[str, np.ndarray]]:
    """What `make_separate` returns.

    Args:
        config: the session's configuration.
        estimate: runs the network: from what it hears, mono at the model's rate, shape
            (frames,), to the estimates, shape (estimates, frames).
    """

    def separate(mixture: np.ndarray, sample_rate: int) -> dict[str, np.ndarray]:
        channels = mixture.reshape(len(mixture), -1)
        if sample_rate == config.sample_rate and channels.shape[1] == 1:
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

    return separate
