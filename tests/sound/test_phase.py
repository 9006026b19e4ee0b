"""Channels that cancel each other are found, and others are not."""

import numpy as np
import pytest
import soundfile

from sswavenet.sound.phase import Cancellation
from sswavenet.sound.reader import CANCELLED, AudioReader, MonoReader

RATE = 44100


def share(audio, size=10000):
    found = Cancellation()
    for k in range(0, len(audio), size):
        found.add(audio[k : k + size].astype(np.float32))
    return found.share


@pytest.fixture
def noise(rng):
    return rng.standard_normal((5 * RATE, 8)) / 10


def test_what_cancels_is_all_of_it(noise):
    left = noise[:, 0]
    assert share(np.stack([left, -left], 1)) == pytest.approx(1)
    assert share(np.stack([left, left], 1)) == 0
    assert share(np.stack([left, 0 * left], 1)) == 0


@pytest.mark.parametrize("channels", [2, 3, 6, 8])
def test_channels_that_have_nothing_to_do_with_each_other_do_not_cancel(
    channels, noise
):
    assert share(noise[:, :channels]) < CANCELLED


@pytest.mark.parametrize("channels", [2, 6, 8])
def test_one_channel_alone_does_not_cancel(channels, noise):
    audio = np.zeros((len(noise), channels))
    audio[:, channels // 2] = noise[:, 0]
    assert share(audio) == 0


def test_a_band_out_of_phase_is_its_share_of_the_energy(noise):
    # Tones of equal power, of which one is out of phase.
    time = np.arange(len(noise)) / RATE
    tones = [np.sin(2 * np.pi * tone * time) for tone in (300, 900, 2100, 4500)]
    left = sum(tones)
    audio = np.stack([left, left - 2 * tones[1]], 1)
    assert share(audio) == pytest.approx(0.25, abs=0.01)


def test_blocks_change_nothing(noise):
    audio = np.stack([noise[:, 0], 0.1 * noise[:, 1] - noise[:, 0]], 1)
    expected = share(audio, len(audio))
    assert 0.5 < expected < 1
    # But where a block ends within a frame.
    assert share(audio, 2048 * 100) == pytest.approx(expected, abs=1e-3)
    assert share(audio, 777) == pytest.approx(expected, abs=0.05)


def test_silence_and_infinity_are_no_share(noise):
    assert Cancellation().share == 0
    assert share(0 * noise) == 0
    spoiled = noise.copy()
    spoiled[100] = np.inf
    with np.errstate(invalid="ignore"):
        assert share(spoiled) < CANCELLED


@pytest.mark.parametrize(
    ("sides", "percent"),
    [("inverted", 100), ("vocals", 50), ("ordinary", 0), ("mono", 0)],
)
def test_a_reader_of_the_mean_tells_what_it_lacks(sides, percent, noise, tmp_path):
    vocals, others = noise[:, 0], noise[:, 1]
    vocals = vocals * np.sin(np.arange(len(noise)) * 2 * np.pi / RATE) ** 2
    others[: len(others) // 2] = 0
    vocals[len(vocals) // 2 :] = 0  # so that half of the time each is alone
    vocals *= others.std() / vocals.std()
    audio = {
        "inverted": np.stack([vocals + others, -vocals - others], 1),
        "vocals": np.stack([others + vocals, others - vocals], 1),
        "ordinary": np.stack([others + vocals, others + 0.3 * vocals], 1),
        "mono": vocals + others,
    }[sides]
    soundfile.write(tmp_path / "a.wav", audio, RATE, "FLOAT")
    with MonoReader(tmp_path / "a.wav", sample_rate=16000) as reader:
        list(reader.blocks())
        assert round(100 * reader.source.cancelled, -1) == percent
        if percent:
            (warning,) = reader.warnings
            assert "the channels cancel each other: " in warning
            assert f"{reader.source.cancelled:.0%} of their energy" in warning
        else:
            assert reader.warnings == []


def test_a_reader_of_the_channels_knows_it_too(noise, tmp_path):
    left = noise[:RATE, 0]
    soundfile.write(tmp_path / "a.wav", np.stack([left, -left], 1), RATE, "FLOAT")
    with AudioReader(tmp_path / "a.wav") as reader:
        assert reader.cancelled == 0
        list(reader.blocks())
        assert reader.cancelled == pytest.approx(1)
