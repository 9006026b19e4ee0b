"""What is made of a track before its scores: its stems, separated and true."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Callable

import numpy as np

from sswavenet.config.session import Config
from sswavenet.evaluation.metrics import score_methods
from sswavenet.evaluation.tracks import ScoredTrack
from util import UserError

Separate = Callable[[np.ndarray, int], "dict[str, np.ndarray]"]
Work = tuple[ScoredTrack, list[str]]  # what is scored, and by which methods


def estimate(
    config: Config,
    separate: Separate | None,
    track: ScoredTrack,
    methods: Sequence[str],
    *,
    native: bool,
) -> tuple:
    """The first arguments of `score_methods` for a track.

    Raises OSError, MemoryError or UserError where it cannot be read or separated.
    """
    if native:
        mixture, references, rate = track.read_native(config.task)
    else:
        rate = config.sample_rate
        mixture, references = track.read(rate)
    estimates = None
    if separate and "model" in methods:
        stems = separate(mixture, rate)
        estimates = np.stack([stems[name] for name in config.task.stems])
        if not np.isfinite(estimates).all():
            raise UserError("the network's output has NaN or infinity")
    return methods, references, mixture, estimates, track.rows, rate


def why(track: ScoredTrack, error: Exception) -> str:
    """A track and what is wrong with it, in one line."""
    reason = " ".join(str(error).split()) or type(error).__name__
    return f"{track.folder}: {reason}"


class TrackScorer:
    """Separates and scores one track after the other, in a process of its own.

    Args:
        config: settings of the network.
        make_separate: makes the separating function for tracks of given lengths.
        lengths: of the tracks, frames at the model's rate.
        metrics: of `metrics.METRICS`.
        native: whether tracks are scored at their own rate and channels.
    """

    def __init__(
        self,
        config: Config,
        make_separate: Callable[[Sequence[int]], Separate],
        lengths: Sequence[int],
        *,
        metrics: Sequence[str],
        native: bool,
    ):
        self._config, self._metrics, self._native = config, tuple(metrics), native
        self._separate = make_separate(lengths) if lengths else None

    def __call__(self, work: Work, again: bool = False) -> tuple[Any, str]:
        """Targets by method of a track, or why there are none; also if done `again`."""
        track, methods = work
        try:
            arguments = estimate(
                self._config,
                self._separate,
                track,
                methods,
                native=self._native,
            )
        except (OSError, MemoryError, UserError) as error:
            return None, why(track, error)
        names = self._config.task.stems
        return score_methods(*arguments, names=names, metrics=self._metrics), ""
