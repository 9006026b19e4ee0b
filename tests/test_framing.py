"""Framing alone, with a NumPy filter as the network: nothing shifts or is lost."""

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies
from networks import tiny_config

import framing
from config import UserError
from framing import Framing, choose_shape, estimate_stems

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
        shape,
        filter_network(kernels, shape),
        num_estimates=2,
        batch_size=batch_size,
    )
    for estimate, kernel in zip(estimates, kernels):
        expected = np.convolve(mixture, kernel)[CONTEXT : CONTEXT + length]
        np.testing.assert_allclose(estimate, expected, rtol=0, atol=1e-4)
    assert shape.aligned(mixture).tolist() == mixture.tolist()


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
        shape,
        filter_network(identity, shape),
        num_estimates=1,
        batch_size=batch_size,
    )
    assert estimates.shape == (1, len(mixture) - (field_length - 1))
    assert estimates[0, 0] == mixture[field_length // 2]
    assert estimates[0].tolist() == shape.aligned(mixture).tolist()


@pytest.mark.parametrize("make", [Framing.seamless, Framing.original])
def test_batches_have_one_shape_and_the_last_is_filled_with_zeros(make):
    shape, batches = make(CONFIG, 10), []

    def predict(fragments):
        batches.append(fragments.copy())
        return np.zeros((1, 4, 10 + 2 * shape.target_padding), np.float32)

    mixture = np.ones(shape.lost + 95, np.float32)
    estimate_stems(mixture, shape, predict, num_estimates=1, batch_size=4)
    assert [batch.shape for batch in batches] == [(4, shape.input_length)] * 3
    assert not batches[-1][2:].any()
    assert batches[-1][1].any()


def test_progress_adds_up_to_the_stems_length():
    shape, steps = Framing.seamless(CONFIG, 10), []
    estimate_stems(
        np.ones(95, np.float32),
        shape,
        lambda fragments: np.zeros((1, 3, 10 + 2 * shape.target_padding)),
        num_estimates=1,
        batch_size=3,
        on_progress=steps.append,
    )
    assert steps == [30, 30, 30, 5]


@pytest.mark.parametrize("make", [Framing.seamless, Framing.original])
def test_what_is_given_is_taken(make):
    shape, batch_size = choose_shape(
        CONFIG, make, [5, 50000], target_field_length=401, batch_size=3
    )
    assert shape == make(CONFIG, 401)
    assert batch_size == 3


@pytest.mark.parametrize("longest", [1, 2, 15999, 16000, 16001, 32001, 10**9])
def test_a_chosen_field_is_no_longer_than_needed(longest):
    shape, batch_size = choose_shape(CONFIG, Framing.seamless, [1, longest, 0])
    assert batch_size == 1
    assert shape.target_field_length <= framing.PASS_LENGTH
    rounds = shape.num_fragments(longest)
    assert 0 <= rounds * shape.target_field_length - longest < rounds
    assert rounds == -(-longest // framing.PASS_LENGTH)


def test_the_batch_size_is_chosen_for_a_given_field():
    _, batch_size = choose_shape(
        CONFIG, Framing.seamless, [10**6], target_field_length=100
    )
    inputs = batch_size * (100 + 2 * CONTEXT)
    assert 0.9 * framing.PASS_LENGTH < inputs <= framing.PASS_LENGTH + 2 * CONTEXT
    _, batch_size = choose_shape(
        CONFIG, Framing.seamless, [250], target_field_length=100
    )
    assert batch_size == 3  # there are no more fragments than that


def test_the_field_is_chosen_for_a_given_batch_size():
    shape, batch_size = choose_shape(CONFIG, Framing.seamless, [10**6], batch_size=8)
    assert batch_size == 8
    assert shape.target_field_length <= framing.PASS_LENGTH / 8


def test_chosen_shapes_keep_to_a_quarter_of_the_memory(monkeypatch):
    monkeypatch.setattr(framing, "available_memory", lambda: 2**20)
    shape, batch_size = choose_shape(CONFIG, Framing.seamless, [10**6])
    assert framing.bytes_needed(CONFIG, shape, batch_size) <= 2**18
    shape, batch_size = choose_shape(
        CONFIG, Framing.seamless, [10**6], target_field_length=50
    )
    assert framing.bytes_needed(CONFIG, shape, batch_size) <= 2**18
    assert batch_size > 1


def test_a_shape_that_does_not_fit_is_refused_with_both_sizes(monkeypatch):
    monkeypatch.setattr(framing, "available_memory", lambda: 100 * 2**20)
    with pytest.raises(UserError, match=r"\d{5,} MiB of memory, but 100 MiB"):
        choose_shape(
            CONFIG, Framing.seamless, [5], target_field_length=10**6, batch_size=90
        )


def test_memory_grows_with_field_and_batch():
    small = framing.bytes_needed(CONFIG, Framing.seamless(CONFIG, 100), 1)
    assert framing.bytes_needed(CONFIG, Framing.seamless(CONFIG, 200), 1) > small
    assert framing.bytes_needed(CONFIG, Framing.seamless(CONFIG, 100), 3) == 3 * small
    assert framing.available_memory() > 2**20
