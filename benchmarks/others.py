"""Measure other programs beside this one: the original on Theano, and Spleeter."""

from __future__ import annotations

import collections
import functools
import os
import pathlib
import subprocess
import time
from typing import Any

# First: it settles the backend and where the program is.
import harness
from harness import Row

from sswavenet.separation import streaming

THEANO = harness.ROOT / ".venv-theano" / "bin" / "python"
NO_THEANO = ("Theano", "not measured", "make .venv-theano makes its environment")
LENGTHS = (10, 120)  # seconds of what is separated beside Spleeter
TEACHER = harness.ROOT / ".venv-teacher" / "bin" / "python"

# Runs a script and prints the peak of the process's memory, KiB (see `harness`).
SPLEETER = """
import pathlib, runpy, sys
del sys.argv[0]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
except SystemExit as ended:
    if ended.code:
        raise
lines = pathlib.Path("/proc/self/status").read_text().splitlines()
print(*[line.split()[1] for line in lines if "VmHWM" in line])
"""


def theano(compiled: pathlib.Path) -> dict[str, Any]:
    """What makes `separate` run on Theano, which keeps its code in a folder."""
    flags = f"device=cpu,floatX=float32,blas.ldflags=,base_compiledir={compiled}"
    return {"python": str(THEANO), "KERAS_BACKEND": "theano", "THEANO_FLAGS": flags}


def framed(field: int, batch: int) -> tuple[str, ...]:
    """Flags of the original's framing."""
    return ("--original_framing", "--target_field_length", str(field), "--batch_size",
            str(batch))  # fmt: skip


def bench_latency(folder: pathlib.Path) -> list[Row]:
    """From process start to the first finished 10 s mixture, beside Theano's."""
    config_path = harness.make_session(folder / "full", harness.full_size())
    mixture = folder / "10.wav"
    harness.make_mixture(mixture, 10)
    cache = {"JAX_COMPILATION_CACHE_DIR": str(folder / "xla")}
    cold, _ = harness.separate(config_path, mixture, **cache)
    warm = [
        harness.separate(config_path, mixture, **cache)[0]
        for _ in range(harness.REPEATS)
    ]
    rows = [
        ("first 10 s mixture, nothing compiled yet", f"{cold:.1f} s", ""),
        ("first 10 s mixture, second run", harness.spread_seconds(warm), ""),
    ]
    if not THEANO.is_file():
        return [*rows, NO_THEANO]
    # At its faster field.
    old = [
        harness.separate(
            config_path, mixture, *framed(16001, 1), **theano(folder / "theano")
        )
        for _ in range(2)
    ]
    for kind, ours, (seconds, _) in zip(("nothing compiled yet", "second run"),
                                        (cold, max(warm)), old):  # fmt: skip
        rows.append(
            (
                f"the same on Theano, field 16001, {kind}",
                f"{seconds:.1f} s",
                f"ours takes 1 / {seconds / ours:.1f} of that; Theano "
                f"{10 / seconds:.2g} x real time",
            )
        )
    return rows


def bench_theano(folder: pathlib.Path) -> list[Row]:
    """The same session on Theano, as the original ran by default."""
    if not THEANO.is_file():
        return [NO_THEANO]
    config_path = harness.make_session(folder / "full", harness.full_size())
    seconds, batch = 6, 2
    harness.make_mixture(folder / "theano.wav", seconds, 16000)
    environment = theano(harness.ROOT / ".venv-theano" / "theano")
    factors = [
        seconds
        / harness.separate(
            config_path, folder / "theano.wav", *framed(1601, 10), **environment
        )[0]
        for _ in range(2)
    ]
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); import harness\n"
        f"config = harness.full_size(batch_size={batch})\n"
        "print(*harness.timed(harness.training_step(config), 2))"
    )
    python = environment.pop("python")
    printed = subprocess.run(
        [python, "-c", program, str(harness.ROOT / "benchmarks")],
        env={**os.environ, **environment},
        capture_output=True,
        check=True,
        text=True,
    ).stdout
    steps = [float(word) for word in printed.splitlines()[-1].split()]
    return [
        (
            f"Theano, the original's default, {seconds} s, whole process",
            f"{harness.spread(factors)} x real time",
            "field 1601, batch 10; compiled code kept",
        ),
        (
            f"Theano, training step, {batch} fragments of 1601",
            harness.spread_seconds(steps),
            f"{min(steps) * 16000 / 1601 / batch:.2f} s per second of target",
        ),
    ]


def bench_spleeter(folder: pathlib.Path) -> list[Row]:
    """The sessions for everyday use beside Spleeter's two-stem network, in turn."""
    teacher = pathlib.Path(os.environ.get("TEACHER", TEACHER))
    for length in LENGTHS:
        harness.make_mixture(folder / f"{length}.wav", length)
    programs = {"Spleeter": functools.partial(run_spleeter, teacher)}
    if not teacher.is_file():
        programs.clear()
    for session in ("singing-voice-fast", "multi-instrument-fast"):
        path = harness.ROOT / "sessions" / session / "config.json"
        for precision in ("float32", "bfloat16"):
            if streaming.is_compiled(harness.compact(), precision):
                programs[f"{session}, {precision}"] = functools.partial(
                    run_ours, path, precision
                )
    seconds: dict[tuple[str, int], list] = collections.defaultdict(list)
    peaks: dict[str, float] = {}
    for length in LENGTHS:
        for _ in range(harness.REPEATS):
            for name, run in programs.items():
                taken, peaks[name] = run(folder / f"{length}.wav")
                seconds[name, length].append(taken)
    first, whole = LENGTHS
    rows = [
        (
            f"{name}, whole process, stereo at 44.1 kHz",
            f"{harness.spread([whole / s for s in seconds[name, whole]])} x real time "
            f"for {whole} s",
            f"first {first} s after {harness.spread_seconds(seconds[name, first])}; "
            f"{peaks[name]:.0f} MiB",
        )
        for name in programs
    ]
    missing = ("Spleeter", "not measured", "make teacher makes its environment")
    return rows if teacher.is_file() else [missing, *rows]


def run_ours(
    config_path: pathlib.Path, precision: str, mixture: pathlib.Path
) -> tuple[float, float]:
    """Seconds that a session takes, and the peak of its memory, MiB."""
    taken, printed = harness.separate(config_path, mixture, "--precision", precision)
    return taken, int(printed.split()[-1]) / 1024


def run_spleeter(teacher: pathlib.Path, mixture: pathlib.Path) -> tuple[float, float]:
    """The same of Spleeter in its environment."""
    script = str(harness.ROOT / "data" / "spleeter_teacher.py")
    command = [str(teacher), "-c", SPLEETER, script, str(mixture)]
    started = time.perf_counter()
    done = subprocess.run(
        [*command, str(mixture.with_suffix(".vocals.wav"))],
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(f"{script}: {done.stderr.strip()}")
    return time.perf_counter() - started, int(done.stdout.split()[-1]) / 1024
