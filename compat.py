"""The few places where Keras 3 and Keras 2.3 (Theano) differ.

Everything else in the program uses only what both share: the functional model,
Conv1D, ZeroPadding1D, Reshape, Activation, Multiply, Add and small custom layers.
"""

from __future__ import annotations

from typing import Any

import keras

IS_KERAS_3 = int(keras.__version__.split(".")[0]) >= 3

if IS_KERAS_3:
    from keras import ops

    matmul = ops.matmul
    transpose = ops.transpose
    reshape = ops.reshape
    mean = ops.mean
    absolute = ops.abs
    square = ops.square
    GeneratorBase = keras.utils.PyDataset

    def pad_time(x: Any, left: int, right: int) -> Any:
        """Zeros before and after axis 1 of (batch, time, channels)."""
        return ops.pad(x, ((0, 0), (left, right), (0, 0)))

else:
    from keras import backend

    matmul = backend.dot
    transpose = backend.permute_dimensions
    reshape = backend.reshape
    mean = backend.mean
    absolute = backend.abs
    square = backend.square
    GeneratorBase = keras.utils.Sequence

    def pad_time(x: Any, left: int, right: int) -> Any:
        """Zeros before and after axis 1 of (batch, time, channels)."""
        return backend.temporal_padding(x, (left, right))


def backend_name() -> str:
    """The running backend: jax, torch, tensorflow or theano."""
    return keras.backend.backend()


def kernel_convention() -> str:
    """How the backend's Conv1D reads a kernel: `theano` flips it, others do not."""
    return "theano" if backend_name() == "theano" else "tensorflow"


def add_weight(layer: Any, name: str, shape: tuple, initializer: str) -> Any:
    """`layer.add_weight` with arguments that both versions understand."""
    return layer.add_weight(
        name=name, shape=shape, initializer=initializer, trainable=True
    )
