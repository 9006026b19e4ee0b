"""What the tests of stores and clusters share."""

from __future__ import annotations

import json

import pytest
import soundfile

import main
from tests.support import base_session, write_session

STEMS = ("vocals", "drums", "bass", "other")
# XLA, which runs networks as tiny as these, rounds by the length of the target field.
SAME_ROUNDING = ("--target_field_length", "5000")


@pytest.fixture
def session(tmp_path):
    """The config of a tiny multi-instrument session."""
    folder = tmp_path / "session"
    write_session(folder, *base_session("multi-instrument"))
    return folder / "config.json"


@pytest.fixture
def songs(tmp_path, rng):
    """A folder of songs that are not alike, one of them in a folder."""
    folder = tmp_path / "songs"
    (folder / "more").mkdir(parents=True)
    for name, channels in (("a.wav", 1), ("b.flac", 2), ("more/c d.wav", 1)):
        samples = 0.1 * rng.standard_normal((9000, channels))
        soundfile.write(folder / name, samples, 8000 * channels)
    return folder


@pytest.fixture
def run(session):
    """The command line with that session; its status."""

    def run(*arguments):
        config = ["--mode", "inference", "--config", session]
        return main.main([str(word) for word in (*config, *arguments)])

    return run


def contents(folder):
    """Of each file below a folder its bytes, by its path there."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def report(path):
    """What became of each file, by the last part of its path."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return {line["path"].split("/")[-1]: line for line in lines if "status" in line}
