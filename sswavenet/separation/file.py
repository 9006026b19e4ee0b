"""Separate one mixture, from a file into files or in memory.

Conventions: stems are mono files at the model's rate; the remainder is the mixture
minus the estimates as they are written, so that the written stems sum to the mixture.
"""

from __future__ import annotations

import collections
import concurrent.futures
import contextlib
import logging
import os
import pathlib
from collections.abc import Container, Generator, Iterable, Iterator, Sequence
from typing import Callable

import numpy as np

import util
from sswavenet.config.session import Config
from sswavenet.separation.engine import NetworkSource
from sswavenet.separation.excerpt import Excerpt
from sswavenet.separation.framing import (
    Network,
    Predict,
    estimate_blocks,
    estimate_stems,
)
from sswavenet.separation.inputs import Mixture, read_header
from sswavenet.separation.outputs import check_writable
from sswavenet.separation.progress import FileBar
from sswavenet.separation.report import StemReport
from sswavenet.separation.shapes import Blocks
from sswavenet.separation.verify import verify_stems
from sswavenet.sound.formats import Encoding
from sswavenet.sound.reader import MonoReader
from sswavenet.sound.writer import AudioWriter, as_written
from util import UserError

logger = logging.getLogger(__name__)

READ_AHEAD = 16  # blocks of some seconds, together about what a batch takes


def separate_file(
    mixture: Mixture,
    paths: dict[str, pathlib.Path],
    config: Config,
    networks: Callable[[int], Network],
    *,
    encoding: Encoding,
    excerpt: Excerpt,
    bar: FileBar,
    strict: bool = False,
    verify: bool = False,
    old: Container[os.PathLike] | None = None,
) -> tuple[int, dict[str, StemReport], list[str]]:
    """Separate one file; its stems appear together, or not at all.

    Args:
        mixture: what to separate.
        paths: where the stems go, by their names.
        config: the session's configuration.
        networks: gives the network for a mixture of so many samples.
        encoding: how the stems are stored.
        excerpt: which part of the mixture they are of.
        bar: shows how far it is.
        strict: refuse a damaged mixture. Defaults to False.
        verify: read the stems back before they get their names. Defaults to False.
        old: files that stems may replace. Defaults to all.

    Returns:
        The samples at the model's rate that were separated, what was written, by name,
        and what is to be known of the mixture.

    Raises:
        UserError: the mixture, or what the network made of it, cannot be used.
        OSError: the stems cannot be written.
    """
    _, description = read_header(mixture.path, config.sample_rate)
    logger.info("%s: %s", mixture.path, description)
    check_writable(paths.values())
    names, rate = config.task.stems, config.sample_rate
    clipped = dict.fromkeys(names, 0)
    with contextlib.ExitStack() as stack:
        reader = stack.enter_context(
            MonoReader(mixture.path, sample_rate=rate, strict=strict)
        )
        before = excerpt.select(reader, margin=config.context_length)
        network = networks(reader.length)
        tags = reader.source.tags
        # All files are whole before the first one gets its name.
        written = util.replacing_all(list(paths.values()), old=old)
        temporaries = dict(zip(paths, stack.enter_context(written)))
        expected = excerpt.length(reader.length - before, rate)
        bar.begin(reader.length - network.framing.lost)
        with contextlib.ExitStack() as files:
            writers = {
                name: files.enter_context(
                    AudioWriter(
                        path,
                        sample_rate=rate,
                        frames=expected,
                        form=encoding.form,
                        subtype=encoding.subtype,
                        bitrate=encoding.bitrate,
                        tags=tags.of_stem(name, mixture.path.stem),
                    )
                )
                for name, path in temporaries.items()
            }
            # While one part is written the next is computed, and the one after read.
            blocks = files.enter_context(ahead(_finite(reader.blocks()), READ_AHEAD))
            parts = files.enter_context(
                ahead(
                    estimate_blocks(
                        blocks,
                        network,
                        num_estimates=len(config.task.estimates),
                        progress=bar,
                    )
                )
            )
            frames = 0
            for part, estimates in excerpt.cut(parts, before, rate):
                for name, (stem, num_clipped) in _written(
                    part, estimates, names, encoding.rounding
                ).items():
                    clipped[name] += num_clipped
                    if name in writers:
                        writers[name].write(stem)
                frames += len(part)
        warnings = reader.warnings
        warnings += [
            f"{clipped[name]} samples of {name} clipped"
            for name in paths
            if clipped[name]
        ]
        for warning in warnings:
            logger.warning("%s: %s", mixture.path, warning)
        digests = {name: writer.digest for name, writer in writers.items()}
        if verify:
            verify_stems(
                mixture.path,
                temporaries,
                digests,
                sample_rate=rate,
                encoding=encoding,
                excerpt=excerpt,
                margin=config.context_length,
                frames=frames,
                lost=network.framing.lost,
                sums=len(paths) == len(names) and not clipped[config.task.remainder],
            )
        return (
            frames + network.framing.lost,
            {
                name: StemReport(str(path), digests[name], frames, clipped[name])
                for name, path in paths.items()
            },
            warnings,
        )


def ahead(items: Iterable, count: int = 1) -> contextlib.closing[Generator]:
    """Items, made in a thread while those before them are used.

    Args:
        items: what to go through, by one thread at a time.
        count: how many are made in advance. Defaults to 1.

    Returns:
        A context that gives the items, or raises what making one has raised. At its
        end nothing is being made any more.
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
                if not (util.is_out_of_memory(error) and networks.shrink()):
                    raise
        stems = dict(zip(config.task.estimates, estimates))
        stems[config.task.remainder] = mixture - estimates.sum(axis=0)
        return stems

    return separate
