"""Whether an Ogg or MP3 file goes to its end, and no further: decoders do not say.

Neither format has a length in its header. An Ogg stream marks its last page. An MP3 is
a row of frames, of which a cut leaves the last one incomplete; only some have a first
frame that counts the others (Xing's or Info). One that is cut between two frames, and
does not count them, cannot be told from one that ends there. Of files that were
joined the decoders read the first stream alone.

References: RFC 3533 (Ogg), ISO/IEC 11172-3 and 13818-3 (MPEG audio), ID3v1, ID3v2.4,
APEv2, Lyrics3 v1 and v2 (tags).
"""

from __future__ import annotations

import io
import os
import struct
from typing import Any, Callable

OGG_HEADER = 27  # bytes of a page before its table of segments
LARGEST_OGG_PAGE = OGG_HEADER + 255 + 255 * 255
BEGIN_OF_STREAM, END_OF_STREAM = 2, 4  # in the sixth byte of a page
# MPEG frames beyond those that the first one counts: itself, and what encoders that
# count it, too, or leave out the last one, are wrong by.
MAX_UNCOUNTED = 3
ID3V1_BYTES = 128
APE_HEADER = 1 << 29  # in its flags: the tag's content follows
LYRICS_ENDS = (b"LYRICS200", b"LYRICSEND")
MAX_LYRICS = 2**20

# kbit/s by index; MPEG 1 has a row for each layer, MPEG 2 and 2.5 have two.
_BIT_RATES = {
    (1, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (1, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (1, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES = {0: (11025, 12000, 8000), 2: (22050, 24000, 16000), 3: (44100, 48000, 32000)}


def cut_reason(path: os.PathLike, form: str) -> str:
    """Why a file must have been cut short; empty where there is no sign of that.

    Args:
        path: the file.
        form: its format as libsndfile names it.

    Raises:
        OSError: the file cannot be read.
    """
    return _found(path, {"OGG": _ogg_reason, "MP3": _mp3_reason}.get(form), "")


def is_joined(path: os.PathLike, form: str) -> bool:
    """Whether a file has more than one stream, one after the other.

    Args:
        path: the file.
        form: its format as libsndfile names it.

    Raises:
        OSError: the file cannot be read.
    """
    return _found(path, {"OGG": _is_joined_ogg, "MP3": _is_joined_mp3}.get(form), False)


def _found(path: os.PathLike, find: Callable | None, otherwise: Any) -> Any:
    """What a function finds in a file, given that and its size, if there is one."""
    if find is None:
        return otherwise
    with io.FileIO(path) as file:
        return find(file, os.fstat(file.fileno()).st_size)


def _is_joined_ogg(file: io.FileIO, size: int) -> bool:
    # Streams that run side by side all begin before any of them goes on.
    place, goes_on = 0, False
    while place < size:
        file.seek(place)
        page = file.read(OGG_HEADER + 255)
        if len(page) < OGG_HEADER or not page.startswith(b"OggS\0"):
            place = _next_page(file, place + 1)
            continue
        if not page[5] & BEGIN_OF_STREAM:
            goes_on = True
        elif goes_on:
            return True
        table = page[OGG_HEADER : OGG_HEADER + page[26]]
        place += OGG_HEADER + len(table) + sum(table)
    return False


def _next_page(file: io.FileIO, place: int) -> int:
    """Where from `place` on an Ogg page may begin, behind something else."""
    file.seek(place)
    found = file.read(LARGEST_OGG_PAGE).find(b"OggS\0")
    return place + (found if found >= 0 else LARGEST_OGG_PAGE - 4)


def _is_joined_mp3(file: io.FileIO, size: int) -> bool:
    start, count, end = _walk(file, size)
    counted = _counted(file, start)
    if counted and count > counted + MAX_UNCOUNTED:
        return True
    place = _after_tags(file, end)
    # More than one, since two bytes of anything may look like a frame.
    return place > end and _walk(file, size, place)[1] > 1


def _ogg_reason(file: io.FileIO, size: int) -> str:
    start = max(0, size - 2 * LARGEST_OGG_PAGE)
    file.seek(start)
    tail = file.read(size - start)
    page = tail[max(0, tail.rfind(b"OggS\0")) :]
    table = page[OGG_HEADER : OGG_HEADER + page[26]] if len(page) > 26 else b""
    if len(page) <= 26 or len(table) < page[26]:
        return "it ends in the header of an Ogg page"
    missing = OGG_HEADER + len(table) + sum(table) - len(page)
    if missing > 0:
        return f"{missing} bytes of its last Ogg page are missing"
    if not page[5] & END_OF_STREAM:
        return "its last Ogg page is not marked as the end"
    return ""


def _mp3_reason(file: io.FileIO, size: int) -> str:
    start, count, end = _walk(file, size)
    if end > size and count > 1:
        return f"{end - size} bytes of its last MPEG frame are missing"
    if not _counted(file, start) and not _is_tag(file, end):
        return f"from byte {end} on it has neither MPEG frames nor tags"
    return ""


def with_count(path: os.PathLike) -> io.RawIOBase | None:
    """An MP3 with a first frame that counts the others; None where it has one.

    Without it the decoder guesses the length from the first frame's bit rate, and
    ends too early, or promises too much.

    Raises:
        OSError: the file cannot be read.
    """
    file = io.FileIO(path)
    start, count, _ = _walk(file, os.fstat(file.fileno()).st_size)
    file.seek(start)
    first = file.read(4)
    if _layer(first) != 3 or _counted(file, start):
        file.close()
        return None
    # No checksum, no padding, and a bit rate that makes it long enough.
    header = bytes([255, first[1] | 1, 9 << 4 | first[2] & 12, first[3]])
    frame = bytearray(header.ljust(_frame_length(header), b"\0"))
    place = _place_of_count(header)
    frame[place : place + 12] = b"Xing" + struct.pack(">II", 1, count)
    return _Joined(bytes(frame), file, start)


class _Joined(io.RawIOBase):
    """A file that begins with some bytes instead of its own first `start` ones."""

    def __init__(self, head: bytes, file: io.FileIO, start: int):
        self._head, self._file, self._start = head, file, start
        self._place = 0

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move; as any file does."""
        if whence == io.SEEK_CUR:
            offset += self._place
        elif whence == io.SEEK_END:
            end = self._file.seek(0, io.SEEK_END) - self._start
            offset += end + len(self._head)
        self._place = offset
        return offset

    def tell(self) -> int:
        """The place in the joined bytes."""
        return self._place

    def readinto(self, buffer: Any) -> int:
        """Read into a buffer; how many bytes that were."""
        view = memoryview(buffer).cast("B")
        head = self._head[self._place : self._place + len(view)]
        view[: len(head)] = head
        count = len(head)
        if count < len(view):
            place = self._place + count - len(self._head)
            self._file.seek(self._start + place)
            count += self._file.readinto(view[count:])
        self._place += count
        return count

    def close(self) -> None:
        """Close the file, too."""
        self._file.close()
        super().close()


def _walk(file: io.FileIO, size: int, place: int = 0) -> tuple[int, int, int]:
    """Where the MPEG frames begin, how many are whole, where the last one ends."""
    start = place = _after_tags(file, place)
    count = 0
    while place < size:
        file.seek(place)
        length = _frame_length(file.read(4))
        if not length:
            break
        place += length
        count += place <= size
    return start, count, place


def _counted(file: io.FileIO, start: int) -> int:
    """How many others the frame at `start` says there are (Xing, Info); 0 if not."""
    file.seek(start)
    frame = file.read(64)
    place = _place_of_count(frame)
    if frame[place : place + 4] not in (b"Xing", b"Info") or not frame[place + 7] & 1:
        return 0
    return int.from_bytes(frame[place + 8 : place + 12], "big")


def _place_of_count(frame: bytes) -> int:
    """Where in its first frame an MP3 counts: behind what describes its granules."""
    mono = frame[3] >> 6 == 3 if len(frame) > 3 else False
    if len(frame) > 3 and frame[1] >> 3 & 3 == 3:  # MPEG 1
        return 21 if mono else 36
    return 13 if mono else 21


def _is_tag(file: io.FileIO, place: int) -> bool:
    """Whether a file has nothing, a tag or zeros at its end."""
    file.seek(place)
    start = file.read(8)
    return start.startswith((b"TAG", b"APETAGEX", b"LYRICS", b"ID3")) or not any(start)


def _layer(header: bytes) -> int:
    return 4 - (header[1] >> 1 & 3) if _frame_length(header) else 0


def _after_tags(file: io.FileIO, place: int) -> int:
    """Where the tags end that follow one another from `place` on."""
    while length := _tag_length(file, place):
        place += length
    return place


def _tag_length(file: io.FileIO, place: int) -> int:
    """Bytes of the tag that begins at `place`; 0 if none does."""
    file.seek(place)
    head = file.read(32)
    if len(head) >= 10 and head.startswith(b"ID3"):
        # Seven bits a byte; a footer repeats the header.
        size = sum(
            (byte & 127) << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0))
        )
        return 10 + size + (10 if head[5] & 16 else 0)
    if head.startswith(b"TAG"):
        return ID3V1_BYTES
    if len(head) == 32 and head.startswith(b"APETAGEX"):
        size, flags = struct.unpack("<I4xI", head[12:24])
        return 32 + (size if flags & APE_HEADER else 0)  # a footer ends the tag
    if head.startswith(b"LYRICSBEGIN"):
        text = head + file.read(MAX_LYRICS)
        ends = [text.find(mark) + len(mark) for mark in LYRICS_ENDS if mark in text]
        return min(ends, default=0)
    return 0


def _frame_length(header: bytes) -> int:
    """Bytes of the MPEG audio frame that begins with `header`; 0 if none does."""
    if len(header) < 4 or header[0] != 255 or header[1] < 224:
        return 0
    version, layer = header[1] >> 3 & 3, 4 - (header[1] >> 1 & 3)
    bits, rate = header[2] >> 4, header[2] >> 2 & 3
    if version == 1 or layer == 4 or bits in (0, 15) or rate == 3:
        return 0
    row = (1, layer) if version == 3 else (2, min(layer, 2))
    bit_rate, sample_rate = _BIT_RATES[row][bits - 1] * 1000, _RATES[version][rate]
    padding = header[2] >> 1 & 1
    if layer == 1:
        return (12 * bit_rate // sample_rate + padding) * 4
    samples = 72 if layer == 3 and version != 3 else 144  # in bits of a frame / 8
    return samples * bit_rate // sample_rate + padding
