"""Quiet is separated like loud, silence gives silence, and nothing else changes."""

import functools
import json
import pathlib

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies

import models
from sswavenet.checkpoints import find, read
from sswavenet.config.document import parse_config
from sswavenet.separation import gain, streaming
from sswavenet.separation.framing import (
    Framing,
    Network,
    estimate_blocks,
    estimate_stems,
)
from sswavenet.sound.reader import read_mono
from tests.support import TASK_NAMES, random_weights, tiny_config

ROOT = pathlib.Path(__file__).parents[2]


def rms(signal):
    """The level of a signal, dB."""
    return 10 * np.log10(np.mean(np.square(signal, dtype=np.float64)))


def at(level, signal):
    """A signal, brought to a level."""
    return (signal * 10 ** ((level - rms(signal)) / 20)).astype("f4")


def gains_by_formula(signal, piece):
    """The factor of each sample as the module's description has it, step by step."""
    level, borders = -200.0, []
    for start in range(0, len(signal) + piece, piece):
        part = signal[start : start + piece].astype(np.float64)
        part[np.abs(part) < 1e-8] = 0
        power = np.mean(part**2) if len(part) else 0.0
        level = max(10 * np.log10(max(power, 1e-20)), level - 3 * 0.01)
        borders.append(min(max(0.0, -12 - level), 120.0) if level > -200 else 0.0)
    factors = []
    for k in range(len(signal)):
        number, share = divmod(k / piece, 1)
        before, after = borders[int(number) : int(number) + 2]
        factors.append(10 ** ((before + share * (after - before)) / 20))
    return np.array(factors)


@hypothesis.settings(max_examples=40)
@hypothesis.given(
    strategies.lists(
        strategies.tuples(strategies.integers(1, 400), strategies.integers(-190, 0)),
        min_size=1,
        max_size=8,
    ),
    strategies.lists(strategies.integers(0, 300), max_size=8),
)
def test_the_gain_is_that_of_the_formula_whatever_the_blocks(parts, blocks):
    rng = np.random.default_rng(7)
    signal = np.concatenate(
        [at(level, rng.standard_normal(length)) for length, level in parts]
    )
    control = gain.GainControl(1600, 20)
    pieces = np.split(signal, np.minimum(np.cumsum(blocks, dtype=int), len(signal)))
    amplified = [*map(control.amplify, pieces), control.finish()]
    got = np.concatenate(amplified)
    np.testing.assert_allclose(got, signal * gains_by_formula(signal, 16), rtol=1e-5)
    halves = np.split(got[None], [len(got) // 3], axis=1)
    back = np.concatenate([control.take_back(half) for half in halves], axis=1)
    np.testing.assert_allclose(back[0], signal, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("level", [-11, -6, 0, 20])
def test_what_is_loud_is_not_changed(level, rng):
    """Noise has no moment of 10 ms that is much louder than it is on the whole."""
    signal = at(level, rng.standard_normal(3 * 16000))
    control = gain.GainControl(16000, 4095)
    amplified = np.concatenate([control.amplify(signal), control.finish()])
    assert amplified.tobytes() == signal.tobytes()
    estimates = rng.standard_normal((3, 48000)).astype("f4")
    assert control.take_back(estimates).tobytes() == estimates.tobytes()


def test_music_with_short_rests_is_left_alone(rng):
    signal = at(-6, rng.standard_normal(16000))
    rest = np.zeros(8000, "f4")
    signal = np.concatenate([signal, rest, signal / 100, rest, signal])
    control = gain.GainControl(16000, 4095)
    amplified = np.concatenate([control.amplify(signal), control.finish()])
    assert amplified[:28000].tobytes() == signal[:28000].tobytes()
    assert amplified[-16000:].tobytes() == signal[-16000:].tobytes()


def test_the_gain_has_fallen_when_something_loud_begins(rng):
    quiet, loud = at(-70, rng.standard_normal(16000)), at(-10, rng.standard_normal(999))
    for length in (15840, 15900, 15999):  # the border of a piece, and within one
        signal = np.concatenate([quiet[:length], loud])
        control = gain.GainControl(16000, 4095)
        amplified = np.concatenate([control.amplify(signal), control.finish()])
        gains = amplified[length:] / signal[length:]
        assert gains.max() < 10 ** (0.5 / 20)
        assert (gains[160:] == 1).all()
        assert np.abs(amplified[:length]).max() < np.abs(loud).max()


# With a network.


@functools.lru_cache(None)
def make(task_name="multi-instrument", scale=0.4, **changes):
    """A network that answers to silence: (config, weights)."""
    config = tiny_config(task_name).replace(**changes)
    return config, random_weights(config, np.random.default_rng(3), scale)


def separate(config, weights, mixture, field=700, batch_size=2):
    """The estimates of a mixture, framed seamlessly."""
    framing = Framing.seamless(config, field)
    predict = models.build_predict(
        config,
        weights,
        target_field_length=field,
        target_padding=framing.target_padding,
        input_length=framing.input_length,
    )
    network = Network(framing, batch_size, predict)
    count = len(config.task.estimates)
    return estimate_stems(mixture, network, num_estimates=count)


def stream(config, weights, mixture, piece=333, **options):
    """The estimates of a mixture that comes in pieces."""
    separator = streaming.StreamingSeparator(config, weights, **options)
    pieces = np.split(mixture, range(piece, len(mixture), piece))
    parts = [*map(separator.push, pieces), separator.finish()]
    return np.concatenate(parts, axis=1)


@pytest.fixture
def changing(rng):
    """From silence to loud and back, with a rest in between."""
    parts = [
        np.zeros(1000, "f4"),
        at(-80, rng.standard_normal(2000)),
        at(-15, rng.standard_normal(1500)),
        np.zeros(1100, "f4"),
        at(-50, rng.standard_normal(1234)),
    ]
    return np.concatenate(parts)


@pytest.mark.parametrize("task_name", TASK_NAMES)
def test_silence_in_silence_out(task_name):
    config, weights = make(task_name)
    silence = np.zeros(2000, "f4")
    framing = Framing.seamless(config, 2000)
    raw = models.build_predict(
        config,
        weights,
        target_field_length=2000,
        target_padding=framing.target_padding,
        input_length=framing.input_length,
    )(np.zeros((1, framing.input_length), "f4"))
    assert np.abs(raw).min() > 0  # so the network answers
    assert not separate(config, weights, silence).any()
    assert not stream(config, weights, silence).any()


def test_a_rest_is_silent_as_far_as_the_network_hears_nothing(changing):
    config, weights = make()
    for estimates in (
        separate(config, weights, changing),
        stream(config, weights, changing)[:-1],
    ):
        silent = ~estimates.any(axis=0)
        reach = config.context_length
        assert silent[: 1000 - reach].all()
        assert not silent[1000 - reach : 4500 + reach].any()
        assert silent[4500 + reach : 5600 - reach].all()
        assert not silent[5600 - reach :].any()


@pytest.mark.parametrize(("field", "batch_size"), [(1, 3), (160, 1), (1601, 3)])
def test_neither_field_nor_batch_nor_blocks_change_anything(
    field, batch_size, changing
):
    config, weights = make()
    if field == 1:
        changing = changing[900:1200]
    expected = separate(config, weights, changing, len(changing), 1)
    scale = np.maximum(1e-4, np.abs(changing))
    got = separate(config, weights, changing, field, batch_size)
    assert (np.abs(got - expected) / scale).max() < 1e-3
    for block_length in (160, 333):
        stems = stream(config, weights, changing, block_length=block_length)
        assert (np.abs(stems[:-1] - expected) / scale).max() < 1e-3
        np.testing.assert_allclose(stems.sum(axis=0), changing, rtol=0, atol=1e-6)


def test_of_what_is_not_heard_the_level_counts(changing):
    config, weights = make()
    framing = Framing.seamless(config, 500)
    predict = models.build_predict(config, weights, **framing.lengths)
    heard = []

    def counting(fragments):
        heard.append(len(fragments) * 500)
        return predict(fragments)

    parts = [
        *estimate_blocks(
            np.split(changing, [700, 1400, 2100]),
            Network(framing, 1, counting),
            num_estimates=3,
            unheard=2000,
        )
    ]
    mixture = np.concatenate([part for part, _ in parts])
    np.testing.assert_array_equal(mixture, changing)
    got = np.concatenate([estimates for _, estimates in parts], axis=1)
    assert not got[:, :2000].any()
    behind = slice(2000 + config.context_length, None)
    expected = separate(config, weights, changing)[:, behind]
    np.testing.assert_allclose(got[:, behind], expected, rtol=0, atol=1e-5)
    assert sum(heard) < len(changing) - 2000 + 500


@pytest.mark.parametrize("level", [-26, -40, -80, -120])
def test_quiet_is_separated_like_loud(level, rng):
    config, weights = make()
    # The loudest 10 ms come first, so that they set the level of all.
    signal = rng.standard_normal(4000) * np.linspace(1.5, 0.7, 4000)
    loud, quiet = at(-20, signal), at(level, signal)
    first = rms(loud[:160])
    reference = separate(
        config, weights, loud * np.float32(10 ** ((gain.QUIET - first) / 20))
    )
    expected = reference * 10 ** ((first - gain.QUIET + level + 20) / 20)
    # All of it is at least as loud, less what the level falls by.
    got = separate(config, weights, quiet)[:, :160]
    assert rms(got - expected[:, :160]) < rms(expected[:, :160]) - 40


@pytest.mark.slow
@pytest.mark.keras3
@pytest.mark.parametrize("task_name", TASK_NAMES)
def test_the_shipped_sessions_separate_quiet_music_as_well(task_name):
    session = ROOT / "sessions" / task_name
    config = parse_config(json.loads((session / "config.json").read_text("utf-8")))
    path = find.find_latest(session)
    weights = read.read_checkpoint(path, config).weights
    music = read_mono(ROOT / "audio" / "samba.flac", sample_rate=16000)[:24000]
    normal, quiet = (
        stream(config, weights, at(level, music), 24000)[:-1] for level in (-20, -80)
    )
    for estimate, soft in zip(normal, quiet):
        assert rms(soft) < -80
        # The same sound, as far as the network hears the same at -20 and some -36 dB.
        shared = estimate * (estimate @ soft) / (estimate @ estimate)
        assert rms(soft - shared) < rms(soft) - 6


@pytest.mark.keras3
def test_bfloat16_on_a_processor_does_the_same(changing):
    wide = {"residual_channels": 16, "skip_channels": 16, "final_channels": (16, 6)}
    config, weights = make(scale=0.2, **wide)
    if not streaming.is_compiled(config, "bfloat16"):
        pytest.skip("needs a C++ compiler and AVX512_FP16 or AVX512_BF16")
    exact = stream(config, weights, changing)[:-1]
    rough = stream(config, weights, changing, precision="bfloat16")[:-1]
    assert (rough.any(axis=0) == exact.any(axis=0)).all()
    for part in (slice(1000, 2900), slice(3000, 4500), slice(5700, None)):
        error = rms(rough[:, part] - exact[:, part])
        assert error < rms(exact[:, part]) - 30
