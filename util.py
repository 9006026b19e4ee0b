"""Files replaced all or nothing, and JSON read with clear errors."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

from config import UserError

MAX_JSON_BYTES = 16 * 2**20


@contextlib.contextmanager
def replacing(path: os.PathLike) -> Iterator[pathlib.Path]:
    """Give a temporary path beside `path`; rename it to `path` on success only.

    The temporary name keeps the extension, for writers that look at it, and is gone
    after an error.

    Raises:
        UserError: the folder cannot be written.
    """
    path = pathlib.Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(
            prefix=".partial-", suffix=path.suffix, dir=path.parent
        )
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from None
    os.close(handle)
    temporary = pathlib.Path(name)
    try:
        # mkstemp makes private files; give what an ordinary open would.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def read_json(path: os.PathLike) -> Any:
    """Parse a JSON file.

    Raises:
        UserError: the file is missing, too large, not UTF-8 or not JSON.
    """
    path = pathlib.Path(path)
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise UserError(
                f"{path}: expected a JSON file of at most {MAX_JSON_BYTES} bytes, "
                f"got {path.stat().st_size}"
            )
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from None
    except RecursionError:
        raise UserError(f"{path}: JSON nested too deeply") from None
    except ValueError as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path}: expected JSON, got {error}") from None


def check_place(path: os.PathLike) -> None:
    """Find out before the work whether a file can be written at its end.

    Raises:
        UserError: its folder is not there or cannot be written, or it is a folder.
    """
    path = pathlib.Path(path)
    if path.is_dir() or not os.access(path.resolve().parent, os.W_OK | os.X_OK):
        raise UserError(f"cannot write {path}: expected a file's path in a folder")


def write_out(text: str) -> None:
    """Write to stdout, whatever it can encode: names of files may be no text."""
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding))


def write_json(path: os.PathLike, document: Any) -> None:
    """Write a JSON file, indented by four as the 2018 program did, atomically."""
    text = json.dumps(document, indent=4, sort_keys=True)
    with replacing(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")
