"""Separation: the numbers of 2018, seamless output, and files all or nothing."""

import contextlib
import fcntl
import logging
import os
import pathlib
import pty
import resource
import stat
import struct
import termios

import h5py
import numpy as np
import pytest
import soundfile

import models
from sswavenet import checkpoints
from sswavenet.backend import memory
from sswavenet.separation import inputs as mixtures
from sswavenet.separation import outputs
from sswavenet.separation.engine import Engine
from sswavenet.separation.folder import separate_all
from sswavenet.separation.framing import Framing, Network, estimate_stems
from sswavenet.separation.options import Options
from sswavenet.sound import writer as sound_writer
from sswavenet.sound.formats import Encoding
from tests.support import (
    GOLDEN,
    TASK_NAMES,
    golden_checkpoint,
    golden_config,
    random_weights,
    tiny_config,
)
from util import UserError


def golden_weights(task_name):
    path = golden_checkpoint(task_name)
    return checkpoints.read_checkpoint(path, golden_config(task_name)).weights


def run_network(config, weights, shape, mixture, batch_size, **variant):
    """Estimates of a mixture by the real network."""
    predict = models.build_predict(
        config,
        weights,
        target_field_length=shape.target_field_length,
        target_padding=shape.target_padding,
        input_length=shape.input_length,
        **variant,
    )
    return estimate_stems(
        mixture,
        Network(shape, batch_size, predict),
        num_estimates=len(config.task.estimates),
    )


# The network and the framing together.


@pytest.mark.slow
@pytest.mark.parametrize(("field", "batch_size"), [(401, 4), (1001, 3)])
@pytest.mark.parametrize("task_name", TASK_NAMES)
def test_original_framing_gives_the_stems_of_2018(
    task_name, field, batch_size, tmp_path
):
    config = golden_config(task_name)
    weights = golden_weights(task_name)
    golden = np.load(GOLDEN / task_name / "separation.npz")
    expected = {
        name.replace(f"_T{field}_B{batch_size}", ""): golden[name]
        for name in golden
        if f"_T{field}_B{batch_size}_" in name
    }
    assert len(expected) in (len(config.task.stems), 2 * len(config.task.stems))
    summary = separate_all(
        mixtures.find_mixtures(GOLDEN / "mixtures").mixtures,
        Engine(config, lambda **shape: models.build_predict(config, weights, **shape)),
        Options(
            output_path=tmp_path,
            encoding=Encoding(subtype="FLOAT"),
            original_framing=True,
            target_field_length=field,
            batch_size=batch_size,
        ),
        tmp_path,
    )
    assert summary.num_separated == 2
    for name, stem in expected.items():
        written, rate = soundfile.read(tmp_path / f"{name}.wav", dtype="float32")
        assert rate == 16000
        assert written.shape == stem.shape
        np.testing.assert_allclose(written, stem, rtol=0, atol=1e-5)


@pytest.fixture(scope="module")
def one_pass():
    """A mixture of ten fields and a bit, and its estimates by one forward pass."""
    config = golden_config("multi-instrument")
    rng = np.random.default_rng(5)
    mixture = rng.uniform(-0.5, 0.5, 4011).astype(np.float32)
    shape = Framing.seamless(config, len(mixture))
    weights = golden_weights("multi-instrument")
    return config, weights, mixture, run_network(config, weights, shape, mixture, 1)


@pytest.mark.parametrize(
    ("field", "batch_size"), [(1, 3), (401, 1), (401, 3), (1001, 1), (1001, 3)]
)
def test_seamless_depends_neither_on_field_nor_on_batch(one_pass, field, batch_size):
    config, weights, mixture, expected = one_pass
    if field == 1:  # a fragment for each sample: a short piece shows the same
        mixture, expected = mixture[:300], expected[:, :150]
    shape = Framing.seamless(config, field)
    estimates = run_network(config, weights, shape, mixture, batch_size)
    np.testing.assert_allclose(
        estimates[:, : expected.shape[1]], expected, rtol=0, atol=1e-5
    )


def test_seamless_equals_the_unmerged_graph(one_pass):
    config, weights, mixture, expected = one_pass
    shape = Framing.seamless(config, 1001)
    estimates = run_network(config, weights, shape, mixture, 2, merged_head=False)
    np.testing.assert_allclose(estimates, expected, rtol=0, atol=1e-5)


def test_seamless_equals_the_original_framing_away_from_its_seams(one_pass):
    config, weights, mixture, expected = one_pass
    field = 401
    shape = Framing.original(config, field)
    estimates = run_network(config, weights, shape, mixture, 3)
    aligned = expected[:, shape.lost // 2 :][:, : estimates.shape[1]]
    # Fragments begin and end with zeros, where the mixture goes on: near a seam the
    # two differ, by less the deeper inside the field.
    difference = np.abs(estimates - aligned)[:, : field * 9].reshape(3, 9, field)
    assert difference[:, :, 50:-50].max() < 1e-5
    assert difference[:, :, [0, -1]].max() > 1e-4


@pytest.mark.parametrize("task_name", TASK_NAMES)
@pytest.mark.parametrize("subtype", ["PCM_16", "FLOAT"])
def test_stems_are_as_long_as_the_mixture_from_one_sample_on(
    task_name, subtype, tmp_path, rng
):
    config = tiny_config(task_name)
    field = config.receptive_field_length
    (tmp_path / "in").mkdir()
    lengths = [1, 2, field - 1, field, field + 1, 10 * 40 + 1]
    for length in lengths:
        audio = rng.uniform(-0.1, 0.1, length)
        soundfile.write(tmp_path / "in" / f"{length}.wav", audio, 16000)
    weights = random_weights(config, rng, 0.3)
    summary = separate_all(
        mixtures.find_mixtures(tmp_path / "in").mixtures,
        Engine(config, lambda **shape: models.build_predict(config, weights, **shape)),
        Options(
            output_path=tmp_path / "out",
            encoding=Encoding(subtype=subtype),
            target_field_length=40,
        ),
        tmp_path,
    )
    assert summary.num_separated == len(lengths)
    for length in lengths:
        for stem in config.task.stems:
            file = soundfile.info(tmp_path / "out" / f"{length}_{stem}.wav")
            assert (file.frames, file.samplerate, file.channels) == (length, 16000, 1)


def test_an_impulse_comes_out_where_it_went_in(rng):
    config = tiny_config()
    weights = random_weights(config, rng)
    shape = Framing.seamless(config, 50)
    reach = config.context_length
    silence = np.zeros(300, np.float32)
    base = run_network(config, weights, shape, silence, 2)
    answers = []
    for place in (100, 149, 150, 171):
        mixture = silence.copy()
        mixture[place] = 1
        change = run_network(config, weights, shape, mixture, 2) - base
        touched = np.flatnonzero(np.abs(change).max(axis=0) > 1e-9)
        assert place - reach <= touched[0] <= touched[-1] <= place + reach
        # The answer is no wider on one side than on the other by more than ReLUs do.
        assert touched[0] < place < touched[-1]
        answers.append(change[:, place - reach : place + reach + 1])
    for answer in answers[1:]:
        np.testing.assert_allclose(answer, answers[0], rtol=0, atol=1e-6)


def test_kernels_of_either_convention_give_the_same_stems(tmp_path, rng):
    config = golden_config("singing-voice")
    path = tmp_path / "rewritten.hdf5"
    path.write_bytes(golden_checkpoint("singing-voice").read_bytes())
    with h5py.File(path, "r+") as file:
        file.attrs["backend"] = np.bytes_("tensorflow")
        kernels = []
        file["model_weights"].visititems(
            lambda name, item: kernels.append(item) if "kernel" in name else None
        )
        for kernel in kernels:
            if isinstance(kernel, h5py.Dataset):
                kernel[...] = kernel[...][::-1]
        if "backend" in file["model_weights"].attrs:
            file["model_weights"].attrs["backend"] = np.bytes_("tensorflow")
    mixture = rng.uniform(-0.5, 0.5, 700).astype(np.float32)
    shape = Framing.seamless(config, 350)
    theano, tensorflow = (
        run_network(
            config, checkpoints.read_checkpoint(file, config).weights, shape, mixture, 1
        )
        for file in (golden_checkpoint("singing-voice"), path)
    )
    assert theano.tolist() == tensorflow.tolist()


# Files, with a network that halves and quarters the mixture.


def halving(config, gains=(0.5, 0.25, 0.0)):
    """A `build_predict` whose estimates are the mixture times `gains`."""
    shapes = []

    def build(*, target_field_length, target_padding, input_length):
        shapes.append((target_field_length, target_padding, input_length))
        count = target_field_length + 2 * target_padding
        start = (input_length - count) // 2

        def predict(fragments):
            fields = fragments[:, start : start + count]
            used = gains[: len(config.task.estimates)]
            return np.array([gain * fields for gain in used], np.float32)

        return predict

    build.shapes = shapes
    return build


@pytest.fixture
def config():
    return tiny_config()


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    return folder


def run(folder, config, tmp_path, build_predict=None, recursive=False, **settings):
    settings.setdefault("output_path", tmp_path / "out")
    return separate_all(
        mixtures.find_mixtures(folder, recursive=recursive).mixtures,
        Engine(config, build_predict or halving(config)),
        Options(**settings),
        tmp_path / "session",
    )


def names(folder: pathlib.Path) -> list:
    """All files below a folder, hidden ones too."""
    return sorted(
        str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()
    )


def stems_of(tmp_path, name, config):
    return {
        stem: soundfile.read(tmp_path / "out" / f"{name}_{stem}.wav", dtype="float32")[
            0
        ]
        for stem in config.task.stems
    }


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
    run(folder, config, tmp_path, native=False)
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
    write, written = sound_writer.AudioWriter.write, []

    def interrupted(self, audio):
        write(self, audio)
        written.append(self)
        if len(written) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(sound_writer.AudioWriter, "write", interrupted)
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


# Which files are read and where stems go.


def test_a_folder_is_read_in_order_without_its_folders_and_hidden_files(
    folder, tmp_path
):
    (folder / "sub").mkdir()
    for name in ("b.WAV", "a.flac", "sub/c.wav", ".hidden.wav", "notes.txt"):
        (folder / name).write_text("")
    found = mixtures.find_mixtures(folder).mixtures
    assert [mixture.path.name for mixture in found] == ["a.flac", "b.WAV"]


def test_recursive_keeps_the_folders(folder, tmp_path, config):
    (folder / "sub" / "deep").mkdir(parents=True)
    (folder / ".git").mkdir()
    for name in ("a.wav", "sub/a.wav", "sub/deep/b.flac", ".git/c.wav"):
        soundfile.write(folder / name, np.ones(10) / 2, 16000)
    (folder / "sub" / "loop").symlink_to(folder)
    summary = run(folder, config, tmp_path, recursive=True, stems=("bass",))
    assert summary.num_separated == 3
    assert names(tmp_path / "out") == [
        "a_bass.wav",
        "sub/a_bass.wav",
        "sub/deep/b_bass.wav",
    ]


@pytest.mark.parametrize(
    "name", ["song.wav", "a b 'c' \"d\".flac", "sønġ.x.wav", "-x.wav"]
)
def test_a_single_file_may_have_any_name(name, folder, tmp_path, config):
    soundfile.write(folder / name, np.ones(10) / 2, 16000)
    run(folder / name, config, tmp_path, stems=("bass",))
    assert names(tmp_path / "out") == [f"{pathlib.Path(name).stem}_bass.wav"]


def test_a_bare_file_name_works(folder, tmp_path, config, monkeypatch):
    monkeypatch.chdir(folder)
    soundfile.write("song.wav", np.ones(10) / 2, 16000)
    run("song.wav", config, tmp_path, stems=("bass",))
    assert names(tmp_path / "out") == ["song_bass.wav"]


def test_two_mixtures_of_one_name_are_refused(folder, tmp_path, config):
    for name in ("a.wav", "a.flac"):
        soundfile.write(folder / name, np.ones(10) / 2, 16000)
    with pytest.raises(UserError, match=r"a\.flac and .*a\.wav would write the same"):
        run(folder, config, tmp_path)
    assert not (tmp_path / "out").exists()


def test_a_stem_never_overwrites_a_mixture(folder, tmp_path, config):
    for name in ("a.wav", "a_vocals.wav"):
        soundfile.write(folder / name, np.ones(10) / 2, 16000)
    before = (folder / "a_vocals.wav").read_bytes()
    with pytest.raises(UserError, match="would be overwritten"):
        run(folder, config, tmp_path, output_path=folder)
    assert (folder / "a_vocals.wav").read_bytes() == before
    assert names(folder) == ["a.wav", "a_vocals.wav"]


def test_missing_and_empty_inputs_are_refused(folder, tmp_path):
    with pytest.raises(UserError, match="found nothing"):
        mixtures.find_mixtures(folder / "missing")
    (folder / "notes.txt").write_text("")
    with pytest.raises(UserError, match="at least one audio file"):
        mixtures.find_mixtures(folder)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may list every folder")
def test_a_folder_that_cannot_be_listed_is_refused(folder):
    (folder / "closed").mkdir(mode=stat.S_IWUSR)
    with pytest.raises(UserError, match="cannot list"):
        mixtures.find_mixtures(folder, recursive=True)


def test_a_stem_that_appears_during_the_run_is_not_replaced(
    folder, tmp_path, config, caplog
):
    for name in ("a", "b"):
        soundfile.write(folder / f"{name}.wav", np.ones(10) / 2, 16000)
    build = halving(config)

    def busy(**shape):
        predict = build(**shape)

        def wrapped(fragments):
            for name in ("a_drums.wav", "b_vocals.wav"):  # of this one and the next
                (tmp_path / "out" / name).write_text("mine")
            return predict(fragments)

        return wrapped

    assert run(folder, config, tmp_path, busy).num_separated == 0
    assert names(tmp_path / "out") == ["a_drums.wav", "b_vocals.wav"]
    assert (tmp_path / "out" / "b_vocals.wav").read_text() == "mine"
    for name in names(tmp_path / "out"):
        assert f"{name}: something else has got this name meanwhile" in caplog.text


def test_stems_that_cannot_all_be_replaced_stay_old(
    folder, tmp_path, config, caplog, monkeypatch
):
    soundfile.write(folder / "a.wav", np.ones(10) / 2, 16000)
    run(folder, config, tmp_path)
    out = tmp_path / "out"
    before = {name: (out / name).read_bytes() for name in names(out)}
    replace = pathlib.Path.replace

    def fail(self, target):
        if target.name == "a_drums.wav" and self.name.startswith("new"):
            raise PermissionError(1, "Operation not permitted")
        return replace(self, target)

    monkeypatch.setattr(pathlib.Path, "replace", fail)
    summary = run(
        folder, config, tmp_path, halving(config, (0.1, 0.2, 0.3)), overwrite=True
    )
    assert summary.num_separated == 0
    (line,) = [record.getMessage() for record in caplog.records if record.levelno > 30]
    stem = out / "a_drums.wav"
    assert line == f"{folder / 'a.wav'}: cannot write {stem}: Operation not permitted"
    assert before == {name: (out / name).read_bytes() for name in names(out)}


def test_each_run_makes_its_own_folder(folder, tmp_path, config):
    soundfile.write(folder / "a.wav", np.ones(10) / 2, 16000)
    samples = tmp_path / "session" / "samples"
    (samples / "samples_7").mkdir(parents=True)
    (samples / "samples_x").mkdir()
    folders = [
        run(folder, config, tmp_path, output_path=None).folder.name for _ in range(2)
    ]
    assert folders == ["samples_8", "samples_9"]
    assert len(names(samples / "samples_9")) == 4


def test_two_runs_at_once_never_take_one_folder(tmp_path, monkeypatch):
    mkdir, raced = pathlib.Path.mkdir, []

    def racing(self, *args, **kwargs):
        if self.name == "samples_1" and not raced:
            raced.append(self)
            mkdir(self)  # the other run is quicker
        mkdir(self, *args, **kwargs)

    monkeypatch.setattr(pathlib.Path, "mkdir", racing)
    assert outputs.new_samples_folder(tmp_path).name == "samples_2"


def test_a_run_without_a_stem_leaves_no_folder(folder, tmp_path, config):
    (folder / "a.wav").write_text("not audio")
    run(folder, config, tmp_path, output_path=None)
    assert list((tmp_path / "session" / "samples").iterdir()) == []


def test_an_output_folder_that_cannot_be_made_is_refused(folder, tmp_path, config):
    soundfile.write(folder / "a.wav", np.ones(10) / 2, 16000)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot make the folder"):
        run(folder, config, tmp_path, output_path=tmp_path / "file" / "out")
