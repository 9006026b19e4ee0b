"""The tracks that are scored: their mixtures and true stems.

Conventions: float32 audio; mono at the network's rate, stems (rows, frames), or at the
files' own rate and channels, stems (rows, frames, channels). A row is a stem, or a sum
of stems that are not known alone. A mixture has the shape of a row.
"""

from __future__ import annotations

import dataclasses
import logging
import pathlib
from collections.abc import Sequence

import numpy as np

from sswavenet.config.session import Config
from sswavenet.config.tasks import Task
from sswavenet.evaluation.store import state_of_files
from sswavenet.musdb import cache
from sswavenet.musdb.check import part_of, subset_names
from sswavenet.musdb.track import source_names, split_rows
from sswavenet.sound.reader import AudioReader, read_mono
from util import UserError

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class ScoredTrack:
    """One track: its folder, and its decoded stems (rows, frames) in the cache."""

    name: str
    folder: pathlib.Path
    stems_path: pathlib.Path
    rows: Sequence[Sequence[str]]  # the stems that each row is the sum of
    num_frames: int
    files: dict[str, list[int]]  # their state before they were decoded

    def read(self, sample_rate: int) -> tuple[np.ndarray, np.ndarray]:
        """Mixture and stems, mono at the network's rate.

        A UserError if files changed.
        """
        mixture = read_mono(self.folder / "mixture.wav", sample_rate=sample_rate)
        stems = np.load(self.stems_path)
        self._check_files()
        return mixture[: self.num_frames], stems

    def read_native(self, task: Task) -> tuple[np.ndarray, np.ndarray, int]:
        """Mixture and stems with the files' own channels, and their own rate.

        Raises UserError where they differ in rate, channels or length, are not what
        they were, or cannot be read.
        """
        audio, forms = {}, {}
        for name in source_names(self.folder, task):
            with AudioReader(self.folder / f"{name}.wav") as reader:
                audio[name] = np.concatenate(list(reader.blocks()))
                forms[name] = (reader.sample_rate, *audio[name].shape)
        self._check_files()
        for name, form in forms.items():
            if form != forms["mixture"]:
                raise UserError(
                    f"{name}.wav: expected rate, frames and channels of the mixture, "
                    f"{forms['mixture']}, got {form}"
                )
        rows, _ = split_rows(audio, task)
        return audio["mixture"], np.stack(list(rows.values())), forms["mixture"][0]

    def _check_files(self) -> None:
        if state_of_files(self.folder) != self.files:
            raise UserError(
                "the files have changed since the evaluation began; the same command "
                "scores them as they are then"
            )


def find_tracks(
    config: Config, subset: str
) -> tuple[list[ScoredTrack], dict[str, str]]:
    """The usable tracks, decoded, and why each of the others is not, by name."""
    part = part_of(config, subset)
    dataset_folder = pathlib.Path(config.dataset_path)
    cache_folder = cache.default_cache_folder(config)
    names = sorted(subset_names(config, subset))
    folders = {name: dataset_folder / part / name for name in names}
    files = {name: state_of_files(folder) for name, folder in folders.items()}
    tracks, failed = [], {}
    results = cache.prepare_tracks(
        config, part, names, cache_folder, title=f"{subset} tracks", progress=True
    )
    for name, (facts, errors) in zip(names, results):
        if facts is None or not facts.num_frames:
            failed[name] = "; ".join(errors) or f"{name}: expected audio, got 0 samples"
            logger.error("%s", failed[name])
            continue
        path = cache.audio_path(cache_folder, config.task_name, part, name)
        tracks.append(
            ScoredTrack(
                name, folders[name], path, facts.rows, facts.num_frames, files[name]
            )
        )
    return tracks, failed
