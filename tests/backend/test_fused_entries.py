"""What the compiled code does with calls that do not fit: it returns an error."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from sswavenet.backend import compat, fused

if compat.backend_name() != "jax":
    pytest.skip("custom calls are JAX's", allow_module_level=True)
jax = pytest.importorskip("jax")


@pytest.fixture(scope="module", autouse=True)
def compiled():
    """Compiles the library, or skips this file where there is no compiler."""
    if not fused._registered():
        pytest.skip("needs a C++ compiler")


def block_call(*, channels=16, skips=32, time=50, dilation=4, keep=True):
    """Shapes of arrays and results, and settings, of `WavenetBlockForward`."""
    length, both = time - 2 * dilation, channels + skips
    arrays = {
        "x": (2, time, channels),
        "skip_sum": (2, 30, skips),
        "filters": (3, channels, 2 * channels),
        "mixing": (channels, both),
    }
    results = {
        "out": (2, length, channels),
        "skip_out": (2, 30, skips),
        "gate": (2, length if keep else 0, 2 * channels),
    }
    settings = {"dilation": dilation, "skip_start": 12, "residual": True, "keep": keep}
    return arrays, results, settings


def block_gradient_call(*, channels=16, skips=32):
    """The same of `WavenetBlockBackward`."""
    arrays = {
        "x": (2, 50, channels),
        "gate": (2, 42, 2 * channels),
        "filters_t": (3, 2 * channels, channels),
        "mixing_t": (channels + skips, channels),
        "out_grad": (2, 42, channels),
        "skip_grad": (2, 30, skips),
    }
    results = {
        "x_grad": (2, 50, channels),
        "filters_grad": (3, channels, 2 * channels),
        "mixing_grad": (channels, channels + skips),
        "dgate": (2, 42, 2 * channels),
    }
    return arrays, results, {"dilation": 4, "skip_start": 12, "residual": True}


def head_call(*, skips=16, hidden=32, outputs=48):
    """The same of `WavenetHeadForward`."""
    arrays = {
        "skips": (2, 50, skips),
        "first": (3, skips, hidden),
        "last": (hidden, outputs),
    }
    return arrays, {"out": (2, 50, outputs)}, {}


def head_gradient_call(*, skips=16, hidden=32, outputs=48):
    """The same of `WavenetHeadBackward`."""
    arrays = {
        "skips": (2, 50, skips),
        "first": (3, skips, hidden),
        "first_t": (3, hidden, skips),
        "last_t": (outputs, hidden),
        "out_grad": (2, 50, outputs),
    }
    results = {
        "skips_grad": (2, 50, skips),
        "first_grad": (3, skips, hidden),
        "last_grad": (hidden, outputs),
    }
    return arrays, results, {}


CALLS: dict[str, Any] = {
    fused.BLOCK[0]: block_call,
    fused.BLOCK[1]: block_gradient_call,
    fused.HEAD[0]: head_call,
    fused.HEAD[1]: head_gradient_call,
}


def run(entry, arrays, results, settings, precision="float32"):
    """Calls an entry with zeros of these shapes; returns the first result."""
    call = jax.ffi.ffi_call(
        entry + fused.SUFFIXES[precision],
        tuple(fused._array(*shape) for shape in results.values()),
    )
    settings = {
        name: value if isinstance(value, bool) else np.int64(value)
        for name, value in settings.items()
    }
    zeros = (np.zeros(shape, np.float32) for shape in arrays.values())
    return np.asarray(call(*zeros, **settings)[0])


def refusal(*call):
    """What an entry says of a call that it must refuse."""
    with pytest.raises(jax.errors.JaxRuntimeError) as raised:
        run(*call)
    return str(raised.value)


@pytest.mark.parametrize("entry", CALLS)
@pytest.mark.parametrize("precision", fused.SUFFIXES)
def test_calls_that_fit_are_answered(entry, precision):
    if precision not in fused._registered():
        pytest.skip("needs a processor with AVX512_BF16")
    arrays, results, settings = CALLS[entry]()
    first = run(entry, arrays, results, settings, precision)
    np.testing.assert_array_equal(first, np.zeros_like(first))


@pytest.mark.parametrize("more", [16, -1])
@pytest.mark.parametrize("entry", CALLS)
def test_an_array_of_another_shape_than_the_others_is_refused(entry, more):
    names = [*CALLS[entry]()[0], *CALLS[entry]()[1]]
    for name in names:
        for axis in range(len({**CALLS[entry]()[0], **CALLS[entry]()[1]}[name])):
            if (name, axis, more) == ("skip_grad", 1, -1):
                continue  # fewer skips fit, too, and nothing else has their length
            arrays, results, settings = CALLS[entry]()
            shapes = arrays if name in arrays else results
            shape = list(shapes[name])
            shape[axis] += more
            shapes[name] = tuple(shape)
            said = refusal(entry, arrays, results, settings)
            assert said.startswith("INVALID_ARGUMENT: expected "), (name, axis)


@pytest.mark.parametrize("entry", CALLS)
def test_an_array_of_another_rank_is_refused(entry):
    for name in (*CALLS[entry]()[0], *CALLS[entry]()[1]):
        for drop in (True, False):
            arrays, results, settings = CALLS[entry]()
            shapes = arrays if name in arrays else results
            shapes[name] = shapes[name][1:] if drop else (1, *shapes[name])
            said = refusal(entry, arrays, results, settings)
            assert "Wrong buffer rank" in said, name


@pytest.mark.parametrize("count", [8, 24])
@pytest.mark.parametrize(
    ("entry", "name", "words"),
    [
        (fused.BLOCK[0], "channels", "channels"),
        (fused.BLOCK[0], "skips", "skip channels"),
        (fused.BLOCK[1], "channels", "channels"),
        (fused.BLOCK[1], "skips", "skip channels"),
        (fused.HEAD[0], "skips", "skip channels"),
        (fused.HEAD[0], "hidden", "hidden channels"),
        (fused.HEAD[0], "outputs", "outputs"),
        (fused.HEAD[1], "skips", "skip channels"),
        (fused.HEAD[1], "hidden", "hidden channels"),
        (fused.HEAD[1], "outputs", "outputs"),
    ],
)
def test_channels_that_fill_no_registers_are_refused(entry, name, words, count):
    said = refusal(entry, *CALLS[entry](**{name: count}))
    assert f"expected {words} to be a positive multiple of 16, got {count}" in said


@pytest.mark.parametrize("entry", fused.BLOCK)
@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("dilation", 0, "expected a dilation of at least 1"),
        ("dilation", -4, "expected a dilation of at least 1"),
        ("dilation", 25, "leaves of 50 samples at least one, got 25"),
        ("dilation", 2**62, "expected a dilation of at least 1"),
        ("dilation", 3, "of shape (2, 44, "),
        ("skip_start", -1, "expected skips within 42 samples, got 30 from -1"),
        ("skip_start", 13, "expected skips within 42 samples, got 30 from 13"),
        ("skip_start", 2**63 - 1, "expected skips within 42 samples, got 30 from"),
    ],
)
def test_settings_that_lead_out_of_the_arrays_are_refused(entry, name, value, words):
    arrays, results, settings = CALLS[entry]()
    said = refusal(entry, arrays, results, {**settings, name: value})
    assert words in said


def test_the_message_names_the_array_and_both_shapes():
    arrays, _, settings = head_call()
    said = refusal(fused.HEAD[0], arrays, {"out": (2, 50, 32)}, settings)
    assert said.endswith("expected out of shape (2, 50, 48), got (2, 50, 32)")


# Half a megabyte of a gradient for each of 512 items, with room for an eighth of that.
WITHOUT_MEMORY = """
import pathlib, resource
import jax, numpy as np
from sswavenet.backend import fused
assert fused._registered()
results = (512, 5, 128), (3, 128, 256), (128, 144), (512, 3, 256)
call = jax.ffi.ffi_call(fused.BLOCK[1], tuple(fused._array(*s) for s in results))
inputs = (512, 5, 128), (512, 3, 256), (3, 256, 128), (144, 128)
inputs += (512, 3, 128), (512, 3, 16)
arrays = [jax.device_put(np.zeros(s, np.float32)) for s in inputs]
settings = {"dilation": np.int64(1), "skip_start": np.int64(0), "residual": True}
compiled = jax.jit(lambda *a: call(*a, **settings)).lower(*arrays).compile()
mapped = int(pathlib.Path("/proc/self/statm").read_text().split()[0])
limit = mapped * resource.getpagesize() + 2**25
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
try:
    jax.block_until_ready(compiled(*arrays))
except jax.errors.JaxRuntimeError as error:
    print(error)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs a limit of address space")
def test_a_lack_of_memory_is_an_error_and_not_the_end():
    ended = subprocess.run(
        [sys.executable, "-c", WITHOUT_MEMORY],
        env={**os.environ, "PYTHONPATH": str(pathlib.Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert ended.stdout.startswith("RESOURCE_EXHAUSTED: no memory"), ended.stderr
