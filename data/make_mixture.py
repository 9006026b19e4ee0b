"""Make a mixture of audio/ and its reference stems from a song of the corpus.

    python data/make_mixture.py SONG audio/NAME.flac --start 8 --seconds 16

SONG is the folder of a song with `vocals.wav`, `drums.wav`, `bass.wav` and `other.wav`.
Each stem is resampled to 44.1 kHz and placed in the stereo picture so that the mean of
both channels is the stem itself; the mixture is their sum, as 16-bit FLAC. The
reference stems, at the rate of the song, go to `audio/references/NAME_STEM.flac`.
"""

from __future__ import annotations

import contextlib
import pathlib
import sys
from collections.abc import Sequence

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from sswavenet.console import packages

with packages.required():
    import librosa
    import numpy as np
    import sound_files

import util
from sswavenet.console import places, run
from sswavenet.console.parser import described
from util import UserError

SAMPLE_RATE = 44100
SHORTEST = 0.1  # seconds
# Left 1 + p, right 1 - p.
PLACES = {"vocals": 0.0, "drums": 0.25, "bass": 0.0, "other": -0.5}


def in_stereo(stems: dict[str, np.ndarray]) -> np.ndarray:
    """Places stems (frames,) side by side and adds them up: (frames, 2)."""
    sides = [
        np.stack([(1 + place) * stems[stem], (1 - place) * stems[stem]], axis=1)
        for stem, place in PLACES.items()
    ]
    return np.sum(sides, axis=0)


def read_part(
    song: pathlib.Path, start: float, seconds: float
) -> tuple[dict[str, np.ndarray], int]:
    """A part of a song's stems: (frames,) each, int16, and their sample rate.

    Raises UserError where a stem is missing, ends before, is not mono or has another
    rate.
    """
    stems, rates = {}, {}
    for stem in PLACES:
        path = song / f"{stem}.wav"
        whole, rate = sound_files.read(path, "int16")
        if whole.shape[1] != 1:
            raise UserError(f"{path}: expected mono, got {whole.shape[1]} channels")
        if start + seconds > len(whole) / rate:
            raise UserError(
                f"{path}: expected {start + seconds} seconds or more, got "
                f"{len(whole) / rate}"
            )
        part = slice(round(start * rate), round((start + seconds) * rate))
        stems[stem], rates[stem] = whole[part, 0], rate
    if len(set(rates.values())) > 1:
        raise UserError(f"{song}: expected stems of one sample rate, got {rates}")
    return stems, rate


def make_mixture(
    song: pathlib.Path, out: pathlib.Path, *, start: float, seconds: float
) -> None:
    """Writes a mixture and its reference stems, after all checks; the mixture last.

    A folder `references` beside it gets the stems. Raises UserError where the song has
    no such part, the mixture would clip, or a file cannot be written.
    """
    if out.suffix != ".flac":
        raise UserError(f"expected a mixture's name in .flac, got {out}")
    if not (0 <= start < float("inf") and SHORTEST <= seconds < float("inf")):
        raise UserError(
            f"expected a start of 0 seconds or later and {SHORTEST} seconds or more, "
            f"got {start} and {seconds}"
        )
    stems, rate = read_part(song, start, seconds)
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
        raise UserError(f"{song} clips in stereo; choose another part or song")
    references = out.parent / "references"
    files = [
        (references / f"{out.stem}_{stem}.flac", samples, rate)
        for stem, samples in stems.items()
    ]
    files.insert(0, (out, mixture, SAMPLE_RATE))
    for path, _, _ in files:
        places.check_place(path)
    # What is entered first gets its name last: the mixture, when its stems have theirs.
    with contextlib.ExitStack() as stack:
        for path, samples, sample_rate in files:
            temporary = stack.enter_context(util.replacing(path))
            sound_files.write(temporary, samples, sample_rate, final=path)


def main(argv: Sequence[str] | None = None) -> int:
    """Makes the mixture asked for; returns the exit status."""
    parser = described(__doc__)
    parser.add_argument("song", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--start", type=float, default=0.0, help="seconds, default 0")
    parser.add_argument("--seconds", type=float, default=16.0, help="default 16")
    options = parser.parse_args(argv)

    def work() -> int:
        make_mixture(
            options.song, options.out, start=options.start, seconds=options.seconds
        )
        return 0

    return run.run(work)


if __name__ == "__main__":
    sys.exit(main())
