"""Whole files and folders for the tools of data/; what cannot be used takes a line."""

from __future__ import annotations

import contextlib
import os
import pathlib
import tempfile
from collections.abc import Iterator

import numpy as np
import soundfile

import util
from util import UserError


def read(path: pathlib.Path, dtype: str) -> tuple[np.ndarray, int]:
    """Reads a file.

    Args:
        path: The file.
        dtype: "int16" or "float32".

    Returns:
        Samples (frames, channels) and their rate in Hz.

    Raises:
        UserError: There is no file, or none of sound.
    """
    if not path.is_file():
        got = "a folder" if path.is_dir() else "nothing there"
        raise UserError(f"{path}: expected an audio file, got {got}")
    try:
        samples, rate = soundfile.read(
            os.fsencode(path),  # a name need not be text
            dtype=dtype,
            always_2d=True,
        )
    except soundfile.LibsndfileError as error:
        raise UserError(
            f"{path}: expected an audio file, got: {error.error_string}"
        ) from None
    return samples, rate


def write(
    path: pathlib.Path, samples: np.ndarray, rate: int, *, final: pathlib.Path
) -> None:
    """Writes a file of 16-bit samples.

    Args:
        path: The file, in the format that its name ends in.
        samples: (frames,) or (frames, channels).
        rate: In Hz.
        final: Where the file will lie when all is complete, for the message.

    Raises:
        UserError: It cannot be written, on a full disk for example.
    """
    try:
        soundfile.write(path, samples, rate, subtype="PCM_16")
    except (OSError, soundfile.LibsndfileError) as error:
        reason = getattr(error, "error_string", getattr(error, "strerror", None))
        raise UserError(f"cannot write {final}: {reason or error}") from None


@contextlib.contextmanager
def whole_folder(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    """A folder beside the one wanted, which gets its name when all is in it."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=util.PARTIAL, dir=folder.parent) as name:
        unfinished = pathlib.Path(name, "whole")
        unfinished.mkdir()
        yield unfinished
        unfinished.rename(folder)
