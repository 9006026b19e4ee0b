"""Small sessions for tests, the golden data, and a NumPy oracle of the network."""

import copy
import json
import pathlib

import numpy as np

from sswavenet.config.document import parse_config
from sswavenet.config.session import Config

GOLDEN = pathlib.Path(__file__).parent / "data" / "golden"
TASK_NAMES = ("multi-instrument", "singing-voice")


def golden_config(task_name: str) -> Config:
    """The configuration of a golden session."""
    path = GOLDEN / task_name / "config.json"
    return parse_config(json.loads(path.read_text()), str(path))


def golden_checkpoint(task_name: str) -> pathlib.Path:
    """The checkpoint of a golden session, as the 2018 program wrote it."""
    (path,) = (GOLDEN / task_name).glob("checkpoint.*.hdf5")
    return path


def tiny_document(task_name: str = "multi-instrument", **sections: dict) -> dict:
    """A config.json of a network that runs in no time; sections override keys."""
    outputs = 3 if task_name == "multi-instrument" else 2
    document = {
        "dataset": {"path": "data/MUSDB", "sample_rate": 16000},
        "model": {
            "type": task_name,
            "dilations": [1, 2, 4],
            "num_stacks": 2,
            "filters": {
                "depths": {"res": 4, "skip": 5, "final": [7, 6]},
                "lengths": {"res": 3, "final": [3, 3], "skip": 1},
            },
            "target_field_length": 21,
            "target_padding": 1,
        },
        "optimizer": {"type": "adam", "lr": 0.001, "decay": 0.0, "epsilon": 1e-8},
        "training": {
            "path": "sessions/tiny",
            "batch_size": 2,
            "num_epochs": 3,
            "num_steps_train": 4,
            "num_steps_test": 2,
            "early_stopping_patience": 16,
            "loss": {
                f"out_{k + 1}": {"weight": 1, "l1": 1, "l2": 0} for k in range(outputs)
            },
        },
    }
    document = copy.deepcopy(document)
    for name, keys in sections.items():
        document[name].update(keys)
    return document


def tiny_config(task_name: str = "multi-instrument", **sections: dict) -> Config:
    """`tiny_document`, parsed."""
    return parse_config(tiny_document(task_name, **sections))


def random_weights(
    config: Config, rng: np.random.Generator, scale: float = 0.4
) -> dict:
    """Weights by name, correlation kernels."""
    return {
        name: (scale * rng.standard_normal(shape)).astype("float32")
        for name, shape in config.weight_shapes.items()
    }


def correlate_same(x: np.ndarray, kernel: np.ndarray, dilation: int = 1) -> np.ndarray:
    """y[t] = sum_k x[t + (k - middle) * dilation] @ kernel[k], zeros outside.

    x is (time, in), kernel (taps, in, out).
    """
    taps = len(kernel)
    y = np.zeros((len(x), kernel.shape[2]))
    for tap in range(taps):
        shift = (tap - taps // 2) * dilation
        for t in range(len(x)):
            if 0 <= t + shift < len(x):
                y[t] += x[t + shift] @ kernel[tap]
    return y


def oracle(
    config: Config, weights: dict, fragment: np.ndarray, padding: int, field: int
):
    """The network from its formulas alone: (estimates, field + 2 * padding)."""
    residual, count = config.residual_channels, config.num_residual_blocks
    start = (len(fragment) - field) // 2 - padding
    keep = slice(start, start + field + 2 * padding)
    x = correlate_same(fragment[:, None], weights["initial_causal_conv/kernel"])
    skips = 0
    for block in range(count):
        stack, place = divmod(block, len(config.dilations))
        dilation = config.dilations[place]
        name = f"res_{block + 1}_dilated_conv_d{dilation}_s{stack}/kernel"
        gate = correlate_same(x, weights[name], dilation)
        gated = np.tanh(gate[:, :residual]) / (1 + np.exp(-gate[:, residual:]))
        both = gated @ weights[f"conv1d_{block + 1}/kernel"][0]
        x = x + both[:, :residual]
        skips = skips + both[keep, residual:]
    y = correlate_same(np.maximum(skips, 0), weights[f"conv1d_{count + 1}/kernel"])
    y = correlate_same(np.maximum(y, 0), weights[f"conv1d_{count + 2}/kernel"])
    y = y @ weights[f"conv1d_{count + 3}/kernel"][0]
    return (y + weights[f"conv1d_{count + 3}/bias"]).T
