import io
import struct

import hypothesis
import numpy as np
import pytest
import soundfile
from hypothesis import strategies

from sswavenet.sound import reader as sound
from sswavenet.sound import sound_stream
from util import UserError

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


SEVERAL = "song: expected one stream, got several, one after the other"


def refuses_joined(path):
    with pytest.raises(UserError) as caught:
        sound.read_mono(path, sample_rate=16000)
    return str(caught.value).endswith(SEVERAL)


@pytest.mark.parametrize(("form", "subtype"), FORMS)
def test_joined_files_are_refused(form, subtype, tmp_path):
    first = encoded(form, subtype)
    file = io.BytesIO()
    soundfile.write(file, np.full(500, 0.1), 48000, subtype, format=form)
    second = file.getvalue()
    path = tmp_path / "song"
    for content in (first + first, first + second, second + first, first + second * 2):
        path.write_bytes(content)
        assert refuses_joined(path)
    # Not even the serial numbers differ where a file is joined with itself.
    assert not sound_stream.is_joined(path, "WAV")


def page(flags, serial, content=b"some packet"):
    """An Ogg page by RFC 3533, without a checksum."""
    head = struct.pack("<4sBBqIII", b"OggS", 0, flags, 0, serial, 0, 0)
    return head + bytes([1, len(content)]) + content


def test_only_what_begins_behind_the_end_is_a_second_ogg_stream(tmp_path):
    path = tmp_path / "song"
    side_by_side = [page(2, 1), page(2, 2), page(0, 1), page(4, 2), page(4, 1)]
    for pages, joined in (
        (side_by_side, False),
        ([*side_by_side, page(2, 3)], True),
        ([page(2, 1), page(4, 1), b"TAG" + bytes(70000)], False),
        ([page(2, 1), page(4, 1), b"TAG" + bytes(70000), page(2, 1)], True),
        ([page(2, 1), page(0, 1, page(2, 1)), page(4, 1)], False),  # within a packet
        ([page(2, 1), page(4, 1)[:20]], False),
    ):
        path.write_bytes(b"".join(pages))
        assert sound_stream.is_joined(path, "OGG") == joined, pages


def id3v2():
    return b"ID3\4\0\0" + bytes([0, 0, 2, 1]) + b"\xff" * 257


def ape(flags=1 << 31 | 1 << 29):
    """An APEv2 tag with a header and a footer, by its specification."""
    items = struct.pack("<II", 3, 0) + b"Artist\0abc"
    size = len(items) + 32
    head = struct.pack("<8sIIII8x", b"APETAGEX", 2000, size, 1, flags)
    foot = struct.pack("<8sIIII8x", b"APETAGEX", 2000, size, 1, 1 << 31)
    return head + items + foot


TAGS = {
    "ID3v1": b"TAG" + b"x" * 125,
    "ID3v2": id3v2(),
    "APEv2": ape(),
    "Lyrics3 v1": b"LYRICSBEGIN" + b"la " * 99 + b"LYRICSEND",
    "Lyrics3 v2": b"LYRICSBEGIN" + b"LYR00003la " + b"000022" + b"LYRICS200",
    "APEv2, ID3v1": ape() + b"TAG" + bytes(125),
    "Lyrics3 v2, ID3v1": b"LYRICSBEGIN000011LYRICS200TAG" + bytes(125),
}


@pytest.mark.parametrize("name", TAGS)
@pytest.mark.parametrize("counts", [True, False])
def test_frames_behind_a_tag_are_a_second_stream(counts, name, tmp_path):
    data = encoded("MP3", "MPEG_LAYER_III")
    if not counts:
        data = data[frames_of(data)[1] :]
    path = tmp_path / "song"
    path.write_bytes(data)
    expected = sound.read_mono(path, sample_rate=16000)
    path.write_bytes(data + TAGS[name])
    found = sound.read_mono(path, sample_rate=16000)
    np.testing.assert_array_equal(found, expected)
    path.write_bytes(data + TAGS[name] + data)
    assert refuses_joined(path)


def test_an_mp3_may_have_as_many_frames_more_than_it_counts(tmp_path):
    data = encoded("MP3", "MPEG_LAYER_III")
    path = tmp_path / "song"
    place = data.index(b"Xing") + 8
    count = struct.unpack_from(">I", data, place)[0]
    assert count == len(frames_of(data)) - 1  # LAME leaves out the one that counts
    for less, joined in ((0, False), (2, False), (3, True), (count // 2, True)):
        content = bytearray(data)
        struct.pack_into(">I", content, place, count - less)
        path.write_bytes(content)
        assert sound_stream.is_joined(path, "MP3") == joined, less
    struct.pack_into(">I", content, place, 0)  # not known when it was written
    path.write_bytes(content)
    assert not sound_stream.is_joined(path, "MP3")
    assert len(sound.read_mono(path, sample_rate=16000)) >= 24000
