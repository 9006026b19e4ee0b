"""Print how much better stems are than the mixture they were separated from.

    python data/score_stems.py ESTIMATES audio/references

For each mixture whose reference stems NAME_STEM.flac lie in the second folder and whose
estimates NAME_STEM.wav lie in the first (such as a session's `samples/samples_1`), as
the mean of their channels at the references' rate: SI-SDR of each stem and its
improvement over the mixture itself as the estimate, in dB, as a Markdown table.
"""

from __future__ import annotations

import pathlib
import sys
from collections.abc import Sequence

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from sswavenet.console import packages

with packages.required():
    from sswavenet.evaluation.references import (
        RATE,
        STEMS,
        read_references,
        score_song,
        song_names,
    )

from sswavenet.console import run
from sswavenet.console.parser import described
from sswavenet.console.tables import markdown_table
from util import UserError

__all__ = ["RATE", "STEMS", "main", "read_references", "score"]


def score(estimates: pathlib.Path, references: pathlib.Path) -> list[dict]:
    """A row for each estimated stem; a UserError where there is nothing to score.

    Estimates are NAME_STEM.wav, of any rate and channels, references NAME_STEM.flac, of
    the same lengths at `RATE`.
    """
    for folder in (estimates, references):
        if not folder.is_dir():
            raise UserError(f"{folder}: expected a folder of stems, got none")
    rows = []
    for name in song_names(references):
        paths = {
            stem: estimates / f"{name}_{stem}.wav" for stem in (*STEMS, "accompaniment")
        }
        found = {stem: path for stem, path in paths.items() if path.exists()}
        rows += score_song(name, found, references)
    if not rows:
        raise UserError(f"{estimates} has no stems of the mixtures in {references}")
    return rows


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the table; returns the exit status."""
    parser = described(__doc__)
    parser.add_argument("estimates", type=pathlib.Path)
    parser.add_argument("references", type=pathlib.Path)
    options = parser.parse_args(argv)

    def work() -> int:
        rows = score(options.estimates, options.references)
        sys.stdout.write(markdown_table(rows) + "\n")
        return 0

    return run.run(work)


if __name__ == "__main__":
    sys.exit(main())
