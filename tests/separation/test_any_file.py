"""Any file in, stems out that sum to what FFmpeg's own program decodes of it."""

import subprocess

import numpy as np
import pytest
import soundfile

from tests.support import base_session, without_network, write_session

FFMPEG = pytest.importorskip("imageio_ffmpeg").get_ffmpeg_exe()
pytest.importorskip("av")
STEMS = ("vocals", "drums", "bass", "other")
PICTURE = ["-f", "lavfi", "-i", "testsrc=size=64x48:rate=5:duration=1"]

# Name, FFmpeg's arguments, whether there is a picture.
FILES = {
    "aac.m4a": (["-c:a", "aac"], False),
    "constant.mp3": (["-b:a", "128k"], False),
    "variable.mp3": (["-q:a", "4"], False),
    "constant, uncounted.mp3": (["-b:a", "128k", "-write_xing", "0"], False),
    "variable, uncounted.mp3": (["-q:a", "4", "-write_xing", "0"], False),
    "opus.opus": (["-c:a", "libopus"], False),
    "vorbis.ogg": (["-c:a", "libvorbis"], False),
    "lossless.flac": ([], False),
    "windows.wma": (["-c:a", "wmav2"], False),
    "phone.mp4": (["-c:a", "aac"], True),
    "camera.mov": (["-c:a", "aac"], True),
    "talk.mkv": (["-c:a", "aac"], True),
    "8 bits.wav": (["-c:a", "pcm_u8"], False),
    "16 bits.wav": (["-c:a", "pcm_s16le"], False),
    "24 bits.wav": (["-c:a", "pcm_s24le"], False),
    "32 bits.wav": (["-c:a", "pcm_s32le"], False),
    "floats.wav": (["-c:a", "pcm_f32le"], False),
    "mono.m4a": (["-c:a", "aac", "-ac", "1"], False),
    "5.1.m4a": (["-c:a", "aac", "-ac", "6"], False),
    "7.1.flac": (["-ac", "8"], False),
    "96 kHz.flac": (["-ar", "96000"], False),
    "8 kHz.mp3": (["-ar", "8000"], False),
}


@pytest.fixture(scope="module")
def song(tmp_path_factory):
    path = tmp_path_factory.mktemp("song") / "song.wav"
    rng = np.random.default_rng(3)
    time = np.arange(44100)[:, None] / 44100
    tones = 0.3 * np.sin(2 * np.pi * (300 + 400 * time) * time + [[0.0, 0.5]])
    soundfile.write(path, tones + 0.05 * rng.standard_normal((44100, 2)), 44100)
    return path


@pytest.mark.parametrize("stem_format", ["native", "model"])
@pytest.mark.parametrize("name", FILES)
def test_stems_are_as_long_as_the_mixture_and_sum_to_it(
    name, stem_format, song, tmp_path, capsys
):
    arguments, with_picture = FILES[name]
    path = tmp_path / name
    picture = PICTURE if with_picture else []
    command = [FFMPEG, "-nostdin", "-v", "error"]
    subprocess.run([*command, *picture, "-i", song, *arguments, path], check=True)
    write_session(tmp_path / "session", *base_session("multi-instrument"))
    with without_network() as main:
        status = main(
            [
                *("--mode=inference", f"--config={tmp_path}/session/config.json"),
                *(f"--mixture_input_path={path}", f"--output_path={tmp_path}/out"),
                *("--subtype=FLOAT", f"--stem_format={stem_format}"),
            ]
        )
    assert status == 0, capsys.readouterr().err
    stems = [
        soundfile.read(tmp_path / "out" / f"{path.stem}_{stem}.wav", always_2d=True)
        for stem in STEMS
    ]
    (rate,) = {rate for _, rate in stems}
    total = sum(audio for audio, _ in stems)
    wanted = [] if stem_format == "native" else ["-ac", "1", "-ar", "16000"]
    decoded = subprocess.run(
        [*command, "-i", path, "-map", "0:a:0", *wanted, "-f", "f64le", "-"],
        check=True,
        capture_output=True,
    ).stdout
    expected = np.frombuffer(decoded, "<f8").reshape(-1, total.shape[1])
    if stem_format == "native":
        assert total.shape == expected.shape
        np.testing.assert_allclose(total, expected, rtol=0, atol=1e-6)
        return
    # FFmpeg's resampler and downmix are others, but keep the place.
    assert rate == 16000
    assert abs(len(total) - len(expected)) <= 2
    count = min(len(total), len(expected))
    size = 2 * count
    spectra = np.fft.rfft(total[:count, 0], size) * np.conj(
        np.fft.rfft(expected[:count, 0], size)
    )
    assert int(np.argmax(np.fft.irfft(spectra))) == 0
