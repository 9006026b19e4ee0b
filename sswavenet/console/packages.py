"""What to install where a package is missing."""

from __future__ import annotations

import os

# By module; all others belong to the requirements of the backend.
_INSTALLED_BY = {
    "openvino": "-r requirements-openvino.txt",
    "tensorboardX": "tensorboardX",
    "tensorflow": "tensorflow",
    "theano": "-r requirements-theano.txt",
    "torch": "torch",
}


def how_to_install(module: str | None) -> str:
    """The command that installs a module, for messages."""
    theano = os.environ.get("KERAS_BACKEND") == "theano"
    requirements = "-r requirements-theano.txt" if theano else "-r requirements.txt"
    name = (module or "").split(".")[0]
    return f"pip install {_INSTALLED_BY.get(name, requirements)}"
