"""Standard streams that may be full, slow, or read by nobody."""

from __future__ import annotations

import contextlib
import os
import select
import sys
from typing import Any

from util import UserError


def printable(text: str) -> str:
    """Text on one line that a terminal shows and does not obey, whatever is in it."""
    return "".join(
        character
        if character.isprintable()
        else " "
        if character.isspace()
        else character.encode("unicode_escape").decode()
        for character in text
    )


def write(data: str | bytes) -> None:
    """Write to stdout at once; of text whatever it can encode, and the rest escaped.

    Without Python's buffer (PYTHONUNBUFFERED), a full disk or a pipe takes a part of it
    and says how much; a pipe that does not block takes nothing while it is full.

    Raises:
        BrokenPipeError: whoever read it is gone.
        UserError: it cannot be written, for example on a full disk.
    """
    encoding = sys.stdout.encoding or "utf-8"
    if isinstance(data, str):  # names of files may be no text
        data = data.encode(encoding, "backslashreplace")
    if not hasattr(sys.stdout, "buffer"):  # in a notebook, or a text in memory
        sys.stdout.write(data.decode(encoding))
        return
    try:
        sys.stdout.flush()
        file, rest = _unbuffered(sys.stdout.buffer), memoryview(data)
        while rest:
            count = file.write(rest)
            if count is None:
                select.select([], [file], [])
            rest = rest[count or 0 :]
    except BrokenPipeError:
        raise
    except OSError as error:
        silence_stdout()
        raise UserError(
            f"cannot write to standard output: {error.strerror or error}"
        ) from None


def read(size: int) -> bytes:
    """What has come in on stdin, at most `size` bytes; none at the end alone."""
    file = _unbuffered(sys.stdin.buffer)
    while (data := file.read(size)) is None:
        select.select([file], [], [])
    return data


def _unbuffered(file: Any) -> Any:
    """The file below Python's buffer, which says how much it takes and gives."""
    return getattr(file, "raw", file)


def open_closed() -> None:
    """Let those that are closed lead nowhere: else a file would take their number."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: PTH123, SIM115


def silence_stdout() -> None:
    """Let stdout lead nowhere: else the end of the program tries once more."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
