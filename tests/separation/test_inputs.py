"""What a folder holds to be separated."""

import shutil
import subprocess

import numpy as np
import pytest
import soundfile

import util
from sswavenet.separation import inputs
from sswavenet.sound.reader import read_mono
from util import UserError


@pytest.mark.skipif(shutil.which("rm") is None, reason="only rm climbs so deep")
def test_folders_of_any_depth_are_looked_into(tmp_path):
    deepest = tmp_path.joinpath("in", *["d"] * 1100)  # beyond Python's recursion
    try:
        util.make_folder(deepest)
        (deepest / "song.wav").touch()  # libsndfile knows no such paths
        (mixture,) = inputs.find_mixtures(tmp_path / "in", recursive=True).mixtures
        assert mixture.path == deepest / "song.wav"
    finally:
        subprocess.run(["rm", "-rf", str(tmp_path / "in")], check=True)


def test_a_rate_that_would_take_a_huge_filter_is_refused(tmp_path):
    path = tmp_path / "song.wav"
    soundfile.write(path, np.zeros(100), 767999)
    with pytest.raises(UserError, match="expected a usual sample rate, got 767999 Hz"):
        read_mono(path, sample_rate=16000)
    soundfile.write(path, np.zeros(100), 96001)
    assert len(read_mono(path, sample_rate=16000)) == 17
