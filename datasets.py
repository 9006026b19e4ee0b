"""Fragments of data sets: drawn, augmented where asked, mixed, with targets.

A fragment is one input of the network: the sum of the stems at one place of one
track, `Config.input_length` samples. Its targets are the supervised stems cut to the
padded target field in the fragment's middle; the target of a stem that is not known
there is NaN, which the losses pass over.

Conventions: audio is float32; all randomness comes from the generator that is passed
in. The rows of a track are the stems that it knows and, where it does not know all of
them, the sum of the others: together they are the mixture.

Reference: Lluis, Pons, Serra, arXiv 1810.12187, section 3.
"""

from __future__ import annotations

import logging
import pathlib
from collections.abc import Sequence

import numpy as np

from sswavenet.config.session import Config
from sswavenet.musdb import augmentation, cache
from sswavenet.musdb.augmentation import Track
from sswavenet.musdb.check import check_dataset, part_of
from util import UserError

try:
    import resource
except ImportError:  # not a Unix
    resource = None  # type: ignore[assignment]

logger = logging.getLogger(__name__)

# How often a place is drawn again whose rows do not fit what a mixed fragment has.
MAX_TRIES = 100
# Open files besides those of the tracks that are not in memory.
OTHER_FILES = 200

Part = tuple[Track, int, int]  # track, row, and where in it the fragment starts


class Dataset:
    """Fragments of one data set or several for one task.

    Decoded tracks go to the cache folder, by default one inside each data set or, where
    that cannot be written, in the user's cache folder.
    """

    def __init__(
        self, config: Config, *, cache_folder: pathlib.Path | None = None
    ) -> None:
        """Remember the settings; nothing is read before `load`."""
        self.config = config
        self.cache_folder = cache_folder
        self._tracks: dict[str, list[Track]] = {}
        # Of each data set, the first of its tracks and the one after its last.
        self._ranges: dict[str, list[tuple[int, int]]] = {}
        shares = np.cumsum([share for _, share in config.datasets])
        self._thresholds = (shares / shares[-1])[:-1]
        start = config.receptive_field_length // 2 - config.target_padding
        self._field = slice(start, start + config.padded_target_field_length)
        self._unknown = np.full(
            config.padded_target_field_length, np.nan, dtype=np.float32
        )

    def load(
        self, subsets: Sequence[str] = ("train", "validation"), progress: bool = True
    ) -> None:
        """Decode what is not in the cache yet, and open it.

        The share `config.in_memory_percentage` of the tracks, chosen by the seed, is
        read into memory; fragments of the others are read from disk when drawn. Raises
        UserError where the check found errors; it is the first, the others are logged.
        """
        places: dict[str, list] = {subset: [] for subset in subsets}
        errors = []
        for path, share in self.config.datasets:
            config = self.config.replace(datasets=path)
            folder = self._cache_of(config)
            report = check_dataset(
                config, subsets=subsets, cache_folder=folder, progress=progress
            )
            if len(self.config.datasets) > 1:
                logger.info("%s, share %g:", path, share)
            for line in report.table.splitlines():
                logger.info("%s", line)
            for warning in report.warnings:
                logger.warning("%s: %s", path, warning)
            errors.extend(report.errors)
            for subset in subsets:
                parent = folder / config.task_name / part_of(config, subset)
                places[subset].append([(parent, f) for f in report.tracks[subset]])
        if errors:
            first, *others = errors
            for error in others:
                logger.error("%s", error)
            raise UserError(first)
        self._open(places)

    def _cache_of(self, config: Config) -> pathlib.Path:
        """Where the decoded tracks of a configuration's only data set go."""
        if self.cache_folder is None:
            return cache.default_cache_folder(config)
        if len(self.config.datasets) == 1:
            return self.cache_folder
        return self.cache_folder / cache.name_of_place(config)

    def _open(self, places: dict[str, list]) -> None:
        """Open the decoded tracks of each subset and data set: (folder, facts)."""
        count = sum(len(tracks) for sets in places.values() for tracks in sets)
        order = np.random.default_rng(self.config.seed).permutation(count)
        num_in_memory = round(self.config.in_memory_percentage * count)
        in_memory = set(order[:num_in_memory].tolist())
        _allow_files(count - num_in_memory + OTHER_FILES)
        number = 0
        for subset, sets in places.items():
            opened: list[Track] = []
            ranges: list[tuple[int, int]] = []
            for tracks in sets:
                ranges.append((len(opened), len(opened) + len(tracks)))
                for folder, facts in tracks:
                    path = folder / f"{facts.name}.npy"
                    stems = np.load(path, mmap_mode="r")
                    if number in in_memory:
                        stems = np.array(stems)
                    opened.append(Track(facts.name, stems, facts.rows, facts.segments))
                    number += 1
            self._tracks[subset], self._ranges[subset] = opened, ranges
        logger.info(
            "%d of %d tracks in memory, the rest read when drawn", num_in_memory, count
        )

    def tracks(self, subset: str) -> list[str]:
        """Names of a loaded subset's tracks."""
        return [track.name for track in self._tracks[subset]]

    def draw_batch(
        self, subset: str, batch_size: int, rng: np.random.Generator
    ) -> tuple[np.ndarray, list[np.ndarray]]:
        """Draw fragments; the same generator state gives the same fragments.

        Returns inputs of shape (batch, input_length) and, for each supervised stem,
        targets of shape (batch, padded_target_field_length), NaN for fragments in which
        the stem is not known; float32.
        """
        fragments = [self.draw_fragment(subset, rng) for _ in range(batch_size)]
        inputs = np.stack([mixture for mixture, _ in fragments])
        return inputs, [np.stack(k) for k in zip(*(t for _, t in fragments))]

    def draw_fragment(
        self, subset: str, rng: np.random.Generator
    ) -> tuple[np.ndarray, list[np.ndarray]]:
        """As `draw_batch`, one fragment without the axis of the batch."""
        config = self.config
        if subset == "train" and augmentation.changes_fragments(config):
            places = self._draw_augmented(subset, rng)
            parts = np.stack(
                [
                    augmentation.draw_part(track, row, start, config, rng)
                    for track, row, start in places
                ]
            )
            parts = augmentation.level(parts, config, rng)
        else:
            track, start = self._draw_place(subset, rng)
            places = self._all_rows(track, start)
            parts = track.stems[:, start : start + config.input_length]
        known = {
            track.rows[row][0]: part[self._field]
            for (track, row, _), part in zip(places, parts)
            if len(track.rows[row]) == 1
        }
        targets = [known.get(stem, self._unknown) for stem in config.task.supervised]
        return parts.sum(axis=0), targets

    def _draw_place(self, subset: str, rng: np.random.Generator) -> tuple[Track, int]:
        """A track and where in it a fragment starts."""
        length = self.config.input_length
        ranges, number = self._ranges[subset], 0
        if len(ranges) > 1:
            number = int(np.searchsorted(self._thresholds, rng.random(), "right"))
        track = self._tracks[subset][rng.integers(*ranges[number])]
        num_frames = track.stems.shape[1]
        start, stop = 0, num_frames
        wants_voice = rng.random() < self.config.extract_voice_percentage
        if wants_voice and len(track.segments):
            start, stop = track.segments[int(rng.integers(len(track.segments)))]
        if stop - start >= length:
            return track, int(rng.integers(start, stop - length + 1))
        # A segment shorter than a fragment: its middle is the fragment's, unless
        # that would reach over an end of the track.
        middle = (start + stop - length) // 2
        return track, min(max(middle, 0), num_frames - length)

    def _all_rows(self, track: Track, start: int) -> list[Part]:
        return [(track, row, start) for row in range(len(track.rows))]

    def _draw_augmented(self, subset: str, rng: np.random.Generator) -> list[Part]:
        """What a training fragment is made of, mixed across tracks or not."""
        unmixed = self._all_rows(*self._draw_place(subset, rng))
        if rng.random() < self.config.augmentation_mix:
            return self._draw_mixed(subset, rng) or unmixed
        return unmixed

    def _draw_mixed(self, subset: str, rng: np.random.Generator) -> list[Part]:
        """Rows of places that are drawn apart and hold each stem once.

        Each stem in turn draws a place, and the row that holds it there comes with
        all that it is the sum of: the drums of a track that knows its drums leave the
        bass to be drawn, those of one that does not are its whole accompaniment. A row
        that holds a stem that there is already does not fit, and another place is
        drawn. Empty where none fits.
        """
        parts: list[Part] = []
        missing, tries = list(self.config.task.stems), MAX_TRIES
        while missing and tries:
            track, start = self._draw_place(subset, rng)
            row, stems = next(
                (row, stems)
                for row, stems in enumerate(track.rows)
                if missing[0] in stems
            )
            if all(stem in missing for stem in stems):
                parts.append((track, row, start))
                missing = [stem for stem in missing if stem not in stems]
            tries -= 1
        return [] if missing else parts


def _allow_files(count: int) -> None:
    """Let this process have so many files open, as far as the system allows it."""
    if resource is None:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY:
        count = min(count, hard)
    if soft != resource.RLIM_INFINITY and soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))
