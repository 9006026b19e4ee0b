"""A mixture at its own rate and channels, through the network and back."""

import functools

import numpy as np
import pytest
from scipy import signal

from sswavenet.separation import native
from tests.support import golden_config

RATE = 44100
CONFIG = golden_config("multi-instrument")
LOW = signal.butter(6, [100, 1000], "bandpass", fs=CONFIG.sample_rate, output="sos")
HIGH = signal.butter(6, [2000, 6000], "bandpass", fs=CONFIG.sample_rate, output="sos")


def separate_heard(heard):
    """Stands for a network: what is low is the bass, what is high the drums."""
    stems = {"vocals": 0 * heard}
    for name, band in (("drums", HIGH), ("bass", LOW)):
        stems[name] = signal.sosfiltfilt(band, heard).astype(np.float32)
    stems["other"] = heard - stems["bass"] - stems["drums"]
    return stems


def estimate(heard):
    stems = separate_heard(heard)
    return np.stack([stems[name] for name in CONFIG.task.estimates])


def song(rng, seconds=2.0, rate=RATE):
    """Low and high noise (stems, frames, 2), the first left, the second right."""
    noise = rng.normal(size=(2, int(seconds * rate)))
    bands = ([150, 700], [3000, 5000])
    parts = [
        signal.sosfilt(signal.butter(4, band, "bandpass", fs=rate, output="sos"), row)
        for band, row in zip(bands, noise)
    ]
    sides = [(1, 0.4), (0.2, 1)]
    return np.stack([np.outer(x, p) for x, p in zip(parts, sides)]).astype("float32")


def sdr(reference, estimate):
    error = np.sum((reference - estimate) ** 2)
    return 10 * np.log10(np.sum(reference**2) / error)


separate = functools.partial(native.separate_array, CONFIG, estimate)


def test_stems_keep_the_mixtures_rate_and_places(rng):
    low, high = song(rng)
    stems = separate(low + high, RATE)
    assert list(stems) == list(CONFIG.task.stems)
    assert sdr(low, stems["bass"]) > 15
    assert sdr(high, stems["drums"]) > 15
    np.testing.assert_allclose(sum(stems.values()), low + high, atol=1e-6)


def test_a_mono_mixture_at_the_models_rate_gets_the_networks_own(rng):
    mixture = rng.normal(size=20000).astype("float32")
    expected = separate_heard(mixture)
    for shape in ((-1,), (-1, 1)):
        stems = separate(mixture.reshape(shape), CONFIG.sample_rate)
        for name in CONFIG.task.estimates:
            np.testing.assert_array_equal(stems[name].ravel(), expected[name])
        np.testing.assert_allclose(stems["other"].ravel(), expected["other"], atol=1e-6)
        assert {stem.shape for stem in stems.values()} == {mixture.reshape(shape).shape}


@pytest.mark.parametrize("rate", [8000, 44100])
def test_a_mono_mixture_at_another_rate_keeps_its_shape(rng, rate):
    mixture = song(rng, rate=rate if rate > 10000 else 22050).sum(axis=0)[:, 0]
    stems = separate(mixture, rate)
    assert {stem.shape for stem in stems.values()} == {mixture.shape}
    np.testing.assert_allclose(sum(stems.values()), mixture, atol=1e-6)


@pytest.mark.parametrize("turn", [(1, -1), (-1, 1)])
def test_an_inverted_channel_costs_no_stem_anything(rng, turn):
    low, high = song(rng)
    right = separate(low + high, RATE)
    turned = separate((low + high) * np.float32(turn), RATE)
    for reference, name in ((low, "bass"), (high, "drums")):
        lost = sdr(reference, right[name]) - sdr(reference, turned[name] * turn)
        assert lost < 1


def test_an_instrument_out_of_phase_is_separated(rng):
    low, high = song(rng)
    low[..., 1] = low[..., 0]
    high[..., 1] = high[..., 0]
    right = separate(low + high, RATE)
    high[..., 1] *= -1
    turned = separate(low + high, RATE)
    for reference, name in ((low, "bass"), (high, "drums")):
        assert sdr(reference, turned[name]) > 15
    assert sdr(low, right["bass"]) - sdr(low, turned["bass"]) < 1


def test_block_by_block_is_as_at_once(rng):
    """Read, heard and put out in blocks of any sizes, in bounded memory."""
    mixture = song(rng, 4.0).sum(axis=0)[:, :1] * np.float32([1, -1])
    expected = separate(mixture, RATE)
    one = native.NativeMixture(CONFIG, sample_rate=RATE, num_channels=2)
    other = native.NativeMixture(CONFIG, sample_rate=RATE, num_channels=2)
    estimates = estimate(np.concatenate(list(other.heard([mixture]))))
    most = 0

    def estimated():
        nonlocal most
        place = 0
        blocks = (mixture[k : k + 30011] for k in range(0, len(mixture), 30011))
        for heard in one.heard(blocks):
            part = estimates[:, place : place + len(heard)]
            place += len(heard)
            most = max(most, sum(map(len, one._waiting)))
            yield heard, part

    parts = list(one.parts(estimated()))
    assert one.turned_seconds >= 3
    assert most < 3 * RATE
    np.testing.assert_array_equal(np.concatenate([part for part, _ in parts]), mixture)
    found = np.concatenate([estimates for _, estimates in parts], axis=1)
    for name, stem in zip(CONFIG.task.estimates, found):
        np.testing.assert_allclose(stem, expected[name], atol=1e-5)
