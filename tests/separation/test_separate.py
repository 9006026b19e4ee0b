"""The network and the framing together: the numbers of 2018, seamless output."""

import h5py
import numpy as np
import pytest
import soundfile

import models
from sswavenet import checkpoints
from sswavenet.separation.engine import Engine
from sswavenet.separation.folder import separate_all
from sswavenet.separation.framing import Framing, Network, estimate_stems
from sswavenet.separation.inputs import find_mixtures
from sswavenet.separation.options import Options
from sswavenet.sound.formats import Encoding
from tests.support import (
    GOLDEN,
    TASK_NAMES,
    golden_checkpoint,
    golden_config,
    random_weights,
    tiny_config,
)


def golden_weights(task_name):
    path = golden_checkpoint(task_name)
    return checkpoints.read_checkpoint(path, golden_config(task_name)).weights


def run_network(config, weights, shape, mixture, batch_size, **variant):
    """Estimates of a mixture by the real network."""
    predict = models.build_predict(
        config,
        weights,
        target_field_length=shape.target_field_length,
        target_padding=shape.target_padding,
        input_length=shape.input_length,
        **variant,
    )
    return estimate_stems(
        mixture,
        Network(shape, batch_size, predict),
        num_estimates=len(config.task.estimates),
    )


@pytest.mark.slow
@pytest.mark.parametrize(("field", "batch_size"), [(401, 4), (1001, 3)])
@pytest.mark.parametrize("task_name", TASK_NAMES)
def test_original_framing_gives_the_stems_of_2018(
    task_name, field, batch_size, tmp_path
):
    config = golden_config(task_name)
    weights = golden_weights(task_name)
    golden = np.load(GOLDEN / task_name / "separation.npz")
    expected = {
        name.replace(f"_T{field}_B{batch_size}", ""): golden[name]
        for name in golden
        if f"_T{field}_B{batch_size}_" in name
    }
    assert len(expected) in (len(config.task.stems), 2 * len(config.task.stems))
    summary = separate_all(
        find_mixtures(GOLDEN / "mixtures").mixtures,
        Engine(config, lambda **shape: models.build_predict(config, weights, **shape)),
        Options(
            output_path=tmp_path,
            encoding=Encoding(subtype="FLOAT"),
            original_framing=True,
            target_field_length=field,
            batch_size=batch_size,
        ),
        tmp_path,
    )
    assert summary.num_separated == 2
    for name, stem in expected.items():
        written, rate = soundfile.read(tmp_path / f"{name}.wav", dtype="float32")
        assert rate == 16000
        assert written.shape == stem.shape
        np.testing.assert_allclose(written, stem, rtol=0, atol=1e-5)


@pytest.fixture(scope="module")
def one_pass():
    """A mixture of ten fields and a bit, and its estimates by one forward pass."""
    config = golden_config("multi-instrument")
    rng = np.random.default_rng(5)
    mixture = rng.uniform(-0.5, 0.5, 4011).astype(np.float32)
    shape = Framing.seamless(config, len(mixture))
    weights = golden_weights("multi-instrument")
    return config, weights, mixture, run_network(config, weights, shape, mixture, 1)


@pytest.mark.parametrize(
    ("field", "batch_size"), [(1, 3), (401, 1), (401, 3), (1001, 1), (1001, 3)]
)
def test_seamless_depends_neither_on_field_nor_on_batch(one_pass, field, batch_size):
    config, weights, mixture, expected = one_pass
    if field == 1:  # a fragment for each sample: a short piece shows the same
        mixture, expected = mixture[:300], expected[:, :150]
    shape = Framing.seamless(config, field)
    estimates = run_network(config, weights, shape, mixture, batch_size)
    np.testing.assert_allclose(
        estimates[:, : expected.shape[1]], expected, rtol=0, atol=1e-5
    )


def test_seamless_equals_the_unmerged_graph(one_pass):
    config, weights, mixture, expected = one_pass
    shape = Framing.seamless(config, 1001)
    estimates = run_network(config, weights, shape, mixture, 2, merged_head=False)
    np.testing.assert_allclose(estimates, expected, rtol=0, atol=1e-5)


def test_seamless_equals_the_original_framing_away_from_its_seams(one_pass):
    config, weights, mixture, expected = one_pass
    field = 401
    shape = Framing.original(config, field)
    estimates = run_network(config, weights, shape, mixture, 3)
    aligned = expected[:, shape.lost // 2 :][:, : estimates.shape[1]]
    # Fragments begin and end with zeros, where the mixture goes on: near a seam the
    # two differ, by less the deeper inside the field.
    difference = np.abs(estimates - aligned)[:, : field * 9].reshape(3, 9, field)
    assert difference[:, :, 50:-50].max() < 1e-5
    assert difference[:, :, [0, -1]].max() > 1e-4


@pytest.mark.parametrize("task_name", TASK_NAMES)
@pytest.mark.parametrize("subtype", ["PCM_16", "FLOAT"])
def test_stems_are_as_long_as_the_mixture_from_one_sample_on(
    task_name, subtype, tmp_path, rng
):
    config = tiny_config(task_name)
    field = config.receptive_field_length
    (tmp_path / "in").mkdir()
    lengths = [1, 2, field - 1, field, field + 1, 10 * 40 + 1]
    for length in lengths:
        audio = rng.uniform(-0.1, 0.1, length)
        soundfile.write(tmp_path / "in" / f"{length}.wav", audio, 16000)
    weights = random_weights(config, rng, 0.3)
    summary = separate_all(
        find_mixtures(tmp_path / "in").mixtures,
        Engine(config, lambda **shape: models.build_predict(config, weights, **shape)),
        Options(
            output_path=tmp_path / "out",
            encoding=Encoding(subtype=subtype),
            target_field_length=40,
        ),
        tmp_path,
    )
    assert summary.num_separated == len(lengths)
    for length in lengths:
        for stem in config.task.stems:
            file = soundfile.info(tmp_path / "out" / f"{length}_{stem}.wav")
            assert (file.frames, file.samplerate, file.channels) == (length, 16000, 1)


def test_an_impulse_comes_out_where_it_went_in(rng):
    config = tiny_config()
    weights = random_weights(config, rng)
    shape = Framing.seamless(config, 50)
    reach = config.context_length
    silence = np.zeros(300, np.float32)
    base = run_network(config, weights, shape, silence, 2)
    answers = []
    for place in (100, 149, 150, 171):
        mixture = silence.copy()
        mixture[place] = 4  # loud enough to have no gain
        change = run_network(config, weights, shape, mixture, 2) - base
        touched = np.flatnonzero(np.abs(change).max(axis=0) > 1e-9)
        assert place - reach <= touched[0] <= touched[-1] <= place + reach
        # The answer is no wider on one side than on the other by more than ReLUs do.
        assert touched[0] < place < touched[-1]
        answers.append(change[:, place - reach : place + reach + 1])
    for answer in answers[1:]:
        np.testing.assert_allclose(answer, answers[0], rtol=0, atol=1e-6)


def test_kernels_of_either_convention_give_the_same_stems(tmp_path, rng):
    config = golden_config("singing-voice")
    path = tmp_path / "rewritten.hdf5"
    path.write_bytes(golden_checkpoint("singing-voice").read_bytes())
    with h5py.File(path, "r+") as file:
        file.attrs["backend"] = np.bytes_("tensorflow")
        kernels = []
        file["model_weights"].visititems(
            lambda name, item: kernels.append(item) if "kernel" in name else None
        )
        for kernel in kernels:
            if isinstance(kernel, h5py.Dataset):
                kernel[...] = kernel[...][::-1]
        if "backend" in file["model_weights"].attrs:
            file["model_weights"].attrs["backend"] = np.bytes_("tensorflow")
    mixture = rng.uniform(-0.5, 0.5, 700).astype(np.float32)
    shape = Framing.seamless(config, 350)
    theano, tensorflow = (
        run_network(
            config, checkpoints.read_checkpoint(file, config).weights, shape, mixture, 1
        )
        for file in (golden_checkpoint("singing-voice"), path)
    )
    assert theano.tolist() == tensorflow.tolist()
