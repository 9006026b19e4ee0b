"""Read written stems back and hold them against the mixture and what was written."""

from __future__ import annotations

import contextlib
import hashlib
import os
import pathlib
from collections.abc import Mapping

import numpy as np
import soundfile

from sswavenet.separation.excerpt import Excerpt
from sswavenet.sound.formats import SAMPLE_BITS, Encoding
from sswavenet.sound.reader import AudioReader, MonoReader
from util import UserError

# A stem of a lossy format may be longer or shorter by so much.
LOSSY_SECONDS = 0.1


def verify_stems(
    mixture: os.PathLike,
    stems: Mapping[str, pathlib.Path],
    digests: Mapping[str, str],
    *,
    sample_rate: int,
    encoding: Encoding,
    excerpt: Excerpt,
    margin: int,
    frames: int,
    lost: int,
    sums: bool,
) -> None:
    """Check stems against their mixture: frames, finiteness, samples and sum.

    Of lossy formats only that all of them can be read and are as long as they should.

    Args:
        mixture: the mixture's file.
        stems: the stems' files by name.
        digests: SHA-256 of each stem's samples when they were written.
        sample_rate: the stems', Hz.
        encoding: how they are stored.
        excerpt: which part of the mixture they are of.
        margin: samples beside the part that were separated with it.
        frames: how many each stem has.
        lost: samples by which the stems are shorter than the mixture.
        sums: whether the stems are to sum to the mixture, within one step of the
            sample type: all of them are there and the remainder was not clipped.

    Raises:
        UserError: one of them does not hold.
    """
    if encoding.is_lossy:
        for name, path in stems.items():
            _verify_lossy(name, path, frames / sample_rate)
        return
    hashes = {name: hashlib.sha256() for name in stems}
    with contextlib.ExitStack() as stack:
        reader = stack.enter_context(MonoReader(mixture, sample_rate=sample_rate))
        place = -(lost // 2) - excerpt.select(reader, margin)  # in the stems
        files = {
            name: stack.enter_context(soundfile.SoundFile(os.fsencode(path)))
            for name, path in stems.items()
        }
        for name, file in files.items():
            found = (file.frames, file.samplerate, file.channels, file.subtype)
            if found != (frames, sample_rate, 1, encoding.subtype):
                raise UserError(
                    f"verification: expected {name} to have {frames} frames at "
                    f"{sample_rate} Hz, 1 channel, {encoding.subtype}, got {found}"
                )
        for block in reader.blocks():
            start, stop = max(0, -place), min(len(block), frames - place)
            place += len(block)
            if stop <= start:
                continue
            total = np.zeros(stop - start)
            largest = np.ones(stop - start)
            for name, file in files.items():
                samples = file.read(stop - start, dtype="float32")
                hashes[name].update(samples.astype("<f4", copy=False).tobytes())
                if len(samples) != stop - start or not np.isfinite(samples).all():
                    raise UserError(
                        f"verification: {name} has samples missing or not finite"
                    )
                total += samples
                largest += np.abs(samples)
            if encoding.subtype == "FLOAT":
                tolerance = 2.0**-22 * largest  # its arithmetic rounds
            else:
                step = 2.0 ** (1 - SAMPLE_BITS[encoding.subtype])
                tolerance = np.full(stop - start, step)
            error = np.abs(total - block[start:stop])
            if sums and not (error <= tolerance).all():
                raise UserError(
                    f"verification: the stems sum to the mixture only within "
                    f"{error.max():.2g}"
                )
    for name, digest in digests.items():
        if hashes[name].hexdigest() != digest:
            raise UserError(
                f"verification: {name} was read back with other samples than written"
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
