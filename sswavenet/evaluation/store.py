"""Scores of single tracks on disk, and whether they still hold.

A track's scores lie in `<output folder>/<method>/<subset>/<track>.json`: museval's
layout, so that its own tools read them, with what they were made from added.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

import util
from sswavenet.evaluation.metrics import BSS_METRICS, METRICS

SCORES_VERSION = 3
SCORES = {"bss": "frames", "si_sdr": "si_sdr"}  # where a target holds a metric's scores


def fingerprint(weights: dict[str, np.ndarray]) -> str:
    """What tells one network from another: a hash of its weights and their names."""
    digest = hashlib.sha256()
    for name, array in weights.items():
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def state_of_files(folder: pathlib.Path) -> dict[str, list[int]]:
    """Size and modification time of a track's files, by name."""
    files = (path for path in sorted(folder.glob("*.wav")) if path.is_file())
    states = {path.name: path.stat() for path in files}
    return {name: [state.st_size, state.st_mtime_ns] for name, state in states.items()}


@dataclasses.dataclass(frozen=True)
class ScoreStore:
    """Scores of one subset's tracks under one folder."""

    folder: pathlib.Path  # the output folder
    subset: str  # name of the subset
    stems: Sequence[str]  # names of the stems that are scored, in their order
    metrics: Sequence[str]  # of `metrics.METRICS`
    # What the scores depend on, of every track and method (task, rate)
    facts: dict[str, Any]
    # Tells one network and what it does from others: for the method `model` alone
    made_by: str

    def path(self, method: str, track: str) -> pathlib.Path:
        """Where the scores of a track lie."""
        return self.folder / method / self.subset / f"{track}.json"

    def _made_from(self, method: str, files: dict[str, list[int]]) -> dict[str, Any]:
        return {
            "version": SCORES_VERSION,
            "files": files,
            "weights": self.made_by if method == "model" else None,
            **self.facts,
        }

    def read(
        self, method: str, track: str, files: dict[str, list[int]]
    ) -> list[dict[str, Any]] | None:
        """The targets written earlier, where they were made from the same things.

        `files` is the `state_of_files` of the track. None where there are no targets,
        where a metric is missing in them, or where the file is spoiled.
        """
        targets, metrics = self._found(method, track, files)
        return targets if set(self.metrics) <= metrics else None

    def _found(
        self, method: str, track: str, files: dict[str, list[int]]
    ) -> tuple[list[dict[str, Any]], set[str]]:
        """Targets that still hold, and the metrics in them; both empty without."""
        try:
            document = util.read_json(self.path(method, track))
            targets, metrics = document["targets"], set(document["metrics"])
            if document["made_from"] == self._made_from(method, files):
                self._check(targets, metrics)
                return targets, metrics
        except (AttributeError, LookupError, TypeError, ValueError):
            pass
        return [], set()

    def _check(self, targets: Any, metrics: set[str]) -> None:
        """See that targets are what `metrics.score_stems` makes; else some error."""
        if [target["name"] for target in targets] != list(self.stems):
            raise ValueError
        for target in targets:
            numbers = [target["level_db"]]
            if "si_sdr" in metrics:
                numbers.append(target["si_sdr"])
            if "bss" in metrics:
                windows = [frame["metrics"] for frame in target["frames"]]
                numbers += [window[m] for window in windows for m in BSS_METRICS]
            reasons = target["left_out"]
            if not all(isinstance(number, float) for number in numbers):
                raise ValueError
            if not all(isinstance(reason, str) for reason in reasons.values()):
                raise ValueError
            if not set(reasons) <= set(METRICS):
                raise ValueError

    def write(
        self,
        method: str,
        track: str,
        files: dict[str, list[int]],
        targets: list[dict[str, Any]],
    ) -> None:
        """Write a track's targets, and keep other metrics' scores that still hold.

        Raises UserError where the folder cannot be written.
        """
        old, there = self._found(method, track, files)
        kept = there & set(METRICS) - set(self.metrics)
        metrics = kept | set(self.metrics)
        if kept:
            targets = [
                {
                    **target,
                    **{SCORES[metric]: before[SCORES[metric]] for metric in kept},
                    "left_out": {**before["left_out"], **target["left_out"]},
                }
                for target, before in zip(targets, old)
            ]
        document: dict[str, Any] = {
            "targets": targets,
            "metrics": sorted(metrics),
            "made_from": self._made_from(method, files),
        }
        if "bss" in metrics:
            document["museval_version"] = importlib.metadata.version("museval")
        util.write_json(self.path(method, track), document)
