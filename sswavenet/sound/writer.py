"""Audio files, written block by block: every sample is exactly what was foretold.

Conventions: audio is float32 mono, shape (frames,), full scale 1.0. An integer k of a
file of b bits stands for k / 2**(b - 1).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import pathlib
from typing import Any

import numpy as np
import soundfile

# What a written sample may be, and its bits.
SAMPLE_BITS = {"PCM_16": 16, "PCM_24": 24, "FLOAT": 32}
LARGEST_WAV = 2**32 - 2**16  # bytes; a WAV header counts no further


def as_written(audio: np.ndarray, subtype: str) -> tuple[np.ndarray, int]:
    """What reading a file gives back after `audio` was written to it.

    A sample becomes the nearest k / 2**(b - 1). `FLOAT` keeps every sample as it is.

    Args:
        audio: float32, any shape.
        subtype: a key of `SAMPLE_BITS`.

    Returns:
        The audio, same shape and type, and how many samples lay outside of what
        the file can hold and were clipped.
    """
    if subtype == "FLOAT":
        return audio, 0
    scale = np.float32(2 ** (SAMPLE_BITS[subtype] - 1))
    with np.errstate(over="ignore"):  # what becomes infinite is clipped
        steps = np.rint(audio * scale)
    kept = np.clip(steps, -scale, scale - 1)
    # Plus zero: an integer has no negative zero.
    return kept / scale + np.float32(0), int(np.count_nonzero(kept != steps))


class MonoWriter:
    """A mono WAV file (RF64 from 4 GB on) whose samples are exactly `as_written`.

    The integers are made here: libsndfile would scale floats by 2**(b - 1) - 1, which
    changes the level. A context manager.

    Args:
        path: the file; replaced if it exists.
        sample_rate: Hz.
        subtype: a key of `SAMPLE_BITS`.
        frames: how many are to come.

    Attributes:
        digest: SHA-256 of the samples written, as little-endian float32.

    Raises:
        OSError: the file cannot be written, for example on a full disk.
    """

    def __init__(
        self, path: os.PathLike, *, sample_rate: int, subtype: str, frames: int
    ):
        self.path = pathlib.Path(path)
        self.subtype = subtype
        self.digest = hashlib.sha256()
        large = frames * SAMPLE_BITS[subtype] // 8 > LARGEST_WAV
        self.path.open("wb").close()  # says why, where libsndfile does not
        self._file = soundfile.SoundFile(
            os.fsencode(path),
            "w",
            sample_rate,
            channels=1,
            subtype=subtype,
            format="RF64" if large else "WAV",
        )

    def __enter__(self) -> MonoWriter:
        """Give the writer itself."""
        return self

    def __exit__(self, *_: Any) -> None:
        """Close the file."""
        self._file.close()

    def write(self, audio: np.ndarray) -> None:
        """Append samples that `as_written` has returned: shape (frames,), float32."""
        self.digest.update(audio.astype("<f4", copy=False).tobytes())
        if self.subtype != "FLOAT":
            # libsndfile takes the high bits of an integer, so both depths fit in one.
            audio = (audio * 2.0**31).astype(np.int32)
        try:
            self._file.write(audio)
        except (AssertionError, RuntimeError) as error:
            raise self._reason(error) from None

    def _reason(self, error: Exception) -> OSError:
        """Why a write failed: libsndfile does not say, the system does."""
        with contextlib.suppress(AttributeError):
            try:
                with self.path.open("ab") as file:
                    file.write(bytes(2**16))
            except OSError as reason:
                return reason
        return OSError(f"the samples could not be written: {error}")
