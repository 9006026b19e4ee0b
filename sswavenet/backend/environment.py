"""What Keras and JAX find around them when they are first imported.

Settings that a user has made for other programs must neither change results nor break
this one, so Keras's configuration file is not read, and of the variables that both
libraries know only those are kept that say where to compute and what to keep and log.
"""

from __future__ import annotations

import logging
import os
import pathlib
import sys
import warnings
from typing import Any

from sswavenet.backend import folders

logger = logging.getLogger(__name__)

READ_BY_LIBRARIES = ("KERAS_", "JAX_")
# The beginnings of names.
KEPT = (
    "KERAS_BACKEND",
    "KERAS_DISTRIBUTION_",
    "KERAS_TORCH_DEVICE",
    "JAX_COMPILATION_CACHE_DIR",
    "JAX_COORDINATOR_",
    "JAX_CPU_COLLECTIVES_",
    "JAX_CUDA_VISIBLE_DEVICES",
    "JAX_DUMP_",
    "JAX_LOCAL_DEVICE_IDS",
    "JAX_LOG",
    "JAX_NUM_CPU_DEVICES",
    "JAX_PERSISTENT_CACHE_",
    "JAX_PLATFORM",
    "JAX_ROCM_VISIBLE_DEVICES",
    "JAX_TRACEBACK_FILTERING",
)
CACHE = "JAX_COMPILATION_CACHE_DIR"
# How JAX's warnings about that folder begin.
READING = "Error reading persistent compilation cache entry"
WRITING = "Error writing persistent compilation cache entry"
SAID = {
    READING: "what was compiled earlier is compiled anew, for it cannot be read",
    WRITING: "what is compiled cannot be kept",
}


def prepare() -> None:
    """Set the environment of Keras and JAX; without effect once Keras is there."""
    if "keras" in sys.modules:
        return
    dropped = [
        name
        for name in os.environ
        if name.startswith(READ_BY_LIBRARIES)
        and not name.startswith(KEPT)
        and name != "KERAS_HOME"
    ]
    for name in dropped:
        del os.environ[name]
    if dropped:
        logger.warning(
            "ignored in the environment, since they could change the result: %s",
            ", ".join(sorted(dropped)),
        )
    # No folder, so neither is a file read from it nor one written into it.
    os.environ["KERAS_HOME"] = os.devnull
    _keep_what_is_compiled()


def _keep_what_is_compiled() -> None:
    """Let JAX keep what it compiles, so that the next run need not compile it."""
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    own = None
    if CACHE not in os.environ:
        try:
            own = folders.code_folder("xla")
        except OSError as error:
            logger.warning(
                "nothing that is compiled is kept: %s: %s",
                error.filename,
                error.strerror,
            )
        os.environ[CACHE] = str(own or "")
    show, said = warnings.showwarning, set()

    def say_once(message: Any, *details: Any, **more: Any) -> None:
        text = str(message)
        kind = next((kind for kind in (READING, WRITING) if text.startswith(kind)), "")
        if not kind:
            show(message, *details, **more)
            return
        if kind not in said:
            logger.warning("%s in %s: %s", SAID[kind], os.environ[CACHE], text)
        said.add(kind)
        if kind == READING and own is not None:
            _empty(own)  # JAX does not replace what it cannot read

    warnings.showwarning = say_once


def _empty(folder: pathlib.Path) -> None:
    for path in folder.glob("*-cache"):
        path.unlink(missing_ok=True)
