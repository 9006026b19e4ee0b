"""Files replaced all or nothing, JSON read with clear errors, and what errors mean."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import pathlib
import shutil
import tempfile
from collections.abc import Container, Iterator, Sequence
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


def make_folder(folder: pathlib.Path, *, mode: int = 0o777) -> None:
    """Make a folder and those above it, however many; the mode is less the umask."""
    missing = []
    # Not mkdir(parents=True), which climbs by recursion and forgets the mode.
    while not folder.is_dir() and folder != folder.parent:
        missing.append(folder)
        folder = folder.parent
    for place in reversed(missing):
        place.mkdir(mode, exist_ok=True)


@contextlib.contextmanager
def replacing(path: os.PathLike) -> Iterator[pathlib.Path]:
    """Give a temporary path near `path`; rename it to `path` on success only.

    It lies in a hidden folder of its own beside `path`, keeps the extension, for
    writers that look at it, and is gone after an error. Raises UserError where the
    folder cannot be written, or the file not get its name.
    """
    with replacing_all([path]) as (temporary,):
        yield temporary


@contextlib.contextmanager
def replacing_all(
    paths: Sequence[os.PathLike], *, old: Container[os.PathLike] | None = None
) -> Iterator[list[pathlib.Path]]:
    """`replacing` for several files: all get their names, or none does.

    They lie in one file system; until then all of them are beside the first. Those in
    `old` may be replaced, by default all; the others must be new. Raises UserError
    where the folder cannot be written, or one of the files, which is named, not get its
    name.
    """
    finals = list(map(pathlib.Path, paths))
    with contextlib.ExitStack() as stack:
        try:
            for place in {path.parent for path in finals}:
                make_folder(place)
            folder = stack.enter_context(_held_folder(finals[0].parent))
        except OSError as error:
            raise _cannot_write(finals[0], error) from None
        temporaries = [folder / f"new{k}{path.suffix}" for k, path in enumerate(finals)]
        yield temporaries
        for temporary in temporaries:
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
        # Always in the same order: of two runs for the same names, one gets them all.
        pairs = sorted(zip(finals, temporaries))
        with contextlib.ExitStack() as undo:
            for path, temporary in pairs:
                try:
                    if old is None or path in old:
                        _replace(path, temporary, undo, last=path == pairs[-1][0])
                    else:
                        _link(path, temporary)
                        undo.callback(path.unlink)
                except OSError as error:
                    raise _cannot_write(path, error) from None
            undo.pop_all()


def _replace(
    path: pathlib.Path,
    temporary: pathlib.Path,
    undo: contextlib.ExitStack,
    *,
    last: bool,
) -> None:
    """Give a file its name; what had it is kept until the last one has its own."""
    if not last and os.path.lexists(path):
        kept = temporary.with_name(f"old-{temporary.name}")
        try:
            os.link(path, kept, follow_symlinks=False)
        except OSError:  # no hard links here, or not to this file
            shutil.copy2(path, kept, follow_symlinks=False)
        temporary.replace(path)
        undo.callback(kept.replace, path)
    else:
        temporary.replace(path)
        undo.callback(path.unlink)


def _link(path: pathlib.Path, temporary: pathlib.Path) -> None:
    """Give a file a name that nothing has."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError:  # no hard links here: as good as it gets
        if os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)) from None
        temporary.rename(path)


def _cannot_write(path: pathlib.Path, error: OSError) -> UserError:
    reason = error.strerror or error
    if isinstance(error, FileExistsError):
        reason = "something else has got this name meanwhile"
    return UserError(f"cannot write {path}: {reason}")


@contextlib.contextmanager
def _held_folder(parent: pathlib.Path) -> Iterator[pathlib.Path]:
    """A new temporary folder, locked so that `remove_leftovers` lets it be."""
    while True:
        folder = pathlib.Path(tempfile.mkdtemp(prefix=PARTIAL, dir=parent))
        try:
            with _flock(folder, wait=True):
                if not folder.exists():
                    continue  # taken for a leftover before it was locked
                yield folder
                return
        finally:
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _flock(folder: pathlib.Path, *, wait: bool) -> Iterator[bool | None]:
    """Lock a folder against other processes; a lock ends with its process.

    Gives whether that worked; None where the system or the file system has no locks.
    """
    place, held = None, None
    try:
        try:
            # Else to open a pipe, which may lie there as well, would wait for ever.
            place = os.open(folder, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0))
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
def locked(folder: pathlib.Path, *, what: str) -> Iterator[None]:
    """Make a folder and keep other processes from locking it meanwhile.

    Raises UserError where it cannot be made, or another process, which runs `what`,
    holds it.
    """
    try:
        make_folder(folder)
    except OSError as error:
        raise UserError(f"cannot make {folder}: {error.strerror or error}") from None
    with _flock(folder, wait=False) as held:
        if held is False:
            raise UserError(f"{folder}: another process runs {what} there")
        yield


def remove_leftovers(folder: os.PathLike) -> None:
    """Remove what killed processes left of `replacing` in a folder."""
    for path in pathlib.Path(folder).glob(f"{PARTIAL}*"):
        if path.is_symlink() or not path.is_dir():
            continue  # none of ours
        with _flock(path, wait=False) as abandoned:
            if abandoned:
                shutil.rmtree(path, ignore_errors=True)


def read_json(path: os.PathLike) -> Any:
    """Parse a JSON file.

    Raises UserError where it is missing, too large, no plain file, not UTF-8 or not
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
        return json.loads(content.decode("utf-8-sig"), object_pairs_hook=_without_twins)
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


def check_folder(folder: pathlib.Path) -> None:
    """Find out before the work whether files can be written in a folder, by trying."""
    try:
        with _held_folder(folder):
            pass
    except OSError as error:
        raise UserError(
            f"cannot write into the folder {folder}: {error.strerror or error}"
        ) from None


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error says that the memory was too small, on whatever backend."""
    text = f"{type(error).__name__}: {error}".lower()
    signs = ("resource_exhausted", "resourceexhausted", "out of memory", "bad_alloc")
    return isinstance(error, MemoryError) or any(sign in text for sign in signs)


def sha256(path: os.PathLike) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal digits."""
    return hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()


def write_bytes(path: os.PathLike, content: bytes | memoryview) -> None:
    """Write a file atomically; a UserError where it cannot be, as on a full disk."""
    try:
        with replacing(path) as temporary:
            temporary.write_bytes(content)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from None


def write_json(path: os.PathLike, document: Any) -> None:
    """Write a JSON file, indented by four as the 2018 program did, atomically."""
    text = json.dumps(document, indent=4, sort_keys=True)
    write_bytes(path, f"{text}\n".encode())
