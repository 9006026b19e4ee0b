"""Make a mixture of audio/ and its reference stems from a song of the corpus.

    python data/make_mixture.py SONG audio/NAME.flac --start 8 --seconds 16

SONG is the folder of a song with `vocals.wav`, `drums.wav`, `bass.wav` and `other.wav`.
Each stem is resampled to 44.1 kHz and placed in the stereo picture so that the mean of
both channels is the stem itself; the mixture is their sum, as 16-bit FLAC. The
reference stems, at the rate of the song, go to `audio/references/NAME_STEM.flac`.
"""

from __future__ import annotations

import argparse
import pathlib
import sys
from collections.abc import Sequence

import librosa
import numpy as np
import soundfile

SAMPLE_RATE = 44100
# Left 1 + p, right 1 - p.
PLACES = {"vocals": 0.0, "drums": 0.25, "bass": 0.0, "other": -0.5}


def in_stereo(stems: dict[str, np.ndarray]) -> np.ndarray:
    """Places stems (frames,) side by side and adds them up: (frames, 2)."""
    sides = [
        np.stack([(1 + place) * stems[stem], (1 - place) * stems[stem]], axis=1)
        for stem, place in PLACES.items()
    ]
    return np.sum(sides, axis=0)


def make_mixture(
    song: pathlib.Path, out: pathlib.Path, *, start: float, seconds: float
) -> None:
    """Writes a mixture and its reference stems.

    Args:
        song: Folder of the song.
        out: The mixture's file; a folder `references` beside it gets the stems.
        start: Seconds into the song.
        seconds: Length.

    Raises:
        ValueError: The song ends before, or the mixture would clip.
    """
    stems, rate = {}, 0
    for stem in PLACES:
        whole, rate = soundfile.read(song / f"{stem}.wav", dtype="int16")
        stems[stem] = whole[round(start * rate) : round((start + seconds) * rate)]
    if min(map(len, stems.values())) < round(seconds * rate):
        raise ValueError(f"{song} is shorter than {start + seconds} seconds")
    resampled = {
        stem: librosa.resample(
            samples / 32768,
            orig_sr=rate,
            target_sr=SAMPLE_RATE,
            res_type="soxr_vhq",
        )
        for stem, samples in stems.items()
    }
    mixture = in_stereo(resampled)
    if np.abs(mixture).max() >= 1:
        raise ValueError(f"{song} clips in stereo; choose another part or song")
    references = out.parent / "references"
    references.mkdir(parents=True, exist_ok=True)
    soundfile.write(out, mixture, SAMPLE_RATE, subtype="PCM_16")
    for stem, samples in stems.items():
        path = references / f"{out.stem}_{stem}.flac"
        soundfile.write(path, samples, rate, subtype="PCM_16")


def main(argv: Sequence[str] | None = None) -> int:
    """Makes the mixture asked for; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("song", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--start", type=float, default=0.0, help="seconds, default 0")
    parser.add_argument("--seconds", type=float, default=16.0, help="default 16")
    options = parser.parse_args(argv)
    try:
        make_mixture(
            options.song, options.out, start=options.start, seconds=options.seconds
        )
    except (OSError, RuntimeError, ValueError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
