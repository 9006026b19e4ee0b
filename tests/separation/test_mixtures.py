"""Mixtures of every kind, good and bad, through the command."""

import json
import os
import pathlib
import re
import tempfile

import hypothesis
import numpy as np
import pytest
import soundfile
from hypothesis import strategies

from sswavenet.separation.folder import separate_all
from sswavenet.separation.inputs import find_mixtures
from sswavenet.separation.options import Options
from sswavenet.sound.formats import Encoding
from sswavenet.sound.reader import AudioReader, read_mono
from tests.support import (
    STEMS,
    as_nobody,
    fake_engine,
    make_tone,
    stems_of,
    tiny_config,
    written,
)
from util import UserError


def cut(path, form, share=0.5, frames=3000, **more):
    make_tone(path, frames, format=form, **more)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])


BAD = {
    "zero bytes": (lambda path: path.touch(), "expected an audio file"),
    "text": (lambda path: path.write_text("not audio"), "expected an audio file"),
    "cut header": (lambda path: cut(path, "WAV", 0.003), "expected an audio file"),
    "cut WAV": (lambda path: cut(path, "WAV"), "cut short: "),
    "cut WAVEX": (lambda path: cut(path, "WAVEX", 0.99), "cut short: "),
    "cut RF64": (lambda path: cut(path, "RF64"), "cut short: "),
    "cut W64": (lambda path: cut(path, "W64"), "cut short: "),
    "cut AIFF": (lambda path: cut(path, "AIFF", subtype="PCM_24"), "cut short: "),
    "cut AU": (lambda path: cut(path, "AU"), "cut short: "),
    "cut CAF": (lambda path: cut(path, "CAF", 0.999), "cut short: "),
    "0 samples": (lambda path: make_tone(path, 0), "expected at least 1 samples"),
    "NaN": (
        lambda path: soundfile.write(path, [0.1, np.nan], 16000, "FLOAT"),
        "expected finite samples",
    ),
    "Inf": (
        lambda path: soundfile.write(path, [0.1, np.inf], 16000, "DOUBLE"),
        "expected finite samples",
    ),
    "samples near the end of float32": (
        lambda path: soundfile.write(path, [[0.1, -3e38]], 44100, "FLOAT"),
        "expected samples of at most 1e+10 (full scale is 1), got one of 3e+38",
    ),
    "a rate of 767,999 Hz": (
        lambda path: soundfile.write(path, [0.1] * 9, 767_999),
        "expected a usual sample rate, got 767999 Hz: the filter",
    ),
    "+Inf and -Inf": (
        lambda path: soundfile.write(path, [[np.inf, -np.inf]], 44100, "FLOAT"),
        "expected finite samples",
    ),
    "a rate of 4 GHz": (
        lambda path: soundfile.write(path, [0.1] * 9, 2**31 - 1),
        "expected a sample rate of at most 768000 Hz",
    ),
}


@pytest.mark.parametrize("what", BAD)
def test_a_mixture_that_cannot_be_used_fails_alone(what, infer, folder, tmp_path):
    make, reason = BAD[what]
    make(folder / "bad.wav")
    make_tone(folder / "song.wav")
    status, errors = infer(folder)
    assert status == 1
    (line,) = errors
    assert f"bad.wav: {reason}" in line
    assert written(tmp_path / "out") == sorted(f"song_{stem}.wav" for stem in STEMS)


@pytest.mark.parametrize("form", ["FLAC", "MP3"])
def test_damage_is_told_and_refused_where_that_is_asked_for(
    form, infer, folder, tmp_path, caplog
):
    cut(folder / "bad.wav", form, 0.6, frames=48000)
    make_tone(folder / "song.wav")
    report = tmp_path / "report.json"
    assert infer(folder, f"--report={report}") == (0, [])
    assert len(written(tmp_path / "out")) == 2 * len(STEMS)
    bad, song = json.loads(report.read_text())["files"]
    (warning,) = bad["warnings"]
    assert re.match(r"damaged or cut short: [12]\.\d\d of 3\.\d\d s", warning)
    assert song["warnings"] == []
    assert f"{folder / 'bad.wav'}: {warning}" in caplog.text
    # The stems are as long as what could be read.
    assert stems_of(tmp_path / "out", "bad")[0].shape == (bad["frames"],)
    status, errors = infer(folder, "--strict", output=tmp_path / "strict")
    assert status == 1
    assert errors == [f"error: {folder / 'bad.wav'}: {warning}"]
    assert written(tmp_path / "strict") == sorted(f"song_{s}.wav" for s in STEMS)


def test_channels_that_cancel_are_told(infer, folder, tmp_path, caplog):
    left = 0.3 * np.random.default_rng(1).standard_normal(16000)
    soundfile.write(folder / "inverted.wav", np.stack([left, -left], 1), 16000)
    soundfile.write(folder / "wide.wav", np.stack([left, left[::-1]], 1), 16000)
    report = tmp_path / "report.json"
    assert infer(folder, f"--report={report}") == (0, [])
    inverted, wide = json.loads(report.read_text())["files"]
    (warning,) = inverted["warnings"]
    assert "the channels cancel each other in 1.0 s of it" in warning
    assert wide["warnings"] == []
    assert caplog.text.count("cancel each other") == 1
    flags = ["--stem_format=model", "--overwrite"]
    assert infer(folder, f"--report={report}", *flags) == (0, [])
    inverted, wide = json.loads(report.read_text())["files"]
    (warning,) = inverted["warnings"]
    assert "the channels cancel each other: 100% of their energy" in warning
    assert wide["warnings"] == []


@pytest.mark.parametrize("form", ["wav", "flac", "mp3", "ogg", "opus", "m4a"])
def test_stems_of_every_format_under_any_name(form, infer, folder, tmp_path, caplog):
    make_tone(folder / "song.wav", 16000, 44100, 2)
    flags = [f"--format={form}", "--output_name={mixture}/{stem}"]
    assert infer(folder, *flags) == (0, [])
    out = tmp_path / "out" / "song"
    assert written(out) == sorted(f"{stem}.{form}" for stem in STEMS)
    is_lossy = form not in ("wav", "flac")
    assert ("sum to the mixture only nearly" in caplog.text) == is_lossy
    assert infer(folder, *flags)[0] == 2  # they are there
    assert infer(folder, *flags, "--skip_existing") == (0, [])


@pytest.mark.parametrize("form", ["flac", "m4a"])
def test_a_set_that_failed_leaves_nothing_in_any_format(
    form, infer, folder, tmp_path, monkeypatch
):
    from sswavenet.sound import writer

    make_tone(folder / "song.wav", 16000)
    wrote = []

    def fail(self, audio):
        wrote.append(self)
        if len(wrote) > 2:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(writer.AudioWriter, "write", fail)
    status, (line,) = infer(
        folder, f"--format={form}", "--output_name={mixture}/{stem}"
    )
    assert status == 1
    assert "No space left on device" in line
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--format=flac", "--subtype=FLOAT"], "flac holds PCM_16 or PCM_24"),
        (["--format=mp3", "--subtype=PCM_16"], "works with --format wav and flac"),
        (["--bitrate=192k"], "--bitrate works with --format mp3, opus, m4a"),
        (["--format=ogg", "--bitrate=192k"], "--bitrate works with --format mp3, opus"),
        (["--output_name=../{stem}"], "within the output folder"),
        (["--output_name={x}_{stem}"], "got {x}"),
        (["--start=1", "--original_framing"], "without --start and --duration"),
        (["--original_framing", "--stem_format=native"], "without --stem_format nat"),
        (["--original_framing", "--stem_format=masks"], "without --stem_format masks"),
    ],
)
def test_flags_of_formats_names_and_times_that_make_no_sense_are_refused(
    flags, message, infer, folder, tmp_path
):
    make_tone(folder / "song.wav")
    status, (line,) = infer(folder, *flags)
    assert status == 2
    assert message in line
    assert not (tmp_path / "out").exists()


def test_a_part_of_a_file(infer, folder, tmp_path):
    make_tone(folder / "song.wav", 32000)
    assert infer(folder, "--start=0:00:00.5", "--duration=0:01") == (0, [])
    whole = soundfile.read(folder / "song.wav", dtype="float32")[0]
    stems = stems_of(tmp_path / "out")
    assert np.abs(sum(stems) - whole[8000:24000]).max() <= 2**-15
    status, (line,) = infer(folder, "--start=2", output=tmp_path / "late")
    assert status == 1
    assert "expected audio behind 2 s, got none" in line


GOOD = {
    "one sample": [0.5],
    "silence": np.zeros(50),
    "DC offset": np.full(50, 0.7),
    "a square wave at full scale": np.sign(np.sin(np.arange(50) + 0.5)),
}


@pytest.mark.parametrize("what", GOOD)
def test_odd_signals_are_separated_without_a_change_of_level(
    what, infer, folder, tmp_path
):
    soundfile.write(folder / "song.wav", GOOD[what], 16000, "FLOAT")
    assert infer(folder) == (0, [])
    stems = stems_of(tmp_path / "out")
    assert np.abs(sum(stems) - np.float32(GOOD[what])).max() <= 2**-15
    assert np.abs(stems[0] - np.float32(GOOD[what]) / 4).max() <= 2**-16


@pytest.mark.parametrize(
    ("form", "subtype"),
    [
        ("WAV", "PCM_U8"),
        ("WAV", "PCM_16"),
        ("WAV", "PCM_24"),
        ("WAV", "PCM_32"),
        ("WAV", "FLOAT"),
        ("WAV", "DOUBLE"),
        ("FLAC", "PCM_16"),
        ("OGG", "VORBIS"),
        ("MP3", "MPEG_LAYER_III"),
        ("AIFF", "PCM_16"),
        ("W64", "PCM_16"),
        ("RF64", "PCM_16"),
    ],
)
def test_every_format_gives_stems_that_sum_to_it(
    form, subtype, infer, folder, tmp_path
):
    make_tone(folder / "song.wav", 5000, 16000, 2, format=form, subtype=subtype)
    assert infer(folder) == (0, [])
    with AudioReader(folder / "song.wav") as reader:
        expected = np.concatenate(list(reader.blocks()))
    stems = stems_of(tmp_path / "out")
    assert {stem.shape for stem in stems} == {expected.shape}
    assert np.abs(sum(stems) - expected).max() <= 2**-15


@pytest.mark.parametrize("channels", [1, 2, 6])
@pytest.mark.parametrize(
    "rate", [8000, 11025, 44056, 44100, 47999, 48000, 96000, 192000, 705600]
)
def test_every_rate_and_number_of_channels(rate, channels, infer, folder, tmp_path):
    make_tone(folder / "song.wav", rate // 20 + 1, rate, channels)
    assert infer(folder) == (0, [])
    shape = (rate // 20 + 1, channels)[: 1 if channels == 1 else 2]
    stems = stems_of(tmp_path / "out")
    assert {stem.shape for stem in stems} == {shape}
    expected = soundfile.read(folder / "song.wav", dtype="float32")[0]
    assert np.abs(sum(stems) - expected).max() <= 2**-15
    flags = ["--overwrite", "--stem_format=model"]
    assert infer(folder, *flags) == (0, [])
    frames = -(-(rate // 20 + 1) * 16000 // rate)
    assert {stem.shape for stem in stems_of(tmp_path / "out")} == {(frames,)}


NAMES = [
    "a b",
    'it\'s "so"',
    "sønġ 歌 🎵",
    "line\nbreak",
    "-x",
    "--overwrite",
    "%s %d {}",
    "x" * 235,
    os.fsdecode(b"not \xff text"),
]


@pytest.mark.parametrize("name", NAMES)
def test_a_mixture_may_have_any_name(name, infer, folder, tmp_path):
    make_tone(folder / f"{name}.wav")
    assert infer(folder) == (0, [])
    assert written(tmp_path / "out") == sorted(f"{name}_{stem}.wav" for stem in STEMS)


def test_a_name_too_long_for_its_stems_fails_alone(infer, folder, tmp_path):
    make_tone(folder / f"{'x' * 250}.wav")
    make_tone(folder / "song.wav")
    status, (line,) = infer(folder)
    assert status == 1
    assert "File name too long" in line
    assert len(written(tmp_path / "out")) == 4


def test_a_missing_path_and_an_empty_folder_are_refused(infer, folder, tmp_path):
    assert infer(tmp_path / "none.wav")[0] == 2
    status, (line,) = infer(folder)
    assert status == 2
    assert "expected at least one audio file" in line
    assert not (tmp_path / "out").exists()


def test_a_named_link_to_nothing_or_to_itself_is_refused(infer, tmp_path):
    for name, target in (("nothing.wav", "nowhere"), ("itself.wav", "itself.wav")):
        (tmp_path / name).symlink_to(target)
        status, (line,) = infer(tmp_path / name)
        assert status == 2
        assert f"{name}: expected an audio file or a folder" in line
        assert not (tmp_path / "out").exists()


def test_a_file_without_permission_fails_alone():
    with as_nobody() as place:
        make_tone(place / "song.wav")
        (place / "song.wav").chmod(0)
        with pytest.raises(UserError, match=r"song\.wav: expected an audio file"):
            read_mono(place / "song.wav", sample_rate=16000)
        (place / "closed").mkdir(mode=0)
        with pytest.raises(UserError, match="cannot list"):
            find_mixtures(place, recursive=True)
        (place / "closed").chmod(0o700)


@pytest.mark.slow
@hypothesis.settings(max_examples=60)
@hypothesis.given(
    frames=strategies.integers(1, 700),
    rate=strategies.sampled_from([8000, 11025, 16000, 22050, 44100, 48000]),
    channels=strategies.integers(1, 8),
    chunk=strategies.integers(1, 500),
    field=strategies.integers(1, 200),
    batch_size=strategies.integers(1, 4),
    subtype=strategies.sampled_from(["PCM_16", "PCM_24", "FLOAT"]),
    kind=strategies.sampled_from(["native", "model", "original"]),
)
def test_any_length_rate_channels_and_chunks_sum_to_the_mixture(
    frames, rate, channels, chunk, field, batch_size, subtype, kind
):
    config = tiny_config()
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        place = pathlib.Path(name)
        make_tone(place / "song.wav", frames, rate, channels)
        patch.setattr("sswavenet.sound.reader.BLOCK_FRAMES", chunk)
        summary = separate_all(
            find_mixtures(place / "song.wav").mixtures,
            fake_engine(config),
            Options(
                output_path=place / "out",
                encoding=Encoding(subtype=subtype),
                stem_format="model" if kind == "model" else "native",
                original_framing=kind == "original",
                target_field_length=field,
                batch_size=batch_size,
            ),
            place,
        )
        length = frames if kind == "native" else -(-frames * 16000 // rate)
        lost = config.receptive_field_length - 1 if kind == "original" else 0
        (file,) = summary.files
        assert (file.status == "separated") == (length > lost), file.message
        if file.status == "separated":
            stems = stems_of(place / "out")
            assert {len(stem) for stem in stems} == {length - lost}
            with AudioReader(place / "song.wav") as reader:
                mixture = np.concatenate(list(reader.blocks()))
            if kind != "native":
                mixture = read_mono(place / "song.wav", sample_rate=16000)
            heard = mixture[lost // 2 :][: length - lost].reshape(stems[0].shape)
            step = 2**-22 if subtype == "FLOAT" else 2**-15
            np.testing.assert_allclose(sum(stems), heard, rtol=0, atol=step)
