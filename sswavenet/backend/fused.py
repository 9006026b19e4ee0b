"""Residual blocks and the head as compiled code, for JAX on a processor.

XLA runs the convolutions, activations and sums of a block one after the other over the
whole fragment, each through memory; `fused.cc` does all of them on short stretches of
time that stay in the cache, and computes the gradients in the same way. Where it cannot
be compiled, `available` says so, and the network runs without it.

In `bfloat16` the factors of its products are rounded to that and their sums stay
float32, which AVX512_BF16 does up to twice and AMX ten times as fast as products of
float32.
"""

from __future__ import annotations

import ctypes
import functools
import logging
import pathlib
import subprocess
from typing import Any

import numpy as np

from sswavenet.backend import compat, compiling
from sswavenet.config.session import Config

logger = logging.getLogger(__name__)

SOURCE = compiling.FOLDER / "fused.cc"
BLOCK = ("WavenetBlockForward", "WavenetBlockBackward")
HEAD = ("WavenetHeadForward", "WavenetHeadBackward")
SUFFIXES = {"float32": "", "bfloat16": "Half"}
CHANNELS_STEP = 16  # channel counts must be multiples: floats of a vector register


def available(config: Config, precision: str = "float32") -> bool:
    """Whether all of this network can run here; what fails is logged."""
    channels = [config.residual_channels, config.skip_channels]
    channels.append(config.final_channels[0])
    return (
        compat.is_jax_on_cpu()
        and compat.num_devices() == 1  # a batch cannot be shared by custom calls
        and config.filter_length == config.final_filter_lengths[0] == 3
        and all(count % CHANNELS_STEP == 0 for count in channels)
        and precision in _registered()
    )


@functools.cache
def _registered() -> list:
    """The precisions that the compiled code, made known to XLA, computes in."""
    import jax

    precisions = []
    try:
        library = ctypes.CDLL(str(_library()))
        for precision, suffix in SUFFIXES.items():
            if not hasattr(library, BLOCK[0] + suffix):
                continue
            for target in (*BLOCK, *HEAD):
                function = jax.ffi.pycapsule(getattr(library, target + suffix))
                jax.ffi.register_ffi_target(target + suffix, function, platform="cpu")
            precisions.append(precision)
    except (OSError, AttributeError, subprocess.SubprocessError) as error:
        why = compiling.reason(error)
        logger.info("no compiled code, so training is slower: %s", why)
    return precisions


def _library() -> pathlib.Path:
    """The compiled library, as `compiling.build_library` keeps it."""
    import jax

    # Warnings of JAX's headers are not ours to mend.
    flags = ("-isystem", jax.ffi.include_dir(), f'-DJAX="{jax.__version__}"')
    return compiling.build_library(SOURCE, *flags)


def block(
    x: Any,
    skips: Any = None,
    *,
    filters: Any,
    mixing: Any,
    dilation: int,
    skip_crop: tuple,
    residual: bool,
    precision: str = "float32",
) -> tuple:
    """A residual block, without padding, of (batch, time, channels): output, skips.

    Filters of the dilated convolution are (3, channels, 2 * channels), those of the 1x1
    convolution (1, channels, channels + skip channels). `skips` is the sum over the
    blocks before, (batch, skip length, skip channels), by default zeros; `skip_crop` is
    start and length of its samples within the output, (batch, time - 2 * dilation,
    channels). An output that is not wanted as a residual holds anything, and its
    gradient is not looked at.
    """
    import jax.numpy as jnp

    filters, mixing = jnp.asarray(filters), jnp.asarray(mixing)
    start, length = skip_crop
    if skips is None:
        shape = (x.shape[0], length, mixing.shape[2] - x.shape[2])
        skips = jnp.zeros(shape, jnp.float32)
    settings = (dilation, start, residual)
    return _block(SUFFIXES[precision])(x, skips, filters, mixing, *settings)


def head(skips: Any, *, first: Any, last: Any, precision: str = "float32") -> Any:
    """The head up to the products of its last convolution: (batch, time, outputs).

    From the sum of the skips, (batch, time, skip channels), by the first convolution,
    (3, skip channels, hidden), which sees zeros beyond both ends, to the products of
    the rectified hidden channels with `last`, (hidden, outputs).
    """
    import jax.numpy as jnp

    first, last = jnp.asarray(first), jnp.asarray(last)
    outputs = last.shape[1]
    last = jnp.pad(last, ((0, 0), (0, -outputs % CHANNELS_STEP)))
    return _head(SUFFIXES[precision])(skips, first, last)[..., :outputs]


def _array(*shape: int) -> Any:
    import jax

    return jax.ShapeDtypeStruct(shape, np.dtype(np.float32))


@functools.cache
def _head(suffix: str) -> Any:
    import jax
    import jax.numpy as jnp

    @jax.custom_vjp
    def head(skips: Any, first: Any, last: Any) -> Any:
        out = _array(*skips.shape[:2], last.shape[1])
        return jax.ffi.ffi_call(HEAD[0] + suffix, out)(skips, first, last)

    def head_forward(*arrays: Any) -> tuple:
        return head(*arrays), arrays

    def head_backward(arrays: tuple, grad: Any) -> tuple:
        skips, first, last = arrays
        out = tuple(_array(*a.shape) for a in arrays)
        call = jax.ffi.ffi_call(HEAD[1] + suffix, out)
        first_t = jnp.transpose(first, (0, 2, 1))
        return tuple(call(skips, first, first_t, last.T, grad))

    head.defvjp(head_forward, head_backward)
    return head


@functools.cache
def _block(suffix: str) -> Any:
    import jax
    import jax.numpy as jnp

    def forward(
        x: Any, skips: Any, filters: Any, mixing: Any, settings: tuple, keep: bool
    ) -> Any:
        dilation, skip_start, residual = settings
        batch, time, channels = x.shape
        time -= 2 * dilation
        call = jax.ffi.ffi_call(
            BLOCK[0] + suffix,
            (
                _array(batch, time, channels),
                _array(*skips.shape),
                _array(batch, time if keep else 0, 2 * channels),
            ),
        )
        return call(
            *(x, skips, filters, mixing[0]),
            dilation=np.int64(dilation),
            skip_start=np.int64(skip_start),
            residual=residual,
            keep=keep,
        )

    @functools.partial(jax.custom_vjp, nondiff_argnums=(4, 5, 6))
    def block(x: Any, skips: Any, filters: Any, mixing: Any, *settings: Any) -> tuple:
        return tuple(forward(x, skips, filters, mixing, settings, False)[:2])

    def block_forward(
        x: Any, skips: Any, filters: Any, mixing: Any, *settings: Any
    ) -> tuple:
        out, skips, gate = forward(x, skips, filters, mixing, settings, True)
        return (out, skips), (x, gate, filters, mixing)

    def block_backward(
        dilation: int, skip_start: int, residual: bool, saved: tuple, grads: tuple
    ) -> tuple:
        x, gate, filters, mixing = saved
        call = jax.ffi.ffi_call(
            BLOCK[1] + suffix,
            (
                _array(*x.shape),
                _array(*filters.shape),
                _array(*mixing.shape[1:]),
                _array(*gate.shape),
            ),
        )
        dx, dfilters, dmixing, _ = call(
            *(x, gate, jnp.transpose(filters, (0, 2, 1)), mixing[0].T, *grads),
            dilation=np.int64(dilation),
            skip_start=np.int64(skip_start),
            residual=residual,
        )
        return dx, grads[1], dfilters, dmixing[None]

    block.defvjp(block_forward, block_backward)
    return block
