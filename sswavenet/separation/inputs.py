"""Which files a separation reads: listed at once, however many there are."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import pathlib
from collections.abc import Container, Iterator, Sequence

import util
from sswavenet.console.places import identity
from sswavenet.separation import naming
from sswavenet.sound import choice
from sswavenet.sound.reader import AudioReader
from util import UserError

logger = logging.getLogger(__name__)

# By these a folder's files are known for audio; and for audio that cannot be read here.
EXTENSIONS, UNREADABLE = choice.extensions()


@dataclasses.dataclass(frozen=True)
class Mixture:
    """One input: where it is, and where its stems belong."""

    path: pathlib.Path
    name: str  # its path below the folder of mixtures, without extension
    size: int  # bytes of the file
    template: str = naming.DEFAULT  # of the stems' names
    extension: str = "wav"  # of the stems' files
    origin: str = ""  # the URL that the file was fetched from, if any

    @property
    def shown(self) -> str:
        """What it is called in messages and reports: its URL or its path."""
        return self.origin or str(self.path)

    def stem_names(self, stems: Sequence[str]) -> list[str]:
        """Paths of the stems below the output folder; a UserError for any outside."""
        return [
            naming.stem_path(self.template, self.name, stem, self.extension)
            for stem in stems
        ]

    def stem_paths(
        self, folder: pathlib.Path, stems: Sequence[str]
    ) -> dict[str, pathlib.Path]:
        """Where the stems go, by their names."""
        return {
            stem: folder / name for stem, name in zip(stems, self.stem_names(stems))
        }


@dataclasses.dataclass(frozen=True)
class Found:
    """What there is at a path."""

    mixtures: list[Mixture]  # what can be separated, sorted
    # What may be audio but is not, and why: pairs of file and reason
    left_out: list[tuple[str, str]]


def find_mixtures(
    *paths: os.PathLike | str,
    recursive: bool = False,
    output_paths: Sequence[os.PathLike | str] = (),
    template: str = naming.DEFAULT,
    extension: str = "wav",
    stems: Sequence[str] = ("stem",),
) -> Found:
    """List the mixtures at `paths`, each once; none of them is opened.

    Files are taken whatever their names are; of folders every file with an extension of
    audio or video in sorted order, but for hidden ones. The folders `output_paths` are
    not looked into, for they hold stems. Raises UserError where there are no mixtures,
    or two would write a file of one name among their `stems`.
    """
    stems_at = {identity(path) for path in output_paths} - {None}
    left_out: list[tuple[str, str]] = []
    files: dict[str, tuple[str, str, int]] = {}  # by absolute paths
    empty = []
    for root in map(pathlib.Path, paths):
        entries = _files_at(root, recursive, stems_at, left_out)
        if not entries:
            empty.append(root)
        for entry in entries:
            files.setdefault(os.path.abspath(entry[0]), entry)
    mixtures: list[Mixture] = []
    writers: dict[str, Mixture] = {}  # by the names of their stems
    for file, name, size in files.values():
        mixture = Mixture(pathlib.Path(file), name, size, template, extension)
        mixtures.append(mixture)
        for stem in mixture.stem_names(stems):
            first = writers.setdefault(stem, mixture)
            if first is not mixture:
                raise UserError(
                    f"{first.path} and {file} would write the same stems, {stem} "
                    "for one"
                )
    if left_out:
        text = ", ".join(f"{place} ({reason})" for place, reason in sorted(left_out))
        logger.warning("left out: %s", text)
    if empty:
        raise UserError(f"{empty[0]}: expected at least one audio file in the folder")
    return Found(mixtures, sorted(left_out))


def _files_at(
    root: pathlib.Path,
    recursive: bool,
    stems_at: Container[tuple[int, int] | None],
    left_out: list[tuple[str, str]],
) -> list[tuple[str, str, int]]:
    """A file, or a folder's: path, name below the folder and size of each."""
    if not root.exists():
        raise UserError(f"{root}: expected an audio file or a folder, found nothing")
    if not (root.is_file() or root.is_dir()):
        raise UserError(f"{root}: expected an audio file or a folder, got a device")
    if root.is_file():
        return [(os.fspath(root), root.stem, root.stat().st_size)]
    start = len(os.path.join(root, ""))
    files = [
        (file, os.path.splitext(file[start:])[0], size)
        for file, size in _walk(os.fspath(root), recursive, stems_at, left_out)
    ]
    # In the order of folders and names, whatever separates them.
    return sorted(files, key=lambda entry: entry[0].split(os.sep))


def _walk(
    root: str,
    recursive: bool,
    stems_at: Container[tuple[int, int] | None],
    left_out: list[tuple[str, str]],
) -> Iterator[tuple[str, int]]:
    """Audio files of a folder and their sizes; what else may be audio is noted."""
    waiting = [root]
    while waiting:  # not by recursion, however deep the folders are
        folder = waiting.pop()
        try:
            with os.scandir(folder) as entries:
                listed = [entry for entry in entries if not util.is_foreign(entry.name)]
        except OSError as error:
            raise UserError(f"cannot list {folder}: {error.strerror}") from None
        for entry in listed:
            place, is_link = entry.path, entry.is_symlink()
            extension = os.path.splitext(place)[1].lower()
            if os.path.isdir(place) if is_link else entry.is_dir():
                if not recursive or identity(place) in stems_at:
                    continue
                if is_link:
                    left_out.append((place, "a link to a folder"))
                else:
                    waiting.append(place)
            elif extension in UNREADABLE:
                left_out.append((place, "a format that cannot be read"))
            elif extension in EXTENSIONS:
                if os.path.isfile(place) if is_link else entry.is_file():
                    yield place, os.path.getsize(place)
                elif os.path.exists(place):
                    left_out.append((place, "a pipe or a device"))
                else:
                    yield place, 0  # a link to nothing fails in its turn


def read_header(path: pathlib.Path, sample_rate: int) -> tuple[int, str]:
    """Samples at the model's rate, 0 if unknown, and rate and channels, for logs."""
    # A file that cannot be read fails when its turn comes, with its reason.
    with contextlib.suppress(UserError), AudioReader(path) as reader:
        length = -(-reader.rough_frames * sample_rate // reader.sample_rate)
        description = f"{reader.sample_rate} Hz, {reader.channels} channel(s)"
        return length, description
    return 0, "unreadable"


def some_lengths(mixtures: Sequence[Mixture], sample_rate: int) -> list[int]:
    """Samples of the largest files of each format, among which is the longest one.

    To open all of thousands of files would take longer than to separate the first.
    """
    largest: dict[str, Mixture] = {}
    for mixture in mixtures:
        extension = mixture.path.suffix.lower()
        if mixture.size >= largest.get(extension, mixture).size:
            largest[extension] = mixture
    return [read_header(file.path, sample_rate)[0] for file in largest.values()]
