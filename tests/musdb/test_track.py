"""Where somebody sings in a track."""

import json

import numpy as np
import pytest

from sswavenet.musdb.track import voiced_segments


def test_voiced_segments_are_those_of_2018(golden):
    expected = json.loads((golden / "facts.json").read_text())["singing_indices"]
    segments = voiced_segments(np.load(golden / "singing_sequence.npy"))
    assert np.ravel(segments).tolist() == expected


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        ([0, 0, 0], []),
        ([1, 1, 1], []),
        ([0, 1, 1], []),
        ([1, 1, 0], []),
        ([1, 0, 1], []),
        ([0, 1, 0], [[800, 1600]]),
        ([0, 1, 0, 1, 1, 0, 1], [[800, 1600], [2400, 4000]]),
        ([1, 0, 1, 0], [[1600, 2400]]),
        ([0, 1, 0, 10, 0], [[800, 1600], [2400, 3200]]),
        ([0, -0.1, 0, 0.0999, 0, 1, 0], [[800, 1600], [4000, 4800]]),
    ],
)
def test_voiced_segments_by_hand(levels, expected):
    vocals = np.repeat(np.float32(levels), 800)
    assert voiced_segments(vocals) == expected


def test_voiced_segments_of_nothing_and_of_a_short_last_chunk():
    assert voiced_segments(np.zeros(0, np.float32)) == []
    vocals = np.r_[np.zeros(800), np.ones(800), np.zeros(3)].astype(np.float32)
    assert voiced_segments(vocals) == [[800, 1600]]
