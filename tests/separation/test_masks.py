"""Stems at the mixture's own rate and channels."""

import numpy as np
import pytest
from scipy import signal

from sswavenet.separation.masks import NativeStems

NETWORK_RATE = 16000


def share_out(mixture, estimates, rate, sizes=(5000, 3000), start=0):
    """The stems of a mixture (frames, channels), pushed in blocks of such sizes."""
    native = NativeStems(
        mixture_rate=rate,
        estimates_rate=NETWORK_RATE,
        num_stems=len(estimates),
        num_channels=mixture.shape[1],
        start=start,
    )
    mixture, estimates = mixture.astype(np.float32), estimates.astype(np.float32)
    num_blocks = max(-(-len(mixture) // sizes[0]), -(-estimates.shape[1] // sizes[1]))
    parts = [
        native.push(
            mixture[k * sizes[0] : (k + 1) * sizes[0]],
            estimates[:, k * sizes[1] : (k + 1) * sizes[1]],
        )
        for k in range(num_blocks)
    ]
    parts.append(native.finish(mixture[num_blocks * sizes[0] :]))
    assert np.array_equal(np.concatenate([part for part, _ in parts]), mixture)
    return np.concatenate([stems for _, stems in parts], axis=1)


def estimates_length(num_frames, rate):
    """Samples of the estimates: what the reader makes of so many frames."""
    return -(-num_frames * NETWORK_RATE // rate)


def tone(hertz, rate, seconds=1.0):
    return np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate)


def sdr(reference, estimate):
    error = np.sum((reference - estimate) ** 2)
    return 10 * np.log10(np.sum(reference**2) / error)


@pytest.mark.parametrize(
    ("rate", "channels"), [(8000, 1), (11025, 2), (44100, 2), (48000, 8), (192000, 2)]
)
@pytest.mark.parametrize("num_frames", [1, 5, 30011])
def test_stems_sum_to_the_mixture_whatever_the_blocks(rng, rate, channels, num_frames):
    mixture = rng.normal(size=(num_frames, channels))
    estimates = rng.normal(size=(3, estimates_length(num_frames, rate)))
    stems = share_out(mixture, estimates, rate)
    assert stems.shape == (3, num_frames, channels)
    assert stems.dtype == np.float32
    np.testing.assert_allclose(stems.sum(axis=0), mixture, atol=2e-6)
    for sizes in [(311, 1000), (10**6, 10**6), (4096, 100)]:
        others = share_out(mixture, estimates, rate, sizes)
        np.testing.assert_allclose(others, stems, atol=1e-5)


@pytest.mark.parametrize("sizes", [(700, 700), (1600, 1600), (9000, 2500)])
def test_stems_are_bit_by_bit_the_same_whatever_the_blocks(rng, sizes):
    mixture = rng.standard_normal((20000, 2))
    estimates = rng.standard_normal((4, 20000))
    np.testing.assert_array_equal(
        share_out(mixture, estimates, NETWORK_RATE, sizes),
        share_out(mixture, estimates, NETWORK_RATE, (20000, 20000)),
    )


@pytest.mark.parametrize("rate", [8000, 22050, 44100, 44099, 96000])
def test_a_stem_that_is_all_of_the_mixture_gets_all_of_it(rng, rate):
    mixture = rng.normal(size=(rate // 2, 2))
    estimates = np.zeros((3, estimates_length(len(mixture), rate)))
    estimates[1] = rng.normal(size=estimates.shape[1])
    stems = share_out(mixture, estimates, rate)
    assert sdr(mixture, stems[1]) > 50  # but for what counts as silence
    assert not stems[0].any()


@pytest.mark.parametrize("rate", [16000, 44100, 48000])
def test_tones_go_to_their_stems_in_each_channel(rate):
    hertz = (300, 1000, 3000)
    pans = np.array([[0.9, 0.1], [0.3, 0.7], [0.5, -0.5]])
    references = np.stack([np.outer(tone(f, rate), p) for f, p in zip(hertz, pans)])
    estimates = np.stack([tone(f, NETWORK_RATE) for f in hertz])
    stems = share_out(references.sum(axis=0), estimates, rate)
    inner = slice(rate // 5, -rate // 5)  # a tone begins and ends on all frequencies
    for reference, stem in zip(references, stems):
        assert sdr(reference[inner], stem[inner]) > 40


@pytest.mark.parametrize("rate", [22050, 44100, 192000])
def test_a_burst_stays_in_its_place(rng, rate):
    noise = rng.normal(size=rate) * (np.arange(rate) // (rate // 10) == 3)
    other = rng.normal(size=rate) * (np.arange(rate) // (rate // 10) == 7)
    both = np.stack([noise, other])
    estimates = signal.resample_poly(both, NETWORK_RATE // 50, rate // 50, axis=1)
    stems = share_out(both.sum(axis=0)[:, np.newaxis], estimates, rate)
    for wanted, stem in zip(both, stems[..., 0]):
        assert sdr(wanted, stem) > 40
        correlation = signal.correlate(stem, wanted, "same")
        assert np.argmax(correlation) == rate // 2


def test_is_what_whole_spectra_of_resampled_estimates_give(rng):
    """The textbook's way: estimates at the mixture's rate, one spectrogram of each."""
    rate, num_frames = 44100, 60000
    filters = [
        signal.butter(1, band, "bandpass", fs=rate, output="sos")
        for band in ([50, 400], [300, 2000], [1500, 7000])
    ]
    noises = rng.normal(size=(3, num_frames)) * np.abs(
        np.sin(np.arange(num_frames) / [[7000], [11000], [4000]])
    )
    references = np.stack([signal.sosfilt(f, n) for f, n in zip(filters, noises)])
    estimates = signal.resample_poly(references, 160, 441, axis=1)
    mixture = references.sum(axis=0)
    settings = {"nperseg": 4096, "noverlap": 3072}
    resampled = signal.resample_poly(estimates, 441, 160, axis=1)[:, :num_frames]
    magnitudes = np.abs(signal.stft(resampled, **settings)[2])
    masks = magnitudes / magnitudes.sum(axis=0)
    wanted = signal.istft(masks * signal.stft(mixture, **settings)[2], **settings)[1]
    stems = share_out(mixture[:, np.newaxis], estimates, rate)[..., 0]
    low = signal.butter(6, 6000, fs=rate, output="sos")
    for stem, one in zip(stems, wanted[:, :num_frames]):
        assert sdr(signal.sosfilt(low, one), signal.sosfilt(low, stem)) > 30


def test_above_the_estimates_the_energy_below_decides(rng):
    """What sounds from 4 to 7.5 kHz has the higher frequencies, not what is lower."""
    rate = 44100
    low, high = tone(500, NETWORK_RATE), tone(6000, NETWORK_RATE)
    cymbal = tone(12000, rate)
    stems = share_out(
        np.outer(cymbal, [1.0]), np.stack([low, 0.8 * high, 0.6 * high]), rate
    )[..., 0]
    inner = slice(rate // 5, -rate // 5)
    for stem, part in zip(stems, (0, 0.64, 0.36)):
        np.testing.assert_allclose(stem[inner], part * cymbal[inner], atol=0.01)


def test_what_no_estimate_holds_is_the_remainders(rng):
    mixture = rng.normal(size=(30000, 2))
    stems = share_out(mixture, np.zeros((3, 11000)), 44100)
    assert not stems[:2].any()
    np.testing.assert_allclose(stems[2], mixture, atol=1e-6)


def test_silence_gives_silence():
    assert not share_out(np.zeros((9000, 2)), np.zeros((4, 4000)), 44100).any()


def test_rounding_of_silent_estimates_does_not_matter(rng):
    """Two computations of one network differ by some 1e-7; their stems by no more."""
    rate = 44100
    mixture = np.outer(tone(12000, rate) + tone(200, rate), [0.5, 0.5])
    estimates = np.zeros((3, NETWORK_RATE))
    estimates[0] = 0.5 * tone(200, NETWORK_RATE)
    noisy = estimates + 1e-7 * rng.uniform(-1, 1, estimates.shape)
    found = [share_out(mixture, e, rate) for e in (estimates, noisy)]
    np.testing.assert_allclose(*found, atol=1e-5)


def test_a_quiet_mixture_is_shared_out_like_a_loud_one(rng):
    mixture = rng.normal(size=(20000, 2))
    estimates = rng.normal(size=(3, 7257))
    loud = share_out(mixture, estimates, 44100)
    quiet = share_out(1e-4 * mixture, 1e-4 * estimates, 44100)
    np.testing.assert_allclose(1e4 * quiet, loud, atol=1e-4)


@pytest.mark.parametrize(("rate", "start"), [(44100, 441 * 30), (48000, 30000)])
def test_a_part_is_shared_out_as_in_the_whole(rng, rate, start):
    mixture = rng.normal(size=(60000, 2))
    estimates = rng.normal(size=(3, estimates_length(60000, rate)))
    whole = share_out(mixture, estimates, rate)
    first = start * NETWORK_RATE // rate
    part = share_out(mixture[start:], estimates[:, first:], rate, start=start)
    inner = 5000  # a window and what the part lacks of the first one
    np.testing.assert_allclose(part[:, inner:], whole[:, start + inner :], atol=1e-5)
