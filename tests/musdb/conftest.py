"""What the tests of data sets share: trees of tracks whose samples tell their place."""

import os
import shutil

import numpy as np
import pytest
import soundfile

from datasets import Dataset
from tests.support import tiny_config

RATE = 16000
NUM_FRAMES = 12000
RAMP = np.arange(NUM_FRAMES, dtype=np.float32) / 65536  # exact: tells the place


def write_track(folder, stems, *, rate=RATE, mixture=None):
    folder.mkdir(parents=True, exist_ok=True)
    if mixture is None:
        mixture = sum(stems.values())
    for name, audio in {**stems, "mixture": mixture}.items():
        soundfile.write(str(folder / f"{name}.wav"), audio, rate, "FLOAT")


def coded_stems(number, rng):
    """Stems that tell where they come from: the place, the track, two of noise."""
    noise = rng.standard_normal((2, NUM_FRAMES)).astype(np.float32) / 16
    return {
        "vocals": RAMP,
        "drums": np.full(NUM_FRAMES, (number + 1) / 256, np.float32),
        "bass": noise[0],
        "other": noise[1],
    }


def gated_stems(segments, num_frames=NUM_FRAMES):
    """Vocals at full level within `segments` and silent elsewhere; the bass a ramp."""
    vocals = np.zeros(num_frames, np.float32)
    for start, stop in segments:
        vocals[start:stop] = 0.25
    silence = np.zeros(num_frames, np.float32)
    ramp = np.arange(num_frames, dtype=np.float32) / 65536
    return {"vocals": vocals, "drums": silence, "bass": ramp, "other": silence}


def names_of(count):
    return [f"Artist {k:02d} - Song" for k in range(count)]


# Those of `coded_tree` that train; the other 25 of its 30 validate.
TRAIN_NAMES = [names_of(30)[k] for k in (7, 8, 23, 25, 28)]


def write_tree(folder, make_stems, *, num_tracks=26, part="train"):
    for number, name in reversed(list(enumerate(names_of(num_tracks)))):
        write_track(folder / part / name, make_stems(number))
    return folder


def write_same(folder, stems, *, num_tracks=26, rate=RATE):
    """A tree in which all tracks are the same."""
    write_track(folder / "one", stems, rate=rate)
    (folder / "train").mkdir()
    for name in names_of(num_tracks):
        (folder / "train" / name).symlink_to(folder / "one")
    return folder


def own(folder):
    """Replace a linked track by a copy, to be changed."""
    source = folder.resolve()
    folder.unlink()
    return shutil.copytree(source, folder)


@pytest.fixture(scope="session")
def coded_tree(tmp_path_factory):
    """Thirty tracks of `coded_stems`, and two to test with; read only."""
    rng, folder = np.random.default_rng(7), tmp_path_factory.mktemp("coded")
    write_tree(folder, lambda k: coded_stems(k, rng), num_tracks=30)
    return write_tree(folder, lambda k: coded_stems(k, rng), num_tracks=2, part="test")


@pytest.fixture
def tree(coded_tree, tmp_path):
    """The tracks of `coded_tree`; `own` one before it is changed."""
    for source in coded_tree.glob("*/*"):
        link = tmp_path / "set" / source.parent.name / source.name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(source)
    return tmp_path / "set"


@pytest.fixture
def make_config(tmp_path):
    def make(folder, task_name="multi-instrument", **changes):
        config = tiny_config(task_name, dataset={"path": str(folder)})
        return config.replace(**changes)

    return make


@pytest.fixture
def load(tmp_path):
    def load_dataset(config, subsets=("train",)):
        dataset = Dataset(config, cache_folder=tmp_path / "cache")
        dataset.load(subsets, progress=False)
        return dataset

    return load_dataset


def draw_many(dataset, count, seed=0, subset="train"):
    return dataset.draw_batch(subset, count, np.random.default_rng(seed))


def fragment_starts(config, ramp_targets):
    """Where fragments began, from the first target sample of a `RAMP`."""
    before = config.receptive_field_length // 2 - config.target_padding
    return np.rint(ramp_targets[:, 0] * 65536).astype(int) - before


def put_pipe(path):
    path.unlink()
    os.mkfifo(path)
