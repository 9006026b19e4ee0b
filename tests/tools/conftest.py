"""What the tests of the tools around mixtures share."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import soundfile

from tests.support import ROOT

sys.path.insert(0, str(ROOT / "data"))

import make_mixture
import score_stems


@pytest.fixture
def song(tmp_path, rng):
    folder = tmp_path / "song"
    folder.mkdir()
    smooth = np.hanning(9) / 20
    for stem in make_mixture.PLACES:
        samples = np.convolve(rng.normal(size=32000), smooth, mode="same")
        soundfile.write(folder / f"{stem}.wav", samples, 16000, subtype="PCM_16")
    return folder


def said(capsys):
    """What stderr got: one line that begins with `error: `."""
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    return line


@pytest.fixture
def separated(tmp_path, rng):
    """The arguments to draw a mixture whose stems were separated without a fault."""
    mixture, *folders = (tmp_path / name for name in ("it.flac", "estimates", "true"))
    stems = {stem: rng.normal(scale=0.1, size=4000) for stem in score_stems.STEMS}
    soundfile.write(mixture, sum(stems.values()), 16000)
    for folder, suffix in zip(folders, ("wav", "flac")):
        folder.mkdir()
        for stem, samples in stems.items():
            soundfile.write(folder / f"it_{stem}.{suffix}", samples, 16000)
    return [mixture, *folders]
