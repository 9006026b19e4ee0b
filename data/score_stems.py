"""Print how much better stems are than the mixture they were separated from.

    python data/score_stems.py ESTIMATES audio/references

For each mixture whose reference stems NAME_STEM.flac lie in the second folder and whose
estimates NAME_STEM.wav lie in the first (such as a session's `samples/samples_1`):
SI-SDR of each stem and its improvement over the mixture itself as the estimate, in dB,
as a Markdown table.
"""

from __future__ import annotations

import pathlib
import sys
from collections.abc import Sequence

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

import numpy as np
import soundfile

import score_report
import scores

RATE = 16000  # Hz, of the references and of what is scored

STEMS = ("vocals", "drums", "bass", "other")


def read_references(folder: pathlib.Path, name: str) -> dict[str, np.ndarray]:
    """The reference stems of a mixture, and "accompaniment": all but the vocals."""
    stems = {
        stem: soundfile.read(folder / f"{name}_{stem}.flac", dtype="float32")[0]
        for stem in STEMS
    }
    accompaniment = np.sum([stems[stem] for stem in STEMS[1:]], axis=0)
    return {**stems, "accompaniment": accompaniment}


def score(estimates: pathlib.Path, references: pathlib.Path) -> list[dict]:
    """A row for each estimated stem.

    Args:
        estimates: Folder of NAME_STEM.wav.
        references: Folder of NAME_STEM.flac, of the same lengths and rate.

    Raises:
        ValueError: There is nothing to score, or lengths differ.
    """
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
            estimate, rate = soundfile.read(path, dtype="float32", always_2d=True)
            if rate != RATE or estimate.shape[1] != 1:
                raise ValueError(
                    f"expected {path} in mono at {RATE} Hz, got {estimate.shape[1]} "
                    f"channels at {rate} Hz"
                )
            estimate = estimate[:, 0]
            if not np.isfinite(estimate).all():
                raise ValueError(f"{path} has samples that are not finite")
            if len(estimate) != len(reference):
                raise ValueError(
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
        raise ValueError(f"{estimates} has no stems of the mixtures in {references}")
    return rows


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the table; returns the exit status."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    if len(arguments) != 2:
        sys.stderr.write("usage: score_stems.py ESTIMATES REFERENCES\n")
        return 2
    try:
        rows = score(*map(pathlib.Path, arguments))
    except (OSError, RuntimeError, ValueError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    sys.stdout.write(score_report.markdown_table(rows) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
