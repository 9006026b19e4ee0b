"""Which library reads a file, and which files a folder run takes."""

import builtins
import importlib.util
import sys

import numpy as np
import pytest
import soundfile

from sswavenet.separation import inputs
from sswavenet.sound.choice import extensions, open_decoder
from sswavenet.sound.pcm import PcmDecoder
from sswavenet.sound.reader import read_mono
from util import UserError


@pytest.fixture
def no_av(monkeypatch):
    """As if PyAV were not installed."""
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "av" or name.startswith("av."):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    for name in list(sys.modules):
        if name == "sswavenet.sound.compressed":
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)


def test_pcm_needs_no_ffmpeg(tmp_path, rng):
    soundfile.write(tmp_path / "a.wav", rng.uniform(-1, 1, 100), 16000)
    assert isinstance(open_decoder(tmp_path / "a.wav"), PcmDecoder)


@pytest.mark.parametrize(
    ("form", "subtype"),
    [("FLAC", None), ("OGG", None), ("MP3", "MPEG_LAYER_III"), ("WAV", "IMA_ADPCM")],
)
def test_without_pyav_libsndfile_reads_what_it_knows(
    form, subtype, no_av, tmp_path, rng
):
    path = tmp_path / "song"
    audio = 0.1 * rng.standard_normal(16000)
    soundfile.write(path, audio, 16000, subtype, format=form)
    read = read_mono(path, sample_rate=16000)
    assert abs(len(read) - 16000) < 2000
    assert read.std() == pytest.approx(0.1, rel=0.3)
    (tmp_path / "a.m4a").write_bytes(b"\0\0\0\x18ftypM4A " + bytes(1000))
    with pytest.raises(UserError, match=r"without the package av .* libsndfile"):
        read_mono(tmp_path / "a.m4a", sample_rate=16000)
    known, others = extensions()
    assert ".flac" in known
    assert {".m4a", ".mkv"} <= others


def test_without_pyav_a_cut_flac_is_told(no_av, tmp_path, rng):
    from sswavenet.sound.reader import MonoReader

    path = tmp_path / "a.flac"
    soundfile.write(path, 0.3 * rng.uniform(-1, 1, 160000), 16000)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with MonoReader(path, sample_rate=16000) as reader:
        read = reader.read()
        assert 60000 < len(read) < 80000
        (warning,) = reader.warnings
    assert "of 10.00 s could be decoded" in warning


def test_a_folder_run_takes_audio_and_videos(tmp_path, require_av):
    names = [
        *("a.mp3", "b.M4A", "c.mov", "d.mkv", "e.mp2", "f.webm", "g.wma", "h.opus"),
        *("i.flac", "j.wav", "k.aif", "l.mp4", "m.avi", "n.ac3", "o.aac", "p.w64"),
    ]
    others = [
        "cover.jpg",
        "notes.txt",
        "song.cue",
        "list.m3u",
        "._a.mp3",
        ".hidden.wav",
    ]
    foreign = ["@eaDir/a.mp3", "__MACOSX/a.wav", ".git/a.wav"]
    for name in (*names, *others, *foreign):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, np.zeros(10), 16000, format="WAV")
    found = inputs.find_mixtures(tmp_path, recursive=True).mixtures
    assert [mixture.path.name for mixture in found] == names


def test_a_file_that_cannot_be_read_is_listed_nonetheless(tmp_path):
    (tmp_path / "a.mp3").write_bytes(b"no audio")
    (mixture,) = inputs.find_mixtures(tmp_path).mixtures
    assert inputs.read_header(mixture.path, 16000) == (0, "unreadable")
