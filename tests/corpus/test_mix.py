"""Levels, effects, the limiter and the places of stems."""

from __future__ import annotations

import random

import numpy as np
import pytest

from tests.corpus.support import RATE, STEMS, corpus_mix


def test_quantised_stems_add_up_and_keep_the_peak(rng):
    stems = rng.normal(size=(4, 5000))
    whole, mixture = corpus_mix.quantise(stems, 0.5)
    assert whole.dtype == mixture.dtype == np.int16
    np.testing.assert_array_equal(whole.sum(axis=0, dtype=int), mixture)
    peak = max(np.abs(whole.astype(int)).max(), np.abs(mixture.astype(int)).max())
    assert peak == pytest.approx(0.5 * 32767, abs=2)  # four roundings of a half


def test_quantise_leaves_silence_silent():
    whole, mixture = corpus_mix.quantise(np.zeros((4, 10)), 0.9)
    assert not whole.any()
    assert not mixture.any()


def test_opposed_stems_do_not_clip(rng):
    loud = rng.normal(size=5000)
    whole, _ = corpus_mix.quantise(np.stack([loud, -loud, 0 * loud, 0 * loud]), 0.95)
    assert np.abs(whole.astype(int)).max() <= 0.95 * 32767 + 1


def test_relative_levels_of_uncorrelated_stems():
    time = np.arange(RATE) / RATE
    stems = np.stack(
        [a * np.sin(2 * np.pi * f * time) for a, f in ((1, 100), (3, 200))]
    )
    # Energies 1 and 9 of 10.
    expected = 10 * np.log10([1 / 10, 9 / 10])
    np.testing.assert_allclose(corpus_mix.relative_levels(stems), expected, atol=1e-6)


def test_strict_mixes_are_balanced(rng):
    scales = np.array([[1.0], [1e-3], [50.0], [1.0]])
    stems = rng.normal(size=(4, 2 * RATE)) * scales
    for seed in range(20):
        whole, _ = corpus_mix.mix(stems, random.Random(seed), rate=RATE, strict=True)
        levels = corpus_mix.relative_levels(whole)
        assert np.all((levels >= -12) & (levels <= 3))


def test_mix_leaves_unused_stems_silent(rng):
    stems = rng.normal(size=(4, 2 * RATE)) * np.array([[1.0], [0], [0], [1]])
    whole, _ = corpus_mix.mix(stems, random.Random(1), rate=RATE, strict=True)
    assert whole[0].any()
    assert not whole[1:3].any()


def test_active_rms_leaves_rests_out(rng):
    noise = rng.normal(size=RATE)
    padded = np.concatenate([np.zeros(3 * RATE), noise, np.zeros(2 * RATE)])
    assert corpus_mix.active_rms(padded, RATE) == pytest.approx(
        np.sqrt((noise**2).mean())
    )


@pytest.mark.parametrize("stem", STEMS)
def test_effects_are_seeded_and_without_offset(rng, stem):
    y = rng.normal(size=2 * RATE) + 0.5
    for seed in range(8):
        first = corpus_mix.effects(y, random.Random(seed), stem, RATE)
        np.testing.assert_array_equal(
            first, corpus_mix.effects(y, random.Random(seed), stem, RATE)
        )
        assert first.shape == y.shape
        assert abs(first.mean()) < 0.02 * first.std()


def test_rest_is_silent_for_its_time_and_leaves_the_rest_alone():
    y = np.ones(10 * RATE)
    rested = corpus_mix.rest(y, random.Random(4), RATE)
    silent = (rested < 1e-9).mean()
    assert 0.09 < silent < 0.36
    assert (rested > 1 - 1e-9).mean() > 0.6
    assert np.all((rested >= -1e-9) & (rested <= 1 + 1e-9))


def test_bus_compression_lowers_what_is_loud(rng):
    y = rng.normal(size=4 * RATE)
    y[: 2 * RATE] *= 0.05
    gain = corpus_mix.bus_compression(y, random.Random(0), RATE)
    assert np.all((gain > 0) & (gain <= 1))
    assert gain[RATE : 2 * RATE].mean() > gain[3 * RATE :].mean()


def test_the_limiter_lets_no_peak_through_and_moves_all_stems_alike(rng):
    stems = rng.normal(0, 0.1, (4, 2 * RATE)) * np.linspace(0.2, 2, 2 * RATE)
    mixture = stems.sum(axis=0)
    ceiling = 0.3 * np.abs(mixture).max()
    gain = corpus_mix.limiter(mixture, ceiling, 0.02, RATE)
    assert gain.shape == mixture.shape
    assert gain.min() > 0
    assert gain.max() <= 1 + 1e-9
    assert np.abs((stems * gain).sum(axis=0)).max() <= ceiling * (1 + 1e-9)
    # Where nothing is loud within reach, nothing changes.
    quiet = np.convolve(np.abs(mixture) > ceiling, np.ones(RATE // 10), "same") < 0.5
    assert quiet.any()
    np.testing.assert_allclose(gain[quiet], 1, atol=1e-9)


def test_a_third_of_the_songs_is_mastered_and_its_stems_still_sum(rng):
    stems = rng.normal(0, 0.1, (4, 2 * RATE)) * rng.uniform(0, 3, 2 * RATE) ** 3
    crest, loud = [], 0
    for seed in range(200):
        whole, mixture = corpus_mix.mix(
            stems,
            random.Random("mix"),
            rate=RATE,
            strict=False,
            master=random.Random(seed),
        )
        np.testing.assert_array_equal(whole.astype(int).sum(axis=0), mixture)
        crest.append(np.abs(mixture).max() / mixture.std(dtype=float))
        # From 0.1 to 1 dB below full scale.
        loud += max(abs(whole).max(), abs(mixture).max()) > 0.89 * 32767
    plain = max(crest)  # of the songs that are not mastered
    mastered = [one for one in crest if one < 0.9 * plain]
    assert len(mastered) / 200 == pytest.approx(1 / 3, abs=0.1)
    assert loud >= len(mastered)


def test_a_place_keeps_the_power_and_says_where_it_is(rng):
    y = rng.normal(size=1000)
    np.testing.assert_array_equal(corpus_mix.place(y, 0.3, 1), y)
    for position, left, right in ((-1, 2, 0), (0, 1, 1), (1, 0, 2)):
        placed = corpus_mix.place(y, position, 2)
        np.testing.assert_allclose(
            (placed**2).mean(axis=1), np.array([left, right]) * (y**2).mean(), atol=1e-9
        )
    np.testing.assert_array_equal(corpus_mix.place(placed, 0.3, 2), placed)
    np.testing.assert_allclose(corpus_mix.loudness(placed), np.abs(y))
