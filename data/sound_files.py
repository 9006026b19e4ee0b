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
    """Reads samples, (frames, channels), int16 or float32, and their rate in Hz.

    Raises UserError where there is no file, or none of sound.
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
    """Writes 16-bit samples, (frames,) or (frames, channels), as the name ends in.

    Messages name `final`, where the file will lie when all is complete. Raises
    UserError where it cannot be written, on a full disk for example.
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
