"""Which checkpoint of a session is meant, by the epochs in their names.

One order decides everywhere: in separation, training and growing.
"""

from __future__ import annotations

import os
import pathlib

from sswavenet.checkpoints.read import epoch_of, state_of
from sswavenet.config.document import read_config
from sswavenet.config.session import Config
from util import UserError

# The state of an epoch that was stopped. It lies beside `checkpoints/`, where the 2018
# program would take it for its newest; earlier versions had it inside.
STOPPED = "interrupted.hdf5"
NEWEST = "newest"  # in that state: the epoch of the newest checkpoint at that time


def find_session(config_path: os.PathLike, config: Config) -> pathlib.Path:
    """The session's folder: where the config lies, if weights lie beside it.

    Otherwise it is `training.path`, relative to the working folder.
    """
    folder = pathlib.Path(config_path).resolve().parent
    if (folder / "checkpoints").is_dir() or find_stopped(folder):
        return folder
    return pathlib.Path(config.session_path)


def numbered(session: os.PathLike) -> list[tuple[int, pathlib.Path]]:
    """(epoch, path) of the checkpoints with an epoch in their names, newest last."""
    files = _files(pathlib.Path(session) / "checkpoints")
    epochs = ((epoch_of(path), path) for path in files)
    return sorted((epoch, path) for epoch, path in epochs if epoch is not None)


def find_latest(session: os.PathLike) -> pathlib.Path:
    """The newest checkpoint, by which a session separates.

    That is the one of the highest epoch in its name, else the only `.hdf5` file, else
    what a training left that was stopped in its first epoch. Raises UserError where
    there is none, or several without an epoch in their names.
    """
    found = _latest(pathlib.Path(session)) or find_stopped(session)
    if found is None:
        raise UserError(
            f"{pathlib.Path(session) / 'checkpoints'}: expected a checkpoint (*.hdf5), "
            "found none; put one there or name one with --load_checkpoint"
        )
    return found


def find_resumable(session: os.PathLike) -> pathlib.Path | None:
    """What a training goes on from; None for a new session.

    That is the state of an epoch that was stopped, unless a checkpoint of a later epoch
    has come since (another program may have gone on), else the newest one.
    """
    stopped, known = find_stopped(session), numbered(session)
    if stopped is not None:
        newest = state_of(stopped).get(NEWEST)
        if not known or not isinstance(newest, int) or known[-1][0] <= newest:
            return stopped
    return _latest(pathlib.Path(session))


def find_stopped(session: os.PathLike) -> pathlib.Path | None:
    """Where the state of an epoch that was stopped lies, if there is one."""
    return next(iter(stopped_states(session)), None)


def stopped_states(session: os.PathLike) -> list[pathlib.Path]:
    """The states of stopped epochs, this version's first."""
    folder = pathlib.Path(session)
    places = (folder / STOPPED, folder / "checkpoints" / STOPPED)
    return [path for path in places if path.is_file()]


def is_of(session: os.PathLike, path: pathlib.Path) -> bool:
    """Whether a checkpoint is one of the session's own."""
    own, folder = pathlib.Path(session), path.parent.resolve()
    return folder == (own / "checkpoints").resolve() or (
        folder == own.resolve() and path.name == STOPPED
    )


def _files(folder: pathlib.Path) -> list[pathlib.Path]:
    files = (path for path in folder.glob("*.hdf5") if not path.name.startswith("."))
    return sorted(path for path in files if path.is_file())


def _latest(session: pathlib.Path) -> pathlib.Path | None:
    known = numbered(session)
    if known:
        return known[-1][1]
    folder = session / "checkpoints"
    files = [path for path in _files(folder) if path.name != STOPPED]
    if len(files) > 1:
        raise UserError(
            f"{folder}: expected names like checkpoint.00012-0.034.hdf5, got "
            f"{', '.join(path.name for path in files[:4])}; choose one with "
            "--load_checkpoint"
        )
    return files[0] if files else None


def check_session(session: pathlib.Path, config: Config) -> None:
    """Refuse another network or rate than that of a session's config.json."""
    path = session / "config.json"
    if not path.is_file():
        return
    there = read_config(path, config.task_name)
    if there.sample_rate != config.sample_rate:
        raise UserError(
            f"{path} describes a network at {there.sample_rate} Hz, this configuration "
            f"one at {config.sample_rate} Hz; choose a new training.path"
        )
    if there.weight_shapes != config.weight_shapes:
        raise UserError(
            f"{path} describes another network ({there.num_params} parameters) than "
            f"this configuration ({config.num_params}); choose a new training.path"
        )
