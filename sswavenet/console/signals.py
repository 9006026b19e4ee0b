"""SIGINT and SIGTERM as exceptions, raised where they can be heard.

A signal's handler runs wherever the program happens to be. An exception that it raises
in a finalizer or in a callback of the garbage collector is lost, and one that it raises
while a library with compiled code is being loaded can crash it. So it waits, or is
raised again, until it is on its way.
"""

from __future__ import annotations

import contextlib
import gc
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any

AGAIN = 0.05  # seconds until a signal that has to wait is looked at again
HAS_TIMER = hasattr(signal, "setitimer")  # else none waits
# Functions that run when an object goes, those of the standard library among them.
FINALIZERS = ("__del__", "_remove", "remove", "weakref_cb")
_waiting = 0  # how many contexts want signals to wait


class Terminated(BaseException):
    """SIGTERM came; like KeyboardInterrupt, it unwinds and cleans up."""


EXCEPTIONS = {signal.SIGINT: KeyboardInterrupt, signal.SIGTERM: Terminated}


@contextlib.contextmanager
def raising() -> Iterator[None]:
    """Raise KeyboardInterrupt at SIGINT and `Terminated` at SIGTERM, once.

    In other threads than the main one, which get no signals, nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    pending: list = []

    def note(number: int, frame: Any) -> None:
        for each in EXCEPTIONS:  # once is enough: cleaning up has begun
            signal.signal(each, signal.SIG_IGN)
        pending.append(number)
        try_again(number, frame)

    def try_again(_number: int, frame: Any) -> None:
        if not pending:
            return
        if HAS_TIMER:
            signal.setitimer(signal.ITIMER_REAL, AGAIN)
            if _waiting or _in_callback(frame) or _is_on_its_way():
                return
        raise EXCEPTIONS[pending[0]]

    before = {number: signal.signal(number, note) for number in EXCEPTIONS}
    if HAS_TIMER:
        before[signal.SIGALRM] = signal.signal(signal.SIGALRM, try_again)
    try:
        yield
    finally:
        if HAS_TIMER:
            signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def waiting() -> Iterator[None]:
    """Let signals wait while it lasts; also a decorator."""
    global _waiting
    _waiting += 1
    try:
        yield
    finally:
        _waiting -= 1


def _is_on_its_way() -> bool:
    """Whether what runs here cleans up after one of the exceptions."""
    error = sys.exc_info()[1]
    while error is not None and not isinstance(error, tuple(EXCEPTIONS.values())):
        error = error.__context__
    return error is not None


def _in_callback(frame: Any) -> bool:
    codes = [getattr(callback, "__code__", None) for callback in gc.callbacks]
    while frame is not None:
        if frame.f_code in codes or frame.f_code.co_name in FINALIZERS:
            return True
        frame = frame.f_back
    return False
