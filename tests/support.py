"""What tests share: small sessions, golden data, a NumPy oracle, a fake network."""

from __future__ import annotations

import contextlib
import copy
import functools
import io
import json
import os
import pathlib
import shutil
import sys
import tempfile
import types
import zipfile

import h5py
import numpy as np
import soundfile

from sswavenet import checkpoints
from sswavenet.config.document import parse_config
from sswavenet.config.session import Config
from sswavenet.separation.engine import Engine

GOLDEN = pathlib.Path(__file__).parent / "data" / "golden"
TASK_NAMES = ("multi-instrument", "singing-voice")
ROOT = pathlib.Path(__file__).parents[1]
STEMS = ("vocals", "drums", "bass", "other")


def golden_config(task_name: str) -> Config:
    """The configuration of a golden session."""
    path = GOLDEN / task_name / "config.json"
    return parse_config(json.loads(path.read_text()), str(path))


def golden_checkpoint(task_name: str) -> pathlib.Path:
    """The checkpoint of a golden session, as the 2018 program wrote it."""
    (path,) = (GOLDEN / task_name).glob("checkpoint.*.hdf5")
    return path


def copy_golden_session(folder: pathlib.Path, task_name: str) -> pathlib.Path:
    """A new folder with the config and the checkpoint of a golden session."""
    (folder / "checkpoints").mkdir(parents=True)
    shutil.copy(GOLDEN / task_name / "config.json", folder)
    shutil.copy(golden_checkpoint(task_name), folder / "checkpoints")
    return folder


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


def wide_config(task_name: str, **model: object) -> Config:
    """A config of the smallest network that can be compiled."""
    depths = {"res": 16, "skip": 32, "final": [48, 6]}
    filters = {"depths": depths, "lengths": {"res": 3, "final": [3, 3], "skip": 1}}
    return parse_config(tiny_document(task_name, model={"filters": filters, **model}))


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
    margin = taps // 2 * dilation
    padded = np.pad(x, [(margin, margin), (0, 0)])
    return sum(
        padded[tap * dilation : tap * dilation + len(x)] @ kernel[tap].astype(float)
        for tap in range(taps)
    )


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


WRITERS = ("2018", "this program", "Keras 3 weights", "Keras 3 model")


@functools.lru_cache(None)
def base_session(task_name: str, writer: str = "this program") -> tuple[str, bytes]:
    """A config's text and a checkpoint of one of `WRITERS`."""
    if writer == "2018":
        text = (GOLDEN / task_name / "config.json").read_text("utf-8")
        return text, golden_checkpoint(task_name).read_bytes()
    document = tiny_document(task_name)
    weights = random_weights(parse_config(document), np.random.default_rng(1))
    if writer.startswith("Keras 3"):
        return json.dumps(document), keras3_file(weights, writer)
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "checkpoint.00001-0.1.hdf5")
        checkpoints.write_checkpoint(
            path,
            weights,
            state={"epoch": 1, "step": 0, "iterations": 4, "sums": "{}"},
            slots={f"momentum/{name}": array for name, array in weights.items()},
        )
        return json.dumps(document), path.read_bytes()


def keras3_file(weights: dict, writer: str) -> bytes:
    """Weights as Keras 3 lays them out, alone or in the ZIP file of a model."""
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        names = dict.fromkeys(name.split("/")[0] for name in weights)
        for number, layer in enumerate(names):
            place = file.create_group(f"layers/conv1d_{number}/vars")
            place.attrs["name"] = layer
            for k, kind in enumerate(("kernel", "bias")):
                if f"{layer}/{kind}" in weights:
                    place[str(k)] = weights[f"{layer}/{kind}"]
        file.create_group("vars")
    if writer == "Keras 3 weights":
        return content.getvalue()
    model = io.BytesIO()
    with zipfile.ZipFile(model, "w") as archive:
        archive.writestr("metadata.json", "{}")
        archive.writestr("model.weights.h5", content.getvalue())
    return model.getvalue()


def write_session(folder: pathlib.Path, text: str, weights: bytes) -> pathlib.Path:
    """Make a session's folder of a config's text and a checkpoint, whose path it is."""
    checkpoint = folder / "checkpoints" / "checkpoint.00001-0.1.hdf5"
    checkpoint.parent.mkdir(parents=True)
    (folder / "config.json").write_text(text)
    checkpoint.write_bytes(weights)
    return checkpoint


def fake_engine(config):
    """Estimates are shares of the mixture."""

    def build_predict(*, target_field_length, target_padding, input_length):
        count = target_field_length + 2 * target_padding
        start = (input_length - count) // 2
        num_estimates = len(config.task.estimates)

        def predict(fragments):
            return np.stack([fragments[:, start : start + count] / 4] * num_estimates)

        return predict

    return Engine(config, build_predict)


@contextlib.contextmanager
def without_network():
    """The command line with `fake_engine`, and no Keras."""
    import main
    from sswavenet.separation import separator

    before = separator.make_engine, sys.modules.get("models")
    separator.make_engine = lambda session, whole: fake_engine(session.config)
    models = types.ModuleType("models")
    models.describe_backend = lambda: "none"
    sys.modules["models"] = models
    try:
        yield main.main
    finally:
        separator.make_engine = before[0]
        sys.modules.pop("models")
        if before[1] is not None:
            sys.modules["models"] = before[1]


def make_tone(path, frames=100, rate=16000, channels=1, **form):
    """A file with a tone of 200 Hz, its phase another in each channel."""
    time = np.arange(frames)[:, None] / rate
    tone = 0.5 * np.sin(2 * np.pi * 200 * time + np.arange(channels))
    if path.suffix == ".wav":
        form.setdefault("format", "WAV")
    soundfile.write(os.fsencode(path), tone, rate, **form)


def written(folder):
    """The names of all files in a folder and in those below it."""
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def stems_of(folder, name="song"):
    """A mixture's written stems, each (frames,) or (frames, channels)."""
    paths = [folder / f"{name}_{stem}.wav" for stem in STEMS]
    return [soundfile.read(str(path), dtype="float32")[0] for path in paths]


@contextlib.contextmanager
def as_nobody():
    """A user without rights, in a folder that all may enter."""
    place = pathlib.Path(tempfile.mkdtemp())
    place.chmod(0o777)
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(65534)
    try:
        yield place
    finally:
        if is_root:
            os.seteuid(0)
        shutil.rmtree(place)
