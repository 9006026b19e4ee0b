"""Title, artist, album and cover of a mixture, to be given to its stems."""

from __future__ import annotations

import base64
import dataclasses
import os
from collections.abc import Mapping
from typing import Any

TEXTS = ("title", "artist", "album")
MAX_TEXT = 1000  # characters
FRONT_COVER = 3  # in ID3 and FLAC
FLAC_COVER = 2**24 - 2**10  # bytes; a block of a FLAC has no room for more
JPEG, PNG = b"\xff\xd8", b"\x89PNG"


@dataclasses.dataclass(frozen=True)
class Tags:
    """What is copied from a mixture to its stems; empty where it is not known."""

    title: str = ""  # of the piece
    artist: str = ""  # who plays it
    album: str = ""  # where it comes from
    # An image file, JPEG or PNG
    cover: bytes = dataclasses.field(default=b"", repr=False)

    def of_stem(self, stem: str, mixture: str) -> Tags:
        """A stem's tags: its name is added to the title, where there are any tags.

        Without a title it is added to what the mixture is called.
        """
        if self == Tags():
            return self
        return dataclasses.replace(self, title=f"{self.title or mixture} ({stem})")

    def texts(self) -> dict[str, str]:
        """What is known but the cover, by its name."""
        return {name: text for name in TEXTS if (text := getattr(self, name))}


def from_texts(texts: Mapping[str, str], cover: bytes = b"") -> Tags:
    """The tags among what a file says about itself, by name in any case.

    The cover is what may be a picture.
    """
    clean = {name.lower(): _clean(text) for name, text in texts.items()}
    title, artist, album = (clean.get(name, "") for name in TEXTS)
    is_known = cover.startswith((JPEG, PNG))
    return Tags(title, artist, album, cover if is_known else b"")


def add_cover(path: os.PathLike, cover: bytes) -> None:
    """Put a picture into a FLAC, MP3, Ogg, Opus or M4A file, if it has a place for it.

    Raises OSError where it cannot be written.
    """
    try:
        import mutagen
        from mutagen import flac, id3, mp3, mp4, ogg
    except ImportError:
        return
    mime = "image/png" if cover.startswith(PNG) else "image/jpeg"
    picture = flac.Picture()
    picture.type, picture.mime, picture.data = FRONT_COVER, mime, cover
    try:
        file: Any = mutagen.File(path)
        if file.tags is None:
            file.add_tags()
        tags: Any = file.tags
        if isinstance(file, mp3.MP3):
            tags.add(id3.APIC(mime=mime, type=FRONT_COVER, data=cover))
        elif isinstance(file, mp4.MP4):
            kinds = {"image/png": mp4.MP4Cover.FORMAT_PNG}
            kind = kinds.get(mime, mp4.MP4Cover.FORMAT_JPEG)
            file["covr"] = [mp4.MP4Cover(cover, kind)]
        elif isinstance(file, flac.FLAC) and len(cover) <= FLAC_COVER:
            file.add_picture(picture)
        elif isinstance(file, ogg.OggFileType):
            text = base64.b64encode(picture.write()).decode("ascii")
            file["metadata_block_picture"] = [text]
        else:
            return
        file.save()
    except mutagen.MutagenError as error:
        raise OSError(f"the cover could not be written: {error}") from None


def _clean(text: str) -> str:
    """One line of text without characters that steer a terminal."""
    line = "".join(letter if letter.isprintable() else " " for letter in text)
    return " ".join(line.split())[:MAX_TEXT]
