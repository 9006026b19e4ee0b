"""What the tests of evaluation share."""

import csv
import math

import numpy as np
import pytest
import soundfile
from scipy import signal

from main import main
from tests.support import STEMS, copy_golden_session

RATE = 16000


def make_stems(rng, seconds=2.5, rate=RATE):
    """Four different noises (stems, frames), each with a spectrum of its own."""
    num_frames = round(seconds * rate)
    noise = 0.1 * rng.standard_normal((len(STEMS), num_frames))
    return np.stack(
        [
            signal.lfilter([1], [1, slope], row)
            for slope, row in zip((-0.9, -0.3, 0.4, 0.9), noise)
        ]
    ).astype("float32")


def write_track(folder, stems, mixture=None, rate=RATE):
    """A track of a MUSDB18 tree, in files that keep every sample."""
    folder.mkdir(parents=True)
    mixture = stems.sum(axis=0) if mixture is None else mixture
    for name, audio in zip((*STEMS, "mixture"), (*stems, mixture)):
        soundfile.write(folder / f"{name}.wav", audio, rate, subtype="FLOAT")


@pytest.fixture
def tree(tmp_path, rng):
    """A MUSDB18 tree of two test tracks."""
    for name in ("first", "second"):
        write_track(tmp_path / "musdb" / "test" / name, make_stems(rng))
    return tmp_path / "musdb"


@pytest.fixture
def multi_instrument(tmp_path):
    return copy_session(tmp_path, "multi-instrument")


def copy_session(tmp_path, task_name):
    return copy_golden_session(tmp_path / "session", task_name)


def run(session, tree, *more):
    return main(
        [
            *("--mode", "evaluation", "--config", str(session / "config.json")),
            *("--dataset_path", str(tree), *more),
            *(() if "--metrics" in more else ("--jobs", "1")),
        ]
    )


def read_rows(folder):
    with (folder / "summary.csv").open() as file:
        rows = list(csv.DictReader(file))
    return {(row["songs"], row["method"], row["stem"]): row for row in rows}


def reference_si_sdr(reference, estimate):
    """Le Roux et al. 2019, equation 5, the angle form: no projection is formed."""
    cosine = np.dot(reference, estimate) / (
        np.linalg.norm(reference) * np.linalg.norm(estimate)
    )
    return 10 * math.log10(cosine**2 / (1 - cosine**2))


def make_target(name, level_db, si_sdr, windows=()):
    return {
        "name": name,
        "level_db": level_db,
        "gain_db": si_sdr - 10,
        "si_sdr": si_sdr,
        "left_out": {} if not math.isnan(si_sdr) else {"si_sdr": "silent reference"},
        "frames": [
            {"metrics": dict.fromkeys(("SDR", "ISR", "SIR", "SAR"), score)}
            for score in windows
        ],
    }


def stereo_track(rng, rate):
    """Stems (stems, frames, channels), each with a place of its own."""
    mono = make_stems(rng, rate=rate)
    sides = np.array([(1, 1), (0.3, 1), (1, 1), (1, 0.2)], "float32")
    return mono[:, :, np.newaxis] * sides[:, np.newaxis]
