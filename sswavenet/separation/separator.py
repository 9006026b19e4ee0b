"""A session in memory, as programs use it: `sswavenet.load_session`.

What imports Keras is imported only after its backend has been chosen, when something
is separated for the first time.
"""

from __future__ import annotations

import operator
import os
import pathlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sswavenet.config import shipped
from sswavenet.config.session import Config
from sswavenet.config.tasks import MULTI_INSTRUMENT
from sswavenet.separation import startup
from sswavenet.separation.memory import make_separate
from sswavenet.sound.choice import MAX_RATE
from util import UserError

if TYPE_CHECKING:
    from sswavenet.separation.streaming import StreamingSeparator

PRECISIONS = ("float32", "bfloat16", "highest")
MAX_CHANNELS = 64  # who gives more has probably given (channels, frames)


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
        checkpoint: Any,
        precision: str = "float32",
    ):
        self.config = config
        self.folder = folder
        self.checkpoint = checkpoint
        self._precision = precision
        self._network: tuple[Any, Any] | None = None
        self._separators: dict[int, Callable[[np.ndarray, int], dict]] = {}

    @property
    def stems(self) -> tuple[str, ...]:
        """Names of the stems that mixtures are separated into, the remainder last."""
        return self.config.task.stems

    @property
    def sample_rate(self) -> int:
        """The rate that the network works at, Hz; `separate` takes others, too."""
        return self.config.sample_rate

    def separate(
        self, audio: ArrayLike, sample_rate: int
    ) -> dict[str, NDArray[np.float32]]:
        """Separate a mixture.

        Args:
            audio: floating-point samples, shape (frames,) or (frames, channels), full
                scale 1.0.
            sample_rate: of the mixture, Hz.

        Returns:
            Each stem by its name, in the shape of the mixture, float32. Together they
            sum to the mixture. The network hears the mean of the channels at its own
            rate, and its estimates share out every channel over the whole band; of one
            channel at that rate they are the stems.

        Raises:
            UserError: the audio or the rate cannot be used, or the memory is too
                small.
        """
        mixture, rate = _checked(audio), _checked_rate(sample_rate)
        heard = -(-len(mixture) * self.sample_rate // rate)  # samples
        stems = self._separator(_rounded_up(heard))(mixture, rate)
        if not all(np.isfinite(stem).all() for stem in stems.values()):
            raise UserError("the network's output has NaN or infinity")
        return stems

    def stream(self) -> StreamingSeparator:
        """Begin to separate a mixture that comes piece by piece.

        Returns:
            A separator of mono samples at `sample_rate`: `push(samples)` returns the
            stem samples that are finished then, `finish()` the rest, both of shape
            (stems, frames) in the order of `stems`.
        """
        self._build()
        from sswavenet.separation.streaming import StreamingSeparator

        return StreamingSeparator(
            self.config, self.checkpoint.weights, precision=self._precision
        )

    def _build(self) -> tuple[Any, Any]:
        """Choose the backend, once."""
        if self._network is None:
            startup.choose_backend()
            startup.announce(self.folder, self.checkpoint)
            self._network = startup.network(
                self.config,
                self.checkpoint.weights,
                whole=False,
                precision=self._precision,
            )
        return self._network

    def _separator(self, length: int) -> Callable[[np.ndarray, int], dict]:
        """What separates mixtures of which the network hears about so many samples."""
        if length not in self._separators:
            build_predict, blocks = self._build()
            self._separators[length] = make_separate(
                self.config, build_predict, [length], blocks=blocks
            )
        return self._separators[length]


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
        name_or_path: a session that comes with the program, by its name, or a session's
            folder or its config.json. Defaults to `multi-instrument`.
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
    config, folder, weights = startup.open_session(
        shipped.config_path(name_or_path),
        task_name=target,
        checkpoint_path=checkpoint,
        kernel_convention=kernel_convention,
    )
    return Session(config, folder, weights, precision)


def _checked(audio: ArrayLike) -> np.ndarray:
    """Audio as float32, refused where it is none."""
    samples = np.asarray(audio)
    if not np.issubdtype(samples.dtype, np.floating):
        raise UserError(
            f"expected floating-point samples, full scale 1.0, got {samples.dtype}"
        )
    if samples.ndim not in (1, 2) or not samples.size:
        raise UserError(
            "expected audio of shape (frames,) or (frames, channels), got "
            f"{samples.shape}"
        )
    if samples.ndim == 2 and samples.shape[1] > MAX_CHANNELS:
        raise UserError(
            f"expected audio of shape (frames, channels) with at most {MAX_CHANNELS} "
            f"channels, got {samples.shape}; audio.T turns (channels, frames) over"
        )
    with np.errstate(over="ignore"):  # infinity is refused below
        samples = samples.astype(np.float32)
    if not np.isfinite(samples).all():
        raise UserError("expected finite samples, got NaN or infinity")
    return samples


def _checked_rate(sample_rate: int) -> int:
    try:
        rate = operator.index(sample_rate)
    except TypeError:
        rate = 0
    if not 1 <= rate <= MAX_RATE:
        raise UserError(
            f"expected a sample rate of 1 to {MAX_RATE} Hz as an integer, got "
            f"{sample_rate!r}"
        )
    return rate


def _rounded_up(length: int) -> int:
    """One of four lengths an octave, so that similar ones share a network."""
    step = 1 << max(0, length.bit_length() - 3)
    return -(-length // step) * step
