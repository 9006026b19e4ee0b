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

from sswavenet.backend import compat
from sswavenet.backend.fast_layers import FusedBlock, GatheredConv1D


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


def padded_conv(
    x: Any,
    filters: int,
    filter_length: int,
    padding: tuple,
    name: str,
    gathered: bool = False,
    **kwargs: Any,
) -> Any:
    """A convolution without bias after zeros on both sides of (batch, time, channels).

    `padding` counts the zeros before and after; the kernel spans `filter_length`
    samples before dilation. It is computed as a `GatheredConv1D` if gathered. Returns
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

    From (batch, time, channels), after zeros on each side, to (batch, time', channels)
    and (batch, time', skip channels). Names are those of the dilated and of the 1x1
    convolution, which share all further arguments.
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
