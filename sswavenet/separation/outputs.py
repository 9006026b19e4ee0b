"""Where stems go, and what is there already."""

from __future__ import annotations

import contextlib
import os
import pathlib
import stat
from collections.abc import Iterable, Sequence

import util
from sswavenet.console.places import identity
from sswavenet.separation import naming
from sswavenet.separation.inputs import Mixture
from util import UserError


def parents(mixtures: Sequence[Mixture], stems: Sequence[str]) -> set[str]:
    """The folders of stems, as paths below the output folder."""
    names = (name for mixture in mixtures for name in mixture.stem_names(stems))
    return set(map(os.path.dirname, names))


class Outputs:
    """The places that the stems of some mixtures may have in a folder, listed once."""

    def __init__(
        self, mixtures: Sequence[Mixture], folder: pathlib.Path, stems: Sequence[str]
    ):
        self._prefix = os.path.join(folder, "")
        self._there: set[str] = set()  # paths below the folder
        for parent in parents(mixtures, stems):
            with contextlib.suppress(OSError):  # it is still to be made
                names = os.listdir(folder / parent)
                self._there.update(os.path.join(parent, name) for name in names)

    def with_some(
        self, mixtures: Sequence[Mixture], stems: Sequence[str]
    ) -> list[Mixture]:
        """The mixtures of which some of the stems are there."""
        return [
            mixture
            for mixture in mixtures
            if not self._there.isdisjoint(mixture.stem_names(stems))
        ]

    def with_all(
        self, mixtures: Sequence[Mixture], stems: Sequence[str]
    ) -> list[Mixture]:
        """The mixtures of which all of the stems are there."""
        return [
            mixture
            for mixture in mixtures
            if self._there.issuperset(mixture.stem_names(stems))
            and all(
                os.path.isfile(self._prefix + name)
                for name in mixture.stem_names(stems)
            )
        ]

    def stems_among(
        self, mixtures: Sequence[Mixture], stems: Sequence[str]
    ) -> list[Mixture]:
        """Which mixtures are stems of others, as those of an earlier run.

        Only where all stems of a mixture are there: else one of them may be a mixture
        that happens to have such a name. Their complements may be there, too.
        """
        complete = self.with_all(mixtures, stems)
        names = [*stems, *map(naming.complement, stems)]
        return [mixture for _, mixture in self._shared(mixtures, complete, names)]

    def check(
        self,
        mixtures: Sequence[Mixture],
        stems: Sequence[str],
        others: Sequence[str],
    ) -> None:
        """Refuse to write a stem over a mixture, or to take a stem for one.

        `stems` are to be written; `others` are the other stems that there are.
        """
        for path, _ in self._shared(mixtures, mixtures, stems):
            raise UserError(f"{path} is a mixture and would be overwritten")
        for path, _ in self._shared(mixtures, mixtures, others):
            raise UserError(
                f"{path} lies among the mixtures, but has the name of a stem of one of "
                "them: expected another --output_path, or only one of both there"
            )

    def _shared(
        self,
        inputs: Sequence[Mixture],
        mixtures: Sequence[Mixture],
        stems: Sequence[str],
    ) -> list[tuple[str, Mixture]]:
        """Stems of mixtures that are one file with an input, and that."""
        names = [name for mixture in mixtures for name in mixture.stem_names(stems)]
        paths = [self._prefix + name for name in names if name in self._there]
        if not paths:
            return []
        known = {identity(mixture.path): mixture for mixture in inputs}
        known.pop(None, None)  # links to nothing
        found = [(path, known.get(identity(path))) for path in paths]
        return [(path, mixture) for path, mixture in found if mixture is not None]


def output_folder(path: os.PathLike) -> pathlib.Path:
    """Make a folder for stems, or see that it can be written; else a UserError."""
    folder = pathlib.Path(path)
    try:
        util.make_folder(folder)
    except OSError as error:
        raise UserError(f"cannot make the folder {folder}: {error.strerror}") from None
    util.check_folder(folder)
    return folder


def new_samples_folder(session: pathlib.Path) -> pathlib.Path:
    """Make the next free `<session>/samples/samples_N`; no two runs get the same."""
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


def check_writable(paths: Iterable[pathlib.Path]) -> None:
    """Find out before the work whether files can get their names.

    A later rename that fails would leave some of a mixture's stems without the others.
    Raises UserError where there is a folder of that name, and OSError where a name is
    too long or the folder cannot be looked into.
    """
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            if stat.S_ISDIR(path.stat().st_mode):
                raise UserError(f"cannot write {path}: there is a folder of that name")
