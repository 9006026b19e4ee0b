"""Flags that would be ignored are refused."""

import pathlib

import pytest

from main import build_parser, main
from sswavenet.console import flags

INFERENCE = ["--mode=inference", "--mixture_input_path"]
VALUES = {
    "batch_size": "2",
    "jobs": "2",
    "metrics": "si_sdr",
    "stem_format": "model",
    "stems": "vocals",
    "subset": "train",
    "format": "wav",  # the default, but given
    "subtype": "PCM_16",
    "bitrate": "192k",
    "cluster_resources": "num_cpus=1",
    "start": "0:30",
    "duration": "1.5",
    "target_field_length": "100",
}
USES = {
    flags.TRAINING: ["--mode=training"],
    flags.FILES: [*INFERENCE, "song.wav"],
    flags.STREAM: [*INFERENCE, "-"],
    flags.EVALUATION: ["--mode=evaluation"],
}


def arguments(name):
    action = next(a for a in build_parser()._actions if a.dest == name)
    value = [] if action.nargs == "?" else [VALUES.get(name, "x")]
    return [f"--{name}", *value]


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("name", sorted(set(flags.WORKS_WITH) - {"mixture_input_path"}))
def test_a_flag_works_where_the_table_says_and_is_refused_elsewhere(name, use, capsys):
    argv = [*USES[use], *arguments(name)]
    if use in flags.WORKS_WITH[name]:
        assert getattr(flags.parse(build_parser(), argv), name)
        return
    with pytest.raises(SystemExit) as caught:
        main(argv)
    assert caught.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: --{name} works with {flags.WORKS_WITH[name][0]}")
    assert f"not with {use}" in line


@pytest.mark.parametrize("mode", ["training", "evaluation"])
def test_mixtures_are_for_inference(mode, capsys):
    with pytest.raises(SystemExit):
        main([f"--mode={mode}", "--mixture_input_path=-"])
    assert "--mixture_input_path works with --mode inference" in capsys.readouterr().err


@pytest.mark.parametrize("use", USES)
def test_false_asks_for_nothing(use):
    args = flags.parse(build_parser(), [*USES[use], "--strict", "False"])
    assert args.strict is False


@pytest.mark.parametrize("use", USES)
def test_what_is_not_given_has_its_default(use):
    args = vars(flags.parse(build_parser(), USES[use]))
    expected = vars(build_parser().parse_args(USES[use]))
    assert args == expected


def test_a_minus_alone_is_a_stream():
    args = flags.parse(build_parser(), ["-", "--session=singing-voice"])
    assert (args.mode, args.mixture_input_path) == ("inference", "-")
    flags.use_session(args)
    assert args.config.endswith("singing-voice/config.json")
    assert args.output_path is None


@pytest.mark.parametrize(
    ("form", "folder"),
    [
        ("model", "evaluation"),
        ("native", "evaluation-native"),
        ("masks", "evaluation-masks"),
    ],
)
def test_an_evaluation_of_a_session_with_a_name_goes_to_the_current_folder(
    form, folder
):
    argv = ["--mode=evaluation", f"--stem_format={form}", "--session=singing-voice"]
    args = flags.parse(build_parser(), argv)
    flags.use_session(args)
    assert args.output_path == pathlib.Path(folder, "singing-voice")


def test_the_command_lines_of_2018_are_taken():
    config = ["--config", "sessions/multi-instrument/config.json"]
    flags.parse(build_parser(), ["--mode", "training", "--target", "singing-voice"])
    flags.parse(build_parser(), [*config, "--mode", "training", "--one_shot", "False"])
    args = flags.parse(
        build_parser(),
        [
            *(*config, "--mode", "inference", "--mixture_input_path", "audio/"),
            *("--target", "multi-instrument", "--load_checkpoint", "a.hdf5"),
            *("--batch_size", "10", "--target_field_length", "1601", "--one_shot"),
            *("--print_model_summary", "True"),
        ],
    )
    assert (args.batch_size, args.one_shot, args.print_model_summary) == (
        10,
        True,
        True,
    )
