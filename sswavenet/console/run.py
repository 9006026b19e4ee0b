"""What any command of the program has in common: log, errors, signals, exit status.

Nothing here may import NumPy, Keras or audio libraries: `--help` must be quick.
"""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Iterator
from typing import Any, Callable

import util
from sswavenet.console import packages, signals, streams
from util import UserError

logger = logging.getLogger(__name__)


class OneLine(logging.Formatter):
    """`level: message`, on one line and encodable, whatever names are in it."""

    def format(self, record: logging.LogRecord) -> str:
        """The line of a record."""
        text = f"{record.levelname.lower()}: {record.getMessage()}"
        return streams.printable(text)


class AboveBars(logging.StreamHandler):
    """Writes lines of their own where progress bars are shown."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record; the bars make room for it."""
        with contextlib.ExitStack() as stack:
            if _bars() is not None:
                stack.enter_context(_bars().external_write_mode(self.stream))
            super().emit(record)


def _bars() -> Any:
    """The class of progress bars; None where none has been imported."""
    return getattr(sys.modules.get("tqdm"), "tqdm", None)


@contextlib.contextmanager
def _closing_bars() -> Iterator[None]:
    """Close what an exception has left open, so that the next line is not in a bar."""
    try:
        yield
    finally:
        bars = list(getattr(_bars(), "_instances", ()))
        for bar in sorted(bars, key=lambda bar: bar.pos):  # those below first
            bar.close()


@contextlib.contextmanager
def _logging_to_stderr() -> Iterator[None]:
    handler = AboveBars(sys.stderr)
    handler.setFormatter(OneLine())
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    logging.getLogger("jax").setLevel(logging.WARNING)
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.setLevel(level)


def user_message(error: Exception) -> str | None:
    """What to tell the user of an error; None where it is a fault of the program."""
    text = " ".join(str(error).split())
    if isinstance(error, UserError):
        return text
    if isinstance(error, OSError):
        place = f"{error.filename}: " if error.filename is not None else ""
        return " ".join(f"{place}{error.strerror or text}".split())
    if isinstance(error, ModuleNotFoundError):
        return packages.what_to_do(error)
    if util.is_out_of_memory(error):
        return f"out of memory: {text or type(error).__name__}"
    return None


def run(work: Callable[[], int]) -> int:
    """Do the work of a command, and say in one line on stderr what ends it.

    Returns the status that `work` gives; 1 where nobody reads stdout any more, 2 if
    something that was given cannot be used or written, or the memory runs out, 130
    after SIGINT, 143 after SIGTERM, 129 after SIGHUP.
    """
    streams.open_closed()
    with _logging_to_stderr():
        try:
            with signals.raising(), _closing_bars():
                status = work()
                streams.write("")
        except KeyboardInterrupt:
            logger.error("interrupted")
            return 130
        except signals.Terminated as error:
            logger.error("terminated")
            return 128 + error.number
        except BrokenPipeError:
            streams.silence_stdout()  # whoever read it is gone
            return 1
        except Exception as error:
            message = user_message(error)
            if message is None:
                raise
            logger.error("%s", message)
            return 2
    return status
