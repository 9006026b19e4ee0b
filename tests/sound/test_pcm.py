"""PCM files: what their headers say is there, or it is not all there."""

import struct

import numpy as np
import pytest
import soundfile

from sswavenet.sound.reader import AudioReader, read_mono
from util import UserError

# A name before the size of the samples, bytes from there to it, its layout, and what
# it counts beside the samples.
SIZES = {
    "WAV": (b"data", 4, "<I", 0),
    "RIFX": (b"data", 4, ">I", 0),
    "WAVEX": (b"data", 4, "<I", 0),
    "RF64": (b"ds64", 16, "<Q", 0),
    "AIFF": (b"SSND", 4, ">I", 8),
    "AU": (b".snd", 8, ">I", 0),
    "AU, little": (b"dns.", 8, "<I", 0),
    "CAF": (b"data", 4, ">q", 4),
    "W64": (b"data", 16, "<Q", 24),
    "SVX": (b"BODY", 4, ">I", 0),
}


def write_form(path, name, frames=1000, subtype="PCM_16"):
    """A file without a zero among its samples; returns them."""
    form = {"RIFX": "WAV", "AU, little": "AU"}.get(name, name)
    endian = {"RIFX": "BIG", "AU, little": "LITTLE"}.get(name)
    audio = np.random.default_rng(5).integers(10000, 20000, frames) / 32768
    soundfile.write(path, audio, 16000, subtype, format=form, endian=endian)
    return audio


def announce(path, name, size):
    """Change the size of the samples, in bytes, that a header announces."""
    mark, offset, layout, more = SIZES[name]
    content = bytearray(path.read_bytes())
    place = content.index(mark) + offset
    assert struct.unpack_from(layout, content, place)[0] in (2000 + more, 2**32 - 1)
    struct.pack_into(layout, content, place, size)
    path.write_bytes(content)


@pytest.mark.parametrize("name", sorted(SIZES))
@pytest.mark.parametrize("share", [0.5, 0.99])
def test_a_file_with_less_than_its_header_announces_is_refused(name, share, tmp_path):
    path = tmp_path / "song"
    write_form(path, name, 50000)
    assert len(read_mono(path, sample_rate=16000)) == 50000
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(UserError, match=r"song: (cut short|expected \d+ frames)"):
        read_mono(path, sample_rate=16000)


@pytest.mark.parametrize("name", ["WAV", "AIFF", "RF64", "AU"])
def test_the_line_says_how_much_is_there(name, tmp_path):
    path = tmp_path / "song"
    write_form(path, name, 32000)
    path.write_bytes(path.read_bytes()[:-16000])
    with pytest.raises(UserError, match=r"cut short: 1\.50 of 2\.00 s are there"):
        read_mono(path, sample_rate=16000)


def test_one_missing_sample_is_found(tmp_path):
    path = tmp_path / "song.wav"
    write_form(path, "WAV", 50000)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match="cut short"):
        read_mono(path, sample_rate=16000)


def chunk(name, content):
    return (
        struct.pack("<4sI", name, len(content)) + content + b"\0" * (len(content) % 2)
    )


@pytest.mark.parametrize("cut", [False, True])
def test_a_long_header_hides_nothing(cut, tmp_path):
    # libsndfile's log, which tells what is missing, ends within these chunks.
    path = tmp_path / "song.wav"
    audio = write_form(path, "WAV", 32000)
    content = path.read_bytes()
    more = b"".join(chunk(b"JUNK", b"aa") for _ in range(400))
    whole = content[:36] + more + content[36:]
    whole = whole[:4] + struct.pack("<I", len(whole) - 8) + whole[8:]
    path.write_bytes(whole[: -32000 if cut else None])
    if cut:
        with pytest.raises(UserError, match=r"cut short: 1\.00 of 2\.00 s are there"):
            read_mono(path, sample_rate=16000)
        return
    read = read_mono(path, sample_rate=16000)
    np.testing.assert_array_equal(read, audio.astype(np.float32))


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("WAV", 0xFFFFFFFF),
        ("WAV", 0x7FFFF000),
        ("WAV", 0x7FFFFFFF),
        ("AU", 0xFFFFFFFF),
        ("W64", 2**63 - 1),  # as FFmpeg writes it to a pipe
    ],
)
def test_a_size_that_was_never_filled_in_means_to_the_end(name, size, tmp_path):
    path = tmp_path / "song"
    audio = write_form(path, name)
    announce(path, name, size)
    np.testing.assert_array_equal(
        read_mono(path, sample_rate=16000), audio.astype(np.float32)
    )


@pytest.mark.parametrize(("name", "size"), [("WAV", 0), ("WAVEX", 0), ("CAF", -1)])
def test_what_libsndfile_takes_for_empty_goes_to_the_end_too(
    name, size, tmp_path, require_av
):
    path = tmp_path / "song"
    audio = write_form(path, name)
    announce(path, name, size)
    np.testing.assert_array_equal(
        read_mono(path, sample_rate=16000), audio.astype(np.float32)
    )


@pytest.mark.parametrize("size", [2**64 - 2**40, 2**62])
def test_a_place_that_no_file_has_is_not_gone_to(size, tmp_path, capfd):
    path = tmp_path / "song"
    audio = write_form(path, "RF64")
    announce(path, "RF64", size)
    np.testing.assert_array_equal(
        read_mono(path, sample_rate=16000), audio.astype(np.float32)
    )
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("riff", [0, 36, 0xFFFFFFFF])
def test_a_wav_whose_sizes_are_all_zero_goes_to_the_end(riff, tmp_path, require_av):
    path = tmp_path / "song.wav"
    audio = write_form(path, "WAV")
    content = path.read_bytes()
    content = (
        content[:4]
        + struct.pack("<I", riff)
        + content[8:40]
        + bytes(4)
        + (content[44:])
    )
    path.write_bytes(content)
    with AudioReader(path) as reader:
        read = np.concatenate(list(reader.blocks()))[:, 0]
    np.testing.assert_array_equal(read, audio.astype(np.float32))
    assert reader.damage == ""


def test_a_file_without_samples_is_refused(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(0), 16000)
    with pytest.raises(UserError, match=r"a\.wav: expected audio, got no samples"):
        read_mono(tmp_path / "a.wav", sample_rate=16000)


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 6, 8])
@pytest.mark.parametrize(
    "subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"]
)
def test_every_channel_comes_out_as_it_is(subtype, channels, tmp_path, rng):
    path = tmp_path / "song"
    levels = 1 << {"PCM_U8": 7, "PCM_16": 15}.get(subtype, 23)
    audio = rng.integers(-levels, levels, (500, channels)) / levels
    form = "WAVEX" if channels > 2 else "WAV"
    soundfile.write(path, audio, 44100, subtype, format=form)
    with AudioReader(path) as reader:
        assert (reader.sample_rate, reader.channels) == (44100, channels)
        assert reader.frames == reader.rough_frames == 500
        blocks = list(reader.blocks(64))
    assert {block.shape for block in blocks[:-1]} == {(64, channels)}
    assert blocks[0].dtype == np.float32
    # libsndfile scales floats by one step less than full scale when it writes.
    tolerance = {"FLOAT": 1e-7, "DOUBLE": 1e-7}.get(subtype, 2 / levels)
    np.testing.assert_allclose(np.concatenate(blocks), audio, rtol=0, atol=tolerance)


@pytest.mark.parametrize(("start", "stop"), [(0, 10), (100, 250), (990, None)])
def test_a_piece_is_that_of_the_whole(start, stop, tmp_path, rng):
    path = tmp_path / "a.wav"
    audio = rng.uniform(-1, 1, (1000, 2)).astype(np.float32)
    soundfile.write(path, audio, 44100, "FLOAT")
    with AudioReader(path, start=start, stop=stop) as reader:
        assert reader.frames == len(audio[start:stop])
        np.testing.assert_array_equal(
            np.concatenate(list(reader.blocks(7))), audio[start:stop]
        )


def test_reading_so_many_frames_at_a_time(tmp_path, rng):
    path = tmp_path / "a.wav"
    audio = rng.uniform(-1, 1, (1000, 2)).astype(np.float32)
    soundfile.write(path, audio, 44100, "FLOAT")
    with AudioReader(path) as reader:
        parts = [reader.read(count) for count in (1, 300, 0, 600, 500, 5)]
    assert [len(part) for part in parts] == [1, 300, 0, 600, 99, 0]
    np.testing.assert_array_equal(np.concatenate(parts), audio)


def test_a_piece_behind_the_end_is_refused(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.ones(100) / 2, 16000)
    with AudioReader(tmp_path / "a.wav", start=100) as reader:
        assert reader.frames == 0
        with pytest.raises(UserError, match=r"no samples behind 0\.0 s"):
            list(reader.blocks())


def test_tags_of_a_wav_are_read(tmp_path):
    with soundfile.SoundFile(tmp_path / "a.wav", "w", 16000, 1) as file:
        file.title, file.artist, file.album = "A  song\n", "Söngvari", "Collected"
        file.write(np.zeros(100))
    with AudioReader(tmp_path / "a.wav") as reader:
        tags = reader.tags
    assert (tags.title, tags.artist, tags.album) == ("A song", "Söngvari", "Collected")
