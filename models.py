"""The Wavenet for music source separation as a Keras functional model.

    mixture fragment (input_length samples)
      -> conv (3) -> residual block 1 -> block 2 -> ... -> block n
                          |skip           |skip             |skip
                          +------ sum of skips <------------+
      -> ReLU -> conv (3) -> ReLU -> conv (3) -> conv (1) + bias
      -> padded target field, one channel per estimate

Non-causal: every output sample sees as much of the future as of the past. One
builder makes every variant; the 2018 framing and the seamless one differ only in
the input length and the target padding.

Reference: Lluis, Pons, Serra, arXiv 1810.12187.
"""

from __future__ import annotations

import contextlib
import importlib
import io
from typing import Any, Callable

import keras
import numpy as np

import layers
from sswavenet.backend import compat, fast_layers
from sswavenet.config.session import Config
from sswavenet.console import streams


def build_wavenet(
    config: Config,
    *,
    target_field_length: int | None = None,
    target_padding: int | None = None,
    input_length: int | None = None,
    merged_head: bool = True,
    compiled: str | None = None,
    gathered: bool = False,
) -> Any:
    """Build the network, with fresh weights.

    Args:
        config: the session's configuration.
        target_field_length: samples. Defaults to the config's.
        target_padding: samples put out on each side of the target field. Defaults
            to the config's.
        input_length: samples of a fragment; input_length - target_field_length must
            be even. Defaults to receptive field + target field - 1.
        merged_head: whether the last two convolutions run as one (the same values
            to float rounding).
        compiled: precision in which blocks and head run as compiled code, where
            `fused.available`; the head is merged then. Defaults to layers.
        gathered: whether convolutions run as products of their taps side by side,
            which trains faster on a GPU. Defaults to False.

    Returns:
        A `keras.Model` from `data_input` (batch, input_length) to one output
        `data_output_k` (batch, target field + 2 * padding) per supervised stem;
        for singing-voice both are the same estimate.
    """
    field = target_field_length or config.target_field_length
    padding = config.target_padding if target_padding is None else target_padding
    length = input_length or config.receptive_field_length + field - 1
    start = (length - field) // 2
    if start < padding or (length - field) % 2:
        raise ValueError(
            f"input_length must exceed target_field_length by an even number of at "
            f"least {2 * padding}, got {length} and {field}"
        )
    target = (start - padding, start + field + padding)
    side = config.filter_length // 2
    dilations = config.dilations * config.num_stacks
    spans = _spans(target, dilations, side, length)

    data = keras.layers.Input(shape=(length,), name="data_input")
    x = keras.layers.Reshape((length, 1))(data)
    whole = (0, length)
    first = (max(0, spans[0][0] - side), min(length, spans[0][1] + side))
    x = _crop(x, whole, first)
    x = layers.padded_conv(
        x,
        config.residual_channels,
        config.filter_length,
        _zeros(first, spans[0], side),
        "initial_causal_conv",
        gathered,
    )
    skips = None
    for block, (name, dilation) in enumerate(zip(config.block_names, dilations)):
        needed, given = spans[block + 1], spans[block]
        x, skips = layers.residual_block(
            x,
            skips,
            skip_channels=config.skip_channels,
            filter_length=config.filter_length,
            dilation=dilation,
            padding=_zeros(given, needed, side * dilation),
            crop=(needed[0] - given[0], needed[1] - needed[0]),
            skip_crop=(target[0] - needed[0], target[1] - target[0]),
            names=(name, f"conv1d_{block + 1}"),
            is_last=block + 1 == len(dilations),
            compiled=compiled,
            gathered=gathered,
        )
    if compiled:
        x = fast_layers.FusedHead(
            config.final_channels[0], compiled, **_merged(config)
        )(skips)
    else:
        x = _head(skips, config, merged_head, gathered)
    return keras.Model(
        data,
        [
            layers.TakeChannel(
                min(k, len(config.task.estimates) - 1),
                name=f"data_output_{k + 1}",
                dtype="float32",
            )(x)
            for k in range(len(config.task.supervised))
        ],
    )


def _spans(target: tuple, dilations: tuple, side: int, length: int) -> list:
    """What each block must be given, within the fragment, and the target last."""
    spans = [target]
    for dilation in reversed(dilations):
        start, stop = spans[0]
        reach = side * dilation
        spans.insert(0, (max(0, start - reach), min(length, stop + reach)))
    return spans


def _zeros(given: tuple, needed: tuple, reach: int) -> tuple:
    """Zeros that a convolution reaching `reach` samples finds beyond the fragment."""
    return (given[0] - (needed[0] - reach), needed[1] + reach - given[1])


def _crop(x: Any, given: tuple, needed: tuple) -> Any:
    if given == needed:
        return x
    return layers.CropTime(needed[0] - given[0], needed[1] - needed[0])(x)


def _merged(config: Config) -> dict:
    return {
        "hidden": config.final_channels[1],
        "outputs": len(config.task.estimates),
        "filter_length": config.final_filter_lengths[1],
        "name": "merged_head",
    }


def _head(x: Any, config: Config, merged: bool, gathered: bool) -> Any:
    count, outputs = config.num_residual_blocks, len(config.task.estimates)
    first, second = config.final_filter_lengths
    x = keras.layers.Activation("relu")(x)
    x = layers.padded_conv(
        x,
        config.final_channels[0],
        first,
        (first // 2,) * 2,
        f"conv1d_{count + 1}",
        gathered,
    )
    x = keras.layers.Activation("relu")(x)
    if merged:
        return fast_layers.MergedHead(**_merged(config))(x)
    x = layers.padded_conv(
        x, config.final_channels[1], second, (second // 2,) * 2, f"conv1d_{count + 2}"
    )
    return keras.layers.Conv1D(outputs, 1, name=f"conv1d_{count + 3}")(x)


def weights_of(model: Any, config: Config) -> dict:
    """The model's weights by name, kernels in the correlation convention."""
    return read_arrays(model, config, model.trainable_weights)


def load_weights(model: Any, config: Config, weights: dict) -> None:
    """Put weights as `weights_of` gives them into a model built by `build_wavenet`."""
    write_arrays(model, config, model.trainable_weights, weights)


def read_arrays(model: Any, config: Config, variables: list) -> dict:
    """Variables that lie beside the trainable weights, as arrays by weight name.

    One for each of `model.trainable_weights`, in their order: the weights themselves or
    the optimizer's moments. Names and order are those of `config.weight_shapes`,
    kernels in the correlation convention.
    """
    arrays = {}
    for (name, flip), variable in zip(_weight_names(model, config), variables):
        array = compat.get_value(variable)
        arrays[name] = _flipped(array) if flip else array
    return {name: arrays[name] for name in config.weight_shapes}


def write_arrays(model: Any, config: Config, variables: list, arrays: dict) -> None:
    """The inverse of `read_arrays`."""
    for (name, flip), variable in zip(_weight_names(model, config), variables):
        compat.set_value(variable, _flipped(arrays[name]) if flip else arrays[name])


def _weight_names(model: Any, config: Config) -> list:
    """(name, whether the backend wants it flipped) of each trainable weight."""
    count = config.num_residual_blocks
    flips = compat.kernel_convention() == "theano"
    names = []
    for layer in model.layers:
        if isinstance(layer, fast_layers.FusedBlock):
            names += [(f"{name}/kernel", False) for name in layer.names]
        elif isinstance(layer, fast_layers.MergedHead):
            if isinstance(layer, fast_layers.FusedHead):
                names += [(f"conv1d_{count + 1}/kernel", False)]
            names += [(f"conv1d_{count + 2}/kernel", False)]
            names += [
                (f"conv1d_{count + 3}/{kind}", False) for kind in ("kernel", "bias")
            ]
        elif isinstance(layer, keras.layers.Conv1D):
            names += [(f"{layer.name}/kernel", flips)]
            names += [(f"{layer.name}/bias", False)] if layer.use_bias else []
    return names


def _flipped(kernel: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(kernel[::-1])


def build_predict(
    config: Config, weights: dict, precision: str = "float32", **framing: Any
) -> Callable[[np.ndarray], np.ndarray]:
    """A function that runs the network, built with `framing`, on batches of fragments.

    From (batch, input_length) to (estimates, batch, padded target field), float32. It
    compiles once for each shape it is given.
    """
    with compat.layers_in(precision):
        model = build_wavenet(config, **framing)
    load_weights(model, config, weights)
    run = compat.compiled(model, precision)

    def predict(fragments: np.ndarray) -> np.ndarray:
        outputs = run([fragments])[: len(config.task.estimates)]
        return np.stack([np.asarray(output, np.float32) for output in outputs])

    return predict


def print_summary(model: Any) -> None:
    """Write the table of a model's layers to stdout."""
    lines: list[str] = []
    with contextlib.redirect_stdout(io.StringIO()):  # which Keras flushes all the same
        model.summary(print_fn=lambda line, **_: lines.append(line))
    streams.write("\n".join(lines) + "\n")


def describe_backend() -> str:
    """Backend, version and device, for logs."""
    name = compat.backend_name()
    version = importlib.import_module(name).__version__
    described = f"Keras {keras.__version__} on {name} {version}"
    if name != "jax":
        return described
    devices = compat.devices()
    return f"{described}, {len(devices)} x {devices[0].device_kind}"
