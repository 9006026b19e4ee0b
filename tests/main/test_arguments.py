"""The flags: their defaults, their values, and what is refused."""

import pytest

from main import build_parser, main
from tests.main.conftest import one_error


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
