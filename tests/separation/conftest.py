"""A network that halves and quarters the mixture, and what it makes of files."""

import pathlib

import numpy as np
import pytest
import soundfile

from sswavenet.separation.engine import Engine
from sswavenet.separation.folder import separate_all
from sswavenet.separation.inputs import find_mixtures
from sswavenet.separation.options import Options
from tests.support import tiny_config


def halving(config, gains=(0.5, 0.25, 0.0)):
    """A `build_predict` whose estimates are the mixture times `gains`."""
    shapes = []

    def build(*, target_field_length, target_padding, input_length):
        shapes.append((target_field_length, target_padding, input_length))
        count = target_field_length + 2 * target_padding
        start = (input_length - count) // 2

        def predict(fragments):
            fields = fragments[:, start : start + count]
            used = gains[: len(config.task.estimates)]
            return np.array([gain * fields for gain in used], np.float32)

        return predict

    build.shapes = shapes
    return build


@pytest.fixture
def config():
    return tiny_config()


def run(folder, config, tmp_path, build_predict=None, recursive=False, **settings):
    settings.setdefault("output_path", tmp_path / "out")
    return separate_all(
        find_mixtures(folder, recursive=recursive).mixtures,
        Engine(config, build_predict or halving(config)),
        Options(**settings),
        tmp_path / "session",
    )


def names(folder: pathlib.Path) -> list:
    """All files below a folder, hidden ones too."""
    return sorted(
        str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()
    )


def stems_of(tmp_path, name, config):
    return {
        stem: soundfile.read(tmp_path / "out" / f"{name}_{stem}.wav", dtype="float32")[
            0
        ]
        for stem in config.task.stems
    }
