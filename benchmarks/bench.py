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
import harness
import others
from harness import Row

import models
from sswavenet.backend.cores import num_cores
from sswavenet.separation import report, streaming
from sswavenet.separation.framing import Framing
from util import UserError

NO_BFLOAT16 = (
    "separation in bfloat16",
    "not measured",
    "a processor with AVX512_FP16 or AVX512_BF16, and a C++ compiler",
)


def bench_separation(folder: pathlib.Path) -> list[Row]:
    """60 s through the command line in both precisions."""
    config_path = harness.make_session(folder / "full", harness.full_size())
    harness.make_mixture(folder / "60.wav", 60)
    runs: dict[str, list] = {"float32": []}
    if streaming.is_compiled(harness.full_size(), "bfloat16"):
        runs["bfloat16"] = []
    for _ in range(harness.REPEATS):  # in turn, so that both meet the same machine
        for precision, taken in runs.items():
            rate, flags = harness.matrix_rate(), ("--precision", precision)
            taken.append(
                (harness.separate(config_path, folder / "60.wav", *flags)[0], rate)
            )
    rows = [] if "bfloat16" in runs else [NO_BFLOAT16]
    for precision, taken in runs.items():
        name = f"separation, 60 s, {precision}, whole process"
        rows.append(harness.speed_row(name, harness.full_size(), 60, taken))
    return rows


def bench_network(folder: pathlib.Path) -> list[Row]:
    """The network alone, in one pass and by blocks."""
    del folder
    config, rows = harness.full_size(), []
    weights, cores = harness.random_weights(config), num_cores()
    for field in (16000, 160000):
        framing: dict[str, Any] = Framing.seamless(config, field).lengths
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
            fragments = harness.noise(batch, framing["input_length"])
            rate = harness.matrix_rate()
            passes = harness.timed(functools.partial(predict, fragments), 2)
            name = f"network alone, field {field}, {form}"
            audio = batch * field / config.sample_rate
            runs = [(seconds, rate) for seconds in passes]
            rows.append(harness.speed_row(name, config, audio, runs))
    return rows


def bench_stream(folder: pathlib.Path) -> list[Row]:
    """One stream in blocks of 100 ms."""
    del folder
    rows, config, samples = [], harness.full_size(), harness.noise(32000)
    for precision in ("float32", "bfloat16"):
        if precision != "float32" and not streaming.is_compiled(config, precision):
            continue
        separator = streaming.StreamingSeparator(
            config, harness.random_weights(config), precision=precision
        )

        def run(separator: streaming.StreamingSeparator = separator) -> None:
            for start in range(0, len(samples), 1600):
                separator.push(samples[start : start + 1600])

        rate = harness.matrix_rate()
        runs = [(seconds, rate) for seconds in harness.timed(run)]
        name = f"stream, blocks of 100 ms, {precision}"
        rows.append(harness.speed_row(name, config, 2, runs))
    return rows


def bench_files(folder: pathlib.Path) -> list[Row]:
    """A folder of short clips against one file of the same length."""
    config_path = harness.make_session(folder / "files", harness.compact())
    for number in range(200):
        harness.make_mixture(folder / "clips" / f"{number:03d}.wav", 5, 16000)
    harness.make_mixture(folder / "whole.wav", 1000, 16000)
    whole, clips = [], []
    for _ in range(2):
        whole.append(1000 / harness.separate(config_path, folder / "whole.wav")[0])
        clips.append(1000 / harness.separate(config_path, folder / "clips")[0])
    return [
        (
            "200 clips of 5 s against one file (compact network)",
            f"{harness.spread(clips)} against {harness.spread(whole)} x real time",
            f"{100 * max(clips) / max(whole):.0f} %",
        )
    ]


def bench_memory(folder: pathlib.Path) -> list[Row]:
    """Peak memory against the length of the file."""
    rows = []
    for kind, config, lengths, rate in (
        ("small network", harness.small(), (3, 180), 16000),
        ("full size", harness.full_size(), (1, 3), 16000),
        ("compact network, stereo at 44.1 kHz", harness.compact(), (2, 20), 44100),
    ):
        config_path = harness.make_session(folder / kind, config)
        rows += peak_rows(config_path, kind, lengths, rate)
    return rows


def peak_rows(
    config_path: pathlib.Path,
    kind: str,
    lengths: tuple[int, ...],
    rate: int,
    *flags: str,
) -> list[Row]:
    """Peak memory for mixtures of so many minutes, and how it grows."""
    rows, peaks = [], []
    mixture = config_path.parent.parent / "long.wav"
    for minutes in lengths:
        harness.make_mixture(mixture, 60 * minutes, rate)
        seconds, printed = harness.separate(config_path, mixture, *flags)
        peaks.append(int(printed.split()[-1]) / 1024)
        growth = 100 * (peaks[-1] / peaks[0] - 1)
        name = f"peak memory, {minutes} min, {kind}"
        rows.append((name, f"{peaks[-1]:.0f} MiB", f"{growth:+.1f} %; {seconds:.0f} s"))
    return rows


def bench_native(folder: pathlib.Path) -> list[Row]:
    """What stems with the mixture's rate and channels cost beside the network's own."""
    config_path = harness.make_session(folder / "full", harness.full_size())
    harness.make_mixture(folder / "60.wav", 60)
    seconds: dict[str, list] = {"model": [], "native": []}
    for _ in range(harness.REPEATS):  # in turn, so that both meet the same machine
        for form, taken in seconds.items():
            flags = ("--stem_format", form)
            taken.append(harness.separate(config_path, folder / "60.wav", *flags)[0])
    more = 100 * (min(seconds["native"]) / min(seconds["model"]) - 1)
    rows = [
        (
            f"separation, 60 s in stereo at 44.1 kHz, --stem_format {form}",
            harness.spread_seconds(taken),
            f"{more:+.1f} %" if form == "native" else "",
        )
        for form, taken in seconds.items()
    ]
    config_path = harness.make_session(folder / "small", harness.small())
    kind = "stereo at 44.1 kHz, small network"
    return rows + peak_rows(config_path, kind, (3, 180), 44100, "--stems", "vocals")


def bench_training(folder: pathlib.Path) -> list[Row]:
    """One step of the shipped configuration, of a longer field, and in bfloat16."""
    del folder
    rows = []
    for field, batch, precision in (
        (1601, 10, "float32"),
        (16001, 1, "float32"),
        (16001, 1, "bfloat16"),
    ):
        config = harness.full_size(target_field_length=field, batch_size=batch)
        rate = harness.matrix_rate()
        try:
            seconds = harness.timed(harness.training_step(config, precision))
        except UserError as error:
            rows.append((f"training in {precision}", "not measured", str(error)))
            continue
        shares = [100 * harness.training_flops(config) / s / rate for s in seconds]
        rows.append(
            (
                f"training step, {batch} fragments of {field}, {precision}",
                harness.spread_seconds(seconds),
                f"{harness.spread(shares)}{harness.SHARE}; "
                f"{min(seconds) * 16000 / field / batch:.2f} s per second of target",
            )
        )
    return rows


def bench_script(name: str, folder: pathlib.Path) -> list[Row]:
    """What another benchmark prints, in a process that can have one thread."""
    del folder
    printed = subprocess.run(
        [sys.executable, str(harness.ROOT / "benchmarks" / f"{name}.py")],
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
    "spleeter": others.bench_spleeter,
    "memory": bench_memory,
    "native": bench_native,
    "files": bench_files,
    "latency": others.bench_latency,
    "theano": others.bench_theano,
    "precision": functools.partial(bench_script, "precision"),
    "fragments": functools.partial(bench_script, "fragments"),
}


def product_rate() -> str:
    """How fast this machine multiplies matrices now."""
    return f"Float32 matrix product: {harness.matrix_rate() / 1e9:.0f} GFLOP/s"


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
    everything = list(SECTIONS)
    parser.add_argument("sections", nargs="*", metavar="SECTION", default=everything)
    names = parser.parse_args().sections
    started = time.monotonic()
    versions = ", ".join(" ".join(item) for item in report.versions().items())
    lines = [
        "# Benchmarks",
        "",
        "Made by `make bench`; best of a few repetitions, the worst in parentheses.",
        "",
        f"{datetime.date.today()}, {processor()}, {num_cores()} cores, "
        f"{versions}. {product_rate()}.",
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
        f"own process. At the end: {product_rate()}.",
    ]
    if names == everything:
        (harness.ROOT / "benchmarks" / "RESULTS.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
