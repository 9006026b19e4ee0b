"""Scores of arrays, against formulas and museval."""

import math
import os
import subprocess
import sys

import numpy as np
import pytest
from scipy import signal

from sswavenet.evaluation.metrics import (
    ideal_ratio_mask,
    load_museval,
    score_stems,
    si_sdr,
)
from tests.evaluation.conftest import RATE, make_stems, reference_si_sdr
from tests.support import ROOT, STEMS

museval = load_museval()


@pytest.mark.parametrize("gain", [1, -0.2, 30])
def test_si_sdr_is_the_formula_whatever_the_scale(rng, gain):
    reference = rng.standard_normal(5000)
    estimate = gain * (reference + 0.3 * rng.standard_normal(5000))
    expected = reference_si_sdr(reference, estimate)
    assert si_sdr(reference, estimate) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("snr", [-10, 0, 25])
def test_si_sdr_of_orthogonal_noise_is_the_snr(rng, snr):
    reference, noise = rng.standard_normal((2, 4000))
    noise -= reference * (noise @ reference) / (reference @ reference)
    noise *= np.sqrt((reference @ reference) / (noise @ noise)) * 10 ** (-snr / 20)
    assert si_sdr(reference, reference + noise) == pytest.approx(snr, abs=1e-9)


def test_si_sdr_at_its_limits():
    reference = np.array([1.0, -1.0, 1.0, -1.0])
    assert si_sdr(reference, 2 * reference) == math.inf
    assert si_sdr(reference, np.array([1.0, 1.0, 1.0, 1.0])) == -math.inf
    assert si_sdr(reference, np.zeros(4)) == -math.inf
    assert math.isnan(si_sdr(np.zeros(4), reference))


@pytest.mark.slow
def test_bss_eval_is_musevals_own(rng):
    references = make_stems(rng, seconds=3.4)
    estimates = references + 0.2 * references[::-1]
    estimates += 0.02 * rng.standard_normal(references.shape).astype("float32")
    references[1, RATE : 2 * RATE] = 0  # a window that museval does not score
    expected = museval.metrics.bss_eval(
        references[:, :, None], estimates[:, :, None], window=RATE, hop=RATE
    )
    targets = score_stems(
        STEMS, references, estimates, references.sum(axis=0), sample_rate=RATE
    )
    for row, target in enumerate(targets):
        assert [frame["time"] for frame in target["frames"]] == [0, 1, 2]
        assert {frame["duration"] for frame in target["frames"]} == {1}
        for place, metric in enumerate(("SDR", "ISR", "SIR", "SAR")):
            found = [frame["metrics"][metric] for frame in target["frames"]]
            assert math.isnan(found[1])
            np.testing.assert_allclose(found, expected[place][row], atol=0.51e-5)


def test_bss_eval_of_a_mixture_of_two_orthogonal_stems(rng):
    # The same power in both: the mixture is 0 dB for each, and without artifacts.
    references = 0.1 * rng.standard_normal((2, 4 * RATE))
    targets = score_stems(
        ("vocals", "accompaniment"),
        references,
        np.broadcast_to(references.sum(axis=0), references.shape),
        references.sum(axis=0),
        sample_rate=RATE,
    )
    for target in targets:
        assert target["si_sdr"] == pytest.approx(0, abs=0.2)
        assert target["level_db"] == pytest.approx(-3, abs=0.2)
        for frame in target["frames"]:
            assert frame["metrics"]["SDR"] == pytest.approx(0, abs=0.3)
            assert frame["metrics"]["SIR"] == pytest.approx(0, abs=0.5)
            assert not frame["metrics"]["SAR"] < 60


@pytest.mark.slow
def test_stereo_stems_are_scored_as_musevals_own(rng):
    shape = (2, round(2.4 * RATE), 2)
    references = 0.1 * rng.standard_normal(shape)
    references[1] = signal.lfilter([1], [1, -0.9], references[1], axis=0)
    estimates = 0.5 * references + 0.1 * references[::-1]
    expected = museval.metrics.bss_eval(references, estimates, window=RATE, hop=RATE)
    names, mixture = ("vocals", "accompaniment"), references.sum(axis=0)
    targets = score_stems(names, references, estimates, mixture, sample_rate=RATE)
    for row, target in enumerate(targets):
        for place, metric in enumerate(("SDR", "ISR", "SIR", "SAR")):
            found = [frame["metrics"][metric] for frame in target["frames"]]
            np.testing.assert_allclose(found, expected[place][row], atol=0.51e-5)
        flat = references[row].ravel(), estimates[row].ravel()
        assert target["si_sdr"] == pytest.approx(reference_si_sdr(*flat), abs=1e-9)


def test_the_oracle_masks_each_channel_by_itself(rng):
    references = rng.standard_normal((2, 20000, 2)).astype("float32")
    references[0] = np.cumsum(references[0], axis=0) / 50
    mixture = references.sum(axis=0)
    both = ideal_ratio_mask(references, mixture, sample_rate=44100)
    for channel in range(2):
        one = ideal_ratio_mask(
            references[..., channel], mixture[..., channel], sample_rate=44100
        )
        np.testing.assert_allclose(both[..., channel], one, atol=1e-6)


@pytest.mark.parametrize("rate", [1, 8, 100])
def test_the_oracle_shares_out_mixtures_of_the_lowest_rates(rate, rng):
    references = rng.standard_normal((3, 50)).astype("float32")
    mixture = references.sum(axis=0)
    found = ideal_ratio_mask(references, mixture, sample_rate=rate)
    np.testing.assert_allclose(found.sum(axis=0), mixture, atol=1e-5)


@pytest.mark.parametrize("gain_db", [-9, 0, 4])
def test_the_level_of_an_estimate_is_told(rng, gain_db):
    references = make_stems(rng)
    references[3] = 0
    targets = score_stems(
        STEMS,
        references,
        10 ** (gain_db / 20) * references,
        references.sum(axis=0),
        sample_rate=RATE,
        metrics=("si_sdr",),
    )
    for target in targets[:3]:
        assert target["gain_db"] == pytest.approx(gain_db, abs=1e-6)
    assert math.isnan(targets[3]["gain_db"])


@pytest.mark.slow
def test_a_silent_reference_is_left_out_and_the_others_are_scored(rng):
    references = make_stems(rng)
    references[2] = 0
    estimates = references + 0.01 * rng.standard_normal(references.shape)
    targets = score_stems(
        STEMS, references, estimates, references.sum(axis=0), sample_rate=RATE
    )
    reason = "silent reference"
    assert targets[2]["left_out"] == {"bss": reason, "si_sdr": reason}
    assert math.isnan(targets[2]["si_sdr"])
    kept = [0, 1, 3]
    expected = museval.metrics.bss_eval(
        references[kept, :, None], estimates[kept, :, None], window=RATE, hop=RATE
    )[0]
    for row, sdr in zip(kept, expected):
        assert targets[row]["left_out"] == {}
        found = [frame["metrics"]["SDR"] for frame in targets[row]["frames"]]
        np.testing.assert_allclose(found, sdr, atol=0.51e-5)


@pytest.mark.slow
def test_a_silent_estimate_is_scored_where_that_is_defined(rng):
    references = make_stems(rng)
    estimates = references + 0.01 * rng.standard_normal(references.shape)
    arguments = (references.sum(axis=0),)
    whole = score_stems(STEMS, references, estimates, *arguments, sample_rate=RATE)
    estimates[0] = 0
    targets = score_stems(STEMS, references, estimates, *arguments, sample_rate=RATE)
    assert targets[0]["left_out"] == {"bss": "silent estimate"}
    assert targets[0]["si_sdr"] == -math.inf
    assert targets[1:] == whole[1:]


def test_a_track_with_one_stem_has_nothing_to_separate(rng):
    references = make_stems(rng)
    references[:3] = 0
    targets = score_stems(
        STEMS, references, references, references[3], sample_rate=RATE
    )
    assert targets[3]["left_out"] == dict.fromkeys(
        ("bss", "si_sdr"), "no other stem sounds"
    )


def test_a_short_track_has_no_window_but_an_si_sdr(rng):
    references = make_stems(rng, seconds=0.5)
    mixture = references.sum(axis=0)
    estimates = np.broadcast_to(mixture, references.shape)
    targets = score_stems(STEMS, references, estimates, mixture, sample_rate=RATE)
    for row, target in enumerate(targets):
        assert target["left_out"] == {"bss": "shorter than 1 s"}
        assert target["si_sdr"] == pytest.approx(
            reference_si_sdr(references[row], mixture), abs=1e-4
        )


def test_stems_that_determine_each_other_are_left_out_of_bss_eval():
    references = np.zeros((2, 2 * RATE))
    references[:, 0] = 4  # a singular system, in floats, too
    targets = score_stems(
        ("vocals", "accompaniment"),
        references,
        references,
        references.sum(axis=0),
        sample_rate=RATE,
    )
    for target in targets:
        assert target["left_out"] == {"bss": "stems are multiples of each other"}


@pytest.mark.parametrize("num_frames", [1, 300, 3 * RATE + 7])
def test_the_oracles_stems_sum_to_the_mixture(rng, num_frames):
    references = rng.standard_normal((3, num_frames)).astype("float32")
    mixture = references.sum(axis=0)
    estimates = ideal_ratio_mask(references, mixture, sample_rate=RATE)
    assert estimates.shape == references.shape
    np.testing.assert_allclose(estimates.sum(axis=0), mixture, atol=1e-5)


def test_the_oracle_separates_what_does_not_overlap():
    time = np.arange(2 * RATE) / RATE
    references = np.stack([np.sin(2 * np.pi * f * time) for f in (500, 3000)])
    estimates = ideal_ratio_mask(references, references.sum(axis=0), sample_rate=RATE)
    for reference, estimate in zip(references, estimates):
        assert si_sdr(reference, estimate) > 30


def test_the_oracle_is_that_of_sisec_2018(rng):
    # 44.1 kHz, Hann windows of 2048 samples, a hop of 1024, here window by window.
    references = rng.standard_normal((2, 22 * 1024)).astype("float32")
    references[0] = np.cumsum(references[0]) / 50
    mixture = references.sum(axis=0)
    window = 0.5 - 0.5 * np.cos(np.pi * np.arange(2048) / 1024)
    padded = np.pad([*references, mixture], ((0, 0), (1024, 1024)))
    expected, weights = np.zeros((2, padded.shape[1])), np.zeros(padded.shape[1])
    for start in range(0, padded.shape[1] - 1024, 1024):
        part = slice(start, start + 2048)
        *spectra, whole = np.fft.rfft(window * padded[:, part])
        magnitudes = np.abs(spectra)
        masked = magnitudes / magnitudes.sum(axis=0) * whole
        expected[:, part] += window * np.fft.irfft(masked)
        weights[part] += window**2
    expected = (expected / np.maximum(weights, 1e-9))[:, 1024:-1024]
    estimates = ideal_ratio_mask(references, mixture, sample_rate=44100)
    np.testing.assert_allclose(estimates, expected, atol=1e-5)


@pytest.mark.slow
def test_museval_is_had_without_ffmpeg(tmp_path):
    script = (
        "import numpy as np; from sswavenet.evaluation import metrics as scores;"
        "r = np.random.default_rng(1);"
        "s = r.standard_normal((2, 16000)).astype('f4');"
        "print(scores.bss_eval(s, s + 0.1, sample_rate=16000).shape)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env={**os.environ, "PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split("\n")[0] == "(4, 2, 1)"
