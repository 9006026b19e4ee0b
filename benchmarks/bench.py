"""Measure separation and training side by side on this machine.

    make bench

prints a table and writes it to benchmarks/RESULTS.md with machine, versions and date.
`python benchmarks/bench.py SECTION ...` prints a part of it and writes nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import functools
import importlib.util
import os
import pathlib
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

# First: it settles the backend and where the program is.
from harness import (
    REPEATS,
    ROOT,
    SHARE,
    Row,
    full_size,
    make_mixture,
    make_session,
    matrix_rate,
    noise,
    random_weights,
    separate,
    separation_flops,
    small,
    spread,
    spread_seconds,
    timed,
    training_flops,
    training_step,
)

import models
from sswavenet.backend.cores import num_cores
from sswavenet.separation import report, streaming
from util import UserError

THEANO = ROOT / ".venv-theano" / "bin" / "python"
NO_THEANO = ("Theano", "not measured", "make .venv-theano makes its environment")
TEACHER = ROOT / ".venv-teacher" / "bin" / "python"
NO_BFLOAT16 = (
    "separation in bfloat16",
    "not measured",
    "pip install -r requirements-openvino.txt",
)


def share(audio_seconds: float, wall_seconds: float, rate: float) -> float:
    """Percent of the matrix-product rate, on the work that separation needs."""
    return 100 * separation_flops(full_size()) * audio_seconds / wall_seconds / rate


def bench_separation(folder: pathlib.Path) -> list[Row]:
    """60 s through the command line in both precisions."""
    config_path = make_session(folder / "full", full_size())
    make_mixture(folder / "60.wav", 60)
    precisions = ["float32"]
    rows = []
    if not (
        streaming.is_compiled(full_size(), "bfloat16")
        or importlib.util.find_spec("openvino")
    ):
        rows.append(NO_BFLOAT16)
    else:
        precisions.append("bfloat16")
    factors: dict[str, list] = {precision: [] for precision in precisions}
    shares: dict[str, list] = {precision: [] for precision in precisions}
    for _ in range(REPEATS):  # in turn, so that both meet the same machine
        for precision in precisions:
            rate = matrix_rate()
            flags = ("--precision", precision)
            seconds, _ = separate(config_path, folder / "60.wav", *flags)
            factors[precision].append(60 / seconds)
            shares[precision].append(share(60, seconds, rate))
    return rows + [
        (
            f"separation, 60 s, {precision}, whole process",
            f"{spread(factors[precision])} x real time",
            spread(shares[precision]) + SHARE,
        )
        for precision in precisions
    ]


def bench_network(folder: pathlib.Path) -> list[Row]:
    """The network alone, in one pass and by blocks."""
    del folder
    config, rows = full_size(), []
    weights, cores = random_weights(config), num_cores()
    for field in (16000, 160000):
        framing: dict[str, Any] = {
            "target_field_length": field,
            "target_padding": config.head_margin,
            "input_length": field + 2 * config.context_length,
        }
        for form, batch, predict in (
            ("one pass", 1, models.build_predict(config, weights, **framing)),
            (
                "blocks",
                cores,
                streaming.BlockwisePredict(
                    config, weights, num_threads=cores, **framing
                ),
            ),
        ):
            fragments = noise(batch, framing["input_length"])
            rate = matrix_rate()
            passes = timed(functools.partial(predict, fragments), 2)
            audio = batch * field / config.sample_rate
            rows.append(
                (
                    f"network alone, field {field}, {form}",
                    f"{spread([audio / taken for taken in passes])} x real time",
                    spread([share(audio, taken, rate) for taken in passes]) + SHARE,
                )
            )
    return rows


def bench_stream(folder: pathlib.Path) -> list[Row]:
    """Real-time factor of a stream in blocks of 100 ms."""
    del folder
    config = full_size()
    separator = streaming.StreamingSeparator(config, random_weights(config))
    samples = noise(32000)

    def run() -> None:
        for start in range(0, len(samples), 1600):
            separator.push(samples[start : start + 1600])

    factors = [2 / seconds for seconds in timed(run)]
    return [("stream, blocks of 100 ms", f"{spread(factors)} x real time", "")]


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
    config_path = make_session(folder / "full", full_size())
    mixture = folder / "10.wav"
    make_mixture(mixture, 10)
    cache = {"JAX_COMPILATION_CACHE_DIR": str(folder / "xla")}
    cold, _ = separate(config_path, mixture, **cache)
    warm = [separate(config_path, mixture, **cache)[0] for _ in range(REPEATS)]
    rows = [
        ("first 10 s mixture, nothing compiled yet", f"{cold:.1f} s", ""),
        ("first 10 s mixture, second run", spread_seconds(warm), ""),
    ]
    if not THEANO.is_file():
        return [*rows, NO_THEANO]
    # At its faster field.
    old = [
        separate(config_path, mixture, *framed(16001, 1), **theano(folder / "theano"))
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
    config_path = make_session(folder / "full", full_size())
    seconds, batch = 6, 2
    make_mixture(folder / "theano.wav", seconds, 16000)
    environment = theano(ROOT / ".venv-theano" / "theano")
    factors = [
        seconds
        / separate(
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
        [python, "-c", program, str(ROOT / "benchmarks")],
        env={**os.environ, **environment},
        capture_output=True,
        check=True,
        text=True,
    ).stdout
    steps = [float(word) for word in printed.splitlines()[-1].split()]
    return [
        (
            f"Theano, the original's default, {seconds} s, whole process",
            f"{spread(factors)} x real time",
            "field 1601, batch 10; compiled code kept",
        ),
        (
            f"Theano, training step, {batch} fragments of 1601",
            spread_seconds(steps),
            f"{min(steps) * 16000 / 1601 / batch:.2f} s per second of target",
        ),
    ]


def bench_files(folder: pathlib.Path) -> list[Row]:
    """A folder of short clips against one file of the same length."""
    config = full_size(  # the shape of the shipped sessions
        residual_channels=32, skip_channels=32, num_stacks=3, final_channels=(512, 256)
    )
    config_path = make_session(folder / "files", config)
    for number in range(200):
        make_mixture(folder / "clips" / f"{number:03d}.wav", 5, 16000)
    make_mixture(folder / "whole.wav", 1000, 16000)
    whole, clips = [], []
    for _ in range(2):
        whole.append(1000 / separate(config_path, folder / "whole.wav")[0])
        clips.append(1000 / separate(config_path, folder / "clips")[0])
    return [
        (
            "200 clips of 5 s against one file (compact network)",
            f"{spread(clips)} against {spread(whole)} x real time",
            f"{100 * max(clips) / max(whole):.0f} %",
        )
    ]


def bench_spleeter(folder: pathlib.Path) -> list[Row]:
    """The session for everyday use beside Spleeter's two-stem network, in turn."""
    teacher = pathlib.Path(os.environ.get("TEACHER", TEACHER))
    if not teacher.is_file():
        return [("Spleeter", "not measured", "make teacher makes its environment")]
    seconds: dict[str, dict[int, list]] = {"Spleeter": {}, "singing-voice-fast": {}}
    peaks: dict[str, float] = {}
    config_path = ROOT / "sessions" / "singing-voice-fast" / "config.json"
    script = str(ROOT / "data" / "spleeter_teacher.py")
    for length in (10, 120):
        mixture = folder / f"{length}.wav"
        make_mixture(mixture, length)
        command = [str(teacher), script, str(mixture), str(folder / "vocals.wav")]
        for _ in range(REPEATS):
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
            ours, printed = separate(config_path, mixture)
            seconds["singing-voice-fast"].setdefault(length, []).append(ours)
            peaks["singing-voice-fast"] = int(printed.split()[-1]) / 1024
    return [
        (
            f"{name}, whole process, stereo at 44.1 kHz",
            f"{spread([120 / taken for taken in of[120]])} x real time for 120 s",
            f"first 10 s after {spread_seconds(of[10])}; {peaks[name]:.0f} MiB",
        )
        for name, of in seconds.items()
    ]


def bench_memory(folder: pathlib.Path) -> list[Row]:
    """Peak memory against the length of the file, which is the model's rate."""
    rows = []
    for kind, config, lengths in (
        ("small network", small(), (3, 180)),
        ("full size", full_size(), (1, 3)),
    ):
        config_path = make_session(folder / kind, config)
        peaks: list[float] = []
        for minutes in lengths:
            make_mixture(folder / "long.wav", 60 * minutes, 16000)
            seconds, printed = separate(config_path, folder / "long.wav")
            peaks.append(int(printed.split()[-1]) / 1024)
            rows.append(
                (
                    f"peak memory, {minutes} min, {kind}",
                    f"{peaks[-1]:.0f} MiB",
                    f"{100 * (peaks[-1] / peaks[0] - 1):+.1f} %; {seconds:.0f} s",
                )
            )
    return rows


def bench_native(folder: pathlib.Path) -> list[Row]:
    """What stems with the mixture's rate and channels cost beside the network's own."""
    config_path = make_session(folder / "full", full_size())
    make_mixture(folder / "60.wav", 60)
    seconds: dict[str, list] = {"model": [], "native": []}
    for _ in range(REPEATS):  # in turn, so that both meet the same machine
        for form, taken in seconds.items():
            flags = ("--stem_format", form)
            taken.append(separate(config_path, folder / "60.wav", *flags)[0])
    more = 100 * (min(seconds["native"]) / min(seconds["model"]) - 1)
    rows = [
        (
            f"separation, 60 s in stereo at 44.1 kHz, --stem_format {form}",
            spread_seconds(taken),
            f"{more:+.1f} %" if form == "native" else "",
        )
        for form, taken in seconds.items()
    ]
    config_path = make_session(folder / "small", small())
    peaks: list[float] = []
    for minutes in (3, 180):
        make_mixture(folder / "long.wav", 60 * minutes)
        elapsed, printed = separate(
            config_path, folder / "long.wav", "--stems", "vocals"
        )
        peaks.append(int(printed.split()[-1]) / 1024)
        rows.append(
            (
                f"peak memory, {minutes} min in stereo at 44.1 kHz, small network",
                f"{peaks[-1]:.0f} MiB",
                f"{100 * (peaks[-1] / peaks[0] - 1):+.1f} %; {elapsed:.0f} s",
            )
        )
    return rows


def bench_training(folder: pathlib.Path) -> list[Row]:
    """One step of the shipped configuration, of a longer field, and in bfloat16."""
    del folder
    rows = []
    for field, batch, precision in (
        (1601, 10, "float32"),
        (16001, 1, "float32"),
        (16001, 1, "bfloat16"),
    ):
        config = full_size(target_field_length=field, batch_size=batch)
        rate = matrix_rate()
        try:
            seconds = timed(training_step(config, precision))
        except UserError as error:
            rows.append((f"training in {precision}", "not measured", str(error)))
            continue
        shares = [100 * training_flops(config) / s / rate for s in seconds]
        rows.append(
            (
                f"training step, {batch} fragments of {field}, {precision}",
                spread_seconds(seconds),
                f"{spread(shares)}{SHARE}; "
                f"{min(seconds) * 16000 / field / batch:.2f} s per second of target",
            )
        )
    return rows


def bench_script(name: str, folder: pathlib.Path) -> list[Row]:
    """What another benchmark prints, in a process that can have one thread."""
    del folder
    printed = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / f"{name}.py")],
        capture_output=True,
        check=True,
        text=True,
    ).stdout
    rows = [line.split("; ", 2) for line in printed.splitlines()]
    return [(what, figure, more) for what, figure, more in rows]


SECTIONS: dict[str, Callable[[pathlib.Path], list[Row]]] = {
    "separation": bench_separation,
    "network": bench_network,
    "stream": bench_stream,
    "training": bench_training,
    "spleeter": bench_spleeter,
    "memory": bench_memory,
    "native": bench_native,
    "files": bench_files,
    "latency": bench_latency,
    "theano": bench_theano,
    "precision": functools.partial(bench_script, "precision"),
    "fragments": functools.partial(bench_script, "fragments"),
}


def processor() -> str:
    """The processor's name, where Linux says it, else its kind."""
    with contextlib.suppress(OSError):
        for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return f"{line.split(':')[1].strip()} ({platform.machine()})"
    return platform.machine()


def main() -> None:
    """Run the sections named on the command line, or all."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "sections", nargs="*", metavar="SECTION", default=list(SECTIONS)
    )
    names = parser.parse_args().sections
    started = time.monotonic()
    versions = ", ".join(
        f"{name} {version}" for name, version in report.versions().items()
    )
    lines = [
        "# Benchmarks",
        "",
        "Made by `make bench`; best of a few repetitions, the worst in parentheses.",
        "",
        f"{datetime.date.today()}, {processor()}, {num_cores()} cores, "
        f"{versions}. Float32 matrix product: {matrix_rate() / 1e9:.0f} GFLOP/s.",
        "",
        "| what | figure | |",
        "| --- | --- | --- |",
    ]
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            try:
                rows = SECTIONS[name](pathlib.Path(folder))
            except (RuntimeError, subprocess.CalledProcessError) as error:
                said = getattr(error, "stderr", None) or str(error)
                rows = [(name, "failed", said.strip().split("\n")[-1])]
            for row in rows:
                lines.append(f"| {' | '.join(row)} |")
                sys.stdout.write(lines[-1] + "\n")
                sys.stdout.flush()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    minutes = (time.monotonic() - started) / 60
    lines += [
        "",
        f"All of it took {minutes:.0f} minutes, and {peak:.0f} MiB in the benchmark's "
        "own process. "
        f"Float32 matrix product at the end: {matrix_rate() / 1e9:.0f} GFLOP/s.",
    ]
    if names == list(SECTIONS):
        (ROOT / "benchmarks" / "RESULTS.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
