"""What to do where a package is missing: the command that helps."""

from __future__ import annotations

import contextlib
import os
import pathlib
import shlex
import sys
from collections.abc import Iterator

import util

# In no environment that make sets up, by module.
_OPTIONAL = {
    "fastapi": "-r requirements-app.txt",
    "fsspec": "-r requirements-cluster.txt",
    "gradio": "-r requirements-app.txt",
    "ray": "-r requirements-cluster.txt",
    "s3fs": "-r requirements-cluster.txt",
    "tensorboardX": "tensorboardX",
    "tensorflow": "tensorflow",
    "torch": "torch",
    "uvicorn": "-r requirements-app.txt",
}


def _listed(requirements: str) -> list[str]:
    """Packages in a file of requirements; none where there is no such file."""
    path = pathlib.Path(util.__file__).with_name(requirements)
    if not path.is_file():  # in an installed program
        return []
    lines = path.read_text("utf-8").splitlines()
    return [line.split("==")[0] for line in lines if line and line[0] != "#"]


def how_to_install(module: str | None) -> str:
    """How to get a module that is missing, for messages: a command that works."""
    name = (module or "").split(".")[0]
    is_theano = "theano" in (name, os.environ.get("KERAS_BACKEND"))
    main = _listed("requirements.txt")
    own = _listed("requirements-theano.txt") if is_theano else main
    # What neither file lists comes with what they list.
    if name not in _OPTIONAL and own and (name in own or name not in main):
        folder = ".venv-theano" if is_theano else ".venv"
        return f"make {folder}, then run {folder}/bin/python"
    wanted = _OPTIONAL.get(name, name) if main else name
    return f"{shlex.quote(sys.executable)} -m pip install {wanted}"


def what_to_do(error: ModuleNotFoundError) -> str:
    """What to tell the user of a package that is missing."""
    return (
        f"needs the package {error.name}, which is not installed: "
        f"{how_to_install(error.name)}"
    )


@contextlib.contextmanager
def required() -> Iterator[None]:
    """What a script imports: where a package is missing, it ends with a line."""
    try:
        yield
    except ModuleNotFoundError as error:
        sys.stderr.write(f"error: {what_to_do(error)}\n")
        raise SystemExit(2) from None
