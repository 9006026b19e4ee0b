"""The network for each mixture of a run.

All files of a run go through one shape, so that the network compiles once; with one
shot, each file has its own.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Callable

from sswavenet.config.session import Config
from sswavenet.separation.framing import Framing, Network, Predict
from sswavenet.separation.shapes import Blocks, bytes_needed, check_memory, choose_shape
from util import UserError

logger = logging.getLogger(__name__)


class NetworkSource:
    """Gives the network for each mixture, a smaller one after the memory ran out.

    Args:
        config: the session's configuration.
        build_predict: makes the network for a framing.
        mixture_lengths: samples of the mixtures to come; longer ones work, too.
        original_framing: frame like the 2018 program. Defaults to False.
        one_shot: one forward pass for each mixture. Defaults to False.
        target_field_length: samples. Defaults to a fitting number, or to the
            config's in the original framing.
        batch_size: fragments. Defaults to a fitting number, or to the config's in
            the original framing.
        blocks: how `build_predict` runs fragments, if not in one pass.

    Raises:
        UserError: what was given does not fit into the memory.
    """

    def __init__(
        self,
        config: Config,
        build_predict: Callable[..., Predict],
        mixture_lengths: Sequence[int],
        *,
        original_framing: bool = False,
        one_shot: bool = False,
        target_field_length: int | None = None,
        batch_size: int | None = None,
        blocks: Blocks | None = None,
    ):
        self._config = config
        self._build_predict = build_predict
        self._original = original_framing
        self._make_framing = Framing.original if original_framing else Framing.seamless
        self._network: Network | None = None
        self._has_shrunk = False
        if one_shot:
            return
        if original_framing:
            # As in the original: what is not given comes from the config.
            target_field_length = target_field_length or config.target_field_length
            batch_size = batch_size or config.batch_size
        framing, batch_size = choose_shape(
            config,
            self._make_framing,
            mixture_lengths,
            target_field_length=target_field_length,
            batch_size=batch_size,
            blocks=blocks,
        )
        logger.info(
            "target field %d samples, batch size %d, about %d MiB a pass",
            framing.target_field_length,
            batch_size,
            bytes_needed(config, framing, batch_size, blocks) >> 20,
        )
        self._network = Network.build(build_predict, framing, batch_size)

    def __call__(self, num_samples: int) -> Network:
        """The network for a mixture of so many samples.

        Raises:
            UserError: the mixture is too short, or too long for one shot.
        """
        lost = self._make_framing(self._config, 1).lost
        if num_samples <= lost:
            raise UserError(
                f"expected at least {lost + 1} samples at "
                f"{self._config.sample_rate} Hz, got {num_samples}"
            )
        if self._network is not None:
            return self._network
        framing = self._make_framing(self._config, num_samples - lost)
        check_memory(self._config, framing, 1)
        return Network.build(self._build_predict, framing, 1)

    def shrink(self) -> bool:
        """Halve the batch, else the target field, where that leaves the result.

        Returns:
            Whether there was anything to halve.
        """
        if self._network is None:
            return False
        framing, batch_size = self._network.framing, self._network.batch_size
        if batch_size > 1:
            batch_size //= 2
        elif framing.target_field_length > 1 and not self._original:
            half = framing.target_field_length // 2
            framing = self._make_framing(self._config, half)
        else:
            return False
        if not self._has_shrunk:
            logger.warning(
                "out of memory: the batch, then the target field is halved until it "
                "fits; the result stays the same"
            )
        self._has_shrunk = True
        # Without the old one, whose memory the new one may need.
        self._network = None
        self._network = Network.build(self._build_predict, framing, batch_size)
        logger.info(
            "target field %d samples, batch size %d",
            framing.target_field_length,
            batch_size,
        )
        return True
