"""Bars on a terminal: how far the file at hand is, and how far all files are."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any, Protocol

from sswavenet.console.bars import make_bar

FILE_FORMAT = (
    "{desc}: {percentage:3.0f}%|{bar}| {n:.1f}/{total:.1f} s of audio "
    "[{elapsed}<{remaining}]"
)
# Not {postfix}, before which tqdm puts a comma.
ALL_FORMAT = "{desc}: {percentage:3.0f}%|{bar}| {unit} [{elapsed}<{remaining}]"


class Progressing(Protocol):
    """Shows how far the separation of one file is, or stops it by an exception."""

    def begin(self, num_samples: int) -> None:
        """Begin, perhaps anew, with a file of so many samples."""

    def __call__(self, samples: int) -> None:
        """Go on, from any thread."""


class Bars:
    """The bar of all files, below the one of the file at hand; a context manager.

    Where stderr is no terminal, nothing is shown. Files count by their bytes: how long
    they are is known only when their turn comes. The sample rate is that of what is
    separated, Hz.
    """

    def __init__(self, sizes: Sequence[int], sample_rate: int):
        self.sample_rate = sample_rate
        self._count = len(sizes)
        self._number = 0
        self._bar = make_bar(
            desc="all files",
            total=max(1, sum(sizes)),
            bar_format=ALL_FORMAT,
            disable=None if len(sizes) > 1 else True,
        )

    def __enter__(self) -> Bars:
        """Give the bars themselves."""
        return self

    def __exit__(self, *_: Any) -> None:
        """Leave the bar as it stands."""
        self._bar.close()

    def next_file(self, name: str, size: int) -> FileBar:
        """The bar of the next file, of so many bytes; a context manager."""
        self._number += 1
        self._bar.unit = f"file {self._number} of {self._count}"
        self._bar.refresh()
        return FileBar(self, self._bar, name, size)


class FileBar:
    """The bar of one file, which takes the bar of all files on with it.

    Called with samples that have been separated, it advances.
    """

    def __init__(self, bars: Bars, all_files: Any, name: str, size: int):
        self._rate, self._all = bars.sample_rate, all_files
        self._name, self._size = name, size
        self._start = all_files.n
        self._bar: Any = None
        self._lock = threading.Lock()

    def __enter__(self) -> FileBar:
        """Give the bar itself."""
        return self

    def __exit__(self, kind: Any, *_: Any) -> None:
        """Count the file as done, unless it is left for good."""
        if self._bar is not None:
            self._bar.close()
        if kind is None:
            self._show(1.0)

    def begin(self, num_samples: int) -> None:
        """Begin, perhaps anew, with a file of so many samples."""
        if self._bar is not None:
            self._bar.close()
        self._bar = make_bar(
            desc=self._name,
            total=num_samples,
            unit_scale=1 / self._rate,  # seconds of samples, which add up exactly
            bar_format=FILE_FORMAT,
            disable=None,
            leave=None,  # where it is the only bar
        )

    def __call__(self, samples: int) -> None:
        """Advance, from any thread."""
        with self._lock:
            self._bar.update(samples)
            self._show(min(1.0, self._bar.n / max(self._bar.total, 1)))

    def _show(self, done: float) -> None:
        """Let the bar of all files stand where this share of the file is done."""
        self._all.n = self._start + done * self._size
        self._all.update(0)
