"""Separate a file or a folder of mixtures into stems, each file all or nothing.

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
from sswavenet.separation.engine import Engine, Networks
from sswavenet.separation.file import separate_file
from sswavenet.separation.inputs import Mixture, some_lengths
from sswavenet.separation.options import Options
from sswavenet.separation.outputs import Outputs, new_samples_folder, output_folder
from sswavenet.separation.progress import Bars, Progressing
from sswavenet.separation.report import FAILED, SEPARATED, SKIPPED, Counts, FileReport
from util import UserError

logger = logging.getLogger(__name__)

STEMS_OF_TASKS = [task.stems for task in TASKS.values()]


@dataclasses.dataclass
class Summary(Counts):
    """What a run did."""

    files: Sequence[FileReport] = ()


def separate_all(
    mixtures: Sequence[Mixture],
    engine: Engine,
    options: Options,
    session: pathlib.Path,
    finished: Callable[[FileReport], None] | None = None,
) -> Summary:
    """Separate mixtures one after the other; a bad one does not end the run.

    Each that fails is logged as an error of one line, and none of its stems is written.
    `finished` gets what became of each as soon as that is known, for who wants to know
    after an interrupt. The folder `session` holds the default output folder. Raises
    UserError where with these options nothing can be separated.
    """
    started = time.monotonic()
    files: list[FileReport] = []
    rate = engine.config.sample_rate
    stems = chosen_stems(engine.config, options)
    mixtures, done = to_do(mixtures, options, stems)
    waiting = [mixture for mixture in mixtures if mixture not in done]
    lengths = [
        options.excerpt.heard_length(length, rate, engine.config.context_length)
        for length in some_lengths(waiting, rate)
    ]
    networks = Networks(engine, lengths, options)
    if not options.output_path:
        folder = new_samples_folder(session)
    elif waiting:
        folder = output_folder(options.output_path)
    else:
        folder = options.output_path  # nothing is written
    with Bars([mixture.size for mixture in mixtures], rate) as bars:
        for mixture in mixtures:
            with bars.next_file(mixture.path.name, mixture.size) as bar:
                if mixture in done:
                    found = FileReport(mixture.shown, SKIPPED)
                else:
                    paths = mixture.stem_paths(folder, stems)
                    found = attempt(mixture, paths, folder, networks, options, bar)
            files.append(found)
            if finished:
                finished(found)
    separated = [file for file in files if file.status == SEPARATED]
    if not separated and not options.output_path:
        with contextlib.suppress(OSError):  # folders in it stay
            folder.rmdir()
    summary = Summary(folder.resolve(), files=files)
    for file in files:
        summary.add(file)
    summary.wall_seconds = time.monotonic() - started
    return summary


def to_do(
    mixtures: Sequence[Mixture],
    options: Options,
    stems: Sequence[str],
) -> tuple[Sequence[Mixture], set[Mixture]]:
    """The mixtures without stems among them, and those of them to skip.

    Refuses to write over what is not to be replaced.
    """
    if not options.output_path:
        if options.skip_existing:
            raise UserError("--skip_existing needs --output_path")
        return mixtures, set()
    known = list(itertools.chain(*STEMS_OF_TASKS))
    every = {*stems, *known, *map(naming.complement, known)}
    outputs = Outputs(mixtures, options.output_path, sorted(every))
    # An earlier run may have written more stems than this one is to write, or others.
    earlier = [
        mixture
        for names in dict.fromkeys((tuple(stems), *STEMS_OF_TASKS))
        for mixture in outputs.stems_among(mixtures, names)
    ]
    if earlier and not options.skip_existing:
        raise UserError(
            f"{earlier[0].path} lies among the mixtures, but is a stem of one of them; "
            "--skip_existing leaves stems and mixtures that are done alone"
        )
    left_out = set(earlier)
    mixtures = [mixture for mixture in mixtures if mixture not in left_out]
    outputs.check(mixtures, stems, sorted(every.difference(stems)))
    if options.skip_existing:
        done = outputs.with_all(mixtures, stems)
        logger.info("%d of %d files skipped", len(done), len(mixtures))
        return mixtures, set(done)
    some = outputs.with_some(mixtures, stems)
    if some and not options.overwrite:
        paths = some[0].stem_paths(options.output_path, stems).values()
        raise UserError(
            f"{next(filter(os.path.lexists, paths))} exists; --overwrite replaces "
            f"what is there ({len(some)} of {len(mixtures)} files have stems), "
            "--skip_existing keeps it"
        )
    return mixtures, set()


def attempt(
    mixture: Mixture,
    paths: dict[str, pathlib.Path],
    output: pathlib.Path,
    networks: Networks,
    options: Options,
    bar: Progressing,
) -> FileReport:
    """Separate one file, again with a smaller network while the memory runs out."""
    started = time.monotonic()
    old: Container[os.PathLike] | None = None if options.overwrite else ()
    if options.skip_existing:  # some stems of this mixture, else it would be skipped
        old = list(filter(os.path.lexists, paths.values()))
    try:
        found = networks.retrying(
            lambda: separate_file(mixture, paths, networks, options, bar=bar, old=old)
        )
    except Exception as error:
        known = (OSError, MemoryError, RuntimeError, UserError)
        if not (isinstance(error, known) or util.is_out_of_memory(error)):
            raise
        found = FileReport(mixture.shown, FAILED, _one_line(mixture, error))
        logger.error("%s", found.message)
        for folder in {path.parent for path in paths.values()} - {output}:
            with contextlib.suppress(OSError):  # there is something in it
                folder.rmdir()
    found.seconds = time.monotonic() - started
    return found


def _one_line(mixture: Mixture, error: Exception) -> str:
    shown = " ".join(mixture.shown.split())
    reason = getattr(error, "strerror", None) or error
    text = " ".join(str(reason).split()) or type(error).__name__
    if mixture.origin:  # the file that was fetched is nobody's business
        text = text.replace(str(mixture.path), shown)
    return text if text.startswith(shown) else f"{shown}: {text}"


def chosen_stems(config: Config, options: Options) -> Sequence[str]:
    """Names of what is written."""
    known = config.task.stems
    unknown = [stem for stem in options.stems or () if stem not in known]
    if unknown:
        got = dict.fromkeys(stem or "an empty name" for stem in unknown)
        raise UserError(
            f"--stems must be some of {','.join(known)} for {config.task_name}, "
            f"got {','.join(got)}; without the flag all are written"
        )
    stems = options.stems or known
    return [*stems, *(map(naming.complement, stems) if options.complements else ())]
