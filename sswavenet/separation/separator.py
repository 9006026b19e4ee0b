"""A session in memory, as programs use it: `sswavenet.load_session`.

What imports Keras is imported only after its backend has been chosen, when something
is separated for the first time.
"""

from __future__ import annotations

import functools
import logging
import os
import pathlib
from collections.abc import Sequence
from typing import Any, Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sswavenet import checkpoints
from sswavenet.backend import cores, memory
from sswavenet.backend.choice import choose_backend, is_jax_on_processor
from sswavenet.checkpoints import Checkpoint
from sswavenet.config import shipped
from sswavenet.config.document import read_config
from sswavenet.config.session import Config
from sswavenet.config.tasks import MULTI_INSTRUMENT
from sswavenet.separation import arrays, streaming
from sswavenet.separation.engine import BlockEngine, Engine, Networks
from sswavenet.separation.framing import estimate_stems
from sswavenet.separation.native import separate_array
from sswavenet.separation.options import Options
from util import UserError

logger = logging.getLogger(__name__)

Separate = Callable[..., "dict[str, np.ndarray]"]  # as `native.separate_array`
PRECISIONS = ("float32", "bfloat16", "highest")


class Session:
    """A trained network that separates audio; `load_session` makes it.

    The first separation chooses the backend (`KERAS_BACKEND` in the environment, else
    that of Keras if it is imported already, else JAX) and compiles the network. It is
    compiled again for audio of another length, unless that is similar.

    Args:
        config: settings of the network and of its training.
        folder: where the session lies.
        checkpoint: the weights, as `checkpoints.read_checkpoint` gives them.
        precision: `float32`, `bfloat16` or `highest`. Defaults to `float32`.
    """

    def __init__(
        self,
        config: Config,
        folder: pathlib.Path,
        checkpoint: Checkpoint,
        precision: str = "float32",
    ):
        self.config = config
        self.folder = folder
        self.checkpoint = checkpoint
        self.precision = precision
        self._has_started = False
        self._engine: Engine | None = None
        self._separators: dict[int, Separate] = {}

    def __getstate__(self) -> dict[str, Any]:
        """What other processes get: what is compiled and chosen, they make anew."""
        new = Session(self.config, self.folder, self.checkpoint, self.precision)
        return vars(new)

    @property
    def stems(self) -> tuple[str, ...]:
        """Names of the stems that mixtures are separated into, the remainder last."""
        return self.config.task.stems

    @property
    def sample_rate(self) -> int:
        """The rate that the network works at, Hz; `separate` takes others, too."""
        return self.config.sample_rate

    def separate(
        self, audio: ArrayLike, sample_rate: int, *, masks: bool = False
    ) -> dict[str, NDArray[np.float32]]:
        """Separate a mixture.

        Args:
            audio: floating-point samples, shape (frames,) or (frames, channels), full
                scale 1.0.
            sample_rate: of the mixture, Hz.
            masks: whether estimates share out one channel at the network's rate like
                every other mixture. Defaults to False.

        Returns:
            Each stem by its name, in the shape of the mixture, float32. Together they
            sum to the mixture. The network hears the mean of the channels at its own
            rate, and its estimates share out every channel over the whole band; of one
            channel at that rate they are the stems, unless with `masks`.

        Raises:
            UserError: the audio or the rate cannot be used, or the memory is too
                small.
        """
        mixture, rate = arrays.as_mixture(audio), arrays.as_rate(sample_rate)
        heard = arrays.rounded_up(
            -(-len(mixture) * self.sample_rate // rate)
        )  # samples
        if heard not in self._separators:
            self._separators[heard] = self.separator([heard])
        stems = self._separators[heard](mixture, rate, masks=masks)
        if not all(np.isfinite(stem).all() for stem in stems.values()):
            raise UserError("the network's output has NaN or infinity")
        return stems

    def stream(self) -> streaming.StreamingSeparator:
        """Begin to separate a mixture that comes piece by piece.

        Returns:
            A separator of mono samples at `sample_rate`: `push(samples)` returns the
            stem samples that are finished then, `finish()` the rest, both of shape
            (stems, frames) in the order of `stems`.
        """
        self.start()
        if not streaming.is_compiled(self.config, self.precision):
            from sswavenet.backend import compat

            compat.check_precision(self.precision)
        return streaming.StreamingSeparator(
            self.config, self.checkpoint.weights, precision=self.precision
        )

    def separator(
        self,
        lengths: Sequence[int],
        options: Options = Options(),  # noqa: B008 (it is frozen)
    ) -> Separate:
        """A function that separates arrays, framed seamlessly: `native.separate_array`.

        It is made for mixtures of these lengths, samples at `sample_rate`; longer ones
        work, too. Of the options those of the framing are used, and whether
        `stem_format` is "masks". Raises UserError where what was given does not fit
        into the memory.
        """
        if self._engine is None:
            self._engine = self.engine()
        networks = Networks(self._engine, lengths, options)

        def estimate(heard: np.ndarray) -> np.ndarray:
            return networks.retrying(
                lambda: estimate_stems(
                    heard,
                    networks(len(heard)),
                    num_estimates=len(self.config.task.estimates),
                )
            )

        masks = options.stem_format == "masks"
        return functools.partial(separate_array, self.config, estimate, masks=masks)

    def start(self, *, whole: bool = False) -> None:
        """Choose the backend, and log what runs: it, the weights, and the notice.

        Raises UserError where the backend cannot be used.
        """
        if self._has_started:
            return
        if not whole and streaming.is_compiled(self.config, self.precision):
            logger.info("compiled code, %d cores", cores.num_cores())
        else:
            choose_backend()
            import models

            logger.info("%s", models.describe_backend())
        epoch = "unknown" if self.checkpoint.epoch is None else self.checkpoint.epoch
        logger.info("checkpoint %s, epoch %s", self.checkpoint.path, epoch)
        notice = self.folder / "NOTICE.txt"
        if notice.is_file():
            text = notice.read_text("utf-8", "replace")
            logger.warning("%s", " ".join(text.split()))
        self._has_started = True

    def engine(self, *, whole: bool = False) -> Engine:
        """What builds the network for a framing; on a processor it runs by blocks.

        Unless each fragment must be run in one pass, as a `whole`. Raises UserError
        where the backend, or this precision on it, cannot be used.
        """
        self.start(whole=whole)
        return make_engine(self, whole=whole)

    def print_summary(self) -> None:
        """Print the network, layer by layer."""
        choose_backend()
        import models

        models.print_summary(models.build_wavenet(self.config))


def make_engine(session: Session, *, whole: bool) -> Engine:
    """What `Session.engine` returns."""
    given = (session.config, session.checkpoint.weights)
    if is_jax_on_processor() and not whole:
        num_cores = cores.num_cores()
        return BlockEngine(
            session.config,
            functools.partial(
                streaming.BlockwisePredict,
                *given,
                num_threads=num_cores,
                precision=session.precision,
            ),
            streaming.BLOCK_LENGTH,
            num_cores,
        )
    import models
    from sswavenet.backend import compat

    compat.check_precision(session.precision)
    if compat.is_jax_on_cpu() and session.precision == "bfloat16":
        raise UserError(
            "--precision bfloat16 on a processor works block by block, so neither with "
            "--one_shot nor with --original_framing"
        )
    return Engine(
        session.config,
        functools.partial(models.build_predict, *given, session.precision),
    )


def load_session(
    name_or_path: str | os.PathLike = MULTI_INSTRUMENT,
    *,
    checkpoint: str | os.PathLike | None = None,
    precision: str = "float32",
    target: str | None = None,
    kernel_convention: str | None = None,
) -> Session:
    """Load a session: a trained network with its settings.

    Args:
        name_or_path: a session that comes with the program or lies beside those, by its
            name, or a session's folder or its config.json. Defaults to
            `multi-instrument`.
        checkpoint: the file with the weights. Defaults to the session's newest.
        precision: what the network computes in, `float32`, `bfloat16` or `highest`.
            Defaults to `float32`.
        target: the task, where an old config does not say it.
        kernel_convention: `theano` or `tensorflow`, where an old checkpoint does not
            say which backend wrote it.

    Raises:
        UserError: there is no such session, or something of it cannot be used.
    """
    if precision not in PRECISIONS:
        raise UserError(
            f"precision must be one of {', '.join(PRECISIONS)}, got {precision!r}"
        )
    path = shipped.config_path(name_or_path)
    config = read_config(path, target)
    memory.check_network(config)
    folder = checkpoints.find_session(path, config)
    file = pathlib.Path(checkpoint or checkpoints.find_latest(folder))
    weights = checkpoints.read_checkpoint(file, config, kernel_convention)
    return Session(config, folder, weights, precision)
