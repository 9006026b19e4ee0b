"""Voices that sing to the chords of a score, and that speak."""

from __future__ import annotations

import random

import numpy as np
import pytest

from tests.corpus.support import RATE, corpus_scores, corpus_singer, corpus_voices


def test_chords_are_found_from_pitch_classes():
    histogram = np.zeros((2, 12))
    histogram[0, [0, 4, 7]] = 1  # C E G
    histogram[1, [9, 0, 4]] = 1  # A C E
    chords = corpus_scores.chords_of(histogram, 2.0)
    assert [(c.time, c.root, c.minor) for c in chords] == [(0, 0, False), (2, 9, True)]
    assert corpus_singer.tones_at(chords, 1.9) == {0, 4, 7}
    assert corpus_singer.tones_at(chords, 2.1) == {9, 0, 4}


def hum(seconds=1.5, hertz=150.0):
    """A buzzing voice-like clip, analysed."""
    time = np.arange(int(seconds * RATE)) / RATE
    harmonics = [np.sin(2 * np.pi * hertz * k * time) / k for k in range(1, 20)]
    return corpus_voices.analyse(0.2 * np.sum(harmonics, axis=0))


def test_singing_follows_the_chords_and_the_seed():
    clips = [hum()]
    chords = [corpus_scores.Chord(0.0, 9, False)]  # A major
    first, again, other = (
        corpus_singer.sing(clips, random.Random(seed), chords, 0.5, 6.0)
        for seed in (5, 5, 6)
    )
    np.testing.assert_array_equal(first, again)
    assert first.shape == (6 * RATE,)
    assert np.abs(first).max() > 0.01
    assert not np.array_equal(first, other)


def test_speech_is_placed_as_recorded():
    clip = hum()
    y = corpus_singer.say([clip], random.Random(3), 0.5, 5.0)
    start = np.flatnonzero(y)[0]
    assert start % int(0.25 * RATE) in (0, 1)  # on a half beat; sin(0) is 0
    start -= start % int(0.25 * RATE)
    np.testing.assert_array_equal(y[start : start + len(clip.audio)], clip.audio)


def test_trim_cuts_silence_and_sets_the_peak(rng):
    tone = 0.1 * rng.normal(size=RATE)
    clip = np.concatenate([np.zeros(RATE), tone, np.zeros(RATE)])
    trimmed = corpus_voices.trim(clip)
    assert abs(len(trimmed) - RATE) <= RATE // 50
    assert np.abs(trimmed).max() == pytest.approx(0.7)
    assert corpus_voices.trim(np.zeros(RATE)).size == 0
