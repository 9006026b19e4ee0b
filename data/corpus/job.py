"""A song to make, and what is drawn before anything is made."""

from __future__ import annotations

import dataclasses
import pathlib
import random

import numpy as np

from corpus import mix, speakers
from corpus.sources import RATE, STEREO_RATE
from corpus.speakers import REAL_SPEAKERS, SPEAKERS


@dataclasses.dataclass(frozen=True)
class Job:
    """A song to make."""

    source: str  # "scores" (four stems) or "music" (vocals over a produced track)
    split: str  # one of `sources.SPLITS`; "real" with "music" only
    seed: int  # from 0 on
    seconds: float
    cache: pathlib.Path  # folder of the analysed voices
    speech: float  # seconds of speech analysed per speaker
    # Folder of the recorded instruments, for training songs; None for songs without
    # them
    instruments: pathlib.Path | None = None
    stereo: bool = False  # whether it has two channels at 44.1 kHz, not one at 16 kHz

    def rng(self, part: str) -> random.Random:
        """The generator of one part of the song."""
        return random.Random(f"{self.source}/{self.split}/{self.seed}/{part}")

    @property
    def rate(self) -> int:
        """Of the song, Hz."""
        return STEREO_RATE if self.stereo else RATE

    @property
    def channels(self) -> int:
        """Of the song."""
        return 2 if self.stereo else 1

    def place(self, y: np.ndarray, part: str, width: float) -> np.ndarray:
        """Places a part up to `width` from the middle; see `mix.place`."""
        position = self.rng(f"place/{part}").uniform(-width, width)
        return mix.place(y, position, self.channels)

    @property
    def held_out(self) -> bool:
        """Whether no training song may share its speaker, banks and scores."""
        return self.split != "train"


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is drawn before anything is made: enough to name the song."""

    kind: str  # "mma", "doom" or "music"
    speaker: str
    style: str  # "sung", "said" or "both"

    def name(self, seed: int) -> str:
        """The song's folder, such as `mma-00012-june-fr-sung`."""
        return f"{self.kind}-{seed:05d}-{self.speaker}-{self.style}"


def draw_plan(job: Job) -> Plan:
    """Draws kind, speaker and style of a song."""
    rng = job.rng("plan")
    kind = "music"
    if job.source == "scores":
        kind = "mma" if rng.random() < 0.7 else "doom"
    style = rng.choice(("said", "both")) if rng.random() < 0.4 else "sung"
    names = speakers.speakers(job.split)
    if style != "sung":
        names = [name for name in names if SPEAKERS[name].phrases]
    if job.split == "real":  # recorded people, as they were recorded
        style, names = "said", list(REAL_SPEAKERS)
    return Plan(kind, rng.choice(names), style)
