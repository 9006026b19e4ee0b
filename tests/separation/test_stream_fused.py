"""Streams as compiled code: the network's numbers, without Keras."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import hypothesis
import numpy as np
import pytest
import soundfile
from hypothesis import strategies

import main
import util
from sswavenet import checkpoints
from sswavenet.backend import choice, compiling
from sswavenet.config.document import to_document
from sswavenet.separation import stream_fused, streaming
from tests.support import TASK_NAMES, oracle, random_weights, tiny_config

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(scope="module", autouse=True)
def compiled():
    """Compiles the library, or skips this file where there is no compiler."""
    if stream_fused._library() is None:
        pytest.skip("needs a C++ compiler")


def needs(precision):
    if precision == "bfloat16" and not stream_fused._library().WavenetHasHalf():
        pytest.skip("needs a processor with AVX512_BF16")


def wide_config(task_name="multi-instrument", residual=16, skip=32, hidden=48, **more):
    return tiny_config(task_name).replace(
        residual_channels=residual,
        skip_channels=skip,
        final_channels=[hidden, 6],
        **more,
    )


def scaled_weights(config, rng):
    """Weights that keep the signal's level from layer to layer."""
    weights = random_weights(config, rng, 1)
    return {
        name: (array / np.sqrt(np.prod(array.shape[:-1]))).astype("float32")
        for name, array in weights.items()
    }


def estimates(step, config, mixture, lengths):
    """What a stream puts out for a mixture, in pieces of these lengths in turn."""
    context, parts, start = config.context_length, [], 0
    padded = np.pad(mixture, (0, context)).astype("float32")
    while start < len(padded):
        length = lengths[len(parts) % len(lengths)]
        parts.append(step(padded[start : start + length]))
        start += length
    return np.concatenate(parts, axis=1)[:, context:]


def by_formula(config, weights, mixture):
    margin = config.head_margin
    padded = np.pad(mixture, config.context_length)
    return oracle(config, weights, padded, margin, len(mixture))[:, margin:-margin]


# Channels of one to three registers, some of them alone in a panel.
@hypothesis.settings(max_examples=25, deadline=None)
@hypothesis.given(
    strategies.sampled_from([16, 32, 48]),
    strategies.sampled_from([16, 32, 48]),
    strategies.sampled_from([16, 144, 272]),
    strategies.sampled_from(TASK_NAMES),
    strategies.integers(1, 5),
    strategies.lists(strategies.integers(1, 150), min_size=1, max_size=4),
)
def test_streams_are_those_of_the_formula(
    residual, skip, hidden, task_name, num_threads, lengths
):
    rng = np.random.default_rng(residual + skip + hidden + num_threads)
    config = wide_config(task_name, residual, skip, hidden)
    weights = scaled_weights(config, rng)
    mixture = rng.standard_normal(70)
    begin = stream_fused.build_streams(
        config, weights, max(lengths), num_threads=num_threads
    )
    expected = by_formula(config, weights, mixture)
    for _ in range(2):  # one stream leaves nothing to the next
        got = estimates(begin(), config, mixture, lengths)
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("taps", [1, 3, 5])
def test_the_last_convolution_of_the_formula_has_any_length(taps, rng):
    config = wide_config(final_filter_lengths=[3, taps])
    weights = scaled_weights(config, rng)
    mixture = rng.standard_normal(40)
    step = stream_fused.build_streams(config, weights, 16)()
    got = estimates(step, config, mixture, [16])
    np.testing.assert_allclose(
        got, by_formula(config, weights, mixture), rtol=0, atol=1e-5
    )


@pytest.mark.parametrize("num_threads", [1, 2, 7])
def test_bfloat16_is_near_the_formula(num_threads, rng):
    needs("bfloat16")
    config = wide_config()
    weights = scaled_weights(config, rng)
    mixture = rng.standard_normal(150)
    begin = stream_fused.build_streams(config, weights, 50, "bfloat16", num_threads)
    expected = by_formula(config, weights, mixture)
    error = estimates(begin(), config, mixture, [50, 7]) - expected
    # Factors have 8 bits, sums have all.
    assert 1e-10 < np.sum(error**2) / np.sum(expected**2) < 10**-4.3


@pytest.fixture
def compiled_with(monkeypatch):
    """Compiles the library with more flags; skips where it has no 16-bit numbers."""

    def compile_with(flags):
        needs("bfloat16")
        monkeypatch.setattr(compiling, "FLAGS", (*compiling.FLAGS, *flags))
        stream_fused._library.cache_clear()
        if stream_fused._library() is None:
            pytest.skip(f"needs a compiler that knows {flags}")

    yield compile_with
    monkeypatch.undo()
    stream_fused._library.cache_clear()


# What a processor with all kinds takes first, and what others take.
@pytest.mark.parametrize(
    "flags",
    [(), ("-mno-amx-bf16",), ("-mno-amx-bf16", "-mno-avx512fp16")],
    ids=["any", "no tiles", "no tiles, no float16"],
)
def test_all_kinds_of_16_bits_are_near_the_formula(flags, compiled_with, rng):
    """Rows and depths of several tiles, of a part of one, and of less than one."""
    compiled_with(flags)
    for residual, skip, hidden in ((16, 48, 16), (32, 16, 144), (48, 32, 272)):
        config = wide_config("multi-instrument", residual, skip, hidden)
        weights = scaled_weights(config, rng)
        mixture = rng.standard_normal(300)
        begin = stream_fused.build_streams(config, weights, 150, "bfloat16", 2)
        expected = by_formula(config, weights, mixture)
        error = estimates(begin(), config, mixture, [150, 33, 5]) - expected
        assert 1e-10 < np.sum(error**2) / np.sum(expected**2) < 10**-4.3


@pytest.mark.keras3
@pytest.mark.parametrize("task_name", TASK_NAMES)
def test_streams_equal_those_of_the_layers(task_name, rng):
    from sswavenet.separation import stream_keras

    config = wide_config(task_name, 64, 64, 2048, num_stacks=1, dilations=(1, 64, 512))
    weights = scaled_weights(config, rng)
    blocks = rng.standard_normal((4, 1600)).astype("float32")
    begun = [
        stream_fused.build_streams(config, weights, 1600, num_threads=2)(),
        stream_keras.build_streams(config, weights, 1600)(),
    ]
    compiled, layers = (
        np.concatenate([step(block) for block in blocks], axis=1) for step in begun
    )
    # Each rounds in an order of its own, so the formula stands beside them in float64.
    before = np.zeros(2 * config.context_length)
    margin = config.head_margin
    exact = oracle(config, weights, np.append(before, blocks), margin, 6400)
    exact = exact[:, margin : margin + 6400]
    scale = np.abs(exact).max()
    errors = [np.abs(compiled - right).max() / scale for right in (exact, layers)]
    assert min(errors) < 1e-6


def test_silence_is_silent(rng):
    config = wide_config()
    weights = scaled_weights(config, rng)
    weights["conv1d_9/bias"][:] = 0.25
    step = stream_fused.build_streams(config, weights, 100)()
    for length in (1, 100, 37):
        np.testing.assert_array_equal(step(np.zeros(length, np.float32)), 0.25)


def test_what_is_not_finite_stays_so(rng):
    config = wide_config()
    step = stream_fused.build_streams(config, scaled_weights(config, rng), 200)()
    block = np.zeros(200, np.float32)
    block[50] = np.nan
    assert np.isnan(step(block)).any()


@pytest.mark.parametrize(
    "changes",
    [
        {"residual_channels": 24},
        {"skip_channels": 8},
        {"final_channels": [40, 6]},
        {"filter_length": 5},
        {"final_filter_lengths": [5, 3]},
    ],
)
def test_other_networks_are_left_to_keras(changes):
    assert stream_fused.available(wide_config())
    assert not stream_fused.available(wide_config().replace(**changes))


SIZES = {"channels": 16, "skip channels": 32, "hidden channels": 48, "taps": 3,
         "outputs": 2, "blocks": 2}  # fmt: skip


def num_weights(c, s, h, taps, outputs, blocks):
    block = 3 * c * 2 * c + c * (c + s)
    return 3 * c + blocks * block + 3 * s * h + taps * h * outputs + outputs


def build(sizes, dilations=(1, 2), more=0, precision="float32"):
    weights = np.zeros(num_weights(*SIZES.values()) + more)
    return stream_fused.build_network(
        tuple(sizes.values()), dilations, weights, precision
    )


@pytest.mark.parametrize("count", [-16, 0, 8, 24, 2**17, 2**62])
@pytest.mark.parametrize("name", list(SIZES)[:3])
def test_channels_that_fill_no_registers_are_refused(name, count):
    with pytest.raises(ValueError, match=f"expected {name} to be a positive multiple"):
        build({**SIZES, name: count})


@pytest.mark.parametrize("count", [-1, 0, 1025, 2**62])
@pytest.mark.parametrize("name", ["taps", "outputs"])
def test_counts_out_of_range_are_refused(name, count):
    with pytest.raises(ValueError, match=f"expected 1 to 1024 {name}, got {count}"):
        build({**SIZES, name: count})


@pytest.mark.parametrize("name", SIZES)
def test_weights_of_another_network_are_refused(name):
    step = 16 if "channels" in name else 1
    sizes = {**SIZES, name: SIZES[name] + step}
    dilations = (1,) * sizes["blocks"]
    expected = num_weights(*sizes.values())
    with pytest.raises(ValueError, match=f"expected {expected} weights, got"):
        build(sizes, dilations)


@pytest.mark.parametrize("more", [-1, 1])
def test_a_weight_too_many_or_too_few_is_refused(more):
    with pytest.raises(ValueError, match="weights, got"):
        build(SIZES, more=more)


@pytest.mark.parametrize("dilation", [0, -3, 2**20 + 1, 2**62])
def test_dilations_out_of_range_are_refused(dilation):
    with pytest.raises(ValueError, match=f"1 to 1048576 dilation, got {dilation}"):
        build(SIZES, dilations=(1, dilation))


def test_dilations_of_other_blocks_are_refused():
    with pytest.raises(ValueError, match="expected a dilation for each block"):
        build(SIZES, dilations=(1,))
    with pytest.raises(ValueError, match="expected a dilation for each block"):
        build({**SIZES, "blocks": 0}, dilations=(1,))


@pytest.mark.parametrize(("length", "threads"), [(0, 1), (2**21, 1), (9, 0), (9, 2000)])
def test_streams_out_of_range_are_refused(length, threads):
    network = build(SIZES)
    with pytest.raises(ValueError, match="expected 1 to"):
        stream_fused.Handle("Stream", network.pointer, length, threads)


def test_blocks_longer_than_the_stream_are_refused(rng):
    config = wide_config()
    step = stream_fused.build_streams(config, scaled_weights(config, rng), 9)()
    for length in (0, 10):
        with pytest.raises(ValueError, match=f"expected 1 to 9 samples, got {length}"):
            step(np.zeros(length, np.float32))


def test_a_lack_of_memory_is_an_error():
    code = (
        "import resource, numpy as np\n"
        "from sswavenet.separation import stream_fused as s\n"
        f"n = s.build_network({tuple(SIZES.values())}, (2**20, 2**20), "
        f"np.zeros({num_weights(*SIZES.values())}), 'float32')\n"
        "resource.setrlimit(resource.RLIMIT_AS, (2**29, 2**29))\n"
        "try:\n    s.Handle('Stream', n.pointer, 2**20, 1)\n"
        "except MemoryError as error:\n    print(error)\n"
    )
    if "libasan" in os.environ.get("LD_PRELOAD", ""):
        pytest.skip("the sanitizer takes the address space itself")
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True
    )
    assert ended.stdout == "no memory for what the compiled code works in\n", (
        ended.stderr
    )


@pytest.fixture
def session(tmp_path, rng):
    """A session that runs as compiled code, and a mixture of another rate."""
    config = wide_config()
    util.write_json(tmp_path / "config.json", to_document(config))
    path = tmp_path / "checkpoints" / "checkpoint.00001-0.100.hdf5"
    checkpoints.write_checkpoint(path, scaled_weights(config, rng))
    noise = rng.uniform(-0.1, 0.1, (22050, 2))
    soundfile.write(tmp_path / "song.wav", noise, 44100)
    return tmp_path


def command(session, out):
    return ["--mode", "inference", "--config", str(session / "config.json"),
            "--mixture_input_path", str(session / "song.wav"), "--subtype", "FLOAT",
            "--output_path", str(session / out)]  # fmt: skip


WITHOUT_KERAS = """
import sys
import main
assert main.main(sys.argv[1:]) == 0
print(sorted({"keras", "jax", "jaxlib", "scipy"} & set(sys.modules)))
"""


@pytest.mark.keras3
def test_stems_are_the_same_without_keras(session, monkeypatch):
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    ended = subprocess.run(
        [sys.executable, "-c", WITHOUT_KERAS, *command(session, "compiled")],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines()[-1] == "[]"
    monkeypatch.setattr(stream_fused, "available", lambda *_: False)
    assert main.main(command(session, "layers")) == 0
    stems = sorted((session / "compiled").rglob("*.wav"))
    assert len(stems) == 4
    for stem in stems:
        got, _ = soundfile.read(stem)
        expected, _ = soundfile.read(session / "layers" / stem.name)
        assert np.abs(expected).max() > 0.001
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("platforms", "modules", "told"),
    [("cpu", ("jax_plugins",), True), ("", (), True)],
)
def test_a_processor_is_told_without_jax(platforms, modules, told, monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", platforms)
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    monkeypatch.delitem(sys.modules, "jax", raising=False)
    monkeypatch.setattr(choice, "choose_backend", lambda: pytest.fail("imports Keras"))
    found = choice.importlib.util.find_spec
    monkeypatch.setattr(
        choice.importlib.util,
        "find_spec",
        lambda name: name in modules if name in choice.ACCELERATORS else found(name),
    )
    assert choice.is_jax_on_processor() is told


def test_another_backend_is_not_jax(monkeypatch):
    monkeypatch.setattr(choice, "settle_backend", lambda: "torch")
    assert not choice.is_jax_on_processor()
    assert not streaming.is_compiled(wide_config(), "float32")
