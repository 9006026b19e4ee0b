"""Which backend runs, and how Keras is imported for the first time."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from sswavenet.backend import environment
from sswavenet.console import packages, signals
from util import UserError

BACKENDS = ("jax", "torch", "tensorflow", "theano")
# Keras imports them where they are installed, for parts that nothing here uses: without
# them it is there in half the time.
UNUSED_BY_KERAS = ("matplotlib", "pandas", "sklearn")

# Packages that bring JAX what is no processor.
ACCELERATORS = ("jax_plugins", "libtpu")


def choose_backend() -> None:
    """Settle KERAS_BACKEND and import Keras for the first time.

    Raises UserError where that is not possible in this environment.
    """
    if settle_backend() == "jax" and "keras" not in sys.modules:
        with signals.waiting(), _absent(UNUSED_BY_KERAS):
            try:
                importlib.import_module("keras")
            except ValueError as error:  # of what `environment` keeps
                raise UserError(
                    f"JAX cannot use a variable of the environment: {error}; unset it"
                ) from None


def settle_backend() -> str:
    """Settle KERAS_BACKEND, and import nothing; returns its value.

    Raises UserError where there is no such backend, or it is not installed.
    """
    # A program that uses this one may have imported Keras itself.
    running = sys.modules.get("keras")
    default = running.backend.backend() if running else "jax"
    name = os.environ.setdefault("KERAS_BACKEND", default)
    if name not in BACKENDS:
        raise UserError(
            f"KERAS_BACKEND must be one of {', '.join(BACKENDS)}, got {name!r}"
        )
    if importlib.util.find_spec(name) is None:
        raise UserError(
            f"KERAS_BACKEND is {name}, but {name} is not installed: "
            f"{packages.how_to_install(name)} (docs/usage.md, Backends, has more)"
        )
    environment.prepare()
    return name


def is_jax_on_processor() -> bool:
    """Whether JAX runs, or would run, on a processor.

    Told without importing it, unless it could be that there is something faster.
    """
    if settle_backend() != "jax":
        return False
    if "jax" not in sys.modules:
        platforms = os.environ.get("JAX_PLATFORMS", "")
        if platforms:
            return platforms == "cpu"
        if not any(map(importlib.util.find_spec, ACCELERATORS)):
            return True
    choose_backend()
    from sswavenet.backend import compat

    return compat.is_jax_on_cpu()


@contextlib.contextmanager
def _absent(names: Sequence[str]) -> Iterator[None]:
    """Let packages that are not imported yet be as if they were not installed."""
    hidden = [name for name in names if name not in sys.modules]
    modules: dict[str, Any] = sys.modules
    modules.update(dict.fromkeys(hidden))
    try:
        yield
    finally:
        for name in hidden:
            del modules[name]
