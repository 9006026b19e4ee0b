"""What an audio file's header promises, to find files that were cut short.

libsndfile shortens the length to what is there and says nothing, so the sizes are
read here, of the formats that state them: WAV (RIFF, RIFX, RF64), Wave64, AIFF, AU,
CAF, 8SVX.
"""

from __future__ import annotations

import os
import pathlib
import struct
from typing import BinaryIO, Callable

MAX_CHUNKS = 10000
# What programs that write to a pipe put where they do not know the size yet.
UNKNOWN_SIZES = ((0x7FFFF000, 0x7FFFFFFF), (0xFFFFF000, 0xFFFFFFFF))


def missing_bytes(path: os.PathLike) -> int:
    """How many bytes of samples the header promises beyond the end of the file.

    0 for a file that is complete, does not say, or has another format.

    Raises:
        OSError: the file cannot be read.
    """
    with pathlib.Path(path).open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        try:
            return max(0, _end_of_samples(file) - size)
        except (struct.error, OverflowError, ValueError):
            return 0  # it ends within its header, which libsndfile says better


def _end_of_samples(file: BinaryIO) -> int:
    start = file.read(12)
    if start[:4] in (b"RIFF", b"RF64") and start[8:] == b"WAVE":
        return _end_of_chunk(file, 12, _sizes("<4sI"), b"data", 2)
    if start[:4] == b"RIFX" and start[8:] == b"WAVE":
        return _end_of_chunk(file, 12, _sizes(">4sI"), b"data", 2)
    if start[:4] == b"FORM" and start[8:] in (b"AIFF", b"AIFC"):
        return _end_of_chunk(file, 12, _sizes(">4sI"), b"SSND", 2)
    if start[:4] == b"FORM" and start[8:] in (b"8SVX", b"16SV"):
        return _end_of_chunk(file, 12, _sizes(">4sI"), b"BODY", 2)
    if start[:4] == b"caff":
        return _end_of_chunk(file, 8, _sizes(">4sq"), b"data", 1)
    if start[:4] == b"riff":
        # Its chunks are named by 16 bytes, and their sizes count the header, too.
        return _end_of_chunk(file, 40, _sizes("<4s12xQ", counted=24), b"data", 8)
    if start[:4] == b".snd":
        offset, size = struct.unpack(">II", start[4:])
        return 0 if _is_unknown(size) else offset + size
    return 0


def _sizes(layout: str, counted: int = 0) -> Callable[[BinaryIO], tuple]:
    """A function that reads a chunk's header: (name, size of its content)."""

    def read(file: BinaryIO) -> tuple:
        name, size = struct.unpack(layout, file.read(struct.calcsize(layout)))
        return name, size - counted

    return read


def _end_of_chunk(
    file: BinaryIO,
    place: int,
    read: Callable[[BinaryIO], tuple],
    wanted: bytes,
    pad: int,
) -> int:
    """Where the content of the chunk `wanted` ends; 0 where that is not said."""
    large = None  # the size in a chunk ds64, for what 32 bits do not hold
    for _ in range(MAX_CHUNKS):
        file.seek(place)
        name, size = read(file)
        content = file.tell()
        if name == b"ds64":
            large = struct.unpack("<8xQ", file.read(16))[0]
        if name == wanted:
            if _is_unknown(size):
                return 0 if large is None else content + large
            return content + size
        if size < 0:
            return 0
        place = content + -(-size // pad) * pad
    return 0


def _is_unknown(size: int) -> bool:
    return any(low <= size <= high for low, high in UNKNOWN_SIZES)
