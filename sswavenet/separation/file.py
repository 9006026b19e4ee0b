"""Separate one mixture, from a file into files.

Conventions: the remainder is the mixture minus the estimates as they are written, so
that the written stems sum to the mixture; a complement, too, is the mixture minus a
stem as it is written.
"""

from __future__ import annotations

import collections
import concurrent.futures
import contextlib
import logging
import os
import pathlib
from collections.abc import Container, Generator, Iterable, Sequence

import numpy as np

import util
from sswavenet.separation.engine import Networks
from sswavenet.separation.framing import estimate_blocks
from sswavenet.separation.inputs import Mixture, read_header
from sswavenet.separation.naming import complement
from sswavenet.separation.options import Options
from sswavenet.separation.outputs import check_writable
from sswavenet.separation.progress import Progressing
from sswavenet.separation.report import SEPARATED, FileReport, StemReport
from sswavenet.separation.source import open_source
from sswavenet.sound.writer import AudioWriter, quantize
from util import UserError

logger = logging.getLogger(__name__)

PREFETCHED = 16  # blocks of some seconds, together about what a batch takes


def separate_file(
    mixture: Mixture,
    paths: dict[str, pathlib.Path],
    networks: Networks,
    options: Options,
    *,
    bar: Progressing,
    old: Container[os.PathLike] | None = None,
) -> FileReport:
    """Separate one file; its stems appear together, or not at all.

    They go to `paths`, by their names, complements included, and may replace the files
    in `old`, by default all. Raises UserError where the mixture, or what the network
    made of it, cannot be used, and OSError where the stems cannot be written.
    """
    config, encoding, excerpt = networks.config, options.encoding, options.excerpt
    _, description = read_header(mixture.path, config.sample_rate)
    logger.info("%s: %s", mixture.shown, description)
    check_writable(paths.values())
    clipped = dict.fromkeys((*config.task.stems, *paths), 0)
    with contextlib.ExitStack() as stack:
        source = open_source(
            mixture.path,
            config,
            "model" if options.original_framing else options.stem_format,
            strict=options.strict,
        )
        stack.enter_context(source)
        rate = source.sample_rate
        before, unheard = excerpt.select(source, margin=config.context_length)
        heard_length = source.heard_length - unheard
        network = networks(heard_length)
        tags = source.source.tags
        # All files are whole before the first one gets its name.
        written = util.replacing_all(list(paths.values()), old=old)
        temporaries = dict(zip(paths, stack.enter_context(written)))
        expected = excerpt.length(source.length - before, rate)
        bar.begin(heard_length - network.framing.lost)
        with contextlib.ExitStack() as files:
            writers = {
                name: files.enter_context(
                    AudioWriter(
                        path,
                        sample_rate=rate,
                        frames=expected,
                        channels=source.channels,
                        form=encoding.form,
                        subtype=encoding.subtype,
                        bitrate=encoding.bitrate,
                        tags=tags.of_stem(name, pathlib.PurePath(mixture.name).name),
                    )
                )
                for name, path in temporaries.items()
            }
            # While one part is written the next is computed, and the one after read.
            blocks = files.enter_context(prefetch(source.heard(), PREFETCHED))
            estimated = estimate_blocks(
                blocks,
                network,
                num_estimates=len(config.task.estimates),
                progress=bar,
                unheard=unheard,
            )
            parts = source.parts(files.enter_context(prefetch(estimated)))
            frames = 0
            for part, estimates in excerpt.cut(parts, before, rate):
                for name, (stem, num_clipped) in _written(
                    part, estimates, config.task.stems, paths, encoding.rounding
                ).items():
                    clipped[name] += num_clipped
                    if name in writers:
                        writers[name].write(stem)
                frames += len(part)
        warnings = source.warnings
        warnings += [
            f"{clipped[name]} samples of {name} clipped"
            for name in paths
            if clipped[name]
        ]
        for warning in warnings:
            logger.warning("%s: %s", mixture.shown, warning)
        return FileReport(
            mixture.shown,
            SEPARATED,
            warnings=warnings,
            frames=frames + network.framing.lost,
            sample_rate=rate,
            stems={
                name: StemReport(str(path), writers[name].digest, frames, clipped[name])
                for name, path in paths.items()
            },
        )


def prefetch(items: Iterable, count: int = 1) -> contextlib.closing[Generator]:
    """A context that gives items, `count` of them made in advance in a thread.

    It raises what making one has raised. At its end nothing is being made any more.
    """

    def run() -> Generator:
        source, end = iter(items), object()
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            made = collections.deque(
                pool.submit(next, source, end) for _ in range(count)
            )
            try:
                while (item := made.popleft().result()) is not end:
                    made.append(pool.submit(next, source, end))
                    yield item
            finally:
                for future in made:
                    future.cancel()

    return contextlib.closing(run())


def _written(
    mixture: np.ndarray,
    estimates: np.ndarray,
    names: Sequence[str],
    wanted: Container[str],
    subtype: str,
) -> dict[str, tuple[np.ndarray, int]]:
    """Each stem as it is written, and how many of its samples are clipped.

    Complements are made of those that are wanted. Raises UserError where something is
    not finite.
    """
    if not np.isfinite(estimates).all():
        raise UserError("the network's output has NaN or infinity")
    stems = [quantize(estimate, subtype) for estimate in estimates]
    with np.errstate(over="ignore"):
        remainder = mixture - sum(stem for stem, _ in stems)
    if not np.isfinite(remainder).all():
        raise UserError("the remainder has NaN or infinity")
    found = dict(zip(names, [*stems, quantize(remainder, subtype)]))
    for name in names:
        if complement(name) in wanted:
            rest = mixture - found[name][0]
            found[complement(name)] = quantize(rest, subtype)
    return found
