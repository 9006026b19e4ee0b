"""Stems in files against the references of a few songs, as those in audio/.

Conventions: the references of a song are NAME_STEM.flac, mono at `RATE`; estimates
may have any rate and channels, of which the mean is scored at that rate.
"""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from sswavenet.evaluation import metrics
from sswavenet.sound.reader import AudioReader, read_mono
from util import UserError

RATE = 16000  # Hz, of the references, at which stems are scored

STEMS = ("vocals", "drums", "bass", "other")


def read_reference(path: pathlib.Path) -> np.ndarray:
    """A stem: (frames,), float32.

    A UserError unless it is mono at `RATE` and finite.
    """
    with AudioReader(path) as reader:
        if (reader.sample_rate, reader.channels) != (RATE, 1):
            raise UserError(
                f"expected {path} in mono at {RATE} Hz, got {reader.channels} channels "
                f"at {reader.sample_rate} Hz"
            )
    return read_estimate(path)


def read_estimate(path: pathlib.Path) -> np.ndarray:
    """The mean of a file's channels at `RATE`: (frames,), float32."""
    return read_mono(path, sample_rate=RATE)


def read_references(folder: pathlib.Path, name: str) -> dict[str, np.ndarray]:
    """The reference stems of a mixture, and "accompaniment": all but the vocals."""
    stems = {stem: read_reference(folder / f"{name}_{stem}.flac") for stem in STEMS}
    lengths = {stem: len(samples) for stem, samples in stems.items()}
    if len(set(lengths.values())) > 1:
        raise UserError(f"{folder}: expected stems of {name} as long, got {lengths}")
    accompaniment = np.sum([stems[stem] for stem in STEMS[1:]], axis=0)
    return {**stems, "accompaniment": accompaniment}


def song_names(folder: pathlib.Path) -> list[str]:
    """Names of the mixtures of which the folder has references, sorted."""
    suffix = f"_{STEMS[0]}.flac"
    return sorted(path.name[: -len(suffix)] for path in folder.glob(f"*{suffix}"))


def score_song(
    name: str, estimates: Mapping[str, pathlib.Path], references: pathlib.Path
) -> list[dict[str, Any]]:
    """How much closer a song's stems are to its references than the mixture is.

    `estimates` are files of its stems by their names; those without a reference are
    left out. Returns a row for each stem, with its SI-SDR and what that has gained, in
    dB. Raises UserError where a file cannot be used, or is not as long as its
    reference.
    """
    stems = read_references(references, name)
    mixture = stems["vocals"] + stems["accompaniment"]
    rows = []
    for stem, reference in stems.items():
        if stem not in estimates:
            continue
        estimate = read_estimate(estimates[stem])
        if len(estimate) != len(reference):
            raise UserError(
                f"{estimates[stem]} has {len(estimate)} samples, its reference has "
                f"{len(reference)}"
            )
        found = metrics.si_sdr(reference, estimate)
        rows.append(
            {
                "Mixture": name,
                "Stem": stem,
                "SI-SDR in dB": found,
                "improvement in dB": found - metrics.si_sdr(reference, mixture),
            }
        )
    return rows
