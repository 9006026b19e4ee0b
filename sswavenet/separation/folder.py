"""Separate a file or a folder of mixtures into stems, each file all or nothing.

The network comes as a function `build_predict(target_field_length=...,
target_padding=..., input_length=...)` that returns what `framing` calls `predict`.

Convention: stems are `<output folder>/<mixture name>_<stem>.wav`, unless asked for
under other names and in another format.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import logging
import os
import pathlib
import time
from collections.abc import Container, Sequence
from typing import Callable

import util
from sswavenet.config.session import Config
from sswavenet.config.tasks import TASKS
from sswavenet.separation import naming
from sswavenet.separation.engine import NetworkSource
from sswavenet.separation.excerpt import Excerpt
from sswavenet.separation.file import separate_file
from sswavenet.separation.framing import Predict
from sswavenet.separation.inputs import Mixture, some_lengths
from sswavenet.separation.outputs import Outputs, new_samples_folder, output_folder
from sswavenet.separation.progress import Bars, FileBar
from sswavenet.separation.report import FAILED, SEPARATED, SKIPPED, FileReport
from sswavenet.separation.shapes import Blocks
from sswavenet.sound.formats import Encoding
from util import UserError

logger = logging.getLogger(__name__)

STEMS_OF_TASKS = [task.stems for task in TASKS.values()]


@dataclasses.dataclass(frozen=True)
class Settings:
    """What one run is asked for.

    Args:
        output_path: folder for the stems. Defaults to a new one in the session.
        stems: names of those to write. Defaults to all.
        complements: write the mixture without each of them, too. Defaults to False.
        native: write stems with the mixture's rate and channels, and not the model's,
            if the framing is not the original's. Defaults to True.
        encoding: how the stems are stored. Defaults to WAV files, `PCM_16`.
        excerpt: which part of each mixture to separate. Defaults to all.
        strict: let a damaged mixture fail. Defaults to False.
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
    complements: bool = False
    native: bool = True
    encoding: Encoding = Encoding()  # noqa: RUF009 (it is frozen)
    excerpt: Excerpt = Excerpt()  # noqa: RUF009
    strict: bool = False
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
    mixtures, done = _to_do(mixtures, settings, stems)

    def part_of(length: int) -> int:
        excerpt, rate = settings.excerpt, config.sample_rate
        return excerpt.length(length - round(excerpt.start * rate), rate)

    waiting = [mixture for mixture in mixtures if mixture not in done]
    networks = NetworkSource(
        config,
        build_predict,
        list(map(part_of, some_lengths(waiting, config.sample_rate))),
        original_framing=settings.original_framing,
        one_shot=settings.one_shot,
        target_field_length=settings.target_field_length,
        batch_size=settings.batch_size,
        blocks=blocks,
    )
    if not settings.output_path:
        folder = new_samples_folder(session)
    elif len(done) < len(mixtures):
        folder = output_folder(settings.output_path)
    else:
        folder = settings.output_path  # nothing is written
    with Bars([mixture.size for mixture in mixtures], config.sample_rate) as bars:
        for mixture in mixtures:
            with bars.next_file(mixture.path.name, mixture.size) as bar:
                if mixture in done:
                    files.append(FileReport(str(mixture.path), SKIPPED))
                    continue
                paths = mixture.stem_paths(folder, stems)
                files.append(
                    _attempt(mixture, paths, folder, config, networks, settings, bar)
                )
    separated = [file for file in files if file.status == SEPARATED]
    if not separated and not settings.output_path:
        with contextlib.suppress(OSError):  # folders in it stay
            folder.rmdir()
    return Summary(
        folder=folder.resolve(),
        files=files,
        audio_seconds=sum(
            (file.frames or 0) / (file.sample_rate or 1) for file in separated
        ),
        wall_seconds=time.monotonic() - started,
    )


def _to_do(
    mixtures: Sequence[Mixture],
    settings: Settings,
    stems: Sequence[str],
) -> tuple[Sequence[Mixture], set[Mixture]]:
    """The mixtures without stems among them, and those of them to skip.

    Refuses to write over what is not to be replaced.
    """
    if settings.overwrite and settings.skip_existing:
        raise UserError("--overwrite and --skip_existing exclude each other")
    if not settings.output_path:
        if settings.skip_existing:
            raise UserError("--skip_existing needs --output_path")
        return mixtures, set()
    known = list(itertools.chain(*STEMS_OF_TASKS))
    every = {*stems, *known, *map(naming.complement, known)}
    outputs = Outputs(mixtures, settings.output_path, sorted(every))
    # An earlier run may have written more stems than this one is to write, or others.
    earlier = [
        mixture
        for names in dict.fromkeys((tuple(stems), *STEMS_OF_TASKS))
        for mixture in outputs.stems_among(mixtures, names)
    ]
    if earlier and not settings.skip_existing:
        raise UserError(
            f"{earlier[0].path} lies among the mixtures, but is a stem of one of them; "
            "--skip_existing leaves stems and mixtures that are done alone"
        )
    left_out = set(earlier)
    mixtures = [mixture for mixture in mixtures if mixture not in left_out]
    outputs.check(mixtures, stems, sorted(every.difference(stems)))
    if settings.skip_existing:
        done = outputs.with_all(mixtures, stems)
        logger.info("%d of %d files skipped", len(done), len(mixtures))
        return mixtures, set(done)
    some = outputs.with_some(mixtures, stems)
    if some and not settings.overwrite:
        paths = some[0].stem_paths(settings.output_path, stems).values()
        raise UserError(
            f"{next(filter(os.path.lexists, paths))} exists; --overwrite replaces "
            f"what is there ({len(some)} of {len(mixtures)} files have stems), "
            "--skip_existing keeps it"
        )
    return mixtures, set()


def _attempt(
    mixture: Mixture,
    paths: dict[str, pathlib.Path],
    output: pathlib.Path,
    config: Config,
    networks: NetworkSource,
    settings: Settings,
    bar: FileBar,
) -> FileReport:
    """Separate one file, again with a smaller network while the memory runs out."""
    started = time.monotonic()
    old: Container[os.PathLike] | None = None if settings.overwrite else ()
    if settings.skip_existing:  # some stems of this mixture, else it would be skipped
        old = list(filter(os.path.lexists, paths.values()))
    found = FileReport(str(mixture.path))
    while found.status == FAILED:
        try:
            found = separate_file(
                mixture,
                paths,
                config,
                networks,
                encoding=settings.encoding,
                excerpt=settings.excerpt,
                bar=bar,
                native=settings.native and not settings.original_framing,
                strict=settings.strict,
                verify=settings.verify,
                old=old,
            )
        except Exception as error:
            known = (OSError, MemoryError, RuntimeError, UserError)
            if util.is_out_of_memory(error):
                if networks.shrink():
                    continue
            elif not isinstance(error, known):
                raise
            found.message = _one_line(mixture, error)
            logger.error("%s", found.message)
            for folder in {path.parent for path in paths.values()} - {output}:
                with contextlib.suppress(OSError):  # there is something in it
                    folder.rmdir()
            break
    found.seconds = time.monotonic() - started
    return found


def _one_line(mixture: Mixture, error: Exception) -> str:
    path = " ".join(str(mixture.path).split())
    reason = getattr(error, "strerror", None) or error
    text = " ".join(str(reason).split()) or type(error).__name__
    return text if text.startswith(path) else f"{path}: {text}"


def _chosen_stems(config: Config, settings: Settings) -> Sequence[str]:
    """Names of what is written."""
    known = config.task.stems
    unknown = [stem for stem in settings.stems or () if stem not in known]
    if unknown:
        raise UserError(
            f"--stems must be some of {','.join(known)} for {config.task_name}, "
            f"got {','.join(unknown)}"
        )
    stems = settings.stems or known
    return [*stems, *(map(naming.complement, stems) if settings.complements else ())]
