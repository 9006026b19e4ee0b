"""Losses and metrics against their formulas."""

import numpy as np
import pytest

import models
from sswavenet.backend import compat
from sswavenet.config.tasks import OutputLoss
from sswavenet.training import losses
from sswavenet.training.session import train
from tests.support import tiny_config
from util import UserError


@pytest.mark.parametrize(
    ("weight", "l1", "l2"),
    [(1, 1, 0), (-0.05, 1, 0), (2, 0, 3), (0.5, 1, 2), (1, 0, 0)],
)
def test_loss_is_the_weighted_sum_of_means(weight, l1, l2, rng):
    target, estimate = rng.standard_normal((2, 3, 40)).astype("float32")
    terms = OutputLoss(weight, l1, l2)
    value = losses.output_loss(terms)(
        compat.constant(target), compat.constant(estimate)
    )
    error = (estimate - target).astype("float64")
    expected = weight * (
        l1 * np.abs(error).mean(axis=-1) + l2 * (error**2).mean(axis=-1)
    )
    np.testing.assert_allclose(compat.get_value(value), expected, rtol=1e-5, atol=1e-7)


def test_valid_error_leaves_out_one_sample_before_and_two_after():
    target = np.zeros((1, 10), "float32")
    estimate = np.array([[9, 1, 1, 1, 1, 1, 1, 1, 9, 9]], "float32")
    arguments = compat.constant(target), compat.constant(estimate)
    assert compat.get_value(losses.valid_mean_absolute_error(*arguments)) == [1.0]
    assert float(compat.get_value(losses.mean_absolute_error(*arguments))[0]) == (
        pytest.approx(3.4)
    )


def test_each_output_has_its_loss_and_metrics():
    arguments = losses.compile_arguments(tiny_config("singing-voice"))
    assert list(arguments["loss"]) == ["data_output_1", "data_output_2"]
    names = [metric.__name__ for metric in arguments["metrics"]["data_output_2"]]
    assert names == ["mean_absolute_error", "valid_mean_absolute_error"]


@pytest.mark.slow
def test_the_loss_of_the_papers_depth_has_gradients():
    filters = {
        "depths": {"res": 1, "skip": 1, "final": [1, 1]},
        "lengths": {"res": 3, "final": [3, 3], "skip": 1},
    }
    config = tiny_config(model={"filters": filters, "num_stacks": 4, "dilations": 9})
    assert config.num_residual_blocks == 40
    model = models.build_wavenet(config)
    arguments = losses.compile_arguments(config)
    model.compile(optimizer=compat.make_optimizer(0.01, 1e-8), **arguments)
    if compat.backend_name() == "theano":  # whose compilation would take a minute
        gradients = model.optimizer.get_gradients(
            model.total_loss, model.trainable_weights
        )
        assert len(gradients) == len(model.trainable_weights)
        return
    length = config.padded_target_field_length
    logs = compat.train_on_batch(
        model,
        np.ones((1, config.input_length), "float32"),
        [np.zeros((1, length), "float32")] * len(config.task.supervised),
    )
    assert np.isfinite(float(logs["loss"]))


@pytest.mark.parametrize(("field", "padding", "least"), [(3, 0, 4), (1, 1, 2)])
def test_a_field_too_short_to_train_on_is_refused(field, padding, least, tmp_path):
    config = tiny_config(
        dataset={"path": str(tmp_path)},
        model={"target_field_length": field, "target_padding": padding},
        training={"path": str(tmp_path / "s")},
    )
    with pytest.raises(UserError, match=f"at least {least} to train .* got {field}"):
        train(config)
