"""The compiled code under the compiler's own checks."""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess
import sys

import pytest

from sswavenet.backend import compat

ROOT = pathlib.Path(__file__).parents[2]
FOLDER = pathlib.Path(__file__).parent

# Without optimization it compiles in a third of the time.
COMPILER = """#!/bin/sh
echo "$@" >>'{record}'
exec '{compiler}' "$@" -O0 -g1 -fsanitize=address,undefined -fno-sanitize-recover=all
"""


@pytest.mark.slow
@pytest.mark.skipif(compat.backend_name() != "jax", reason="custom calls are JAX's")
def test_nothing_is_undefined_or_out_of_bounds(tmp_path):
    """In the tests of gradients, of streams and of calls that are refused.

    They run in a process of their own, where the sanitizers' libraries come before all
    others.
    """
    compiler = shutil.which(os.environ.get("CXX", "c++"))
    if compiler is None:
        pytest.skip("needs a C++ compiler")
    libraries = [
        subprocess.check_output([compiler, f"-print-file-name={name}"], text=True)
        for name in ("libasan.so", "libubsan.so", "libstdc++.so.6")
    ]
    libraries = list(map(str.strip, libraries))
    if not all(map(os.path.isabs, libraries)):
        pytest.skip("needs the sanitizers of GCC")
    record = tmp_path / "record"
    checked = tmp_path / "c++"
    checked.write_text(COMPILER.format(record=record, compiler=compiler))
    checked.chmod(0o755)
    ended = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-v", "-rs", "-p", "no:cacheprovider"),
            # What the sanitizers say goes to the process's own stderr.
            *("--capture=sys", "-k", "formula or refused or answered"),
            *(FOLDER / "test_fused.py", FOLDER / "test_fused_entries.py"),
            FOLDER.parent / "separation" / "test_stream_fused.py",
        ],
        cwd=ROOT,
        env={
            **os.environ,
            "CXX": str(checked),
            "LD_PRELOAD": " ".join(libraries),
            # Python and XLA free little at the end, and allocate much before.
            "ASAN_OPTIONS": "detect_leaks=0:malloc_context_size=1",
            "UBSAN_OPTIONS": "print_stacktrace=1",
        },
        capture_output=True,
        text=True,
        timeout=600,
    )
    said = ended.stdout[-5000:] + ended.stderr[-5000:]
    assert ended.returncode == 0, said
    for name in ("fused.cc", "stream.cc"):
        assert name in record.read_text()
    assert "needs a C++ compiler" not in ended.stdout, said
