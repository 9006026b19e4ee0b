"""Evaluate a session on a MUSDB18 tree: scores per track, summary, box plots.

The methods that are scored are `model`, `mixture` (the mixture itself as every
stem's estimate: the baseline) and, where asked for, `oracle` (the ideal ratio mask).
Scores made earlier from the same weights, files and settings are taken as they are.

The network comes as a function from a mixture and its rate to the estimate of each
stem by name, remainder included, as long and with as many channels; it runs in this
process, BSS Eval in others.

Conventions: float32 audio, mono at the model's rate, or (frames, channels) at the
tracks' own.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import importlib.util
import logging
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any, Callable

from sswavenet.config.session import Config
from sswavenet.console import packages, pools, signals
from sswavenet.console.bars import make_bar
from sswavenet.evaluation import scorer, summary
from sswavenet.evaluation.metrics import METRICS, score_methods
from sswavenet.evaluation.scorer import Separate, Work
from sswavenet.evaluation.store import ScoreStore
from sswavenet.evaluation.tracks import find_tracks
from util import UserError

logger = logging.getLogger(__name__)

# What `actors.spread` does: (make, jobs) to jobs and what `make()(job, again)` returns
Spread = Callable[[Callable, "Sequence[Work]"], "Iterator[tuple[Work, Any]]"]


@dataclasses.dataclass(frozen=True)
class Settings:
    """What one run is asked for."""

    output_path: pathlib.Path  # folder for the results
    subset: str = "test"  # "train", "validation" or "test"; defaults to "test"
    metrics: Sequence[str] = METRICS  # of `metrics.METRICS`; defaults to all
    oracle: bool = False  # whether to score the ideal ratio mask, too
    jobs: int = 1  # processes that compute BSS Eval
    native: bool = False  # at the tracks' own rate and channels; or mono at the model's


@dataclasses.dataclass(frozen=True)
class Results:
    """What a run found."""

    text: str  # the summary in Markdown
    folder: pathlib.Path  # where everything is written
    num_failed: int  # tracks that could not be read or separated


def evaluate(
    config: Config,
    make_separate: Callable[[Sequence[int]], Separate],
    made_by: str,
    settings: Settings,
    *,
    heading: Sequence[str],
    spread: Spread | None = None,
) -> Results:
    """Score every track of a subset, or take the scores made before.

    A track that cannot be used is logged as an error and listed in the summary, below
    the paragraphs of `heading`. `make_separate` makes the separating function for
    tracks of given lengths; it is not called where all scores are there. `made_by`
    tells what it makes from what others make. With `spread` tracks are scored where it
    takes them, each by a `scorer.TrackScorer`. Raises UserError where nothing can be
    evaluated with these settings.
    """
    _check(settings)
    methods = ["model", "mixture", *(["oracle"] if settings.oracle else [])]
    tracks, failed = find_tracks(config, settings.subset)
    store = ScoreStore(
        settings.output_path,
        settings.subset,
        config.task.stems,
        settings.metrics,
        {
            "task": config.task_name,
            "sample_rate": "native" if settings.native else config.sample_rate,
        },
        made_by,
    )
    found: dict[str, dict[str, Any]] = {method: {} for method in methods}
    files = {track.name: track.files for track in tracks}
    to_do = []
    for track in tracks:
        missing = []
        for method in methods:
            targets = store.read(method, track.name, files[track.name])
            if targets is None:
                missing.append(method)
            else:
                found[method][track.name] = targets
        if missing:
            to_do.append((track, missing))
    logger.info(
        "%d tracks, %d of them scored before", len(tracks), len(tracks) - len(to_do)
    )
    lengths = [track.num_frames for track, methods in to_do if "model" in methods]
    if spread is None:
        separate = make_separate(lengths) if lengths else None
        work = _estimated(config, separate, to_do, failed, native=settings.native)
        scored = _scored(work, config, settings, len(to_do))
    else:
        make = functools.partial(
            scorer.TrackScorer,
            config,
            make_separate,
            lengths,
            metrics=settings.metrics,
            native=settings.native,
        )
        scored = _spread(spread(make, to_do), settings, failed, len(to_do))
    for name, by_method in scored:
        for method, targets in by_method.items():
            store.write(method, name, files[name], targets)
            found[method][name] = targets
    text = summary.write_report(
        settings.output_path,
        {method: dict(sorted(targets.items())) for method, targets in found.items()},
        config.task.stems,
        settings.metrics,
        heading=heading,
        failed=failed,
    )
    return Results(text, settings.output_path.resolve(), len(failed))


def _check(settings: Settings) -> None:
    """Refuse what would fail only after hours: a metric, or a missing package."""
    unknown = set(settings.metrics) - set(METRICS)
    if unknown:
        raise UserError(
            f"--metrics must be some of {','.join(METRICS)}, got "
            f"{','.join(settings.metrics)}"
        )
    needed = {"matplotlib": "the box plots"}
    if "bss" in settings.metrics:
        needed["museval"] = "BSS Eval (--metrics si_sdr does without)"
    for package, purpose in needed.items():
        if importlib.util.find_spec(package) is None:
            raise UserError(
                f"needs the package {package} for {purpose}, which is not installed: "
                f"{packages.how_to_install(package)}"
            )


def _estimated(
    config: Config,
    separate: Separate | None,
    to_do: Sequence[Work],
    failed: dict[str, str],
    *,
    native: bool,
) -> Iterator[tuple[str, tuple]]:
    """Name and first arguments of `score_methods`; the network runs here."""
    for track, methods in to_do:
        try:
            arguments = scorer.estimate(config, separate, track, methods, native=native)
        except (OSError, MemoryError, UserError) as error:
            failed[track.name] = scorer.why(track, error)
            logger.error("%s", failed[track.name])
            continue
        yield track.name, arguments


def _spread(
    results: Iterator[tuple[Work, Any]],
    settings: Settings,
    failed: dict[str, str],
    total: int,
) -> Iterator[Any]:
    """Track names and their targets by method, as they come."""
    bar = _bar(settings, total)
    with bar:
        for (track, _), result in results:
            targets, reason = result or (
                None,
                "each process that scored it ended early",
            )
            if targets is None:
                failed[track.name] = reason
                logger.error("%s", reason)
            else:
                yield track.name, targets
            bar.update()


def _bar(settings: Settings, total: int) -> Any:
    return make_bar(
        desc=f"{settings.subset} scores", total=total, unit="track", disable=None
    )


def _scored(
    work: Iterator[tuple[str, tuple]], config: Config, settings: Settings, total: int
) -> Iterator[Any]:
    """Track names and their targets by method, in the order of `work`."""
    score = functools.partial(
        score_methods,
        names=config.task.stems,
        metrics=tuple(settings.metrics),
    )
    bar = _bar(settings, total)
    with bar:
        if settings.jobs == 1 or "bss" not in settings.metrics or total < 2:
            for name, arguments in work:
                yield name, score(*arguments)
                bar.update()
            return
        waiting: collections.deque = collections.deque()

        def finish() -> tuple:
            name, future = waiting.popleft()
            targets = future.result()
            bar.update()
            return name, targets

        with pools.process_pool(
            min(settings.jobs, total),
            signals.ignore_those_of_the_group,
            broken="a scoring process ended early, probably for want of memory; what "
            "is scored so far is kept; try fewer --jobs",
        ) as pool:
            for name, arguments in work:
                with signals.waiting():  # a process half started could not be ended
                    future = pool.submit(score, *arguments)
                waiting.append((name, future))
                # Each track that waits has its audio in memory.
                while len(waiting) > settings.jobs:
                    yield finish()
            while waiting:
                yield finish()
