"""The network over one block of a stream on OpenVINO, in bfloat16.

The same graph as `stream_keras` describes, made from the weights alone, for processors
that multiply bfloat16 numbers; XLA is slower with them than without. OpenVINO keeps
the contexts from block to block and computes side by side what is asked for side by
side.

Conventions: within the graph, signals are (1, channels, time), as OpenVINO wants them.
"""

from __future__ import annotations

import functools
import logging
import sys
from typing import Any, Callable

import numpy as np

from sswavenet.config.session import Config
from sswavenet.console import packages
from util import UserError

# Otherwise OpenVINO reports its use over the network as it is imported.
sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
try:
    import openvino
    from openvino import opset13 as ops
    from openvino.op import util as variables
except ImportError:
    raise UserError(
        "--precision bfloat16 on a processor needs the package openvino, which is not "
        f"installed: {packages.how_to_install('openvino')}"
    ) from None

logger = logging.getLogger(__name__)


@functools.cache
def core() -> Any:
    """The process's only `openvino.Core`, kept until its end.

    Each one gives the thread a stack for signal handlers and takes it back when its
    last network goes. Two that go in the order they came leave the thread with a stack
    that is gone, and the next signal ends the process with SIGSEGV.
    """
    return openvino.Core()


def has_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 numbers itself."""
    return "BF16" in core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def build_graph(config: Config, weights: dict, block_length: int) -> Any:
    """The network over one block, whose state is the context of all layers.

    An `openvino.Model` from (1, 1, block_length) to (1, estimates, block_length),
    float32.
    """
    assigned: list = []

    def extended(x: Any, length: int) -> Any:
        """`x` with the last `length` samples that came before it."""
        if not length:
            return x
        info = variables.VariableInfo()
        info.variable_id = f"context_{len(assigned)}"
        info.data_type = openvino.Type.f32
        info.data_shape = openvino.PartialShape([1, x.get_output_shape(0)[1], length])
        variable = variables.Variable(info)
        silence = ops.constant(np.zeros(info.data_shape.to_shape(), np.float32))
        both = ops.concat([ops.read_value(silence, variable), x], 2)
        kept = _slice(both, 2, block_length, length)
        assigned.append(ops.assign(kept, variable))
        return both

    block = ops.parameter([1, 1, block_length], np.float32, name="block")
    side, channels = config.filter_length // 2, config.residual_channels
    kernel = weights["initial_causal_conv/kernel"]
    x = _convolved(extended(block, 2 * side), kernel)
    skips = None
    dilations = config.dilations * config.num_stacks
    for number, (name, dilation) in enumerate(zip(config.block_names, dilations), 1):
        reach = side * dilation
        slab = extended(x, 2 * reach)
        # Two convolutions, for each takes in its activation.
        kernel = weights[f"{name}/kernel"]
        gated = ops.multiply(
            ops.tanh(_convolved(slab, kernel[..., :channels], dilation)),
            ops.sigmoid(_convolved(slab, kernel[..., channels:], dilation)),
        )
        kernel = weights[f"conv1d_{number}/kernel"]
        skip = _convolved(gated, kernel[..., channels:])
        if skips is not None:
            delayed = _slice(extended(skips, reach), 2, 0, block_length)
            skip = ops.add(skip, delayed)
        skips = skip
        if number < config.num_residual_blocks:  # what the last one adds has no use
            residual = _convolved(gated, kernel[..., :channels])
            x = ops.add(residual, _slice(slab, 2, reach, block_length))
    estimates = _head(
        extended(ops.relu(skips), sum(config.final_filter_lengths) - 2),
        config,
        weights,
        block_length,
    )
    return openvino.Model([ops.result(estimates)], assigned, [block], "stream")


def _head(x: Any, config: Config, weights: dict, block_length: int) -> Any:
    """From the skips to the estimates; the last two convolutions as one."""
    count = config.num_residual_blocks
    y = ops.relu(_convolved(x, weights[f"conv1d_{count + 1}/kernel"]))
    last = weights[f"conv1d_{count + 3}/kernel"][0]
    kernel = weights[f"conv1d_{count + 2}/kernel"] @ last  # (taps, channels, outputs)
    taps, _, outputs = kernel.shape
    # All taps in one product, then shifted sums: OpenVINO is slow with a convolution
    # of so few outputs.
    products = _convolved(y, np.concatenate(kernel, axis=1)[None])
    summed = ops.constant(weights[f"conv1d_{count + 3}/bias"][None, :, None])
    for tap in range(taps):
        rows = _slice(products, 1, tap * outputs, outputs)
        summed = ops.add(summed, _slice(rows, 2, tap, block_length))
    return summed


def _convolved(x: Any, kernel: np.ndarray, dilation: int = 1) -> Any:
    """`x` after a kernel of (taps, inputs, outputs), without padding."""
    kernel = np.ascontiguousarray(kernel.transpose(2, 1, 0))
    return ops.convolution(x, ops.constant(kernel), [1], [0], [0], [dilation])


def _slice(x: Any, axis: int, start: int, length: int) -> Any:
    numbers = (start, start + length, 1, axis)
    return ops.slice(x, *(ops.constant(np.array([n])) for n in numbers))


def build_streams(
    config: Config, weights: dict, block_length: int, num_parallel: int = 1
) -> Callable[[], Callable[[np.ndarray], np.ndarray]]:
    """Streams on the processor, as `stream_keras.build_streams` makes them.

    `num_parallel` of them go on side by side. Raises UserError where the processor has
    no bfloat16.
    """
    if not has_bfloat16():
        raise UserError(
            "--precision bfloat16 needs a processor with AVX512_BF16 or AMX, got one "
            "without; float32 is faster here"
        )
    logger.info(
        "computing in bfloat16 on OpenVINO %s: expect stems 40 to 55 dB from those of "
        "float32 (docs/speed.md, Precision)",
        openvino.__version__,
    )
    compiled = core().compile_model(
        build_graph(config, weights, block_length),
        "CPU",
        {"INFERENCE_PRECISION_HINT": "bf16", "NUM_STREAMS": num_parallel},
    )

    def begin() -> Callable[[np.ndarray], np.ndarray]:
        request = compiled.create_infer_request()
        return lambda block: request.infer([block[None, None]])[0][0].copy()

    return begin
