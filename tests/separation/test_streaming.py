"""Streaming gives what separation of the whole gives, whatever the pieces."""

import functools
import io
from typing import Any

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies

import models
from sswavenet import checkpoints
from sswavenet.separation import streaming
from tests.support import (
    TASK_NAMES,
    golden_checkpoint,
    golden_config,
    oracle,
    random_weights,
    tiny_config,
)
from util import UserError


def offline(config, weights, mixture):
    """Estimates of the whole mixture in one seamless fragment."""
    context, margin, frames = config.context_length, config.head_margin, len(mixture)
    predict = models.build_predict(
        config,
        weights,
        target_field_length=frames,
        target_padding=margin,
        input_length=frames + 2 * context,
    )
    padded = np.pad(mixture, context)[None]
    return predict(padded)[:, 0, margin : margin + frames]


def stream(separator, mixture, pieces):
    parts, start = [], 0
    for length in pieces:
        parts.append(separator.push(mixture[start : start + length]))
        start += length
    parts.append(separator.push(mixture[start:]))
    return np.concatenate([*parts, separator.finish()], axis=1)


@pytest.mark.slow
@pytest.mark.parametrize("task_name", TASK_NAMES)
@pytest.mark.parametrize("block_length", [1, 7, 50, 400])
def test_stream_equals_the_whole(task_name, block_length, rng):
    config = tiny_config(task_name)
    weights = random_weights(config, rng)
    mixture = rng.standard_normal(307).astype("float32")
    separator = streaming.StreamingSeparator(config, weights, block_length)
    expected = offline(config, weights, mixture)
    for pieces in ([], [1, 0, 30, 200], [50] * 6):  # the same object, again and again
        stems = stream(separator, mixture, pieces)
        assert stems.shape == (len(config.task.stems), 307)
        np.testing.assert_allclose(stems[:-1], expected, rtol=0, atol=1e-5)
        np.testing.assert_allclose(stems.sum(axis=0), mixture, rtol=0, atol=1e-5)


CONFIG = tiny_config()
WEIGHTS = random_weights(CONFIG, np.random.default_rng(4))
MIXTURE = np.random.default_rng(5).standard_normal(307).astype("float32")
SEPARATOR = functools.lru_cache(
    lambda: streaming.StreamingSeparator(CONFIG, WEIGHTS, 20)
)
EXPECTED = functools.lru_cache(lambda: offline(CONFIG, WEIGHTS, MIXTURE))


@hypothesis.settings(max_examples=30)
@hypothesis.given(strategies.lists(strategies.integers(0, 100), max_size=15))
def test_a_stream_may_come_in_any_pieces(pieces):
    stems = stream(SEPARATOR(), MIXTURE, pieces)
    assert stems.shape == (len(CONFIG.task.stems), 307)
    np.testing.assert_allclose(stems[:-1], EXPECTED(), rtol=0, atol=1e-5)


def test_stream_equals_the_formulas(rng):
    config = tiny_config()
    weights = random_weights(config, rng)
    mixture = rng.standard_normal(40).astype("float32")
    separator = streaming.StreamingSeparator(config, weights, 16)
    stems = stream(separator, mixture, [])
    margin = config.head_margin
    padded = np.pad(mixture, config.context_length)
    expected = oracle(config, weights, padded, margin, 40)[:, margin:-margin]
    np.testing.assert_allclose(stems[:-1], expected, rtol=1e-4, atol=1e-5)


def test_stream_with_the_golden_weights(rng):
    config = golden_config("multi-instrument")
    path = golden_checkpoint("multi-instrument")
    weights = checkpoints.read_checkpoint(path, config).weights
    # Loud enough to have no gain.
    mixture = 0.5 * rng.standard_normal(2000).astype("float32")
    separator = streaming.StreamingSeparator(config, weights, 160)
    np.testing.assert_allclose(
        stream(separator, mixture, [333] * 5)[:-1],
        offline(config, weights, mixture),
        rtol=0,
        atol=1e-5,
    )


def test_latency_is_the_context_plus_the_block_plus_two_pieces_of_10_ms(rng):
    config = tiny_config(dataset={"sample_rate": 700})
    separator = streaming.StreamingSeparator(config, random_weights(config, rng), 10)
    mixture = rng.standard_normal(200).astype("float32")
    context = config.context_length
    done = 0
    for k in range(200):
        done += separator.push(mixture[k : k + 1]).shape[1]
        amplified = ((k + 1) // 7 - 1) * 7  # the piece behind it is there
        assert done == max(0, amplified // 10 * 10 - context)
        assert k - done <= separator.latency


@pytest.mark.parametrize(
    ("piece", "message"),
    [
        (np.zeros(10, np.int16), "floating-point samples"),
        (np.zeros(10, complex), "floating-point samples"),
        (None, "floating-point samples"),
        (0.5, r"\(frames,\), got \(\)"),
        (np.zeros((10, 1)), r"\(frames,\), got \(10, 1\)"),
        ([[0.1], [0.2, 0.3]], "none of one shape"),
        ([0.1, np.nan], "NaN or infinity"),
        ([1e300], "NaN or infinity"),
    ],
)
def test_pieces_that_cannot_be_used_are_refused_and_the_rest_goes_on(
    piece, message, rng
):
    config = tiny_config("singing-voice")
    weights, mixture = random_weights(config, rng), rng.standard_normal(50) / 10
    found = []
    for bad in ((), (piece,)):
        separator = streaming.StreamingSeparator(config, weights, 8)
        parts = [separator.push(mixture[:20])]
        for each in bad:
            with pytest.raises(UserError, match=message):
                separator.push(each)
        found.append([*parts, separator.push(mixture[20:]), separator.finish()])
    for one, other in zip(*found):
        np.testing.assert_array_equal(one, other)


def test_an_empty_stream_has_empty_stems(rng):
    config = tiny_config("singing-voice")
    separator = streaming.StreamingSeparator(config, random_weights(config, rng), 8)
    assert separator.push(np.zeros(0, "float32")).shape == (2, 0)
    assert separator.finish().shape == (2, 0)


@pytest.mark.slow
def test_longer_filters_stream_too(rng):
    lengths = {"res": 5, "final": [5, 1], "skip": 1}
    filters = {"depths": {"res": 2, "skip": 3, "final": [4, 5]}, "lengths": lengths}
    config = tiny_config(model={"filters": filters})
    weights = random_weights(config, rng)
    mixture = rng.standard_normal(100).astype("float32")
    separator = streaming.StreamingSeparator(config, weights, 30)
    np.testing.assert_allclose(
        stream(separator, mixture, [])[:-1],
        offline(config, weights, mixture),
        rtol=0,
        atol=1e-5,
    )


@pytest.mark.parametrize("silent", [0, 30, 100, 400])
def test_prediction_by_blocks_equals_that_of_the_whole(silent, rng, monkeypatch):
    monkeypatch.setattr(streaming, "BLOCK_LENGTH", 16)
    config = tiny_config()
    weights = random_weights(config, rng)
    context, field = config.context_length, 150
    framing: dict[str, Any] = {
        "target_field_length": field,
        "target_padding": config.head_margin,
        "input_length": field + 2 * context,
    }
    fragments = rng.standard_normal((3, field + 2 * context)).astype("float32")
    fragments[1, :silent] = 0
    by_blocks = streaming.BlockwisePredict(config, weights, num_threads=2, **framing)
    whole = models.build_predict(config, weights, **framing)
    inside = slice(config.head_margin, config.head_margin + field)
    np.testing.assert_allclose(
        by_blocks(fragments)[..., inside],
        whole(fragments)[..., inside],
        rtol=0,
        atol=1e-5,
    )


class Trickle:
    """A source that gives a few bytes at a time, not always whole samples."""

    def __init__(self, data):
        self.data = io.BytesIO(data)

    def read1(self, size):
        return self.data.read(min(size, 7))


def test_pipe_interleaves_the_stems(rng):
    config = tiny_config()
    weights = random_weights(config, rng)
    mixture = rng.standard_normal(150).astype("float32")
    separator = streaming.StreamingSeparator(config, weights, 16)
    sink = io.BytesIO()
    streaming.pipe(separator, Trickle(mixture.tobytes()).read1, sink.write)
    stems = np.frombuffer(sink.getvalue(), "float32").reshape(-1, 4).T
    assert stems.shape == (4, 150)
    expected = offline(config, weights, mixture)
    np.testing.assert_allclose(stems[:-1], expected, rtol=0, atol=1e-5)
    np.testing.assert_allclose(stems.sum(axis=0), mixture, rtol=0, atol=1e-5)


def test_pipe_refuses_half_a_sample(rng):
    config = tiny_config()
    separator = streaming.StreamingSeparator(config, random_weights(config, rng), 16)
    with pytest.raises(UserError, match="got 2 bytes more"):
        streaming.pipe(separator, Trickle(bytes(10)).read1, io.BytesIO().write)


class Echo(streaming.StreamingSeparator):
    """A separator of one stem that puts out what it gets, times a factor."""

    block_length = 2

    def __init__(self, factor):
        self.factor = factor

    def push(self, samples):
        return self.factor * samples[None]

    def finish(self):
        return np.full((1, 1), self.factor, np.float32)


@pytest.mark.parametrize("spoiled", [np.nan, np.inf])
@pytest.mark.parametrize("place", [0, 3])
def test_pipe_refuses_samples_that_are_not_finite(spoiled, place):
    samples = np.ones(4, np.float32)
    samples[place] = spoiled
    sink = io.BytesIO()
    with pytest.raises(UserError, match="stdin: expected finite samples"):
        streaming.pipe(Echo(1.0), io.BytesIO(samples.tobytes()).read1, sink.write)
    assert len(sink.getvalue()) == place // 2 * 8  # the blocks before


@pytest.mark.parametrize("data", [b"", bytes(8)])
def test_pipe_refuses_output_that_is_not_finite(data):
    source, sink = io.BytesIO(data), io.BytesIO()
    with pytest.raises(UserError, match="output has NaN or infinity"):
        streaming.pipe(Echo(np.nan), source.read1, sink.write)
    assert sink.getvalue() == b""
