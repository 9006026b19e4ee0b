"""Decoded tracks on disk, made once and made anew when a source changes.

What training reads of a track is one float32 `.npy` file of shape (rows, frames), rows
as `TrackFacts.rows` says, which NumPy maps into memory, so that a fragment costs one
seek for each row. Beside it, a JSON file holds the track's facts and what
they were computed from: version, rate, size and modification time of each source. Both
files are written to a temporary name and renamed.

Decoding and resampling release Python's global lock, so threads use all cores.

Conventions: `part` is a folder of the tree, "train" or "test".
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import hashlib
import os
import pathlib
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

import util
from sswavenet.backend import folders
from sswavenet.config.session import Config
from sswavenet.config.tasks import Task
from sswavenet.console.bars import make_bar
from sswavenet.musdb import track
from sswavenet.musdb.track import TrackFacts
from util import UserError

HOW_TO_GET_ONE = (
    "; data/README.md says how to get a data set, and make train-demo tries a small one"
)
CACHE_VERSION = 2
# Some versions of Python fail to parse a header while another thread parses one
# ("AST constructor recursion depth mismatch").
_HEADERS = threading.Lock()

MAX_DECODERS = 8  # each holds one decoded stereo stem


def default_cache_folder(config: Config) -> pathlib.Path:
    """Inside the data set where that can be written, else in the user's cache."""
    dataset_folder = pathlib.Path(config.dataset_path)
    name = f".cache-{config.sample_rate}"
    if os.access(dataset_folder, os.W_OK):
        return dataset_folder / name
    return folders.cache_folder() / "datasets" / name_of_place(config) / name


def name_of_place(config: Config) -> str:
    """A folder's name that tells the configuration's data set from any other."""
    place = pathlib.Path(config.dataset_path).resolve()
    return hashlib.sha256(os.fsencode(place)).hexdigest()[:16]


def track_names(folder: pathlib.Path) -> list[str]:
    """Names of the track folders in one part of the tree, sorted.

    A UserError without.
    """
    try:
        names = [entry.name for entry in folder.iterdir() if entry.is_dir()]
    except OSError as error:
        raise UserError(
            f"{folder}: expected a folder of tracks, got {error.strerror or error}"
            f"{HOW_TO_GET_ONE}"
        ) from None
    names = sorted(name for name in names if not util.is_foreign(name))
    if not names:
        raise UserError(
            f"{folder}: expected folders of tracks, got none{HOW_TO_GET_ONE}"
        )
    return names


def audio_path(
    cache_folder: pathlib.Path, task_name: str, part: str, name: str
) -> pathlib.Path:
    """Where a track's decoded stems lie."""
    return cache_folder / task_name / part / f"{name}.npy"


def _sources(folder: pathlib.Path, task: Task) -> dict[str, list[int]]:
    """Size and modification time of the files that the task reads and that exist."""
    sources = {}
    for name in track.source_names(folder, task):
        path = folder / f"{name}.wav"
        if path.is_file():
            state = path.stat()
            sources[name] = [state.st_size, state.st_mtime_ns]
    return sources


def _cached_facts(
    path: pathlib.Path, key: dict[str, Any], task: Task
) -> TrackFacts | None:
    """The facts written earlier, where they and the audio are still good."""
    try:
        document = util.read_json(path.with_suffix(".json"))
        facts = TrackFacts(**document["facts"])
        track.check_facts(facts, path.stem, task)
        if not path.is_file():  # to open a pipe takes for ever
            return None
        # Mapping looks at the header and the size, and reads no audio.
        with _HEADERS:
            audio = np.lib.format.open_memmap(path, mode="r")
        expected = (len(facts.rows), facts.num_frames)
        if document["key"] == key and audio.shape == expected:
            return facts if audio.dtype == np.float32 else None
    except (ArithmeticError, KeyError, OSError, TypeError, ValueError):
        pass
    return None


def prepare_track(
    folder: pathlib.Path, path: pathlib.Path, task: Task, sample_rate: int
) -> tuple[TrackFacts | None, list[str]]:
    """Decode one track of a folder into the cache, at `path`, unless it is there.

    Returns the track's facts (None where it cannot be used) and one line per error.
    Raises UserError where the cache cannot be written.
    """
    key = {
        "version": CACHE_VERSION,
        "sample_rate": sample_rate,
        "sources": _sources(folder, task),
    }
    facts = _cached_facts(path, key, task)
    if facts is not None:
        return facts, []
    stems, facts, errors = track.decode_track(folder, task, sample_rate)
    if stems is None or facts is None:
        return None, errors
    document = {"key": key, "facts": dataclasses.asdict(facts)}
    try:
        # Facts vouch for the audio: without them while it changes.
        path.with_suffix(".json").unlink(missing_ok=True)
        with util.replacing(path) as temporary:
            np.save(temporary, stems)
        util.write_json(path.with_suffix(".json"), document)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from None
    return facts, []


def prepare_tracks(
    config: Config,
    part: str,
    names: Sequence[str],
    cache_folder: pathlib.Path,
    title: str,
    progress: bool,
) -> list[tuple[TrackFacts | None, list[str]]]:
    """`prepare_track` for several tracks, in the order of `names`, on all cores.

    A progress bar of this title is shown on a terminal, if any.
    """

    def prepare(name: str) -> tuple[TrackFacts | None, list[str]]:
        folder = pathlib.Path(config.dataset_path, part, name)
        path = audio_path(cache_folder, config.task_name, part, name)
        return prepare_track(folder, path, config.task, config.sample_rate)

    # Of decoders that were killed; each may have the size of a track.
    util.remove_leftovers(audio_path(cache_folder, config.task_name, part, "").parent)
    num_threads = min(os.cpu_count() or 1, MAX_DECODERS)
    with concurrent.futures.ThreadPoolExecutor(num_threads) as pool:
        jobs = [pool.submit(prepare, name) for name in names]
        # disable=None: no bar where stderr is no terminal.
        bar = make_bar(
            jobs,
            desc=title,
            unit="track",
            disable=None if progress else True,
        )
        try:
            return [job.result() for job in bar]
        finally:
            # After an error or Ctrl-C, the tracks that still wait are not decoded.
            for job in jobs:
                job.cancel()
