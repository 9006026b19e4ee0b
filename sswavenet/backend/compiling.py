"""C++ that is compiled on this machine, for its processor, and kept.

It is compiled once, with the machine's own compiler, into the user's cache folder.
"""

from __future__ import annotations

import hashlib
import os
import pathlib
import platform
import shutil
import subprocess
import tempfile
from typing import Any

from sswavenet.backend import folders

FOLDER = pathlib.Path(__file__).parent
FLAGS = (
    *("-std=c++17", "-O3", "-march=native", "-ffp-contract=fast"),
    *("-fPIC", "-shared", "-pthread", "-Wall", "-Wextra", "-Werror"),
)


def build_library(source: pathlib.Path, *flags: str) -> pathlib.Path:
    """The compiled library of a file in `FOLDER`, made now unless it is kept.

    The name says what it was made of, and by which compiler; without one, any
    compiler's will do. It ends with a hash of the content: to load a library that was
    cut short ends the process. Raises OSError where there is no compiler, no room for
    its output, or others can write into the cache folder, and CalledProcessError where
    it failed.
    """
    folder = folders.code_folder()
    texts = [path.read_bytes() for path in (source, *sorted(FOLDER.glob("*.h")))]
    key = _digest(repr([texts, FLAGS, flags, _processor()]).encode())
    names = (os.environ.get("CXX", "c++"), "g++", "clang++")
    compiler = next(filter(None, map(shutil.which, names)), None)
    version = "*" if compiler is None else _digest(_version(compiler).encode())
    for path in folder.glob(f"{source.stem}-{key}-{version}-*.so"):
        if path.is_file():  # to open a pipe takes for ever
            if path.stem.endswith(_digest(path.read_bytes())):
                return path
            path.unlink()
    if compiler is None:
        raise OSError("there is no C++ compiler (c++, or CXX in the environment)")
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        made = pathlib.Path(scratch, "made.so")
        _run(compiler, *FLAGS, *flags, str(source), "-o", str(made))
        with made.open("rb") as file:
            os.fsync(file.fileno())
        digest = _digest(made.read_bytes())
        return made.replace(folder / f"{source.stem}-{key}-{version}-{digest}.so")


def reason(error: Exception) -> str:
    """Why there is no library, in one line."""
    said = getattr(error, "stderr", None) or str(error)
    return next((line for line in said.splitlines() if "error" in line), said)


def _version(compiler: str) -> str:
    return _run(compiler, "--version")


def _run(*command: str) -> str:
    options: Any = {"capture_output": True, "text": True, "errors": "replace"}
    return subprocess.run(command, check=True, **options).stdout


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _processor() -> str:
    """What tells processors with other instructions apart."""
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith("flags")), "")
