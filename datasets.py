"""Fragments of a MUSDB18 tree: drawn, augmented where asked, mixed, with targets.

A fragment is one input of the network: the sum of the stems at one place of one
track, `Config.input_length` samples. Its targets are the supervised stems cut to the
padded target field in the fragment's middle.

Conventions: stems are float32 of shape (stems, frames), rows in the order of
`Task.stems`; all randomness comes from the generator that is passed in.

Reference: Lluis, Pons, Serra, arXiv 1810.12187, section 3.
"""

from __future__ import annotations

import dataclasses
import logging
import pathlib
from collections.abc import Sequence

import numpy as np
from scipy import fft

from sswavenet.config.session import Config
from sswavenet.musdb import cache as dataset_cache
from sswavenet.musdb.check import Report, check_dataset, part_of, split_tracks
from util import UserError

__all__ = ["Dataset", "Report", "check_dataset", "split_tracks"]

logger = logging.getLogger(__name__)

# Samples around a fragment that hide the ends of what augmentation filters.
AUGMENTATION_MARGIN = 256

# The mean level of mixtures under `augmentation.level_db`, in dB of full scale, and how
# far what is quieter is raised at most.
LEVEL_DB = -20.0
MAX_RAISE_DB = 20.0


@dataclasses.dataclass(frozen=True)
class _Track:
    """One track: its stems, in memory or mapped, and its voiced segments."""

    name: str
    stems: np.ndarray  # (stems, frames)
    segments: Sequence[Sequence[int]]

    def read(self, row: int, start: int, length: int) -> np.ndarray:
        """A piece of one stem, with zeros where it lies outside the track."""
        before = min(max(-start, 0), length)
        piece = self.stems[row, max(start, 0) : max(start + length, 0)]
        return np.pad(piece, (before, length - before - len(piece)))


class Dataset:
    """Fragments of a MUSDB18 tree for one task.

    Args:
        config: the session's configuration.
        cache_folder: where decoded tracks go. Defaults to a folder inside the data
            set or, where that cannot be written, in the user's cache folder.
    """

    def __init__(
        self, config: Config, *, cache_folder: pathlib.Path | None = None
    ) -> None:
        """Remember the settings; nothing is read before `load`."""
        self.config = config
        self.cache_folder = cache_folder
        self._tracks: dict[str, list[_Track]] = {}

    def load(
        self, subsets: Sequence[str] = ("train", "validation"), progress: bool = True
    ) -> None:
        """Decode what is not in the cache yet, and open it.

        The share `config.in_memory_percentage` of the tracks, chosen by the seed, is
        read into memory; fragments of the others are read from disk when drawn.

        Args:
            subsets: of "train", "validation" and "test".
            progress: whether to show a progress bar on a terminal. Defaults to True.

        Raises:
            UserError: the check found errors; it is the first, the others are logged.
        """
        config = self.config
        folder = self.cache_folder or dataset_cache.default_cache_folder(config)
        report = check_dataset(
            config, subsets=subsets, cache_folder=folder, progress=progress
        )
        for line in report.table.splitlines():
            logger.info("%s", line)
        for warning in report.warnings:
            logger.warning("%s: %s", config.dataset_path, warning)
        if report.errors:
            first, *others = report.errors
            for error in others:
                logger.error("%s", error)
            raise UserError(first)
        places = [
            (subset, facts) for subset in subsets for facts in report.tracks[subset]
        ]
        order = np.random.default_rng(config.seed).permutation(len(places))
        num_in_memory = round(config.in_memory_percentage * len(places))
        in_memory = set(order[:num_in_memory].tolist())
        self._tracks.update({subset: [] for subset in subsets})
        for k, (subset, facts) in enumerate(places):
            path = dataset_cache.audio_path(
                folder, config.task_name, part_of(config, subset), facts.name
            )
            stems = np.load(path, mmap_mode=None if k in in_memory else "r")
            self._tracks[subset].append(_Track(facts.name, stems, facts.segments))
        logger.info(
            "%d of %d tracks in memory, the rest read from %s",
            num_in_memory,
            len(places),
            folder,
        )

    def tracks(self, subset: str) -> list[str]:
        """Names of a loaded subset's tracks."""
        return [track.name for track in self._tracks[subset]]

    def draw_batch(
        self, subset: str, batch_size: int, rng: np.random.Generator
    ) -> tuple[np.ndarray, list[np.ndarray]]:
        """Draw fragments; the same generator state gives the same fragments.

        Args:
            subset: a loaded subset.
            batch_size: number of fragments.
            rng: where all randomness comes from.

        Returns:
            Inputs of shape (batch, input_length) and, for each supervised stem,
            targets of shape (batch, padded_target_field_length); float32.
        """
        config = self.config
        augments = subset == "train" and (
            config.augmentation_mix > 0
            or config.augmentation_gain_db > 0
            or config.augmentation_polarity > 0
            or config.augmentation_resample > 0
            or config.augmentation_tilt > 0
            or config.augmentation_level_db > 0
        )
        draw = self._draw_augmented if augments else self._draw
        fragments = np.stack([draw(subset, rng) for _ in range(batch_size)])
        start = config.receptive_field_length // 2 - config.target_padding
        field = slice(start, start + config.padded_target_field_length)
        rows = [config.task.stems.index(stem) for stem in config.task.supervised]
        return fragments.sum(axis=1), [fragments[:, row, field] for row in rows]

    def _draw_place(self, subset: str, rng: np.random.Generator) -> tuple[_Track, int]:
        """A track and where in it a fragment starts."""
        length = self.config.input_length
        tracks = self._tracks[subset]
        track = tracks[rng.integers(len(tracks))]
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

    def _draw(self, subset: str, rng: np.random.Generator) -> np.ndarray:
        """The stems of one fragment, shape (stems, input_length)."""
        track, start = self._draw_place(subset, rng)
        return track.stems[:, start : start + self.config.input_length]

    def _draw_augmented(self, subset: str, rng: np.random.Generator) -> np.ndarray:
        """As `_draw`, each stem changed on its own, the stems mixed across tracks."""
        num_stems = len(self.config.task.stems)
        places = [self._draw_place(subset, rng)] * num_stems
        if rng.random() < self.config.augmentation_mix:
            places = [self._draw_place(subset, rng) for _ in range(num_stems)]
        stems = np.stack(
            [
                self._augmented(track, row, start, rng)
                for row, (track, start) in enumerate(places)
            ]
        )
        return (
            self._levelled(stems, rng) if self.config.augmentation_level_db else stems
        )

    def _levelled(self, stems: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """All stems by the factor that brings their sum to a drawn level."""
        level = np.mean(np.square(stems.sum(axis=0)))
        if level == 0:
            return stems
        spread = self.config.augmentation_level_db
        wanted = LEVEL_DB + rng.uniform(-spread, spread)
        raised = min(wanted - 10 * np.log10(level), MAX_RAISE_DB)
        return stems * np.float32(10 ** (raised / 20))

    def _augmented(
        self, track: _Track, row: int, start: int, rng: np.random.Generator
    ) -> np.ndarray:
        """One stem of a fragment with changed speed, timbre, level and polarity."""
        config = self.config
        length = config.input_length
        speed, tilt, gain_db = rng.uniform(-1, 1, 3) * (
            config.augmentation_resample,
            config.augmentation_tilt,
            config.augmentation_gain_db,
        )
        flips = rng.random() < config.augmentation_polarity
        piece = track.read(row, start, length)
        if speed:
            piece = _at_speed(track, row, start, length, 1 + speed)
        if tilt:
            level = np.sqrt(np.mean(np.square(piece)))
            piece[1:] += np.float32(tilt) * piece[:-1]
            changed = np.sqrt(np.mean(np.square(piece)))
            piece *= level / changed if changed > 0 else 1
        return piece * np.float32((-1 if flips else 1) * 10 ** (gain_db / 20))


def _at_speed(
    track: _Track, row: int, start: int, length: int, speed: float
) -> np.ndarray:
    """`length` samples around a fragment's middle, played `speed` times as fast.

    The piece is resampled by cutting or padding its spectrum, with faded margins
    against the wrap-around. Lengths are rounded to such that the transform is fast
    for, which rounds the speed by some tenths of a percent.
    """
    num_out = fft.next_fast_len(length + 2 * AUGMENTATION_MARGIN)
    num_in = fft.next_fast_len(round(num_out * speed))
    piece = track.read(row, start + (length - num_in) // 2, num_in)
    ramp = np.linspace(0, 1, AUGMENTATION_MARGIN // 2, dtype=np.float32)
    piece[: len(ramp)] *= ramp
    piece[-len(ramp) :] *= ramp[::-1]
    spectrum = fft.rfft(piece)
    played = fft.irfft(spectrum, num_out) * np.float32(num_out / num_in)
    skipped = (num_out - length) // 2
    return played[skipped : skipped + length]
