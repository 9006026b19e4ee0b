"""The layers of the block, one by one, against NumPy."""

import keras
import numpy as np
import pytest

import layers
from sswavenet.backend import compat, fast_layers
from tests.support import correlate_same


def run(layer, inputs):
    """Build a model of one layer and run it."""
    data = keras.layers.Input(shape=inputs.shape[1:])
    model = keras.Model(data, layer(data))
    return model, model.predict_on_batch(inputs)


@pytest.fixture
def signal(rng):
    return rng.standard_normal((2, 12, 6)).astype("float32")


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (layers.CropTime(3, 5), np.s_[:, 3:8, :]),
        (layers.TakeChannels(1, 4), np.s_[:, :, 1:4]),
        (layers.TakeChannel(2), np.s_[:, :, 2]),
    ],
)
def test_slices(layer, expected, signal):
    _, output = run(layer, signal)
    np.testing.assert_array_equal(output, signal[expected])
    shape = tuple(layer.compute_output_shape((None, *signal.shape[1:])))
    assert shape == (None, *output.shape[1:])
    again = type(layer).from_config(layer.get_config())
    assert again.get_config() == layer.get_config()


def test_gate_is_the_product_of_its_halves(signal):
    layer = layers.Gate()
    _, output = run(layer, signal)
    expected = np.tanh(signal[:, :, :3]) / (1 + np.exp(-signal[:, :, 3:]))
    np.testing.assert_allclose(output, expected, rtol=0, atol=1e-6)
    assert tuple(layer.compute_output_shape((None, 12, 6))) == (None, 12, 3)


@pytest.mark.parametrize("filter_length", [1, 3, 5])
def test_merged_head_is_the_product_of_its_two_convolutions(filter_length, signal, rng):
    layer = fast_layers.MergedHead(4, 2, filter_length)
    model, _ = run(layer, signal)
    first = rng.standard_normal((filter_length, 6, 4)).astype("float32")
    last = rng.standard_normal((1, 4, 2)).astype("float32")
    bias = rng.standard_normal(2).astype("float32")
    for variable, value in (
        (layer.first_kernel, first),
        (layer.last_kernel, last),
        (layer.bias, bias),
    ):
        compat.set_value(variable, value)
    output = model.predict_on_batch(signal)
    for k, fragment in enumerate(signal):
        expected = correlate_same(fragment, first) @ last[0] + bias
        np.testing.assert_allclose(output[k], expected, rtol=1e-4, atol=1e-4)
    again = fast_layers.MergedHead.from_config(layer.get_config())
    assert again.get_config() == layer.get_config()


@pytest.mark.parametrize("dilation", [1, 4])
def test_block_keeps_what_same_convolutions_give(dilation, rng):
    x = rng.standard_normal((1, 30, 3)).astype("float32")
    gate = rng.standard_normal((3, 3, 6)).astype("float32")
    both = rng.standard_normal((1, 3, 5)).astype("float32")
    data = keras.layers.Input(shape=x.shape[1:])
    length = 30 - 2 * dilation
    outputs = layers.residual_block(
        data,
        None,
        skip_channels=2,
        filter_length=3,
        dilation=dilation,
        padding=(0, 0),
        crop=(dilation, length),
        skip_crop=(2, 10),
        names=("gate", "both"),
    )
    model = keras.Model(data, list(outputs))
    flip = compat.kernel_convention() == "theano"
    compat.set_value(model.get_layer("gate").kernel, gate[::-1] if flip else gate)
    compat.set_value(model.get_layer("both").kernel, both)
    output, skip = model.predict_on_batch(x)
    gated = correlate_same(x[0], gate, dilation)
    gated = np.tanh(gated[:, :3]) / (1 + np.exp(-gated[:, 3:]))
    mixed = gated @ both[0]
    expected = (x[0] + mixed[:, :3])[dilation : dilation + length]
    np.testing.assert_allclose(output[0], expected, rtol=1e-4, atol=1e-5)
    expected = mixed[dilation + 2 : dilation + 12, 3:]
    np.testing.assert_allclose(skip[0], expected, rtol=1e-4, atol=1e-5)
