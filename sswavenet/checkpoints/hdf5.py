"""HDF5 files read with caution: whatever a file holds, only its own arrays come out.

A file may come from anywhere. Links and storage that lead out of it are refused, so
are groups without end; sizes are checked before anything is read, and nothing in a
file is ever run or unpickled. Whatever HDF5 makes of a spoiled file becomes a
`UserError` of one line.
"""

from __future__ import annotations

import contextlib
import pathlib
from collections.abc import Iterator
from typing import Any

import h5py
import numpy as np

from util import UserError

# Groups and arrays looked at in a file: hard links can lead round in circles. Each that
# is no link to another takes at least some bytes, which allows for more in large files.
MAX_MEMBERS = 10000
BYTES_OF_A_MEMBER = 256
MAX_DEPTH = 4  # levels of groups that are looked into


class Source:
    """An open file whose groups and arrays are counted as they are looked at.

    Args:
        path: the file, for messages.
        file: the open file.
        max_members: how many may be looked at, of all groups together.
    """

    def __init__(self, path: pathlib.Path, file: Any, max_members: int):
        self.path = path
        self.file = file
        self._max_members = self._left = max_members

    def members(self, group: Any) -> Iterator[tuple]:
        """(name, object) of a group.

        Raises:
            UserError: a link could lead out of the file, or there are too many.
        """
        for name in group:
            self._left -= 1
            if self._left < 0:
                raise UserError(
                    f"{self.path}: expected at most {self._max_members} groups and "
                    "arrays, got more"
                )
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise UserError(
                    f"{self.path}: expected only groups and arrays, got a link at "
                    f"{group.name}/{name}; links are not followed"
                )
            yield name, group[name]

    def datasets(self, group: Any, depth: int = 0) -> Iterator[tuple]:
        """(name within `group`, dataset) at most `MAX_DEPTH` levels down."""
        for name, item in self.members(group):
            if isinstance(item, h5py.Dataset):
                yield name, item
            elif depth < MAX_DEPTH:
                for inner, dataset in self.datasets(item, depth + 1):
                    yield f"{name}/{inner}", dataset


@contextlib.contextmanager
def opened(path: pathlib.Path) -> Iterator[Source]:
    """The open file; errors within the context become `UserError`s that name it."""
    try:
        if not path.is_file():
            raise UserError(f"{path}: expected a checkpoint file (HDF5), found none")
        with h5py.File(path, "r") as file:
            yield Source(
                path, file, MAX_MEMBERS + path.stat().st_size // BYTES_OF_A_MEMBER
            )
    except UserError:
        raise
    # Whatever h5py makes of a spoiled file; a name that is no text is a ValueError.
    except (
        OSError,
        RuntimeError,
        LookupError,
        TypeError,
        AttributeError,
        ValueError,
        ArithmeticError,
        MemoryError,
    ) as error:
        reason = getattr(error, "strerror", None) or str(error)
        reason = " ".join(reason.split()) or type(error).__name__
        raise UserError(f"{path}: expected an HDF5 checkpoint, got {reason}") from None


def read_floats(dataset: Any, shape: tuple, what: str) -> np.ndarray:
    """A float32 array from a dataset whose bytes lie in the file itself.

    Args:
        dataset: where to read.
        shape: that it must have.
        what: name of it, for messages.

    Raises:
        UserError: it has another shape or type, lies elsewhere, or is not finite.
    """
    if dataset.dtype.kind != "f" or dataset.external or dataset.is_virtual:
        raise UserError(
            f"{what}: expected floating-point numbers inside the file, got "
            f"{'data outside it' if dataset.dtype.kind == 'f' else dataset.dtype}"
        )
    if dataset.shape != shape:
        raise UserError(f"{what}: expected shape {shape}, got {dataset.shape}")
    with np.errstate(over="ignore"):  # becomes infinity, which is refused
        array = np.asarray(dataset[()], "float32")
    if not np.isfinite(array).all():
        raise UserError(f"{what}: expected finite numbers, got NaN or Inf")
    return array


def attribute(group: Any, name: str, default: Any = None) -> Any:
    """A scalar attribute as a Python value."""
    value = group.attrs.get(name, default)
    if isinstance(value, (np.generic, np.ndarray)) and np.size(value) == 1:
        value = value.item()
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
