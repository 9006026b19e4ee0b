"""Audio and JSON files, read with clear errors and written all or nothing.

Conventions: audio is float, shape (frames,) where mono and (frames, channels)
otherwise, full scale 1.0.
"""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
import pathlib
import tempfile
from collections.abc import Iterator
from typing import Any

import numpy as np
import soundfile
from scipy import signal

from config import UserError

MAX_JSON_BYTES = 16 * 2**20
BLOCK_FRAMES = 2**20

# What a written sample may be, and its bits.
SAMPLE_BITS = {"PCM_16": 16, "PCM_24": 24, "FLOAT": 32}


@contextlib.contextmanager
def replacing(path: os.PathLike) -> Iterator[pathlib.Path]:
    """Give a temporary path beside `path`; rename it to `path` on success only.

    The temporary name keeps the extension, for writers that look at it, and is gone
    after an error.

    Raises:
        UserError: the folder cannot be written.
    """
    path = pathlib.Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(
            prefix=".partial-", suffix=path.suffix, dir=path.parent
        )
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from None
    os.close(handle)
    temporary = pathlib.Path(name)
    try:
        # mkstemp makes private files; give what an ordinary open would.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def read_json(path: os.PathLike) -> Any:
    """Parse a JSON file.

    Raises:
        UserError: the file is missing, too large, not UTF-8 or not JSON.
    """
    path = pathlib.Path(path)
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise UserError(
                f"{path}: expected a JSON file of at most {MAX_JSON_BYTES} bytes, "
                f"got {path.stat().st_size}"
            )
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from None
    except RecursionError:
        raise UserError(f"{path}: JSON nested too deeply") from None
    except ValueError as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path}: expected JSON, got {error}") from None


def write_json(path: os.PathLike, document: Any) -> None:
    """Write a JSON file, indented by four as the 2018 program did, atomically."""
    text = json.dumps(document, indent=4, sort_keys=True)
    with replacing(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def to_mono(audio: np.ndarray) -> np.ndarray:
    """The mean of all channels: (frames, channels) or (frames,) to (frames,)."""
    return audio if audio.ndim == 1 else audio.mean(axis=1, dtype=audio.dtype)


def resample(audio: np.ndarray, *, from_rate: int, to_rate: int) -> np.ndarray:
    """Resample mono audio with SciPy's polyphase filter, as the 2018 program did.

    Args:
        audio: shape (frames,).
        from_rate: sample rate of `audio`, Hz.
        to_rate: sample rate wanted, Hz.

    Returns:
        Shape (ceil(frames * to_rate / from_rate),), same type.
    """
    if from_rate == to_rate or not len(audio):
        return audio
    divisor = math.gcd(from_rate, to_rate)
    resampled = signal.resample_poly(audio, to_rate // divisor, from_rate // divisor)
    return resampled.astype(audio.dtype, copy=False)


def read_mono(path: os.PathLike, *, sample_rate: int) -> np.ndarray:
    """Read an audio file as float32 mono at `sample_rate` Hz.

    Every format that libsndfile reads; channels are averaged, then resampled. The
    file is decoded in blocks, so that a long one never lies in memory with all its
    channels.

    Returns:
        Shape (frames,), float32.

    Raises:
        UserError: the file is missing, cannot be decoded, or ends early.
    """
    try:
        with soundfile.SoundFile(os.fspath(path)) as file:
            rate, expected = file.samplerate, file.frames
            blocks = []
            # Not file.blocks, which fills up what is missing with anything.
            while len(block := file.read(BLOCK_FRAMES, dtype="float32")):
                blocks.append(to_mono(block))
    except (OSError, RuntimeError, TypeError) as error:
        reason = getattr(error, "error_string", error)
        raise UserError(f"{path}: expected an audio file, got: {reason}") from None
    audio = np.concatenate(blocks) if blocks else np.zeros(0, np.float32)
    if len(audio) < expected:
        raise UserError(f"{path}: expected {expected} frames, got {len(audio)}")
    return resample(audio, from_rate=rate, to_rate=sample_rate)


def as_written(audio: np.ndarray, subtype: str) -> tuple[np.ndarray, int]:
    """What reading a file gives back after `audio` was written to it.

    An integer k of a file of b bits stands for k / 2**(b - 1); a sample becomes the
    nearest such number. `FLOAT` keeps every sample as it is.

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
    steps = np.rint(audio * scale)
    kept = np.clip(steps, -scale, scale - 1)
    return kept / scale, int(np.count_nonzero(kept != steps))


def write_audio(
    path: os.PathLike, audio: np.ndarray, *, sample_rate: int, subtype: str
) -> None:
    """Write a mono WAV file whose samples are exactly `as_written(audio)`.

    The integers are made here: libsndfile would scale floats by 2**(b - 1) - 1,
    which changes the level.

    It is laid out in memory first, since libsndfile does not say why a write failed.

    Raises:
        OSError: the file cannot be written, for example on a full disk.
    """
    samples, _ = as_written(audio, subtype)
    if subtype != "FLOAT":
        # libsndfile takes the high bits of an integer, so both depths fit in one.
        samples = (samples * 2.0**31).astype(np.int32)
    layout = io.BytesIO()
    soundfile.write(layout, samples, sample_rate, subtype=subtype, format="WAV")
    pathlib.Path(path).write_bytes(layout.getbuffer())
