"""Measure other programs beside this one: the original on Theano, and Spleeter."""

from __future__ import annotations

import os
import pathlib
import subprocess
import time
from typing import Any

# First: it settles the backend and where the program is.
import harness
from harness import Row

THEANO = harness.ROOT / ".venv-theano" / "bin" / "python"
NO_THEANO = ("Theano", "not measured", "make .venv-theano makes its environment")
TEACHER = harness.ROOT / ".venv-teacher" / "bin" / "python"


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
    """The session for everyday use beside Spleeter's two-stem network, in turn."""
    teacher = pathlib.Path(os.environ.get("TEACHER", TEACHER))
    if not teacher.is_file():
        return [("Spleeter", "not measured", "make teacher makes its environment")]
    seconds: dict[str, dict[int, list]] = {"Spleeter": {}, "singing-voice-fast": {}}
    peaks: dict[str, float] = {}
    config_path = harness.ROOT / "sessions" / "singing-voice-fast" / "config.json"
    script = str(harness.ROOT / "data" / "spleeter_teacher.py")
    for length in (10, 120):
        mixture = folder / f"{length}.wav"
        harness.make_mixture(mixture, length)
        command = [str(teacher), script, str(mixture), str(folder / "vocals.wav")]
        for _ in range(harness.REPEATS):
            started = time.perf_counter()
            process = subprocess.Popen(
                command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            if process.returncode:
                raise RuntimeError(f"{script} failed")
            taken = time.perf_counter() - started
            seconds["Spleeter"].setdefault(length, []).append(taken)
            peaks["Spleeter"] = usage.ru_maxrss / 1024
            ours, printed = harness.separate(config_path, mixture)
            seconds["singing-voice-fast"].setdefault(length, []).append(ours)
            peaks["singing-voice-fast"] = int(printed.split()[-1]) / 1024
    return [
        (
            f"{name}, whole process, stereo at 44.1 kHz",
            f"{harness.spread([120 / s for s in of[120]])} x real time for 120 s",
            f"first 10 s after {harness.spread_seconds(of[10])}; {peaks[name]:.0f} MiB",
        )
        for name, of in seconds.items()
    ]
