"""The whole way from songs to scores in miniature: label, render, train, score."""

from __future__ import annotations

import csv
import json
import math
import pathlib
import shutil
import sys

import pytest

from main import main
from tests.corpus.support import SPEECH, make_corpus, packages
from tests.support import TASK_NAMES, tiny_document

ROOT = pathlib.Path(__file__).parents[1]

import label_songs  # noqa: E402  # tests.corpus makes data/ importable

# Its vocals are the middle of the stereo picture.
TEACHER = """
import sys
import soundfile
mixture, rate = soundfile.read(sys.argv[1])
middle = mixture.mean(axis=1, keepdims=True).repeat(2, axis=1) / 2
soundfile.write(sys.argv[2], middle, rate, subtype="FLOAT")
"""


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    """The repository's two mixtures as labelled songs, one of them to validate on."""
    folder = tmp_path_factory.mktemp("songs")
    (folder / "teacher.py").write_text(TEACHER)
    about = "file,split\nsamba.flac,train\n*,validation\n"
    (folder / "about.csv").write_text(about)
    (folder / "songs").mkdir()
    for path in (ROOT / "audio").glob("*.flac"):
        shutil.copy(path, folder / "songs")
    arguments = [str(folder / "songs"), str(folder / "set"), "--seconds", "5"]
    arguments += ["--about", str(folder / "about.csv")]
    arguments += ["--teacher", f"{sys.executable} {folder / 'teacher.py'}"]
    assert label_songs.main(arguments) == 0
    return folder / "set"


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    """A few rendered songs of each split."""
    folder = tmp_path_factory.mktemp("rendered")
    for split in ("train", "validation", "test"):
        arguments = [str(folder / "set"), "--split", split, "--count", "1"]
        arguments += ["--seconds", "5", "--speech", str(SPEECH)]
        assert make_corpus.main([*arguments, "--cache", str(folder / "voices")]) == 0
    return folder / "set"


def improvements(session, tree, subset):
    """The median SI-SDR improvements of a session, by stem."""
    scores = session / f"scores-{tree.parent.name}"
    arguments = ["--mode", "evaluation", "--config", str(session / "config.json")]
    arguments += ["--dataset_path", str(tree), "--subset", subset]
    arguments += ["--metrics", "si_sdr", "--output_path", str(scores)]
    assert main(arguments) == 0
    with (scores / "summary.csv").open() as file:
        return {
            row["stem"]: float(row["SI-SDR improvement"])
            for row in csv.DictReader(file)
            if (row["songs"], row["method"]) == ("all", "model")
        }


@pytest.mark.slow
@packages
@pytest.mark.parametrize("task_name", TASK_NAMES)
def test_songs_are_labelled_rendered_trained_on_and_scored(
    task_name, labelled, rendered, tmp_path, caplog
):
    shares = {str(labelled): 0.5, str(rendered): 0.5}
    document = tiny_document(
        task_name,
        dataset={"path": shares, "augmentation": {"mix": 0.5}},
        training={"path": str(tmp_path / "session"), "num_epochs": 1},
    )
    config = tmp_path / "config.json"
    config.write_text(json.dumps(document))
    assert main(["--mode", "training", "--config", str(config)]) == 0
    # Of the songs only the vocals and what is left are known.
    known = "all" if task_name == "singing-voice" else "vocals"
    lines = [line.split() for line in caplog.messages if line.startswith("samba-")]
    assert len(lines) == len(list(labelled.glob("train/*")))
    assert all(known in line for line in lines)
    assert list((tmp_path / "session/checkpoints").glob("*.hdf5"))
    of_songs = improvements(tmp_path / "session", labelled, "validation")
    of_rendered = improvements(tmp_path / "session", rendered, "test")
    assert all(map(math.isfinite, of_rendered.values()))
    finite = {stem for stem, score in of_songs.items() if math.isfinite(score)}
    assert finite == ({*of_songs} if task_name == "singing-voice" else {"vocals"})
