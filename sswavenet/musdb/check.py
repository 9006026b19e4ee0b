"""Check of a data set before the first step of training: a table and its errors."""

from __future__ import annotations

import collections
import dataclasses
import pathlib
from collections.abc import Sequence

import numpy as np

from sswavenet.config.session import Config
from sswavenet.console import tables
from sswavenet.musdb import cache, track
from sswavenet.musdb.track import TrackFacts
from util import UserError

NUM_VALIDATION_TRACKS = 25
SPLIT_SEED = 1337
PARTS = {"train": "train", "validation": "train", "test": "test"}
MAX_DIFFERENCE_DB = -40.0


@dataclasses.dataclass(frozen=True)
class DatasetCheck:
    """What the check found."""

    table: str  # one line per track and a summary, for people
    errors: list[str]  # one line each; training is refused unless there are none
    warnings: list[str]  # one line for each kind; what training can live with
    # Facts of the usable tracks of each subset, in the split's order
    tracks: dict[str, list[TrackFacts]]


def split_tracks(names: Sequence[str]) -> tuple[list[str], list[str]]:
    """The 2018 program's split of the training tracks, whose names come in any order.

    Training tracks in sorted order, and the 25 validation tracks in the order drawn.
    Raises UserError where there are too few tracks.
    """
    if len(names) <= NUM_VALIDATION_TRACKS:
        raise UserError(
            f"expected at least {NUM_VALIDATION_TRACKS + 1} training tracks "
            f"({NUM_VALIDATION_TRACKS} of them validate), got {len(names)}"
        )
    names = sorted(names)
    random = np.random.RandomState(SPLIT_SEED)
    drawn = random.choice(len(names), NUM_VALIDATION_TRACKS, replace=False)
    train = np.setdiff1d(np.arange(len(names)), drawn)
    return [names[i] for i in train], [names[i] for i in drawn]


def part_of(config: Config, subset: str) -> str:
    """The folder within the data set that holds a subset's tracks.

    MUSDB18 has `train` and `test`; validation tracks are split off the training
    tracks. A set with a folder `validation` of its own is taken at its word.
    """
    if subset == "validation" and pathlib.Path(config.dataset_path, subset).is_dir():
        return subset
    return PARTS[subset]


def subset_names(config: Config, subset: str) -> list[str]:
    """Names of a subset's tracks.

    A UserError if there are none, or too few to split.
    """
    folder = pathlib.Path(config.dataset_path, part_of(config, subset))
    names = cache.track_names(folder)
    if subset == "test" or part_of(config, "validation") == "validation":
        return names
    try:
        train, validation = split_tracks(names)
    except UserError as error:
        raise UserError(f"{folder}: {error}") from None
    return train if subset == "train" else validation


def _notes(facts: TrackFacts) -> list[str]:
    """What is odd about a track that can be used."""
    notes = []
    if facts.level_db <= track.SILENCE_DB:
        notes.append("silent mixture")
    if facts.silent_stems:
        notes.append(f"silent {', '.join(facts.silent_stems)}")
    if not facts.segments and "vocals" in {*facts.known} - {*facts.silent_stems}:
        notes.append("no voiced segment")
    if facts.difference_db is not None and facts.difference_db > MAX_DIFFERENCE_DB:
        notes.append("mixture is not the sum of the stems")
    if len(facts.source_rates) > 1:
        notes.append("several sample rates")
    return notes


def _known(facts: TrackFacts) -> str:
    """Which stems a track knows: `all`, or their names."""
    return "all" if len(facts.known) == len(facts.rows) else ", ".join(facts.known)


def _row(name: str, subset: str, facts: TrackFacts | None, rate: int) -> list[str]:
    if facts is None:
        return [name, subset, "", "", "", "", "", "", "ERROR"]
    voiced = sum(stop - start for start, stop in facts.segments) / facts.num_frames
    difference = facts.difference_db
    return [
        name,
        subset,
        f"{facts.num_frames / rate:.1f}",
        "/".join(map(str, facts.source_rates)),
        f"{facts.level_db:.1f}",
        "" if difference is None else f"{difference:.1f}",
        f"{voiced:.0%}" if "vocals" in facts.known else "",
        _known(facts),
        "; ".join(_notes(facts)),
    ]


COLUMNS = (
    *("track", "subset", "s", "Hz", "dBFS", "mix-sum dB", "voiced", "known", "notes"),
)
LEFT_ALIGNED = {"track", "subset", "known", "notes"}


def _table(rows: list[list[str]]) -> str:
    left = [name in LEFT_ALIGNED for name in COLUMNS]
    lines = tables.aligned([list(COLUMNS), *rows], left)
    return "\n".join("  ".join(line).rstrip() for line in lines)


def check_dataset(
    config: Config,
    *,
    subsets: Sequence[str] = ("train", "validation"),
    cache_folder: pathlib.Path | None = None,
    progress: bool = True,
) -> DatasetCheck:
    """Check every track that training will read, decoding it into the cache.

    A track checked before, whose files did not change, is not read again. Errors name
    the file.
    """
    cache_folder = cache_folder or cache.default_cache_folder(config)
    rows: list[list[str]] = []
    errors: list[str] = []
    odd: dict[str, list[str]] = {}
    tracks: dict[str, list[TrackFacts]] = {subset: [] for subset in subsets}
    seconds = 0.0
    for subset in subsets:
        try:
            names = subset_names(config, subset)
        except UserError as error:
            if str(error) not in errors:
                errors.append(str(error))
            continue
        results = cache.prepare_tracks(
            config,
            part_of(config, subset),
            names,
            cache_folder,
            f"{subset} tracks",
            progress,
        )
        for name, (facts, track_errors) in zip(names, results):
            if facts is not None and facts.num_frames < config.input_length:
                path = pathlib.Path(config.dataset_path, part_of(config, subset), name)
                track_errors = [
                    f"{path / 'mixture.wav'}: {facts.num_frames} samples at "
                    f"{config.sample_rate} Hz are shorter than a fragment of "
                    f"{config.input_length}"
                ]
                facts = None
            errors.extend(track_errors)
            rows.append(_row(name, subset, facts, config.sample_rate))
            if facts is not None:
                tracks[subset].append(facts)
                seconds += facts.num_frames / config.sample_rate
                for note in _notes(facts):
                    odd.setdefault(note, []).append(name)
    warnings = []
    for note, places in odd.items():
        more = f" and {len(places) - 3} more" if len(places) > 3 else ""
        warnings.append(f"{note}: {', '.join(places[:3])}{more}")
    counts = ", ".join(f"{len(facts)} {subset}" for subset, facts in tracks.items())
    known = collections.Counter(_known(f) for facts in tracks.values() for f in facts)
    stems = "".join(
        f"; {count} of them know {names}"
        for names, count in sorted(known.items())
        if names != "all"
    )
    table = (
        f"{_table(rows)}\n{counts}{stems}; {seconds / 60:.1f} minutes; "
        f"{len(errors)} errors, {len(warnings)} warnings"
    )
    return DatasetCheck(table, errors, warnings, tracks)
