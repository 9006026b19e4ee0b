"""Which files a separation reads and which it writes."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import pathlib
import stat
from collections.abc import Iterable, Iterator, Sequence

import util
from sswavenet.console import places
from sswavenet.separation import naming
from sswavenet.sound import choice
from sswavenet.sound.reader import AudioReader
from util import UserError

logger = logging.getLogger(__name__)

# By these a folder's files are known for audio; and for audio that cannot be read here.
EXTENSIONS, UNREADABLE = choice.extensions()


@dataclasses.dataclass(frozen=True)
class Mixture:
    """One input: where it is, and where its stems belong.

    Args:
        path: the file.
        name: its path below the folder of mixtures, without extension.
        length: samples at the model's rate, from the header; 0 if that does not say.
        description: rate and channels, for logs.
        template: of the stems' names. Defaults to `naming.DEFAULT`.
        extension: of the stems' files. Defaults to `wav`.
    """

    path: pathlib.Path
    name: pathlib.PurePath
    length: int
    description: str
    template: str = naming.DEFAULT
    extension: str = "wav"

    def stem_paths(
        self, folder: pathlib.Path, stems: Sequence[str]
    ) -> dict[str, pathlib.Path]:
        """Where the stems go, by their names."""
        return {
            stem: folder
            / naming.stem_path(self.template, self.name, stem, self.extension)
            for stem in stems
        }


def find_mixtures(
    *paths: os.PathLike | str,
    sample_rate: int,
    recursive: bool = False,
    output_paths: Sequence[os.PathLike] = (),
    template: str = naming.DEFAULT,
    extension: str = "wav",
) -> list[Mixture]:
    """List the mixtures at `paths`, each once, and read their headers.

    Args:
        paths: files, taken whatever their names are, and folders, of which every file
            with an extension of audio or video is taken in sorted order, but for
            hidden ones.
        sample_rate: the model's, Hz.
        recursive: whether to look into a folder's folders. Defaults to False.
        output_paths: folders that are not looked into, for they hold stems.
        template: of the stems' names. Defaults to `naming.DEFAULT`.
        extension: of the stems' files. Defaults to `wav`.

    Raises:
        UserError: there are none, or two would write the same stems.
    """
    found: dict[pathlib.Path, tuple[pathlib.PurePath, pathlib.Path]] = {}
    name: pathlib.PurePath
    for root in map(pathlib.Path, paths):
        if not root.exists():
            raise UserError(
                f"{root}: expected an audio file or a folder, found nothing"
            )
        if not (root.is_file() or root.is_dir()):
            raise UserError(f"{root}: expected an audio file or a folder, got a device")
        if root.is_file():
            name = pathlib.PurePath(root.stem)
            found.setdefault(root.absolute(), (name, root))
            continue
        for file in _list_folder(root, recursive, output_paths):
            name = file.parent.relative_to(root) / file.stem
            found.setdefault(file.absolute(), (name, file))
    taken: dict[pathlib.PurePath, pathlib.Path] = {}
    for name, file in found.values():
        stems = naming.stem_path(template, name, "stem", extension)
        if stems in taken:
            raise UserError(f"{taken[stems]} and {file} would write the same stems")
        taken[stems] = file
    return [
        dataclasses.replace(
            _read_header(file, name, sample_rate),
            template=template,
            extension=extension,
        )
        for name, file in found.values()
    ]


def _list_folder(
    root: pathlib.Path, recursive: bool, output_paths: Sequence[os.PathLike]
) -> list[pathlib.Path]:
    def refuse(error: OSError) -> None:
        raise UserError(f"cannot list {error.filename}: {error.strerror}")

    apart = set(map(os.path.realpath, output_paths))
    files, links = [], []
    for folder, folders, names in os.walk(root, onerror=refuse):
        folders[:] = [
            name
            for name in folders
            if recursive
            and not util.is_foreign(name)
            and os.path.realpath(pathlib.Path(folder, name)) not in apart
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


def _read_header(
    path: pathlib.Path, name: pathlib.PurePath, sample_rate: int
) -> Mixture:
    """A mixture as its header describes it: its length is 0 if unknown."""
    length, description = 0, "unreadable"
    # A file that cannot be read fails when its turn comes, with its reason.
    with contextlib.suppress(UserError), AudioReader(path) as reader:
        length = -(-reader.rough_frames * sample_rate // reader.sample_rate)
        description = f"{reader.sample_rate} Hz, {reader.channels} channel(s)"
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
    happens to have such a name. Their complements may be there, too.
    """
    _, complete = with_stems(mixtures, folder, stems)
    names = [*stems, *map(naming.complement, stems)]
    made = {
        os.path.realpath(path)
        for mixture in complete
        for path in mixture.stem_paths(folder, names).values()
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
