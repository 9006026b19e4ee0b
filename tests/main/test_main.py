"""The command line: exit status, what is said and where."""

import importlib.util
import logging
import os
import re
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from main import main
from sswavenet.config.tasks import TASKS
from sswavenet.separation import command, separator
from sswavenet.sound.reader import read_mono
from tests.main.conftest import infer, make_session, one_error
from tests.support import ROOT, TASK_NAMES, golden_checkpoint
from util import UserError

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
    stems = {path.name: read_mono(path, sample_rate=16000) for path in folder.iterdir()}
    assert set(stems) == {f"song_{stem}.wav" for stem in TASKS[task_name].stems}
    mixture = read_mono(song, sample_rate=16000)
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


@pytest.mark.slow
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
