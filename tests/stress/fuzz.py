"""Feed the command line with mutated files: python tests/stress/fuzz.py --cases 20000

A case is a small separation, one of whose files is spoiled: the mixture (its header,
mostly), the config or the checkpoint. A fake network stands in for the real one. What
must hold in every case, whatever came in:

- the command ends within `TIME_LIMIT` seconds, with status 0, 1 or 2;
- where it is not 0, stderr has at least one line `error: ...` and never a traceback;
- nothing is written outside the output folder, no input is changed;
- with status 0 every stem is there, as long as the others; otherwise none is there.

Cases run in children of this process, so that a crash or a hang of a library is a
finding, too, and not the end. A case depends on the seed and its number alone:
`--first N --cases 1` runs one again. Files are synced to the disk they lie on, which
takes most of the time: with TMPDIR=/dev/shm, in memory, a case takes a tenth of it.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import importlib.util
import io
import json
import logging
import os
import pathlib
import resource
import signal
import sys
import tempfile
import time
import traceback

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

import numpy as np
import soundfile

import util
from sswavenet import checkpoints
from sswavenet.checkpoints.__main__ import describe
from sswavenet.config.document import parse_config, to_document
from sswavenet.sound.reader import MonoReader
from sswavenet.sound.writer import AudioWriter
from tests.stress.spoil import spoil_bytes, spoil_document, spoil_hdf5
from tests.support import WRITERS, base_session, without_network, write_session
from util import UserError

TIME_LIMIT = 10.0  # seconds of the processor
WAIT_LIMIT = 120.0  # seconds
MEMORY_LIMIT = 3 * 2**30  # bytes that a child may map
CASES_A_CHILD = 200
KINDS = ("wav", "config", "hdf5")
FORMATS = ["WAV", "WAVEX", "RF64", "W64", "AIFF", "FLAC", "AU", "CAF"]
ENCODED = {"OGG": "VORBIS", "MP3": "MPEG_LAYER_III"}
BY_FFMPEG = ("m4a", "opus")
FORMATS += [*ENCODED, *(BY_FFMPEG if importlib.util.find_spec("av") else ())]


def make_files(kind: str, folder: pathlib.Path, rng: np.random.Generator) -> None:
    """Write a session and a mixture, and spoil what `kind` says."""
    (folder / "in").mkdir()
    task_name = ("multi-instrument", "singing-voice")[int(rng.integers(2))]
    mixture = folder / "in" / "song.wav"
    shape = (int(rng.integers(1, 300)), int(rng.integers(1, 4)))
    subtype = str(rng.choice(["PCM_U8", "PCM_16", "PCM_24", "FLOAT", "DOUBLE"]))
    form = str(rng.choice(FORMATS))
    if form in (*ENCODED, *BY_FFMPEG):
        subtype, shape = ENCODED.get(form), (shape[0] * 10, min(shape[1], 2))
    elif not soundfile.check_format(form, subtype):
        form = "WAV"
    rate = int(rng.choice([8000, 16000, 44100]))
    audio = rng.uniform(-1, 1, shape)
    if form in BY_FFMPEG:
        with AudioWriter(
            mixture, sample_rate=rate, frames=len(audio), channels=shape[1], form=form
        ) as writer:
            writer.write(np.float32(audio))
    else:
        soundfile.write(mixture, audio, rate, subtype, format=form)
    writer = WRITERS[int(rng.integers(len(WRITERS)))]
    text, weights = base_session(task_name, writer)
    document = json.loads(text)
    checkpoint = write_session(folder / "session", text, weights)
    if kind == "wav":
        mixture.write_bytes(spoil_bytes(mixture.read_bytes(), rng, 100))
    elif kind == "hdf5":
        if rng.random() < 0.5 and writer != "Keras 3 model":
            spoil_hdf5(checkpoint, rng)
        else:
            head = int(rng.choice([100, 3000, 30000]))
            checkpoint.write_bytes(spoil_bytes(weights, rng, head))
    elif rng.random() < 0.7:
        document = spoil_document(document, rng)
    data = json.dumps(document, indent=1).encode()
    if kind == "config" and rng.random() < 0.4:
        data = spoil_bytes(data, rng, len(data))
    (folder / "session" / "config.json").write_bytes(data)


def contents(folder: pathlib.Path) -> dict:
    """Every path below a folder but for `out/`, with what files hold."""
    return {
        path: path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
        if folder / "out" not in (path, *path.parents)
    }


def run_case(seed: int, number: int, folder: pathlib.Path, run) -> tuple:
    """Run one case in an empty folder.

    Returns:
        (kind, exit status, None or what was wrong).
    """
    rng = np.random.default_rng([seed, number])
    kind = KINDS[number % len(KINDS)]
    make_files(kind, folder, rng)
    before, stderr, status = contents(folder), io.StringIO(), None
    arguments = [
        "--mode=inference",
        f"--config={folder / 'session' / 'config.json'}",
        f"--mixture_input_path={folder / 'in'}",
        f"--output_path={folder / 'out'}",
        f"--subtype={rng.choice(['PCM_16', 'PCM_24', 'FLOAT'])}",
    ]
    if rng.random() < 0.2:
        arguments.append("--original_framing")
    try:
        output = contextlib.redirect_stdout(io.StringIO())
        with output, contextlib.redirect_stderr(stderr):
            status = run(arguments)
    except BaseException:
        return kind, status, traceback.format_exc()
    return kind, status, _problem(folder, status, before, stderr.getvalue())


def run_reader(seed: int, number: int, folder: pathlib.Path, _run) -> tuple:
    """Run the reader of a spoiled file alone: a case that takes less time.

    Returns:
        As `run_case`; the status is 0 where the file was read, 2 where it was refused.
    """
    rng = np.random.default_rng([seed, number])
    kind = KINDS[number % len(KINDS)]
    make_files(kind, folder, rng)
    session, before = folder / "session", sorted(folder.rglob("*"))
    (checkpoint,) = (session / "checkpoints").iterdir()
    try:
        if kind == "wav":
            for block in MonoReader(
                folder / "in" / "song.wav", sample_rate=16000
            ).blocks():
                np.isfinite(block)
        else:
            document = util.read_json(session / "config.json")
            config = parse_config(document, str(session / "config.json"))
            if kind == "config":
                json.dumps(to_document(config))
            else:
                describe(checkpoint)
                checkpoints.read_checkpoint(checkpoint, config)
    except UserError as error:
        lines = str(error).split("\n")
        return kind, 2, None if len(lines) == 1 else f"{len(lines)} lines"
    except BaseException:
        return kind, None, traceback.format_exc()
    if sorted(folder.rglob("*")) != before:
        return kind, 0, "files were written"
    return kind, 0, None


def _problem(folder: pathlib.Path, status, before: dict, said: str) -> str | None:
    if status not in (0, 1, 2):
        return f"exit status {status}"
    if "Traceback" in said:
        return said
    if (status != 0) != any(line[:7] == "error: " for line in said.splitlines()):
        return f"exit status {status}, but said {said!r}"
    after = contents(folder)
    if after != before:
        changed = [str(path) for path in {*after, *before} if path not in after
                   or path not in before or after[path] != before[path]]  # fmt: skip
        return f"changed {changed}"
    stems = sorted((folder / "out").glob("**/*")) if status != 2 else []
    if status == 0:
        lengths = {soundfile.info(str(path)).frames for path in stems}
        if len(stems) not in (2, 4) or len(lengths) != 1:
            return f"status 0, but stems {stems} of lengths {lengths}"
    elif stems or (status == 2 and (folder / "out").exists()):
        return f"status {status}, but {stems} were written"
    return None


def _child(case, seed: int, numbers: range, pipe: int) -> None:
    """Run cases; report one line for each through the pipe."""
    for which in (signal.SIGALRM, signal.SIGPROF):
        signal.signal(which, signal.SIG_DFL)  # ends it, even inside a library
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT, MEMORY_LIMIT))
    logging.captureWarnings(True)
    with os.fdopen(pipe, "w") as lines, without_network() as run:
        for number in numbers:
            signal.setitimer(signal.ITIMER_PROF, TIME_LIMIT)
            signal.setitimer(signal.ITIMER_REAL, WAIT_LIMIT)
            with tempfile.TemporaryDirectory() as folder:
                found = case(seed, number, pathlib.Path(folder), run)
            lines.write(json.dumps([number, *found]) + "\n")
            lines.flush()


def fuzz(case, seed: int, first: int, num_cases: int):
    """Run cases in children; yields (number, kind, status, problem) for each."""
    number, stop = first, first + num_cases
    while number < stop:
        numbers = range(number, min(stop, number + CASES_A_CHILD))
        source, sink = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(source)
            try:
                _child(case, seed, numbers, sink)
            except BaseException:
                traceback.print_exc()
            os._exit(0)
        os.close(sink)
        with os.fdopen(source) as lines:
            for line in lines:
                found = json.loads(line)
                number = found[0] + 1
                yield tuple(found)
        _, status = os.waitpid(child, 0)
        if number < numbers.stop:
            kind = KINDS[number % len(KINDS)]
            reason = f"signal {os.WTERMSIG(status)}" if status else "ended early"
            yield number, kind, None, reason
            number += 1


def run_all() -> int:
    """Run the cases that the command line asks for; print what they came to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--cases", type=int, default=20000)
    parser.add_argument("--readers", action="store_true", help="only read the file")
    args = parser.parse_args()
    case = run_reader if args.readers else run_case
    started, problems = time.monotonic(), 0
    counts: collections.Counter = collections.Counter()
    for number, kind, status, problem in fuzz(case, args.seed, args.first, args.cases):
        counts[kind, "problem" if problem else f"exit status {status}"] += 1
        if problem:
            problems += 1
            print(f"case {number} ({kind}): {problem}", flush=True)  # noqa: T201
    for (kind, result), count in sorted(counts.items()):
        print(f"{kind:<8} {result:<14} {count:>6}")  # noqa: T201
    seconds = time.monotonic() - started
    print(  # noqa: T201
        f"seed {args.seed}: {sum(counts.values())} cases, {problems} problems, "
        f"{seconds:.0f} s"
    )
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(run_all())
