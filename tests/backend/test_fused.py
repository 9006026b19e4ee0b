"""The compiled code against what it replaces."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

import models
from sswavenet.backend import compat, fused
from sswavenet.config.document import parse_config
from sswavenet.training import losses
from sswavenet.training.loop import Trainer
from sswavenet.training.session import train
from tests.support import TASK_NAMES, tiny_document, wide_config
from util import UserError

if compat.backend_name() != "jax":
    pytest.skip("custom calls are JAX's", allow_module_level=True)
jax = pytest.importorskip("jax")
jnp = pytest.importorskip("jax.numpy")


@pytest.fixture(scope="module", autouse=True)
def compiled():
    """Compiles the library, or skips this file where there is no compiler."""
    if not fused._registered():
        pytest.skip("needs a C++ compiler")


def arrays(rng, *shapes):
    return [jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in shapes]


def rounded(x):
    return x.astype(jnp.bfloat16).astype(jnp.float32)


@jax.custom_vjp
def rounded_product(a, b):
    """A product of (batch, time, channels) and a kernel whose factors are bfloat16."""
    return rounded(a) @ rounded(b)


def rounded_gradients(factors, grad):
    a, b = map(rounded, factors)
    return rounded(grad) @ b.T, jnp.einsum("bti,btj->ij", a, rounded(grad))


rounded_product.defvjp(lambda a, b: (rounded_product(a, b), (a, b)), rounded_gradients)


def needs(precision):
    if precision not in fused._registered():
        pytest.skip("needs a processor with AVX512_BF16")
    return {"float32": jnp.matmul, "bfloat16": rounded_product}[precision]


def block_by_formula(product, x, skips, filters, mixing, *, dilation, skip_crop):
    """The residual block of the paper, written down."""
    channels, time = x.shape[2], x.shape[1] - 2 * dilation
    gate = sum(
        product(x[:, k * dilation : k * dilation + time], filters[k]) for k in range(3)
    )
    gated = jnp.tanh(gate[..., :channels]) / (1 + jnp.exp(-gate[..., channels:]))
    both = product(gated, mixing[0])
    start, length = skip_crop
    return (
        x[:, dilation : dilation + time] + both[..., :channels],
        skips + both[:, start : start + length, channels:],
    )


def assert_close(got, expected, precision):
    scale = max(float(jnp.abs(expected).max()), 1.0)
    error = np.abs(got - expected) / scale
    if precision == "bfloat16":
        # A factor next to the middle of two values may be rounded to the other one,
        # 2^-8 away. Few are; without rounding half of all results would be 1e-4 off.
        assert error.max() < 2**-8
        assert np.quantile(error, 0.98) < 5e-5
    else:
        assert error.max() < 5e-6


# Lengths around a stretch of 96 rows and a group of 32 of them, skips that begin and
# end anywhere in one, channel counts of one to three registers.
@pytest.mark.slow
@pytest.mark.parametrize("precision", fused.SUFFIXES)
@pytest.mark.parametrize(
    ("batch", "time", "channels", "skip_channels", "dilation", "skip_crop"),
    [
        (1, 5, 16, 16, 1, (1, 1)),
        (2, 97, 32, 32, 2, (40, 50)),
        (3, 500, 48, 16, 64, (0, 372)),
        (2, 3300, 32, 64, 8, (1000, 1603)),
        (1, 96, 80, 32, 16, (63, 1)),
    ],
)
def test_block_and_its_gradients_are_those_of_the_formula(
    rng, batch, time, channels, skip_channels, dilation, skip_crop, precision
):
    product = needs(precision)
    out_shape = (batch, time - 2 * dilation, channels)
    skip_shape = (batch, skip_crop[1], skip_channels)
    x, skips, out_part, skip_part = arrays(
        rng, (batch, time, channels), skip_shape, out_shape, skip_shape
    )
    filters, mixing = arrays(
        rng, (3, channels, 2 * channels), (1, channels, channels + skip_channels)
    )
    filters, mixing = 0.2 * filters, 0.3 * mixing

    def compiled(x, skips, filters, mixing):
        return fused.block(
            *(x, skips),
            filters=filters,
            mixing=mixing,
            dilation=dilation,
            skip_crop=skip_crop,
            residual=True,
            precision=precision,
        )

    @jax.jit
    def formula(*inputs):
        return block_by_formula(
            product, *inputs, dilation=dilation, skip_crop=skip_crop
        )

    def loss(function):
        def value(*inputs):
            out, skip = function(*inputs)
            return (out * out_part).sum() + (skip * skip_part).sum()

        return jax.jit(jax.grad(value, argnums=(0, 1, 2, 3)))

    inputs = (x, skips, filters, mixing)
    for got, expected in zip(compiled(*inputs), formula(*inputs)):
        assert_close(got, expected, precision)
    for got, expected in zip(loss(compiled)(*inputs), loss(formula)(*inputs)):
        assert_close(got, expected, precision)


@pytest.mark.parametrize("precision", fused.SUFFIXES)
@pytest.mark.parametrize(
    ("batch", "time", "channels", "hidden", "outputs"),
    [(1, 1, 16, 16, 3), (2, 95, 32, 160, 9), (1, 3100, 16, 48, 17)],
)
def test_head_and_its_gradients_are_those_of_the_formula(
    rng, batch, time, channels, hidden, outputs, precision
):
    product = needs(precision)
    skips, first, last, part = arrays(
        rng,
        (batch, time, channels),
        (3, channels, hidden),
        (hidden, outputs),
        (batch, time, outputs),
    )
    first, last = 0.2 * first, 0.2 * last

    def compiled(skips, first, last):
        return fused.head(skips, first=first, last=last, precision=precision)

    @jax.jit
    def formula(skips, first, last):
        padded = jnp.pad(jnp.maximum(skips, 0), ((0, 0), (1, 1), (0, 0)))
        sums = sum(product(padded[:, k : k + time], first[k]) for k in range(3))
        return product(jnp.maximum(sums, 0), last)

    inputs = (skips, first, last)
    assert_close(compiled(*inputs), formula(*inputs), precision)
    gradients = [
        jax.jit(jax.grad(lambda *a, f=f: (f(*a) * part).sum(), (0, 1, 2)))(*inputs)
        for f in (compiled, formula)
    ]
    for got, expected in zip(*gradients):
        assert_close(got, expected, precision)


@pytest.mark.slow
@pytest.mark.parametrize("task_name", TASK_NAMES)
@pytest.mark.parametrize("framing", [{}, {"input_length": 23, "target_padding": 1}])
def test_network_is_the_same_compiled(rng, task_name, framing):
    config = wide_config(task_name)
    assert fused.available(config)
    plain = models.build_wavenet(config, **framing)
    compiled = models.build_wavenet(config, compiled="float32", **framing)
    weights = models.weights_of(plain, config)
    models.load_weights(compiled, config, weights)
    for name, array in models.weights_of(compiled, config).items():
        np.testing.assert_array_equal(array, weights[name])
    fragments = rng.normal(size=(2, plain.inputs[0].shape[1])).astype(np.float32)
    for got, expected in zip(compiled(fragments), plain(fragments)):
        assert np.abs(expected).max() > 0.01
        np.testing.assert_allclose(got, expected, atol=1e-6)


def test_training_without_bfloat16_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(fused, "_registered", lambda: ["float32"])
    with pytest.raises(UserError, match="AVX512_BF16, a C"):
        Trainer(wide_config("multi-instrument"), None, tmp_path, "bfloat16")
    # Before the data set is looked at, which is not there.
    config = wide_config("multi-instrument").replace(
        datasets=str(tmp_path / "none"), session_path=str(tmp_path / "session")
    )
    with pytest.raises(UserError, match="AVX512_BF16, a C"):
        train(config, precision="bfloat16")
    assert not (tmp_path / "session").exists()


def test_training_takes_the_precision_it_is_told(tmp_path):
    needs("bfloat16")
    config = wide_config("multi-instrument")
    estimates = []
    fragment = np.random.default_rng(0).normal(size=(1, config.input_length))
    for precision in ("float32", "bfloat16", "highest"):
        model = Trainer(config, None, tmp_path, precision).model
        estimates.append(np.stack(model(fragment.astype(np.float32)))[:, 0])
    exact, rounded, highest = estimates
    np.testing.assert_array_equal(exact, highest)
    error = np.abs(exact - rounded).max() / np.abs(exact).max()
    assert 1e-5 < error < 2**-6


@pytest.mark.slow
@pytest.mark.parametrize("task_name", TASK_NAMES)
def test_training_is_the_same_compiled(rng, task_name):
    config = wide_config(task_name)
    inputs = rng.normal(size=(2, config.input_length)).astype(np.float32)
    length = config.target_field_length + 2 * config.target_padding
    targets = list(rng.normal(size=(len(config.task.supervised), 2, length)))
    runs, weights = [], None
    for compiled in (None, "float32"):
        model = models.build_wavenet(config, compiled=compiled)
        weights = weights or models.weights_of(model, config)
        models.load_weights(model, config, weights)
        model.compile(
            optimizer=compat.make_optimizer(0.01, config.epsilon),
            **losses.compile_arguments(config),
        )
        steps = [compat.train_on_batch(model, inputs, targets) for _ in range(5)]
        runs.append([float(logs["loss"]) for logs in steps])
    assert runs[0][4] < 0.99 * runs[0][0]  # it learns, so the gradients count
    assert runs[1] == pytest.approx(runs[0], abs=1e-5)


@pytest.mark.parametrize(
    "model",
    [
        {"filters": {"depths": {"res": 24, "skip": 32, "final": [48, 6]}}},
        {"filters": {"depths": {"res": 32, "skip": 8, "final": [48, 6]}}},
        {"filters": {"depths": {"res": 32, "skip": 32, "final": [40, 6]}}},
        {"filters": {"lengths": {"res": 5, "final": [3, 3], "skip": 1}}},
        {"filters": {"lengths": {"res": 3, "final": [5, 3], "skip": 1}}},
    ],
)
def test_networks_of_other_shapes_are_left_to_the_layers(model):
    depths = {"res": 16, "skip": 32, "final": [48, 6]}
    lengths = {"res": 3, "final": [3, 3], "skip": 1}
    filters = {"depths": depths, "lengths": lengths, **model["filters"]}
    config = parse_config(tiny_document(model={"filters": filters}))
    assert not fused.available(config)


PROGRAM = """
import os, sys
os.sched_setaffinity(0, set(map(int, sys.argv[1].split(","))))
import jax, jax.numpy as jnp, numpy as np
from sswavenet.backend import fused
assert fused._registered()
r = np.random.default_rng(0)
make = lambda *shape: jnp.asarray(r.normal(size=shape) / 4, jnp.float32)
def loss(x, filters, mixing):
    out, skips = fused.block(x, filters=filters, mixing=mixing, dilation=4,
                             skip_crop=(100, 9000), residual=True)
    return (out ** 2).sum() + (skips ** 2).sum()
grads = jax.grad(loss, argnums=(0, 1, 2))(
    make(3, 10000, 32), make(3, 32, 64), make(1, 32, 64))
for grad in grads:
    print(np.asarray(grad).tobytes().hex()[:4000], float(jnp.abs(grad).sum()))
"""


@pytest.mark.slow
@pytest.mark.skipif(
    not hasattr(os, "sched_setaffinity") or len(os.sched_getaffinity(0)) < 2,
    reason="needs two cores that can be chosen",
)
def test_gradients_do_not_depend_on_the_number_of_threads():
    cores = sorted(os.sched_getaffinity(0))[:2]
    root = str(pathlib.Path(__file__).parents[2])
    outputs = [
        subprocess.run(
            [sys.executable, "-c", PROGRAM, ",".join(map(str, chosen))],
            env={**os.environ, "PYTHONPATH": root},
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        ).stdout
        for chosen in (cores[:1], cores)
    ]
    assert outputs[0] == outputs[1] != ""
