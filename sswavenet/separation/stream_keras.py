"""The network over one block of a stream as a Keras model.

The Wavenet is not causal, but it looks only so far ahead: with every convolution
delayed by its reach to the right it becomes a causal one whose output comes
`Config.context_length` samples late. Each layer keeps the last samples of its input,
so that no sample is computed twice, and a block may have any length.

    block --[2]--> conv --[2d]--> block 1 --[2d]--> ... --> ReLU --[4]--> head
                                   |skip --[d]--> + --> [d]--> + (delayed to match)

[n] stands for n samples of context that are kept from block to block. Before the
first sample all of them are zero, which is what silence leaves: no convolution of the
blocks has a bias.
"""

from __future__ import annotations

from typing import Any, Callable

import keras
import numpy as np

import layers
import models
from sswavenet.backend import compat, fast_layers
from sswavenet.config.session import Config

BLANK = "zeros"  # weights that wait for trained ones


def build_streaming_wavenet(config: Config, block_length: int) -> Any:
    """The network over one block of a stream, of `block_length` samples.

    A `keras.Model` from [block (batch, block_length), context, ...] to [estimates
    (batch, block_length, estimates), new context, ...]; contexts have the shape (batch,
    length, channels). The weights are named as in `models.build_wavenet`, and zero: to
    draw some would take as long as all else.
    """
    block = keras.layers.Input(shape=(block_length,), name="data_input")
    before: list = []
    after: list = []

    def extended(x: Any, length: int) -> Any:
        """`x` with the last `length` samples that came before it."""
        if not length:
            return x
        channels = compat.shape_of(x)[2]
        context = keras.layers.Input(shape=(length, channels))
        both = keras.layers.Concatenate(axis=1)([context, x])
        before.append(context)
        # Contexts have one type, whatever the layers compute in.
        after.append(layers.CropTime(block_length, length, dtype="float32")(both))
        return both

    side = config.filter_length // 2
    x = keras.layers.Reshape((block_length, 1))(block)
    x = layers.padded_conv(
        extended(x, 2 * side),
        config.residual_channels,
        config.filter_length,
        (0, 0),
        "initial_causal_conv",
        kernel_initializer=BLANK,
    )
    skips = None
    dilations = config.dilations * config.num_stacks
    for number, (name, dilation) in enumerate(zip(config.block_names, dilations), 1):
        reach = side * dilation
        slab = extended(x, 2 * reach)
        residual, skip = layers.gated_unit(
            slab,
            config.residual_channels,
            config.skip_channels,
            config.filter_length,
            dilation,
            (0, 0),
            (name, f"conv1d_{number}"),
            kernel_initializer=BLANK,
        )
        x = keras.layers.Add()([layers.CropTime(reach, block_length)(slab), residual])
        if skips is not None:
            delayed = layers.CropTime(0, block_length)(extended(skips, reach))
            skip = keras.layers.Add()([delayed, skip])
        skips = skip
    count = config.num_residual_blocks
    first, second = config.final_filter_lengths
    reach = first - 1 + second - 1
    x = extended(keras.layers.Activation("relu")(skips), reach)
    wide = keras.layers.Conv1D(
        config.final_channels[0],
        first,
        activation="relu",
        use_bias=False,
        name=f"conv1d_{count + 1}",
        kernel_initializer=BLANK,
    )
    narrow = fast_layers.MergedHead(
        config.final_channels[1],
        len(config.task.estimates),
        second,
        padding="valid",
        initializer=BLANK,
        name="merged_head",
    )
    # What is wide there is the more likely to stay in the cache the shorter it is.
    middle = block_length // 2
    parts = [
        narrow(wide(layers.CropTime(start, stop - start + reach)(x)))
        for start, stop in ((0, middle), (middle, block_length))
        if stop > start
    ]
    x = parts[0] if len(parts) == 1 else keras.layers.Concatenate(axis=1)(parts)
    return keras.Model([block, *before], [x, *after])


def build_streams(
    config: Config, weights: dict, block_length: int, precision: str = "float32"
) -> Callable[[], Callable[[np.ndarray], np.ndarray]]:
    """Streams on the running backend, which compiles once for all of them.

    Returns a function that begins a stream: a function from its next block
    (block_length,) to what the network puts out then, (estimates, block_length).
    """
    with compat.layers_in(precision):
        model = build_streaming_wavenet(config, block_length)
    models.load_weights(model, config, weights)
    run = compat.compiled(model, precision)
    silence = [
        np.zeros((1, *compat.shape_of(context)[1:]), np.float32)
        for context in model.inputs[1:]
    ]

    def begin() -> Callable[[np.ndarray], np.ndarray]:
        contexts = silence

        def step(block: np.ndarray) -> np.ndarray:
            nonlocal contexts
            estimates, *contexts = run([block[None], *contexts])
            return np.asarray(estimates, np.float32)[0].T

        return step

    return begin
