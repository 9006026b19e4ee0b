"""Print how much better stems are than the mixture they were separated from.

    python data/score_stems.py ESTIMATES audio/references

For each mixture whose reference stems NAME_STEM.flac lie in the second folder and whose
estimates NAME_STEM.wav lie in the first (such as a session's `samples/samples_1`), as
the mean of their channels at the references' rate: SI-SDR of each stem and its
improvement over the mixture itself as the estimate, in dB, as a Markdown table.
"""

from __future__ import annotations

import argparse
import pathlib
import sys
from collections.abc import Sequence

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import numpy as np
import sound_files

from sswavenet.console import run as command_line
from sswavenet.evaluation import metrics as scores
from sswavenet.evaluation.tables import markdown_table
from sswavenet.sound import reader as sound
from util import UserError

RATE = 16000  # Hz, of the references, at which stems are scored

STEMS = ("vocals", "drums", "bass", "other")


def read(path: pathlib.Path) -> np.ndarray:
    """A stem: (frames,), float32.

    Raises:
        UserError: It is not mono at `RATE`, or has samples that are not finite.
    """
    samples, rate = sound_files.read(path, "float32")
    if rate != RATE or samples.shape[1] != 1:
        raise UserError(
            f"expected {path} in mono at {RATE} Hz, got {samples.shape[1]} channels at "
            f"{rate} Hz"
        )
    if not np.isfinite(samples).all():
        raise UserError(f"{path} has samples that are not finite")
    return samples[:, 0]


def read_estimate(path: pathlib.Path) -> np.ndarray:
    """The mean of a file's channels at `RATE`: (frames,), float32.

    Raises:
        UserError: It cannot be read, or has samples that are not finite.
    """
    samples = sound.read_mono(path, sample_rate=RATE)
    if not np.isfinite(samples).all():
        raise UserError(f"{path} has samples that are not finite")
    return samples


def read_references(folder: pathlib.Path, name: str) -> dict[str, np.ndarray]:
    """The reference stems of a mixture, and "accompaniment": all but the vocals."""
    stems = {stem: read(folder / f"{name}_{stem}.flac") for stem in STEMS}
    lengths = {stem: len(samples) for stem, samples in stems.items()}
    if len(set(lengths.values())) > 1:
        raise UserError(f"{folder}: expected stems of {name} as long, got {lengths}")
    accompaniment = np.sum([stems[stem] for stem in STEMS[1:]], axis=0)
    return {**stems, "accompaniment": accompaniment}


def score(estimates: pathlib.Path, references: pathlib.Path) -> list[dict]:
    """A row for each estimated stem.

    Args:
        estimates: Folder of NAME_STEM.wav, of any rate and channels.
        references: Folder of NAME_STEM.flac, of the same lengths at `RATE`.

    Raises:
        UserError: There is nothing to score, or a file is no stem.
    """
    for folder in (estimates, references):
        if not folder.is_dir():
            raise UserError(f"{folder}: expected a folder of stems, got none")
    suffix = f"_{STEMS[0]}.flac"
    names = sorted(p.name[: -len(suffix)] for p in references.glob(f"*{suffix}"))
    rows = []
    for name in names:
        stems = read_references(references, name)
        mixture = stems["vocals"] + stems["accompaniment"]
        for stem, reference in stems.items():
            path = estimates / f"{name}_{stem}.wav"
            if not path.exists():
                continue
            estimate = read_estimate(path)
            if len(estimate) != len(reference):
                raise UserError(
                    f"{path} has {len(estimate)} samples, its reference has "
                    f"{len(reference)}"
                )
            found = scores.si_sdr(reference, estimate)
            better = found - scores.si_sdr(reference, mixture)
            rows.append(
                {
                    "Mixture": name,
                    "Stem": stem,
                    "SI-SDR in dB": found,
                    "improvement in dB": better,
                }
            )
    if not rows:
        raise UserError(f"{estimates} has no stems of the mixtures in {references}")
    return rows


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the table; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("estimates", type=pathlib.Path)
    parser.add_argument("references", type=pathlib.Path)
    options = parser.parse_args(argv)

    def work() -> int:
        rows = score(options.estimates, options.references)
        sys.stdout.write(markdown_table(rows) + "\n")
        return 0

    return command_line.run(work)


if __name__ == "__main__":
    sys.exit(main())
