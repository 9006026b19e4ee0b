"""Separate a file or a folder of mixtures into stems, each file all or nothing.

The network comes as a function `build_predict(target_field_length=...,
target_padding=..., input_length=...)` that returns what `framing` calls `predict`.

Conventions: stems are mono WAV files at the model's rate,
`<output folder>/<mixture name>_<stem>.wav`; the remainder is the mixture minus the
estimates as they are written, so that the written stems sum to the mixture.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import pathlib
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Callable

import numpy as np
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

import util
from config import Config, UserError
from framing import Network, Predict, estimate_blocks, estimate_stems
from mixtures import (
    Mixture,
    check_outputs,
    check_writable,
    new_samples_folder,
    output_folder,
    with_stems,
)
from report import FAILED, SEPARATED, SKIPPED, FileReport, StemReport
from shapes import Blocks, NetworkSource, is_out_of_memory
from sound import MonoReader, MonoWriter, as_written
from verify import verify_stems

logger = logging.getLogger(__name__)

PROGRESS_FORMAT = (
    "{desc}: {percentage:3.0f}%|{bar}| {n:.1f}/{total:.1f} s of audio "
    "[{elapsed}<{remaining}]"
)


@dataclasses.dataclass(frozen=True)
class Settings:
    """What one run is asked for.

    Args:
        output_path: folder for the stems. Defaults to a new one in the session.
        stems: names of those to write. Defaults to all.
        subtype: `PCM_16`, `PCM_24` or `FLOAT`. Defaults to `PCM_16`.
        overwrite: replace stems that are there. Defaults to False.
        skip_existing: leave out mixtures whose stems are all there. Defaults to False.
        verify: read the stems back before they get their names. Defaults to False.
        original_framing: frame like the 2018 program. Defaults to False.
        one_shot: one forward pass for each file. Defaults to False.
        target_field_length: samples. Defaults to a fitting number, or to the
            config's in the original framing.
        batch_size: fragments. Defaults to a fitting number, or to the config's in
            the original framing.
    """

    output_path: pathlib.Path | None = None
    stems: Sequence[str] | None = None
    subtype: str = "PCM_16"
    overwrite: bool = False
    skip_existing: bool = False
    verify: bool = False
    original_framing: bool = False
    one_shot: bool = False
    target_field_length: int | None = None
    batch_size: int | None = None


@dataclasses.dataclass(frozen=True)
class Summary:
    """What a run did; `audio_seconds` counts the separated mixtures only."""

    folder: pathlib.Path
    files: Sequence[FileReport]
    audio_seconds: float
    wall_seconds: float

    @property
    def num_files(self) -> int:
        """Mixtures found."""
        return len(self.files)

    @property
    def num_separated(self) -> int:
        """Mixtures whose stems were written."""
        return sum(file.status == SEPARATED for file in self.files)

    @property
    def num_skipped(self) -> int:
        """Mixtures whose stems were there."""
        return sum(file.status == SKIPPED for file in self.files)


def separate_all(
    mixtures: Sequence[Mixture],
    config: Config,
    build_predict: Callable[..., Predict],
    settings: Settings,
    session: pathlib.Path,
    blocks: Blocks | None = None,
    files: list[FileReport] | None = None,
) -> Summary:
    """Separate mixtures one after the other; a bad one does not end the run.

    Each that fails is logged as an error of one line, and none of its stems is
    written.

    Args:
        mixtures: what to separate.
        config: the session's configuration.
        build_predict: makes the network for a framing.
        settings: what was asked for.
        session: folder of the session, which holds the default output folder.
        blocks: how `build_predict` runs fragments, if not in one pass.
        files: a list to add each mixture's report to as soon as it is done, for who
            wants to know after an interrupt.

    Raises:
        UserError: with these settings nothing can be separated.
    """
    started = time.monotonic()
    files = [] if files is None else files
    stems = _chosen_stems(config, settings)
    done = _already_done(mixtures, settings, stems)
    networks = NetworkSource(
        config,
        build_predict,
        [mixture.length for mixture in mixtures if mixture not in done],
        original_framing=settings.original_framing,
        one_shot=settings.one_shot,
        target_field_length=settings.target_field_length,
        batch_size=settings.batch_size,
        blocks=blocks,
    )
    if settings.output_path:
        folder = output_folder(settings.output_path)
    else:
        folder = new_samples_folder(session)
    total = sum(mixture.length for mixture in mixtures)
    with logging_redirect_tqdm(), _bar("all files", total, config) as bar:
        for mixture in mixtures:
            if mixture in done:
                files.append(FileReport(str(mixture.path), SKIPPED))
            else:
                paths = mixture.stem_paths(folder, stems)
                files.append(_attempt(mixture, paths, config, networks, settings))
            bar.update(mixture.length / config.sample_rate)
    separated = [file for file in files if file.status == SEPARATED]
    if not separated and not settings.output_path:
        with contextlib.suppress(OSError):  # folders in it stay
            folder.rmdir()
    num_samples = sum(file.frames or 0 for file in separated)
    return Summary(
        folder=folder.resolve(),
        files=files,
        audio_seconds=num_samples / config.sample_rate,
        wall_seconds=time.monotonic() - started,
    )


def _already_done(
    mixtures: Sequence[Mixture], settings: Settings, stems: Sequence[str]
) -> set[Mixture]:
    """The mixtures to skip; refuses to write over what is not to be replaced."""
    if settings.overwrite and settings.skip_existing:
        raise UserError("--overwrite and --skip_existing exclude each other")
    if not settings.output_path:
        if settings.skip_existing:
            raise UserError("--skip_existing needs --output_path")
        return set()
    check_outputs(mixtures, settings.output_path, stems)
    some, all_of_them = with_stems(mixtures, settings.output_path, stems)
    if settings.skip_existing:
        logger.info("%d of %d files skipped", len(all_of_them), len(mixtures))
        return set(all_of_them)
    if some and not settings.overwrite:
        paths = some[0].stem_paths(settings.output_path, stems).values()
        raise UserError(
            f"{next(filter(os.path.lexists, paths))} exists; --overwrite replaces "
            f"what is there ({len(some)} of {len(mixtures)} files have stems), "
            "--skip_existing keeps it"
        )
    return set()


def _attempt(
    mixture: Mixture,
    paths: dict[str, pathlib.Path],
    config: Config,
    networks: NetworkSource,
    settings: Settings,
) -> FileReport:
    """Separate one file, again with a smaller network while the memory runs out."""
    started = time.monotonic()
    found = FileReport(str(mixture.path), sample_rate=config.sample_rate)
    while found.status == FAILED:
        try:
            found.frames, found.stems = separate_file(
                mixture, paths, config, networks, settings
            )
            found.status = SEPARATED
        except Exception as error:
            known = (OSError, MemoryError, RuntimeError, UserError)
            if is_out_of_memory(error):
                if networks.shrink():
                    continue
            elif not isinstance(error, known):
                raise
            found.message = _one_line(mixture, error)
            logger.error("%s", found.message)
            break
    found.seconds = time.monotonic() - started
    return found


def separate_file(
    mixture: Mixture,
    paths: dict[str, pathlib.Path],
    config: Config,
    networks: Callable[[int], Network],
    settings: Settings,
) -> tuple[int, dict[str, StemReport]]:
    """Separate one file; its stems appear together, or not at all.

    Args:
        mixture: what to separate.
        paths: where the stems go, by their names.
        config: the session's configuration.
        networks: gives the network for a mixture of so many samples.
        settings: what was asked for.

    Returns:
        The mixture's samples at the model's rate, and what was written, by name.

    Raises:
        UserError: the mixture, or what the network made of it, cannot be used.
        OSError: the stems cannot be written.
    """
    logger.info("%s: %s", mixture.path, mixture.description)
    check_writable(paths.values())
    names, rate, subtype = config.task.stems, config.sample_rate, settings.subtype
    clipped = dict.fromkeys(names, 0)
    with contextlib.ExitStack() as stack:
        reader = stack.enter_context(MonoReader(mixture.path, sample_rate=rate))
        network = networks(reader.length)
        # All files are whole before the first one gets its name.
        temporaries = {
            name: stack.enter_context(util.replacing(path))
            for name, path in paths.items()
        }
        files = contextlib.ExitStack()
        with files, _bar(mixture.path.name, reader.length, config) as bar:
            writers = {
                name: files.enter_context(
                    MonoWriter(
                        path, sample_rate=rate, subtype=subtype, frames=reader.length
                    )
                )
                for name, path in temporaries.items()
            }
            for part, estimates in estimate_blocks(
                _finite(reader.blocks()),
                network,
                num_estimates=len(config.task.estimates),
            ):
                for name, (stem, num_clipped) in _written(
                    part, estimates, names, subtype
                ).items():
                    clipped[name] += num_clipped
                    if name in writers:
                        writers[name].write(stem)
                bar.update(len(part) / rate)
        for name in paths:
            if clipped[name]:
                logger.warning(
                    "%s: %d samples of %s clipped", mixture.path, clipped[name], name
                )
        digests = {name: writer.digest.hexdigest() for name, writer in writers.items()}
        if settings.verify:
            verify_stems(
                mixture.path,
                temporaries,
                digests,
                sample_rate=rate,
                subtype=subtype,
                lost=network.framing.lost,
                sums=len(paths) == len(names) and not clipped[config.task.remainder],
            )
        frames = reader.length - network.framing.lost
        return reader.length, {
            name: StemReport(str(path), digests[name], frames, clipped[name])
            for name, path in paths.items()
        }


def _finite(blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    for block in blocks:
        if not np.isfinite(block).all():
            raise UserError("expected finite samples, got NaN or infinity")
        yield block


def _written(
    mixture: np.ndarray, estimates: np.ndarray, names: Sequence[str], subtype: str
) -> dict[str, tuple[np.ndarray, int]]:
    """Each stem as it is written, and how many of its samples are clipped."""
    if not np.isfinite(estimates).all():
        raise UserError("the network's output has NaN or infinity")
    written = [as_written(estimate, subtype) for estimate in estimates]
    with np.errstate(over="ignore"):
        remainder = mixture - sum(stem for stem, _ in written)
    if not np.isfinite(remainder).all():
        raise UserError("the remainder has NaN or infinity")
    return dict(zip(names, [*written, as_written(remainder, subtype)]))


def _one_line(mixture: Mixture, error: Exception) -> str:
    path = " ".join(str(mixture.path).split())
    reason = getattr(error, "strerror", None) or error
    text = " ".join(str(reason).split()) or type(error).__name__
    return text if text.startswith(path) else f"{path}: {text}"


def _chosen_stems(config: Config, settings: Settings) -> Sequence[str]:
    known = config.task.stems
    unknown = [stem for stem in settings.stems or () if stem not in known]
    if unknown:
        raise UserError(
            f"--stems must be some of {','.join(known)} for {config.task_name}, "
            f"got {','.join(unknown)}"
        )
    return settings.stems or known


def make_separate(
    config: Config,
    build_predict: Callable[..., Predict],
    lengths: Sequence[int],
    *,
    target_field_length: int | None = None,
    batch_size: int | None = None,
    blocks: Blocks | None = None,
) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
    """A function that separates mixtures in memory, framed seamlessly.

    Args:
        config: the session's configuration.
        build_predict: makes the network for a framing.
        lengths: samples of the mixtures to come; longer ones work, too.
        target_field_length: samples. Defaults to a fitting number.
        batch_size: fragments. Defaults to a fitting number.
        blocks: how `build_predict` runs fragments, if not in one pass.

    Returns:
        A function from a mixture (frames,) to each stem (frames,) by name, remainder
        included; float32, and the stems sum to the mixture.

    Raises:
        UserError: what was given does not fit into the memory.
    """
    networks = NetworkSource(
        config,
        build_predict,
        lengths,
        target_field_length=target_field_length,
        batch_size=batch_size,
        blocks=blocks,
    )

    def separate(mixture: np.ndarray) -> dict[str, np.ndarray]:
        while True:
            try:
                estimates = estimate_stems(
                    mixture,
                    networks(len(mixture)),
                    num_estimates=len(config.task.estimates),
                )
                break
            except Exception as error:
                if not (is_out_of_memory(error) and networks.shrink()):
                    raise
        stems = dict(zip(config.task.estimates, estimates))
        stems[config.task.remainder] = mixture - estimates.sum(axis=0)
        return stems

    return separate


def _bar(name: str, num_samples: int, config: Config) -> Any:
    """A progress bar in seconds of audio; silent where stderr is no terminal."""
    return tqdm(
        desc=name,
        total=num_samples / config.sample_rate,
        bar_format=PROGRESS_FORMAT,
        disable=None,
    )
