"""What the network hears of several channels."""

import numpy as np
import pytest

from sswavenet.separation.downmix import Downmix

RATE = 44100


def downmix(audio, size=50000, rate=RATE, start=0):
    """The signal that is heard, and how much of it with channels turned over."""
    audio = np.asarray(audio, np.float32)
    mix = Downmix(rate, start)
    blocks = [audio[k : k + size] for k in range(0, len(audio), size)]
    return np.concatenate(list(mix.blocks(blocks))), mix.turned_length


def tone(hertz, num_frames, rate=RATE):
    return 0.3 * np.sin(2 * np.pi * hertz * np.arange(num_frames) / rate)


def song(rng, num_frames):
    """Two tones and noise, in the middle, left and right."""
    parts = [
        tone(220, num_frames),
        tone(1760, num_frames),
        0.05 * rng.normal(size=num_frames),
    ]
    return sum(np.outer(x, p) for x, p in zip(parts, [(1, 1), (1, 0.2), (0.1, 1)]))


@pytest.mark.parametrize("num_frames", [1, 1000, 65536, 65537, 200000])
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_what_does_not_cancel_is_the_mean(rng, num_frames, channels):
    audio = np.outer(rng.normal(size=num_frames), np.linspace(0.2, 1, channels))
    audio += 0.3 * rng.normal(size=audio.shape)
    audio = audio.astype(np.float32)
    heard, turned = downmix(audio)
    assert turned == 0
    np.testing.assert_array_equal(heard, audio.mean(axis=1))


def test_unrelated_channels_count_as_no_cancellation(rng):
    for channels in (2, 8):
        assert downmix(rng.normal(size=(100000, channels)))[1] == 0


@pytest.mark.parametrize("rate", [8000, 44100, 192000])
def test_an_inverted_channel_is_heard_as_if_it_were_not(rng, rate):
    audio = song(rng, 3 * rate)
    heard, turned = downmix(audio * [1, -1], rate=rate)
    inner = slice(rate // 4, -rate // 4)
    wanted = audio.mean(axis=1)
    assert turned
    error = np.sqrt(np.mean((heard - wanted)[inner] ** 2))
    assert error < 0.05 * np.sqrt(np.mean(wanted**2))


def test_all_channels_out_of_phase_are_heard_exactly(rng):
    left = rng.normal(size=100000)
    heard, _ = downmix(np.stack([left, -left], axis=1))
    np.testing.assert_allclose(heard, left, atol=1e-5)


def test_an_instrument_out_of_phase_is_heard_beside_the_others():
    """Neither the channels' sum nor their difference holds both."""
    near, far = tone(440, 4 * RATE), tone(3000, 4 * RATE)
    heard, _ = downmix(np.stack([near + far, near - far], axis=1))
    inner = slice(RATE // 2, -RATE // 2)
    np.testing.assert_allclose(heard[inner], (near + far)[inner], atol=1e-3)


def test_only_the_parts_that_cancel_are_changed(rng):
    audio = song(rng, 10 * RATE)
    audio[5 * RATE : 8 * RATE, 1] *= -1
    audio = audio.astype(np.float32)
    heard, turned = downmix(audio)
    assert 2 * RATE <= turned <= 6 * RATE
    # Parts of some 1.5 s, and half a window.
    before, after = slice(0, 3 * RATE), slice(int(9.8 * RATE), None)
    for part in (before, after):
        np.testing.assert_array_equal(heard[part], audio[part].mean(axis=1))


def test_does_not_depend_on_the_blocks(rng):
    audio = song(rng, 5 * RATE) * [1, -1]
    first, _ = downmix(audio)
    for size in (997, 44100, 10**7):
        np.testing.assert_allclose(downmix(audio, size)[0], first, atol=1e-6)


def test_silence_is_silence():
    heard, turned = downmix(np.zeros((90000, 2)))
    assert not heard.any()
    assert turned == 0
    assert len(heard) == 90000
    assert list(Downmix(RATE).blocks([])) == []


@pytest.mark.parametrize("start", [441, 62464, 441 * 150, 441 * 500])
def test_a_part_is_heard_as_in_the_whole(rng, start):
    audio = song(rng, 10 * RATE)
    audio[4 * RATE :, 1] *= -1
    whole, _ = downmix(audio)
    part, turned = downmix(audio[start:], start=start)
    assert turned
    length = Downmix(RATE).part_length
    inner = slice(start + length, None)
    np.testing.assert_allclose(part[length:], whole[inner], atol=1e-6)
