"""The examples of docs/usage.md with files of one's own, on a fake network."""

import pathlib
import subprocess

import numpy as np
import pytest
import soundfile

from sswavenet.config import shipped
from tests.support import TASK_NAMES, base_session, without_network, write_session

ffmpeg = pytest.importorskip("imageio_ffmpeg").get_ffmpeg_exe()
pytest.importorskip("av")
USAGE = pathlib.Path(__file__).parents[2] / "docs" / "usage.md"
RATE = 44100


def example(part):
    """The words behind `main.py` of the command there that has `part` in it."""
    lines = USAGE.read_text("utf-8").splitlines()
    (line,) = [line for line in lines if " main.py " in line and part in line.split()]
    return line.split(" main.py ")[1].split()


def encode(path, seconds, *options):
    source = ["-f", "lavfi", "-i", f"sine=frequency=440:sample_rate={RATE}"]
    command = [ffmpeg, "-nostdin", "-v", "error", *source, *options]
    subprocess.run([*command, "-ac", "2", "-t", str(seconds), path], check=True)


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """A function that runs an example where its files are."""
    monkeypatch.chdir(tmp_path)

    def work(part):
        words = example(part)
        for name in TASK_NAMES:
            write_session(tmp_path / "sessions" / name, *base_session(name))
            (tmp_path / "sessions" / name / "MODEL_CARD.md").touch()
        monkeypatch.setattr(shipped, "FOLDER", tmp_path / "sessions")
        with without_network() as main:
            assert main(words) == 0
        capsys.readouterr()
        return tmp_path / "stems"

    return work


def length(path):
    info = soundfile.info(path)
    return info.frames / info.samplerate


def test_karaoke_from_the_video_of_a_phone(run, tmp_path):
    picture = ["-f", "lavfi", "-i", "testsrc=size=64x48:rate=5", "-c:a", "aac"]
    encode(tmp_path / "concert.mp4", 2, *picture)
    _, stem = stems = sorted(run("concert.mp4").iterdir(), reverse=True)
    names = [path.name for path in stems]
    assert names == ["concert_vocals.m4a", "concert_no_vocals.m4a"]
    data = subprocess.run(
        [ffmpeg, "-v", "error", "-i", stem, "-ac", "1", "-f", "f32le", "-"],
        check=True,
        capture_output=True,
    ).stdout
    audio = np.frombuffer(data, "<f4")
    assert audio.std() > 0.01


def test_four_flac_stems_of_an_album(run, tmp_path):
    (tmp_path / "album").mkdir()
    for name in ("one.mp3", "two.flac", "three.opus"):
        encode(tmp_path / "album" / name, 1)
    out = run("album")
    stems = ("bass", "drums", "other", "vocals")
    assert sorted(path.name for path in out.iterdir()) == ["one", "three", "two"]
    for folder in out.iterdir():
        assert sorted(path.name for path in folder.iterdir()) == [
            f"{stem}.flac" for stem in stems
        ]
        for path in folder.iterdir():
            assert abs(length(path) - 1) < 0.01


@pytest.mark.slow
def test_half_a_minute_of_a_song(run, tmp_path):
    encode(tmp_path / "song.mp3", 100)
    for path in run("--start").iterdir():
        assert length(path) == 30
