"""Compressed files that are cut, spoiled, or hold no sound."""

import numpy as np
import pytest

from sswavenet.sound.reader import MonoReader
from tests.sound.conftest import RATE, SECONDS, read, run_ffmpeg
from util import UserError

pytest.importorskip("av")
pytest.importorskip("imageio_ffmpeg")


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("constant.mp3", ["-b:a", "128k"]),
        ("variable.mp3", ["-q:a", "4"]),
        ("a.m4a", ["-c:a", "aac", "-movflags", "+faststart"]),
        ("a.flac", []),
        ("a.wv", ["-c:a", "wavpack"]),
        ("a.mka", ["-c:a", "flac"]),
    ],
)
def test_a_file_that_was_cut_is_read_so_far_and_told(name, arguments, encode):
    path = encode(name, *arguments)
    whole, _ = read(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    audio, reader = read(path)
    assert 0.4 * len(whole) < len(audio) < 0.7 * len(whole)
    count = min(len(audio), len(whole)) - 5000
    np.testing.assert_array_equal(audio[:count], whole[:count])
    assert reader.damage == (
        f"damaged or cut short: {len(audio) / RATE:.2f} of {SECONDS}.00 s could be "
        "decoded"
    )
    with pytest.raises(UserError, match=rf"{name}: damaged or cut short: "):
        read(path, strict=True)
    with MonoReader(path, sample_rate=16000) as mono:
        list(mono.blocks())
        assert mono.warnings == [reader.damage]


def test_a_video_that_was_cut_is_told(encode):
    path = encode("a.mkv", "-c:a", "aac", video=True)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    _, reader = read(path)
    assert "damaged or cut short" in reader.damage


def test_a_video_whose_sound_ends_before_its_pictures_is_whole(song, tmp_path):
    path = tmp_path / "a.mkv"
    run_ffmpeg(
        *("-f", "lavfi", "-i", "testsrc=size=64x48:rate=5:duration=6", "-i", song),
        *("-c:a", "aac", path),
    )
    audio, reader = read(path, strict=True)
    assert reader.damage == ""
    assert abs(len(audio) - SECONDS * RATE) < 2048


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("a.mp3", ["-b:a", "128k"]),
        ("uncounted.mp3", ["-b:a", "128k", "-write_xing", "0"]),
        ("a.m4a", ["-c:a", "aac"]),
        ("a.flac", []),
    ],
)
def test_what_is_spoiled_within_is_told_and_the_rest_is_read(name, arguments, encode):
    path = encode(name, *arguments)
    content = bytearray(path.read_bytes())
    place = len(content) // 2
    content[place : place + 600] = bytes(600)
    path.write_bytes(content)
    audio, reader = read(path)
    assert 0.7 * SECONDS < len(audio) / RATE < 1.05 * SECONDS
    assert "damaged or cut short" in reader.damage


def test_a_flipped_bit_of_a_flac_is_found(encode):
    path = encode("a.flac")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    _, reader = read(path)
    assert "damaged or cut short" in reader.damage


@pytest.mark.parametrize("name", ["aac.m4a", "cut.mkv", "text.mp3", "silent film.mp4"])
def test_what_holds_no_sound_is_refused(name, encode, tmp_path):
    path = tmp_path / name
    if name == "text.mp3":
        path.write_text("no music\n" * 1000)
    elif name == "aac.m4a":
        path = encode(name, "-c:a", "aac")
        path.write_bytes(path.read_bytes()[:-3000])  # where its table lies
    elif name == "cut.mkv":
        path = encode(name, "-c:a", "aac")
        path.write_bytes(path.read_bytes()[:100])
    else:
        run_ffmpeg("-f", "lavfi", "-i", "testsrc=size=64x48:duration=1", path)
    reason = {
        "aac.m4a": "moov atom not found",
        "cut.mkv": "File ended prematurely",
        "silent film.mp4": "no audio in it",
    }
    with pytest.raises(UserError, match=reason.get(name, "expected an audio file")):
        read(path)
