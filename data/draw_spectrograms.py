"""Draw a mixture and its stems as spectrograms.

    python data/draw_spectrograms.py OUT.png MIXTURE STEM [STEM ...]

Each file gets a row, titled by its name: the magnitude of its short-time Fourier
transform, in dB below the loudest of all files, over a frequency axis in octaves.
"""

from __future__ import annotations

import argparse
import io
import os
import pathlib
import sys
import warnings
from collections.abc import Sequence

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import librosa
import librosa.display
import matplotlib.figure
import numpy as np

import util
from sswavenet.console import places
from sswavenet.console import run as command_line
from sswavenet.sound import reader as sound
from util import UserError

RATE = 16000  # Hz
WINDOW, HOP = 1024, 256  # samples
RANGE_DB = 70


def read(path: pathlib.Path) -> np.ndarray:
    """A file's mean over its channels, at `RATE`: (frames,).

    Raises:
        UserError: It cannot be read, or has nothing to be drawn.
    """
    samples = sound.read_mono(path, sample_rate=RATE)
    if len(samples) < WINDOW:
        raise UserError(
            f"{path}: expected at least {WINDOW} samples at {RATE} Hz, got "
            f"{len(samples)}"
        )
    if not np.isfinite(samples).all() or not samples.any():
        raise UserError(f"{path}: expected some sound, got silence or no numbers")
    return samples


def draw(files: Sequence[pathlib.Path]) -> matplotlib.figure.Figure:
    """A figure with a spectrogram of each file, mono at `RATE`."""
    figure = matplotlib.figure.Figure(
        figsize=(8, 1.5 * len(files)), layout="constrained"
    )
    axes = figure.subplots(len(files), sharex=True, squeeze=False)[:, 0]
    magnitudes = [
        np.abs(librosa.stft(read(path), n_fft=WINDOW, hop_length=HOP)) for path in files
    ]
    loudest = max(magnitude.max() for magnitude in magnitudes)
    for path, magnitude, axis in zip(files, magnitudes, axes):
        image = librosa.display.specshow(
            librosa.amplitude_to_db(magnitude, ref=loudest, top_db=None),
            sr=RATE,
            n_fft=WINDOW,
            hop_length=HOP,
            x_axis="time",
            y_axis="log",
            ax=axis,
            vmin=-RANGE_DB,
            vmax=0,
            cmap="magma",
        )
        name = os.fsencode(path.stem).decode("utf-8", "backslashreplace")
        axis.set_title(name, parse_math=False)
        axis.set_ylabel("Hz")
        axis.label_outer()
    figure.colorbar(image, ax=axes, label="dB")
    return figure


def main(argv: Sequence[str] | None = None) -> int:
    """Writes the picture; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("files", type=pathlib.Path, nargs="+")
    options = parser.parse_args(argv)

    def work() -> int:
        if options.out.suffix != ".png":
            raise UserError(f"expected a picture's name in .png, got {options.out}")
        places.check_not_among([options.out], options.files, "an input")
        places.check_place(options.out)
        figure, picture = draw(options.files), io.BytesIO()
        with warnings.catch_warnings():
            # The font lacks the letters of some names; boxes stand for them.
            warnings.filterwarnings("ignore", "Glyph .* missing")
            figure.savefig(picture, dpi=80)
        util.write_bytes(options.out, picture.getbuffer())
        return 0

    return command_line.run(work)


if __name__ == "__main__":
    sys.exit(main())
