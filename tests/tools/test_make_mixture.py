"""The tool that mixes the stems of a song."""

from __future__ import annotations

import pathlib

import make_mixture
import numpy as np
import pytest
import soundfile

from tests.tools.conftest import said


def test_mean_of_the_channels_is_the_sum_of_the_stems(rng):
    stems = {stem: rng.normal(size=50) for stem in make_mixture.PLACES}
    stereo = make_mixture.in_stereo(stems)
    np.testing.assert_allclose(stereo.mean(axis=1), sum(stems.values()))
    assert np.abs(stereo[:, 0] - stereo[:, 1]).max() > 0.1


def test_mixture_and_references_are_of_the_part_asked_for(song, tmp_path):
    out = tmp_path / "audio" / "song.flac"
    assert (
        make_mixture.main([str(song), str(out), "--start", "0.5", "--seconds", "1"])
        == 0
    )
    info = soundfile.info(out)
    assert (info.samplerate, info.channels, info.frames) == (44100, 2, 44100)
    for stem in make_mixture.PLACES:
        written, rate = soundfile.read(out.parent / "references" / f"song_{stem}.flac")
        whole, _ = soundfile.read(song / f"{stem}.wav")
        assert rate == 16000
        np.testing.assert_array_equal(written, whole[8000:24000])


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (
            "song.flac",
            "--seconds 3",
            "expected 3.0 seconds or more, got 2.0",
        ),
        ("song.flac", "--seconds 0", "0.1 seconds or more, got 0.0 and 0.0"),
        ("song.flac", "--seconds inf", "got 0.0 and inf"),
        ("song.flac", "--seconds nan", "got 0.0 and nan"),
        ("song.flac", "--start 1e305", "1e+305 seconds or more, got 2.0"),
        ("song.flac", "--start -1", "got -1.0 and 16.0"),
        ("song.xyz", "--seconds 1", "a mixture's name in .flac"),
        ("song", "--seconds 1", "a mixture's name in .flac"),
    ],
)
def test_a_mixture_that_cannot_be_made_is_one_line(
    name, options, message, song, tmp_path, capsys
):
    out = tmp_path / "audio" / name
    assert make_mixture.main([str(song), str(out), *options.split()]) == 2
    assert message in said(capsys)
    assert not out.parent.exists()


@pytest.mark.parametrize(
    ("samples", "rate", "message"),
    [
        (np.zeros((32000, 2)), 16000, "bass.wav: expected mono, got 2 channels"),
        (np.zeros(16000), 8000, "expected stems of one sample rate"),
        (None, 0, "bass.wav: expected an audio file, got nothing there"),
    ],
)
def test_a_song_that_makes_no_mixture_leaves_nothing(
    samples, rate, message, song, tmp_path, capsys
):
    (song / "bass.wav").unlink()
    if samples is not None:
        soundfile.write(song / "bass.wav", samples, rate)
    out = tmp_path / "audio" / "song.flac"
    assert make_mixture.main([str(song), str(out), "--seconds", "2"]) == 2
    assert message in said(capsys)
    assert not out.parent.exists()


@pytest.mark.slow
@pytest.mark.parametrize("place", ["song.flac", "references/song_vocals.flac"])
def test_a_mixture_that_cannot_be_written_leaves_nothing(place, song, tmp_path, capsys):
    audio = tmp_path / "audio"
    (audio / place).mkdir(parents=True)
    arguments = [str(song), str(audio / "song.flac"), "--seconds", "2"]
    assert make_mixture.main(arguments) == 2
    assert place in said(capsys)
    assert not [path for path in audio.rglob("*") if path.is_file()]


def test_names_too_long_for_the_stems_leave_nothing(song, tmp_path, capsys):
    out = tmp_path / "audio" / ("a" * 245 + ".flac")  # with _vocals.flac: 257
    assert make_mixture.main([str(song), str(out), "--seconds", "2"]) == 2
    assert "a_vocals.flac: expected a name of at most 255 bytes" in said(capsys)
    assert not out.parent.exists()


def test_the_mixture_comes_when_its_stems_are_there(song, tmp_path, monkeypatch):
    names = []
    rename = pathlib.Path.replace

    def noted(path, target):
        names.append(target.name)
        return rename(path, target)

    monkeypatch.setattr(pathlib.Path, "replace", noted)
    out = tmp_path / "song.flac"
    assert make_mixture.main([str(song), str(out), "--seconds", "2"]) == 0
    assert len(names) == 5
    assert names[-1] == "song.flac"
