"""Standard streams that may be closed, full, or lead to nobody."""

from __future__ import annotations

import contextlib
import os
import pathlib
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


def write(text: str) -> None:
    """Write to stdout at once, whatever it can encode: names of files may be no text.

    Raises:
        BrokenPipeError: whoever read it is gone.
        UserError: it cannot be written, for example on a full disk.
    """
    if sys.stdout is None:  # closed by whoever started the program
        return
    encoding = sys.stdout.encoding or "utf-8"
    with _naming_stdout():
        sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding))
        sys.stdout.flush()


class BinaryStdout:
    """What `sys.stdout.buffer` takes; errors as those of `write`."""

    def write(self, data: bytes) -> int:
        """Write all of the data."""
        with _naming_stdout():
            return sys.stdout.buffer.write(data)

    def flush(self) -> None:
        """Hand over what is buffered."""
        with _naming_stdout():
            sys.stdout.buffer.flush()


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
