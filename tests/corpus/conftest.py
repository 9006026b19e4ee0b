"""Fixtures of the corpus's tests."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys

import numpy as np
import pytest
import soundfile


@pytest.fixture(scope="session")
def shared(tmp_path_factory):
    """A folder that these tests share, in all processes that pytest runs."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "shared"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def cache(shared):
    """A folder of analysed voices."""
    return shared / "voices"


@pytest.fixture(scope="session")
def miniature(shared, cache):
    """The miniature corpus: one folder a source.

    The training songs are made in a pool of two processes, in a Python of its own.
    """
    from tests.corpus.support import DATA, MINIATURE, command, make_corpus

    out = shared / "corpus"
    with (shared / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for source, split, count in MINIATURE:
            if len([*(out / source).glob(f"{split}/*")]) == count:
                continue  # another process made them
            arguments = command(out / source, cache, source, split, count, "-j", "2")
            if split == "train":
                program = [sys.executable, str(DATA / "make_corpus.py"), *arguments]
                subprocess.run(program, check=True, timeout=300)
            else:
                assert make_corpus.main(arguments[:-2]) == 0
    return out


@pytest.fixture(scope="session")
def instruments(tmp_path_factory):
    """A stand-in for the recorded instruments: one tone for all keys of each."""
    from tests.corpus.support import corpus_recorded

    folder = tmp_path_factory.mktemp("instruments")
    for program in corpus_recorded.programs():
        path = folder / program.file
        path.parent.mkdir(parents=True, exist_ok=True)
        tone = 0.3 * np.sin(2 * np.pi * 261.63 * np.arange(32000) / 32000)
        soundfile.write(path.with_suffix(".ogg"), tone, 32000)
        path.write_text(f"<region> sample={path.stem}.wav pitch_keycenter=60\n")
    return folder
