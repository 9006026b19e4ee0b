"""--precision: what each value computes, and where it is refused."""

import json
import pathlib
from typing import Any

import numpy as np
import pytest
import soundfile

import models
from main import main
from sswavenet import checkpoints
from sswavenet.backend import compat
from sswavenet.separation import stream_keras, streaming
from sswavenet.separation.separator import load_session
from sswavenet.sound.reader import read_mono
from sswavenet.training.loop import Trainer
from tests.support import (
    random_weights,
    tiny_config,
    tiny_document,
)
from util import UserError

ROOT = pathlib.Path(__file__).parents[2]

# A network that runs as compiled code.
WIDE = tiny_config().replace(
    residual_channels=16, skip_channels=16, final_channels=(32, 6)
)


def decibels(error, signal):
    """The energy of an error against the energy of a signal."""
    return 10 * np.log10(np.sum(error**2) / np.sum(signal**2))


@pytest.fixture
def compiled():
    """Skips a test where bfloat16 does not run on the processor."""
    if not streaming.is_compiled(WIDE, "bfloat16"):
        pytest.skip("needs a C++ compiler and AVX512_FP16 or AVX512_BF16")


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


@pytest.mark.parametrize("name", ["multi-instrument-fast", "singing-voice"])
def test_stems_in_bfloat16_are_near_float32_and_sum_to_the_mixture(compiled, name):
    mixture = read_mono(ROOT / "audio" / "samba.flac", sample_rate=16000)[:16000]
    exact, rough = (
        load_session(name, precision=precision).separate(mixture, 16000)
        for precision in ("float32", "bfloat16")
    )
    for stem, estimate in exact.items():
        assert -100 < decibels(rough[stem] - estimate, estimate) < -43
    np.testing.assert_allclose(sum(rough.values()), mixture, rtol=0, atol=1e-5)


def test_fragments_in_bfloat16_begin_in_silence(compiled, rng):
    config = WIDE
    weights = random_weights(config, rng, 0.1)
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


@pytest.mark.parametrize("flag", ["--one_shot", "--original_framing"])
def test_bfloat16_on_a_processor_works_by_blocks_only(flag, session, capsys):
    infer, out = session
    assert infer("--precision", "bfloat16", flag) == 2
    assert "block by block, so neither with --one_shot nor" in capsys.readouterr().err
    assert not out.exists()


def test_without_compiled_code_bfloat16_is_refused(session, capsys):
    infer, out = session  # of a network with too few channels
    assert infer("--precision", "bfloat16") == 2
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert "bfloat16 on a processor needs a C++ compiler, AVX512_FP16 or" in message
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
