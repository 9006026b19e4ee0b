"""What a separation did with each file, for its report.

Conventions: the hash of a stem is SHA-256 over its samples as little-endian float32
at full scale 1.0, whatever type they are stored in.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.metadata
import os
import pathlib
import platform
from collections.abc import Sequence
from typing import Any

import util
from sswavenet.config.document import to_document
from sswavenet.config.session import Config

SEPARATED, SKIPPED, FAILED = "separated", "skipped", "failed"
PACKAGES = (
    "av",
    "h5py",
    "jax",
    "keras",
    "numpy",
    "scipy",
    "soundfile",
    "tensorflow",
    "torch",
)


@dataclasses.dataclass
class StemReport:
    """One stem that was written."""

    path: str
    sha256: str  # hash of its samples; empty where its format is lossy
    frames: int  # how many there are
    clipped: int  # how many of them were clipped


@dataclasses.dataclass
class FileReport:
    """What became of one mixture."""

    path: str
    status: str = FAILED  # `SEPARATED`, `SKIPPED` or `FAILED`
    message: str = ""  # why it failed; else empty
    # What was warned of, as damage or clipped samples
    warnings: list[str] = dataclasses.field(default_factory=list)
    # Of the mixture, at the stems' rate; None where it was not separated
    frames: int | None = None
    sample_rate: int | None = None  # the stems', Hz, likewise
    # By name; those that were written
    stems: dict[str, StemReport] = dataclasses.field(default_factory=dict)
    seconds: float = 0.0  # that the work took


@dataclasses.dataclass
class Counts:
    """What a run has done so far; `audio_seconds` counts the separated mixtures."""

    folder: pathlib.Path | str  # or the URL that the stems went to
    num_files: int = 0  # mixtures found
    num_separated: int = 0  # mixtures whose stems were written
    num_skipped: int = 0  # mixtures whose stems were there
    audio_seconds: float = 0.0
    wall_seconds: float = 0.0

    def add(self, found: FileReport) -> None:
        """Count a file."""
        self.num_files += 1
        self.num_separated += found.status == SEPARATED
        self.num_skipped += found.status == SKIPPED
        self.audio_seconds += (found.frames or 0) / (found.sample_rate or 1)

    @property
    def num_failed(self) -> int:
        """Mixtures that could not be separated."""
        return self.num_files - self.num_separated - self.num_skipped


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that are installed."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def run_facts(
    args: argparse.Namespace, config: Config, checkpoint: pathlib.Path
) -> dict[str, Any]:
    """What holds for a whole run: its arguments, configuration and weights."""
    return {
        "arguments": {name: _plain(value) for name, value in vars(args).items()},
        "config": to_document(config),
        "checkpoint": {
            "path": str(checkpoint),
            "sha256": util.sha256(checkpoint),
        },
    }


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, pathlib.Path) else value


def write_report(
    path: os.PathLike, files: Sequence[FileReport], facts: dict[str, Any]
) -> None:
    """Write as JSON what became of each mixture, and what holds for the whole run.

    A file that exists is replaced, also at the end of a link. Raises UserError where it
    cannot be written.
    """
    util.write_json(
        pathlib.Path(os.path.realpath(path)),
        {
            **facts,
            "versions": versions(),
            "files": [dataclasses.asdict(file) for file in files],
        },
    )
