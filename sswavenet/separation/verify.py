"""Read written stems back and hold them against the mixture and what was written."""

from __future__ import annotations

import contextlib
import hashlib
import os
import pathlib
from collections.abc import Mapping

import numpy as np
import soundfile

from sswavenet.sound.reader import MonoReader
from sswavenet.sound.writer import SAMPLE_BITS
from util import UserError

BLOCK_FRAMES = 2**18


def verify_stems(
    mixture: os.PathLike,
    stems: Mapping[str, pathlib.Path],
    digests: Mapping[str, str],
    *,
    sample_rate: int,
    subtype: str,
    lost: int,
    sums: bool,
) -> None:
    """Check stems against their mixture: frames, finiteness, samples and sum.

    Args:
        mixture: the mixture's file.
        stems: the stems' files by name.
        digests: SHA-256 of each stem's samples when they were written.
        sample_rate: the stems', Hz.
        subtype: the stems' sample type.
        lost: samples by which the stems are shorter than the mixture.
        sums: whether the stems are to sum to the mixture, within one step of the
            sample type: all of them are there and the remainder was not clipped.

    Raises:
        UserError: one of them does not hold.
    """
    hashes = {name: hashlib.sha256() for name in stems}
    with contextlib.ExitStack() as stack:
        reader = stack.enter_context(MonoReader(mixture, sample_rate=sample_rate))
        files = {
            name: stack.enter_context(soundfile.SoundFile(os.fsencode(path)))
            for name, path in stems.items()
        }
        frames = reader.length - lost
        for name, file in files.items():
            found = (file.frames, file.samplerate, file.channels, file.subtype)
            if found != (frames, sample_rate, 1, subtype):
                raise UserError(
                    f"verification: expected {name} to have {frames} frames at "
                    f"{sample_rate} Hz, 1 channel, {subtype}, got {found}"
                )
        place = -(lost // 2)  # of the next sample in the stems
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
            if subtype == "FLOAT":
                tolerance = 2.0**-22 * largest  # its arithmetic rounds
            else:
                tolerance = np.full(stop - start, 2.0 ** (1 - SAMPLE_BITS[subtype]))
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
