"""The stems of a file: their samples, their length, all of them or none."""

import contextlib
import fcntl
import logging
import os
import pty
import resource
import struct
import termios

import numpy as np
import pytest
import soundfile

from sswavenet.backend import memory
from sswavenet.sound.formats import Encoding
from sswavenet.sound.writer import AudioWriter
from tests.separation.conftest import halving, names, run, stems_of
from tests.support import TASK_NAMES, tiny_config
from util import UserError


@pytest.mark.parametrize("task_name", TASK_NAMES)
@pytest.mark.parametrize(
    ("subtype", "step"), [("PCM_16", 2**-15), ("PCM_24", 2**-23), ("FLOAT", 2**-23)]
)
def test_written_stems_sum_to_the_mixture(
    task_name, subtype, step, folder, tmp_path, rng
):
    config = tiny_config(task_name)
    audio = rng.uniform(-0.9, 0.9, 999).astype(np.float32)
    soundfile.write(folder / "a.wav", audio, 16000, "FLOAT")
    run(
        folder,
        config,
        tmp_path,
        halving(config, (0.3, 0.11, 0.7)),
        encoding=Encoding(subtype=subtype),
    )
    stems = stems_of(tmp_path, "a", config)
    assert len(stems) == len(config.task.estimates) + 1
    total = sum(stem.astype(np.float64) for stem in stems.values())
    # Only the remainder is rounded: the estimates' rounding is part of it.
    assert np.abs(total - audio).max() <= step
    assert soundfile.info(tmp_path / "out" / "a_vocals.wav").subtype == subtype


def test_the_remainder_makes_up_for_clipped_estimates(folder, tmp_path, config, caplog):
    audio = np.array([0.9, -0.9, 0.1, 0.0], np.float32)
    soundfile.write(folder / "loud.wav", audio, 16000, "FLOAT")
    run(folder, config, tmp_path, halving(config, (1.5, 0, 0)))
    stems = stems_of(tmp_path, "loud", config)
    assert stems["vocals"][:2].tolist() == [32767 / 32768, -1]
    assert np.abs(sum(stems.values()) - audio).max() <= 2**-15
    warnings = [
        record.getMessage()
        for record in caplog.records
        if record.levelno == logging.WARNING
    ]
    assert warnings == [f"{folder / 'loud.wav'}: 2 samples of vocals clipped"]


def test_floats_are_not_clipped(folder, tmp_path, config, caplog):
    soundfile.write(folder / "loud.wav", np.array([3.0, -2.0]), 16000, "FLOAT")
    run(folder, config, tmp_path, encoding=Encoding(subtype="FLOAT"))
    assert stems_of(tmp_path, "loud", config)["vocals"].tolist() == [1.5, -1]
    assert "clipped" not in caplog.text


@pytest.mark.parametrize("count", [1, 2])
def test_bars_in_seconds_of_audio_on_a_terminal(
    count, folder, tmp_path, config, monkeypatch
):
    for name in ("song.wav", "b.wav")[:count]:
        soundfile.write(folder / name, np.ones(24000) / 2, 16000)
    screen, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("4H", 40, 100, 0, 0))
    with os.fdopen(terminal, "w") as stderr:
        monkeypatch.setattr("sys.stderr", stderr)
        run(folder, config, tmp_path)
    shown = b""
    with contextlib.suppress(OSError):  # so Linux ends it when the terminal is closed
        while part := os.read(screen, 10000):
            shown += part
    os.close(screen)
    shown = shown.decode()
    assert "song.wav:   0%" in shown
    assert "0.0/1.5 s of audio" in shown
    if count == 1:
        assert "song.wav: 100%" in shown
        assert "1.5/1.5 s of audio" in shown
    assert ("all files: 100%" in shown) == (count == 2)


def test_silence_stays_silent(folder, tmp_path, config):
    soundfile.write(folder / "a.wav", np.zeros(100), 16000)
    run(folder, config, tmp_path)
    assert not any(stem.any() for stem in stems_of(tmp_path, "a", config).values())


def test_only_the_stems_asked_for_are_written(folder, tmp_path, config):
    soundfile.write(folder / "a.wav", np.ones(100) / 2, 16000)
    run(folder, config, tmp_path, stems=("drums", "other"))
    assert names(tmp_path / "out") == ["a_drums.wav", "a_other.wav"]
    other, _ = soundfile.read(tmp_path / "out" / "a_other.wav")
    assert other.tolist() == [0.125] * 100  # what all three estimates leave


def test_an_unknown_stem_is_refused(folder, tmp_path, config):
    soundfile.write(folder / "a.wav", np.ones(100), 16000)
    with pytest.raises(UserError, match=r"vocals,drums,bass,other.*got piano"):
        run(folder, config, tmp_path, stems=("drums", "piano"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("rate", [8000, 44100, 192000])
def test_stems_have_the_models_rate_where_asked_for(rate, folder, tmp_path, config):
    soundfile.write(folder / "a.wav", np.zeros((rate // 10 + 1, 3)), rate)
    run(folder, config, tmp_path, stem_format="model")
    file = soundfile.info(tmp_path / "out" / "a_bass.wav")
    assert (file.samplerate, file.channels) == (16000, 1)
    assert file.frames == -(-(rate // 10 + 1) * 16000 // rate)


BAD_FILES = {
    "text.wav": lambda path: path.write_text("not audio"),
    "zero.wav": lambda path: path.write_bytes(b""),
    "none.wav": lambda path: soundfile.write(path, np.zeros(0), 16000),
    "nan.wav": lambda path: soundfile.write(path, [0.1, np.nan], 16000, "FLOAT"),
    "inf.wav": lambda path: soundfile.write(path, [0.1, np.inf], 16000, "FLOAT"),
    "gone.wav": lambda path: path.symlink_to("nowhere"),
    "loop.wav": lambda path: path.symlink_to("loop.wav"),
    "line\nbreak.wav": lambda path: path.write_text("not audio"),
    "x" * 245 + ".wav": lambda path: soundfile.write(path, [0.1], 16000),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_bad_file_fails_in_one_line_and_the_others_are_done(
    name, folder, tmp_path, config, caplog
):
    for good in ("a.wav", "z.wav"):
        soundfile.write(folder / good, np.ones(100) / 2, 16000)
    BAD_FILES[name](folder / name)
    summary = run(folder, config, tmp_path)
    assert (summary.num_files, summary.num_separated) == (3, 2)
    assert summary.audio_seconds == 200 / 16000
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert len(errors) == 1
    line = errors[0].getMessage()
    assert "\n" not in line
    assert line.count(name.replace("\n", " ")) == 1
    stems = [f"{good}_{stem}.wav" for good in "az" for stem in config.task.stems]
    assert names(tmp_path / "out") == sorted(stems)


def test_output_that_is_not_finite_fails(folder, tmp_path, config, caplog):
    soundfile.write(folder / "a.wav", np.ones(100) / 2, 16000)
    summary = run(folder, config, tmp_path, halving(config, (0.5, np.nan, 0)))
    assert summary.num_separated == 0
    assert "a.wav: the network's output has NaN or infinity" in caplog.text
    assert names(tmp_path / "out") == []


@pytest.mark.parametrize("error", [RuntimeError("it\nbroke"), UserError("it broke")])
def test_a_failing_pass_ends_its_file_only(error, folder, tmp_path, config, caplog):
    for name in ("a.wav", "b.wav"):
        soundfile.write(folder / name, np.ones(100) / 2, 16000)
    build, calls = halving(config), []

    def failing_once(**shape):
        predict = build(**shape)

        def wrapped(fragments):
            calls.append(1)
            if len(calls) == 1:
                raise error
            return predict(fragments)

        return wrapped

    summary = run(folder, config, tmp_path, failing_once)
    assert summary.num_separated == 1
    assert f"{folder / 'a.wav'}: it broke" in caplog.messages


def test_an_interrupt_leaves_no_part_of_a_file(folder, tmp_path, config, monkeypatch):
    soundfile.write(folder / "a.wav", np.ones(100) / 2, 16000)
    write, written = AudioWriter.write, []

    def interrupted(self, audio):
        write(self, audio)
        written.append(self)
        if len(written) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(AudioWriter, "write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(folder, config, tmp_path)
    assert names(tmp_path / "out") == []


def test_a_full_disk_leaves_no_part_of_a_file(folder, tmp_path, config, caplog):
    soundfile.write(folder / "a.wav", np.ones(1000) / 2, 16000)
    soundfile.write(folder / "b.wav", np.ones(100) / 2, 16000)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1500, hard))
    try:
        summary = run(folder, config, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert summary.num_separated == 1
    assert f"{folder / 'a.wav'}: File too large" in caplog.text
    assert names(tmp_path / "out") == sorted(
        f"b_{stem}.wav" for stem in config.task.stems
    )


def test_a_folder_in_the_way_of_one_stem_keeps_all_from_being_written(
    folder, tmp_path, config, caplog
):
    soundfile.write(folder / "a.wav", np.ones(100) / 2, 16000)
    (tmp_path / "out" / "a_vocals.wav").mkdir(parents=True)
    summary = run(folder, config, tmp_path, overwrite=True)
    assert summary.num_separated == 0
    assert names(tmp_path / "out") == []
    assert "a.wav: cannot write" in caplog.text


def test_one_shot_is_one_pass_for_each_file(folder, tmp_path, config):
    for length in (70, 300):
        soundfile.write(folder / f"{length}.wav", np.ones(length) / 2, 16000)
    build = halving(config)
    summary = run(folder, config, tmp_path, build, one_shot=True)
    assert summary.num_separated == 2
    margin, context = config.head_margin, config.context_length
    assert sorted(build.shapes) == [
        (70, margin, 70 + 2 * context),
        (300, margin, 300 + 2 * context),
    ]


def test_one_shot_refuses_a_file_that_does_not_fit(
    folder, tmp_path, config, caplog, monkeypatch
):
    soundfile.write(folder / "long.wav", np.zeros(30000), 16000)
    soundfile.write(folder / "short.wav", np.zeros(300), 16000)
    monkeypatch.setattr(memory, "available_memory", lambda: 2**22)
    summary = run(folder, config, tmp_path, one_shot=True)
    assert (summary.num_files, summary.num_separated) == (2, 1)
    assert "long.wav: a target field of 30000" in caplog.text
    assert "but 4 MiB are available" in caplog.text


def test_the_network_is_built_once_for_all_files(folder, tmp_path, config):
    for length in (70, 3000, 16100):
        soundfile.write(folder / f"{length}.wav", np.ones(length) / 2, 16000)
    build = halving(config)
    run(folder, config, tmp_path, build)
    assert len(build.shapes) == 1


def test_original_framing_takes_the_configs_shape(folder, tmp_path, config, caplog):
    caplog.set_level(logging.INFO)
    soundfile.write(folder / "a.wav", np.ones(500) / 2, 16000)
    build = halving(config)
    run(folder, config, tmp_path, build, original_framing=True)
    assert build.shapes == [(21, 1, config.receptive_field_length + 20)]
    assert "target field 21 samples, batch size 2" in caplog.text
    file = soundfile.info(tmp_path / "out" / "a_other.wav")
    assert file.frames == 500 - (config.receptive_field_length - 1)


@pytest.mark.parametrize("one_shot", [False, True])
def test_original_framing_refuses_what_is_shorter_than_the_receptive_field(
    one_shot, folder, tmp_path, config, caplog
):
    field = config.receptive_field_length
    for length in (field - 1, field):
        soundfile.write(folder / f"{length}.wav", np.ones(length) / 2, 16000)
    summary = run(folder, config, tmp_path, original_framing=True, one_shot=one_shot)
    assert summary.num_separated == 1
    assert f"{field - 1}.wav: expected at least {field} samples" in caplog.text
    assert soundfile.info(tmp_path / "out" / f"{field}_bass.wav").frames == 1
