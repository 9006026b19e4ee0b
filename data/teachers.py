"""Teachers: separators that find the vocals of a song, for others to learn from."""

from __future__ import annotations

import dataclasses
import importlib
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from typing import Callable, Protocol

import numpy as np
import soundfile
from songs import RATE

from sswavenet.sound.loudness import check_samples
from util import UserError


class Teacher(Protocol):
    """What finds the vocals of a mixture."""

    @property
    def name(self) -> str:
        """What the user calls it."""

    def vocals(self, mixture: np.ndarray) -> np.ndarray:
        """The vocals of a mixture, both (frames, 2) at 44.1 kHz.

        Raises:
            UserError: The teacher fails.
        """


def checked(name: str, vocals: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The vocals that a teacher gave; a UserError unless they fit the mixture."""
    if np.shape(vocals) != shape:
        raise UserError(
            f"the teacher {name}: expected vocals (frames, channels) = {shape} at "
            f"{RATE} Hz, got {np.shape(vocals)}"
        )
    vocals = np.asarray(vocals, np.float32)
    check_samples(vocals, f"the teacher {name}: ")
    return vocals


@dataclasses.dataclass(frozen=True)
class Function:
    """A function of the user's Python."""

    name: str
    call: Callable[[np.ndarray], np.ndarray]

    def vocals(self, mixture: np.ndarray) -> np.ndarray:
        """See `Teacher`."""
        try:
            vocals = self.call(mixture)
        except Exception as error:  # it is the user's own, who wants to know
            raise UserError(f"the teacher {self.name} failed: {error!r}") from None
        return checked(self.name, vocals, mixture.shape)


@dataclasses.dataclass(frozen=True)
class Command:
    """A command that is given a file to read and one to write."""

    arguments: tuple[str, ...]

    @property
    def name(self) -> str:
        """The command, without the folders of its parts."""
        return " ".join(pathlib.PurePath(part).name for part in self.arguments)

    def vocals(self, mixture: np.ndarray) -> np.ndarray:
        """See `Teacher`."""
        with tempfile.TemporaryDirectory() as folder:
            source = pathlib.Path(folder, "mixture.wav")
            target = pathlib.Path(folder, "vocals.wav")
            soundfile.write(source, mixture, RATE, subtype="FLOAT")
            done = subprocess.run(
                [*self.arguments, str(source), str(target)],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                check=False,
            )
            lines = done.stderr.decode(errors="replace").strip().splitlines()
            last = lines[-1] if lines else "no message"
            if done.returncode:
                raise UserError(f"the teacher {self.name} failed: {last}")
            try:
                vocals, rate = soundfile.read(target, dtype="float32", always_2d=True)
            except soundfile.LibsndfileError:
                raise UserError(
                    f"the teacher {self.name} wrote no vocals: {last}"
                ) from None
        if rate != RATE:
            raise UserError(
                f"the teacher {self.name}: expected vocals at {RATE} Hz, got {rate}"
            )
        return checked(self.name, vocals, mixture.shape)


def find(text: str) -> Teacher:
    """Finds the teacher that the user names: a command, or MODULE:FUNCTION."""
    if re.fullmatch(r"[\w.]+:\w+", text):
        module, function = text.split(":")
        sys.path.insert(0, str(pathlib.Path.cwd()))
        try:
            return Function(text, getattr(importlib.import_module(module), function))
        except (ImportError, AttributeError) as error:
            raise UserError(f"the teacher {text}: {error}") from None
    try:
        arguments = shlex.split(text)
    except ValueError as error:
        raise UserError(f"the teacher {text}: {error}") from None
    if not arguments or shutil.which(arguments[0]) is None:
        raise UserError(
            f"expected a teacher, got {text or 'nothing'}, which is no program; "
            "`make teacher` installs the default one"
        )
    return Command(tuple(arguments))
