"""The layers in a checkpoint file, whatever program laid them out.

Layers are mapped by name: the first and the dilated convolutions have names of their
own, the `conv1d_{k}` are taken in numeric order.
"""

from __future__ import annotations

import pathlib
import re
from typing import Any

import h5py

from sswavenet.checkpoints import hdf5
from sswavenet.config.session import Config
from util import UserError

# Backends that files name, and the convention of their kernels.
CONVENTIONS = {
    "theano": "theano",
    "tensorflow": "tensorflow",
    "cntk": "tensorflow",
    "jax": "tensorflow",
    "torch": "tensorflow",
}
# Groups beside the layers: this program's, and Keras's own.
STATE_GROUP = "training_state"
OPTIMIZER_GROUP = "optimizer_weights"


def weights_group(source: hdf5.Source) -> Any:
    """Where the layers lie: in a group of a full model, else in the file itself."""
    return dict(source.members(source.file)).get("model_weights", source.file)


def origin(file: Any, group: Any) -> tuple:
    """(backend, Keras version) that the weights' group names, else the file."""
    found = (
        hdf5.attribute(group, name, hdf5.attribute(file, name))
        for name in ("backend", "keras_version")
    )
    # An attribute may be anything; whoever reads it knows a few words only.
    return tuple(None if value is None else str(value) for value in found)


def layers_of(source: hdf5.Source, group: Any) -> dict:
    """Layer name to {"kernel": dataset, "bias": dataset} of those that have any."""
    layers = {}
    for layer, item in source.members(group):
        if not isinstance(item, h5py.Group) or layer in (
            STATE_GROUP,
            OPTIMIZER_GROUP,
        ):
            continue
        arrays = {
            name.rsplit("/", 1)[-1].split(":")[0]: dataset
            for name, dataset in source.datasets(item)
        }
        if arrays:
            layers[layer] = arrays
    return layers


def match(layers: dict, config: Config, path: pathlib.Path) -> dict:
    """Expected weight name to the file's dataset.

    Dilated convolutions are found by name; the `conv1d_{k}` in numeric order, since
    their numbering depends on what else the writing process had built before.
    """
    convs = sorted(
        (name for name in layers if re.fullmatch(r"conv1d(_\d+)?", name)),
        key=lambda name: int(name[7:] or 0),
    )
    expected_layers = list(dict.fromkeys(n.split("/")[0] for n in config.weight_shapes))
    expected_convs = [name for name in expected_layers if name.startswith("conv1d_")]
    if len(convs) != len(expected_convs):
        raise UserError(
            f"{path}: expected {len(expected_convs)} layers conv1d_* for "
            f"{config.num_residual_blocks} residual blocks, got {len(convs)}"
        )
    found = {**layers, **{e: layers[c] for e, c in zip(expected_convs, convs)}}
    unknown = [name for name in layers if name not in expected_layers + convs]
    stored = {}
    for name, shape in config.weight_shapes.items():
        layer, kind = name.split("/")
        if kind not in found.get(layer, {}):
            other = f"; it has {unknown[0]} instead" if unknown else ""
            raise UserError(
                f"{path}: expected layer {layer} with a {kind} of shape {shape}, "
                f"found none{other}"
            )
        if found[layer][kind].shape != shape:
            raise UserError(
                f"{path}: expected layer {layer} with a {kind} of shape {shape} for "
                f"{config.task_name}, got shape {found[layer][kind].shape}"
            )
        stored[name] = found[layer][kind]
    count = sum(len(found[layer]) for layer in expected_layers)
    if unknown or count != len(stored):
        extra = unknown[0] if unknown else "a layer with more weights"
        raise UserError(
            f"{path}: expected {len(expected_layers)} layers with weights, got more: "
            f"{extra}"
        )
    return stored


def network_order(name: str) -> tuple:
    """A key that sorts weights from the input to the output."""
    places = ("initial_causal_conv", "res", "conv1d")
    number = re.match(r"[a-z0-9]*?_(\d{1,9})", name)
    place = next((k for k, start in enumerate(places) if name.startswith(start)), 3)
    return (place, int(number.group(1)) if number else 0, name.endswith("/bias"), name)
