"""A grown network computes what the small one computed, and new parts can learn."""

import json

import numpy as np
import pytest

import models
from sswavenet.backend import compat
from sswavenet.training import grow, losses
from tests.support import oracle, random_weights, tiny_config
from tests.training.conftest import BIGGER
from util import UserError


def estimates_of_both(small, big, rng):
    """What a network and the one grown from it estimate of the same samples."""
    weights = random_weights(small, rng)
    arrays = grow.grown_weights([(small, weights)], big, rng)
    assert {n: a.shape for n, a in arrays.items()} == big.weight_shapes
    field, margin = 7, big.head_margin
    fragment = rng.standard_normal(field + 2 * big.context_length)
    cut = big.context_length - small.context_length
    part = fragment[cut : len(fragment) - cut]
    expected = oracle(small, weights, part, margin, field)
    got = oracle(big, arrays, fragment, margin, field)
    inside = slice(margin, margin + field)
    return expected[:, inside], got[:, inside]


def test_grown_network_computes_the_same(rng):
    expected, got = estimates_of_both(tiny_config(), tiny_config(model=BIGGER), rng)
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("model", [{}, BIGGER])
def test_singing_voice_begins_with_the_vocals_of_multi_instrument(model, rng):
    big = tiny_config("singing-voice", model=model)
    expected, got = estimates_of_both(tiny_config(), big, rng)
    np.testing.assert_allclose(got, expected[:1], rtol=0, atol=1e-9)


def test_multi_instrument_cannot_begin_with_singing_voice(rng):
    small, big = tiny_config("singing-voice"), tiny_config()
    with pytest.raises(UserError, match="expected a network that estimates vocals, dr"):
        grow.grown_weights([(small, random_weights(small, rng))], big, rng)


def middle(config, arrays, fragment, field):
    """What a network estimates of the middle of a fragment that may be too long."""
    cut = (len(fragment) - field) // 2 - config.context_length
    part = fragment[cut : len(fragment) - cut]
    margin = config.head_margin
    return oracle(config, arrays, part, margin, field)[:, margin : margin + field]


# The last layers' channels fit side by side, or only as many as there are estimates.
@pytest.mark.parametrize("last", [10, 4])
def test_several_networks_grow_into_the_mean_of_what_they_estimate(last, rng):
    model = json.loads(json.dumps(BIGGER))
    depths = model["filters"]["depths"]
    depths |= {"res": 9, "skip": 12, "final": [15, last]}
    big = tiny_config(model=model)
    parts = [
        (small, random_weights(small, rng))
        for small in (tiny_config(), tiny_config("singing-voice"))
    ]
    arrays = grow.grown_weights(parts, big, rng)
    assert {name: array.shape for name, array in arrays.items()} == big.weight_shapes
    fragment = rng.standard_normal(7 + 2 * big.context_length)
    all_three, vocals = (middle(*part, fragment, 7) for part in parts)
    got = middle(big, arrays, fragment, 7)
    np.testing.assert_allclose(got[0], (all_three[0] + vocals[0]) / 2, atol=1e-6)
    np.testing.assert_allclose(got[1:], all_three[1:], rtol=0, atol=1e-6)


def test_networks_that_do_not_fit_side_by_side_are_refused(rng):
    small = tiny_config()
    parts = [(small, random_weights(small, rng))] * 2
    with pytest.raises(UserError, match="expected residual_channels of at least 8"):
        grow.grown_weights(parts, tiny_config(model=BIGGER), rng)


def test_new_channels_are_not_dead(rng):
    """Old parts read nothing new, but new parts are neither silent nor unread."""
    small, big = tiny_config(), tiny_config(model=BIGGER)
    arrays = grow.grown_weights([(small, random_weights(small, rng))], big, rng)
    assert np.abs(arrays["res_1_dilated_conv_d1_s0/kernel"][:, :, 4:6]).min() > 0
    assert np.abs(arrays["conv1d_9/kernel"][:, :, 4:6]).min() > 0  # an added stack
    assert np.abs(arrays["conv1d_9/kernel"][:, :, :4]).max() == 0
    assert np.abs(arrays["conv1d_11/kernel"][:, 7:, :6]).max() == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dilations": [1, 2, 8]}, "same dilations"),
        ({"num_stacks": 1}, "num_stacks of at least 2, got 1"),
        ({"sample_rate": 8000}, "same sample_rate in all networks, got 16000 and 8000"),
    ],
)
def test_what_does_not_fit_is_refused(changes, message, rng):
    small = tiny_config()
    with pytest.raises(UserError, match=message):
        grow.grown_weights(
            [(small, random_weights(small, rng))], small.replace(**changes), rng
        )


@pytest.mark.slow
@pytest.mark.keras3
def test_a_grown_network_learns(rng):
    """First the connections that were zero, then what lies behind them, too."""
    small, big = tiny_config(), tiny_config(model=BIGGER)
    weights = random_weights(small, rng)
    arrays = grow.grown_weights([(small, weights)], big, rng)
    model = models.build_wavenet(big)
    models.load_weights(model, big, arrays)
    model.compile(
        optimizer=compat.make_optimizer(0.01, 1e-8), **losses.compile_arguments(big)
    )
    length = big.padded_target_field_length
    inputs = rng.standard_normal((2, big.input_length)).astype("float32")
    targets = [np.ones((2, length), "float32")] * len(big.task.supervised)
    changed = []
    for _ in range(2):
        compat.train_on_batch(model, inputs, targets)
        now = models.weights_of(model, big)
        changed.append({name: now[name] != arrays[name] for name in now})
    ones = {name: np.ones_like(array) for name, array in weights.items()}
    nothing = {name: np.zeros_like(array) for name, array in weights.items()}
    with_ones, with_nothing = (
        grow.grown_weights([(small, each)], big, np.random.default_rng(0))
        for each in (ones, nothing)
    )
    for name, array in arrays.items():
        new = with_ones[name] == with_nothing[name]
        for step, part in enumerate((new & (array == 0), new & (array != 0))):
            if part.any():
                assert (changed[step][name] & part).any(), (name, step)
