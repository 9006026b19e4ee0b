"""A song in compressed files of all kinds, and how FFmpeg's own program decodes it."""

import subprocess

import numpy as np
import pytest
import soundfile

from sswavenet.sound.reader import AudioReader

RATE, SECONDS = 44100, 3


def run_ffmpeg(*arguments):
    ffmpeg = pytest.importorskip("imageio_ffmpeg").get_ffmpeg_exe()
    command = [ffmpeg, "-nostdin", "-y", "-v", "error", *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True).stdout


@pytest.fixture(scope="session")
def song(tmp_path_factory):
    """Three seconds in stereo, without an end that repeats its beginning."""
    rng = np.random.default_rng(7)
    time = np.arange(SECONDS * RATE)[:, None] / RATE
    sweep = 0.3 * np.sin(2 * np.pi * (200 + 150 * time) * time + [[0.0, 0.7]])
    noise = 0.05 * rng.standard_normal((len(time), 2))
    path = tmp_path_factory.mktemp("song") / "song.wav"
    fade = np.minimum(1, time * 20)
    soundfile.write(path, fade * (sweep + noise), RATE, "PCM_16")
    return path


@pytest.fixture
def encode(song, tmp_path):
    """A function that makes a file of the song, with FFmpeg's arguments."""

    def make(name, *arguments, video=False):
        path = tmp_path / name
        picture = (
            ["-f", "lavfi", "-i", f"testsrc=size=64x48:rate=5:duration={SECONDS}"]
            if video
            else []
        )
        run_ffmpeg(*picture, "-i", song, *arguments, path)
        return path

    return make


def by_ffmpeg(path, channels):
    """What FFmpeg's program decodes: (frames, channels)."""
    data = run_ffmpeg(
        "-i", path, "-map", "0:a:0", "-c:a", "pcm_f32le", "-f", "f32le", "-"
    )
    return np.frombuffer(data, "<f4").reshape(-1, channels)


def read(path, **options):
    with AudioReader(path, **options) as reader:
        audio = np.concatenate(list(reader.blocks()))
        assert reader.frames == len(audio)
        assert audio.dtype == np.float32
        assert audio.shape[1] == reader.channels
        return audio, reader
