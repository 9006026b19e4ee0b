"""The network: golden outputs of 2018, a NumPy oracle, its facts, its framings."""

import numpy as np
import pytest

import models
import util
from sswavenet import checkpoints
from sswavenet.backend import compat, fast_layers
from sswavenet.config.document import parse_config
from sswavenet.training import losses
from tests.support import (
    GOLDEN,
    TASK_NAMES,
    golden_checkpoint,
    golden_config,
    oracle,
    random_weights,
    tiny_config,
)


@pytest.mark.parametrize("merged_head", [False, True])
@pytest.mark.parametrize("task_name", TASK_NAMES)
def test_outputs_equal_those_of_2018(task_name, merged_head):
    config = golden_config(task_name)
    weights = checkpoints.read_checkpoint(golden_checkpoint(task_name), config).weights
    golden = np.load(GOLDEN / task_name / "forward.npz")
    predict = models.build_predict(config, weights, merged_head=merged_head)
    outputs = predict(golden["data_input"])
    assert len(outputs) == len(config.task.estimates)
    for k, output in enumerate(outputs):
        np.testing.assert_allclose(
            output, golden[f"data_output_{k + 1}"], rtol=0, atol=1e-6
        )


@pytest.mark.slow
@pytest.mark.keras3
@pytest.mark.parametrize("task_name", TASK_NAMES)
def test_products_of_gathered_taps_train_as_in_2018(task_name):
    config = golden_config(task_name)
    weights = checkpoints.read_checkpoint(golden_checkpoint(task_name), config).weights
    golden = np.load(GOLDEN / task_name / "training.npz")
    model = models.build_wavenet(config, gathered=True)
    assert any(isinstance(layer, fast_layers.GatheredConv1D) for layer in model.layers)
    models.load_weights(model, config, weights)
    model.compile(
        optimizer=compat.make_optimizer(config.learning_rate, config.epsilon),
        **losses.compile_arguments(config),
    )
    for fragment, targets, metrics in zip(
        golden["data_input"], golden["targets"], golden["metrics"]
    ):
        logs = compat.train_on_batch(model, fragment, list(targets))
        assert float(logs["loss"]) == pytest.approx(metrics[0], rel=1e-5)
    outputs = model.predict_on_batch(
        np.load(GOLDEN / task_name / "forward.npz")["data_input"]
    )
    for k, output in enumerate(outputs):
        np.testing.assert_allclose(
            output, golden[f"after_output_{k + 1}"], rtol=0, atol=1e-5
        )


@pytest.mark.parametrize("task_name", TASK_NAMES)
@pytest.mark.parametrize("framing", ["original", "seamless"])
def test_outputs_equal_the_formulas(task_name, framing, rng):
    config = tiny_config(task_name)
    weights = random_weights(config, rng)
    field = 9
    padding = config.target_padding if framing == "original" else config.head_margin
    length = field - 1 + config.receptive_field_length
    if framing == "seamless":
        length = field + 2 * config.context_length
    fragments = rng.standard_normal((2, length)).astype("float32")
    outputs = models.build_predict(
        config,
        weights,
        target_field_length=field,
        target_padding=padding,
        input_length=length,
    )(fragments)
    for k, fragment in enumerate(fragments):
        expected = oracle(config, weights, fragment, padding, field)
        np.testing.assert_allclose(outputs[:, k], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("padding", [0, 3])
def test_any_padding_equals_the_formulas(padding, rng):
    config = tiny_config(model={"target_padding": padding})
    weights = random_weights(config, rng)
    fragment = rng.standard_normal(config.input_length).astype("float32")
    outputs = models.build_predict(config, weights)(fragment[None])
    expected = oracle(config, weights, fragment, padding, config.target_field_length)
    np.testing.assert_allclose(outputs[:, 0], expected, rtol=1e-4, atol=1e-5)


def test_longer_filters_equal_the_formulas(rng):
    lengths = {"res": 5, "final": [5, 1], "skip": 1}
    filters = {"depths": {"res": 2, "skip": 3, "final": [4, 5]}, "lengths": lengths}
    config = tiny_config(model={"filters": filters})
    weights = random_weights(config, rng)
    fragment = rng.standard_normal(config.input_length).astype("float32")
    outputs = models.build_predict(config, weights)(fragment[None])
    expected = oracle(config, weights, fragment, 1, config.target_field_length)
    np.testing.assert_allclose(outputs[:, 0], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "parameters"),
    [("multi_instrument", 3_277_763), ("singing_voice", 3_277_249)],
)
def test_shipped_networks_have_the_original_size(name, parameters):
    document = util.read_json(GOLDEN.parents[2] / f"config_{name}.json")
    config = parse_config(document, task_name=name.replace("_", "-"))
    model = models.build_wavenet(config, merged_head=False)
    assert model.count_params() == parameters == config.num_params
    assert config.receptive_field_length == 8185
    assert config.input_length == 9785
    assert config.padded_target_field_length == 1603
    assert config.context_length == 4095  # the true field is 8191
    shapes = [compat.get_value(weight).shape for weight in model.trainable_weights]
    assert sorted(shapes) == sorted(config.weight_shapes.values())


def test_an_impulse_reaches_exactly_the_true_receptive_field(rng):
    config = tiny_config()
    weights = {
        name: np.abs(array) for name, array in random_weights(config, rng).items()
    }
    context, field = config.context_length, 201
    predict = models.build_predict(
        config,
        weights,
        target_field_length=field,
        target_padding=config.head_margin,
        input_length=field + 2 * context,
    )
    silence = np.zeros((2, field + 2 * context), "float32")
    silence[1, context + 100] = 1.0
    outputs = predict(silence)[:, :, config.head_margin : config.head_margin + field]
    changed = np.flatnonzero(np.abs(outputs[:, 1] - outputs[:, 0]).max(axis=0) > 0)
    # As far ahead as behind: nothing shifts in time.
    assert changed[0] == 100 - context
    assert changed[-1] == 100 + context


def test_weights_survive_the_model(rng):
    config = tiny_config("singing-voice")
    weights = random_weights(config, rng)
    for merged_head in (False, True):
        model = models.build_wavenet(config, merged_head=merged_head)
        models.load_weights(model, config, weights)
        back = models.weights_of(model, config)
        assert list(back) == list(weights)
        for name, array in weights.items():
            np.testing.assert_array_equal(back[name], array)


def test_an_odd_difference_of_lengths_is_refused():
    with pytest.raises(ValueError, match=r"even number of at least 2, got 50 and 21"):
        models.build_wavenet(tiny_config(), input_length=50)


def test_backend_is_described():
    assert "Keras" in models.describe_backend()
