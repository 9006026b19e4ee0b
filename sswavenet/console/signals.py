"""SIGINT, SIGTERM and SIGHUP as exceptions, which unwind and clean up."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

# Seconds in which another signal does not disturb the cleaning up: a hangup comes from
# the terminal and once more from the shell, and people press Ctrl-C twice.
DEAF = 2.0
_waiting = 0  # how many contexts want signals to wait
_pending: int | None = None  # the signal that waits


class Terminated(BaseException):
    """SIGTERM or SIGHUP, by its number; it unwinds like KeyboardInterrupt."""

    def __init__(self, number: int):
        super().__init__(signal.Signals(number).name)
        self.number = number


def heard() -> list[int]:
    """The signals that end the program: not those it was started to ignore (nohup)."""
    names = ("SIGINT", "SIGTERM", "SIGHUP")  # the last one is not everywhere
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    return [each for each in numbers if signal.getsignal(each) != signal.SIG_IGN]


def _raise(number: int) -> None:
    raise KeyboardInterrupt if number == signal.SIGINT else Terminated(number)


@contextlib.contextmanager
def raising() -> Iterator[None]:
    """Raise KeyboardInterrupt at SIGINT, `Terminated` at SIGTERM and SIGHUP.

    In other threads than the main one, which get no signals, nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    quiet_until = 0.0

    def note(number: int, _frame: Any) -> None:
        nonlocal quiet_until
        global _pending
        now = time.monotonic()
        if now < quiet_until:
            return
        if _waiting:
            _pending = number
            return
        quiet_until = now + DEAF
        _raise(number)

    before = {number: signal.signal(number, note) for number in heard()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def waiting() -> Iterator[None]:
    """Let signals wait while it lasts, where an exception would do harm."""
    global _waiting, _pending
    _waiting += 1
    try:
        yield
    finally:
        _waiting -= 1
        if _pending is not None and not _waiting:
            number, _pending = _pending, None
            _raise(number)


def ignore_those_of_the_group() -> None:
    """Ignore what a terminal sends to the parent, too, which then ends this process."""
    for name in ("SIGINT", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
