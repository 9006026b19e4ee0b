"""Standard streams that may be closed, full, or lead to nobody."""

from __future__ import annotations

import contextlib
import os
import pathlib
import select
import sys
from collections.abc import Iterator
from typing import Any

from util import UserError


@contextlib.contextmanager
def opened() -> Iterator[None]:
    """Give streams that whoever started the program has closed somewhere to lead.

    Else the next files to be opened take their numbers, and what a library says on
    stderr gets into them.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            place = os.open(os.devnull, os.O_RDWR)  # takes the lowest free number
            os.set_inheritable(place, True)
    with contextlib.ExitStack() as stack:
        if sys.stderr is None:
            nowhere = stack.enter_context(pathlib.Path(os.devnull).open("w"))
            stack.enter_context(contextlib.redirect_stderr(nowhere))
        yield


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


def write(text: str) -> None:
    """Write to stdout at once, whatever it can encode: names of files may be no text.

    Raises:
        BrokenPipeError: whoever read it is gone.
        UserError: it cannot be written, for example on a full disk.
    """
    if sys.stdout is None:  # closed by whoever started the program
        return
    encoding = sys.stdout.encoding or "utf-8"
    data = text.encode(encoding, "backslashreplace")
    with _naming_stdout():
        if hasattr(sys.stdout, "buffer"):
            sys.stdout.flush()
            _write_all(sys.stdout.buffer, data)
        else:  # a text in memory
            sys.stdout.write(data.decode(encoding))


class BinaryStdout:
    """What `sys.stdout.buffer` takes; errors as those of `write`."""

    def write(self, data: bytes) -> None:
        """Write all of the data, at once."""
        with _naming_stdout():
            _write_all(sys.stdout.buffer, data)


class BinaryStdin:
    """What `sys.stdin.buffer` gives."""

    def read1(self, size: int) -> bytes:
        """What has come in, at most `size` bytes; none at the end alone."""
        file = _unbuffered(sys.stdin.buffer)
        while (data := file.read(size)) is None:
            select.select([file], [], [])
        return data


def _write_all(file: Any, data: bytes) -> None:
    """Write all of the data, however little a call takes.

    Without Python's buffer (PYTHONUNBUFFERED), a full disk or a pipe takes a part of it
    and says how much; a pipe that does not block takes nothing while it is full.
    """
    file = _unbuffered(file)
    rest = memoryview(data)
    while rest:
        count = file.write(rest)
        if count is None:
            select.select([], [file], [])
        rest = rest[count or 0 :]


def _unbuffered(file: Any) -> Any:
    """The file below Python's buffer, which says how much it takes and gives."""
    return getattr(file, "raw", file)


@contextlib.contextmanager
def _naming_stdout() -> Iterator[Any]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        silence_stdout()
        raise UserError(
            f"cannot write to standard output: {error.strerror or error}"
        ) from None


def silence_stdout() -> None:
    """Let stdout lead nowhere: else the end of the program tries once more."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
