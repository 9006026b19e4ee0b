"""Compressed audio and videos, as FFmpeg's own program decodes them."""

import pathlib
import struct

import numpy as np
import pytest
import soundfile

from sswavenet.sound.reader import AudioReader, MonoReader, read_mono
from tests.sound.conftest import RATE, SECONDS, by_ffmpeg, read, run_ffmpeg
from util import UserError

pytest.importorskip("av")
pytest.importorskip("imageio_ffmpeg")


def lag(audio, song):
    """Samples by which audio comes after what it was made of."""
    reference = soundfile.read(song, dtype="float32")[0][:, 0]
    count = min(len(audio), len(reference))
    size = 2 * count
    spectra = np.fft.rfft(audio[:count, 0], size) * np.conj(
        np.fft.rfft(reference[:count], size)
    )
    place = int(np.argmax(np.fft.irfft(spectra)))
    return place if place < count else place - size


FORMS = {
    "aac.m4a": ["-c:a", "aac"],
    "alac.m4a": ["-c:a", "alac"],
    "aac at the start.m4a": ["-c:a", "aac", "-movflags", "+faststart"],
    "constant.mp3": ["-b:a", "256k"],  # at less LAME lowers the level
    "variable.mp3": ["-q:a", "4"],
    "constant, uncounted.mp3": ["-b:a", "128k", "-write_xing", "0"],
    "variable, uncounted.mp3": ["-q:a", "4", "-write_xing", "0"],
    "layer two.mp2": [],
    "opus.opus": ["-c:a", "libopus"],
    "vorbis.ogg": ["-c:a", "libvorbis"],
    "16 bits.flac": [],
    "24 bits.flac": ["-sample_fmt", "s32"],
    "flac.oga": ["-c:a", "flac"],
    "windows.wma": ["-c:a", "wmav2"],
    "dolby.ac3": ["-c:a", "ac3"],
    "frames.aac": ["-c:a", "aac"],
    "pack.wv": ["-c:a", "wavpack"],
    "true.tta": ["-c:a", "tta"],
    "audio.mka": ["-c:a", "flac"],
    "adpcm.wav": ["-c:a", "adpcm_ima_wav"],
}
VIDEOS = {
    "phone.mp4": ["-c:a", "aac"],
    "camera.mov": ["-c:a", "aac"],
    "pcm.mov": ["-c:a", "pcm_s16le"],
    "talk.mkv": ["-c:a", "libvorbis"],
    "page.webm": ["-c:v", "libvpx", "-c:a", "libopus"],
    "old.avi": ["-c:a", "mp3"],
    "disc.mpg": ["-r", "25", "-c:a", "mp2"],
}
# What comes out as long as it was, not longer by what the encoder added.
GAPLESS = {
    *("aac.m4a", "alac.m4a", "aac at the start.m4a", "constant.mp3", "variable.mp3"),
    *("vorbis.ogg", "16 bits.flac", "24 bits.flac", "flac.oga", "pack.wv", "true.tta"),
    *("audio.mka", "phone.mp4", "camera.mov", "pcm.mov", "talk.mkv"),
}
# The encoder's delay is in the file, which does not tell it.
DELAYED = {
    *("constant, uncounted.mp3", "variable, uncounted.mp3", "layer two.mp2"),
    *("windows.wma", "dolby.ac3", "frames.aac", "old.avi", "disc.mpg"),
}


@pytest.mark.parametrize("name", [*FORMS, *VIDEOS])
def test_every_format_is_read_as_ffmpeg_decodes_it(name, encode, song):
    path = encode(name, *{**FORMS, **VIDEOS}[name], video=name in VIDEOS)
    audio, reader = read(path)
    expected = by_ffmpeg(path, 2)
    assert audio.shape == expected.shape
    np.testing.assert_allclose(audio, expected, rtol=0, atol=1e-6)
    assert reader.damage == ""
    if name in GAPLESS:
        assert len(audio) == SECONDS * RATE
    if name not in DELAYED:
        if reader.sample_rate == RATE:
            assert lag(audio, song) == 0
        reference = soundfile.read(song)[0]
        level = 20 * np.log10(audio.std() / reference.std())
        assert abs(level) < 0.1


def test_the_content_decides_and_not_the_name(encode, tmp_path):
    expected, _ = read(encode("a.m4a", "-c:a", "aac"))
    for name in ("a.mp3", "a.wav", "a.flac", "a: b.opus", "a", "-a.txt", "é\udcff.m4a"):
        other = (tmp_path / "a.m4a").rename(tmp_path / name)
        np.testing.assert_array_equal(read(other)[0], expected)
        other.rename(tmp_path / "a.m4a")


@pytest.mark.parametrize(
    ("extension", "channels"),
    [("m4a", 1), ("m4a", 3), ("m4a", 6), ("m4a", 8), ("flac", 5), ("flac", 8)],
)
def test_any_number_of_channels_is_read(channels, extension, tmp_path, rng):
    rate = 48000
    tones = 0.3 * np.sin(
        2 * np.pi * np.arange(rate)[:, None] / rate * (300 + 200 * np.arange(channels))
    )
    soundfile.write(tmp_path / "a.wav", tones, rate, "PCM_16", format="WAVEX")
    path = tmp_path / f"a.{extension}"
    run_ffmpeg("-i", tmp_path / "a.wav", path)
    audio, reader = read(path)
    assert reader.channels == channels
    np.testing.assert_allclose(audio, by_ffmpeg(path, channels), rtol=0, atol=1e-6)
    peaks = np.abs(np.fft.rfft(audio[:rate], axis=0)).argmax(axis=0)
    # Of the channel for low tones AAC keeps only these.
    heard = sorted(set(range(channels)) - {{3: 2, 6: 3, 8: 3}.get(channels)})
    assert [int(peaks[k]) for k in heard] == [300 + 200 * k for k in heard]


@pytest.mark.parametrize(
    ("rate", "extension"), [(8000, "m4a"), (22050, "ogg"), (96000, "flac")]
)
def test_any_rate_is_read(rate, extension, encode):
    path = encode(f"a.{extension}", "-ar", rate)
    audio, reader = read(path)
    assert reader.sample_rate == rate
    np.testing.assert_allclose(audio, by_ffmpeg(path, 2), rtol=0, atol=1e-6)


def test_a_rate_that_changes_within_the_file_is_made_the_first(tmp_path, song):
    # As in a recorded broadcast.
    for name, channels, rate in (("a", 1, 48000), ("b", 2, 44100)):
        run_ffmpeg("-i", song, "-ac", channels, "-ar", rate, tmp_path / f"{name}.mp2")
    path = tmp_path / "both.mp2"
    path.write_bytes(
        (tmp_path / "a.mp2").read_bytes() + (tmp_path / "b.mp2").read_bytes()
    )
    audio, reader = read(path)
    assert (reader.sample_rate, reader.channels) == (48000, 1)
    assert abs(len(audio) - 2 * SECONDS * 48000) < 5000


# Whole files that look odd.


def test_tags_behind_a_flac_are_no_damage(encode, song):
    path = encode("a.flac")
    whole = path.read_bytes()
    item = struct.pack("<II", 4, 0) + b"Test\0data"
    sizes = struct.pack("<II", 2000, len(item) + 32)

    def ape(flags):
        return b"APETAGEX" + sizes + struct.pack("<II", 1, flags) + bytes(8)

    for tags in (
        b"TAG" + b"title".ljust(125, b"\0"),
        ape(0xA0000000) + item + ape(0x80000000),
    ):
        path.write_bytes(whole + tags)
        audio, reader = read(path, strict=True)
        np.testing.assert_array_equal(audio, soundfile.read(song, dtype="float32")[0])
        assert reader.damage == ""


@pytest.mark.parametrize(
    ("before", "behind"),
    [
        (b"ID3\3\0\0\0\0\7\0" + bytes(896), b""),
        (b"ID3\3\0\0\0\0\7\0" + bytes(896) + bytes(2000), b""),
        (b"\0", b""),
        (b"", b"TAG" + b"title".ljust(125, b"\0")),
        (b"", b"LYRICSBEGIN some words LYRICSEND" + b"TAG" + bytes(125)),
        (b"", bytes(5000)),
    ],
)
@pytest.mark.parametrize("counted", ["0", "1"])
def test_what_is_beside_the_frames_of_an_mp3_is_no_damage(
    before, behind, counted, encode
):
    path = encode("a.mp3", "-b:a", "128k", "-write_xing", counted, "-id3v2_version", 0)
    path.write_bytes(before + path.read_bytes() + behind)
    audio, _ = read(path, strict=True)
    np.testing.assert_array_equal(audio, by_ffmpeg(path, 2))
    assert abs(len(audio) - SECONDS * RATE) < 3 * 1152


def test_an_mp3_that_begins_within_a_frame_is_whole(encode):
    path = encode("a.mp3", "-b:a", "128k", "-write_xing", "0", "-id3v2_version", 0)
    path.write_bytes(path.read_bytes()[150:])
    audio, _ = read(path, strict=True)
    assert abs(len(audio) - SECONDS * RATE) < 3 * 1152


def crc(data):
    register = 0
    for value in data:
        register ^= value << 24
        for _ in range(8):
            carry = register & 0x80000000
            register = (register << 1 ^ (0x04C11DB7 if carry else 0)) & 0xFFFFFFFF
    return register


@pytest.mark.parametrize("codec", ["libopus", "libvorbis"])
def test_an_ogg_without_an_end_mark_is_whole(codec, encode):
    path = encode("a.ogg", "-c:a", codec)
    content = bytearray(path.read_bytes())
    page = content.rfind(b"OggS")
    assert content[page + 5] & 4
    content[page + 5] &= ~4
    content[page + 22 : page + 26] = bytes(4)
    content[page + 22 : page + 26] = struct.pack("<I", crc(content[page:]))
    path.write_bytes(content)
    audio, reader = read(path, strict=True)
    assert abs(len(audio) / reader.sample_rate - SECONDS) < 0.05


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("variable.mp3", ["-q:a", "4", "-write_xing", "0"]),
        ("frames.aac", ["-c:a", "aac"]),
        ("piped.flac", None),
        ("page.webm", None),
    ],
)
def test_a_length_that_no_header_tells_is_counted(
    name, arguments, encode, song, tmp_path
):
    if arguments is None:
        path = tmp_path / name
        form = ["-c:a", "libopus", "-f", "webm"] if "webm" in name else ["-f", "flac"]
        path.write_bytes(run_ffmpeg("-i", song, *form, "-"))
    else:
        path = encode(name, *arguments)
    with AudioReader(path) as reader:
        promised = reader.frames
        got = sum(map(len, reader.blocks()))
    assert abs(promised - got) < 4096
    assert reader.frames == got
    assert reader.damage == ""


def test_nothing_of_ffmpeg_is_said_on_stderr(encode, capfd, caplog):
    path = encode("a.mp3", "-b:a", "128k")
    content = bytearray(path.read_bytes())
    content[20000:20500] = bytes(500)
    path.write_bytes(content[:-3000])
    read(path)
    with pytest.raises(UserError):
        read_mono(pathlib.Path(__file__), sample_rate=16000)
    assert capfd.readouterr() == ("", "")
    assert caplog.records == []


# Pieces, and other files.


@pytest.mark.parametrize("folder", ["the same", "another"])
@pytest.mark.parametrize("kind", ["hls", "concat"])
def test_a_playlist_does_not_open_other_files(kind, folder, encode, tmp_path):
    other = encode("other.flac")
    named = other if folder == "another" else other.name
    text = {
        "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\n{}\n#EXT-X-ENDLIST\n",
        "concat": "ffconcat version 1.0\nfile {}\n",
    }[kind]
    path = tmp_path / "song.m3u8"
    path.write_text(text.format(named))
    with pytest.raises(UserError, match=r"song\.m3u8: expected an audio file"):
        AudioReader(path)


@pytest.mark.parametrize("name", ["a.mp3", "a.m4a", "a.opus", "a.flac"])
def test_a_piece_is_that_of_the_whole(name, encode):
    path = encode(name)
    whole, _ = read(path)
    for start, stop in ((0, 1000), (50000, 60001), (100000, None)):
        audio, reader = read(path, start=start, stop=stop)
        np.testing.assert_array_equal(audio, whole[start:stop])
        assert reader.damage == ""


@pytest.mark.parametrize("name", ["a.mp3", "a.wav"])
@pytest.mark.parametrize(("start", "stop"), [(0, 5000), (12345, 23456), (40000, None)])
def test_a_resampled_piece_is_that_of_the_whole(name, start, stop, encode):
    path = encode(name)
    whole = read_mono(path, sample_rate=16000)
    with MonoReader(path, sample_rate=16000) as reader:
        before = reader.select(start, stop, 100)
        assert before <= start
        assert before >= min(start, 100)
        audio = reader.read()[before:]
    count = len(whole[start:stop])
    assert len(audio) >= count
    np.testing.assert_array_equal(audio[:count], whole[start : start + count])


def test_the_examples_of_the_repository_are_read_as_by_libsndfile():
    path = pathlib.Path(__file__).parents[2] / "audio" / "samba.flac"
    expected, _ = soundfile.read(path, dtype="float32", always_2d=True)
    np.testing.assert_array_equal(read(path)[0], expected)
