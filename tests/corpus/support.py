"""What the tests of the corpus share: its modules, the miniature, jobs and songs."""

from __future__ import annotations

import json
import shutil
import sys
import warnings

import pytest
import soundfile

from tests.support import ROOT

DATA = ROOT / "data"
sys.path.insert(0, str(DATA))


def load(name):
    """Imports a module of data/, or skips the file of tests where it cannot be."""
    with warnings.catch_warnings():
        # Newer setuptools warn about pkg_resources, which pyworld imports.
        warnings.simplefilter("ignore")
        return pytest.importorskip(
            name,
            reason="needs requirements-corpus.txt and libfluidsynth3",
            exc_type=ImportError,
        )


mido = load("mido")
corpus_job = load("corpus.job")
corpus_mix = load("corpus.mix")
corpus_recorded = load("corpus.recorded")
corpus_scores = load("corpus.scores")
corpus_singer = load("corpus.singer")
corpus_song = load("corpus.song")
corpus_sources = load("corpus.sources")
corpus_speakers = load("corpus.speakers")
corpus_synth = load("corpus.synth")
corpus_voices = load("corpus.voices")
make_corpus = load("make_corpus")

RATE, STEMS = corpus_sources.RATE, corpus_sources.STEMS
SECONDS = 10.0
SPEECH = 6.0  # seconds analysed per speaker in the miniature
# (source, split, number of songs): 12 songs, two minutes.
MINIATURE = (
    ("scores", "train", 4),
    ("scores", "validation", 1),
    ("scores", "test", 3),
    ("music", "train", 2),
    ("music", "real", 2),
)


def installed(package: str) -> bool:
    """Whether a Debian package left its documentation."""
    return (corpus_sources.SHARE / "doc" / package).exists()


PACKAGES = (DATA / "corpus-packages.txt").read_text().split()
packages = pytest.mark.skipif(
    not all(map(installed, PACKAGES)) or shutil.which("mma") is None,
    reason="needs the packages of `make corpus-packages`",
)


def command(out, cache, source, split, count, *more):
    return [
        *(str(out), "--source", source, "--split", split, "--count", str(count)),
        *("--seconds", str(SECONDS), "--cache", str(cache), "--speech", str(SPEECH)),
        *more,
    ]


def songs_of(folder):
    """The records of a corpus with the folder of each song."""
    manifest = json.loads((folder / "manifest.json").read_text())
    return [(r, folder / r["split"] / r["name"]) for r in manifest["songs"]]


def read(song):
    return {
        path.stem: soundfile.read(path, dtype="int16")[0].astype(int)
        for path in song.glob("*.wav")
    }


def job(cache, split, seed, source="scores"):
    return corpus_job.Job(source, split, seed, SECONDS, cache, SPEECH)
