"""The residual block of the Wavenet and the small layers it is made of.

One block, on a slab of (batch, time, residual channels):

    input --+--> dilated conv --+--> tanh ----+
            |    (3, dilation d)|             * --> 1x1 conv --+--> skip, cropped
            |                   +--> sigmoid -+                |    to the target
            |                                                  v
            +---------------- crop --------------------------> + --> output

Every convolution is a "valid" one: a block puts out only what later blocks and the
target field still need. Zeros are added by hand in the one place where the 2018
framing reaches beyond the fragment, so the kept values are those of the "same"
convolutions of the original.

Reference: Rethage, Pons, Serra, "A Wavenet for Speech Denoising", arXiv 1706.07162.
"""

from __future__ import annotations

from typing import Any

import keras

from sswavenet.backend import compat, fused


class CropTime(keras.layers.Layer):
    """Keep `length` samples from `start` on.

    Args:
        start: first sample kept.
        length: samples kept.

    Input shape: (batch, time, channels). Output shape: (batch, length, channels).
    """

    def __init__(self, start: int, length: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.start = start
        self.length = length

    def call(self, inputs: Any) -> Any:
        return inputs[:, self.start : self.start + self.length, :]

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return (input_shape[0], self.length, input_shape[2])

    def get_config(self) -> dict:
        return {**super().get_config(), "start": self.start, "length": self.length}


class TakeChannels(keras.layers.Layer):
    """Keep the channels from `start` up to `stop`.

    Args:
        start: first channel kept.
        stop: one past the last channel kept.

    Input shape: (batch, time, channels). Output shape: (batch, time, stop - start).
    """

    def __init__(self, start: int, stop: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.start = start
        self.stop = stop

    def call(self, inputs: Any) -> Any:
        return inputs[:, :, self.start : self.stop]

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return (input_shape[0], input_shape[1], self.stop - self.start)

    def get_config(self) -> dict:
        return {**super().get_config(), "start": self.start, "stop": self.stop}


class Gate(keras.layers.Layer):
    """The tanh of the first half of the channels times the sigmoid of the second.

    Input shape: (batch, time, 2 * channels). Output shape: (batch, time, channels).
    """

    def call(self, inputs: Any) -> Any:
        half = compat.shape_of(inputs)[2] // 2
        return compat.tanh(inputs[:, :, :half]) * compat.sigmoid(inputs[:, :, half:])

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return (*input_shape[:2], input_shape[2] // 2)


class TakeChannel(keras.layers.Layer):
    """One channel as a signal.

    Args:
        channel: the channel taken.

    Input shape: (batch, time, channels). Output shape: (batch, time).
    """

    def __init__(self, channel: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.channel = channel

    def call(self, inputs: Any) -> Any:
        return inputs[:, :, self.channel]

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return tuple(input_shape[:2])

    def get_config(self) -> dict:
        return {**super().get_config(), "channel": self.channel}


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


def padded_conv(
    x: Any,
    filters: int,
    filter_length: int,
    padding: tuple,
    name: str,
    gathered: bool = False,
    **kwargs: Any,
) -> Any:
    """A convolution without bias after zeros on both sides.

    Args:
        x: (batch, time, channels).
        filters: channels put out.
        filter_length: samples the kernel spans, before dilation.
        padding: zeros added before and after.
        name: the layer's name.
        gathered: whether to compute it as a `GatheredConv1D`. Defaults to False.
        **kwargs: more arguments of Conv1D.

    Returns:
        (batch, time + sum(padding) - dilation * (filter_length - 1), filters).
    """
    if any(padding):
        x = keras.layers.ZeroPadding1D(padding)(x)
    layer = GatheredConv1D if gathered else keras.layers.Conv1D
    return layer(
        filters, filter_length, padding="valid", use_bias=False, name=name, **kwargs
    )(x)


def residual_block(
    x: Any,
    skips: Any,
    *,
    skip_channels: int,
    filter_length: int,
    dilation: int,
    padding: tuple,
    crop: tuple,
    skip_crop: tuple,
    names: tuple,
    is_last: bool = False,
    compiled: str | None = None,
    gathered: bool = False,
) -> tuple:
    """One block; see the diagram at the top of the module.

    Args:
        x: (batch, time, residual channels), the slab that the block needs.
        skips: the sum of the skips of the blocks before, None for the first.
        skip_channels: channels of the skip output.
        filter_length: taps of the dilated convolution.
        dilation: samples between taps.
        padding: zeros added on each side before the dilated convolution.
        crop: start and length of the output's samples within `x`.
        skip_crop: start and length of the skip's samples within the output.
        names: of the dilated and of the 1x1 convolution.
        is_last: whether nobody needs the output.
        compiled: precision of a `FusedBlock` to run it as. Defaults to other layers.
        gathered: whether convolutions are `GatheredConv1D`. Defaults to False.

    Returns:
        (output, skips): (batch, crop length, residual channels) and the sum with this
        block's skip, (batch, skip length, skip channels).
    """
    if compiled:
        if any(padding):
            x = keras.layers.ZeroPadding1D(padding)(x)
        block = FusedBlock(
            skip_channels, dilation, skip_crop, not is_last, compiled, names
        )
        return block([x] if skips is None else [x, skips])
    channels = compat.shape_of(x)[2]
    residual, skip = gated_unit(
        x,
        channels,
        skip_channels,
        filter_length,
        dilation,
        padding,
        names,
        gathered=gathered,
    )
    skip = CropTime(*skip_crop)(skip)
    skips = skip if skips is None else keras.layers.Add()([skips, skip])
    return keras.layers.Add()([CropTime(*crop)(x), residual]), skips


def gated_unit(
    x: Any,
    channels: int,
    skip_channels: int,
    filter_length: int,
    dilation: int,
    padding: tuple,
    names: tuple,
    **kwargs: Any,
) -> tuple:
    """The convolutions of a block: what it adds to its input, and its skip.

    Args:
        x: (batch, time, channels).
        channels: residual channels.
        skip_channels: channels of the skip output.
        filter_length: taps of the dilated convolution.
        dilation: samples between taps.
        padding: zeros added on each side before the dilated convolution.
        names: of the dilated and of the 1x1 convolution.
        **kwargs: more arguments of both.

    Returns:
        (residual, skip): (batch, time', channels) and (batch, time', skip channels).
    """
    gate = padded_conv(
        x,
        2 * channels,
        filter_length,
        padding,
        names[0],
        dilation_rate=dilation,
        **kwargs,
    )
    both = padded_conv(
        Gate()(gate), channels + skip_channels, 1, (0, 0), names[1], **kwargs
    )
    return (
        TakeChannels(0, channels)(both),
        TakeChannels(channels, channels + skip_channels)(both),
    )
