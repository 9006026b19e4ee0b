import io

import hypothesis
import numpy as np
import pytest
import soundfile
from hypothesis import strategies

import sound
import sound_stream
from config import UserError

FORMS = [("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III")]


def encoded(form, subtype):
    audio = 0.1 * np.random.default_rng(3).standard_normal((24000, 1))
    file = io.BytesIO()
    soundfile.write(file, audio, 16000, subtype, format=form)
    return file.getvalue()


@pytest.mark.parametrize(("form", "subtype"), FORMS)
def test_a_cut_anywhere_is_refused(form, subtype, tmp_path):
    data = encoded(form, subtype)
    path = tmp_path / "song"

    @hypothesis.settings(max_examples=60)
    @hypothesis.given(strategies.integers(0, len(data) - 1))
    def cut(size):
        path.write_bytes(data[:size])
        with pytest.raises(UserError):
            sound.read_mono(path, sample_rate=16000)

    cut()
    path.write_bytes(data)
    assert len(sound.read_mono(path, sample_rate=16000)) == 24000


def frames_of(data):
    """Where the frames of an MP3 without tags begin, found by their equal headers."""
    return [k for k in range(len(data)) if data[k : k + 2] == data[:2]]


def test_an_mp3_that_does_not_count_its_frames_is_refused_within_a_frame(tmp_path):
    data = encoded("MP3", "MPEG_LAYER_III")
    data = data[frames_of(data)[1] :]  # the first one counts the others
    assert b"Xing" not in data
    assert b"Info" not in data
    path = tmp_path / "song.mp3"
    last = frames_of(data)[-1]
    for size, cut in (
        (len(data), False),
        (len(data) - 1, True),
        (last + 4, True),
        (last + 1, True),
        (last, False),  # a cut between two frames leaves no trace
    ):
        path.write_bytes(data[:size])
        assert bool(sound_stream.cut_reason(path, "MP3")) == cut, size
        if not cut:
            assert len(sound.read_mono(path, sample_rate=16000)) > 23000


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("rate", [16000, 44100])
@pytest.mark.parametrize("mode", ["CONSTANT", "VARIABLE"])
def test_an_mp3_that_does_not_count_its_frames_is_read_to_its_end(
    mode, rate, channels, tmp_path
):
    audio = 0.1 * np.random.default_rng(3).standard_normal((2 * rate, channels))
    audio[rate:] /= 100  # so that the bit rate varies
    path = tmp_path / "song.mp3"
    soundfile.write(path, audio, rate, bitrate_mode=mode, compression_level=0.5)
    data = path.read_bytes()
    expected = sound.read_mono(path, sample_rate=rate)
    path.write_bytes(data[sound_stream._frame_length(data[:4]) :])
    found = sound.read_mono(path, sample_rate=rate)
    # The first frame also said how much silence the encoder put before the audio.
    extra = len(found) - len(expected)
    assert 0 < extra < 3 * 1152
    errors = [
        np.abs(found[shift:][: len(expected)] - expected).max()
        for shift in range(extra)
    ]
    assert min(errors) < 1e-6


def test_an_mp3_with_something_else_in_it_is_refused(tmp_path):
    data = encoded("MP3", "MPEG_LAYER_III")
    path = tmp_path / "song.mp3"
    start, middle = frames_of(data)[1], frames_of(data)[20]
    path.write_bytes(data[start:middle] + b"something" + data[middle:])
    with pytest.raises(UserError, match=f"from byte {middle - start} on"):
        sound.read_mono(path, sample_rate=16000)


def test_tags_are_no_audio(tmp_path):
    data = encoded("MP3", "MPEG_LAYER_III")
    tag = b"ID3\x04\0\0\0\0\2\1" + bytes([255, 251, 144, 0]) * 64 + b"\0"
    path = tmp_path / "song.mp3"
    for before, after in ((tag, b""), (b"", b"TAG" + bytes(125)), (tag + tag, b"\0")):
        path.write_bytes(before + data + after)
        assert sound_stream.cut_reason(path, "MP3") == ""
        path.write_bytes(before + data[:-1])
        assert "1 bytes of its last MPEG frame" in sound_stream.cut_reason(path, "MP3")


@pytest.mark.parametrize(
    ("header", "length"),
    [  # samples of a frame * bit rate / 8 / sample rate, by the standards
        ("ff fb 90 00", 417),  # MPEG 1 layer III, 128 kbit/s, 44.1 kHz
        ("ff fb 92 00", 418),  # the same, padded
        ("ff f3 80 00", 208),  # MPEG 2 layer III, 64 kbit/s, 22.05 kHz
        ("ff e3 88 00", 576),  # MPEG 2.5 layer III, 64 kbit/s, 8 kHz
        ("ff fd a4 00", 576),  # MPEG 1 layer II, 192 kbit/s, 48 kHz
        ("ff ff c0 00", 416),  # MPEG 1 layer I, 384 kbit/s, 44.1 kHz
        ("ff fb 00 00", 0),  # a bit rate of its own
        ("ff fb f0 00", 0),
        ("ff fb 9c 00", 0),  # no sample rate
        ("ff eb 90 00", 0),  # no version
        ("ff f9 90 00", 0),  # no layer
        ("fe fb 90 00", 0),
        ("ff fb 90", 0),
    ],
)
def test_length_of_a_frame(header, length):
    assert sound_stream._frame_length(bytes.fromhex(header)) == length


def test_a_last_page_that_is_not_marked_is_refused(tmp_path):
    data = bytearray(encoded("OGG", "VORBIS"))
    path = tmp_path / "song.ogg"
    path.write_bytes(data + b"something behind it")
    assert sound_stream.cut_reason(path, "OGG") == ""
    data[data.rindex(b"OggS") + 5] &= ~4
    path.write_bytes(data)
    assert "not marked as the end" in sound_stream.cut_reason(path, "OGG")
