"""Files of more than 4 GB, without a length, or shorter than they say."""

import os
import pathlib
import struct
import tempfile

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies

from sswavenet.sound.reader import MonoReader, read_mono
from tests.support import make_tone, stems_of
from util import UserError


def make_sparse(path, form, channels, data):
    """1000 frames of a tone, then silence that takes no room on the disk.

    Returns:
        Where the samples, `data` bytes of doubles, begin.
    """
    make_tone(path, 1000, 16000, channels, format=form, subtype="DOUBLE")
    content, written = bytearray(path.read_bytes()), 8000 * channels
    if form == "RF64":
        place = content.index(b"ds64") + 16
        assert content[place : place + 8] == struct.pack("<Q", written)
        content[place : place + 8] = struct.pack("<Q", data)
    else:
        place = content.rindex(b"data\xf3\xac\xd3\x11") + 16
        content[place : place + 8] = struct.pack("<Q", data + 24)
    start = len(content) - written
    path.write_bytes(content)
    os.truncate(path, start + data)  # the rest is a hole in the file
    return start


@pytest.mark.slow
@pytest.mark.parametrize("form", ["RF64", "W64"])
def test_more_than_4_gb_are_separated_to_the_end(form, infer, folder, tmp_path):
    channels = 1024  # the more channels, the fewer frames
    frames = 2**32 // (8 * channels) + 1000
    path = folder / "song.wav"
    start = make_sparse(path, form, channels, 8 * channels * frames)
    end = start + 8 * channels * frames
    assert end > 2**32
    with path.open("r+b") as file:
        file.seek(end - 8 * channels)
        file.write(struct.pack("<d", 0.5) * channels)
    assert path.stat().st_size == end
    assert infer(folder, "--stem_format=model") == (0, [])
    for stem in stems_of(tmp_path / "out"):
        assert len(stem) == frames
        assert not stem[2000:-1].any()
        assert stem[-1] == 0.125
    path.unlink()


@pytest.mark.parametrize("form", ["RF64", "W64"])
def test_more_than_4_gb_are_read_and_found_cut(form, tmp_path):
    path, data = tmp_path / "long.wav", 5 * 2**30
    start = make_sparse(path, form, 8, data)
    with MonoReader(path, sample_rate=16000) as reader:
        assert reader.length == data // 64
        block = next(reader.blocks())
        assert np.abs(block[:1000]).max() > 0.05
        assert not block[1000:].any()
    os.truncate(path, start + data - 700)
    with pytest.raises(UserError, match="cut short: "):
        MonoReader(path, sample_rate=16000)


@pytest.mark.parametrize("size", [0xFFFFFFFF, 0x7FFFF000, 0x7FFFFFFF])
def test_a_stream_of_unknown_length_is_taken_as_it_is(size, infer, folder, tmp_path):
    make_tone(folder / "song.wav", 77)
    content = bytearray((folder / "song.wav").read_bytes())
    place = content.index(b"data") + 4
    content[place : place + 4] = struct.pack("<I", size)
    (folder / "song.wav").write_bytes(content)
    assert infer(folder) == (0, [])
    assert len(stems_of(tmp_path / "out")[0]) == 77


@pytest.mark.parametrize("form", ["WAV", "WAVEX", "RF64", "W64", "AIFF", "AU"])
@hypothesis.given(frames=strategies.integers(1, 99), channels=strategies.integers(1, 3))
def test_a_header_promises_what_is_there(form, frames, channels):
    with tempfile.TemporaryDirectory() as name:
        path = pathlib.Path(name, "a.wav")
        make_tone(path, frames, 16000, channels, format=form, subtype="PCM_24")
        size = path.stat().st_size
        assert len(read_mono(path, sample_rate=16000)) == frames
        unit = {"W64": 8, "AU": 1}.get(form, 2)
        padding = -3 * frames * channels % unit
        # The size in a Wave64 may count the padding, too.
        os.truncate(
            path, size - 3 - padding - (7 + 3 * channels if form == "W64" else 0)
        )
        with pytest.raises(UserError, match=r"cut short: |expected (an )?audio"):
            read_mono(path, sample_rate=16000)
