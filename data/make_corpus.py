"""Makes the procedural multitrack corpus: songs with exact stems, in MUSDB's layout.

    python data/make_corpus.py OUT --split train --count 1000 --cache VOICES
    python data/make_corpus.py OUT --split test --count 70 --cache VOICES
    python data/make_corpus.py OUT-music --source music --split real --count 16 ...

Finished songs are skipped, so the command may be stopped and given again. The same
seed gives the same song to the sample in any order and in any number of processes.
What it is made from, and under which licences: data/CORPUS.md.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import importlib
import json
import os
import pathlib
import signal
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from sswavenet.console import packages

with packages.required():
    import tqdm
    from corpus.sources import RECORD, SPLITS, MissingPackageError

import util
from sswavenet.console import pools, run, signals
from sswavenet.console.parser import described
from util import UserError

if TYPE_CHECKING:  # needs the packages of the corpus, so `main` imports it
    from corpus.job import Job

MANIFEST = "manifest.json"
CACHE = pathlib.Path("data/cache")
LONGEST = 3600  # seconds of a song
MOST = 100_000  # songs at a time


def write_manifest(folder: pathlib.Path, rate: int) -> None:
    """Collects the records of all finished songs into FOLDER/manifest.json.

    Raises UserError where a record cannot be read, the songs have another rate, or the
    manifest cannot be written.
    """
    path = folder / MANIFEST
    if path.is_file():
        there = util.read_json(path).get("sample_rate")
        if there != rate:
            raise UserError(
                f"{folder}: expected songs at {rate} Hz, got {there} Hz; mono and "
                "stereo songs need a folder each"
            )
    records = [
        util.read_json(path) for path in sorted(folder.glob(f"[!.]*/*/{RECORD}"))
    ]
    text = json.dumps({"sample_rate": rate, "songs": records}, indent=1)
    util.write_bytes(path, f"{text}\n".encode())


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parses the command line."""
    parser = described(__doc__)
    add = parser.add_argument
    add(
        "out",
        type=pathlib.Path,
        nargs="?",
        default=CACHE / "corpus",
        help="folder of the corpus, default %(default)s",
    )
    add("--source", choices=("scores", "music"), default="scores")
    add("--split", choices=SPLITS, default="train")
    add("--first", type=int, default=0, help="first seed, default 0")
    add("--count", type=int, default=300, help="number of songs, default 300")
    add("--seconds", type=float, default=30.0, help="length of a song, default 30")
    add(
        "--cache",
        type=pathlib.Path,
        default=CACHE / "voices",
        help="folder of analysed voices, made on demand, default %(default)s",
    )
    add(
        "--speech",
        type=float,
        default=300.0,
        help="seconds of speech analysed per speaker; more adds little",
    )
    add(
        "--instruments",
        type=pathlib.Path,
        help="folder of the recorded instruments of data/CORPUS.md, for training songs",
    )
    add(
        "--stereo",
        action="store_true",
        help="two channels at 44.1 kHz, not one at 16 kHz, in a folder of its own; the "
        "voices have nothing above 8 kHz",
    )
    add("-j", "--jobs", type=int, default=1, help="processes, default 1")
    options = parser.parse_args(argv)
    if options.split == "real" and options.source != "music":
        parser.error("--split real exists for --source music only")
    if not 5 <= options.seconds <= LONGEST:
        parser.error(f"expected 5 to {LONGEST} seconds, got {options.seconds}")
    if not 1 <= options.count <= MOST or options.jobs < 1:
        parser.error(f"expected 1 to {MOST} songs and 1 or more jobs")
    if options.first < 0 or not 0 < options.speech < float("inf"):
        parser.error("expected a first seed of 0 or more, and some seconds of speech")
    return options


def _prepare() -> None:
    """Prepares a process of the pool for signals."""

    def stop(*_: Any) -> None:
        raise SystemExit

    signals.ignore_those_of_the_group()
    signal.signal(signal.SIGTERM, stop)


def _write(job: Job, folder: pathlib.Path) -> None:
    """Makes a song in a process of the pool."""
    from corpus import song

    try:
        song.write(job, folder)
    except SystemExit:  # the pool would take it for an error of this song alone
        os._exit(1)


def make_songs(
    jobs: Sequence[Job], folder: pathlib.Path, processes: int
) -> Iterator[None]:
    """Makes songs, and yields after each one.

    Raises UserError where something that they are made from is missing, or a process
    was ended.
    """
    if processes == 1:
        from corpus import song

        for job in jobs:
            song.write(job, folder)
            yield
        return
    with pools.process_pool(
        processes,
        _prepare,
        broken="a process ended early, probably for want of memory; finished songs are "
        "kept; try fewer --jobs",
    ) as pool:
        with signals.waiting():  # a process half started could not be ended
            futures = [pool.submit(_write, job, folder) for job in jobs]
        for future in concurrent.futures.as_completed(futures):
            future.result()
            yield


def main(argv: Sequence[str] | None = None) -> int:
    """Makes the songs asked for; returns the exit status."""
    options = parse(argv)

    def work() -> int:
        try:
            importlib.import_module("corpus.song")  # all that is needed, at once
            from corpus import job, recorded
        except ImportError as error:  # FluidSynth's library has no name
            raise MissingPackageError(error.name or error) from None
        jobs = [
            job.Job(
                options.source,
                options.split,
                seed,
                options.seconds,
                options.cache,
                options.speech,
                options.instruments,
                options.stereo,
            )
            for seed in range(options.first, options.first + options.count)
        ]
        rate = jobs[0].rate
        if options.instruments:
            recorded.check(options.instruments)
        for folder in (options.out / options.split, options.cache):
            for place in (folder, *folder.parents):
                if place.exists() and not place.is_dir():
                    raise UserError(f"{place}: expected a folder, got a file")
        if options.out.exists():  # a record that cannot be read is found at once
            write_manifest(options.out, rate)
        try:
            # disable=None: no bar where stderr is no terminal.
            with tqdm.tqdm(total=len(jobs), unit="song", disable=None) as bar:
                for _ in make_songs(jobs, options.out, options.jobs):
                    bar.update()
        finally:
            if options.out.exists():
                write_manifest(options.out, rate)
        return 0

    return run.run(work)


if __name__ == "__main__":
    sys.exit(main())
