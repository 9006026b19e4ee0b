import os

import pytest

from sswavenet.backend import cores


@pytest.mark.parametrize(("said", "expected"), [("3", 3), ("1", 1)])
def test_openmp_variable_says_how_many_cores_there_are(monkeypatch, said, expected):
    monkeypatch.setenv("OMP_NUM_THREADS", said)
    assert cores.num_cores() == expected


@pytest.mark.parametrize("said", ["", "0", "many", "4,2"])
def test_without_a_number_all_cores_of_the_process_count(monkeypatch, said):
    monkeypatch.setenv("OMP_NUM_THREADS", said)
    assert cores.num_cores() == len(os.sched_getaffinity(0))
