"""Find, read, write and describe checkpoints: HDF5 files of weights.

Three kinds of file are read: full models as Keras 2.1 saved them (group
`model_weights`), weights alone, and those of this program, which have the layout of
the former so that the 2018 program can load them too. Only arrays and attributes are
read; the serialized functions that old files carry are never touched, and neither
are links or storage that lead out of the file.

Conventions: in memory every kernel is a correlation kernel, shape (taps, channels
in, channels out). Theano computes true convolutions, so a file that says `backend =
theano` holds kernels whose axis 0 runs the other way; they are flipped when read.
`CONVENTIONS` says which backends compute what.

    python -m sswavenet.checkpoints FILE

prints what a file is.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import io
import math
import os
import pathlib
import re
import sys
from typing import Any

import h5py
import numpy as np

import util
from sswavenet.checkpoints import hdf5
from sswavenet.checkpoints import layout as checkpoint_layers
from sswavenet.checkpoints.layout import CONVENTIONS, STATE_GROUP
from sswavenet.config.document import parse_config
from sswavenet.config.keys import shown
from sswavenet.config.session import Config
from sswavenet.config.tasks import TASKS
from sswavenet.console import streams as standard_streams
from util import UserError

SLOTS = ("momentum", "velocity")  # Adam's moments, of each weight
MAX_ATTRIBUTE = 64000  # bytes
NAME = re.compile(r"checkpoint\.(\d+)-.*\.hdf5")


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint file holds.

    Args:
        path: the file.
        weights: name to float32 array, correlation kernels, `Config.weight_shapes`
            order.
        convention: the file's kernel convention, "theano" or "tensorflow".
        backend: the backend the file names, or None.
        keras_version: as the file says, or None.
        epoch: epochs trained, from the file or its name, or None.
        state: what resuming needs (scalars) of files of this program, else empty.
        slots: optimizer moments by "<slot>/<weight name>", correlation kernels.
    """

    path: pathlib.Path
    weights: dict
    convention: str
    backend: str | None
    keras_version: str | None
    epoch: int | None
    state: dict
    slots: dict


def find_session(config_path: os.PathLike, config: Config) -> pathlib.Path:
    """The session's folder: where the config lies, if checkpoints lie beside it.

    Otherwise it is `training.path`, relative to the working folder.
    """
    folder = pathlib.Path(config_path).resolve().parent
    if (folder / "checkpoints").is_dir():
        return folder
    return pathlib.Path(config.session_path)


def find_latest(session: os.PathLike) -> pathlib.Path:
    """The checkpoint of the highest epoch in its name, else the only `.hdf5` file.

    Raises:
        UserError: there is none, or several without an epoch in their names.
    """
    folder = pathlib.Path(session) / "checkpoints"
    files = sorted(folder.glob("*.hdf5")) if folder.is_dir() else []
    files = [path for path in files if not path.name.startswith(".")]
    numbered = [(epoch_of(path), path) for path in files if epoch_of(path) is not None]
    if numbered:
        return max(numbered)[1]
    if len(files) == 1:
        return files[0]
    if files:
        raise UserError(
            f"{folder}: expected names like checkpoint.00012-0.034.hdf5, got "
            f"{', '.join(path.name for path in files[:4])}; choose one with "
            "--load_checkpoint"
        )
    raise UserError(
        f"{folder}: expected a checkpoint (*.hdf5), found none; put one there or name "
        "one with --load_checkpoint"
    )


def check_session(session: pathlib.Path, config: Config) -> None:
    """See that a session's network does not change under its checkpoints.

    Raises:
        UserError: its config.json describes another network.
    """
    path = session / "config.json"
    if not path.is_file():
        return
    there = parse_config(util.read_json(path), str(path), config.task_name)
    if there.weight_shapes != config.weight_shapes:
        raise UserError(
            f"{path} describes another network ({there.num_params} parameters) than "
            f"this configuration ({config.num_params}); choose a new training.path"
        )


def epoch_of(path: pathlib.Path) -> int | None:
    """The epoch in a checkpoint's name, or None."""
    match = NAME.fullmatch(path.name)
    return int(match.group(1)) if match else None


def read_checkpoint(
    path: os.PathLike, config: Config, convention: str | None = None
) -> Checkpoint:
    """Read and check all the weights that `config` describes.

    Args:
        path: the file.
        config: the session's configuration.
        convention: kernel convention to assume, "theano" or "tensorflow", whatever
            the file says. Defaults to what the file says.

    Raises:
        UserError: not a checkpoint, or one of another network; the message names
            the first layer that differs and both shapes.
    """
    path = pathlib.Path(path)
    with hdf5.opened(path) as source:
        group = checkpoint_layers.weights_group(source)
        backend, version = checkpoint_layers.origin(source.file, group)
        convention = convention or CONVENTIONS.get(backend or "")
        if convention is None:
            raise UserError(
                f"{path}: expected the attribute backend to be one of "
                f"{', '.join(CONVENTIONS)}, got {shown(backend)}; say how its kernels "
                "are stored with --kernel_convention theano or tensorflow"
            )
        layers = checkpoint_layers.layers_of(source, group)
        stored = checkpoint_layers.match(layers, config, path)
        flip = convention == "theano"
        weights = {
            name: _read(stored[name], shape, flip, f"{path}: {name}")
            for name, shape in config.weight_shapes.items()
        }
        state, slots = _read_state(source, config, flip)
    epoch = state.get("epoch", epoch_of(path))
    return Checkpoint(path, weights, convention, backend, version, epoch, state, slots)


def write_checkpoint(
    path: os.PathLike,
    weights: dict,
    *,
    state: dict | None = None,
    slots: dict | None = None,
) -> None:
    """Write weights in the layout of Keras 2.1, atomically.

    Args:
        path: the file; written under a temporary name first.
        weights: name to array, as `Checkpoint.weights`.
        state: scalars that resuming needs. Defaults to none.
        slots: optimizer moments, as `Checkpoint.slots`. Defaults to none.
    """
    layers: dict = {}
    for name, array in weights.items():
        layer, kind = name.rsplit("/", 1)
        layers.setdefault(layer, {})[kind] = array
    # Made in memory: HDF5 takes a full disk badly, with complaints and without an end.
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        group = file.create_group("model_weights")
        for place in (file, group):
            # Correlation kernels, by the name that Keras of 2018 knows them by.
            place.attrs["backend"] = np.bytes_("tensorflow")
            place.attrs["keras_version"] = np.bytes_(
                importlib.metadata.version("keras")
            )
        names = np.array([np.bytes_(layer) for layer in layers])
        # An attribute holds 64 KiB; like Keras, a longer list becomes several.
        pieces = math.ceil(names.nbytes / MAX_ATTRIBUTE)
        for k, piece in enumerate(np.array_split(names, pieces)):
            group.attrs[f"layer_names{k}" if pieces > 1 else "layer_names"] = piece
        for layer, arrays in layers.items():
            place = group.create_group(layer)
            paths = [f"{layer}/{kind}" for kind in arrays]
            place.attrs["weight_names"] = np.array([np.bytes_(name) for name in paths])
            for name, array in zip(paths, arrays.values()):
                place[name] = np.asarray(array, "float32")
        if state or slots:
            place = file.create_group(STATE_GROUP)
            for name, value in (state or {}).items():
                place.attrs[name] = value
            for name, array in (slots or {}).items():
                place[name] = np.asarray(array, "float32")
    util.write_bytes(path, content.getbuffer())


def _read(dataset: Any, shape: tuple, flip: bool, what: str) -> np.ndarray:
    array = hdf5.read_floats(dataset, shape, what)
    return np.ascontiguousarray(array[::-1]) if flip and array.ndim == 3 else array


def state_of(path: os.PathLike) -> dict:
    """The scalars that a training has saved in a checkpoint, by name.

    Raises:
        UserError: not an HDF5 file.
    """
    with hdf5.opened(pathlib.Path(path)) as source:
        return _scalars(dict(source.members(source.file)).get(STATE_GROUP))


def _scalars(group: Any) -> dict:
    return {name: hdf5.attribute(group, name) for name in getattr(group, "attrs", ())}


def _read_state(source: hdf5.Source, config: Config, flip: bool) -> tuple:
    group = dict(source.members(source.file)).get(STATE_GROUP)
    if group is None:
        return {}, {}
    state = _scalars(group)
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
    return state, slots


def describe(path: os.PathLike) -> str:
    """What a checkpoint file is: origin, convention, task, layers, one fact a line.

    Raises:
        UserError: not an HDF5 file, or one without layers.
    """
    path = pathlib.Path(path)
    with hdf5.opened(path) as source:
        file, group = source.file, checkpoint_layers.weights_group(source)
        backend, version = checkpoint_layers.origin(file, group)
        epoch = epoch_of(path)
        if STATE_GROUP in file:
            epoch = hdf5.attribute(file[STATE_GROUP], "epoch", epoch)
        shapes = {
            f"{layer}/{kind}": tuple(dataset.shape or ())
            for layer, arrays in checkpoint_layers.layers_of(source, group).items()
            for kind, dataset in arrays.items()
        }
        kind = "full model" if "model_weights" in file else "weights only"
        names = sorted(shapes, key=checkpoint_layers.network_order)
    if not names:
        raise UserError(f"{path}: expected layers with weights, found none")
    convention = CONVENTIONS.get(backend or "")
    outputs = (0, *shapes[names[-1]])[-1]
    tasks = [name for name, task in TASKS.items() if len(task.estimates) == outputs]
    kernels = {
        "theano": "theano (true convolution): flipped when read",
        "tensorflow": "tensorflow (correlation): read as they are",
        None: "not said: --kernel_convention is needed",
    }[convention]
    lines = [
        f"file           {path}",
        f"kind           {kind}",
        f"backend        {backend}",
        f"Keras version  {version}",
        f"kernels        {kernels}",
        f"task           {tasks[0] if tasks else 'unknown'} ({outputs} outputs)",
        f"epoch          {'unknown' if epoch is None else epoch}",
        f"parameters     {sum(math.prod(shape) for shape in shapes.values()):,}",
        *(f"  {name:<38} {shapes[name]}" for name in names),
    ]
    return "\n".join(lines)


def main() -> int:
    """Print what the file named on the command line is."""
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.stderr.write("usage: python -m sswavenet.checkpoints FILE\n")
        return 2
    try:
        standard_streams.write(describe(pathlib.Path(sys.argv[1])) + "\n")
    except BrokenPipeError:
        standard_streams.silence_stdout()  # whoever read it is gone
        return 1
    except UserError as error:
        sys.stderr.write(f"error: {' '.join(str(error).split())}\n")
        return 1
    return 0
