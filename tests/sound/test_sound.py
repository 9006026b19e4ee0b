"""Audio files, read and written: exact samples, block by block as at once."""

import os
import pathlib
import wave

import hypothesis
import numpy as np
import pytest
import soundfile
from hypothesis import strategies
from scipy import signal

from sswavenet.sound.formats import SAMPLE_BITS
from sswavenet.sound.reader import BLOCK_FRAMES, MonoReader, read_mono, resample
from sswavenet.sound.writer import AudioWriter, quantize
from tests.support import GOLDEN, TASK_NAMES
from util import UserError


def write_audio(path, audio, *, sample_rate, subtype):
    """Write a whole file in two pieces, what is clipped included."""
    written, _ = quantize(audio, subtype)
    with AudioWriter(
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
    read = read_mono(tmp_path / "a.wav", sample_rate=8000)
    assert read.tolist() == audio.tolist()


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT"])
@hypothesis.given(
    audio=strategies.lists(strategies.floats(-1.5, 1.5, width=32), min_size=1)
)
def test_as_written_foretells_what_a_file_gives_back(subtype, audio, tmp_path_factory):
    path = tmp_path_factory.mktemp("written") / "a.wav"
    audio = np.array(audio, np.float32)
    expected, num_clipped = quantize(audio, subtype)
    write_audio(path, audio, sample_rate=16000, subtype=subtype)
    assert read_mono(path, sample_rate=16000).tolist() == expected.tolist()
    if subtype == "FLOAT":
        assert num_clipped == 0
        assert expected.tolist() == audio.tolist()
    else:
        step = 2.0 ** (1 - SAMPLE_BITS[subtype])
        inside = (audio >= -1) & (audio <= 1 - step)
        assert np.abs(expected - audio)[inside].max(initial=0) <= step / 2
        assert num_clipped <= np.count_nonzero(~inside)


def test_clipped_samples_are_counted():
    audio = np.array([1.0, -1.0, 1.5, -1.5, 0.999], np.float32)
    written, num_clipped = quantize(audio, "PCM_16")
    assert num_clipped == 3  # 1.0 is one step more than the largest integer
    assert written[:4].tolist() == [32767 / 32768, -1, 32767 / 32768, -1]


@pytest.mark.parametrize("name", ["mono16k", "stereo44k"])
def test_a_mixture_is_read_as_in_2018(name):
    audio = read_mono(GOLDEN / "mixtures" / f"{name}.wav", sample_rate=16000)
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
    audio = read_mono(path, sample_rate=16000)
    assert audio.dtype == np.float32
    assert audio.shape == (1600,)
    time = np.arange(1600) / 16000
    expected = 0.4 * np.mean(
        [np.sin(2 * np.pi * 200 * time + k) for k in range(channels)], axis=0
    )
    middle = slice(200, -200)  # away from the ends, which resampling fades
    np.testing.assert_allclose(audio[middle], expected[middle], rtol=0, atol=0.012)


def test_reading_in_blocks_changes_nothing(tmp_path, rng, monkeypatch):
    soundfile.write(tmp_path / "a.wav", rng.uniform(-1, 1, (1000, 2)), 16000, "FLOAT")
    whole = read_mono(tmp_path / "a.wav", sample_rate=16000)
    monkeypatch.setattr("sswavenet.sound.reader.BLOCK_FRAMES", 7)
    assert read_mono(tmp_path / "a.wav", sample_rate=16000).tolist() == (whole.tolist())


@pytest.mark.parametrize("size", [1000, 2**18])
def test_an_mp3_in_blocks_is_the_same_as_at_once(size, tmp_path, rng, monkeypatch):
    # Frames that borrow from earlier ones, which a seek in between would spoil.
    audio = 0.1 * rng.standard_normal((6 * 48000, 1))
    audio[3 * 48000 :] /= 100
    path = tmp_path / "a.mp3"
    soundfile.write(path, audio, 48000, bitrate_mode="VARIABLE", compression_level=0.5)
    expected, _ = soundfile.read(path, dtype="float32")  # by another library
    monkeypatch.setattr("sswavenet.sound.reader.BLOCK_FRAMES", size)
    found = read_mono(path, sample_rate=48000)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "content"),
    [("text.wav", b"not audio"), ("empty.wav", b""), ("noise.raw", bytes(100))],
)
def test_what_is_no_audio_is_refused_by_name(name, content, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=f"{name}: expected an audio file"):
        read_mono(tmp_path / name, sample_rate=16000)


@pytest.mark.parametrize("name", ["a.mp3", "a.wav", "a.m4a", "a"])
def test_an_empty_file_is_called_empty(name, tmp_path):
    (tmp_path / name).touch()
    expected = rf"{name}: expected an audio file, got: an empty file \(0 bytes\); get"
    with pytest.raises(UserError, match=expected):
        read_mono(tmp_path / name, sample_rate=16000)


def test_a_pipe_is_refused_before_it_is_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.wav")
    (tmp_path / "link.wav").symlink_to(tmp_path / "pipe.wav")
    for name in ("pipe.wav", "link.wav"):
        with pytest.raises(UserError, match=f"{name}: expected an audio file, got: a"):
            read_mono(tmp_path / name, sample_rate=16000)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"missing\.wav"):
        read_mono(tmp_path / "missing.wav", sample_rate=16000)


@pytest.mark.parametrize(
    ("frames", "from_rate", "to_rate", "expected"),
    [(1, 44100, 16000, 1), (441, 44100, 16000, 160), (442, 44100, 16000, 161)],
)
def test_resampling_rounds_the_length_up(frames, from_rate, to_rate, expected):
    audio = np.ones(frames, np.float32)
    parts = resample([audio], from_rate=from_rate, to_rate=to_rate)
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
    parts = list(resample(blocks, from_rate=from_rate, to_rate=to_rate))
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
    found = np.concatenate(list(resample(pieces, from_rate=from_rate, to_rate=to_rate)))
    assert len(found) == -(-frames * to_rate // from_rate)
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-6)


def test_files_of_4_gb_and_more_are_rf64(tmp_path):
    for frames, form in ((10, "WAV"), (2**31, "RF64")):
        path = tmp_path / f"{form}.wav"
        with AudioWriter(
            path, sample_rate=16000, subtype="PCM_16", frames=frames
        ) as writer:
            writer.write(np.zeros(10, np.float32))
        assert soundfile.info(path).format == form


def test_a_reader_knows_the_length_at_its_rate(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros((442, 2)), 44100)
    with MonoReader(tmp_path / "a.wav", sample_rate=16000) as reader:
        assert reader.length == 161
        assert sum(map(len, reader.blocks())) == 161


@pytest.mark.parametrize(("rate", "frames"), [(1, 100), (7, 300), (8000, 10**6)])
def test_a_block_stays_small_however_low_the_rate_is(rate, frames, tmp_path):
    soundfile.write(tmp_path / "a.wav", np.full(frames, 0.5), rate)
    with MonoReader(tmp_path / "a.wav", sample_rate=16000) as reader:
        sizes = [len(block) for block in reader.blocks()]
        assert sum(sizes) == reader.length == frames * 16000 // rate + (rate == 7)
    assert max(sizes) <= 2 * BLOCK_FRAMES
