"""The tool that scores stems."""

from __future__ import annotations

import make_mixture
import numpy as np
import pytest
import score_stems
import soundfile
from scipy.signal import resample_poly

from tests.tools.conftest import said


def test_scores_are_those_of_the_formula(song, tmp_path, rng, capsys):
    make_mixture.main([str(song), str(tmp_path / "song.flac"), "--seconds", "2"])
    references = tmp_path / "references"
    stems = score_stems.read_references(references, "song")
    noise = rng.normal(size=32000).astype(np.float32) / 100
    vocals = stems["vocals"] + noise
    soundfile.write(tmp_path / "song_vocals.wav", vocals, 16000, subtype="FLOAT")
    (row,) = score_stems.score(tmp_path, references)
    assert (row["Mixture"], row["Stem"]) == ("song", "vocals")

    def by_angle(estimate):
        """SI-SDR from the cosine between two signals."""
        a, b = stems["vocals"].astype(float), estimate.astype(float)
        square = (a @ b) ** 2 / (a @ a) / (b @ b)
        return 10 * np.log10(square / (1 - square))

    expected = by_angle(vocals)
    assert row["SI-SDR in dB"] == pytest.approx(expected, abs=1e-3)
    baseline = by_angle(stems["vocals"] + stems["accompaniment"])
    assert row["improvement in dB"] == pytest.approx(expected - baseline, abs=1e-3)
    assert score_stems.main([str(tmp_path), str(references)]) == 0
    assert f"{expected:.2f}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("rate", "channels", "value", "message"),
    [
        (8000, 1, 0.1, "has 64000 samples, its reference has 32000"),
        (16000, 1, np.nan, "expected finite samples"),
    ],
)
def test_what_is_no_stem_is_not_scored(
    rate, channels, value, message, song, tmp_path, capsys
):
    make_mixture.main([str(song), str(tmp_path / "song.flac"), "--seconds", "2"])
    samples = np.full((32000, channels), value)
    path = tmp_path / "song_vocals.wav"
    soundfile.write(path, samples, rate, subtype="FLOAT")
    assert score_stems.main([str(tmp_path), str(tmp_path / "references")]) == 2
    assert message in said(capsys)


def test_stems_of_any_rate_and_channels_are_scored_as_they_are_heard(song, tmp_path):
    make_mixture.main([str(song), str(tmp_path / "song.flac"), "--seconds", "2"])
    vocals, _ = soundfile.read(tmp_path / "references" / "song_vocals.flac")
    left = resample_poly(vocals, 441, 160)
    stereo = np.stack([1.5 * left, 0.5 * left], axis=1)
    soundfile.write(tmp_path / "song_vocals.wav", stereo, 44100, subtype="FLOAT")
    (row,) = score_stems.score(tmp_path, tmp_path / "references")
    assert row["SI-SDR in dB"] > 30


def test_a_reference_that_is_no_audio_file_is_named(song, tmp_path, capsys):
    make_mixture.main([str(song), str(tmp_path / "song.flac"), "--seconds", "2"])
    (tmp_path / "references" / "song_bass.flac").write_text("no audio")
    assert score_stems.main([str(tmp_path), str(tmp_path / "references")]) == 2
    assert "song_bass.flac: expected an audio file, got: " in said(capsys)


def test_references_of_different_lengths_are_refused(song, tmp_path, capsys):
    make_mixture.main([str(song), str(tmp_path / "song.flac"), "--seconds", "2"])
    references = tmp_path / "references"
    soundfile.write(references / "song_drums.flac", np.zeros(100), 16000)
    assert score_stems.main([str(tmp_path), str(references)]) == 2
    assert "'drums': 100, 'bass': 32000" in said(capsys)


def test_folders_that_are_missing_are_named(tmp_path, capsys):
    absent = tmp_path / "absent"
    for folders in ([absent, tmp_path], [tmp_path, absent]):
        assert score_stems.main(list(map(str, folders))) == 2
        assert f"{absent}: expected a folder of stems" in said(capsys)


def test_nothing_to_score_is_one_line(song, tmp_path, capsys):
    make_mixture.main([str(song), str(tmp_path / "song.flac"), "--seconds", "2"])
    assert score_stems.main([str(song), str(tmp_path / "references")]) == 2
    assert "has no stems of the mixtures" in said(capsys)
