"""Feed the command line with mutated files: python tests/fuzz.py --cases 20000

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
import functools
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
import types
import zipfile

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
sys.path.insert(0, str(pathlib.Path(__file__).parent))

import h5py
import numpy as np
import soundfile
from networks import GOLDEN, golden_checkpoint, random_weights, tiny_document

import main
import util
from sswavenet import checkpoints
from sswavenet.checkpoints.__main__ import describe
from sswavenet.config.document import parse_config, to_document
from sswavenet.separation import startup
from sswavenet.sound import reader as sound
from sswavenet.sound.writer import AudioWriter
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

# What a config's values are replaced by.
VALUES = [
    None, True, False, -1, 0, 1, 2, 0.5, 1e-320, 1e308, float("nan"), float("inf"),
    2**31, 2**63, 10**12, 10**400, -(10**400), "", " ", "x", "\0", "\ud800", "\udc80",
    "../" * 50, "x" * 5000, "1", [], [[]], [1] * 70, [3, "a"], {}, {"a": {"b": {}}},
    10**6, 10**7, 999, 64,
]  # fmt: skip
INTEGERS = [
    0,
    1,
    2,
    3,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0x8000,
    0xFFFF,
    0xFFFE,
    2**31,
    2**31 - 1,
]
INTEGERS += [2**32 - 1, 2**32 - 2, 44100, 8000, 24, 32, 64]


def spoil_bytes(data: bytes, rng: np.random.Generator, head: int) -> bytes:
    """Change, cut, drop, repeat or insert bytes, mostly among the first `head`."""
    spoiled = bytearray(data)
    for _ in range(int(rng.integers(1, 6))):
        if not spoiled:
            break
        end = min(head, len(spoiled)) if rng.random() < 0.8 else len(spoiled)
        place, way = int(rng.integers(end)), int(rng.integers(7))
        if way == 0:
            spoiled[place] ^= 1 << int(rng.integers(8))
        elif way == 1:
            spoiled[place] = int(rng.integers(256))
        elif way in (2, 3):
            size = int(rng.choice([1, 2, 4, 8]))
            number = int(rng.choice(INTEGERS)) % 2 ** (8 * size)
            spoiled[place : place + size] = number.to_bytes(size, "little")
        elif way == 4:
            del spoiled[place : place + int(rng.integers(1, 20))]
        elif way == 5:
            spoiled[place:place] = rng.bytes(int(rng.integers(1, 20)))
        else:
            del spoiled[int(rng.integers(len(spoiled))) :]
    return bytes(spoiled)


def spoil_document(document: dict, rng: np.random.Generator) -> dict:
    """Replace, remove, rename, add or copy values anywhere in a config."""
    for _ in range(int(rng.integers(1, 4))):
        place = document
        while place:
            name = list(place)[int(rng.integers(len(place)))]
            if not isinstance(place[name], dict) or not place[name]:
                break
            if rng.random() < 0.1:
                break
            place = place[name]
        if not place:
            break
        way = int(rng.integers(6))
        value = VALUES[int(rng.integers(len(VALUES)))]
        if way < 3:
            place[name] = value
        elif way == 3:
            place[name + "s"] = place.pop(name)
        elif way == 4:
            place[str(value)] = value
        else:
            place.pop(name)
    return document


def odd_array(rng: np.random.Generator) -> object:
    """A value for an attribute or a dataset that none of the right ones has."""
    shape = [(), (1,), (0,), (3,), (1, 4, 9), (3, 1, 4), (2, 2, 2, 2)]
    size = shape[int(rng.integers(len(shape)))]
    ways = [
        lambda: np.full(size, 1e300),
        lambda: np.full(size, np.nan, "float16"),
        lambda: np.ones(size, "float128"),
        lambda: np.ones(size, "int64"),
        lambda: np.ones(size, "complex64"),
        lambda: np.zeros(size, [("a", "f4"), ("b", "i2")]),
        lambda: np.full(size, b"\xff\x00x"),
        lambda: "text \udc80" if rng.random() < 0.2 else "text",
        lambda: h5py.Empty("f4"),
        lambda: np.ones(size, bool),
        lambda: -1,
        lambda: 2**63,
        lambda: "[" * 2000,
        lambda: b"theano",
        lambda: np.array([b"theano", b"jax"]),
        lambda: int(rng.integers(10)),
    ]
    return ways[int(rng.integers(len(ways)))]()


def spoil_hdf5(path: pathlib.Path, rng: np.random.Generator) -> None:
    """Change the structure of a valid file: its objects, links and attributes."""
    with h5py.File(path, "r+") as file:
        for _ in range(int(rng.integers(1, 4))):
            names: list = []
            file.visit(names.append)
            if not names:
                return
            name = names[int(rng.integers(len(names)))]
            if rng.random() < 0.3:  # near the top, where few of them are
                parts = name.split("/")
                name = "/".join(parts[: int(rng.integers(1, 1 + len(parts)))])
            place = file[name]
            way = int(rng.integers(10))
            other = names[int(rng.integers(len(names)))]
            with contextlib.suppress(Exception):  # what HDF5 itself does not allow
                if way == 0:
                    del file[name]
                elif way == 1:
                    del file[name]
                    file[name] = odd_array(rng)
                elif way == 2:
                    attributes = [*place.attrs, "backend", "epoch", "sums", "step"]
                    chosen = attributes[int(rng.integers(len(attributes)))]
                    place.attrs[chosen] = odd_array(rng)
                elif way == 3:
                    file.move(name, f"{name}{rng.integers(10)}")
                elif way == 4:
                    file[f"{name}/x"] = file[other]
                elif way == 5:
                    links = (
                        h5py.SoftLink(f"/{other}"),
                        h5py.SoftLink("/nowhere"),
                        h5py.ExternalLink("other.hdf5", "/"),
                    )
                    del file[name]
                    file[name] = links[int(rng.integers(len(links)))]
                elif way == 6:
                    old = file[name][()] if isinstance(place, h5py.Dataset) else 1.0
                    del file[name]
                    file.create_dataset(
                        name, data=old, chunks=True, compression="gzip", shuffle=True
                    )
                elif way == 7:
                    shape = place.shape
                    del file[name]
                    external = [("raw", 0, h5py.h5f.UNLIMITED)]
                    file.create_dataset(name, shape, "f4", external=external)
                elif way == 8:
                    file[f"{name}/{'y/' * int(rng.integers(1, 40))}z"] = 1.0
                else:
                    file[name].attrs.clear()


WRITERS = ("2018", "this program", "Keras 3 weights", "Keras 3 model")


@functools.lru_cache(None)
def base_session(task_name: str, writer: str = "this program") -> tuple[str, bytes]:
    """A config's text and a checkpoint of one of `WRITERS`."""
    if writer == "2018":
        text = (GOLDEN / task_name / "config.json").read_text("utf-8")
        return text, golden_checkpoint(task_name).read_bytes()
    document = tiny_document(task_name)
    weights = random_weights(parse_config(document), np.random.default_rng(1))
    if writer.startswith("Keras 3"):
        return json.dumps(document), keras3_file(weights, writer)
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "checkpoint.00001-0.1.hdf5")
        checkpoints.write_checkpoint(
            path,
            weights,
            state={"epoch": 1, "step": 0, "iterations": 4, "sums": "{}"},
            slots={f"momentum/{name}": array for name, array in weights.items()},
        )
        return json.dumps(document), path.read_bytes()


def keras3_file(weights: dict, writer: str) -> bytes:
    """Weights as Keras 3 lays them out, alone or in the ZIP file of a model."""
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        names = dict.fromkeys(name.split("/")[0] for name in weights)
        for number, layer in enumerate(names):
            place = file.create_group(f"layers/conv1d_{number}/vars")
            place.attrs["name"] = layer
            for k, kind in enumerate(("kernel", "bias")):
                if f"{layer}/{kind}" in weights:
                    place[str(k)] = weights[f"{layer}/{kind}"]
        file.create_group("vars")
    if writer == "Keras 3 weights":
        return content.getvalue()
    model = io.BytesIO()
    with zipfile.ZipFile(model, "w") as archive:
        archive.writestr("metadata.json", "{}")
        archive.writestr("model.weights.h5", content.getvalue())
    return model.getvalue()


def write_session(folder: pathlib.Path, text: str, weights: bytes) -> pathlib.Path:
    """Make a session's folder of a config's text and a checkpoint, whose path it is."""
    checkpoint = folder / "checkpoints" / "checkpoint.00001-0.1.hdf5"
    checkpoint.parent.mkdir(parents=True)
    (folder / "config.json").write_text(text)
    checkpoint.write_bytes(weights)
    return checkpoint


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


def fake_network(config, weights, *, whole, precision="float32"):
    """Estimates that are shares of the mixture."""

    def build_predict(*, target_field_length, target_padding, input_length):
        count = target_field_length + 2 * target_padding
        start = (input_length - count) // 2
        num_estimates = len(config.task.estimates)

        def predict(fragments):
            return np.stack([fragments[:, start : start + count] / 4] * num_estimates)

        return predict

    return build_predict, None


@contextlib.contextmanager
def without_network():
    """The command line with `fake_network`, and no Keras."""
    before = startup.network, sys.modules.get("models")
    startup.network = fake_network
    sys.modules["models"] = types.SimpleNamespace(describe_backend=lambda: "none")
    try:
        yield main.main
    finally:
        startup.network = before[0]
        sys.modules.pop("models")
        if before[1] is not None:
            sys.modules["models"] = before[1]


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
            for block in sound.MonoReader(
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
    for number in (signal.SIGALRM, signal.SIGPROF):
        signal.signal(number, signal.SIG_DFL)  # ends it, even inside a library
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
