"""Whether an Ogg or MP3 file goes to its end: their decoders do not say.

Neither format has a length in its header. An Ogg stream marks its last page. An MP3 is
a row of frames, of which a cut leaves the last one incomplete; only some have a first
frame that counts the others (Xing's or Info). One that is cut between two frames, and
does not count them, cannot be told from one that ends there.

References: RFC 3533 (Ogg), ISO/IEC 11172-3 and 13818-3 (MPEG audio), ID3v2.4.
"""

from __future__ import annotations

import io
import os
import struct
from typing import Any

OGG_HEADER = 27  # bytes of a page before its table of segments
LARGEST_OGG_PAGE = OGG_HEADER + 255 + 255 * 255
END_OF_STREAM = 4  # in the sixth byte of a page

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
    read = {"OGG": _ogg_reason, "MP3": _mp3_reason}.get(form)
    if read is None:
        return ""
    with io.FileIO(path) as file:
        return read(file, os.fstat(file.fileno()).st_size)


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
    if not _counts(file, start) and not _is_tag(file, end):
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
    if _layer(first) != 3 or _counts(file, start):
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


def _walk(file: io.FileIO, size: int) -> tuple[int, int, int]:
    """Where the MPEG frames begin, how many are whole, where the last one ends."""
    start = place = _after_tags(file)
    count = 0
    while place < size:
        file.seek(place)
        length = _frame_length(file.read(4))
        if not length:
            break
        place += length
        count += place <= size
    return start, count, place


def _counts(file: io.FileIO, start: int) -> bool:
    """Whether the frame at `start` says how many there are (Xing, Info)."""
    file.seek(start)
    frame = file.read(64)
    place = _place_of_count(frame)
    return frame[place : place + 4] in (b"Xing", b"Info") and bool(frame[place + 7] & 1)


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


def _after_tags(file: io.FileIO) -> int:
    """Where the audio begins, behind ID3v2 tags."""
    place = 0
    while True:
        file.seek(place)
        head = file.read(10)
        if len(head) < 10 or head[:3] != b"ID3":
            return place
        # Seven bits a byte; a footer repeats the header.
        size = sum(
            (byte & 127) << shift for byte, shift in zip(head[6:], (21, 14, 7, 0))
        )
        place += 10 + size + (10 if head[5] & 16 else 0)


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
