"""Read written stems back and hold them against the mixture and what was written."""

from __future__ import annotations

import contextlib
import hashlib
import os
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np
import soundfile

from sswavenet.separation.excerpt import Excerpt
from sswavenet.separation.source import ModelSource, NativeSource
from sswavenet.sound.formats import SAMPLE_BITS, Encoding
from sswavenet.sound.reader import AudioReader
from util import UserError

# A stem of a lossy format may be longer or shorter by so much.
LOSSY_SECONDS = 0.1


def verify_stems(
    source: ModelSource | NativeSource,
    stems: Mapping[str, pathlib.Path],
    digests: Mapping[str, str],
    *,
    encoding: Encoding,
    excerpt: Excerpt,
    margin: int,
    frames: int,
    lost: int,
    sums: Sequence[Sequence[str]],
) -> None:
    """Check stems against their mixture: frames, finiteness, samples and sum.

    Of lossy formats only that all of them can be read and are as long as they should.

    Args:
        source: the mixture, of which nothing was read.
        stems: the stems' files by name.
        digests: SHA-256 of each stem's samples when they were written.
        encoding: how they are stored.
        excerpt: which part of the mixture they are of.
        margin: samples beside the part that the network heard with it.
        frames: how many each stem has.
        lost: samples by which the stems are shorter than the mixture.
        sums: sets of stems that are to sum to the mixture, within one step of the
            sample type.

    Raises:
        UserError: one of them does not hold.
    """
    if encoding.is_lossy:
        for name, path in stems.items():
            _verify_lossy(name, path, frames / source.sample_rate)
        return
    form = (frames, source.sample_rate, source.channels, encoding.subtype)
    hashes = {name: hashlib.sha256() for name in stems}
    with contextlib.ExitStack() as stack:
        place = -(lost // 2) - excerpt.select(source, margin)  # in the stems
        files = {
            name: stack.enter_context(soundfile.SoundFile(os.fsencode(path)))
            for name, path in stems.items()
        }
        for name, file in files.items():
            found = (file.frames, file.samplerate, file.channels, file.subtype)
            if found != form:
                raise UserError(
                    f"verification: expected {name} to have {frames} frames at "
                    f"{source.sample_rate} Hz, {source.channels} channel(s), "
                    f"{encoding.subtype}, got {found}"
                )
        for block in source.mixture():
            start, stop = max(0, -place), min(len(block), frames - place)
            place += len(block)
            if stop <= start:
                continue
            wanted = block[start:stop].reshape(stop - start, -1)
            read = {}
            for name, file in files.items():
                samples = file.read(stop - start, dtype="float32", always_2d=True)
                hashes[name].update(samples.astype("<f4", copy=False).tobytes())
                if samples.shape != wanted.shape or not np.isfinite(samples).all():
                    raise UserError(
                        f"verification: {name} has samples missing or not finite"
                    )
                read[name] = samples
            for names in sums:
                _verify_sum(wanted, [read[name] for name in names], encoding.subtype)
    for name, digest in digests.items():
        if hashes[name].hexdigest() != digest:
            raise UserError(
                f"verification: {name} was read back with other samples than written"
            )


def _verify_sum(mixture: np.ndarray, stems: Sequence[np.ndarray], subtype: str) -> None:
    """See that stems sum to the mixture, shape (frames, channels)."""
    if subtype == "FLOAT":
        largest = 1 + np.abs(stems).sum(axis=0)
        tolerance = 2.0**-22 * largest  # its arithmetic rounds
    else:
        tolerance = np.full(mixture.shape, 2.0 ** (1 - SAMPLE_BITS[subtype]))
    error = np.abs(np.sum(stems, axis=0, dtype=np.float64) - mixture)
    if not (error <= tolerance).all():
        raise UserError(
            f"verification: the stems sum to the mixture only within {error.max():.2g}"
        )


def _verify_lossy(name: str, path: pathlib.Path, seconds: float) -> None:
    """Read a stem of a lossy format back: its length, and that it is finite."""
    frames = 0
    with AudioReader(path, strict=True) as reader:
        for block in reader.blocks():
            frames += len(block)
            if not np.isfinite(block).all():
                raise UserError(f"verification: {name} has samples that are not finite")
        found = frames / reader.sample_rate
    if abs(found - seconds) > LOSSY_SECONDS:
        raise UserError(
            f"verification: expected {name} to have {seconds:.3f} s, got {found:.3f}"
        )
