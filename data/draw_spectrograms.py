"""Draw a mixture and its stems as spectrograms.

    python data/draw_spectrograms.py OUT.png MIXTURE STEM [STEM ...]

Each file gets a row, titled by its name: the magnitude of its short-time Fourier
transform, in dB below the loudest of all files, over a frequency axis in octaves.
"""

from __future__ import annotations

import pathlib
import sys
from collections.abc import Sequence

import librosa
import librosa.display
import matplotlib.figure
import numpy as np
import soundfile

RATE = 16000  # Hz
WINDOW, HOP = 1024, 256  # samples
RANGE_DB = 70


def read(path: pathlib.Path) -> np.ndarray:
    """A file's mean over its channels, at `RATE`: (frames,)."""
    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    return librosa.resample(samples.mean(axis=1), orig_sr=rate, target_sr=RATE)


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
        axis.set(title=path.stem, ylabel="Hz")
        axis.label_outer()
    figure.colorbar(image, ax=axes, label="dB")
    return figure


def main(argv: Sequence[str] | None = None) -> int:
    """Writes the picture; returns the exit status."""
    arguments = [pathlib.Path(a) for a in (sys.argv[1:] if argv is None else argv)]
    if len(arguments) < 2:
        sys.stderr.write("usage: draw_spectrograms.py OUT.png FILE [FILE ...]\n")
        return 2
    out, *files = arguments
    try:
        draw(files).savefig(out, dpi=80)
    except (OSError, RuntimeError, ValueError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
