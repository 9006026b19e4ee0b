"""The layers in a checkpoint file, whatever program laid them out.

    Keras 2, 2018's program and ours:  [model_weights/]<layer>/<layer>/kernel, bias
    Keras 3 (.weights.h5, .keras):     layers/<class>_<k>/vars/0, 1; the attribute
                                       `name` of `vars` is the layer's

Layers are mapped by name: the first and the dilated convolutions have names of their
own, the `conv1d_{k}` are taken in numeric order. Where two arrays could be meant, the
file is refused.
"""

from __future__ import annotations

import dataclasses
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
KINDS = {"0": "kernel", "1": "bias"}  # what Keras 3 numbers
MERGED_HEAD = "merged_head"  # holds the last two convolutions, see `MergedHead`


@dataclasses.dataclass(frozen=True)
class Contents:
    """What a file of weights holds."""

    kind: str  # of file, for people
    backend: str | None  # what it names as its backend, or None
    keras_version: str | None
    # Of its kernels, "theano" or "tensorflow"; None where it says none
    convention: str | None
    # Layer name to {"kernel": dataset, "bias": dataset}, of those that have any
    layers: dict


def contents(source: hdf5.Source) -> Contents:
    """Find out what lies in an open file; no array is read.

    Raises UserError where arrays have names that leave open which one is meant.
    """
    top = dict(source.members(source.file))
    if "model_weights" not in top and isinstance(top.get("layers"), h5py.Group):
        # It names no backend: those of Keras 3 all compute correlations.
        found = _layers_of_keras3(source, top["layers"])
        return Contents("Keras 3", None, "3", "tensorflow", found)
    group = top.get("model_weights", source.file)
    names = ("backend", "keras_version")
    # An attribute may be anything; whoever reads it knows a few words only.
    backend, version = (
        None if value is None else str(value)
        for value in (
            hdf5.attribute(group, name, hdf5.attribute(source.file, name))
            for name in names
        )
    )
    kind = "weights only" if group is source.file else "full model"
    convention = CONVENTIONS.get(backend or "")
    found = _layers_of_keras2(source, group)
    return Contents(kind, backend, version, convention, found)


def _layers_of_keras2(source: hdf5.Source, group: Any) -> dict:
    layers: dict = {}
    for layer, item in source.members(group):
        if not isinstance(item, h5py.Group) or layer in (STATE_GROUP, OPTIMIZER_GROUP):
            continue
        for name, dataset in source.datasets(item):
            kind = name.rsplit("/", 1)[-1].split(":")[0]
            _add(layers, layer, kind, dataset, source)
    return layers


def _layers_of_keras3(source: hdf5.Source, group: Any) -> dict:
    layers: dict = {}
    for place, item in source.members(group):
        inner = dict(source.members(item)) if isinstance(item, h5py.Group) else {}
        if not isinstance(inner.get("vars"), h5py.Group):
            continue
        layer = str(hdf5.attribute(inner["vars"], "name", place))
        for name, dataset in source.members(inner["vars"]):
            _add(layers, layer, KINDS.get(name, name), dataset, source)
    if MERGED_HEAD in layers:
        head, last = layers.pop(MERGED_HEAD), max(map(_number, layers))
        layers[f"conv1d_{last + 1}"] = {"kernel": head["kernel"]}
        layers[f"conv1d_{last + 2}"] = {"kernel": head["bias"], "bias": head["2"]}
    return layers


def _add(
    layers: dict, layer: str, kind: str, dataset: Any, source: hdf5.Source
) -> None:
    arrays = layers.setdefault(layer, {})
    if kind in arrays:
        raise UserError(
            f"{source.path}: expected one {kind} in the layer {layer}, got "
            f"{arrays[kind].name} and {dataset.name}"
        )
    arrays[kind] = dataset


def _number(layer: str) -> int:
    """Of a layer `conv1d` or `conv1d_{k}`; -1 of others."""
    match = re.fullmatch(r"conv1d(?:_([1-9]\d*))?", layer)
    return int(match.group(1) or 0) if match else -1


def match(layers: dict, config: Config, path: pathlib.Path) -> dict:
    """Expected weight name to the file's dataset.

    Dilated convolutions are found by name; the `conv1d_{k}` in numeric order, since
    their numbering depends on what else the writing process had built before.
    """
    convs = sorted((name for name in layers if _number(name) >= 0), key=_number)
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
