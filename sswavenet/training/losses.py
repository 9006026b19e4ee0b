"""Losses and metrics on the padded target field.

Conventions: estimates and targets have shape (batch, padded target field); the
value of a loss is the mean over both axes, but only over those fragments of the batch
that know the stem: the target of one that does not is NaN. Where none knows it, the
value is 0.

The formulas are the paper's: a weighted mean of absolute or squared errors of each
stem; for singing-voice the one estimate is also compared with the accompaniment, with
a small negative weight (the dissimilarity term).

Reference: Lluis, Pons, Serra, arXiv 1810.12187.
"""

from __future__ import annotations

from typing import Any, Callable

from sswavenet.backend import compat
from sswavenet.config.session import Config
from sswavenet.config.tasks import OutputLoss
from util import UserError

# Of the padded target field: fewer leave `valid_mean_absolute_error` nothing.
MIN_FIELD_LENGTH = 4


def check_field(config: Config) -> None:
    """Refuse a target field that is too short to train on."""
    least = MIN_FIELD_LENGTH - 2 * config.target_padding
    if config.target_field_length < least:
        raise UserError(
            f"model.target_field_length must be at least {least} to train with a "
            f"model.target_padding of {config.target_padding}, got "
            f"{config.target_field_length}"
        )


def _error(target: Any, estimate: Any) -> Any:
    """Estimate minus target, zero and without a gradient where that is not known."""
    return estimate - compat.where(compat.isnan(target), estimate, target)


def _mean_of_known(value: Any, target: Any) -> Any:
    """Scale values, (batch,), so that their mean is that of the known fragments.

    Keras takes the mean over the whole batch, to which the others contribute zero.
    """
    known = compat.where(compat.isnan(target[:, 0]), 0.0, 1.0)
    count = compat.total(known)
    # With all of them known, the factor is exactly one.
    return value * (compat.total(0.0 * known + 1.0) / compat.maximum(count, 1.0))


def output_loss(terms: OutputLoss) -> Callable[[Any, Any], Any]:
    """Make the loss weight * (l1 * mean |error| + l2 * mean error^2).

    It is a function of (target, estimate) to the loss of each fragment, (batch,), whose
    mean is the loss of the batch.
    """

    def loss(target: Any, estimate: Any) -> Any:
        error = _error(target, estimate)
        value = 0.0
        if terms.l1:
            value = value + terms.l1 * compat.mean(compat.absolute(error), axis=-1)
        if terms.l2:
            value = value + terms.l2 * compat.mean(compat.square(error), axis=-1)
        if not terms.l1 and not terms.l2:
            value = 0.0 * compat.mean(error, axis=-1)
        return _mean_of_known(terms.weight * value, target)

    return loss


def mean_absolute_error(target: Any, estimate: Any) -> Any:
    """Mean |error| of each fragment, (batch,), scaled as the losses are."""
    error = compat.mean(compat.absolute(_error(target, estimate)), axis=-1)
    return _mean_of_known(error, target)


def valid_mean_absolute_error(target: Any, estimate: Any) -> Any:
    """Mean |error| over `[1:-2]` of each fragment: (batch,)."""
    # As in the original: two samples are left out at the end, one at the start.
    return mean_absolute_error(target[:, 1:-2], estimate[:, 1:-2])


def compile_arguments(config: Config) -> dict:
    """`loss` and `metrics` for `keras.Model.compile`, by output name."""
    names = [f"data_output_{k + 1}" for k in range(len(config.losses))]
    metrics = [mean_absolute_error, valid_mean_absolute_error]
    return {
        "loss": {name: output_loss(t) for name, t in zip(names, config.losses)},
        "metrics": {name: list(metrics) for name in names},
    }
