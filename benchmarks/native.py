"""Compare stems at a mixture's own rate with the network's own, resampled.

    python benchmarks/native.py DATASET [--config sessions/multi-instrument/config.json]

For the tracks in DATASET/test: SDR of each stem against the tracks' own (all channels,
the whole track at once), in dB, mean over the tracks; and the stems' level beside the
true ones. `resampled` puts the network's mono estimates on every channel. A Markdown
table.
"""

from __future__ import annotations

import argparse
import pathlib
import sys
from collections.abc import Iterator

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np

import sswavenet
from sswavenet.console.tables import markdown_table
from sswavenet.evaluation import metrics
from sswavenet.musdb.track import source_names, split_rows
from sswavenet.sound.reader import AudioReader
from sswavenet.sound.resampling import resample, to_mono


def read_track(
    folder: pathlib.Path, session: sswavenet.Session
) -> tuple[dict[str, np.ndarray], np.ndarray, int]:
    """A track's stems by name and its mixture, (frames, channels), and their rate."""
    audio = {}
    for name in source_names(folder, session.config.task):
        with AudioReader(folder / f"{name}.wav") as reader:
            audio[name] = np.concatenate(list(reader.blocks()))
            rate = reader.sample_rate
    rows, _ = split_rows(audio, session.config.task)
    return {row[0]: stem for row, stem in rows.items()}, audio["mixture"], rate


def resampled(
    mixture: np.ndarray, rate: int, session: sswavenet.Session
) -> dict[str, np.ndarray]:
    """The network's own estimates at another rate, on every channel."""

    def to_rate(audio: np.ndarray, from_rate: int, to_rate: int) -> np.ndarray:
        blocks = resample([audio], from_rate=from_rate, to_rate=to_rate)
        return np.concatenate(list(blocks))

    heard = to_rate(to_mono(mixture), rate, session.sample_rate)
    found = {}
    for name, stem in session.separate(heard, session.sample_rate).items():
        stem = to_rate(stem, session.sample_rate, rate)[: len(mixture)]
        found[name] = np.repeat(stem[:, np.newaxis], mixture.shape[1], axis=1)
    return found


def sdr(reference: np.ndarray, estimate: np.ndarray) -> float:
    """The reference's power beside that of the difference, in dB."""
    return metrics.power_db(reference) - metrics.power_db(reference - estimate)


def compare(
    tracks: list[pathlib.Path], session: sswavenet.Session
) -> Iterator[dict[str, object]]:
    """Rows of the table."""
    scores: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for folder in tracks:
        references, mixture, rate = read_track(folder, session)
        ways = {
            "resampled": resampled(mixture, rate, session),
            "native": session.separate(mixture, rate),
        }
        for way, stems in ways.items():
            for name, reference in references.items():
                estimate = stems[name]
                gain = metrics.power_db(estimate) - metrics.power_db(reference)
                found = scores.setdefault((way, name), [])
                found.append((sdr(reference, estimate), gain))
    for (way, name), found in scores.items():
        score, gain = np.mean(found, axis=0)
        yield {"stems": way, "stem": name, "SDR": float(score), "level": float(gain)}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("dataset", type=pathlib.Path, metavar="DATASET")
    parser.add_argument("--config", default="multi-instrument")
    args = parser.parse_args()
    session = sswavenet.load_session(args.config)
    tracks = sorted(path.parent for path in args.dataset.glob("test/*/mixture.wav"))
    sys.stdout.write(markdown_table(list(compare(tracks, session))) + "\n")


if __name__ == "__main__":
    main()
