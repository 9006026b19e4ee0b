"""The network over one block of a stream as compiled code, for processors.

It computes what `stream_keras` does, from the weights alone: neither Keras nor its
backend is imported. `backend/stream.cc` says how. In `bfloat16` the factors of products
are rounded to that, and their sums stay float32.
"""

from __future__ import annotations

import ctypes
import functools
import logging
import subprocess
from typing import Any, Callable

import numpy as np

from sswavenet.backend import compiling
from sswavenet.config.session import Config

logger = logging.getLogger(__name__)

SOURCE = compiling.FOLDER / "stream.cc"
CHANNELS_STEP = 16  # channel counts must be multiples: floats of a vector register
ROOM = 256  # bytes of a message

NUMBER, POINTER = ctypes.c_int64, ctypes.c_void_p
# Of each function: what it returns, and what it takes.
FUNCTIONS: dict[str, tuple[Any, list]] = {
    "HasHalf": (ctypes.c_bool, []),
    "Network": (
        POINTER,
        [POINTER, POINTER, POINTER, NUMBER, ctypes.c_bool, ctypes.c_char_p, NUMBER],
    ),
    "EndNetwork": (None, [POINTER]),
    "Stream": (POINTER, [POINTER, NUMBER, NUMBER, ctypes.c_char_p, NUMBER]),
    "EndStream": (None, [POINTER]),
    "Step": (ctypes.c_bool, [POINTER, POINTER, NUMBER, POINTER]),
}


def available(config: Config, precision: str = "float32") -> bool:
    """Whether streams of this network can run here; what fails is logged."""
    channels = [config.residual_channels, config.skip_channels]
    channels.append(config.final_channels[0])
    return (
        config.filter_length == config.final_filter_lengths[0] == 3
        and all(count % CHANNELS_STEP == 0 for count in channels)
        and _library() is not None
        and (precision != "bfloat16" or _library().WavenetHasHalf())
    )


@functools.cache
def _library() -> Any:
    """The compiled code, None where it cannot be had."""
    try:
        library = ctypes.CDLL(str(compiling.build_library(SOURCE)))
        for name, (returned, taken) in FUNCTIONS.items():
            function = getattr(library, f"Wavenet{name}")
            function.restype, function.argtypes = returned, taken
        return library
    except (OSError, AttributeError, subprocess.SubprocessError) as error:
        why = compiling.reason(error)
        logger.info("no compiled code, so separation is slower: %s", why)
        return None


class Handle:
    """A `Network` or `Stream` that the compiled code made, until nobody needs it.

    Raises MemoryError where there is too little memory, and ValueError where it refuses
    the arguments.
    """

    def __init__(self, kind: str, *arguments: Any):
        self._end = getattr(_library(), f"WavenetEnd{kind}")
        message = ctypes.create_string_buffer(ROOM)
        make = getattr(_library(), f"Wavenet{kind}")
        self.pointer = make(*arguments, message, ROOM)
        if self.pointer is None:
            said = message.value.decode()
            raise MemoryError(said) if "memory" in said else ValueError(said)

    def __del__(self) -> None:
        """Give the memory back, and end the threads."""
        if getattr(self, "pointer", None):
            self._end(self.pointer)


def build_network(
    sizes: tuple, dilations: tuple, weights: np.ndarray, precision: str
) -> Handle:
    """A network that streams can begin on; errors are those of `Handle`.

    `sizes` are residual, skip and hidden channels; taps and outputs of the last
    convolution; blocks. The weights lie in one row, as `stream.cc` takes them.
    """
    if len(sizes) != 6 or len(dilations) != sizes[5]:
        raise ValueError(
            f"expected a dilation for each block, got {sizes}, {dilations}"
        )
    flat = np.ascontiguousarray(weights, np.float32)
    return Handle(
        "Network",
        (NUMBER * len(sizes))(*sizes),
        (NUMBER * len(dilations))(*dilations),
        flat.ctypes.data,
        flat.size,
        precision == "bfloat16",
    )


def build_streams(
    config: Config,
    weights: dict,
    block_length: int,
    precision: str = "float32",
    num_threads: int = 1,
) -> Callable[[], Callable[[np.ndarray], np.ndarray]]:
    """Streams of blocks up to `block_length` samples, as `stream_keras` makes them."""
    if precision == "bfloat16":
        logger.info(
            "computing in bfloat16: expect stems 45 to 60 dB from those of float32 "
            "(docs/speed.md, Precision)"
        )
    count = config.num_residual_blocks
    last = weights[f"conv1d_{count + 3}/kernel"][0]
    # No activation stands between the last two convolutions: they are one.
    merged = weights[f"conv1d_{count + 2}/kernel"] @ last
    arrays = [weights["initial_causal_conv/kernel"]]
    for number, name in enumerate(config.block_names, 1):
        arrays += [weights[f"{name}/kernel"], weights[f"conv1d_{number}/kernel"]]
    arrays += [weights[f"conv1d_{count + 1}/kernel"], merged]
    arrays += [weights[f"conv1d_{count + 3}/bias"]]
    taps, hidden, outputs = merged.shape
    sizes = (config.residual_channels, config.skip_channels, hidden, taps, outputs)
    network = build_network(
        (*sizes, count),
        config.dilations * config.num_stacks,
        np.concatenate([np.ravel(array) for array in arrays]),
        precision,
    )

    def begin() -> Callable[[np.ndarray], np.ndarray]:
        stream = Handle("Stream", network.pointer, block_length, num_threads)
        stream.network = network  # type: ignore[attr-defined] # which must outlive it

        def step(block: np.ndarray) -> np.ndarray:
            block = np.ascontiguousarray(block, np.float32)
            out = np.empty((outputs, block.size), np.float32)
            given = (block.ctypes.data, block.size, out.ctypes.data)
            if not _library().WavenetStep(stream.pointer, *given):
                raise ValueError(
                    f"expected 1 to {block_length} samples, got {block.size}"
                )
            return out

        return step

    return begin
