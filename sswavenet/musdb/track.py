"""One track: its WAV files read as mono stems, and what is known of them.

A track is a folder of WAV files: `mixture.wav` and one for each stem that is known,
at least one. What is left of the mixture without these is the sum of the others; where
that is a single stem, it is known as well. So the accompaniment of the singing-voice
task is the mixture minus the vocals. `accompaniment.wav` is read where there is no
`vocals.wav`, which it stands for.

Conventions: frames are samples at the training rate.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from sswavenet.config.tasks import Task
from sswavenet.sound.reader import MonoReader
from util import UserError

SEGMENT_CHUNK_LENGTH = 800
STREAMED_RIFF_SIZE = 0x7FFFF000  # writers to a pipe put a size at least this large
SILENCE_DB = -100.0


@dataclasses.dataclass(frozen=True)
class TrackFacts:
    """What is known of a track once it is decoded."""

    name: str  # the track's folder
    # The stems that each row of its audio is the sum of; one where it is known alone
    rows: Sequence[Sequence[str]]
    num_frames: int  # length of every stem, samples at the training rate
    source_rates: Sequence[int]  # distinct sample rates of its files, Hz, ascending
    level_db: float  # mean power of the mixture, dB of full scale
    # Power of mixture minus sum of stems, dB of the mixture's; None where a row is what
    # the others leave of the mixture, or both are silent
    difference_db: float | None
    silent_stems: Sequence[str]  # names of known stems below `SILENCE_DB`
    # Voiced segments of the vocals, (start, stop) in frames; none where the vocals are
    # not known
    segments: Sequence[Sequence[int]]

    @property
    def known(self) -> list[str]:
        """The stems that are known alone."""
        return [row[0] for row in self.rows if len(row) == 1]


def check_facts(facts: TrackFacts, name: str, task: Task) -> None:
    """Refuse facts, read back from a file, that cannot be those of a track.

    Raises TypeError or ValueError.
    """
    pairs = np.array(facts.segments, dtype=np.int64).reshape(-1, 2)
    if (
        facts.name != name
        or sorted(stem for row in facts.rows for stem in row) != sorted(task.stems)
        or not set(facts.known) & set(task.supervised)
        or not isinstance(facts.num_frames, int)
        or (len(pairs) and not 0 <= pairs.min() <= pairs.max() <= facts.num_frames)
        or (pairs[:, 0] >= pairs[:, 1]).any()
        or not all(isinstance(rate, int) for rate in facts.source_rates)
        or not set(facts.silent_stems) <= set(task.stems)
        or not isinstance(facts.level_db, float)
        or not isinstance(facts.difference_db, (float, type(None)))
    ):
        raise ValueError(name)


def voiced_segments(vocals: np.ndarray) -> list[list[int]]:
    """Segments in which somebody sings, of vocals of shape (frames,).

    A chunk of 800 samples is voiced when its mean magnitude is at least 10 % of that of
    the track's loudest chunk. Returns (start, stop) of each segment, in frames,
    ascending; none where the vocals are silent.
    """
    if not len(vocals):
        return []
    starts = np.arange(0, len(vocals), SEGMENT_CHUNK_LENGTH)
    sums = np.add.reduceat(np.abs(vocals), starts, dtype=np.float64)
    energies = sums / np.diff(starts, append=len(vocals))
    voiced = energies >= 0.1 * energies.max()
    changes = np.diff(voiced.astype(np.int8))
    onsets = np.flatnonzero(changes == 1) + 1
    offsets = np.flatnonzero(changes == -1) + 1
    # As in the original: only a segment whose onset and offset both lie inside the
    # track counts; one that opens or closes the track does not.
    pairs = zip(onsets, offsets[int(voiced[0]) :])
    return [
        [int(onset) * SEGMENT_CHUNK_LENGTH, int(offset) * SEGMENT_CHUNK_LENGTH]
        for onset, offset in pairs
    ]


def _power_db(audio: np.ndarray) -> float:
    power = np.mean(np.square(audio), dtype=np.float64) if len(audio) else 0.0
    return float(10 * np.log10(power + 1e-20))


def source_names(folder: pathlib.Path, task: Task) -> list[str]:
    """Names of the WAV files that the task reads in a track, without extension.

    They are those that are there, but for the mixture, which has to be.
    """
    names = [stem for stem in task.stems if _is_there(folder, stem)]
    if "vocals" in names:
        return ["mixture", *(name for name in names if name != "accompaniment")]
    if _is_there(folder, "accompaniment") and "accompaniment" not in names:
        names = ["accompaniment", *names]
    return ["mixture", *names]


def _is_there(folder: pathlib.Path, name: str) -> bool:
    return os.path.lexists(folder / f"{name}.wav")


def _is_cut_short(path: pathlib.Path) -> bool:
    """Whether a RIFF file holds fewer bytes than its header promises."""
    with path.open("rb") as file:
        header = file.read(8)
    promised = int.from_bytes(header[4:8], "little")
    if header[:4] != b"RIFF" or promised >= STREAMED_RIFF_SIZE:
        return False
    # The last chunk's padding byte is often counted and not written.
    return path.stat().st_size < promised + 8 - 1


def _read_source(path: pathlib.Path, sample_rate: int) -> tuple[np.ndarray, int]:
    """A stem as float32 mono at `sample_rate` Hz, and the rate it had."""
    with MonoReader(path, sample_rate=sample_rate) as reader:
        audio, rate = reader.read(), reader.source_rate
    if _is_cut_short(path):
        raise UserError(f"{path}: cut short; the file ends before its header says")
    return audio, rate


def split_rows(
    audio: Mapping[str, np.ndarray], task: Task
) -> tuple[dict[tuple[str, ...], np.ndarray], tuple[str, ...]]:
    """What is known of a track's stems, from its files by `source_names`.

    Returns the sum of stems by their names, one where it is known alone, in the order
    of `task.stems`; and the names of those that are what is left of the mixture.
    """
    known = {stem: samples for stem, samples in audio.items() if stem in task.stems}
    if "accompaniment" in audio and "accompaniment" not in task.stems:
        known["vocals"] = audio["mixture"] - audio["accompaniment"]
    rows: dict[tuple[str, ...], np.ndarray]
    rows = {(stem,): samples for stem, samples in known.items()}
    others = tuple(stem for stem in task.stems if stem not in known)
    if others:
        rows[others] = audio["mixture"] - sum(known.values())
    order = sorted(rows, key=lambda row: task.stems.index(row[0]))
    return {row: rows[row] for row in order}, others


def decode_track(
    folder: pathlib.Path, task: Task, sample_rate: int
) -> tuple[np.ndarray | None, TrackFacts | None, list[str]]:
    """Read a track: its audio, facts and errors, one line each, which name the file.

    The audio has the shape (rows, frames), float32, at the wanted rate, in the order of
    `task.stems`. Audio and facts are None where the track cannot be used.
    """
    audio, rates, errors = {}, set(), []
    names = source_names(folder, task)
    if not set(names) & {*task.supervised, "accompaniment"}:
        errors.append(
            f"{folder}: expected at least one of "
            f"{', '.join(f'{stem}.wav' for stem in task.supervised)}"
            f"{'' if 'accompaniment' in task.stems else ', accompaniment.wav'}; "
            f"got none"
        )
    for name in names:
        try:
            audio[name], rate = _read_source(folder / f"{name}.wav", sample_rate)
            rates.add(rate)
        except UserError as error:
            errors.append(str(error))
    lengths = {name: len(samples) for name, samples in audio.items()}
    num_frames = min(lengths.values(), default=0)
    # Files of several rates may differ by a sample once they are resampled.
    slack = 1 if len(rates) > 1 else 0
    errors.extend(
        f"{folder / name}.wav: {length} samples at {sample_rate} Hz, but the "
        f"mixture has {lengths['mixture']}"
        for name, length in lengths.items()
        if "mixture" in lengths and abs(length - lengths["mixture"]) > slack
    )
    if errors:
        return None, None, errors
    audio = {name: samples[:num_frames] for name, samples in audio.items()}
    mixture = audio["mixture"]
    by_row, others = split_rows(audio, task)
    rows = list(by_row)
    stems = np.stack([by_row.pop(row) for row in rows])
    level, difference = _power_db(mixture), None
    if not others and level > SILENCE_DB:
        difference = _power_db(mixture - stems.sum(axis=0)) - level
    alone = {row[0]: samples for row, samples in zip(rows, stems) if len(row) == 1}
    facts = TrackFacts(
        name=folder.name,
        rows=rows,
        num_frames=num_frames,
        source_rates=sorted(rates),
        level_db=level,
        difference_db=difference,
        silent_stems=[
            stem for stem, samples in alone.items() if _power_db(samples) <= SILENCE_DB
        ],
        segments=voiced_segments(alone["vocals"]) if "vocals" in alone else [],
    )
    return stems, facts, []
