"""Which files a separation reads and which it writes."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import pathlib
import stat
from collections.abc import Iterable, Iterator, Sequence

import soundfile

import util
from sswavenet.console import places
from sswavenet.sound.reader import UNKNOWN_FRAMES
from util import UserError

logger = logging.getLogger(__name__)

# libsndfile's formats by the extensions in use; RAW has no header, hence no rate.
EXTENSIONS = frozenset(
    {f".{name.lower()}" for name in soundfile.available_formats()} - {".raw"}
    | {".aif", ".aifc", ".bwf", ".iff", ".mp3", ".oga", ".opus", ".snd", ".sph"}
)
# Audio that it does not read: who has some in a folder should know that it stays there.
UNREADABLE = frozenset(
    {".aac", ".ac3", ".amr", ".ape", ".dff", ".dsf", ".m4a", ".m4b", ".mka", ".mp4"}
    | {".ra", ".tta", ".webm", ".wma", ".wv"}
)


@dataclasses.dataclass(frozen=True)
class Mixture:
    """One input: where it is, and where its stems belong.

    Args:
        path: the file.
        name: path of the stems below the output folder, up to `_<stem>.wav`.
        length: samples at the model's rate, from the header; 0 if that does not say.
        description: rate and channels, for logs.
    """

    path: pathlib.Path
    name: pathlib.PurePath
    length: int
    description: str

    def stem_paths(
        self, folder: pathlib.Path, stems: Sequence[str]
    ) -> dict[str, pathlib.Path]:
        """Where the stems go, by their names."""
        return {
            stem: folder / self.name.parent / f"{self.name.name}_{stem}.wav"
            for stem in stems
        }


def find_mixtures(
    path: os.PathLike,
    *,
    sample_rate: int,
    recursive: bool = False,
    output_path: os.PathLike | None = None,
) -> list[Mixture]:
    """List the mixtures at `path` in sorted order, and read their headers.

    Args:
        path: a file, taken whatever its name is, or a folder, of which every file
            with an extension that libsndfile knows is taken, but for hidden ones.
        sample_rate: the model's, Hz.
        recursive: whether to look into a folder's folders. Defaults to False.
        output_path: a folder that is not looked into, for it holds stems.

    Raises:
        UserError: there are none, or two would write the same stems.
    """
    root = pathlib.Path(path)
    if not root.exists():
        raise UserError(f"{root}: expected an audio file or a folder, found nothing")
    if not (root.is_file() or root.is_dir()):
        raise UserError(f"{root}: expected an audio file or a folder, got a device")
    files = _list_folder(root, recursive, output_path) if root.is_dir() else [root]
    names: dict[pathlib.PurePath, pathlib.Path] = {}
    for file in files:
        name = pathlib.PurePath(file.stem)
        if root.is_dir():
            name = file.parent.relative_to(root) / name
        if name in names:
            raise UserError(f"{names[name]} and {file} would write the same stems")
        names[name] = file
    return [_read_header(file, name, sample_rate) for name, file in names.items()]


def _list_folder(
    root: pathlib.Path, recursive: bool, output_path: os.PathLike | None
) -> list[pathlib.Path]:
    def refuse(error: OSError) -> None:
        raise UserError(f"cannot list {error.filename}: {error.strerror}")

    files, links = [], []
    for folder, folders, names in os.walk(root, onerror=refuse):
        folders[:] = [
            name
            for name in folders
            if recursive
            and not util.is_foreign(name)
            and not _is_same(pathlib.Path(folder, name), output_path)
        ]
        inner = [pathlib.Path(folder, name) for name in folders]
        links += [place for place in inner if place.is_symlink()]
        files += [
            pathlib.Path(folder, name) for name in names if not util.is_foreign(name)
        ]
    _warn_of(links, "links to folders are not followed")
    unreadable = [file for file in files if file.suffix.lower() in UNREADABLE]
    _warn_of(unreadable, "files of formats that cannot be read are left out")
    # No pipes and devices, to open which may take for ever. A link to nothing stays,
    # to fail when its turn comes.
    files = [
        file
        for file in files
        if file.suffix.lower() in EXTENSIONS and (file.is_file() or not file.exists())
    ]
    if not files:
        raise UserError(f"{root}: expected at least one audio file in the folder")
    return sorted(files)


def _warn_of(paths: Sequence[pathlib.Path], what: str) -> None:
    if paths:
        more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
        logger.warning("%s: %s%s", what, min(paths), more)


def _is_same(folder: pathlib.Path, other: os.PathLike | None) -> bool:
    return other is not None and os.path.realpath(folder) == os.path.realpath(other)


def _read_header(
    path: pathlib.Path, name: pathlib.PurePath, sample_rate: int
) -> Mixture:
    """A mixture as its header describes it: its length is 0 if unknown."""
    length, description = 0, "unreadable"
    # A file that cannot be read fails when its turn comes, with its reason.
    with contextlib.suppress(OSError, RuntimeError, TypeError, ZeroDivisionError):
        info = soundfile.info(os.fsencode(path))
        # A FLAC that was written to a pipe does not say it, and has some 2**63.
        frames = info.frames if info.frames < UNKNOWN_FRAMES else 0
        length = -(-frames * sample_rate // info.samplerate)
        description = f"{info.samplerate} Hz, mean of {info.channels} channel(s)"
    return Mixture(path, name, length, description)


def output_folder(path: os.PathLike) -> pathlib.Path:
    """Make a folder for stems where there is none, and see that it can be written.

    Raises:
        UserError: it cannot be made or written.
    """
    folder = pathlib.Path(path)
    try:
        util.make_folder(folder)
    except OSError as error:
        raise UserError(f"cannot make the folder {folder}: {error.strerror}") from None
    util.check_folder(folder)
    return folder


def new_samples_folder(session: pathlib.Path) -> pathlib.Path:
    """Make the next free `<session>/samples/samples_N`; no two runs get the same.

    Raises:
        UserError: it cannot be made.
    """
    parent = output_folder(session / "samples")
    taken = [folder.name[len("samples_") :] for folder in parent.glob("samples_*")]
    number = max([0, *(int(text) for text in taken if text.isdecimal())])
    while True:
        number += 1
        folder = parent / f"samples_{number}"
        try:
            folder.mkdir()
        except FileExistsError:
            continue
        except OSError as error:
            raise UserError(f"cannot make {folder}: {error.strerror}") from None
        return folder


def check_outputs(
    mixtures: Sequence[Mixture],
    folder: pathlib.Path,
    stems: Sequence[str],
    others: Sequence[str],
) -> None:
    """Refuse to write a stem over a mixture, or to take a stem for one.

    Args:
        mixtures: what is to be separated.
        folder: where the stems go.
        stems: those that are to be written.
        others: the other stems that there are.

    Raises:
        UserError: a stem would have a mixture's path, or a mixture has the path that
            another stem of a mixture would have.
    """

    def paths(names: Sequence[str]) -> Iterator[pathlib.Path]:
        for mixture in mixtures:
            yield from mixture.stem_paths(folder, names).values()

    inputs = [mixture.path for mixture in mixtures]
    places.check_not_among(paths(stems), inputs, "a mixture")
    taken = set(map(os.path.realpath, inputs))
    for path in paths(others):
        if os.path.realpath(path) in taken:
            raise UserError(
                f"{path} lies among the mixtures, but has the name of a stem of one of "
                "them: expected another --output_path, or only one of both there"
            )


def with_stems(
    mixtures: Sequence[Mixture], folder: pathlib.Path, stems: Sequence[str]
) -> tuple[list[Mixture], list[Mixture]]:
    """The mixtures of which some stems are there, and those of which all are."""
    paths = {
        mixture: list(mixture.stem_paths(folder, stems).values())
        for mixture in mixtures
    }
    return (
        [mixture for mixture in mixtures if any(map(os.path.lexists, paths[mixture]))],
        [mixture for mixture in mixtures if all(map(os.path.isfile, paths[mixture]))],
    )


def stems_among(
    mixtures: Sequence[Mixture], folder: pathlib.Path, stems: Sequence[str]
) -> list[Mixture]:
    """Which files are stems of others, as those of an earlier run into their folder.

    Only where all stems of a mixture are there: else one of them may be a mixture that
    happens to have such a name.
    """
    _, complete = with_stems(mixtures, folder, stems)
    made = {
        os.path.realpath(path)
        for mixture in complete
        for path in mixture.stem_paths(folder, stems).values()
    }
    return [mixture for mixture in mixtures if os.path.realpath(mixture.path) in made]


def check_writable(paths: Iterable[pathlib.Path]) -> None:
    """Find out before the work whether files can get their names.

    A later rename that fails would leave some of a mixture's stems without the others.

    Raises:
        UserError: there is a folder of that name.
        OSError: a name is too long, or the folder cannot be looked into.
    """
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            if stat.S_ISDIR(path.stat().st_mode):
                raise UserError(f"cannot write {path}: there is a folder of that name")
