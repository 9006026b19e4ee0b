"""Audio files, read block by block, so that any length fits in memory.

Conventions: audio is float32, shape (frames,) where mono and (frames, channels)
otherwise, full scale 1.0; rates are in Hz.
"""

from __future__ import annotations

import io
import logging
import math
import os
import stat
import threading
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import soundfile
from scipy import signal

from sswavenet.sound import sound_header, sound_stream
from util import UserError

logger = logging.getLogger(__name__)

# Decoded at a time, of all channels together, and made of them at the wanted rate.
BLOCK_FRAMES = 2**18
# Hz; a header that says more is spoiled.
MAX_RATE = 768000
# The larger term of a reduced ratio of rates: the filter for it takes 100 MB.
MAX_RATIO = 100_000
# What libsndfile gives where a FLAC does not say its length is 2**63 - 1.
UNKNOWN_FRAMES = 2**62

# Whose end is known: by `sound_header`, by `sound_stream`, by their decoder.
CHECKED_FORMATS = frozenset(
    ("WAV", "WAVEX", "RF64", "W64", "AIFF", "AU", "CAF", "SVX", "OGG", "MP3", "FLAC")
)

# libsndfile keeps one message for all files that fail to open at the same time.
_OPENING = threading.Lock()


def to_mono(audio: np.ndarray) -> np.ndarray:
    """The mean of all channels: (frames, channels) or (frames,) to (frames,)."""
    # Whoever reads checks for infinity.
    with np.errstate(over="ignore", invalid="ignore"):
        return audio if audio.ndim == 1 else audio.mean(axis=1, dtype=audio.dtype)


def resample(
    blocks: Iterable[np.ndarray], *, from_rate: int, to_rate: int
) -> Iterator[np.ndarray]:
    """Resample mono audio with SciPy's polyphase filter, as the 2018 program did.

    Args:
        blocks: pieces of one signal, each of shape (frames,).
        from_rate: sample rate of the signal, Hz.
        to_rate: sample rate wanted, Hz.

    Yields:
        Pieces of what resampling the whole signal at once gives: together
        ceil(frames * to_rate / from_rate) samples of the same type.
    """
    divisor = math.gcd(from_rate, to_rate)
    up, down = to_rate // divisor, from_rate // divisor
    if up == down:
        yield from blocks
        return
    # SciPy's filter reaches this far, rounded up to whole steps of `down` samples,
    # at which the samples of both rates fall together.
    reach = -(-10 * max(up, down) // (up * down)) * down
    waiting = np.zeros(reach, np.float32)  # silence before the signal
    for block in blocks:
        waiting = np.concatenate([waiting.astype(block.dtype, copy=False), block])
        count = (len(waiting) - 2 * reach) // down * down
        if count > 0:
            piece = signal.resample_poly(waiting[: count + 2 * reach], up, down)
            start = reach // down * up
            yield piece[start : start + count // down * up].astype(block.dtype)
            waiting = waiting[count:]
    count = len(waiting) - reach
    if count > 0:
        piece = signal.resample_poly(waiting, up, down).astype(waiting.dtype)
        yield piece[reach // down * up :][: -(-count * up // down)]


def _rate_problem(from_rate: int, to_rate: int) -> str:
    """Why there is no resampling from a rate to another; empty where there is."""
    if from_rate > MAX_RATE:
        return f"expected a sample rate of at most {MAX_RATE} Hz, got {from_rate}"
    if max(from_rate, to_rate) // math.gcd(from_rate, to_rate) > MAX_RATIO:
        return (
            f"expected a usual sample rate, got {from_rate} Hz: the filter from it to "
            f"{to_rate} Hz would fill the memory"
        )
    return ""


class _Straight(soundfile.SoundFile):
    """A file that is read from its first frame to its last.

    SoundFile seeks to where it is after each piece that it reads. In an MP3 that
    spoils what comes next, since its frames use what earlier ones left over.
    """

    def seekable(self) -> bool:
        """No: so nothing seeks."""
        return False

    def close(self) -> None:
        """Close the object that it reads, too, if it is one."""
        super().close()
        if isinstance(self.name, io.IOBase):
            self.name.close()


class MonoReader:
    """An audio file as float32 mono at a wanted rate, block by block.

    Every format that libsndfile reads; channels are averaged, then resampled. A
    context manager.

    Args:
        path: the file.
        sample_rate: the rate wanted, Hz.

    Raises:
        UserError: the file is missing, is no audio file, a pipe or a device, is cut
            short, or has several streams.
    """

    def __init__(self, path: os.PathLike, *, sample_rate: int):
        self.path = path
        self.sample_rate = sample_rate
        try:
            # To open a pipe may take for ever.
            if not stat.S_ISREG(os.stat(path).st_mode):  # noqa: PTH116
                raise TypeError("a folder, a pipe or a device")
            self._file = self._open()
            self._frames = self._file.frames
            if self._frames >= UNKNOWN_FRAMES:
                self._frames = sum(map(len, self._pieces()))
                self._file.close()
                self._file = self._open()
            missing = sound_header.missing_bytes(path)
            cut = f"{missing} bytes of its samples are missing" if missing else ""
            cut = cut or sound_stream.cut_reason(path, self._file.format)
            joined = sound_stream.is_joined(path, self._file.format)
            surplus = sound_header.surplus_bytes(path)
        except (OSError, RuntimeError, TypeError) as error:
            raise self._refusal(error) from None
        refused = ""
        if cut:
            refused = f"cut short: {cut}"
        elif joined:
            refused = "expected one stream, got several, one after the other"
        else:
            refused = _rate_problem(self._file.samplerate, sample_rate)
        if refused:
            self._file.close()
            raise UserError(f"{path}: {refused}")
        if surplus:
            logger.warning(
                "%s: %d bytes after the samples that its header announces are left out",
                path,
                surplus,
            )
        if self._file.format not in CHECKED_FORMATS:
            logger.warning(
                "%s: nothing tells whether a file of format %s was cut short",
                path,
                self._file.format,
            )

    def _refusal(self, error: Exception) -> UserError:
        reason = getattr(error, "error_string", getattr(error, "strerror", None))
        return UserError(f"{self.path}: expected an audio file, got: {reason or error}")

    def _open(self) -> _Straight:
        """Open the file; an MP3 that does not count its frames with a count."""
        with _OPENING:
            file = _Straight(os.fsencode(self.path))
            if file.format != "MP3":
                return file
            counted = sound_stream.with_count(self.path)
            if counted is None:
                return file
            file.close()
            return _Straight(counted)

    def __enter__(self) -> MonoReader:
        """Give the reader itself."""
        return self

    def __exit__(self, *_: Any) -> None:
        """Close the file."""
        self._file.close()

    @property
    def source_rate(self) -> int:
        """The file's own sample rate, Hz."""
        return int(self._file.samplerate)

    @property
    def length(self) -> int:
        """Frames at the wanted rate: as the header says, else as they were counted."""
        return -(-self._frames * self.sample_rate // self._file.samplerate)

    def blocks(self) -> Iterator[np.ndarray]:
        """All of the audio, in pieces of shape (frames,).

        Raises:
            UserError: the file cannot be decoded, or ends early.
        """
        return resample(
            self._decoded(),
            from_rate=self._file.samplerate,
            to_rate=self.sample_rate,
        )

    def read(self) -> np.ndarray:
        """All of the audio at once: shape (frames,).

        Raises:
            UserError: the file cannot be decoded, or ends early.
        """
        return np.concatenate([np.zeros(0, np.float32), *self.blocks()])

    def _decoded(self) -> Iterator[np.ndarray]:
        got = 0
        try:
            for piece in self._pieces():
                got += len(piece)
                yield to_mono(piece)
        except (OSError, RuntimeError, TypeError) as error:
            raise self._refusal(error) from None
        if got < self._frames:
            raise UserError(f"{self.path}: expected {self._frames} frames, got {got}")

    def _pieces(self) -> Iterator[np.ndarray]:
        """What is still to be decoded: shapes (frames,) or (frames, channels)."""
        # Of a low rate a few frames become many: at 1 Hz each one a whole second.
        most = BLOCK_FRAMES * self._file.samplerate // self.sample_rate
        size = max(1, min(BLOCK_FRAMES // self._file.channels, most))
        # Not SoundFile.blocks, which fills up what is missing with anything.
        while len(piece := self._file.read(size, dtype="float32")):
            yield piece


def read_mono(path: os.PathLike, *, sample_rate: int) -> np.ndarray:
    """Read a whole audio file, as `MonoReader` gives it.

    Returns:
        Shape (frames,), float32.

    Raises:
        UserError: the file is missing, cannot be decoded, or ends early.
    """
    with MonoReader(path, sample_rate=sample_rate) as reader:
        return reader.read()
