"""What visitors bring: looked into, by what it holds and not by what it is called."""

from __future__ import annotations

import dataclasses
import os
import pathlib

from sswavenet.sound.choice import extensions
from sswavenet.sound.reader import AudioReader
from util import UserError

MAX_NAME = 120  # characters of a name that are shown


@dataclasses.dataclass(frozen=True)
class Song:
    """A mixture that somebody brought."""

    path: pathlib.Path  # where it lies
    name: str  # what its owner calls it, as text to be shown and for names of downloads
    description: str  # length, rate and channels
    # Of an example the folder of its reference stems; else None
    references: pathlib.Path | None = None

    @property
    def title(self) -> str:
        """The name without extension."""
        return pathlib.PurePath(self.name).stem

    @property
    def is_example(self) -> bool:
        """Whether it comes with the program."""
        return self.references is not None


def check_song(
    path: pathlib.Path,
    name: str,
    *,
    max_seconds: float,
    references: pathlib.Path | None = None,
) -> Song:
    """Look into a file, by what it holds and not by what it is called.

    Args:
        path: the file.
        name: what it is called.
        max_seconds: how long it may be.
        references: as of `Song`. Defaults to none.

    Raises:
        UserError: it is no audio, or too long.
    """
    shown = clean_name(name)
    try:
        with AudioReader(path) as reader:
            rate, channels = reader.sample_rate, reader.channels
            seconds = reader.frames / rate
    except UserError as error:
        raise UserError(str(error).replace(os.fspath(path), shown)) from None
    check_length(seconds, max_seconds, shown)
    kind = {1: "mono", 2: "stereo"}.get(channels, f"{channels} channels")
    text = f"{in_minutes(seconds)}, {rate / 1000:g} kHz, {kind}"
    return Song(path, shown, text, references)


def check_length(seconds: float, max_seconds: float, name: str) -> None:
    """Refuse what is too long.

    Raises:
        UserError: it is.
    """
    if seconds > max_seconds:
        raise UserError(
            f"{name}: expected at most {in_minutes(max_seconds)} minutes, got "
            f"{in_minutes(seconds)}; whoever started this page can raise that with "
            "--max_minutes"
        )


def in_minutes(seconds: float) -> str:
    """A length, as 3:05."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02}"


def clean_name(name: str) -> str:
    """A visitor's name of a file as one line of text without a folder."""
    last = name.replace("\\", "/").rsplit("/", 1)[-1]
    text = "".join(letter for letter in last if letter.isprintable())
    stem, dot, extension = text.rpartition(".")
    if not dot:
        return text[:MAX_NAME] or "song"
    return f"{stem[:MAX_NAME] or 'song'}.{extension[:12]}"


def known_extension(name: str) -> str:
    """The extension of a name if it is one of audio or video; else nothing."""
    extension = pathlib.PurePath(name).suffix.lower()
    return extension if extension in extensions()[0] else ""
