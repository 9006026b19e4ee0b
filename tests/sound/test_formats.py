"""Stems in every format: exact where it is exact, as long as they should, with tags."""

import resource
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from main import build_parser
from sswavenet.sound.formats import FORMATS, Encoding
from sswavenet.sound.reader import AudioReader
from sswavenet.sound.tags import FLAC_COVER, Tags
from sswavenet.sound.writer import AudioWriter, quantize
from util import UserError

PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de"
    "0000000c49444154789c63f8cfc0000003010100c9fe92ef0000000049454e44ae426082"
)
TAGS = Tags("Söng (vocals)", "Someone, 誰か", "All of it", PNG)
EXACT = [name for name, form in FORMATS.items() if not form.is_lossy]
LOSSY = [name for name, form in FORMATS.items() if form.is_lossy]


def tones(rate, channels, seconds=2):
    """A tone in each channel, faded in; a last block that fills no frame of a codec."""
    time = np.arange(seconds * rate + 17)[:, None] / rate
    audio = 0.3 * np.sin(2 * np.pi * time * (200 + 50 * np.arange(channels)))
    return (np.minimum(1, time * 20) * audio).astype(np.float32)


def write(path, audio, rate, **options):
    form = path.suffix[1:]
    channels = 1 if audio.ndim == 1 else audio.shape[1]
    with AudioWriter(
        path,
        sample_rate=rate,
        frames=len(audio),
        channels=channels,
        form=form,
        **options,
    ) as writer:
        for k in range(0, len(audio), 7777):
            writer.write(audio[k : k + 7777])
    return writer


def read(path):
    with AudioReader(path, strict=True) as reader:
        return np.concatenate(list(reader.blocks())), reader.sample_rate


def test_the_command_line_has_every_format():
    (action,) = (a for a in build_parser()._actions if a.dest == "format")
    assert action.choices == list(FORMATS)
    assert action.default == Encoding().form


@pytest.mark.parametrize("channels", [1, 2, 6, 8])
@pytest.mark.parametrize("rate", [16000, 44100, 192000])
@pytest.mark.parametrize(
    ("form", "subtype"),
    [(name, subtype) for name in EXACT for subtype in FORMATS[name].subtypes],
)
def test_exact_formats_give_back_what_was_written(
    form, subtype, rate, channels, tmp_path, rng
):
    audio = rng.uniform(-1.1, 1.1, (3000, channels)).astype(np.float32)
    expected, _ = quantize(audio, subtype)
    path = tmp_path / f"a.{form}"
    writer = write(path, expected, rate, subtype=subtype)
    found, found_rate = soundfile.read(path, dtype="float32", always_2d=True)
    assert found_rate == rate
    np.testing.assert_array_equal(found, expected)
    assert soundfile.info(path).subtype == subtype
    assert len(writer.digest) == 64


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("rate", [8000, 16000, 44100, 48000, 96000])
@pytest.mark.parametrize("form", LOSSY)
def test_lossy_formats_keep_length_place_and_level(
    form, rate, channels, tmp_path, require_av
):
    audio = tones(rate, channels)
    path = tmp_path / f"a.{form}"
    writer = write(path, audio, rate)
    assert writer.digest == ""
    found, found_rate = read(path)
    assert found.shape[1] == channels
    if found_rate == rate and form != "ogg":  # of short ones FFmpeg reads more or less
        assert len(found) == len(audio)
    assert abs(len(found) / found_rate - len(audio) / rate) < 0.05
    for channel in range(channels):
        one = found[found_rate // 4 : 7 * found_rate // 4, channel]
        time = np.arange(found_rate // 4, 7 * found_rate // 4) / found_rate
        expected = 0.3 * np.sin(2 * np.pi * time * (200 + 50 * channel))
        error = np.mean((one - expected) ** 2) / np.mean(expected**2)
        assert 10 * np.log10(error) < -20


@pytest.mark.parametrize(("form", "channels"), [("opus", 6), ("opus", 8), ("m4a", 5)])
def test_channels_stay_in_their_places(form, channels, tmp_path, require_av):
    path = tmp_path / f"a.{form}"
    write(path, tones(48000, channels), 48000)
    found, rate = read(path)
    peaks = np.abs(np.fft.rfft(found[rate // 2 : rate * 3 // 2], axis=0)).argmax(0)
    assert peaks.tolist() == [200 + 50 * k for k in range(channels)]


@pytest.mark.parametrize(
    ("form", "channels"), [("mp3", 3), ("ogg", 6), ("opus", 5), ("m4a", 9), ("flac", 9)]
)
def test_channels_that_a_format_cannot_hold_are_refused(form, channels, tmp_path):
    with pytest.raises(UserError, match=f"--format {form} holds .* got {channels}"):
        write(tmp_path / f"a.{form}", np.zeros((10, channels), np.float32), 48000)


@pytest.mark.parametrize(
    ("form", "rate"), [("ogg", 384000), ("flac", 99991), ("flac", 768000)]
)
def test_rates_that_a_format_cannot_hold_are_refused(form, rate, tmp_path):
    with pytest.raises(UserError, match=f"--format {form} does not hold {rate} Hz"):
        write(tmp_path / f"a.{form}", np.zeros((10, 2), np.float32), rate)


@pytest.mark.parametrize(
    ("form", "rate"), [("ogg", 200000), ("flac", 65535), ("flac", 655350)]
)
def test_the_highest_rates_of_a_format_are_held(form, rate, tmp_path):
    write(tmp_path / f"a.{form}", np.zeros((10, 2), np.float32), rate)
    assert soundfile.info(tmp_path / f"a.{form}").samplerate == rate


@pytest.mark.parametrize("form", ["mp3", "opus", "m4a"])
def test_too_few_samples_make_no_empty_file(form, tmp_path, require_av):
    path = tmp_path / f"a.{form}"
    with pytest.raises(OSError, match=f"3 samples at 192000 Hz .* few for {form}"):
        write(path, np.ones((3, 2), np.float32), 192000)
    write(path, np.ones((3, 2), np.float32), 48000)
    assert len(read(path)[0]) >= 3


@pytest.mark.parametrize("form", ["mp3", "opus", "m4a"])
def test_a_bit_rate_decides_the_size(form, tmp_path, rng, require_av):
    audio = rng.standard_normal((5 * 48000, 2)).astype(np.float32) / 10
    sizes = []
    for bitrate in (64000, 192000):
        write(tmp_path / f"a.{form}", audio, 48000, bitrate=bitrate)
        sizes.append((tmp_path / f"a.{form}").stat().st_size * 8 / 5)
    assert sizes[0] == pytest.approx(64000, rel=0.15)
    assert sizes[1] == pytest.approx(192000, rel=0.15)


@pytest.mark.parametrize("form", list(FORMATS))
def test_tags_are_written(form, tmp_path, require_av):
    path = tmp_path / f"a.{form}"
    audio = tones(16000, 1)[:, 0]
    write(path, audio, 16000, tags=TAGS)
    with AudioReader(path, strict=True) as reader:
        tags = reader.tags
        assert sum(map(len, reader.blocks())) >= len(audio) - 256
    assert (tags.title, tags.artist, tags.album) == (
        "Söng (vocals)",
        "Someone, 誰か",
        "All of it",
    )
    assert tags.cover == (b"" if form == "wav" else PNG)


def test_a_cover_alone_is_written(tmp_path, require_av):
    for form in ("mp3", "flac", "m4a", "opus", "ogg"):
        path = tmp_path / f"a.{form}"
        write(path, tones(16000, 1), 16000, tags=Tags(cover=PNG))
        with AudioReader(path) as reader:
            assert reader.tags == Tags(cover=PNG)


@pytest.mark.parametrize(("size", "held"), [(FLAC_COVER, True), (2**24, False)])
def test_a_cover_too_large_for_a_flac_is_left_out(size, held, tmp_path, require_av):
    cover = PNG + bytes(size - len(PNG))
    write(tmp_path / "a.flac", tones(16000, 1), 16000, tags=Tags("Song", cover=cover))
    with AudioReader(tmp_path / "a.flac") as reader:
        assert reader.tags == Tags("Song", cover=cover if held else b"")


def test_the_stem_is_added_to_the_title():
    assert Tags("Song", "Band").of_stem("drums", "file") == Tags("Song (drums)", "Band")
    assert Tags(artist="Band").of_stem("drums", "file").title == "file (drums)"
    assert Tags().of_stem("drums", "file") == Tags()


def test_files_of_many_samples_are_rf64_for_their_channels(tmp_path):
    for frames, channels, form in ((2**30, 1, "WAV"), (2**30, 2, "RF64")):
        path = tmp_path / f"{form}.wav"
        with AudioWriter(
            path, sample_rate=44100, frames=frames, channels=channels
        ) as writer:
            writer.write(np.zeros((10, channels), np.float32))
        assert soundfile.info(path).format == form


@pytest.mark.parametrize("form", list(FORMATS))
def test_a_full_disk_is_an_error_of_the_system(form, tmp_path, rng, require_av):
    audio = rng.standard_normal((200000, 2)).astype(np.float32) / 10
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20000, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            write(tmp_path / f"a.{form}", audio, 48000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_without_pyav_a_line_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    monkeypatch.setitem(sys.modules, "av", None)
    monkeypatch.delitem(sys.modules, "sswavenet.sound.encoder", raising=False)
    with pytest.raises(UserError, match=r"the package av: make \.venv, then .* flac$"):
        AudioWriter(tmp_path / "a.mp3", sample_rate=44100, frames=9, form="mp3")


def test_what_cannot_be_opened_is_an_error_of_the_system(tmp_path, require_av):
    for form in FORMATS:
        with pytest.raises(FileNotFoundError):
            write(tmp_path / "missing" / f"a.{form}", np.zeros(5, np.float32), 16000)


def test_other_programs_read_the_lossy_files(tmp_path, require_av):
    ffmpeg = pytest.importorskip("imageio_ffmpeg").get_ffmpeg_exe()
    for form in LOSSY:
        path = tmp_path / f"a.{form}"
        write(path, tones(44100, 2), 44100)
        done = subprocess.run(
            [ffmpeg, "-v", "warning", "-i", path, "-f", "null", "-"],
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stderr == ""
