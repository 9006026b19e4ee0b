"""Write checkpoints in the layout of the 2018 program, which can load them, too."""

from __future__ import annotations

import importlib.metadata
import io
import math
import os

import h5py
import numpy as np

import util
from sswavenet.checkpoints.layout import STATE_GROUP

MAX_ATTRIBUTE = 64000  # bytes


def write_checkpoint(
    path: os.PathLike,
    weights: dict,
    *,
    state: dict | None = None,
    slots: dict | None = None,
) -> None:
    """Write weights in the layout of Keras 2.1, atomically.

    Arrays are by name, as in `Checkpoint`; `state` holds scalars that resuming needs.
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
