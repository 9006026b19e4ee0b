"""--precision: what each value computes, and where it is refused."""

import importlib
import json
import pathlib
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import soundfile

import models
from main import main
from sswavenet import checkpoints
from sswavenet.backend import compat
from sswavenet.separation import stream_keras, streaming
from sswavenet.training.loop import Trainer
from tests.support import (
    TASK_NAMES,
    golden_checkpoint,
    golden_config,
    random_weights,
    tiny_config,
    tiny_document,
)
from util import UserError


def decibels(error, signal):
    """The energy of an error against the energy of a signal."""
    return 10 * np.log10(np.sum(error**2) / np.sum(signal**2))


def golden_streams(task_name, precision, mixture):
    """All stems of a mixture with the golden weights."""
    config = golden_config(task_name)
    path = golden_checkpoint(task_name)
    weights = checkpoints.read_checkpoint(path, config).weights
    separator = streaming.StreamingSeparator(config, weights, 160, precision)
    return np.concatenate([separator.push(mixture), separator.finish()], axis=1)


@pytest.fixture
def openvino():
    """The module on OpenVINO, where the package and the processor have all."""
    try:
        module = importlib.import_module("sswavenet.separation.stream_openvino")
    except UserError as error:
        pytest.skip(str(error))
    if not module.has_bfloat16():
        pytest.skip("the processor has no bfloat16")
    return module


@pytest.fixture
def session(tmp_path, rng):
    """A session, a mixture, and what runs main on them."""
    (tmp_path / "config.json").write_text(json.dumps(tiny_document()))
    config = tiny_config()
    path = tmp_path / "checkpoints" / "checkpoint.00001-0.100.hdf5"
    checkpoints.write_checkpoint(path, random_weights(config, rng, 0.3))
    noise = rng.uniform(-0.1, 0.1, 300)
    soundfile.write(tmp_path / "song.wav", noise, 16000, subtype="FLOAT")

    def infer(*flags):
        return main(
            ["--mode", "inference", "--config", str(tmp_path / "config.json"),
             "--mixture_input_path", str(tmp_path / "song.wav"), "--subtype", "FLOAT",
             "--output_path", str(tmp_path / "out"), "--overwrite", *flags]
        )  # fmt: skip

    return infer, tmp_path / "out"


def read_stems(folder):
    return np.stack(
        [
            soundfile.read(folder / f"song_{name}.wav", dtype="float32")[0]
            for name in tiny_config().task.stems
        ]
    )


@pytest.mark.parametrize("flags", [(), ("--one_shot",), ("--original_framing",)])
def test_highest_is_float32_on_a_processor(flags, session):
    infer, out = session
    assert infer(*flags) == 0
    expected = read_stems(out)
    assert infer("--precision", "highest", *flags) == 0
    np.testing.assert_allclose(read_stems(out), expected, rtol=0, atol=1e-6)


def test_layers_in_bfloat16_are_near_float32(rng):
    # What runs on a GPU.
    config = tiny_config()
    weights = random_weights(config, rng, 0.3)
    fragments = rng.standard_normal((2, config.input_length)).astype("float32")
    exact = models.build_predict(config, weights)(fragments)
    rough = models.build_predict(config, weights, "bfloat16")(fragments)
    assert rough.dtype == np.float32
    # A bfloat16 number has 8 bits: -48 dB for each rounding.
    assert -100 < decibels(rough - exact, exact) < -25
    again = models.build_predict(config, weights)(fragments)
    np.testing.assert_array_equal(again, exact)


def test_streams_of_layers_in_bfloat16_compile_once(rng):
    config = tiny_config()
    weights = random_weights(config, rng, 0.3)
    begin = stream_keras.build_streams(config, weights, 20, "bfloat16")
    exact = stream_keras.build_streams(config, weights, 20)
    blocks = rng.standard_normal((9, 20)).astype("float32")
    streams = begin(), exact()
    rough, precise = (
        np.concatenate([stream(block) for block in blocks], axis=1)
        for stream in streams
    )
    assert -100 < decibels(rough - precise, precise) < -25


def test_the_graph_on_openvino_equals_the_layers(openvino, rng):
    for task_name in TASK_NAMES:
        config = tiny_config(task_name)
        weights = random_weights(config, rng)
        graph = openvino.build_graph(config, weights, 25)
        hint = {"INFERENCE_PRECISION_HINT": "f32"}
        compiled = openvino.core().compile_model(graph, "CPU", hint)
        request = compiled.create_infer_request()
        stream = streaming.build_streams(config, weights, 25)()
        for _ in range(8):
            block = rng.standard_normal(25).astype("float32")
            estimates = request.infer([block[None, None]])[0][0]
            np.testing.assert_allclose(estimates, stream(block), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("task_name", TASK_NAMES)
def test_bfloat16_on_openvino_is_near_float32(task_name, openvino, rng):
    mixture = 0.1 * rng.standard_normal(3000).astype("float32")
    exact = golden_streams(task_name, "float32", mixture)
    rough = golden_streams(task_name, "bfloat16", mixture)
    assert -100 < decibels(rough[:-1] - exact[:-1], exact[:-1]) < -25
    np.testing.assert_allclose(rough.sum(axis=0), mixture, rtol=0, atol=1e-5)


def test_fragments_in_bfloat16_begin_in_silence(openvino, rng):
    config = tiny_config()
    weights = random_weights(config, rng)
    framing: dict[str, Any] = {
        "target_field_length": 90,
        "target_padding": config.head_margin,
        "input_length": 90 + 2 * config.context_length,
    }
    predict = streaming.BlockwisePredict(
        config, weights, num_threads=2, precision="bfloat16", **framing
    )
    fragments = rng.standard_normal((5, framing["input_length"])).astype("float32")
    first = predict(fragments)
    np.testing.assert_array_equal(predict(fragments[::-1])[:, ::-1], first)
    exact = streaming.BlockwisePredict(config, weights, **framing)(fragments)
    assert -100 < decibels(first - exact, exact) < -25


def test_bfloat16_through_the_command_line(openvino, session):
    infer, out = session
    assert infer() == 0
    exact = read_stems(out)
    assert infer("--precision", "bfloat16") == 0
    rough = read_stems(out)
    assert -100 < decibels(rough - exact, exact) < -25


def test_a_signal_after_two_networks_is_heard(openvino):
    # In a process of its own: where it fails, the process dies of SIGSEGV.
    code = """
import os, signal, sys
sys.path.insert(0, ".")
import numpy as np
from tests.support import random_weights, tiny_config
from sswavenet.separation import stream_openvino

config = tiny_config()
weights = random_weights(config, np.random.default_rng(1))
networks = [stream_openvino.build_streams(config, weights, 20) for _ in range(2)]
for begin in networks:
    begin()(np.zeros(20, "float32"))
del begin, networks[0], networks[0]
# Not SIGINT, which whoever started the tests may ignore.
signal.signal(signal.SIGUSR1, lambda *_: print("heard"))
os.kill(os.getpid(), signal.SIGUSR1)
"""
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=pathlib.Path(__file__).parents[2],
        capture_output=True,
        text=True,
    )
    assert (result.returncode, result.stdout) == (0, "heard\n"), result.stderr


def test_openvino_does_not_report_its_use(openvino):
    """In a process of its own: another test may have imported OpenVINO itself."""
    script = (
        f"import sys, {openvino.__name__}\n"
        "assert sys.modules['openvino_telemetry'] is None\n"
        "print([name for name in sys.modules if 'openvino_telemetry.' in name])"
    )
    root = pathlib.Path(models.__file__).parent
    result = subprocess.run(
        [sys.executable, "-c", script],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, result.stdout) == (0, "[]\n"), result.stderr


@pytest.mark.parametrize("flag", ["--one_shot", "--original_framing"])
def test_bfloat16_on_a_processor_works_by_blocks_only(flag, session, capsys):
    infer, out = session
    assert infer("--precision", "bfloat16", flag) == 2
    assert "block by block, so neither with --one_shot nor" in capsys.readouterr().err
    assert not out.exists()


def test_without_openvino_bfloat16_is_refused(session, capsys, monkeypatch):
    infer, out = session
    monkeypatch.setitem(sys.modules, "openvino", None)
    name = "sswavenet.separation.stream_openvino"
    monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.delattr(name, raising=False)
    assert infer("--precision", "bfloat16") == 2
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert "pip install -r requirements-openvino.txt" in message
    assert not list(out.rglob("*.wav"))


def test_without_the_instructions_bfloat16_is_refused(
    openvino, session, capsys, monkeypatch
):
    infer, out = session
    monkeypatch.setattr(openvino, "has_bfloat16", lambda: False)
    assert infer("--precision", "bfloat16") == 2
    assert "AVX512_BF16 or AMX" in capsys.readouterr().err
    assert not list(out.rglob("*.wav"))


def test_other_backends_have_float32_only(monkeypatch):
    monkeypatch.setattr(compat, "backend_name", lambda: "torch")
    compat.check_precision("float32")
    for precision in ("bfloat16", "highest"):
        with pytest.raises(UserError, match="needs KERAS_BACKEND=jax, got torch"):
            compat.check_precision(precision)


@pytest.mark.parametrize(("capability", "fits"), [("7.5", False), ("9.0", True)])
def test_bfloat16_needs_a_gpu_that_has_it(capability, fits, monkeypatch):
    class Device:
        compute_capability = capability

    monkeypatch.setattr(compat, "devices", lambda: [Device()])
    compat.check_precision("highest")
    if fits:
        compat.check_precision("bfloat16")
    else:
        with pytest.raises(UserError, match=r"8\.0 or more, got 7\.5"):
            compat.check_precision("bfloat16")


@pytest.mark.slow
def test_training_in_layers_of_bfloat16_follows_float32(monkeypatch, tmp_path, rng):
    # As on a GPU, where there is no code of our own.
    monkeypatch.setattr(compat, "is_jax_on_cpu", lambda: False)
    config = tiny_config().replace(learning_rate=0.01)
    inputs = 0.1 * rng.standard_normal((2, config.input_length)).astype("float32")
    length = config.padded_target_field_length
    targets = list(0.1 * rng.standard_normal((3, 2, length)).astype("float32"))
    losses = {}
    for precision in ("float32", "bfloat16"):
        model = Trainer(config, None, tmp_path, precision).model
        assert {v.dtype for v in model.trainable_variables} == {"float32"}
        assert {output.dtype for output in model.outputs} == {"float32"}
        steps = [compat.train_on_batch(model, inputs, targets) for _ in range(30)]
        losses[precision] = np.array([float(logs["loss"]) for logs in steps])
    assert losses["float32"][-1] < 0.9 * losses["float32"][0]
    error = np.abs(losses["bfloat16"] / losses["float32"] - 1).max()
    assert 0 < error < 0.02
