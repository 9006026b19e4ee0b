"""Notes, synthetic tones and kits."""

from __future__ import annotations

import random

import numpy as np
import pytest

from tests.corpus.support import RATE, corpus_scores, corpus_synth, mido


def event(time, kind, note, velocity=90, stem="bass"):
    return corpus_scores.Event(
        time, stem, mido.Message(kind, note=note, velocity=velocity)
    )


def test_notes_pair_with_their_ends():
    events = [
        event(0.0, "note_on", 40),
        event(0.5, "note_on", 45),
        event(1.0, "note_on", 40, 0),  # velocity 0 ends a note
        event(1.5, "note_off", 45),
        event(3.0, "note_on", 47),  # hangs
    ]
    notes = corpus_synth.notes_of(events, 3.5)
    assert [(n.start, n.length, n.pitch) for n in notes] == [
        (0.0, 1.0, 40),
        (0.5, 1.0, 45),
        (3.0, 0.5, 47),
    ]


@pytest.mark.parametrize("kind", ["saw", "square", "sub", "fm", "pluck"])
def test_tones_have_the_pitch_asked_for(kind, rng):
    patch = corpus_synth.Patch(kind, 0, 0.3, 1.0, 1.0, 0.01, 1.0, 0.5, 500.0, 0.5, 0)
    y = corpus_synth.tone(patch, 200.0, RATE, rng, RATE)
    spectrum = np.abs(np.fft.rfft(y * np.hanning(RATE)))  # 1 Hz a bin
    peaks = spectrum[150:250].argmax() + 150
    assert peaks == pytest.approx(200, abs=3)  # a string's period is a whole number


def test_synthetic_kits_differ_by_seed_only():
    first, again, other = (
        corpus_synth.synthetic_kit(random.Random(seed), RATE) for seed in (1, 1, 2)
    )
    assert {"kick", "snare", "hat", "crash", "ride", "tom"} == set(first)
    for kind, hits in first.items():
        for hit, same in zip(hits, again[kind]):
            np.testing.assert_array_equal(hit, same)
            assert np.abs(hit).max() == pytest.approx(1)
    assert not np.array_equal(first["kick"][0], other["kick"][0])
