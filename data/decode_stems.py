"""Turn MUSDB18's *.stem.mp4 files into the WAV tree that training reads.

    python data/decode_stems.py musdb18 data/MUSDB

Every `musdb18/train/<track>.stem.mp4` becomes a folder `data/MUSDB/train/<track>/`
with mixture.wav, drums.wav, bass.wav, other.wav and vocals.wav (16 bit, rate and
channels as they were); the same for `test`. A track is there entirely or not at all,
and one that is there is skipped, so the command can be run again after a stop.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import logging
import os
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from sswavenet.console import packages

with packages.required():
    import av
    import sound_files
    import soundfile
    import tqdm

import util
from sswavenet.console import run
from util import UserError

# The order of the audio streams in a stem file.
STREAMS = ("mixture", "drums", "bass", "other", "vocals")
SUFFIX = ".stem.mp4"
MISSING_SECONDS = 0.5  # by which a stream is shorter than it says, and damaged

logger = logging.getLogger("decode_stems")


def decode(source: pathlib.Path, folder: pathlib.Path) -> None:
    """Decode one stem file into the track's folder, unless that is there already.

    Raises UserError where it is no stem file, or damaged, or the folder cannot be
    written.
    """
    if folder.is_dir():
        return
    try:
        with (
            sound_files.whole_folder(folder) as unfinished,
            av.open(str(source), metadata_errors="replace") as container,
        ):
            streams = container.streams.audio
            if len(streams) != len(STREAMS):
                raise UserError(
                    f"{source}: expected {len(STREAMS)} audio streams "
                    f"({', '.join(STREAMS)}), got {len(streams)}"
                )
            _decode_streams(container, unfinished)
    except av.FFmpegError as error:
        raise UserError(f"{source}: cannot be decoded: {error.strerror}") from None
    except (OSError, soundfile.LibsndfileError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{folder}: {reason}") from None


def _decode_streams(
    container: av.container.InputContainer, folder: pathlib.Path
) -> None:
    """Write the audio streams of a stem file, at their rate and channels."""
    streams = container.streams.audio
    with contextlib.ExitStack() as stack:
        files, resamplers = [], []
        for stem, stream in zip(STREAMS, streams):
            path, layout = folder / f"{stem}.wav", stream.layout
            file = soundfile.SoundFile(
                path, "w", stream.rate, layout.nb_channels, subtype="PCM_16"
            )
            files.append(stack.enter_context(file))
            resamplers.append(av.AudioResampler("s16", layout, stream.rate))
        places = {stream.index: k for k, stream in enumerate(streams)}
        for packet in container.demux(streams):
            k = places[packet.stream_index]
            for frame in packet.decode():
                for part in resamplers[k].resample(frame):
                    files[k].write(part.to_ndarray().reshape(-1, files[k].channels))
        for file, stream in zip(files, streams):
            expected = float((stream.duration or 0) * (stream.time_base or 0))
            seconds = file.frames / file.samplerate
            if seconds < expected - MISSING_SECONDS:
                raise UserError(
                    f"{container.name}: expected {expected:.1f} s, got {seconds:.1f}: "
                    "the file is damaged"
                )


def decode_tree(source: pathlib.Path, target: pathlib.Path) -> tuple[int, int]:
    """Decode all stem files of `train` and `test`; one that fails stops no other.

    Returns how many tracks are there now, and how many failed. Raises UserError where
    there is no stem file.
    """
    found = [
        (path, target / part / path.name[: -len(SUFFIX)])
        for part in ("train", "test")
        for path in sorted((source / part).glob(f"*{SUFFIX}"))
        if not util.is_foreign(path.name)
    ]
    if not found:
        raise UserError(
            f"{source}: expected train/*{SUFFIX} or test/*{SUFFIX}, got no such file"
        )
    if target.exists() and not target.is_dir():
        raise UserError(f"{target}: expected a folder or nothing there, got a file")
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

    return run.run(work)


if __name__ == "__main__":
    sys.exit(main())
