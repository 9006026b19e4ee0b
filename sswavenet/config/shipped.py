"""Sessions by name: those that come with the program, and others beside them."""

from __future__ import annotations

import os
import pathlib

import util
from util import UserError

# Beside util.py, in the repository as well as in an installed package.
FOLDER = pathlib.Path(util.__file__).resolve().parent / "sessions"


def session_names() -> list[str]:
    """The names of the sessions that come with the program: each has a model card."""
    return sorted(path.parent.name for path in FOLDER.glob("*/MODEL_CARD.md"))


def known_names() -> list[str]:
    """Those, and the names of all beside them that have a checkpoint.

    In the repository these are the ones that were trained there.
    """
    trained = {
        path.parents[1].name
        for path in FOLDER.glob("*/checkpoints/*.hdf5")
        if (path.parents[1] / "config.json").is_file()
    }
    return sorted(trained.union(session_names()))


def config_path(name_or_path: str | os.PathLike) -> pathlib.Path:
    """The config.json of a session; a UserError where there is none.

    Named by one of `known_names()`, a session's folder, or its config.json;
    `./multi-instrument` is a folder in any case.
    """
    names = known_names()
    if name_or_path in names:
        return FOLDER / name_or_path / "config.json"
    path = pathlib.Path(name_or_path)
    if path.is_dir():
        return path / "config.json"
    if not path.exists() and path.suffix != ".json":
        raise UserError(
            f"expected {', '.join(names)}, a session's folder or its config.json, got "
            f"{os.fspath(name_or_path)!r}, which does not exist"
        )
    return path
