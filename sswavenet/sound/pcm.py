"""Audio files decoded by libsndfile: PCM, and what else it reads where FFmpeg is not.

Conventions: see `reader`. A decoder goes through its file once, from a frame on.
"""

from __future__ import annotations

import contextlib
import io
import os
import pathlib
import re
import threading
from collections.abc import Iterator

import numpy as np
import soundfile

from sswavenet.sound.tags import TEXTS, Tags, from_texts
from util import UserError

# Formats and subtypes that are stored sample by sample, so that a header tells how
# many there are, and any of them can be gone to.
STORED = frozenset(soundfile.available_formats()) - {"OGG", "MP3", "FLAC", "RAW"}
# Bytes of a sample.
STORED_AS = {"PCM_S8": 1, "PCM_U8": 1, "PCM_16": 2, "PCM_24": 3, "PCM_32": 4}
STORED_AS.update({"FLOAT": 4, "DOUBLE": 8, "ULAW": 1, "ALAW": 1})
# What libsndfile gives where a FLAC does not say its length is 2**63 - 1.
UNKNOWN_FRAMES = 2**62
# Where programs that write to a pipe do not know a size yet they put one of these.
ENDLESS = 2**60  # bytes
UNKNOWN_SIZES = (
    (0x7FFFF000, 0x7FFFFFFF),
    (0xFFFFF000, 0xFFFFFFFF),
    (ENDLESS // 2, 2**64),
)
# libsndfile reads what is there of a file that was cut, and says so in its log alone:
# bytes of the samples, and what they should be. Of a Wave64 it says the first only,
# with those of the header.
_SHORTER = re.compile(
    r"^ *(?:data|SSND|BODY|Data Size) *: (\d+) \(should be (\d+)", re.MULTILINE
)
_WAVE64 = re.compile(r"^data : (\d+)$", re.MULTILINE)
WAVE64_HEADER = 24
FULL_LOG = 2000  # characters; libsndfile adds no more
SMALL = 2**12  # frames

# libsndfile keeps one message for all files that fail to open at the same time.
_OPENING = threading.Lock()


class UnreadableError(Exception):
    """A decoder does not know the file; the text says why."""


class _Straight(soundfile.SoundFile):
    """A file that is read from where it is to its end.

    SoundFile seeks to where it is after each piece that it reads. In an MP3 that
    spoils what comes next, since its frames use what earlier ones left over.
    """

    def seekable(self) -> bool:
        """No: so nothing seeks unless it is asked to."""
        return False


class _Endless(io.FileIO):
    """A file that goes on for ever, so that its header is taken at its word."""

    _is_at_end = False

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place."""
        self._is_at_end = whence == io.SEEK_END
        if not self._is_at_end:
            # Where there is no such place: behind sizes that make no sense. It stays.
            with contextlib.suppress(OSError):
                super().seek(offset, whence)
        return self.tell()

    def tell(self) -> int:
        """The place gone to."""
        return ENDLESS if self._is_at_end else super().tell()


class PcmDecoder:
    """One file through libsndfile.

    Attributes:
        sample_rate: Hz.
        channels: how many there are.
        frames: how many the file has as far as its header tells; 0 where unknown.
        declared: how many the header promises; 0 where it does not say.
        is_exact: whether a file with fewer than it declares is broken, and not only
            written by a program that counts otherwise.
        is_stored: whether the samples are stored one by one.
        is_certain: whether that holds, and libsndfile found some.
        errors: how many pieces could not be decoded.

    Raises:
        UnreadableError: it is no audio file, or none that libsndfile knows.
        UserError: it is a CAF that was cut short, which libsndfile calls malformed.
    """

    is_guess = False  # whether `frames` is

    def __init__(self, path: os.PathLike):
        self._path = path
        try:
            # Not by its name, of which libsndfile believes an .mp3.
            with _OPENING:
                place = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
                self._file = file = _Straight(place, closefd=True)
        except (RuntimeError, TypeError) as error:
            if _begins(path, b"caff") and _promised(path):
                raise UserError(
                    f"{path}: cut short: fewer samples than its header says"
                ) from None
            raise UnreadableError(getattr(error, "error_string", str(error))) from None
        self.sample_rate, self.channels = int(file.samplerate), int(file.channels)
        self.frames = int(file.frames) if file.frames < UNKNOWN_FRAMES else 0
        self.errors = 0
        self.is_stored = file.format in STORED and file.subtype in STORED_AS
        self.is_exact = self.is_stored or file.format == "FLAC"
        self.is_certain = self.is_stored and self.frames > 0
        self.declared = self._declared() if self.is_stored else 0
        if file.format == "FLAC":
            self.declared = self.frames

    def _declared(self) -> int:
        """Frames that the header promises; 0 where it does not say."""
        log, form, frames = self._file.extra_info, self._file.format, self.frames
        width = self.channels * STORED_AS[self._file.subtype]
        if form == "RF64" or len(log) > FULL_LOG:  # the log does not tell
            return max(frames, _promised(self._path, width))
        if form == "W64" and (only := _WAVE64.search(log)):
            size = int(only.group(1)) - WAVE64_HEADER
            # Some programs count the bytes that make it a multiple of 8.
            return 0 if _is_unknown(size) else max(frames, (size - 7) // width)
        if found := _SHORTER.search(log):
            said, there = map(int, found.groups())
            # The size has some bytes more than the samples in an AIFF.
            whole = -(-frames * said // max(1, there))
            return 0 if _is_unknown(said) else max(frames, whole)
        return frames

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def tags(self) -> Tags:
        """Title, artist and album; libsndfile knows no cover."""
        return from_texts({name: getattr(self._file, name) for name in TEXTS})

    def count(self) -> int:
        """How many frames there are, found by decoding them."""
        other = PcmDecoder(self._path)
        try:
            return sum(map(len, other.pieces(0, 2**16)))
        finally:
            other.close()

    def pieces(self, start: int, size: int) -> Iterator[np.ndarray]:
        """The audio from a frame on: (frames, channels), at most `size` of them.

        Raises OSError where the file cannot be read.
        """
        if self.is_stored:
            self._file.seek(min(start, self.frames))
            start = 0
        else:  # of a piece with an error nothing is left
            size = min(size, SMALL)
        while True:
            try:
                # Not SoundFile.blocks, which fills up what is missing with anything.
                piece = self._file.read(size, dtype="float32", always_2d=True)
            except RuntimeError:
                self.errors += 1
                return
            if not len(piece):
                return
            if len(piece) > start:
                yield piece[start:]
            start = max(0, start - len(piece))


def _begins(path: os.PathLike, mark: bytes) -> bool:
    with pathlib.Path(path).open("rb") as file:
        return file.read(len(mark)) == mark


def _promised(path: os.PathLike, width: int = 1) -> int:
    """Frames of `width` bytes that a header promises; 0 where it does not say."""
    try:
        with _Endless(path) as whole, soundfile.SoundFile(whole) as file:
            return 0 if _is_unknown(file.frames * width) else int(file.frames)
    except RuntimeError:
        return 0


def _is_unknown(size: int) -> bool:
    return any(low <= size <= high for low, high in UNKNOWN_SIZES)
