"""MUSDB18 tracks decoded once: mono, at the training rate, checked, on disk.

A track is a folder of WAV files, `mixture.wav` and one for each stem. What training
reads of it is one float32 `.npy` file of shape (stems, frames), rows in the order of
`Task.stems`, which NumPy maps into memory, so that a fragment costs one seek. Beside
it, a JSON file holds the track's facts and what they were computed from (version, rate,
size and modification time of each source); a track whose sources changed is decoded
again. Both files are written to a temporary name and renamed.

Decoding and resampling release Python's global lock, so threads use all cores.

Conventions: `part` is a folder of the tree, "train" or "test"; frames are samples at
the training rate.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import hashlib
import os
import pathlib
from typing import Any, Optional, Sequence

import numpy as np
import soundfile
import tqdm

import util
from config import Config, Task, UserError

CACHE_VERSION = 1
MAX_DECODERS = 8  # each holds one decoded stereo stem, about 250 MB for 4 minutes
SEGMENT_CHUNK_LENGTH = 800
STREAMED_RIFF_SIZE = 0x7FFFF000  # writers to a pipe put a size at least this large
SILENCE_DB = -100.0


@dataclasses.dataclass(frozen=True)
class TrackFacts:
    """What is known of a track once it is decoded.

    Args:
        name: the track's folder.
        num_frames: length of every stem, samples at the training rate.
        source_rates: distinct sample rates of its files, Hz, ascending.
        level_db: mean power of the mixture, dB of full scale.
        difference_db: power of mixture minus sum of stems, dB of the mixture's; None
            where the task reads the mixture and the vocals only, or both are silent.
        silent_stems: names of stems below `SILENCE_DB`.
        segments: voiced segments of the vocals, (start, stop) in frames.
    """

    name: str
    num_frames: int
    source_rates: Sequence[int]
    level_db: float
    difference_db: Optional[float]
    silent_stems: Sequence[str]
    segments: Sequence[Sequence[int]]


def default_cache_folder(config: Config) -> pathlib.Path:
    """Inside the data set where that can be written, else in the user's cache."""
    dataset_folder = pathlib.Path(config.dataset_path)
    name = f".cache-{config.sample_rate}"
    if os.access(dataset_folder, os.W_OK):
        return dataset_folder / name
    base = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    place = hashlib.sha256(os.fsencode(dataset_folder.resolve())).hexdigest()[:16]
    return pathlib.Path(base) / "sswavenet" / "datasets" / place / name


def track_names(dataset_folder: pathlib.Path, part: str) -> list[str]:
    """Names of the track folders of one part of the tree, sorted.

    Raises:
        UserError: there are none.
    """
    folder = dataset_folder / part
    try:
        names = [entry.name for entry in folder.iterdir() if entry.is_dir()]
    except OSError as error:
        raise UserError(
            f"{folder}: expected a folder of tracks, got {error.strerror or error}"
        ) from None
    names = sorted(name for name in names if not name.startswith("."))
    if not names:
        raise UserError(f"{folder}: expected folders of tracks, got none")
    return names


def audio_path(cache_folder: pathlib.Path, task_name: str, part: str, name: str):
    """Where a track's decoded stems lie."""
    return cache_folder / task_name / part / f"{name}.npy"


def voiced_segments(vocals: np.ndarray) -> list[list[int]]:
    """Segments in which somebody sings.

    A chunk of 800 samples is voiced when its mean magnitude is at least 10 % of that
    of the track's loudest chunk.

    Args:
        vocals: shape (frames,).

    Returns:
        (start, stop) of each segment, in frames, ascending; none where the vocals are
        silent.
    """
    if not len(vocals):
        return []
    starts = np.arange(0, len(vocals), SEGMENT_CHUNK_LENGTH)
    sums = np.add.reduceat(np.abs(vocals), starts)
    energies = sums / np.diff(starts, append=len(vocals))
    voiced = (energies >= 0.1 * energies.max()) & (energies > 0)
    changes = np.diff(voiced.astype(np.int8))
    onsets = np.flatnonzero(changes == 1) + 1
    offsets = np.flatnonzero(changes == -1) + 1
    # As in the original: only a segment whose onset and offset both lie inside the
    # track counts; one that opens or closes the track does not.
    if len(onsets) and len(offsets):
        offsets = offsets[offsets > onsets[0]]
    pairs = zip(onsets * SEGMENT_CHUNK_LENGTH, offsets * SEGMENT_CHUNK_LENGTH)
    return [[int(start), int(stop)] for start, stop in pairs] if len(onsets) else []


def _power_db(audio: np.ndarray) -> float:
    power = np.mean(np.square(audio), dtype=np.float64) if len(audio) else 0.0
    return float(10 * np.log10(power + 1e-20))


def _source_names(task: Task) -> list[str]:
    return ["mixture", *(stem for stem in task.stems if stem != "accompaniment")]


def _sources(folder: pathlib.Path, task: Task) -> dict[str, list[int]]:
    """Size and modification time of the files that the task reads and that exist."""
    sources = {}
    for name in _source_names(task):
        path = folder / f"{name}.wav"
        if path.is_file():
            state = path.stat()
            sources[name] = [state.st_size, state.st_mtime_ns]
    return sources


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
    if not path.is_file():
        raise UserError(f"{path}: missing")
    audio = util.read_mono(path, sample_rate=sample_rate)
    if _is_cut_short(path):
        raise UserError(f"{path}: cut short; the file ends before its header says")
    if not np.isfinite(audio).all():
        raise UserError(f"{path}: expected numbers, got NaN or infinite samples")
    return audio, soundfile.info(os.fspath(path)).samplerate


def _decode(
    folder: pathlib.Path, task: Task, sample_rate: int
) -> tuple[Optional[np.ndarray], Optional[TrackFacts], list[str]]:
    """Read a track: stems of shape (stems, frames) and facts, or what is wrong."""
    audio, rates, errors = {}, set(), []
    for name in _source_names(task):
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
    mixture = audio.pop("mixture")[:num_frames]
    if "accompaniment" in task.stems:
        audio["accompaniment"] = mixture - audio["vocals"][:num_frames]
    stems = np.stack([audio.pop(stem)[:num_frames] for stem in task.stems])
    level, difference = _power_db(mixture), None
    if "accompaniment" not in task.stems and level > SILENCE_DB:
        difference = _power_db(mixture - stems.sum(axis=0)) - level
    facts = TrackFacts(
        name=folder.name,
        num_frames=num_frames,
        source_rates=sorted(rates),
        level_db=level,
        difference_db=difference,
        silent_stems=[
            stem for stem, row in zip(task.stems, stems) if _power_db(row) <= SILENCE_DB
        ],
        segments=voiced_segments(stems[task.stems.index("vocals")]),
    )
    return stems, facts, []


def _cached_facts(
    path: pathlib.Path, key: dict[str, Any], num_stems: int
) -> Optional[TrackFacts]:
    """The facts written earlier, where they and the audio are still good."""
    try:
        document = util.read_json(path.with_suffix(".json"))
        facts = TrackFacts(**document["facts"])
        expected = 4 * num_stems * facts.num_frames
        if document["key"] == key and path.stat().st_size > expected:
            return facts
    except (OSError, UserError, KeyError, TypeError):
        pass
    return None


def prepare_track(
    folder: pathlib.Path, path: pathlib.Path, task: Task, sample_rate: int
) -> tuple[Optional[TrackFacts], list[str]]:
    """Decode one track into the cache unless it is there.

    Args:
        folder: the track's folder.
        path: where the stems go, `.npy`.
        task: says which stems.
        sample_rate: rate wanted, Hz.

    Returns:
        The track's facts (None where it cannot be used) and one line per error.
    """
    key = {
        "version": CACHE_VERSION,
        "sample_rate": sample_rate,
        "sources": _sources(folder, task),
    }
    facts = _cached_facts(path, key, len(task.stems))
    if facts is not None:
        return facts, []
    stems, facts, errors = _decode(folder, task, sample_rate)
    if stems is None or facts is None:
        return None, errors
    # Facts vouch for the audio: without them while it changes.
    path.with_suffix(".json").unlink(missing_ok=True)
    with util.replacing(path) as temporary:
        np.save(temporary, stems)
    document = {"key": key, "facts": dataclasses.asdict(facts)}
    util.write_json(path.with_suffix(".json"), document)
    return facts, []


def prepare_tracks(
    config: Config,
    part: str,
    names: Sequence[str],
    cache_folder: pathlib.Path,
    progress: bool = False,
) -> list[tuple[Optional[TrackFacts], list[str]]]:
    """`prepare_track` for several tracks, on all cores, in the order of `names`."""

    def prepare(name: str) -> tuple[Optional[TrackFacts], list[str]]:
        folder = pathlib.Path(config.dataset_path, part, name)
        path = audio_path(cache_folder, config.task_name, part, name)
        return prepare_track(folder, path, config.task, config.sample_rate)

    num_threads = min(os.cpu_count() or 1, MAX_DECODERS)
    with concurrent.futures.ThreadPoolExecutor(num_threads) as pool:
        results = pool.map(prepare, names)
        # disable=None: no bar where stderr is no terminal.
        bar = tqdm.tqdm(
            results,
            total=len(names),
            desc=f"{part} tracks",
            unit="track",
            disable=None if progress else True,
        )
        try:
            return list(bar)
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
