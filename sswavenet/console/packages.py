"""What to install where a package is missing."""

from __future__ import annotations

import os
import pathlib

import util

# By module; all others belong to the requirements of the backend.
_REQUIREMENTS = {
    "openvino": "requirements-openvino.txt",
    "theano": "requirements-theano.txt",
}
_FREE = ("tensorboardX", "tensorflow", "torch")  # in no list of requirements


def how_to_install(module: str | None) -> str:
    """The command that installs a module, for messages."""
    name = (module or "").split(".")[0]
    theano = os.environ.get("KERAS_BACKEND") == "theano"
    backend = "requirements-theano.txt" if theano else "requirements.txt"
    requirements = _REQUIREMENTS.get(name, backend)
    beside = pathlib.Path(util.__file__).with_name(requirements)
    # An installed program has no such files.
    if name in _FREE or (name and not beside.is_file()):
        return f"pip install {name}"
    return f"pip install -r {requirements}"
