"""What the tests of checkpoints share."""

import shutil

import pytest

from sswavenet import checkpoints
from tests.support import golden_checkpoint, golden_config


@pytest.fixture
def copied(tmp_path):
    """A copy of the golden multi-instrument checkpoint to spoil."""
    path = tmp_path / "checkpoint.00002-0.169.hdf5"
    shutil.copy(golden_checkpoint("multi-instrument"), path)
    return path


def read(path, convention=None):
    return checkpoints.read_checkpoint(
        path, golden_config("multi-instrument"), convention
    )
