"""Separate a stream: samples in, finished stem samples out, context kept in between.

The Wavenet is not causal, but it looks only so far ahead: with every convolution
delayed by its reach to the right it becomes a causal one whose output comes
`Config.context_length` samples late. Each layer keeps the last samples of its input,
so that no sample is computed twice, and a block may have any length.

    block --[2]--> conv --[2d]--> block 1 --[2d]--> ... --> ReLU --[2]--> head
                                   |skip --[d]--> + --> [d]--> + (delayed to match)

[n] stands for n samples of context that are kept from block to block. Before the
first sample all of them are zero, which is what silence leaves: no convolution of the
blocks has a bias.
"""

from __future__ import annotations

import concurrent.futures
from typing import Any, BinaryIO, Callable

import keras
import numpy as np

import compat
import layers
import models
from config import Config, UserError

# Samples of a block: few enough for a layer's channels to stay in the cache of one
# core, measured on the full-size network.
BLOCK_LENGTH = 1600


def build_streaming_wavenet(config: Config, block_length: int) -> Any:
    """The network over one block of a stream.

    Args:
        config: the session's configuration.
        block_length: samples of a block, at least 1.

    Returns:
        A `keras.Model` from [block (batch, block_length), context, ...] to
        [estimates (batch, block_length, estimates), new context, ...]; the contexts
        have the shapes of `context_shapes`. The weights are named as in
        `models.build_wavenet`.
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
        after.append(layers.CropTime(block_length, length)(both))
        return both

    side = config.filter_length // 2
    x = keras.layers.Reshape((block_length, 1))(block)
    x = layers.padded_conv(
        extended(x, 2 * side),
        config.residual_channels,
        config.filter_length,
        (0, 0),
        "initial_causal_conv",
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
        )
        x = keras.layers.Add()([layers.CropTime(reach, block_length)(slab), residual])
        if skips is not None:
            delayed = layers.CropTime(0, block_length)(extended(skips, reach))
            skip = keras.layers.Add()([delayed, skip])
        skips = skip
    count = config.num_residual_blocks
    first, second = config.final_filter_lengths
    x = extended(keras.layers.Activation("relu")(skips), first - 1)
    x = layers.padded_conv(
        x, config.final_channels[0], first, (0, 0), f"conv1d_{count + 1}"
    )
    x = extended(keras.layers.Activation("relu")(x), second - 1)
    x = layers.MergedHead(
        config.final_channels[1],
        len(config.task.estimates),
        second,
        padding="valid",
        name="merged_head",
    )(x)
    return keras.Model([block, *before], [x, *after])


def context_shapes(model: Any) -> list:
    """Shapes (length, channels) of the contexts that a streaming model keeps."""
    return [tuple(compat.shape_of(context)[1:]) for context in model.inputs[1:]]


def build_step(
    config: Config, weights: dict, block_length: int
) -> tuple[Callable[[np.ndarray, list], tuple], list]:
    """A function that moves a stream on by one block.

    Args:
        config: the session's configuration.
        weights: arrays by the names of `config.weight_shapes`.
        block_length: samples of a block.

    Returns:
        The function from (block (block_length,), contexts) to (estimates (estimates,
        block_length), new contexts), and the contexts of silence to begin with.
    """
    model = build_streaming_wavenet(config, block_length)
    models.load_weights(model, config, weights)
    run = compat.compiled(model)

    def step(block: np.ndarray, contexts: list) -> tuple:
        estimates, *contexts = run([block[None], *contexts])
        return np.asarray(estimates)[0].T, contexts

    silence = [np.zeros((1, *shape), np.float32) for shape in context_shapes(model)]
    return step, silence


def build_predict(
    config: Config,
    weights: dict,
    *,
    target_field_length: int,
    target_padding: int,
    input_length: int,
    num_threads: int = 1,
) -> Callable[[np.ndarray], np.ndarray]:
    """What `models.build_predict` makes for seamless framing, for processors.

    Each fragment is run as a stream of short blocks, which stay in the processor's
    cache, and the fragments of a batch run side by side.

    Args:
        config: the session's configuration.
        weights: arrays by the names of `config.weight_shapes`.
        target_field_length: samples.
        target_padding: samples put out on each side of it, zeros here.
        input_length: target_field_length + 2 * config.context_length.
        num_threads: fragments run at a time. Defaults to 1.

    Returns:
        A function from (batch, input_length) to (estimates, batch, padded target
        field), float32.
    """
    context = config.context_length
    num_blocks = -(-input_length // BLOCK_LENGTH)
    size = -(-input_length // num_blocks)
    step, silence = build_step(config, weights, size)
    field = slice(target_padding, target_padding + target_field_length)

    def run(fragment: np.ndarray, output: np.ndarray) -> None:
        fragment = np.pad(fragment, (0, num_blocks * size - input_length))
        # What silence leaves is known, so a fragment's silent beginning is left out
        # as far as nothing of the target field falls into it.
        sounding = np.flatnonzero(fragment)
        silent = sounding[0] if len(sounding) else input_length
        first = min(silent, 2 * context) // size
        contexts, parts = silence, []
        for k in range(first, num_blocks):
            estimates, contexts = step(fragment[k * size : (k + 1) * size], contexts)
            parts.append(estimates)
        start = 2 * context - first * size
        stream = np.concatenate(parts, axis=1)
        output[:, field] = stream[:, start : start + target_field_length]

    def predict(fragments: np.ndarray) -> np.ndarray:
        padded = target_field_length + 2 * target_padding
        shape = (len(config.task.estimates), len(fragments), padded)
        outputs = np.zeros(shape, np.float32)
        with concurrent.futures.ThreadPoolExecutor(num_threads) as pool:
            rows = [outputs[:, row] for row in range(len(fragments))]
            list(pool.map(run, fragments, rows))
        return outputs

    return predict


class StreamingSeparator:
    """Separates one stream of mono samples at the model's rate.

    Stem samples come out `config.context_length` samples after the mixture's, plus
    what is missing to a whole block. The stems, remainder included, sum to the
    mixture.

    Args:
        config: the session's configuration.
        weights: arrays by the names of `config.weight_shapes`.
        block_length: samples that the network takes at a time. Defaults to
            `BLOCK_LENGTH`.
    """

    def __init__(self, config: Config, weights: dict, block_length: int = BLOCK_LENGTH):
        self.config = config
        self.block_length = block_length
        self._step, self._silence = build_step(config, weights, block_length)
        self.reset()

    def reset(self) -> None:
        """Begin a new stream."""
        self._contexts = self._silence
        self._waiting = np.zeros(0, np.float32)  # not yet a whole block
        self._mixture = np.zeros(0, np.float32)  # whose stems are still to come
        self._to_drop = self.config.context_length

    def push(self, samples: np.ndarray) -> np.ndarray:
        """Add samples to the stream.

        Args:
            samples: shape (frames,), any number of them, full scale 1.0.

        Returns:
            The stem samples that are finished now, in the order of `Task.stems`:
            shape (stems, frames'), float32; frames' may be 0.
        """
        samples = np.asarray(samples, np.float32)
        self._mixture = np.concatenate([self._mixture, samples])
        return self._advance(samples)

    def finish(self) -> np.ndarray:
        """End the stream; the rest of the stems, as `push` returns them."""
        remaining = len(self._mixture)
        silence = self.config.context_length + self.block_length
        rest = self._advance(np.zeros(silence, np.float32))[:, :remaining]
        self.reset()
        return rest

    def _advance(self, samples: np.ndarray) -> np.ndarray:
        self._waiting = np.concatenate([self._waiting, samples])
        size, parts = self.block_length, []
        while len(self._waiting) >= size:
            block, self._waiting = self._waiting[:size], self._waiting[size:]
            estimates, self._contexts = self._step(block, self._contexts)
            late = min(self._to_drop, size)
            self._to_drop -= late
            parts.append(estimates[:, late:])
        num_estimates = len(self.config.task.estimates)
        estimates = np.concatenate([np.zeros((num_estimates, 0), "f4"), *parts], axis=1)
        estimates = estimates[:, : len(self._mixture)]
        count = estimates.shape[1]
        mixture, self._mixture = self._mixture[:count], self._mixture[count:]
        remainder = mixture - estimates.sum(axis=0)
        return np.concatenate([estimates, remainder[None]])


def pipe(separator: StreamingSeparator, source: BinaryIO, sink: BinaryIO) -> None:
    """Separate raw samples as they come.

    Args:
        separator: at the beginning of a stream.
        source: mono float32 samples, in the byte order of the machine.
        sink: gets the stems' samples interleaved, float32, as soon as they are
            finished.

    Raises:
        UserError: the source ends within a sample.
    """
    rest = b""
    while chunk := source.read1(4 * separator.block_length):  # type: ignore[attr-defined]
        data = rest + chunk
        whole = len(data) // 4 * 4
        data, rest = data[:whole], data[whole:]
        stems = separator.push(np.frombuffer(data, np.float32))
        sink.write(np.ascontiguousarray(stems.T).tobytes())
        sink.flush()
    if rest:
        raise UserError(
            f"expected whole float32 samples on stdin, got {len(rest)} bytes more"
        )
    sink.write(np.ascontiguousarray(separator.finish().T).tobytes())
    sink.flush()
