"""The command that evaluates: its tables, its flags, its errors."""

import numpy as np
import pytest
import soundfile

from main import main
from tests.evaluation.conftest import copy_session, read_rows, reference_si_sdr, run
from tests.support import golden_config


@pytest.mark.slow
@pytest.mark.parametrize("task_name", ["multi-instrument", "singing-voice"])
def test_command_scores_what_separation_writes(tmp_path, tree, task_name, capsys):
    session = copy_session(tmp_path, task_name)
    assert run(session, tree, "--oracle", "--metrics", "si_sdr") == 0
    folder = session / "evaluation"
    shown = capsys.readouterr().out
    assert (folder / "summary.md").read_text() in shown
    title = f"# Evaluation of the session {session.name}, task {task_name}\n"
    assert shown.startswith(title)
    assert "dB of the mixture: 2." in shown.replace("\n", " ")
    # The balanced songs are all songs, and have no tables of their own.
    assert "## All songs" in shown
    assert "## Balanced songs" not in shown
    assert (folder / "scores.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    stems = golden_config(task_name).task.stems
    rows = read_rows(folder)
    assert list(rows) == [
        (songs, method, stem)
        for songs in ("all", "balanced")
        for method in ("model", "mixture", "oracle")
        for stem in stems
    ]
    expected = {("model", stem): [] for stem in stems}
    expected.update({("mixture", stem): [] for stem in stems})
    for name in ("first", "second"):
        track = tree / "test" / name
        arguments = ["--mode", "inference", "--config", str(session / "config.json")]
        arguments += ["--mixture_input_path", str(track / "mixture.wav")]
        arguments += ["--output_path", str(tmp_path / name), "--subtype", "FLOAT"]
        assert main(arguments) == 0
        audio = {path.stem: soundfile.read(path)[0] for path in track.iterdir()}
        audio["accompaniment"] = audio["mixture"] - audio["vocals"]
        for stem in stems:
            written = soundfile.read(tmp_path / name / f"mixture_{stem}.wav")[0]
            estimates = {"model": written, "mixture": audio["mixture"]}
            for method, estimate in estimates.items():
                score = reference_si_sdr(audio[stem], estimate)
                expected[method, stem].append(score)
    for (method, stem), found in expected.items():
        score = float(rows["all", method, stem]["SI-SDR"])
        # The median of two.
        assert score == pytest.approx(np.mean(found), abs=2e-3)
        change = np.mean(np.subtract(found, expected["mixture", stem]))
        improvement = float(rows["all", method, stem]["SI-SDR improvement"])
        assert improvement == pytest.approx(change, abs=2e-3)
    for stem in stems:
        assert float(rows["all", "oracle", stem]["SI-SDR improvement"]) > 0


@pytest.mark.slow
def test_jobs_that_change_nothing_are_named(multi_instrument, tree, capsys):
    arguments = ["--mode=evaluation", f"--config={multi_instrument / 'config.json'}"]
    arguments += [f"--dataset_path={tree}", "--metrics=si_sdr"]
    for flags in ([], ["--jobs=1"]):
        assert main([*arguments, *flags]) == 0
        said = "warning: --jobs is for BSS Eval" in capsys.readouterr().err
        assert said == bool(flags)


@pytest.mark.parametrize("package", ["museval", "matplotlib"])
def test_a_missing_package_is_named(
    multi_instrument, tree, package, monkeypatch, capsys
):
    monkeypatch.setitem(__import__("sys").modules, package, None)
    assert run(multi_instrument, tree) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: needs the package {package} for ")
    assert line.endswith(": make .venv, then run .venv/bin/python")
    assert not (multi_instrument / "evaluation").exists()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--metrics", "pesq"], "--metrics"),
        (["--subset", "validation"], "train"),
        (["--dataset_path", "nowhere"], "nowhere"),
    ],
)
def test_bad_arguments_take_one_line(
    multi_instrument, tree, capsys, arguments, expected
):
    assert run(multi_instrument, tree, *arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert expected in line
    assert not (multi_instrument / "evaluation").exists()
