"""What all these tools do: fail in one line, and explain themselves."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support import ROOT

LIMITED = """
import os, resource, sys
size = 1024 * int(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""


def limited(blocks, tool, *arguments):
    """Runs a tool whose files may have so many KiB; returns its status and stderr."""
    program = [sys.executable, "-c", LIMITED, blocks, ROOT / "data" / tool, *arguments]
    done = subprocess.run(list(map(str, program)), capture_output=True, text=True)
    return done.returncode, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("tool", ["make_mixture", "make_demo", "draw_spectrograms"])
def test_what_cannot_be_written_takes_one_line(tool, song, separated, tmp_path):
    out = tmp_path / "out"
    arguments = {
        "make_mixture": [song, out / "song.flac", "--seconds", "2"],
        "make_demo": [out / "demo"],
        "draw_spectrograms": [out / "it.png", *separated],
    }
    # Matplotlib keeps a large cache of fonts, Numba of what it compiled for librosa.
    once = {
        "make_mixture": [song, tmp_path / "once" / "song.flac", "--seconds", "2"],
        "draw_spectrograms": [tmp_path / "once.png", *separated],
    }
    if tool in once:
        assert limited(10**6, f"{tool}.py", *once[tool]) == (0, "")
    status, errors = limited(8, f"{tool}.py", *arguments[tool])
    assert status == 2
    (line,) = errors.splitlines()
    assert line.startswith(f"error: cannot write {out}")
    assert not [path for path in tmp_path.rglob("out/**/*") if path.is_file()]


@pytest.mark.parametrize(
    "tool", ["draw_spectrograms.py", "make_mixture.py", "score_stems.py"]
)
def test_tools_explain_themselves_from_anywhere(tool, tmp_path):
    program = [sys.executable, str(ROOT / "data" / tool), "--help"]
    done = subprocess.run(program, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"data/{tool}" in done.stdout
