"""The network of a session in the size that a run needs.

All mixtures of a run go through one framing, so that the network compiles once; with
one shot, each mixture has its own.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Callable, TypeVar

import util
from sswavenet.backend import memory
from sswavenet.config.session import Config
from sswavenet.separation.framing import Framing, Network, Predict
from sswavenet.separation.options import Options
from util import UserError

logger = logging.getLogger(__name__)

# Target samples of one pass: enough to keep the context's share of the work low,
# few enough to keep the activations near the processor's caches.
PASS_LENGTH = 16000
# Target samples of a fragment that is run by blocks, at most and at least. What the
# stems of a longer one take of memory grows with it, the share of its context falls.
BLOCKWISE_LENGTH = 160000
BLOCKWISE_LEAST = 80000
BLOCKWISE_CONTEXTS = 16  # that long is its target field, beyond the least
MEMORY_BUDGET = 2 * 2**30

# As long as any mixture may be, where it is not known how long they are.
ANY_LENGTH = 10**9

Frame = Callable[[int], Framing]  # the framing for a target field of so many samples
Result = TypeVar("Result")


class Engine:
    """A session's network, which runs each batch of fragments in one pass.

    `build_predict` makes what `framing` calls `predict`, from `Framing.lengths`.
    """

    def __init__(self, config: Config, build_predict: Callable[..., Predict]):
        self.config = config
        self._build_predict = build_predict

    def build(self, framing: Framing) -> Predict:
        """The network for a framing."""
        return self._build_predict(**framing.lengths)

    def bytes(self, framing: Framing, batch_size: int) -> int:
        """Estimated peak of memory while a batch runs."""
        return memory.bytes_of_pass(
            self.config,
            input_length=framing.input_length,
            target_field_length=framing.target_field_length,
            batch_size=batch_size,
        )

    def choose(
        self,
        frame: Frame,
        longest: int,
        target_field_length: int | None = None,
        batch_size: int | None = None,
    ) -> tuple[Framing, int]:
        """The framing and the batch size that suit mixtures of `longest` samples.

        By default a batch has about `PASS_LENGTH` target samples; fewer where the
        longest mixture needs fewer, or the memory is small.
        """
        if target_field_length is None:
            target_field_length = self._field(frame, longest, batch_size)
        framing = frame(target_field_length)
        return framing, batch_size or self._batch(framing, longest)

    def _field(self, frame: Frame, longest: int, batch_size: int | None) -> int:
        most = max(1, PASS_LENGTH // (batch_size or 1))
        num_fragments = -(-longest // most)
        field = -(-longest // num_fragments)
        while field > 1 and _budget() < self.bytes(frame(field), batch_size or 1):
            field //= 2
        return field

    def _batch(self, framing: Framing, longest: int) -> int:
        fitting = _budget() // self.bytes(framing, 1)
        around = 2 * self.config.context_length
        wanted = (PASS_LENGTH + around) // framing.input_length
        return max(1, min(fitting, wanted, framing.num_fragments(longest)))


def _budget() -> int:
    """Bytes that a batch may take."""
    return min(MEMORY_BUDGET, memory.available_memory() // 4)


class BlockEngine(Engine):
    """A session's network, which runs each fragment as a stream of short blocks.

    `num_parallel` fragments run side by side.
    """

    def __init__(
        self,
        config: Config,
        build_predict: Callable[..., Predict],
        block_length: int,
        num_parallel: int,
    ):
        super().__init__(config, build_predict)
        self._block = Framing.seamless(config, block_length)
        self._num_parallel = num_parallel

    def bytes(self, framing: Framing, batch_size: int) -> int:
        """Estimated peak of memory while a batch runs.

        One block for each fragment that runs, and the context it keeps; all fragments
        and what is put out for them.
        """
        signals = framing.input_length + framing.target_field_length * (
            1 + len(self.config.task.estimates)
        )
        running = min(batch_size, self._num_parallel)
        return running * super().bytes(self._block, 1) + 4 * batch_size * signals

    # By default the field is `BLOCKWISE_CONTEXTS` times its context, within bounds, and
    # the batch what runs side by side, so that all cores are busy.

    def _field(self, frame: Frame, longest: int, batch_size: int | None) -> int:
        num_parallel = batch_size or self._num_parallel
        around = 2 * self.config.context_length
        most = max(BLOCKWISE_LEAST, BLOCKWISE_CONTEXTS * around)
        rounds = -(-longest // (min(most, BLOCKWISE_LENGTH) * num_parallel))
        return -(-longest // (rounds * num_parallel))

    def _batch(self, framing: Framing, longest: int) -> int:
        return self._num_parallel


class Networks:
    """Gives the network for each mixture, a smaller one after the memory ran out.

    Networks are built for mixtures of these lengths, in samples, 0 where one is not
    known; longer ones work, too. Raises UserError where what was given does not fit
    into the memory.
    """

    def __init__(
        self,
        engine: Engine,
        mixture_lengths: Sequence[int],
        options: Options = Options(),  # noqa: B008 (it is frozen)
    ):
        self.config = engine.config
        self._engine = engine
        self._original = options.original_framing
        self._network: Network | None = None
        self._has_shrunk = False
        if options.one_shot:
            return
        field, batch_size = options.target_field_length, options.batch_size
        if self._original:
            # As in the original: what is not given comes from the config.
            field = field or self.config.target_field_length
            batch_size = batch_size or self.config.batch_size
        # Less than its context would save little, and cost much if a mixture is longer.
        least = 2 * self.config.context_length
        is_known = all(mixture_lengths)
        longest = max([least, *mixture_lengths]) if is_known else ANY_LENGTH
        framing, batch_size = engine.choose(self._frame, longest, field, batch_size)
        self._check_memory(framing, batch_size)
        self._build(framing, batch_size)

    def __call__(self, num_samples: int) -> Network:
        """The network for a mixture of so many samples; a UserError if none fits."""
        lost = self._frame(1).lost
        if num_samples <= lost:
            raise UserError(
                f"expected at least {lost + 1} samples at "
                f"{self.config.sample_rate} Hz, got {num_samples}"
            )
        if self._network is not None:
            return self._network
        framing = self._frame(num_samples - lost)
        self._check_memory(framing, 1)
        return Network(framing, 1, self._engine.build(framing))

    def retrying(self, work: Callable[[], Result]) -> Result:
        """Do some work, again with a smaller network while the memory runs out."""
        while True:
            try:
                return work()
            except Exception as error:
                if not (util.is_out_of_memory(error) and self._shrink()):
                    raise

    def _frame(self, target_field_length: int) -> Framing:
        make = Framing.original if self._original else Framing.seamless
        return make(self.config, target_field_length)

    def _check_memory(self, framing: Framing, batch_size: int) -> None:
        memory.check_memory(
            f"a target field of {framing.target_field_length} samples, {batch_size} a "
            "batch,",
            self._engine.bytes(framing, batch_size),
        )

    def _build(self, framing: Framing, batch_size: int) -> None:
        logger.info(
            "target field %d samples, batch size %d, about %d MiB a pass",
            framing.target_field_length,
            batch_size,
            self._engine.bytes(framing, batch_size) >> 20,
        )
        self._network = Network(framing, batch_size, self._engine.build(framing))

    def _shrink(self) -> bool:
        """Halve the batch size; if it is 1, the target field. False if that is, too."""
        if self._network is None:
            return False
        framing, batch_size = self._network.framing, self._network.batch_size
        if batch_size > 1:
            batch_size //= 2
        elif framing.target_field_length > 1 and not self._original:
            framing = self._frame(framing.target_field_length // 2)
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
        self._build(framing, batch_size)
        return True
