"""Audio files, read and written: exact samples, block by block as at once."""

import os
import pathlib
import struct
import wave

import hypothesis
import numpy as np
import pytest
import soundfile
from hypothesis import strategies
from networks import GOLDEN, TASK_NAMES
from scipy import signal

from sswavenet.separation import inputs as mixtures
from sswavenet.sound import reader as sound
from sswavenet.sound import sound_header
from sswavenet.sound import writer as sound_writer
from util import UserError


def write_audio(path, audio, *, sample_rate, subtype):
    """Write a whole file in two pieces, what is clipped included."""
    written, _ = sound_writer.as_written(audio, subtype)
    with sound_writer.MonoWriter(
        path, sample_rate=sample_rate, subtype=subtype, frames=len(audio)
    ) as writer:
        writer.write(written[:3])
        writer.write(written[3:])


def raw_integers(path: pathlib.Path) -> np.ndarray:
    """A mono WAV file's integers, read without libsndfile."""
    with wave.open(str(path)) as file:
        width, data = file.getsampwidth(), file.readframes(file.getnframes())
    rows = np.frombuffer(data, np.uint8).reshape(-1, width)
    values = sum(rows[:, k].astype(np.int64) << (8 * k) for k in range(width))
    return np.where(values >= 1 << (8 * width - 1), values - (1 << 8 * width), values)


@pytest.mark.parametrize(("subtype", "bits"), [("PCM_16", 16), ("PCM_24", 24)])
def test_an_integer_k_is_written_for_the_sample_k_over_full_scale(
    subtype, bits, tmp_path
):
    scale = 2 ** (bits - 1)
    integers = np.array([-scale, -scale + 1, -12345, -1, 0, 1, 777, scale - 1])
    audio = (integers / scale).astype(np.float32)
    write_audio(tmp_path / "a.wav", audio, sample_rate=8000, subtype=subtype)
    assert raw_integers(tmp_path / "a.wav").tolist() == integers.tolist()
    assert soundfile.info(tmp_path / "a.wav").subtype == subtype
    read = sound.read_mono(tmp_path / "a.wav", sample_rate=8000)
    assert read.tolist() == audio.tolist()


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT"])
@hypothesis.given(
    audio=strategies.lists(strategies.floats(-1.5, 1.5, width=32), min_size=1)
)
def test_as_written_foretells_what_a_file_gives_back(subtype, audio, tmp_path_factory):
    path = tmp_path_factory.mktemp("written") / "a.wav"
    audio = np.array(audio, np.float32)
    expected, num_clipped = sound_writer.as_written(audio, subtype)
    write_audio(path, audio, sample_rate=16000, subtype=subtype)
    assert sound.read_mono(path, sample_rate=16000).tolist() == expected.tolist()
    if subtype == "FLOAT":
        assert num_clipped == 0
        assert expected.tolist() == audio.tolist()
    else:
        step = 2.0 ** (1 - sound_writer.SAMPLE_BITS[subtype])
        inside = (audio >= -1) & (audio <= 1 - step)
        assert np.abs(expected - audio)[inside].max(initial=0) <= step / 2
        assert num_clipped <= np.count_nonzero(~inside)


def test_clipped_samples_are_counted():
    audio = np.array([1.0, -1.0, 1.5, -1.5, 0.999], np.float32)
    written, num_clipped = sound_writer.as_written(audio, "PCM_16")
    assert num_clipped == 3  # 1.0 is one step more than the largest integer
    assert written[:4].tolist() == [32767 / 32768, -1, 32767 / 32768, -1]


@pytest.mark.parametrize("name", ["mono16k", "stereo44k"])
def test_a_mixture_is_read_as_in_2018(name):
    audio = sound.read_mono(GOLDEN / "mixtures" / f"{name}.wav", sample_rate=16000)
    for task_name in TASK_NAMES:
        expected = np.load(GOLDEN / task_name / "separation.npz")
        np.testing.assert_allclose(
            audio, expected[f"{name}_mixture16k"], rtol=0, atol=1e-6
        )


@pytest.mark.parametrize("channels", [1, 2, 6])
@pytest.mark.parametrize("rate", [8000, 16000, 44100])
@pytest.mark.parametrize(
    ("extension", "subtype"),
    [
        ("wav", "PCM_U8"),
        ("wav", "PCM_32"),
        ("wav", "DOUBLE"),
        ("flac", "PCM_24"),
        ("aiff", "PCM_16"),
        ("w64", "FLOAT"),
        ("ogg", "VORBIS"),
    ],
)
def test_every_format_is_the_mean_of_its_channels(
    extension, subtype, rate, channels, tmp_path, rng
):
    frames = rate // 10
    tones = 0.4 * np.sin(
        2 * np.pi * 200 * np.arange(frames)[:, None] / rate + np.arange(channels)
    )
    path = tmp_path / f"tone.{extension}"
    soundfile.write(path, tones, rate, subtype=subtype)
    audio = sound.read_mono(path, sample_rate=16000)
    assert audio.dtype == np.float32
    assert audio.shape == (1600,)
    time = np.arange(1600) / 16000
    expected = 0.4 * np.mean(
        [np.sin(2 * np.pi * 200 * time + k) for k in range(channels)], axis=0
    )
    middle = slice(200, -200)  # away from the ends, which resampling fades
    tolerance = 0.05 if subtype == "VORBIS" else 0.012
    np.testing.assert_allclose(audio[middle], expected[middle], rtol=0, atol=tolerance)


def test_reading_in_blocks_changes_nothing(tmp_path, rng, monkeypatch):
    soundfile.write(tmp_path / "a.wav", rng.uniform(-1, 1, (1000, 2)), 16000, "FLOAT")
    whole = sound.read_mono(tmp_path / "a.wav", sample_rate=16000)
    monkeypatch.setattr(sound, "BLOCK_FRAMES", 7)
    assert sound.read_mono(tmp_path / "a.wav", sample_rate=16000).tolist() == (
        whole.tolist()
    )


@pytest.mark.parametrize("form", sorted(set(soundfile.available_formats()) - {"RAW"}))
def test_a_cut_file_is_refused_or_warned_about(form, tmp_path, rng, caplog):
    path = tmp_path / "song"
    subtype = soundfile.default_subtype(form)
    if form == "MP3":
        subtype = "MPEG_LAYER_III"
    soundfile.write(path, rng.uniform(-0.5, 0.5, 4000), 8000, subtype, format=form)
    assert len(sound.read_mono(path, sample_rate=8000))
    warned = "was cut short" in caplog.text
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    try:
        sound.read_mono(path, sample_rate=8000)
    except UserError:
        return
    assert warned


@pytest.mark.parametrize("size", [1000, 2**18])
def test_an_mp3_in_blocks_is_the_same_as_at_once(size, tmp_path, rng, monkeypatch):
    # Frames that borrow from earlier ones, which a seek in between would spoil.
    audio = 0.1 * rng.standard_normal((6 * 48000, 1))
    audio[3 * 48000 :] /= 100
    path = tmp_path / "a.mp3"
    soundfile.write(path, audio, 48000, bitrate_mode="VARIABLE", compression_level=0.5)
    expected, _ = soundfile.read(path, dtype="float32")
    monkeypatch.setattr(sound, "BLOCK_FRAMES", size)
    found = sound.read_mono(path, sample_rate=48000)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("name", "content"),
    [("text.wav", b"not audio"), ("empty.wav", b""), ("noise.raw", bytes(100))],
)
def test_what_is_no_audio_is_refused_by_name(name, content, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=f"{name}: expected an audio file"):
        sound.read_mono(tmp_path / name, sample_rate=16000)


def test_a_pipe_is_refused_before_it_is_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.wav")
    (tmp_path / "link.wav").symlink_to(tmp_path / "pipe.wav")
    for name in ("pipe.wav", "link.wav"):
        with pytest.raises(UserError, match=f"{name}: expected an audio file, got: a"):
            sound.read_mono(tmp_path / name, sample_rate=16000)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"missing\.wav"):
        sound.read_mono(tmp_path / "missing.wav", sample_rate=16000)


def test_a_file_cut_short_is_refused(tmp_path, rng):
    path = tmp_path / "a.flac"
    soundfile.write(path, rng.uniform(-1, 1, 50000), 16000)
    path.write_bytes(path.read_bytes()[:40000])
    with pytest.raises(UserError, match=r"a\.flac: expected"):
        sound.read_mono(path, sample_rate=16000)


def test_fewer_frames_than_the_header_says_are_refused(tmp_path, monkeypatch):
    soundfile.write(tmp_path / "a.wav", np.zeros(100), 16000)
    monkeypatch.setattr(soundfile.SoundFile, "frames", 101)
    with pytest.raises(UserError, match=r"a\.wav: expected 101 frames, got 100"):
        sound.read_mono(tmp_path / "a.wav", sample_rate=16000)


@pytest.mark.parametrize(
    ("frames", "from_rate", "to_rate", "expected"),
    [(1, 44100, 16000, 1), (441, 44100, 16000, 160), (442, 44100, 16000, 161)],
)
def test_resampling_rounds_the_length_up(frames, from_rate, to_rate, expected):
    audio = np.ones(frames, np.float32)
    parts = sound.resample([audio], from_rate=from_rate, to_rate=to_rate)
    resampled = np.concatenate(list(parts))
    assert resampled.shape == (expected,)
    assert resampled.dtype == np.float32


@pytest.mark.parametrize(
    ("from_rate", "to_rate"),
    [(44100, 16000), (48000, 16000), (8000, 16000), (11025, 16000), (16001, 16000)],
)
@pytest.mark.parametrize("size", [1, 100, 997, 5000])
def test_resampling_in_blocks_is_resampling_at_once(from_rate, to_rate, size, rng):
    audio = rng.standard_normal(5000).astype(np.float32)
    divisor = np.gcd(from_rate, to_rate)
    expected = signal.resample_poly(audio, to_rate // divisor, from_rate // divisor)
    blocks = [audio[k : k + size] for k in range(0, len(audio), size)]
    parts = list(sound.resample(blocks, from_rate=from_rate, to_rate=to_rate))
    assert all(part.dtype == np.float32 for part in parts)
    np.testing.assert_allclose(np.concatenate(parts), expected, rtol=0, atol=1e-6)


RATES = strategies.integers(1, 60).map(lambda k: 800 * k) | strategies.sampled_from(
    [8000, 11025, 16000, 22050, 32000, 44100, 48000, 88200, 96000, 192000]
)


@hypothesis.given(
    frames=strategies.integers(1, 3000),
    from_rate=RATES,
    to_rate=RATES,
    cuts=strategies.lists(strategies.integers(0, 3000), max_size=12),
)
def test_resampling_of_any_pieces_is_that_of_the_whole(
    frames, from_rate, to_rate, cuts
):
    audio = np.random.default_rng(frames).standard_normal(frames).astype(np.float32)
    divisor = np.gcd(from_rate, to_rate)
    expected = signal.resample_poly(audio, to_rate // divisor, from_rate // divisor)
    pieces = np.split(audio, sorted(min(cut, frames) for cut in cuts))
    found = np.concatenate(
        list(sound.resample(pieces, from_rate=from_rate, to_rate=to_rate))
    )
    assert len(found) == -(-frames * to_rate // from_rate)
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-6)


def test_files_of_4_gb_and_more_are_rf64(tmp_path):
    for frames, form in ((10, "WAV"), (2**31, "RF64")):
        path = tmp_path / f"{form}.wav"
        with sound_writer.MonoWriter(
            path, sample_rate=16000, subtype="PCM_16", frames=frames
        ) as writer:
            writer.write(np.zeros(10, np.float32))
        assert soundfile.info(path).format == form


def test_a_reader_knows_the_length_at_its_rate(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros((442, 2)), 44100)
    with sound.MonoReader(tmp_path / "a.wav", sample_rate=16000) as reader:
        assert reader.length == 161
        assert sum(map(len, reader.blocks())) == 161


@pytest.mark.parametrize(("rate", "frames"), [(1, 100), (7, 300), (8000, 10**6)])
def test_a_block_stays_small_however_low_the_rate_is(rate, frames, tmp_path):
    soundfile.write(tmp_path / "a.wav", np.full(frames, 0.5), rate)
    with sound.MonoReader(tmp_path / "a.wav", sample_rate=16000) as reader:
        sizes = [len(block) for block in reader.blocks()]
        assert sum(sizes) == reader.length == frames * 16000 // rate + (rate == 7)
    assert max(sizes) <= 2 * sound.BLOCK_FRAMES


# More audio than the header announces.

LEFT_OUT = "bytes after the samples that its header announces are left out"

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
STOP_AT_THE_SIZE = sorted(SIZES.keys() - {"W64", "SVX"})


def write_form(path, name, frames=1000, subtype="PCM_16"):
    """A file without a zero among its samples."""
    form = {"RIFX": "WAV", "AU, little": "AU"}.get(name, name)
    endian = {"RIFX": "BIG", "AU, little": "LITTLE"}.get(name)
    audio = np.random.default_rng(5).uniform(0.3, 0.7, frames)
    soundfile.write(path, audio, 16000, subtype, format=form, endian=endian)


def announce(path, name, size):
    """Change the size of the samples, in bytes, that a header announces."""
    mark, offset, layout, more = SIZES[name]
    content = bytearray(path.read_bytes())
    place = content.index(mark) + offset
    assert struct.unpack_from(layout, content, place)[0] in (2000 + more, 2**32 - 1)
    struct.pack_into(layout, content, place, size + more)
    path.write_bytes(content)


@pytest.mark.parametrize("name", STOP_AT_THE_SIZE)
@pytest.mark.parametrize("announced", [40, 1200, 1984])
def test_samples_that_no_header_announces_are_warned_about(
    name, announced, tmp_path, caplog
):
    path = tmp_path / "song"
    write_form(path, name)
    announce(path, name, announced)
    assert len(sound.read_mono(path, sample_rate=16000)) == announced // 2
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert record.getMessage() == f"{path}: {2000 - announced} {LEFT_OUT}"


@pytest.mark.parametrize("name", STOP_AT_THE_SIZE)
def test_padding_is_not_warned_about(name, tmp_path, caplog):
    path = tmp_path / "song"
    write_form(path, name)
    whole = path.read_bytes()
    announce(path, name, 1986)  # 14 bytes more
    assert sound_header.surplus_bytes(path) == 0
    path.write_bytes(whole + bytes(2**17))
    sound.read_mono(path, sample_rate=16000)
    assert caplog.records == []
    path.write_bytes(whole + bytes(2**17) + b"\1")
    assert sound_header.surplus_bytes(path) == 2**17 + 1


@pytest.mark.parametrize("name", ["W64", "SVX"])
def test_formats_that_are_read_on_leave_nothing_out(name, tmp_path, caplog):
    path = tmp_path / "song"
    write_form(path, name)
    announce(path, name, 1000)
    assert len(sound.read_mono(path, sample_rate=16000)) == 1000
    assert caplog.records == []


@pytest.mark.parametrize(
    ("form", "subtype"),
    [
        ("WAV", "PCM_U8"),
        ("WAV", "PCM_24"),
        ("WAV", "FLOAT"),
        ("WAV", "IMA_ADPCM"),
        ("WAVEX", "PCM_16"),
        ("RF64", "PCM_16"),
        ("W64", "PCM_16"),
        ("SVX", "PCM_16"),
        ("AIFF", "PCM_S8"),
        ("AIFF", "FLOAT"),
        ("AU", "PCM_24"),
        ("CAF", "PCM_16"),
        ("CAF", "ALAC_16"),
        ("FLAC", "PCM_16"),
        ("OGG", "VORBIS"),
        ("OGG", "OPUS"),
        ("MP3", "MPEG_LAYER_III"),
    ],
)
@pytest.mark.parametrize("frames", [999, 1000, 5000])
def test_ordinary_files_give_no_warning(form, subtype, frames, tmp_path, caplog):
    path = tmp_path / "song"
    write_form(path, form, frames, subtype)
    assert len(sound.read_mono(path, sample_rate=16000)) >= frames
    assert caplog.records == []


def chunk(layout, name, content, padding=b""):
    return struct.pack(layout, name, len(content)) + content + padding


@pytest.mark.parametrize(
    ("name", "layout"), [("WAV", "<4sI"), ("AIFF", ">4sI"), ("CAF", ">4sq")]
)
def test_chunks_behind_the_samples_are_no_surplus(name, layout, tmp_path, caplog):
    path = tmp_path / "song"
    pad = b"" if name == "CAF" else b"\0"
    write_form(path, name)
    whole = path.read_bytes()
    text = chunk(layout, b"LIST", b"INFOICMT\x0a\0\0\0a comment\0")
    odd = chunk(layout, b"id3 ", b"ID3\4" + bytes([255]) * 97)
    for chunks in (text, odd + pad, odd, odd + pad + text, odd + text, text + text):
        path.write_bytes(whole + chunks)
        assert len(sound.read_mono(path, sample_rate=16000)) == 1000
        assert caplog.records == []
        path.write_bytes(whole + chunks + bytes([1]) * 50)
        assert abs(sound_header.surplus_bytes(path) - 50) <= 1  # the padding
    # A chunk that is longer than the file, and one whose name is none.
    path.write_bytes(whole + text[:-1])
    assert sound_header.surplus_bytes(path) == len(text) - 1
    path.write_bytes(whole + text.replace(b"LIST", b"L\xe9ST"))
    assert sound_header.surplus_bytes(path) == len(text)


def test_odd_samples_without_padding_may_have_chunks_behind(tmp_path):
    path = tmp_path / "song.wav"
    write_form(path, "WAV", 999, "PCM_U8")
    whole = path.read_bytes()
    assert whole[-1] == 0  # the padding
    text = chunk("<4sI", b"LIST", b"INFOICMT\x0a\0\0\0a comment\0")
    for content in (whole + text, whole[:-1] + text):
        path.write_bytes(content)
        assert sound_header.surplus_bytes(path) == 0


@pytest.mark.parametrize("name", ["WAV", "RIFX", "RF64", "AIFF", "AU", "CAF"])
def test_a_file_behind_another_is_surplus(name, tmp_path):
    path = tmp_path / "song"
    write_form(path, name)
    whole = path.read_bytes()
    path.write_bytes(whole + whole)
    assert sound_header.surplus_bytes(path) == len(whole)


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("WAV", 0xFFFFFFFF),
        ("WAV", 0x7FFFF000),
        ("AU", 0xFFFFFFFF),
        ("AIFF", 0),
        ("CAF", -1),
        ("RF64", 0),
        ("W64", 2**63 - 1),  # as FFmpeg writes it to a pipe
    ],
)
def test_a_size_that_is_unknown_leaves_nothing_out(name, size, tmp_path):
    path = tmp_path / "song"
    write_form(path, name)
    announce(path, name, size - SIZES[name][3])
    assert sound_header.surplus_bytes(path) == 0
    assert sound_header.missing_bytes(path) == 0


# A length that the header does not say.


def forget_length(path):
    """Make a FLAC as it is written to a pipe: with no number of samples."""
    content = bytearray(path.read_bytes())
    assert content[:4] == b"fLaC"
    # STREAMINFO's, behind the marker and the block's header: 36 bits from bit 108 on.
    assert content[4] & 127 == 0
    content[21] &= 0xF0
    content[22:26] = bytes(4)
    path.write_bytes(content)
    assert soundfile.info(path).frames == 2**63 - 1


def test_a_flac_is_read_as_far_as_its_header_counts(tmp_path):
    path = tmp_path / "a.flac"
    soundfile.write(path, np.linspace(-1, 1, 16000), 16000)
    content = bytearray(path.read_bytes())
    content[22:26] = (4000).to_bytes(4, "big")
    path.write_bytes(content)
    assert len(sound.read_mono(path, sample_rate=16000)) == 4000


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("block", [700, 2**18])
def test_a_flac_that_does_not_say_its_length_is_read_to_its_end(
    block, channels, tmp_path, rng, monkeypatch
):
    path = tmp_path / "a.flac"
    soundfile.write(path, rng.uniform(-1, 1, (16001, channels)), 32000)
    expected = sound.read_mono(path, sample_rate=16000)
    forget_length(path)
    monkeypatch.setattr(sound, "BLOCK_FRAMES", block)
    with sound.MonoReader(path, sample_rate=16000) as reader:
        assert reader.length == 8001
        np.testing.assert_allclose(reader.read(), expected, rtol=0, atol=1e-6)


def test_a_flac_that_does_not_say_its_length_is_a_mixture_of_unknown_length(tmp_path):
    path = tmp_path / "a.flac"
    soundfile.write(path, np.zeros((16001, 2)), 32000)
    assert mixtures.read_header(path, 16000)[0] == 8001
    forget_length(path)
    header = mixtures.read_header(path, 16000)
    assert header == (0, "32000 Hz, mean of 2 channel(s)")


def test_a_flac_that_does_not_say_its_length_is_refused_where_it_is_spoiled(
    tmp_path, rng
):
    path = tmp_path / "a.flac"
    soundfile.write(path, rng.uniform(-1, 1, 50000), 16000)
    forget_length(path)
    content = path.read_bytes()
    path.write_bytes(content[:60000])
    with pytest.raises(UserError, match=r"a\.flac: expected"):
        sound.read_mono(path, sample_rate=16000)
