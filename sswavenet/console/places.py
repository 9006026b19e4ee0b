"""Whether files can be written where they are to be, found out before the work."""

from __future__ import annotations

import os
import pathlib
import re
from collections.abc import Iterable

from util import UserError


def check_place(path: os.PathLike) -> None:
    """Find out before the work whether a file can be written at its end.

    Raises UserError where it is a folder, a pipe or a device, the folder to hold it can
    neither be written nor made, or its name is too long.
    """
    path = pathlib.Path(path)
    if path.exists() and not path.is_file():
        raise UserError(
            f"cannot write {path}: expected a file or nothing there, got a folder, a "
            "pipe or a device"
        )
    folder = pathlib.Path(os.path.realpath(path)).parent
    while not os.path.lexists(folder):  # `replacing` makes it, with those above it
        folder = folder.parent
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise UserError(
            f"cannot write {path}: expected {folder} to be a folder that can be written"
        )
    most = os.pathconf(folder, "PC_NAME_MAX") if hasattr(os, "pathconf") else 255
    if len(os.fsencode(path.name)) > most:
        raise UserError(f"cannot write {path}: expected a name of at most {most} bytes")


def check_not_among(
    outputs: Iterable[os.PathLike], inputs: Iterable[os.PathLike], kind: str
) -> None:
    """Refuse before the work to write a file that is read, `kind` of input it is."""
    there = [path for path in outputs if identity(path) is not None]
    known = set(map(identity, inputs)) if there else set()
    for path in there:
        if identity(path) in known:
            raise UserError(f"{path} is {kind} and would be overwritten")


def is_url(path: os.PathLike | str | None) -> bool:
    """Whether a path lies in a store that is not the file system."""
    return isinstance(path, str) and re.match(r"[a-z][a-z0-9+.-]*://", path) is not None


def identity(path: os.PathLike | str) -> tuple[int, int] | None:
    """What tells files and folders apart, at the end of links; None where is none."""
    try:
        state = os.stat(path)  # noqa: PTH116 - quick, for thousands of files
    except (OSError, ValueError):
        return None
    return state.st_dev, state.st_ino
