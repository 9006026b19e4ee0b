"""Read checkpoints: HDF5 files of weights.

Read are full models as Keras 2.1 saved them (group `model_weights`), weights alone,
those of this program, which have the layout of the former so that the 2018 program can
load them too, and Keras 3's `.weights.h5` and `.keras`. Only arrays and attributes are
read; the serialized functions that old files carry are never touched, and neither
are links or storage that lead out of the file.

Conventions: in memory every kernel is a correlation kernel, shape (taps, channels
in, channels out). Theano computes true convolutions, so a file that says `backend =
theano` holds kernels whose axis 0 runs the other way; they are flipped when read.
`layout.CONVENTIONS` says which backends compute what.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
import re
from typing import Any

import numpy as np

from sswavenet.checkpoints import hdf5, layout
from sswavenet.checkpoints.layout import CONVENTIONS, STATE_GROUP
from sswavenet.config.keys import shown
from sswavenet.config.session import Config
from util import UserError

NAME = re.compile(r"checkpoint\.(\d+)-.*\.hdf5")
SLOTS = ("momentum", "velocity")  # Adam's moments, of each weight


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint file holds."""

    path: pathlib.Path
    # Name to float32 array, correlation kernels, `Config.weight_shapes` order
    weights: dict
    convention: str  # the file's kernel convention, "theano" or "tensorflow"
    backend: str | None  # the backend the file names, or None
    keras_version: str | None
    epoch: int | None  # epochs trained, from the file or its name, or None
    state: dict  # what resuming needs (scalars) of files of this program, else empty
    slots: dict  # optimizer moments by "<slot>/<weight name>", correlation kernels


def epoch_of(path: pathlib.Path) -> int | None:
    """The epoch in a checkpoint's name, or None."""
    match = NAME.fullmatch(path.name)
    return int(match.group(1)) if match else None


def read_checkpoint(
    path: os.PathLike, config: Config, convention: str | None = None
) -> Checkpoint:
    """Read and check all the weights that `config` describes.

    Kernels have the convention that the file says, or the given one, "theano" or
    "tensorflow". Raises UserError for what is no checkpoint, or one of another network;
    the message names the first layer that differs and both shapes.
    """
    path = pathlib.Path(path)
    with hdf5.opened(path) as source:
        contents = layout.contents(source)
        convention = convention or contents.convention
        if convention is None:
            raise UserError(
                f"{path}: expected the attribute backend to be one of "
                f"{', '.join(CONVENTIONS)}, got {shown(contents.backend)}; say how its "
                "kernels are stored with --kernel_convention theano or tensorflow"
            )
        stored = layout.match(contents.layers, config, path)
        flip = convention == "theano"
        weights = {
            name: _read(stored[name], shape, flip, f"{path}: {name}")
            for name, shape in config.weight_shapes.items()
        }
        state, slots = _read_state(source, config, flip)
    epoch = state.get("epoch", epoch_of(path))
    return Checkpoint(
        path,
        weights,
        convention,
        contents.backend,
        contents.keras_version,
        epoch,
        state,
        slots,
    )


def _read(dataset: Any, shape: tuple, flip: bool, what: str) -> np.ndarray:
    array = hdf5.read_floats(dataset, shape, what)
    return np.ascontiguousarray(array[::-1]) if flip and array.ndim == 3 else array


def state_of(path: os.PathLike) -> dict:
    """The scalars that a training has saved in a checkpoint, by name."""
    with hdf5.opened(pathlib.Path(path)) as source:
        return scalars(source)


def scalars(source: hdf5.Source) -> dict:
    """`state_of` an open file."""
    group = dict(source.members(source.file)).get(STATE_GROUP)
    return {name: hdf5.attribute(group, name) for name in getattr(group, "attrs", ())}


def _read_state(source: hdf5.Source, config: Config, flip: bool) -> tuple:
    group = dict(source.members(source.file)).get(STATE_GROUP)
    if group is None:
        return {}, {}
    slots = {}
    for slot, item in source.members(group):
        if slot not in SLOTS:
            continue
        datasets = dict(source.datasets(item))
        for name, shape in config.weight_shapes.items():
            if name not in datasets:
                raise UserError(f"{source.path}: expected {slot} of {name}, found none")
            what = f"{source.path}: {slot} of {name}"
            slots[f"{slot}/{name}"] = _read(datasets[name], shape, flip, what)
    return scalars(source), slots
