"""Framing alone, with a NumPy filter as the network: nothing shifts or is lost."""

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies

from sswavenet.separation.framing import (
    Framing,
    Network,
    estimate_blocks,
    estimate_stems,
)
from tests.support import tiny_config

CONFIG = tiny_config()
CONTEXT = CONFIG.context_length


def filter_network(kernels: np.ndarray, shape: Framing):
    """A linear network: each estimate is a filter over 2 * CONTEXT + 1 samples."""

    def predict(fragments: np.ndarray) -> np.ndarray:
        assert fragments.shape[1] == shape.input_length
        assert fragments.dtype == np.float32
        count = shape.target_field_length + 2 * shape.target_padding
        start = (shape.input_length - count) // 2
        outputs = [
            [np.convolve(row, kernel)[CONTEXT:][: len(row)] for row in fragments]
            for kernel in kernels
        ]
        return np.array(outputs, np.float32)[:, :, start : start + count]

    return predict


@hypothesis.given(
    length=strategies.integers(1, 300),
    field=strategies.integers(1, 120),
    batch_size=strategies.integers(1, 5),
)
def test_seamless_equals_the_filter_over_the_whole_mixture(length, field, batch_size):
    rng = np.random.default_rng(length)
    mixture = rng.standard_normal(length).astype(np.float32)
    kernels = rng.standard_normal((2, 2 * CONTEXT + 1))
    shape = Framing.seamless(CONFIG, field)
    estimates = estimate_stems(
        mixture,
        Network(shape, batch_size, filter_network(kernels, shape)),
        num_estimates=2,
    )
    for estimate, kernel in zip(estimates, kernels):
        expected = np.convolve(mixture, kernel)[CONTEXT : CONTEXT + length]
        np.testing.assert_allclose(estimate, expected, rtol=0, atol=1e-4)


@hypothesis.given(
    extra=strategies.integers(1, 300),
    field=strategies.integers(1, 120),
    batch_size=strategies.integers(1, 5),
)
def test_original_framing_starts_half_a_receptive_field_late(extra, field, batch_size):
    field_length = CONFIG.receptive_field_length
    mixture = np.arange(1, field_length + extra, dtype=np.float32)
    identity = np.zeros((1, 2 * CONTEXT + 1))
    identity[0, CONTEXT] = 1
    shape = Framing.original(CONFIG, field)
    estimates = estimate_stems(
        mixture,
        Network(shape, batch_size, filter_network(identity, shape)),
        num_estimates=1,
    )
    assert estimates.shape == (1, len(mixture) - (field_length - 1))
    assert estimates[0, 0] == mixture[field_length // 2]
    half = field_length // 2
    assert estimates[0].tolist() == mixture[half : len(mixture) - half].tolist()


@pytest.mark.parametrize("make", [Framing.seamless, Framing.original])
def test_batches_have_one_shape_and_the_last_is_filled_with_zeros(make):
    shape, batches = make(CONFIG, 10), []

    def predict(fragments):
        batches.append(fragments.copy())
        return np.zeros((1, 4, 10 + 2 * shape.target_padding), np.float32)

    mixture = np.ones(shape.lost + 95, np.float32)
    estimate_stems(mixture, Network(shape, 4, predict), num_estimates=1)
    assert [batch.shape for batch in batches] == [(4, shape.input_length)] * 3
    assert not batches[-1][2:].any()
    assert batches[-1][1].any()


@pytest.mark.parametrize("make", [Framing.seamless, Framing.original])
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_pieces_of_a_mixture_give_what_the_whole_gives(make, size, rng):
    shape = make(CONFIG, 10)
    mixture = rng.standard_normal(shape.lost + 95).astype(np.float32)
    kernels = rng.standard_normal((2, 2 * CONTEXT + 1))
    network = Network(shape, 3, filter_network(kernels, shape))
    pieces = [mixture[k : k + size] for k in range(0, len(mixture), size)]
    parts = list(estimate_blocks(pieces, network, num_estimates=2))
    assert [len(part) for part, _ in parts] == [30, 30, 30, 5]
    half = shape.lost // 2
    stand_for = mixture[half : len(mixture) - half]
    assert np.concatenate([part for part, _ in parts]).tolist() == stand_for.tolist()
    np.testing.assert_array_equal(
        np.concatenate([estimates for _, estimates in parts], axis=1),
        estimate_stems(mixture, network, num_estimates=2),
    )
