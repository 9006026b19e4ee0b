"""Songs to label: found in a folder, described by a table and their tags, decoded."""

from __future__ import annotations

import csv
import dataclasses
import fnmatch
import html
import logging
import pathlib
import unicodedata
from collections.abc import Mapping

import av
import numpy as np

import util
from sswavenet.sound.loudness import check_samples
from util import UserError

RATE = 44100  # Hz, of what is decoded
SPLITS = ("train", "validation", "test")
COLUMNS = ("file", "split", "artist", "title", "licence", "source")
# Where a song's own tags hold these.
TAGS = {
    "artist": ("artist", "album_artist"),
    "title": ("title",),
    "licence": ("license", "copyright"),
    "source": ("comment",),
}

logger = logging.getLogger("label_songs")


@dataclasses.dataclass(frozen=True)
class Song:
    """A song to label."""

    path: pathlib.Path
    name: str  # names its pieces; no other song of the folder has it
    split: str  # one of `SPLITS`
    record: Mapping[str, str | None]  # what is known of it, for `song.json`


def read_table(path: pathlib.Path) -> list[dict[str, str]]:
    """Reads the table that describes songs, with the columns and splits it needs."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            rows = [
                {key: (value or "").strip() for key, value in row.items() if key}
                for row in reader
            ]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{path}: expected a CSV table, got {reason}") from None
    if "file" not in (reader.fieldnames or ()):
        raise UserError(
            f"{path}: expected the columns {', '.join(COLUMNS)} (file is needed, "
            f"others may lack), got {', '.join(reader.fieldnames or ['nothing'])}"
        )
    for row in rows:
        if row.get("split", "") not in ("", *SPLITS):
            raise UserError(
                f"{path}: expected the split {', '.join(SPLITS)} or nothing for "
                f"{row['file']}, got {row['split']}"
            )
    return rows


def _composed(text: str) -> str:
    return unicodedata.normalize("NFC", text)  # file systems spell accents variously


def _tags(path: pathlib.Path) -> dict[str, str] | None:
    """The tags of an audio file; None for any other file."""
    try:
        with av.open(str(path), metadata_errors="replace") as container:
            if not container.streams.audio:
                return None
            tags = {**container.metadata, **container.streams.audio[0].metadata}
    except (av.FFmpegError, OSError):
        return None
    return {key.lower(): html.unescape(value) for key, value in tags.items()}


def find(folder: pathlib.Path, about: pathlib.Path) -> list[Song]:
    """Finds the songs of a folder and of those in it, sorted, which a table describes.

    Raises UserError where there are none, or two that would have one name.
    """
    table = read_table(about)
    if not folder.is_dir():
        got = "a file" if folder.exists() else "nothing there"
        raise UserError(f"{folder}: expected a folder of songs, got {got}")
    found: dict[str, Song] = {}
    others = []
    for path in sorted(folder.rglob("*")):
        place = path.relative_to(folder)
        if any(map(util.is_foreign, place.parts)) or not path.is_file():
            continue
        tags = _tags(path)
        if tags is None:
            others.append(str(place))
            continue
        rows = (
            row
            for row in table
            if fnmatch.fnmatch(_composed(path.name), _composed(row["file"]))
        )
        row = next(rows, {})
        name = " - ".join((*place.parts[:-1], path.stem))
        if name in found:
            raise UserError(f"{found[name].path} and {path}: rename one of them")
        record: dict[str, str | None] = {"file": str(place)}
        for field, keys in TAGS.items():
            values = [row.get(field), *map(tags.get, keys)]
            record[field] = next(filter(None, values), None)
        found[name] = Song(path, name, row.get("split") or SPLITS[0], record)
    if others:
        logger.info("no sound in %s", ", ".join(others))
    if not found:
        raise UserError(f"{folder}: expected songs, got no file that FFmpeg plays")
    return list(found.values())


def decode(path: pathlib.Path) -> np.ndarray:
    """Decodes a song to (frames, 2), float32 at 44.1 kHz, full scale 1."""
    parts = []
    try:
        with av.open(str(path), metadata_errors="replace") as container:
            resampler = av.AudioResampler("flt", "stereo", RATE)
            for frame in container.decode(audio=0):
                parts += [part.to_ndarray() for part in resampler.resample(frame)]
            parts += [part.to_ndarray() for part in resampler.resample(None)]
    except (av.FFmpegError, OSError) as error:
        raise UserError(f"{path}: cannot be decoded: {error}") from None
    if not parts:
        raise UserError(f"{path}: expected sound, got none")
    samples = np.concatenate(parts, axis=1).reshape(-1, 2)
    check_samples(samples, f"{path}: ")
    return samples
