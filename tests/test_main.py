"""The command line: flags, exit status, what is said and where."""

import functools
import importlib.util
import json
import logging
import os
import pathlib
import re
import subprocess
import sys

import h5py
import numpy as np
import pytest
import soundfile

from main import build_parser, main
from sswavenet import checkpoints
from sswavenet.backend import choice
from sswavenet.config.document import read_config
from sswavenet.config.tasks import TASKS
from sswavenet.separation import command, separator
from sswavenet.separation.engine import Engine
from sswavenet.sound import reader as sound
from tests.support import (
    GOLDEN,
    TASK_NAMES,
    golden_checkpoint,
    make_tone,
)
from util import UserError

ROOT = pathlib.Path(__file__).parents[1]


@pytest.fixture
def session(tmp_path):
    """A session of 2018, whose config still names its folder of then."""
    return make_session(tmp_path, "multi-instrument")


def make_session(tmp_path, task_name):
    folder = tmp_path / f"session {task_name}"
    (folder / "checkpoints").mkdir(parents=True)
    source = golden_checkpoint(task_name)
    (folder / "checkpoints" / source.name).write_bytes(source.read_bytes())
    config = GOLDEN / task_name / "config.json"
    (folder / "config.json").write_bytes(config.read_bytes())
    return folder


@pytest.fixture
def song(tmp_path):
    path = tmp_path / "audio" / "song.wav"
    path.parent.mkdir()
    rng = np.random.default_rng(3)
    soundfile.write(path, rng.uniform(-0.5, 0.5, 600), 16000)
    return path


@pytest.fixture
def quick(monkeypatch):
    """Stands in for the network; gives the framings it was built for."""
    shapes = []

    def build_predict(config, weights, **shape):
        assert set(weights) == set(config.weight_shapes)
        shapes.append(shape)
        count = shape["target_field_length"] + 2 * shape["target_padding"]
        num_estimates = len(config.task.estimates)
        return lambda fragments: np.zeros(
            (num_estimates, len(fragments), count), np.float32
        )

    def make_engine(session, whole):
        given = session.config, session.checkpoint.weights
        return Engine(session.config, functools.partial(build_predict, *given))

    monkeypatch.setattr(separator, "make_engine", make_engine)
    return shapes


def infer(session, mixture, *flags):
    return main(
        [
            "--mode=inference",
            f"--config={session / 'config.json'}",
            f"--mixture_input_path={mixture}",
            *flags,
        ]
    )


def one_error(capsys):
    """The only line of level error on stderr."""
    lines = capsys.readouterr().err.splitlines()
    errors = [line for line in lines if line.startswith("error: ")]
    assert len(errors) == 1, lines
    assert not any("Traceback" in line for line in lines)
    return errors[0]


# Flags.


def test_the_flags_of_2018_have_their_defaults():
    args = vars(build_parser().parse_args([]))
    expected = {
        "mode": "training",
        "target": None,  # where neither it nor the config says, multi-instrument
        "config": "config.json",
        "print_model_summary": False,
        "load_checkpoint": None,
        "one_shot": False,
        "target_field_length": None,
        "batch_size": None,
        "mixture_input_path": None,
    }
    assert {name: args[name] for name in expected} == expected


def test_paths_may_begin_with_the_home_folder(monkeypatch):
    """Shells put it in for ~/x, and most of them not for --flag=~/x."""
    monkeypatch.setenv("HOME", "/home/me")
    names = ["config", "load_checkpoint", "mixture_input_path", "output_path"]
    names += ["report", "dataset_path"]
    args = vars(build_parser().parse_args([f"--{name}=~/x" for name in names]))
    assert {str(args[name]) for name in names} == {"/home/me/x"}


@pytest.mark.parametrize(
    "flag", ["print_model_summary", "one_shot", "recursive", "original_framing"]
)
@pytest.mark.parametrize(
    ("values", "expected"),
    [([], True), (["True"], True), (["true"], True), (["False"], False)],
)
def test_booleans_work_bare_and_with_a_value(flag, values, expected):
    args = build_parser().parse_args([f"--{flag}", *values, "--mode", "inference"])
    assert getattr(args, flag) is expected


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--mode", "separate"], "--mode: invalid choice: 'separate'"),
        (["--target", "piano"], "--target: invalid choice: 'piano'"),
        (["--one_shot", "maybe"], "--one_shot: expected True or False, got 'maybe'"),
        (["--batch_size", "0"], "--batch_size: expected a whole number of at least 1"),
        (["--batch_size", "x"], "--batch_size: expected a whole number of at least 1"),
        (["--target_field_length", "-5"], "whole number of at least 1, got '-5'"),
        (["--target_field_length", "1.5"], "whole number of at least 1, got '1.5'"),
        (["--subtype", "PCM_8"], "--subtype: invalid choice: 'PCM_8'"),
        (["--format", "aiff"], "--format: invalid choice: 'aiff'"),
        (["--bitrate", "fast"], "--bitrate: expected 8k to 2000k bits a second"),
        (["--start", "1:70"], "--start: expected seconds, m:s or h:m:s"),
        (["--duration", "0"], "--duration: expected more than nothing"),
        (["--kernel_convention", "x"], "--kernel_convention: invalid choice: 'x'"),
        *(
            ([flag, ""], f"{flag}: expected a path, got an empty text")
            for flag in (
                "--config",
                "--load_checkpoint",
                "--mixture_input_path",
                "--output_path",
                "--report",
                "--dataset_path",
            )
        ),
        (["--mixture", "x"], "unrecognized arguments: --mixture"),
        (["--session", ""], "--session: expected a path, got an empty text"),
        ([""], "MIXTURE: expected a path, got an empty text"),
        (["a.wav", "--mode", "training"], "expected it without --mode training"),
        (["a.wav", "--mode", "evaluation"], "expected it without --mode evaluation"),
        (["a.wav", "--mixture_input_path", "b"], "all mixtures without it"),
        (["--session=x", "a.wav", "--config=c"], "expected only one of them"),
        (["--session=x", "--mode=training"], "--session works with --mode inference"),
        (["a.wav", "-"], "expected - for a stream alone"),
        (["a.wav", "--one_shot", "maybe"], "expected True or False, got 'maybe'"),
    ],
)
def test_arguments_that_cannot_be_used_are_refused_in_one_line(argv, message, capsys):
    with pytest.raises(SystemExit) as caught:
        main(argv)
    assert caught.value.code == 2
    assert message in one_error(capsys)


def run_code(code, *arguments, **environment):
    """A Python of its own, which must not fail."""
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )


def test_help_imports_nothing_heavy():
    code = (
        "import sys, main\n"
        "try: main.main(['--help'])\n"
        "except SystemExit as done: print(done.code, *sys.modules)\n"
    )
    done = run_code(code)
    assert "--mixture_input_path" in done.stdout
    status, *modules = done.stdout.splitlines()[-1].split()
    assert status == "0"
    heavy = {"keras", "jax", "theano", "torch", "numpy", "scipy", "soundfile", "h5py"}
    assert heavy.isdisjoint(modules)


def test_help_comes_at_once():
    """In seconds of a processor, which other work on the machine does not change."""
    took = []
    for _ in range(3):
        before = sum(os.times()[2:4])
        done = run_code("import main; main.main(['--help'])")
        took.append(sum(os.times()[2:4]) - before)
    assert "--cluster_resources" in done.stdout
    assert min(took) < 0.5


def test_a_run_on_one_machine_imports_nothing_of_clusters(session, folder, tmp_path):
    make_tone(folder / "song.wav")
    words = ["--mode=inference", f"--config={session / 'config.json'}", str(folder)]
    code = (
        "import sys\n"
        "from tests.support import without_network\n"
        "with without_network() as run:\n"
        f"    assert run({[*words, f'--output_path={tmp_path}']}) == 0\n"
        "print(*sys.modules)\n"
    )
    modules = run_code(code).stdout.splitlines()[-1].split()
    assert "sswavenet.separation.folder" in modules
    assert {"ray", "fsspec", "s3fs"}.isdisjoint(modules)
    assert not any(name.startswith("sswavenet.cluster") for name in modules)


def test_mixtures_and_their_page_do_without_pyav(session, song, tmp_path):
    code = (
        "import sys; sys.modules['av'] = None\n"
        "from tests.support import without_network\n"
        "with without_network() as run: sys.exit(run(sys.argv[1:]))\n"
    )
    page = tmp_path / "page.html"
    run_code(
        code,
        str(song),
        f"--session={session}",
        f"--html={page}",
        f"--output_path={tmp_path / 'out'}",
    )
    assert len(list((tmp_path / "out").iterdir())) == 4
    assert "data:image/png" in page.read_text("utf-8")


@pytest.mark.keras3
def test_keras_comes_without_what_only_its_other_parts_need():
    code = (
        "import importlib, os, sys\n"
        "from sswavenet.backend import choice\n"
        "os.environ['KERAS_BACKEND'] = 'jax'\n"
        "choice.choose_backend()\n"
        "print(*sys.modules)\n"
        "for name in choice.UNUSED_BY_KERAS: importlib.import_module(name)\n"
        "print(*sys.modules)\n"
    )
    done = run_code(code)
    before, after = (set(line.split()) for line in done.stdout.splitlines())
    assert "keras" in before
    assert before.isdisjoint(choice.UNUSED_BY_KERAS)
    assert after >= set(choice.UNUSED_BY_KERAS)


@pytest.mark.slow
@pytest.mark.keras3
def test_a_second_run_compiles_nothing(session, song, tmp_path):
    code = (
        "import collections, sys, main\n"
        "from sswavenet.backend import choice\n"
        "choice.choose_backend()\n"
        "import jax\n"
        "events = collections.Counter()\n"
        "jax.monitoring.register_event_listener(\n"
        "    lambda event, **_: events.update([event.split('/')[-1]]))\n"
        "assert main.main(sys.argv[1:]) == 0\n"
        "print(events['compile_requests_use_cache'], events['cache_hits'])\n"
    )
    arguments = ["--mode=inference", f"--config={session / 'config.json'}"]
    arguments += [f"--mixture_input_path={song}"]
    found = []
    for _ in range(2):
        cache = str(tmp_path / "xla")
        done = run_code(code, *arguments, JAX_COMPILATION_CACHE_DIR=cache)
        found.append(tuple(map(int, done.stdout.splitlines()[-1].split())))
    (asked, hits), again = found
    assert asked > hits
    assert again == (asked, asked)


# A whole run.


@pytest.mark.parametrize("task_name", TASK_NAMES)
def test_a_session_of_2018_separates_a_folder(
    task_name, tmp_path, song, capsys, monkeypatch
):
    session = make_session(tmp_path, task_name)
    monkeypatch.chdir(tmp_path)
    assert infer(session, song.parent) == 0
    out, err = capsys.readouterr()
    folder = session / "samples" / "samples_1"
    assert out.splitlines()[-2] == f"stems in {folder}"
    assert out.splitlines()[-1].startswith("1 of 1 files, 0.0 s of audio in ")
    assert re.search(r" s, \d+\.\d+ x real time$", out.splitlines()[-1])
    stems = {
        path.name: sound.read_mono(path, sample_rate=16000) for path in folder.iterdir()
    }
    assert set(stems) == {f"song_{stem}.wav" for stem in TASKS[task_name].stems}
    mixture = sound.read_mono(song, sample_rate=16000)
    assert all(len(stem) == len(mixture) for stem in stems.values())
    np.testing.assert_allclose(sum(stems.values()), mixture, rtol=0, atol=2**-15)
    assert all(np.abs(stem).max() > 0 for stem in stems.values())
    assert f"{golden_checkpoint(task_name).name}, epoch 2" in err
    assert os.environ["KERAS_BACKEND"] in err
    assert re.search(r"target field \d+ samples, batch size \d+", err)
    assert "song.wav: 16000 Hz, 1 channel(s)" in err
    assert "%" not in err  # no progress bars where stderr is no terminal


def test_flags_reach_the_separation(session, song, tmp_path, quick, capsys):
    status = infer(
        session,
        song,
        "--original_framing",
        "--target_field_length=101",
        "--batch_size=3",
        "--subtype=PCM_24",
        "--stems=vocals, other",
        f"--output_path={tmp_path / 'out' / 'deeper'}",
    )
    assert status == 0
    assert quick == [
        {"target_field_length": 101, "target_padding": 1, "input_length": 225}
    ]
    assert "batch size 3" in capsys.readouterr().err
    stems = sorted((tmp_path / "out" / "deeper").iterdir())
    assert [stem.name for stem in stems] == ["song_other.wav", "song_vocals.wav"]
    file = soundfile.info(stems[0])
    assert (file.subtype, file.frames) == ("PCM_24", 600 - 124)


# The short form.


@pytest.fixture
def album(song, tmp_path, monkeypatch):
    """Two songs in the folder `album` of the current one, a third beside it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "album").mkdir()
    for name in ("album/one.wav", "album/two.wav", "three.wav"):
        (tmp_path / name).write_bytes(song.read_bytes())


def separated(session, *names):
    """The files of these mixtures' stems, and no others, are there."""
    stems = TASKS[session].stems
    folder = pathlib.Path("separated", session)
    found = sorted(path.name for path in folder.rglob("*") if path.is_file())
    return found == sorted(f"{name}_{stem}.wav" for name in names for stem in stems)


def test_a_name_of_a_file_is_enough(album, quick, capsys):
    assert main(["three.wav"]) == 0
    assert separated("multi-instrument", "three")
    out = capsys.readouterr().out
    assert out.startswith(f"stems in {pathlib.Path('separated').resolve()}")


def test_files_and_folders_stand_between_the_flags(album, quick):
    assert main(["three.wav", "--session", "singing-voice", "album"]) == 0
    assert separated("singing-voice", "one", "three", "two")


def test_a_mixture_that_is_named_twice_is_separated_once(album, quick, capsys):
    assert main(["album/two.wav", "./album", "album/two.wav"]) == 0
    assert separated("multi-instrument", "one", "two")
    assert "2 of 2 files" in capsys.readouterr().out


def test_two_folders_with_files_of_one_name_are_refused(album, quick, capsys):
    pathlib.Path("one.wav").write_bytes(pathlib.Path("three.wav").read_bytes())
    assert main(["album", "one.wav"]) == 2
    assert "would write the same stems" in one_error(capsys)
    assert not pathlib.Path("separated").exists()


def test_one_missing_mixture_among_several_is_named_before_the_work(
    album, quick, capsys
):
    assert main(["three.wav", "four.wav"]) == 2
    assert "four.wav: expected an audio file" in one_error(capsys)
    pathlib.Path("empty").mkdir()
    assert main(["three.wav", "empty"]) == 2
    assert "empty: expected at least one audio file" in one_error(capsys)
    assert not pathlib.Path("separated").exists()


@pytest.mark.parametrize("flag", ["--recursive", "--strict"])
def test_a_flag_without_a_value_may_stand_before_a_mixture(flag, album, quick):
    assert main([flag, "album"]) == 0
    assert separated("multi-instrument", "one", "two")


def test_a_second_run_keeps_or_replaces_what_is_there(album, quick, capsys):
    assert main(["three.wav"]) == 0
    assert main(["three.wav"]) == 2
    assert "--overwrite replaces" in one_error(capsys)
    assert main(["three.wav", "album", "--skip_existing"]) == 0
    assert "1 skipped" in capsys.readouterr().out
    assert separated("multi-instrument", "one", "three", "two")


def test_stems_of_another_session_are_not_taken_for_mixtures(album, quick):
    assert main([".", "--recursive", "--session=singing-voice"]) == 0
    assert main([".", "--recursive"]) == 0
    assert separated("multi-instrument", "one", "song", "three", "two")


@pytest.mark.parametrize("file", ["", "config.json"])
def test_a_session_is_named_by_its_folder_or_its_config(
    file, album, session, quick, capsys
):
    assert main(["three.wav", f"--session={session / file}"]) == 0
    folder = pathlib.Path("separated", session.name)
    assert len(list(folder.iterdir())) == 4
    assert golden_checkpoint("multi-instrument").name in capsys.readouterr().err
    assert not (session / "samples").exists()


def test_an_unknown_session_is_refused(album, capsys):
    assert main(["three.wav", "--session", "piano"]) == 2
    # Beside others, where make train-demo has made one.
    line = one_error(capsys)
    assert re.search(r": expected (\S+, )*multi-instrument, .*got 'piano'", line)


def test_with_config_stems_go_to_the_session_in_the_short_form_too(
    album, session, quick
):
    assert main(["three.wav", f"--config={session / 'config.json'}"]) == 0
    assert len(list((session / "samples" / "samples_1").iterdir())) == 4
    assert not pathlib.Path("separated").exists()


def test_a_session_has_a_name_for_the_other_flags_of_inference_too(album, quick):
    arguments = ["--mode=inference", "--mixture_input_path=three.wav"]
    assert main([*arguments, "--session=singing-voice", "--output_path=out"]) == 0
    assert len(list(pathlib.Path("out").iterdir())) == 2
    assert main([*arguments, "--session=singing-voice"]) == 0
    assert separated("singing-voice", "three")


def test_one_shot_is_true_only_where_it_is_asked_for(session, song, quick):
    assert infer(session, song, "--one_shot", "False", "--target_field_length=70") == 0
    assert infer(session, song, "--one_shot", "--target_field_length=70") == 0
    assert [shape["target_field_length"] for shape in quick] == [70, 600]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--one_shot", "--batch_size=2"], "--one_shot takes each file whole"),
        (["--recursive"], "--recursive looks into folders"),
    ],
)
def test_what_changes_nothing_is_said(flags, said, session, song, quick, capsys):
    assert infer(session, song, *flags) == 0
    assert f"warning: {said}" in capsys.readouterr().err
    assert infer(session, song) == 0
    assert said not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "expected"),
    [([], False), (["--original_framing"], True), (["--one_shot"], True)],
)
def test_one_shot_and_the_original_framing_run_whole_fragments(
    flags, expected, session, song, capsys, monkeypatch
):
    asked = []

    def make_engine(session, whole):
        asked.append(whole)
        raise UserError("enough")

    monkeypatch.setattr(separator, "make_engine", make_engine)
    assert infer(session, song, *flags) == 2
    assert asked == [expected]


def test_recursive_reaches_the_separation(session, song, quick):
    deep = song.parent / "deep"
    deep.mkdir()
    (deep / "b.wav").write_bytes(song.read_bytes())
    assert infer(session, song.parent, "--recursive") == 0
    samples = session / "samples" / "samples_1"
    assert len(list(samples.rglob("*.wav"))) == 8
    assert (samples / "deep" / "b_bass.wav").exists()


def test_a_bad_file_gives_one_line_and_status_1(session, song, quick, capsys):
    (song.parent / "bad.wav").write_text("not audio")
    assert infer(session, song.parent) == 1
    out, err = capsys.readouterr()
    assert out.splitlines()[-1].startswith("1 of 2 files, ")
    (line,) = (line for line in err.splitlines() if line.startswith("error: "))
    assert line.startswith(f"error: {song.parent / 'bad.wav'}: expected an audio file")
    assert len(list((session / "samples" / "samples_1").iterdir())) == 4


def test_a_notice_in_the_session_is_shown(session, song, quick, capsys):
    (session / "NOTICE.txt").write_text("These weights are\nfor tests.\n")
    assert infer(session, song) == 0
    assert "warning: These weights are for tests." in capsys.readouterr().err


def test_the_model_summary_is_printed(session, song, quick, capsys):
    assert infer(session, song, "--print_model_summary") == 0
    out = capsys.readouterr().out
    assert "initial_causal_conv" in out
    assert "5,887" in out


# Weights.


def test_the_newest_checkpoint_is_the_one_of_the_highest_epoch(
    session, song, quick, capsys
):
    (file,) = (session / "checkpoints").iterdir()
    newest = file.with_name("checkpoint.00010-0.200.hdf5")
    newest.write_bytes(file.read_bytes())
    os.utime(newest, (0, 0))
    assert infer(session, song) == 0
    assert "checkpoint.00010-0.200.hdf5" in capsys.readouterr().err


def test_load_checkpoint_is_honoured_in_a_session_without_checkpoints(
    tmp_path, song, quick, capsys
):
    config = tmp_path / "config.json"
    document = json.loads((GOLDEN / "singing-voice" / "config.json").read_text())
    document["training"]["path"] = str(tmp_path / "new session")
    config.write_text(json.dumps(document))
    checkpoint = golden_checkpoint("singing-voice")
    assert infer(tmp_path, song, f"--load_checkpoint={checkpoint}") == 0
    assert checkpoint.name in capsys.readouterr().err
    assert len(list((tmp_path / "new session/samples/samples_1").iterdir())) == 2


def test_without_weights_nothing_is_separated(session, song, quick, capsys):
    for file in (session / "checkpoints").iterdir():
        file.unlink()
    assert infer(session, song) == 2
    assert "expected a checkpoint" in one_error(capsys)
    assert not (session / "samples").exists()


def test_a_file_that_does_not_name_its_backend_needs_the_flag(
    session, song, quick, capsys
):
    (file,) = (session / "checkpoints").iterdir()
    with h5py.File(file, "r+") as checkpoint:
        for group in (checkpoint, checkpoint["model_weights"]):
            group.attrs.pop("backend", None)
    assert infer(session, song) == 2
    assert "--kernel_convention" in one_error(capsys)
    assert infer(session, song, "--kernel_convention=theano") == 0


@pytest.mark.parametrize("content", [b"", b"not HDF5", None])
def test_a_checkpoint_that_cannot_be_read_is_refused(
    content, session, song, tmp_path, quick, capsys
):
    path = tmp_path / "weights.hdf5"
    if content is not None:
        path.write_bytes(content)
    assert infer(session, song, f"--load_checkpoint={path}") == 2
    assert "weights.hdf5" in one_error(capsys)
    assert not (session / "samples").exists()


def test_a_checkpoint_of_the_other_task_is_refused(session, song, quick, capsys):
    checkpoint = golden_checkpoint("singing-voice")
    assert infer(session, song, f"--load_checkpoint={checkpoint}") == 2
    assert "conv1d" in one_error(capsys)


# Configuration.


def test_the_target_fills_in_the_type(session, song, quick, capsys):
    path = session / "config.json"
    document = json.loads(path.read_text())
    del document["model"]["type"]
    path.write_text(json.dumps(document))
    assert infer(session, song) == 0
    assert infer(session, song, "--target=multi-instrument") == 0
    assert infer(session, song, "--target=singing-voice") == 2


def test_a_target_that_contradicts_the_config_is_refused(session, song, capsys):
    assert infer(session, song, "--target=singing-voice") == 2
    line = one_error(capsys)
    assert "'multi-instrument'" in line
    assert "'singing-voice'" in line


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "cannot read"), ("{", "expected JSON"), ("{}", "is missing")],
)
def test_a_config_that_cannot_be_used_is_refused(
    content, message, tmp_path, song, capsys
):
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    assert infer(tmp_path, song) == 2
    line = one_error(capsys)
    assert message in line
    assert "config.json" in line


def test_a_missing_mixture_is_refused(session, tmp_path, capsys):
    assert infer(session, tmp_path / "missing.wav") == 2
    assert "missing.wav" in one_error(capsys)
    assert main(["--mode=inference", f"--config={session / 'config.json'}"]) == 2
    assert "--mixture_input_path" in one_error(capsys)


def test_an_unknown_stem_is_refused(session, song, quick, capsys):
    assert infer(session, song, "--stems=vocals,piano") == 2
    assert "vocals,drums,bass,other" in one_error(capsys)
    assert not (session / "samples").exists()


# The process.


@pytest.mark.parametrize(
    ("backend", "message"),
    [("numpyro", "jax, torch, tensorflow, theano"), ("tensorflow", "not installed")],
)
def test_a_backend_that_cannot_be_used_is_refused(
    backend, message, session, song, capsys, monkeypatch
):
    monkeypatch.setenv("KERAS_BACKEND", backend)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert infer(session, song) == 2
    line = one_error(capsys)
    assert message in line
    assert backend in line


def test_an_interrupt_gives_status_130(session, song, quick, capsys, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "separate_all", interrupt)
    assert infer(session, song) == 130
    assert "interrupted" in one_error(capsys)


def test_a_closed_pipe_ends_quietly(session, song):
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [
            sys.executable,
            ROOT / "main.py",
            "--mode=inference",
            f"--config={session / 'config.json'}",
            f"--mixture_input_path={song}",
        ],
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(write)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "BrokenPipe" not in done.stderr
    assert len(list((session / "samples" / "samples_1").iterdir())) == 4


def test_logging_is_left_as_it_was(session, song, quick):
    root = logging.getLogger()
    before = (root.level, list(root.handlers))
    infer(session, song)
    assert (root.level, list(root.handlers)) == before


# What the repository holds.


@pytest.mark.parametrize("task_name", TASK_NAMES)
def test_the_shipped_sessions_load(task_name):
    folder = ROOT / "sessions" / task_name
    config = read_config(folder / "config.json")
    assert config.task_name == task_name
    checkpoint = checkpoints.read_checkpoint(checkpoints.find_latest(folder), config)
    assert sum(array.size for array in checkpoint.weights.values()) == config.num_params
