"""Progress bars, also on terminals that do not tell their size."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Any

import tqdm

WIDTH, HEIGHT = 80, 24  # characters and lines of such a terminal


def make_bar(*args: Any, **settings: Any) -> Any:
    """A `tqdm.tqdm` on stderr, with the same arguments.

    A terminal may say that it has no columns or lines, as some editors' and those of
    remote machines do; tqdm would draw nothing there.
    """
    with contextlib.suppress(AttributeError, OSError, ValueError):  # no terminal
        size = os.get_terminal_size(sys.stderr.fileno())
        # As tqdm does, leave the last column and the last line alone.
        settings.setdefault("ncols", (size.columns or WIDTH) - 1)
        settings.setdefault("nrows", (size.lines or HEIGHT) - 1)
    return tqdm.tqdm(*args, **settings)
