"""Processes that share work and end together."""

from __future__ import annotations

import concurrent.futures
import concurrent.futures.process
import contextlib
import multiprocessing
from collections.abc import Iterator
from typing import Any, Callable

from util import UserError


@contextlib.contextmanager
def process_pool(
    processes: int, prepare: Callable[[], Any], *, broken: str
) -> Iterator[concurrent.futures.Executor]:
    """Give an executor whose processes are ended when an exception comes.

    They are spawned, not forked, because the parent may have threads. `prepare`, which
    can be pickled, is called first in each one. Raises UserError, with `broken`, where
    one of them was ended from outside.
    """
    pool = concurrent.futures.ProcessPoolExecutor(
        processes,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=prepare,
    )
    # All of them begin before anything waits for them. Else the executor does not
    # notice when one ends as it begins, and waits for ever.
    pool._safe_to_dynamically_spawn_children = False  # type: ignore[attr-defined]
    try:
        yield pool
    except concurrent.futures.process.BrokenProcessPool:
        raise UserError(broken) from None
    except BaseException:
        for process in multiprocessing.active_children():
            process.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)
