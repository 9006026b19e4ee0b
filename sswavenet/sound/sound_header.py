"""What an audio file's header promises, to find files that have less or more.

libsndfile shortens the length to what is there, leaves out what is not announced, and
says nothing of either, so the sizes are read here, of the formats that state them: WAV
(RIFF, RIFX, RF64), Wave64, AIFF, AU, CAF, 8SVX.
"""

from __future__ import annotations

import os
import pathlib
import struct
from typing import BinaryIO, NamedTuple

MAX_CHUNKS = 10000
MIN_SURPLUS = 16  # bytes; fewer are padding
# What programs that write to a pipe put where they do not know the size yet.
UNKNOWN_SIZES = (
    (0x7FFFF000, 0x7FFFFFFF),
    (0xFFFFF000, 0xFFFFFFFF),
    (2**63 - 2**12, 2**64 - 1),
)
# How a file begins. Where one follows behind the samples, files were joined.
_BEGINNINGS = (b"RIFF", b"RIFX", b"RF64", b"FORM", b"riff", b"caff")


class _Container(NamedTuple):
    """How the chunks of a format are read.

    Args:
        start: where the first one begins.
        layout: of a chunk's header: its name and its size.
        samples: the first four bytes of the name of the chunk with the samples.
        padding: contents fill multiples of so many bytes.
        counted: how many bytes of its header a chunk's size includes.
        reads_rest: whether libsndfile takes all that follows for samples, whatever
            size is announced.
    """

    start: int
    layout: str
    samples: bytes
    padding: int
    counted: int = 0
    reads_rest: bool = False


_WAVE = _Container(12, "<4sI", b"data", 2)
_AIFF = _Container(12, ">4sI", b"SSND", 2)
_SVX = _Container(12, ">4sI", b"BODY", 2, reads_rest=True)
# By a file's first four bytes, and those from its eighth on.
_CONTAINERS = (
    (b"RIFF", b"WAVE", _WAVE),
    (b"RF64", b"WAVE", _WAVE),
    (b"RIFX", b"WAVE", _WAVE._replace(layout=">4sI")),
    (b"FORM", b"AIFF", _AIFF),
    (b"FORM", b"AIFC", _AIFF),
    (b"FORM", b"8SVX", _SVX),
    (b"FORM", b"16SV", _SVX),
    (b"caff", b"", _Container(8, ">4sq", b"data", 1)),
    # Its chunks are named by 16 bytes, and their sizes count the header, too.
    (b"riff", b"", _Container(40, "<4s12xQ", b"data", 8, counted=24, reads_rest=True)),
)


def missing_bytes(path: os.PathLike) -> int:
    """How many bytes of samples the header promises beyond the end of the file.

    0 for a file that is complete, does not say, or has another format.

    Raises:
        OSError: the file cannot be read.
    """
    with pathlib.Path(path).open("rb") as file:
        content, length = _find_samples(file, _container(file))
        return max(0, content + length - _size(file))


def surplus_bytes(path: os.PathLike) -> int:
    """How many bytes libsndfile leaves out behind the samples that a header announces.

    Chunks that a format has there do not count, nor do zeros or fewer bytes than
    `MIN_SURPLUS`. 0 for a file that does not say, or has another format.

    Raises:
        OSError: the file cannot be read.
    """
    with pathlib.Path(path).open("rb") as file:
        container, size = _container(file), _size(file)
        content, length = _find_samples(file, container)
        if not content or (container is not None and container.reads_rest):
            return 0
        for _ in range(MAX_CHUNKS):
            end = content + length
            if size - end < MIN_SURPLUS or _is_zero(file, end):
                return 0
            following = _following_chunk(file, container, content, length)
            if following is None:
                return size - end
            content, length = following
    return 0


def _size(file: BinaryIO) -> int:
    return os.fstat(file.fileno()).st_size


def _container(file: BinaryIO) -> _Container | None:
    start = file.read(12)
    for first, kind, container in _CONTAINERS:
        if start[:4] == first and start[8:].startswith(kind):
            return container
    return None


def _find_samples(file: BinaryIO, container: _Container | None) -> tuple[int, int]:
    """Where the samples begin and how many bytes they are; zeros where not said."""
    try:
        if container is None:
            return _find_in_au(file)
        return _find_in_chunks(file, container)
    except (struct.error, OverflowError, ValueError):
        return 0, 0  # it ends within its header, which libsndfile says better


def _find_in_au(file: BinaryIO) -> tuple[int, int]:
    file.seek(0)
    order = {b".snd": ">", b"dns.": "<"}.get(file.read(4))
    if order is None:
        return 0, 0
    offset, size = struct.unpack(f"{order}II", file.read(8))
    return (0, 0) if _is_unknown(size) else (offset, size)


def _find_in_chunks(file: BinaryIO, container: _Container) -> tuple[int, int]:
    place = container.start
    large = None  # the size in a chunk ds64, for what 32 bits do not hold
    for _ in range(MAX_CHUNKS):
        name, content, size = _read_chunk(file, container, place)
        if size < 0:
            return 0, 0
        if name == b"ds64":
            large = struct.unpack("<8xQ", file.read(16))[0]
        if name == container.samples:
            if _is_unknown(size):
                return (content, large) if large else (0, 0)
            if not size and container is _AIFF:
                return 0, 0  # which libsndfile reads to the end of the file
            return content, size
        place = content + -(-size // container.padding) * container.padding
    return 0, 0


def _read_chunk(
    file: BinaryIO, container: _Container, place: int
) -> tuple[bytes, int, int]:
    """A chunk's name, where its content begins, and how many bytes that has."""
    file.seek(place)
    header = file.read(struct.calcsize(container.layout))
    name, size = struct.unpack(container.layout, header)
    return name, file.tell(), size - container.counted


def _following_chunk(
    file: BinaryIO, container: _Container | None, content: int, length: int
) -> tuple[int, int] | None:
    """Content and length of the chunk that follows another; None where none does."""
    if container is None:
        return None
    padded = content + -(-length // container.padding) * container.padding
    for place in (padded, content + length):  # some programs do not pad
        try:
            name, start, size = _read_chunk(file, container, place)
        except struct.error:
            continue
        fits = 0 <= size <= _size(file) - start
        names = (*_BEGINNINGS, container.samples)
        if fits and name not in names and all(32 <= byte < 127 for byte in name):
            return start, size
    return None


def _is_zero(file: BinaryIO, place: int) -> bool:
    """Whether there are but zeros from `place` on."""
    file.seek(place)
    blocks = iter(lambda: file.read(2**16), b"")
    return not any(block.strip(b"\0") for block in blocks)


def _is_unknown(size: int) -> bool:
    return any(low <= size <= high for low, high in UNKNOWN_SIZES)
