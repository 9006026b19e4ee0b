"""Layers that compute what the network's do, and train the same weights, but faster.

Two convolutions become one, and on a processor a block, or the whole head, one step of
compiled code; on a GPU a convolution becomes a matrix product.
"""

from __future__ import annotations

from typing import Any

import keras

from sswavenet.backend import compat, fused


class MergedHead(keras.layers.Layer):
    """The network's last two convolutions as one.

    Between the second head convolution (channels -> hidden, no bias) and the last
    one (hidden -> outputs, one sample long, bias) stands no activation, so their
    product is one convolution of channels -> outputs. The layer holds both kernels,
    trains both, and multiplies them at every step: the same function and the same
    gradients for a fraction of the work. The kernels follow the correlation
    convention on every backend.

    Args:
        hidden: channels between the two convolutions.
        outputs: channels put out.
        filter_length: samples the first of the two looks at, odd.
        padding: "same" adds zeros at both ends, "valid" does not. Defaults to "same".
        initializer: of both kernels. Defaults to "glorot_uniform".

    Input shape: (batch, time, channels). Output shape: (batch, time, outputs), or
    filter_length - 1 samples fewer without padding.
    """

    def __init__(
        self,
        hidden: int,
        outputs: int,
        filter_length: int,
        padding: str = "same",
        initializer: str = "glorot_uniform",
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.hidden = hidden
        self.outputs = outputs
        self.filter_length = filter_length
        self.padding = padding
        self.initializer = initializer

    def build(self, input_shape: tuple) -> None:
        self._build(input_shape[-1])

    def _build(self, channels: int) -> None:
        self.channels = channels
        self.first_kernel = self.add_weight(
            name="first_kernel",
            shape=(self.filter_length, self.channels, self.hidden),
            initializer=self.initializer,
        )
        self.last_kernel = self.add_weight(
            name="last_kernel",
            shape=(1, self.hidden, self.outputs),
            initializer=self.initializer,
        )
        self.bias = self.add_weight(
            name="bias", shape=(self.outputs,), initializer="zeros"
        )
        self.built = True

    def call(self, inputs: Any) -> Any:
        taps = self.filter_length
        margin = taps // 2 if self.padding == "same" else 0
        kernel = compat.matmul(self.first_kernel, self.last_kernel[0])
        # All taps in one product (channels -> taps * outputs), then shifted sums: a
        # convolution would first copy its input once per tap.
        kernel = compat.reshape(
            compat.transpose(kernel, (1, 0, 2)), (self.channels, taps * self.outputs)
        )
        products = compat.pad_time(self._products(inputs, kernel), margin, margin)
        time = self._length(compat.shape_of(inputs)[1])
        summed = self.bias
        for tap in range(taps):
            channels = slice(tap * self.outputs, (tap + 1) * self.outputs)
            summed = summed + products[:, tap : tap + time, channels]
        return summed

    def _products(self, inputs: Any, kernel: Any) -> Any:
        return compat.matmul(inputs, kernel)

    def _length(self, time: int) -> int:
        return time if self.padding == "same" else time - self.filter_length + 1

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return (input_shape[0], self._length(input_shape[1]), self.outputs)

    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "hidden": self.hidden,
            "outputs": self.outputs,
            "filter_length": self.filter_length,
            "padding": self.padding,
            "initializer": self.initializer,
        }


class FusedHead(MergedHead):
    """The whole head, its activations included, on compiled code.

    Args:
        first_hidden: channels after the first convolution, whose kernel it holds, too.
        precision: of the factors of its products, `float32` or `bfloat16`.
        **kwargs: the arguments of `MergedHead`, without padding.

    Input shape: (batch, time, skip channels), their sum. Output shape: (batch, time,
    outputs).
    """

    def __init__(self, first_hidden: int, precision: str, **kwargs: Any):
        super().__init__(**kwargs)
        self.first_hidden = first_hidden
        self.precision = precision

    def build(self, input_shape: tuple) -> None:
        self.filters = self.add_weight(
            name="filters",
            shape=(3, input_shape[-1], self.first_hidden),
            initializer="glorot_uniform",
        )
        self._build(self.first_hidden)

    def _products(self, inputs: Any, kernel: Any) -> Any:
        return fused.head(
            inputs, first=self.filters, last=kernel, precision=self.precision
        )


class FusedBlock(keras.layers.Layer):
    """A residual block and the sum of the skips in one step of compiled code.

    Args:
        skip_channels: channels of the skip output.
        dilation: samples between the three taps.
        skip_crop: start and length of the skip's samples within the output.
        residual: whether the output is wanted.
        precision: of the factors of its products, `float32` or `bfloat16`.
        names: of the dilated and of the 1x1 convolution whose kernels it holds.

    Inputs: [(batch, time, channels)] of the first block; with those that follow, the
    sum of the skips so far, too: (batch, skip length, skip channels). Outputs: (batch,
    time - 2 * dilation, channels) and the new sum.
    """

    def __init__(
        self,
        skip_channels: int,
        dilation: int,
        skip_crop: tuple,
        residual: bool,
        precision: str,
        names: tuple,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.skip_channels = skip_channels
        self.dilation = dilation
        self.skip_crop = skip_crop
        self.residual = residual
        self.precision = precision
        self.names = names

    def build(self, input_shape: Any) -> None:
        channels = input_shape[0][2]
        self.filters = self.add_weight(
            name="filters",
            shape=(3, channels, 2 * channels),
            initializer="glorot_uniform",
        )
        self.mixing = self.add_weight(
            name="mixing",
            shape=(1, channels, channels + self.skip_channels),
            initializer="glorot_uniform",
        )
        self.built = True

    def call(self, inputs: Any) -> Any:
        return fused.block(
            *inputs,
            filters=self.filters,
            mixing=self.mixing,
            dilation=self.dilation,
            skip_crop=self.skip_crop,
            residual=self.residual,
            precision=self.precision,
        )

    def compute_output_shape(self, input_shape: Any) -> tuple:
        batch, time, channels = input_shape[0]
        return (
            (batch, time - 2 * self.dilation, channels),
            (batch, self.skip_crop[1], self.skip_channels),
        )


class GatheredConv1D(keras.layers.Conv1D):
    """A "valid" convolution as one matrix product of its taps side by side.

    The same values and weights as `Conv1D`. On a GPU, products are fast forwards and
    backwards, where the gradients of convolutions with large dilations are not. Keras 3
    alone.

    Input shape: (batch, time, channels). Output shape: (batch, time - dilation *
    (kernel size - 1), filters).
    """

    def call(self, inputs: Any) -> Any:
        (dilation,), (taps,) = self.dilation_rate, self.kernel_size
        channels = inputs.shape[2]
        time = inputs.shape[1] - dilation * (taps - 1)
        gathered = keras.ops.concatenate(
            [inputs[:, k * dilation : k * dilation + time] for k in range(taps)], axis=2
        )
        kernel = keras.ops.reshape(self.kernel, (taps * channels, self.filters))
        return compat.matmul(gathered, kernel)
