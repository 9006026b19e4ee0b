"""Transforms of windows, and the lengths that they are fast with."""

import numpy as np
from scipy import fft

from sswavenet.separation.spectra import fast_length, hann, transform


def test_the_next_fast_length_is_that_of_scipy():
    for least in (*range(1, 3000), 8917, 44101, 96001):
        assert fast_length(least) == fft.next_fast_len(least, real=True)


def test_spectra_are_those_of_double_precision_but_for_rounding(rng):
    signals = rng.uniform(-1, 1, (2, 3, 90)).astype(np.float32)
    window = hann(90)
    got = transform(signals, 128, window)
    expected = fft.rfft(signals.astype(float) * window, 128)
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5)
    assert got.dtype == np.complex64
