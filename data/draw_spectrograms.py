"""Draw a mixture's separated stems beside their references, as spectrograms.

    python data/draw_spectrograms.py OUT.png MIXTURE ESTIMATES REFERENCES

ESTIMATES and REFERENCES are folders with `<name of the mixture>_<stem>.*`, such as a
session's `samples/samples_1` and `audio/references`. Below the mixture each stem has a
row, in the order in which a session names its stems: on the left what was separated,
on the right the reference. Colours are levels in dB below the loudest point of all.
"""

from __future__ import annotations

import io
import os
import pathlib
import sys
import warnings
from collections.abc import Sequence
from typing import Any

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from sswavenet.console import packages

with packages.required():
    import librosa
    import librosa.display
    import matplotlib.figure
    import numpy as np
    import score_stems

    from sswavenet.sound import reader

import util
from sswavenet.config.tasks import TASKS
from sswavenet.console import places, run
from sswavenet.console.parser import described
from util import UserError

RATE = score_stems.RATE  # Hz
WINDOW, HOP = 1024, 256  # samples
RANGE_DB = 70
TICKS = (125, 500, 2000, 8000)  # Hz
LOWEST = 40  # Hz

STEMS = tuple(dict.fromkeys(stem for task in TASKS.values() for stem in task.stems))


def read(path: pathlib.Path) -> np.ndarray:
    """A file's mean over its channels, at `RATE`: (frames,), enough to be drawn."""
    return checked(reader.read_mono(path, sample_rate=RATE), str(path))


def checked(samples: np.ndarray, what: str) -> np.ndarray:
    """The samples, if they can be drawn."""
    if len(samples) < WINDOW:
        raise UserError(
            f"{what}: expected at least {WINDOW} samples at {RATE} Hz, got "
            f"{len(samples)}"
        )
    if not samples.any():
        raise UserError(f"{what}: expected some sound, got silence")
    return samples


def find_estimates(folder: pathlib.Path, name: str) -> dict[str, pathlib.Path]:
    """The files of a mixture's stems in a folder, by stem, in a session's order."""
    there = sorted(folder.iterdir()) if folder.is_dir() else []
    files = {path.stem: path for path in there if not path.name.startswith(".")}
    found = {
        stem: files[f"{name}_{stem}"] for stem in STEMS if f"{name}_{stem}" in files
    }
    if not found:
        raise UserError(
            f"{folder}: expected stems of {name}, such as {name}_vocals.wav, found none"
        )
    return found


def draw(
    mixture: np.ndarray, stems: dict[str, tuple[np.ndarray, np.ndarray]], name: str
) -> matplotlib.figure.Figure:
    """A figure with the mixture above, and a row for each stem below it.

    For each stem there are the estimate and the reference; all are (frames,) at `RATE`.
    """
    rows: list[Any] = [["mixture", "mixture"]]
    sounds, titles = {"mixture": mixture}, {"mixture": f"{name}: the mixture"}
    for stem, pair in stems.items():
        rows.append([f"{stem}, separated", f"{stem}, reference"])
        sounds.update(zip(rows[-1], pair))
        titles.update(zip(rows[-1], rows[-1]))
    figure = matplotlib.figure.Figure(
        figsize=(12, 2.2 * len(rows)), layout="constrained"
    )
    axes = figure.subplot_mosaic(rows, sharex=True, sharey=True)
    magnitudes = {
        title: np.abs(librosa.stft(samples, n_fft=WINDOW, hop_length=HOP))
        for title, samples in sounds.items()
    }
    loudest = max(magnitude.max() for magnitude in magnitudes.values())
    for title, magnitude in magnitudes.items():
        axis: Any = axes[title]
        image = librosa.display.specshow(
            librosa.amplitude_to_db(magnitude, ref=loudest, top_db=None),
            sr=RATE,
            n_fft=WINDOW,
            hop_length=HOP,
            x_axis="s",
            y_axis="log",
            ax=axis,
            vmin=-RANGE_DB,
            vmax=0,
            cmap="magma",
        )
        axis.set_title(titles[title], parse_math=False)
        axis.set(xlabel="time in s", ylabel="frequency in Hz", ylim=(LOWEST, RATE / 2))
        axis.set_yticks(TICKS, map(str, TICKS))
        axis.minorticks_off()
        if title != "mixture":
            axis.label_outer()
    axes["mixture"].tick_params(labelbottom=True)
    figure.colorbar(image, ax=list(axes.values()), label="level in dB", aspect=50)
    return figure


def main(argv: Sequence[str] | None = None) -> int:
    """Writes the picture; returns the exit status."""
    parser = described(__doc__)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("mixture", type=pathlib.Path)
    parser.add_argument("estimates", type=pathlib.Path)
    parser.add_argument("references", type=pathlib.Path)
    options = parser.parse_args(argv)

    def work() -> int:
        if options.out.suffix != ".png":
            raise UserError(f"expected a picture's name in .png, got {options.out}")
        name = options.mixture.stem
        found = find_estimates(options.estimates, name)
        inputs = [options.mixture, *found.values()]
        places.check_not_among([options.out], inputs, "an input")
        places.check_place(options.out)
        references = score_stems.read_references(options.references, name)
        stems = {
            stem: (read(path), checked(references[stem], f"the reference of {stem}"))
            for stem, path in found.items()
        }
        title = os.fsencode(name).decode("utf-8", "backslashreplace")
        figure, picture = draw(read(options.mixture), stems, title), io.BytesIO()
        with warnings.catch_warnings():
            # The font lacks the letters of some names; boxes stand for them.
            warnings.filterwarnings("ignore", "Glyph .* missing")
            figure.savefig(picture, dpi=80)
        util.write_bytes(options.out, picture.getbuffer())
        return 0

    return run.run(work)


if __name__ == "__main__":
    sys.exit(main())
