"""What happens when: the rows of docs/what-happens-when.md that no other file tests."""

import contextlib
import hashlib
import importlib.util
import json
import os
import pathlib
import re
import shutil
import signal
import struct
import subprocess
import sys
import tempfile

import h5py
import hypothesis
import numpy as np
import pytest
import soundfile
from hypothesis import strategies

import main as program
import util
from sswavenet import checkpoints
from sswavenet.checkpoints.__main__ import describe
from sswavenet.config.document import parse_config
from sswavenet.separation import folder as separate
from sswavenet.separation import inputs as mixtures
from sswavenet.separation import outputs
from sswavenet.separation.engine import Engine
from sswavenet.separation.framing import Framing
from sswavenet.separation.options import Options
from sswavenet.sound import reader as sound
from sswavenet.sound import writer as sound_writer
from sswavenet.sound.formats import Encoding
from sswavenet.training import history as session_log
from tests.stress.fuzz import run_case
from tests.support import (
    base_session,
    fake_engine,
    random_weights,
    tiny_config,
    tiny_document,
    without_network,
    write_session,
)
from util import UserError

ROOT = pathlib.Path(__file__).parents[1]
STEMS = ("vocals", "drums", "bass", "other")


@pytest.fixture
def session(tmp_path):
    folder = tmp_path / "session"
    write_session(folder, *base_session("multi-instrument"))
    return folder


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    return folder


@pytest.fixture
def infer(session, tmp_path, capsys):
    """The command line with a network that gives each estimate a quarter."""

    def infer(path, *flags, output=tmp_path / "out"):
        arguments = ["--mode=inference", f"--config={session / 'config.json'}"]
        if output:
            arguments.append(f"--output_path={output}")
        with without_network() as run:
            status = run([*arguments, f"--mixture_input_path={path}", *flags])
        said = capsys.readouterr().err.splitlines()
        assert not any("Traceback" in line for line in said)
        return status, [line for line in said if line.startswith("error: ")]

    return infer


def make_tone(path, frames=100, rate=16000, channels=1, **form):
    time = np.arange(frames)[:, None] / rate
    tone = 0.5 * np.sin(2 * np.pi * 200 * time + np.arange(channels))
    if path.suffix == ".wav":
        form.setdefault("format", "WAV")
    soundfile.write(os.fsencode(path), tone, rate, **form)


def written(folder):
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def stems_of(folder, name="song"):
    paths = [folder / f"{name}_{stem}.wav" for stem in STEMS]
    return [soundfile.read(str(path), dtype="float32")[0] for path in paths]


# Mixtures.


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
        (["--original_framing", "--stem_format=native"], "without --stem_format"),
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
    with sound.AudioReader(folder / "song.wav") as reader:
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
    with sound.MonoReader(path, sample_rate=16000) as reader:
        assert reader.length == data // 64
        block = next(reader.blocks())
        assert np.abs(block[:1000]).max() > 0.05
        assert not block[1000:].any()
    os.truncate(path, start + data - 700)
    with pytest.raises(UserError, match="cut short: "):
        sound.MonoReader(path, sample_rate=16000)


@pytest.mark.parametrize("size", [0xFFFFFFFF, 0x7FFFF000, 0x7FFFFFFF])
def test_a_stream_of_unknown_length_is_taken_as_it_is(size, infer, folder, tmp_path):
    make_tone(folder / "song.wav", 77)
    content = bytearray((folder / "song.wav").read_bytes())
    place = content.index(b"data") + 4
    content[place : place + 4] = struct.pack("<I", size)
    (folder / "song.wav").write_bytes(content)
    assert infer(folder) == (0, [])
    assert len(stems_of(tmp_path / "out")[0]) == 77


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


@contextlib.contextmanager
def as_nobody():
    """A user without rights, in a folder that all may enter."""
    place = pathlib.Path(tempfile.mkdtemp())
    place.chmod(0o777)
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(65534)
    try:
        yield place
    finally:
        if is_root:
            os.seteuid(0)
        shutil.rmtree(place)


def test_a_file_without_permission_fails_alone():
    with as_nobody() as place:
        make_tone(place / "song.wav")
        (place / "song.wav").chmod(0)
        with pytest.raises(UserError, match=r"song\.wav: expected an audio file"):
            sound.read_mono(place / "song.wav", sample_rate=16000)
        (place / "closed").mkdir(mode=0)
        with pytest.raises(UserError, match="cannot list"):
            mixtures.find_mixtures(place, recursive=True)
        (place / "closed").chmod(0o700)


# Outputs.


def test_a_read_only_folder_is_refused():
    with as_nobody() as place:
        (place / "out").mkdir(mode=0o500)
        with pytest.raises(UserError, match="cannot make the folder"):
            outputs.output_folder(place / "out" / "deeper")
        with (
            pytest.raises(UserError, match="cannot write"),
            util.replacing(place / "out" / "a.wav"),
        ):
            pass
        (place / "out").chmod(0o700)


def test_a_read_only_folder_is_refused_before_computing(session, monkeypatch):
    def compute(*_, **__):
        raise AssertionError("a mixture was opened")

    engine = fake_engine(tiny_config())

    def separated(place, **flags):
        return separate.separate_all(
            mixtures.find_mixtures(place / "song.wav").mixtures,
            engine,
            Options(output_path=place / "out", **flags),
            session,
        )

    with as_nobody() as place:
        make_tone(place / "song.wav")
        (place / "out").mkdir()
        for stem in STEMS:
            make_tone(place / "out" / f"song_{stem}.wav")
        monkeypatch.setattr(separate, "separate_file", compute)
        (place / "out").chmod(0o500)
        with pytest.raises(UserError, match=r"cannot write into the folder .*out: "):
            separated(place, overwrite=True)
        # Where nothing is to be written, nothing need be writable.
        assert separated(place, skip_existing=True).num_skipped == 1
        (place / "out").chmod(0o700)


def test_a_missing_output_folder_is_made(infer, folder, tmp_path):
    make_tone(folder / "song.wav")
    assert infer(folder, output=tmp_path / "a" / "b") == (0, [])
    assert len(written(tmp_path / "a" / "b")) == 4


def test_existing_stems_are_refused_before_computing(infer, folder, tmp_path):
    make_tone(folder / "song.wav")
    make_tone(folder / "z.wav")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "z_bass.wav").write_text("mine")
    status, (line,) = infer(folder)
    assert status == 2
    assert "z_bass.wav exists; --overwrite" in line
    assert "--skip_existing" in line
    assert written(tmp_path / "out") == ["z_bass.wav"]


def test_overwrite_replaces(infer, folder, tmp_path):
    make_tone(folder / "song.wav")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "song_bass.wav").write_text("old")
    assert infer(folder, "--overwrite") == (0, [])
    assert len(stems_of(tmp_path / "out")[2]) == 100


def test_skip_existing_leaves_out_what_is_complete(infer, folder, tmp_path):
    for name in ("a", "b", "c"):
        make_tone(folder / f"{name}.wav")
    assert infer(folder) == (0, [])
    out = tmp_path / "out"
    (out / "b_drums.wav").unlink()
    before = {path: path.stat().st_mtime_ns for path in out.glob("*.wav")}
    report = tmp_path / "report.json"
    assert infer(folder, "--skip_existing", f"--report={report}") == (0, [])
    assert len(written(out)) == 12
    changed = {path.name[0] for path, time in before.items()
               if path.stat().st_mtime_ns != time}  # fmt: skip
    assert changed == {"b"}
    files = json.loads(report.read_text())["files"]
    assert [file["status"] for file in files] == ["skipped", "separated", "skipped"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--overwrite", "--skip_existing"], "exclude each other"),
        (["--skip_existing"], "needs --output_path"),
    ],
)
def test_flags_that_make_no_sense_are_refused(flags, message, infer, folder, tmp_path):
    make_tone(folder / "song.wav")
    output = tmp_path / "out" if len(flags) == 2 else None
    status, (line,) = infer(folder, *flags, output=output)
    assert status == 2
    assert message in line


def test_what_a_killed_run_left_is_removed(infer, folder, tmp_path):
    (folder / "deep").mkdir()
    for path in (folder / "song.wav", folder / "deep" / "song.wav"):
        make_tone(path)
    left = [tmp_path / "out" / util.PARTIAL, tmp_path / "out" / "deep" / util.PARTIAL]
    for place in left:
        place.mkdir(parents=True)
        (place / "new.wav").touch()
    assert infer(folder, "--recursive") == (0, [])
    assert len(written(tmp_path / "out")) == 8
    assert not any(place.exists() for place in left)


def test_output_within_the_input_is_not_taken_for_mixtures(infer, folder):
    make_tone(folder / "song.wav")
    out = folder / "deep" / "stems"
    for flags in ([], ["--overwrite"]):
        assert infer(folder, "--recursive", *flags, output=out) == (0, [])
        assert len(written(folder)) == 5


@pytest.mark.parametrize("flags", [(), ("--recursive",)])
def test_a_run_into_the_input_folder_can_go_on(flags, infer, folder):
    make_tone(folder / "song.wav")
    assert infer(folder, *flags, output=folder) == (0, [])
    assert len(written(folder)) == 5

    def times():
        return {path: path.stat().st_mtime_ns for path in folder.iterdir()}

    before = times()
    for more in ([], ["--overwrite"]):
        status, (line,) = infer(folder, *flags, *more, output=folder)
        assert status == 2
        assert "song_vocals.wav lies among the mixtures, but is a stem" in line
        assert "--skip_existing" in line
    assert infer(folder, *flags, "--skip_existing", output=folder) == (0, [])
    assert times() == before
    make_tone(folder / "new.wav", 70)
    assert infer(folder, *flags, "--skip_existing", output=folder) == (0, [])
    assert [len(stem) for stem in stems_of(folder, "new")] == [70] * 4
    assert len(written(folder)) == 10
    assert before.items() <= times().items()


def test_a_run_for_fewer_stems_knows_all_of_an_earlier_one(infer, folder):
    make_tone(folder / "song.wav")
    assert infer(folder, output=folder) == (0, [])
    before = written(folder)
    make_tone(folder / "new.wav")
    flags = ["--stems=vocals", "--skip_existing"]
    assert infer(folder, *flags, output=folder) == (0, [])
    assert written(folder) == sorted([*before, "new.wav", "new_vocals.wav"])


def test_the_stems_of_another_task_are_no_mixtures(infer, session, folder):
    make_tone(folder / "song.wav")
    assert infer(folder, output=folder) == (0, [])
    before = written(folder)
    shutil.rmtree(session)
    write_session(session, *base_session("singing-voice"))
    status, (line,) = infer(folder, output=folder)
    assert status == 2
    assert "song_vocals.wav lies among the mixtures, but is a stem" in line
    assert infer(folder, "--skip_existing", output=folder) == (0, [])
    assert written(folder) == sorted([*before, "song_accompaniment.wav"])


def test_what_may_be_a_stem_is_not_taken_for_a_mixture(infer, folder):
    make_tone(folder / "song.wav")
    assert infer(folder, "--stems=vocals", output=folder) == (0, [])
    before = written(folder)
    flags = ["--stems=drums", "--skip_existing"]
    status, (line,) = infer(folder, *flags, output=folder)
    assert status == 2
    assert "song_vocals.wav lies among the mixtures, but has the name of a stem" in line
    assert written(folder) == before


def test_the_sessions_own_samples_are_not_taken_for_mixtures(
    infer, session, folder, tmp_path
):
    make_tone(folder / "song.wav")
    for number in (1, 2):
        assert infer(tmp_path, "--recursive", output=None) == (0, [])
        assert len(written(session / "samples" / f"samples_{number}")) == 4


def test_what_is_left_out_of_a_folder_is_said(
    infer, folder, tmp_path, caplog, monkeypatch
):
    # As without PyAV.
    monkeypatch.setattr(mixtures, "EXTENSIONS", frozenset({".wav"}))
    media = {".wma", ".m4a", ".mov", ".mkv", ".mp2"}
    monkeypatch.setattr(mixtures, "UNREADABLE", frozenset(media))
    make_tone(folder / "song.wav")
    for name in ("cover.jpg", ".z.wma", "list.m3u"):
        (folder / name).touch()
    report = tmp_path / "report.json"
    flags = ["--recursive", f"--report={report}"]
    assert infer(folder, *flags, output=tmp_path / "one") == (0, [])
    assert not [r for r in caplog.records if r.levelname == "WARNING"]
    assert json.loads(report.read_text())["left_out"] == []
    (folder / "deep").mkdir()
    for name in ("z.wma", "b.M4A", "deep/v.mov", "w.mkv", "r.mp2"):
        (folder / name).touch()
    (tmp_path / "album").mkdir()
    (folder / "link").symlink_to(tmp_path / "album")
    os.mkfifo(folder / "pipe.wav")
    assert infer(folder, *flags, output=tmp_path / "two") == (0, [])
    names = ("b.M4A", "deep/v.mov", "r.mp2", "w.mkv", "z.wma")
    reasons = dict.fromkeys(names, "a format that cannot be read")
    reasons |= {"link": "a link to a folder", "pipe.wav": "a pipe or a device"}
    expected = sorted((str(folder / name), why) for name, why in reasons.items())
    (line,) = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    text = ", ".join(f"{place} ({why})" for place, why in expected)
    assert line == f"left out: {text}"
    entries = json.loads(report.read_text())["left_out"]
    assert entries == [{"path": place, "reason": why} for place, why in expected]


def test_folders_of_any_depth_are_looked_into(tmp_path):
    """Deeper than Python's own recursion goes."""
    place = tmp_path / "/".join("d" * 1200)
    util.make_folder(place)
    (place / "song.wav").touch()
    (mixture,) = mixtures.find_mixtures(tmp_path, recursive=True).mixtures
    assert mixture.path == place / "song.wav"
    assert mixture.name == os.fspath(place.relative_to(tmp_path) / "song")
    # pytest itself would remove them by recursion
    subprocess.run(["rm", "-rf", str(tmp_path / "d")], check=True)


def test_many_files_do_not_delay_the_first(infer, folder, tmp_path, monkeypatch):
    """What costs time for each file: to open it, to look at it, to resolve its path."""
    make_tone(folder / "a.wav")
    for k in range(300):
        os.link(folder / "a.wav", folder / f"{k:03d}.wav")
    counts = {"open": 0, "stat": 0, "realpath": 0}

    class First(BaseException):
        pass

    def counting(name, real):
        def count(path, *arguments, **options):
            # What a test before this one left to the collector looks at files, too.
            counts[name] += str(path).startswith(str(folder))
            return real(path, *arguments, **options)

        return count

    def first(*_, **__):
        raise First

    monkeypatch.setattr(soundfile, "info", counting("open", soundfile.info))
    monkeypatch.setattr(os, "stat", counting("stat", os.stat))
    monkeypatch.setattr(os.path, "realpath", counting("realpath", os.path.realpath))
    monkeypatch.setattr(separate, "separate_file", first)
    with pytest.raises(First):
        infer(folder, f"--report={tmp_path / 'report.json'}")
    assert counts["open"] <= 1
    assert counts["realpath"] < 100
    assert counts["stat"] < 2 * 301


def test_the_last_lines_say_what_was_written(session, folder, tmp_path, capsys):
    def run(path, *flags):
        arguments = [f"--config={session / 'config.json'}", *flags]
        with without_network() as main:
            main(["--mode=inference", *arguments, f"--mixture_input_path={path}"])
        return capsys.readouterr().out.splitlines()

    (folder / "bad.wav").write_text("not audio")
    assert run(folder) == ["no stems were written", "0 of 1 files"]
    make_tone(folder / "song.wav", 16000)
    out = f"--output_path={tmp_path / 'out'}"
    where, counts = run(folder, out)
    assert where == f"stems in {tmp_path / 'out'}"
    speed = r"\d+\.\d x real time"
    assert re.fullmatch(f"1 of 2 files, 1.0 s of audio in .* s, {speed}", counts)
    (folder / "bad.wav").unlink()
    assert run(folder, out, "--skip_existing") == [
        "no stems were written",
        "0 of 1 files, 1 skipped",
    ]


def test_what_may_be_a_mixture_is_not_taken_for_a_stem(infer, folder):
    for name in ("song", "song_bass", "song_vocals"):
        make_tone(folder / f"{name}.wav")
    before = {path: path.read_bytes() for path in folder.iterdir()}
    status, (line,) = infer(folder, "--skip_existing", output=folder)
    assert status == 2
    assert "song_vocals.wav is a mixture and would be overwritten" in line
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


# Report and verification.


def test_the_report_says_what_became_of_each_file(infer, session, folder, tmp_path):
    make_tone(folder / "song.wav", 441, 44100, 2)
    soundfile.write(folder / "loud.wav", [4.5] * 10, 16000, "FLOAT")
    (folder / "bad.wav").write_text("not audio")
    path = tmp_path / "report.json"
    assert infer(folder, f"--report={path}")[0] == 1
    report = json.loads(path.read_text())
    assert report["complete"] is True
    assert parse_config(report["config"]) == parse_config(tiny_document())
    (checkpoint,) = (session / "checkpoints").iterdir()
    digest = hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    assert report["checkpoint"] == {"path": str(checkpoint), "sha256": digest}
    assert report["arguments"]["subtype"] == "PCM_16"
    assert report["versions"]["numpy"] == np.__version__
    bad, loud, song = report["files"]
    assert (bad["status"], bad["stems"]) == ("failed", {})
    assert "bad.wav: expected an audio file" in bad["message"]
    assert loud["stems"]["vocals"]["clipped"] == 10
    assert (song["status"], song["frames"], song["sample_rate"]) == (
        "separated",
        441,
        44100,
    )
    assert song["seconds"] > 0
    for stem, samples in zip(STEMS, stems_of(tmp_path / "out")):
        entry = song["stems"][stem]
        assert entry["path"] == str(tmp_path / "out" / f"song_{stem}.wav")
        assert entry["frames"] == 441
        expected = hashlib.sha256(samples.astype("<f4").tobytes()).hexdigest()
        assert entry["sha256"] == expected


def test_a_report_that_cannot_be_written_is_refused_first(infer, folder, tmp_path):
    make_tone(folder / "song.wav")
    for place in (folder / "song.wav" / "deep" / "r.json", folder):
        status, (line,) = infer(folder, f"--report={place}")
        assert status == 2
        assert f"cannot write {place}: " in line
        assert not (tmp_path / "out").exists()
    assert (
        f"expected {folder / 'song.wav'} to be a folder"
        in infer(folder, f"--report={folder / 'song.wav' / 'r.json'}")[1][0]
    )


def test_a_missing_folder_of_the_report_is_made(infer, folder, tmp_path):
    make_tone(folder / "song.wav")
    for place in (tmp_path / "out", tmp_path / "a" / "b"):
        flags = [f"--report={place / 'r.json'}", "--overwrite"]
        assert infer(folder, *flags) == (0, [])
        assert json.loads((place / "r.json").read_text())["complete"] is True


@pytest.mark.parametrize("name", ["in/song.wav", "session/config.json", "link.json"])
def test_a_report_in_the_place_of_an_input_is_refused(infer, folder, tmp_path, name):
    make_tone(folder / "song.wav")
    (tmp_path / "link.json").symlink_to(folder / "song.wav")
    before = (tmp_path / name).read_bytes()
    status, (line,) = infer(folder, f"--report={tmp_path / name}")
    assert status == 2
    assert "is an input and would be overwritten" in line
    assert (tmp_path / name).read_bytes() == before
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("flags", [[], ["--stems=vocals"]])
def test_a_report_in_the_place_of_a_stem_is_refused(infer, folder, tmp_path, flags):
    make_tone(folder / "song.wav")
    report = tmp_path / "out" / "song_drums.wav"
    status, (line,) = infer(folder, f"--report={report}", *flags)
    assert status == 2
    assert "song_drums.wav is a stem and would be overwritten" in line
    assert not (tmp_path / "out").exists()


def test_a_report_in_a_folder_of_stems_to_come_is_refused(
    infer, session, folder, tmp_path
):
    make_tone(folder / "song.wav")
    (tmp_path / "link").symlink_to(session / "samples")
    for place in (session / "samples", tmp_path / "link"):
        report = place / "samples_1" / "song_bass.wav"
        status, (line,) = infer(folder, f"--report={report}", output=None)
        assert status == 2
        assert f"expected a report outside the folders in {session / 'samples'}" in line
    assert not (session / "samples").exists()
    report = session / "samples" / "report.json"
    assert infer(folder, f"--report={report}", output=None) == (0, [])
    assert json.loads(report.read_text())["complete"] is True


def test_a_report_is_written_at_the_end_of_a_link(infer, folder, tmp_path):
    make_tone(folder / "song.wav")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "report.json").write_text("old")
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere" / "report.json")
    assert infer(folder, f"--report={tmp_path / 'link'}")[0] == 0
    assert (tmp_path / "link").is_symlink()
    report = json.loads((tmp_path / "elsewhere" / "report.json").read_text())
    assert [file["status"] for file in report["files"]] == ["separated"]


def test_a_report_in_the_place_of_a_pipe_or_folder_is_refused(infer, folder, tmp_path):
    make_tone(folder / "song.wav")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "pipe")
    for name in ("pipe", "link", "in"):
        status, (line,) = infer(folder, f"--report={tmp_path / name}")
        assert status == 2
        assert f"cannot write {tmp_path / name}: expected a file or nothing" in line
    assert (tmp_path / "pipe").is_fifo()
    assert not (tmp_path / "out").exists()


def test_pipes_are_not_opened(infer, folder, tmp_path):
    make_tone(folder / "song.wav")
    os.mkfifo(folder / "pipe.wav")
    (folder / "link.wav").symlink_to(folder / "pipe.wav")
    assert infer(folder) == (0, [])
    assert len(written(tmp_path / "out")) == 4
    status, (line,) = infer(folder / "pipe.wav")
    assert status == 2
    assert "expected an audio file or a folder" in line


def test_skip_existing_does_not_take_dangling_links_for_stems(infer, folder, tmp_path):
    make_tone(folder / "song.wav")
    out = tmp_path / "out"
    out.mkdir()
    for stem in STEMS:
        (out / f"song_{stem}.wav").symlink_to(tmp_path / "gone")
    assert infer(folder, "--skip_existing") == (0, [])
    assert [len(stem) for stem in stems_of(out)] == [100] * 4


def spoil_last_sample(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 0x40
    path.write_bytes(content)


# Configs.


def set_key(document, name, value):
    *sections, last = name.split(".")
    for section in sections:
        document = document[section]
    document[last] = value


CONFIGS = {
    "not JSON": ("{", "expected JSON"),
    "nested deeply": ("[" * 100000, "nested too deeply"),
    "no object": ("[]", "expected a JSON object"),
    "a wrong type": (("training.batch_size", "2"), "training.batch_size must be"),
    "a negative number": (("training.batch_size", -2), "training.batch_size must be"),
    "zero": (("model.num_stacks", 0), "model.num_stacks must be"),
    "a huge number": (("model.num_stacks", 10**400), "model.num_stacks must be"),
    "NaN": (("optimizer.lr", float("nan")), "optimizer.lr must be"),
    "an unknown key": (("training.batchsize", 2), "'training.batch_size'"),
    "a key of a million letters": (("training." + "x" * 10**6, 1), "unknown key"),
    "a path that is no text": (("training.path", "\ud800"), "training.path must be"),
    "derived keys that disagree": (("model.input_length", 5), "the other keys give"),
    "a million channels": (
        ("model.filters.depths.res", 10**6),
        "MiB of memory, but",
    ),
}


@pytest.mark.parametrize("what", CONFIGS)
def test_a_config_that_cannot_be_used_takes_one_line(
    what, infer, session, folder, tmp_path
):
    change, message = CONFIGS[what]
    make_tone(folder / "song.wav")
    document = tiny_document()
    if isinstance(change, tuple):
        set_key(document, *change)
        change = json.dumps(document)
    (session / "config.json").write_text(change)
    status, (line,) = infer(folder)
    assert status == 2
    assert message in line
    assert len(line) < 500
    assert not (tmp_path / "out").exists()


def test_a_config_of_100_mb_is_not_read(infer, session, folder):
    make_tone(folder / "song.wav")
    os.truncate(session / "config.json", 100 * 2**20)
    status, (line,) = infer(folder)
    assert status == 2
    assert "at most" in line


def test_a_missing_key_is_named(infer, session, folder):
    make_tone(folder / "song.wav")
    document = tiny_document()
    del document["model"]["dilations"]
    (session / "config.json").write_text(json.dumps(document))
    status, (line,) = infer(folder)
    assert (status, "key model.dilations is missing" in line) == (2, True)


@pytest.mark.parametrize(
    ("name", "value"),
    [("model.target_field_length", 20), ("model.dilations", 2)],
)
def test_an_even_field_and_dilations_as_a_number_work(
    name, value, infer, session, folder
):
    make_tone(folder / "song.wav", 300)
    document = tiny_document()
    set_key(document, name, value)
    (session / "config.json").write_text(json.dumps(document))
    assert infer(folder, "--original_framing") == (0, [])


@pytest.mark.parametrize("mode", ["training", "evaluation"])
def test_a_million_channels_are_refused_in_every_mode(mode, session, tmp_path, capsys):
    document = tiny_document(training={"path": str(tmp_path / "new")})
    set_key(document, "model.filters.depths.res", 10**6)
    (session / "config.json").write_text(json.dumps(document))
    status = program.main([f"--mode={mode}", f"--config={session / 'config.json'}"])
    assert status == 2
    said = capsys.readouterr().err
    assert "MiB of memory, but" in said
    assert "Traceback" not in said
    assert not (tmp_path / "new").exists()


@hypothesis.given(
    strategies.recursive(
        strategies.none()
        | strategies.booleans()
        | strategies.integers()
        | strategies.floats()
        | strategies.text(),
        lambda inner: (
            strategies.lists(inner) | strategies.dictionaries(strategies.text(), inner)
        ),
        max_leaves=8,
    ),
    strategies.integers(0, 10**6),
)
def test_any_value_anywhere_in_a_config_is_taken_or_refused(value, place):
    document = tiny_document()
    leaves = [(section, name) for section, keys in document.items() for name in keys]
    section, name = leaves[place % len(leaves)]
    document[section][name] = value
    try:
        config = parse_config(document)
    except UserError as error:
        said = str(error)
    else:
        said = ""
        assert config.num_params > 0
        assert Framing.seamless(config, 5).input_length > 5
    assert "\n" not in said
    assert len(said) < 500


# Checkpoints.


def read_spoiled(session, spoil):
    (path,) = (session / "checkpoints").iterdir()
    with h5py.File(path, "r+") as file:
        spoil(file)
    return checkpoints.read_checkpoint(path, tiny_config())


def many_circles(file):
    layer = file["model_weights/initial_causal_conv"]
    for k in range(30):
        layer[f"circle {k}"] = layer


def circles_in_many_layers(file):
    for number in range(8):  # each of them with fewer than all together may have
        layer = file.create_group(f"model_weights/extra_{number}")
        layer["array"] = np.zeros(1, "f4")
        for k in range(5):  # 4686 names
            layer[f"circle {k}"] = layer


def circles_in_the_state(file):
    slots = file["training_state/momentum"]
    for k in range(30):
        slots[f"circle {k}"] = slots


def test_slots_that_nothing_uses_are_not_read(session):
    def add(file):
        file["training_state/other/x"] = np.full(3, "no number", "S9")
        file["training_state/more"] = h5py.Empty("f4")

    slots = read_spoiled(session, add).slots
    assert {name.split("/")[0] for name in slots} == {"momentum"}


def test_a_network_of_many_layers_is_no_circle(tmp_path, rng):
    config = tiny_config().replace(num_stacks=500, dilations=[1, 1])
    weights = random_weights(config, rng)
    slots = {
        f"{slot}/{name}": array
        for slot in checkpoints.SLOTS
        for name, array in weights.items()
    }
    checkpoints.write_checkpoint(tmp_path / "a.hdf5", weights, slots=slots)
    checkpoint = checkpoints.read_checkpoint(tmp_path / "a.hdf5", config)
    assert len(checkpoint.weights) == 2 * 1000 + 5
    assert len(checkpoint.slots) == 2 * len(weights)


def test_a_network_of_any_depth_is_described(tmp_path, rng):
    config = tiny_config().replace(num_stacks=1000, dilations=[1, 1, 1])
    weights = random_weights(config, rng)
    checkpoints.write_checkpoint(tmp_path / "a.hdf5", weights)
    lines = describe(tmp_path / "a.hdf5").splitlines()
    assert sum(line.startswith("  ") for line in lines) == 2 * 3000 + 5


def replace(file, array):
    name = "model_weights/conv1d_1/conv1d_1/kernel"
    del file[name]
    file[name] = array


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (many_circles, "expected one kernel in the layer initial_causal_conv, got "),
        (circles_in_many_layers, "expected one array in the layer extra_0, got "),
        (circles_in_the_state, r"expected at most \d+ groups and arrays"),
        (lambda file: replace(file, np.full((1, 4, 9), 1e300)), "finite numbers"),
        (
            lambda file: file.create_dataset(
                "model_weights/x/" + "y/" * 20 + "z", (2,), "f4"
            ),
            "",
        ),
        (
            lambda file: file["model_weights"].create_group(b"\xff"),
            "can't decode",
        ),
        (
            lambda file: file["model_weights/conv1d_1"].attrs.create("backend", [1, 2]),
            "",
        ),
        (
            lambda file: file.attrs.create("backend", np.arange(5)),
            "",
        ),
    ],
)  # fmt: skip
def test_odd_files_are_read_or_refused_in_one_line(spoil, message, session):
    if message:
        with pytest.raises(UserError, match=message) as caught:
            read_spoiled(session, spoil)
        assert "\n" not in str(caught.value)
    else:
        weights = read_spoiled(session, spoil).weights
        assert set(weights) == set(tiny_config().weight_shapes)


def test_names_that_climb_out_of_the_folder_lead_nowhere(session, tmp_path):
    def climb(file):
        group = file["model_weights"]
        names = [b"../../escaped", b"/etc/passwd", b".."]
        group.attrs["layer_names"] = names
        group["conv1d_1"].attrs["weight_names"] = names

    before = sorted(tmp_path.rglob("*"))
    weights = read_spoiled(session, climb).weights
    assert set(weights) == set(tiny_config().weight_shapes)
    assert sorted(tmp_path.rglob("*")) == before


def test_an_array_of_terabytes_in_a_small_file_is_not_read(session):
    def spoil(file):
        name = "model_weights/conv1d_1/conv1d_1/kernel"
        del file[name]
        file.create_dataset(name, (1, 10**6, 10**6), "float32", chunks=(1, 100, 100))

    with pytest.raises(UserError, match=r"got shape \(1, 1000000, 1000000\)"):
        read_spoiled(session, spoil)


@pytest.mark.parametrize(
    "state",
    [
        {"epoch": "three"},
        {"epoch": 1, "step": 0.5},
        {"epoch": 1, "sums": "no JSON"},
        {"epoch": 1, "sums": "[1]"},
        {"epoch": 1, "step": 2, "sums": '{"loss": "x"}'},
        {"epoch": 1, "step": 2, "sums": "{}"},
        {"epoch": 1, "sums": "[" * 50_000},
        {"epoch": 1, "row": '{"val_loss": "x"}'},
        {"epoch": 1, "row": '{"a": 1}'},
        {"epoch": -3},
        {"epoch": 1, "step": -5},
        {"epoch": 10**12},
        {"epoch": 1, "iterations": 2**62},
        {"epoch": 1},
    ],
)
@pytest.mark.keras3
def test_a_spoiled_training_state_is_refused(state, session, tmp_path):
    from sswavenet.training.loop import Trainer

    config = tiny_config()
    (path,) = (session / "checkpoints").iterdir()
    checkpoint = checkpoints.read_checkpoint(path, config)
    if state != {"epoch": 1}:  # which has slots without their counter
        state = {"iterations": 3, **state}
    path = tmp_path / "checkpoint.00001-0.1.hdf5"
    checkpoints.write_checkpoint(
        path, checkpoint.weights, state=state, slots=checkpoint.slots
    )
    trainer = Trainer(config, None, tmp_path)
    with pytest.raises(UserError, match="expected the state of a training"):
        trainer.restore(path, weights_only=False)


# Environment.


def start(session, folder, tmp_path, **environment):
    return subprocess.run(
        [
            sys.executable,
            "main.py",
            "--mode=inference",
            f"--config={session / 'config.json'}",
            f"--mixture_input_path={folder}",
            f"--output_path={tmp_path / 'out'}",
        ],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.keras3
def test_a_missing_gpu_is_said_in_one_line(session, folder, tmp_path):
    make_tone(folder / "song.wav")
    done = start(session, folder, tmp_path, JAX_PLATFORMS="cuda")
    if done.returncode == 0:
        pytest.skip("there is a GPU")
    assert done.returncode == 2
    assert "error: expected a device for JAX (JAX_PLATFORMS='cuda')" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ModuleNotFoundError("", name="h5py"), "make .venv, then run .venv/bin/python"),
        (ModuleNotFoundError("", name="openvino"), "requirements-openvino.txt"),
        (MemoryError(), "out of memory"),
        (RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9"), "out of mem"),
        (OSError(28, "No space left on device", "a.hdf5"), "a.hdf5: No space left"),
        (PermissionError(13, "Permission denied", "b"), "b: Permission denied"),
    ],
)
def test_what_the_machine_lacks_takes_one_line(
    error, message, infer, folder, monkeypatch
):
    def fail(*_, **__):
        raise error

    make_tone(folder / "song.wav")
    monkeypatch.setattr(checkpoints, "read_checkpoint", fail)
    status, (line,) = infer(folder)
    assert status == 2
    assert message in line


def test_a_fault_of_the_program_is_not_hidden(infer, folder, monkeypatch):
    def fail(*_, **__):
        raise ZeroDivisionError

    make_tone(folder / "song.wav")
    monkeypatch.setattr(checkpoints, "read_checkpoint", fail)
    with pytest.raises(ZeroDivisionError):
        infer(folder)


def test_a_missing_package_for_tensorboard_is_named_before_training(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install tensorboardX"):
        session_log.check_packages(tiny_config(training={"tensorboard": True}))
    session_log.check_packages(tiny_config())


# Out of memory.


def hungry(limit, shapes_seen):
    """The fake network, which has no memory for more than `limit` samples a batch."""

    def make(config):
        engine = fake_engine(config)

        def build_predict(**shape):
            predict = engine._build_predict(**shape)

            def wrapped(fragments):
                shapes_seen.append((len(fragments), shape["target_field_length"]))
                if fragments.size > limit:
                    raise RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9")
                return predict(fragments)

            return wrapped

        return Engine(config, build_predict)

    return make


def test_out_of_memory_halves_the_batch_then_the_field(
    session, folder, tmp_path, monkeypatch, caplog
):
    for name in ("a", "song"):
        make_tone(folder / f"{name}.wav", 900)
    config = tiny_config()
    outputs = []
    for limit in (10**9, 190):
        seen, caplog_before = [], len(caplog.records)
        engine = hungry(limit, seen)(config)
        found = mixtures.find_mixtures(folder).mixtures
        out = tmp_path / f"out {limit}"
        summary = separate.separate_all(
            found,
            engine,
            Options(output_path=out, target_field_length=160, batch_size=4),
            session,
        )
        assert summary.num_separated == 2
        outputs.append([path.read_bytes() for path in sorted(out.iterdir())])
    shrunk = list(dict.fromkeys(seen))
    assert shrunk == [(4, 160), (2, 160), (1, 160), (1, 80)]
    assert seen.count((4, 160)) == 1  # the second file starts where the first ended
    assert outputs[0] == outputs[1]
    said = [r for r in caplog.records[caplog_before:] if "out of memory" in r.message]
    assert len(said) == 1


def test_out_of_memory_with_nothing_left_to_halve_fails_the_file(
    infer, folder, monkeypatch
):
    make_tone(folder / "song.wav", 900)
    seen = []
    monkeypatch.setattr("tests.support.fake_engine", hungry(1, seen))
    status, (line,) = infer(folder, "--original_framing", "--batch_size=2")
    assert status == 1
    assert "Out of memory" in line
    assert list(dict.fromkeys(seen)) == [
        (2, 21),
        (1, 21),
    ]  # the field shapes the result


LIMITED = """
import os, resource, sys
from sswavenet.backend import compat
compat.is_jax_on_cpu = lambda: False  # fragments in one pass, as on a GPU
import jax, main, models
from sswavenet.separation import streaming
jax.block_until_ready(jax.numpy.ones(1) + 1)  # so that the backend has its own memory
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
limit = used + int(sys.argv.pop(1)) * 2**20
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
sys.exit(main.main(sys.argv[1:]))
"""


@pytest.mark.keras3
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits of Linux")
def test_a_process_with_little_memory_gets_the_same_stems(folder, tmp_path):
    """JAX itself fails to allocate: the head of this network is wide."""
    document = tiny_document()
    document["model"]["filters"]["depths"]["final"] = [512, 6]
    session = tmp_path / "session"
    weights = random_weights(parse_config(document), np.random.default_rng(1))
    path = session / "checkpoints" / "checkpoint.00001-0.1.hdf5"
    checkpoints.write_checkpoint(path, weights)
    (session / "config.json").write_text(json.dumps(document))
    make_tone(folder / "song.wav", 100000)
    said = []
    for mib in (100000, 150):
        done = subprocess.run(
            [
                sys.executable,
                "-c",
                LIMITED,
                str(mib),
                "--mode=inference",
                f"--config={session / 'config.json'}",
                f"--mixture_input_path={folder}",
                f"--output_path={tmp_path / str(mib)}",
                "--target_field_length=50000",
                "--batch_size=2",
            ],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        said.append(done.stderr)
    assert "out of memory" not in said[0]
    assert said[1].count("warning: out of memory") == 1
    fields = [int(n) for n in re.findall(r"target field (\d+) samples,", said[1])]
    assert fields[:3] == [50000, 50000, 25000]  # the batch was halved before the field
    free, limited = (stems_of(tmp_path / str(mib)) for mib in (100000, 150))
    for one, other in zip(free, limited):
        assert np.ptp(one) > 0.01
        assert np.abs(one - other).max() <= 2**-15


# Signals.


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize(
    ("place", "name"),
    [
        (checkpoints, "read_checkpoint"),
        (sound.MonoReader, "__enter__"),
        (sound_writer.AudioWriter, "write"),
        (sound_writer.AudioWriter, "__exit__"),
        (os, "link"),
    ],
)
def test_a_signal_leaves_only_whole_files(
    number, place, name, infer, folder, tmp_path, monkeypatch
):
    for file in ("a", "song"):
        make_tone(folder / f"{file}.wav")
    real, calls = getattr(place, name), []

    def interrupted(*arguments, **keywords):
        calls.append(name)
        if len(calls) == (1 if place is checkpoints else 2):
            os.kill(os.getpid(), number)
        return real(*arguments, **keywords)

    report = tmp_path / "report.json"
    with monkeypatch.context() as patched:
        patched.setattr(place, name, interrupted)
        status, errors = infer(folder, f"--report={report}")
    assert status == 128 + number
    assert errors == [f"error: {'interrupted' if number == 2 else 'terminated'}"]
    out = tmp_path / "out"
    for path in out.rglob("*"):
        assert not path.name.startswith(util.PARTIAL)
        assert len(soundfile.read(str(path))[0]) == 100
    if report.exists():
        assert json.loads(report.read_text())["complete"] is False
    assert infer(folder, "--skip_existing") == (0, [])
    assert len(written(out)) == 8
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


@pytest.mark.skipif(not hasattr(os, "fork"), reason="children are forked")
@pytest.mark.parametrize(("form", "kills"), [("wav", 4), ("flac", 2), ("m4a", 2)])
def test_separations_survive_kills(form, kills):
    if form == "m4a":
        pytest.importorskip("av")
    command = [
        sys.executable,
        "tests/stress/kills.py",
        "--trainings",
        "0",
        "--format",
        form,
    ]
    done = subprocess.run(
        [*command, "--separations", str(kills)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"kills {kills}, " in done.stdout


@pytest.mark.keras3
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts Linux's way")
def test_a_run_of_many_files_leaks_nothing(tmp_path):
    done = subprocess.run(
        [sys.executable, "tests/stress/soak.py", "--files", "80"],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "80 files, exit status 0" in done.stdout


# Fuzzing and properties.


@pytest.mark.parametrize("number", range(90))
def test_a_share_of_the_fuzzed_cases(number, tmp_path):
    with without_network() as run:
        kind, status, problem = run_case(6, number, tmp_path, run)
    assert problem is None, f"{kind}, status {status}: {problem}"


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
        patch.setattr(sound, "BLOCK_FRAMES", chunk)
        summary = separate.separate_all(
            mixtures.find_mixtures(place / "song.wav").mixtures,
            fake_engine(config),
            Options(
                output_path=place / "out",
                encoding=Encoding(subtype=subtype),
                native=kind == "native",
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
            with sound.AudioReader(place / "song.wav") as reader:
                mixture = np.concatenate(list(reader.blocks()))
            if kind != "native":
                mixture = sound.read_mono(place / "song.wav", sample_rate=16000)
            heard = mixture[lost // 2 :][: length - lost].reshape(stems[0].shape)
            step = 2**-22 if subtype == "FLOAT" else 2**-15
            np.testing.assert_allclose(sum(stems), heard, rtol=0, atol=step)


@pytest.mark.parametrize("form", ["WAV", "WAVEX", "RF64", "W64", "AIFF", "AU"])
@hypothesis.given(frames=strategies.integers(1, 99), channels=strategies.integers(1, 3))
def test_a_header_promises_what_is_there(form, frames, channels):
    with tempfile.TemporaryDirectory() as name:
        path = pathlib.Path(name, "a.wav")
        make_tone(path, frames, 16000, channels, format=form, subtype="PCM_24")
        size = path.stat().st_size
        assert len(sound.read_mono(path, sample_rate=16000)) == frames
        unit = {"W64": 8, "AU": 1}.get(form, 2)
        padding = -3 * frames * channels % unit
        # The size in a Wave64 may count the padding, too.
        os.truncate(
            path, size - 3 - padding - (7 + 3 * channels if form == "W64" else 0)
        )
        with pytest.raises(UserError, match=r"cut short: |expected (an )?audio"):
            sound.read_mono(path, sample_rate=16000)
