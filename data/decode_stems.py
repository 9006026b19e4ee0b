"""Turn MUSDB18's *.stem.mp4 files into the WAV tree that training reads.

    python data/decode_stems.py musdb18 data/MUSDB

Every `musdb18/train/<track>.stem.mp4` becomes a folder `data/MUSDB/train/<track>/`
with mixture.wav, drums.wav, bass.wav, other.wav and vocals.wav (16 bit, rate and
channels as they were); the same for `test`. A track is there entirely or not at all,
and one that is there is skipped, so the command can be run again after a stop. It needs
the program ffmpeg.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import logging
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import tqdm

from sswavenet.console import run as command_line
from util import UserError

# The order of the audio streams in a stem file.
STREAMS = ("mixture", "drums", "bass", "other", "vocals")
SUFFIX = ".stem.mp4"

logger = logging.getLogger("decode_stems")


def decode(source: pathlib.Path, folder: pathlib.Path) -> bool:
    """Decode one stem file.

    Args:
        source: the stem file.
        folder: the track's folder.

    Returns:
        False where the folder is there already.

    Raises:
        UserError: ffmpeg refuses the file, or the folder cannot be written.
    """
    if folder.is_dir():
        return False
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".partial-", dir=folder.parent) as name:
            unfinished = pathlib.Path(name) / "track"
            unfinished.mkdir()
            command = ["ffmpeg", "-nostdin", "-v", "error", "-i", str(source)]
            for k, stem in enumerate(STREAMS):
                command += ["-map", f"0:a:{k}", "-c:a", "pcm_s16le"]
                command.append(str(unfinished / f"{stem}.wav"))
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                last = (done.stderr.strip().splitlines() or ["no message"])[-1]
                raise UserError(f"{source}: ffmpeg failed: {last}")
            unfinished.rename(folder)
    except OSError as error:
        raise UserError(f"{folder}: {error.strerror or error}") from None
    return True


def decode_tree(source: pathlib.Path, target: pathlib.Path) -> tuple[int, int]:
    """Decode all stem files of a tree; one that fails does not stop the others.

    Args:
        source: the folder with `train` and `test`.
        target: where the WAV tree goes.

    Returns:
        How many tracks are there now, and how many failed.

    Raises:
        UserError: there is no stem file, or no ffmpeg.
    """
    found = [
        (path, target / part / path.name[: -len(SUFFIX)])
        for part in ("train", "test")
        for path in sorted((source / part).glob(f"*{SUFFIX}"))
    ]
    if not found:
        raise UserError(
            f"{source}: expected train/*{SUFFIX} or test/*{SUFFIX}, got no such file"
        )
    if target.exists() and not target.is_dir():
        raise UserError(f"{target}: expected a folder or nothing there, got a file")
    if shutil.which("ffmpeg") is None:
        raise UserError(
            "ffmpeg is missing: install it with your system's packages (for example "
            "apt install ffmpeg, brew install ffmpeg, conda install ffmpeg) and run "
            "this again, or get MUSDB18-HQ, which is WAV already"
        )
    failed = 0
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        jobs = [pool.submit(decode, *paths) for paths in found]
        try:
            # disable=None: no bar where stderr is no terminal.
            for job in tqdm.tqdm(jobs, unit="track", disable=None):
                try:
                    job.result()
                except UserError as error:
                    failed += 1
                    logger.error("%s", error)
        finally:
            # After Ctrl-C, the tracks that still wait are not decoded.
            for job in jobs:
                job.cancel()
    return len(found) - failed, failed


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        description="Turn MUSDB18's *.stem.mp4 files into a WAV tree."
    )
    parser.add_argument("source", type=pathlib.Path, help="folder with train and test")
    parser.add_argument("target", type=pathlib.Path, help="where the WAV tree goes")
    options = parser.parse_args(arguments)

    def work() -> int:
        done, failed = decode_tree(options.source, options.target)
        logger.info("%s: %d tracks, %d failed", options.target, done, failed)
        return 1 if failed else 0

    return command_line.run(work)


if __name__ == "__main__":
    sys.exit(main())
