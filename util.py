"""Files replaced all or nothing, JSON read with clear errors, and what errors mean."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from typing import Any

try:
    import fcntl
except ImportError:  # not a Unix
    fcntl = None  # type: ignore[assignment]

PARTIAL = ".sswavenet-partial-"  # begins the names of temporary folders
# What network drives, archivers and file systems leave among the files of others.
FOREIGN = ("@eaDir", "__MACOSX", "#recycle", "$RECYCLE.BIN", "lost+found")
MAX_JSON_BYTES = 16 * 2**20


class UserError(ValueError):
    """What the user gave cannot be used; the message is one line for stderr."""


def is_foreign(name: str) -> bool:
    """Whether a file or folder is hidden, or left behind by another program.

    Such names are passed over wherever a folder is searched.
    """
    return name.startswith(".") or name in FOREIGN


def cache_folder() -> pathlib.Path:
    """Where what is slow to make is kept for the next run.

    Raises:
        UserError: the user has no home folder.
    """
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    try:
        return pathlib.Path(base).expanduser() / "sswavenet"
    except (RuntimeError, KeyError):  # the latter before Python 3.10
        raise UserError(
            f"cannot find the home folder for the cache {base}: set HOME, or "
            "XDG_CACHE_HOME to a folder"
        ) from None


@contextlib.contextmanager
def replacing(path: os.PathLike) -> Iterator[pathlib.Path]:
    """Give a temporary path near `path`; rename it to `path` on success only.

    It lies in a hidden folder of its own beside `path`, keeps the extension, for
    writers that look at it, and is gone after an error.

    Raises:
        UserError: the folder cannot be written.
    """
    path = pathlib.Path(path)
    with contextlib.ExitStack() as stack:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            folder = stack.enter_context(_held_folder(path.parent))
        except OSError as error:
            raise UserError(f"cannot write {path}: {error.strerror or error}") from None
        temporary = folder / f"new{path.suffix}"
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)


@contextlib.contextmanager
def _held_folder(parent: pathlib.Path) -> Iterator[pathlib.Path]:
    """A new temporary folder, locked so that `remove_leftovers` lets it be."""
    while True:
        folder = pathlib.Path(tempfile.mkdtemp(prefix=PARTIAL, dir=parent))
        try:
            with _locked(folder, wait=True):
                if not folder.exists():
                    continue  # taken for a leftover before it was locked
                yield folder
                return
        finally:
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _locked(folder: pathlib.Path, *, wait: bool) -> Iterator[bool | None]:
    """Lock a folder against other processes; a lock ends with its process.

    Gives whether that worked; None where the system or the file system has no locks.
    """
    place, held = None, None
    try:
        try:
            place = os.open(folder, os.O_RDONLY)
            if fcntl is not None:
                fcntl.flock(place, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
                held = True
        except BlockingIOError:
            held = False
        except OSError:
            pass
        yield held
    finally:
        if place is not None:
            os.close(place)


@contextlib.contextmanager
def holding(folder: pathlib.Path, *, what: str) -> Iterator[None]:
    """Make a folder and keep other processes from holding it meanwhile.

    Raises:
        UserError: it cannot be made, or another process, which runs `what`, holds it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make {folder}: {error.strerror or error}") from None
    with _locked(folder, wait=False) as held:
        if held is False:
            raise UserError(f"{folder}: another process runs {what} there")
        yield


def remove_leftovers(folder: os.PathLike) -> None:
    """Remove what killed processes left of `replacing` in a folder."""
    for path in pathlib.Path(folder).glob(f"{PARTIAL}*"):
        with _locked(path, wait=False) as abandoned:
            if abandoned:
                shutil.rmtree(path, ignore_errors=True)


def read_json(path: os.PathLike) -> Any:
    """Parse a JSON file.

    Raises:
        UserError: the file is missing, too large, no plain file, not UTF-8 or not
            JSON.
    """
    path = pathlib.Path(path)
    try:
        # To open a pipe may take for ever.
        if path.exists() and not path.is_file():
            raise UserError(
                f"{path}: expected a JSON file, got a folder, a pipe or a device"
            )
        with path.open("rb") as file:
            # Some files, of /proc for example, hold more than their size says.
            content = file.read(MAX_JSON_BYTES + 1)
        if len(content) > MAX_JSON_BYTES:
            raise UserError(
                f"{path}: expected a JSON file of at most {MAX_JSON_BYTES} bytes, "
                "got more"
            )
        return json.loads(content.decode("utf-8"), object_pairs_hook=_without_twins)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from None
    except RecursionError:
        raise UserError(f"{path}: JSON nested too deeply") from None
    except ValueError as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path}: expected JSON, got {error}") from None


def _without_twins(pairs: list[tuple[str, Any]]) -> dict:
    document = dict(pairs)
    if len(document) < len(pairs):
        names = [name for name, _ in pairs]
        twin = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twin!r} twice")
    return document


def check_place(path: os.PathLike) -> None:
    """Find out before the work whether a file can be written at its end.

    Raises:
        UserError: it is a folder, a pipe or a device, the folder to hold it can neither
            be written nor made, or its name is too long.
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


def check_folder(folder: pathlib.Path) -> None:
    """Find out before the work whether files can be written in a folder, by trying.

    Raises:
        UserError: they cannot.
    """
    try:
        with _held_folder(folder):
            pass
    except OSError as error:
        raise UserError(
            f"cannot write into the folder {folder}: {error.strerror or error}"
        ) from None


def check_not_among(
    outputs: Iterable[os.PathLike], inputs: Iterable[os.PathLike], kind: str
) -> None:
    """Find out before the work whether a file to be written is one that is read.

    Args:
        outputs: the files to be written.
        inputs: those that are read.
        kind: what an input is called, for the message.

    Raises:
        UserError: one is.
    """
    places = set(map(os.path.realpath, inputs))
    for path in outputs:
        if os.path.realpath(path) in places:
            raise UserError(f"{path} is {kind} and would be overwritten")


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error says that the memory was too small, on whatever backend."""
    text = f"{type(error).__name__}: {error}".lower()
    signs = ("resource_exhausted", "resourceexhausted", "out of memory", "bad_alloc")
    return isinstance(error, MemoryError) or any(sign in text for sign in signs)


def sha256(path: os.PathLike) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal digits.

    Raises:
        OSError: it cannot be read.
    """
    return hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()


def write_bytes(path: os.PathLike, content: bytes | memoryview) -> None:
    """Write a file atomically.

    Raises:
        UserError: it cannot be written, for example on a full disk.
    """
    try:
        with replacing(path) as temporary:
            temporary.write_bytes(content)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from None


def write_json(path: os.PathLike, document: Any) -> None:
    """Write a JSON file, indented by four as the 2018 program did, atomically."""
    text = json.dumps(document, indent=4, sort_keys=True)
    write_bytes(path, f"{text}\n".encode())
