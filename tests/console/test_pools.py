"""Processes that share work."""

import pathlib
import subprocess
import sys

import pytest

# The second process does its work and dies before it is known to who waits for it.
LATE = """
import multiprocessing.context, os, time
from sswavenet.console import pools
from util import UserError

class Late(multiprocessing.context.SpawnProcess):
    count = 0

    def start(self):
        super().start()
        Late.count += 1
        if Late.count == 2:
            time.sleep(3)

multiprocessing.context.SpawnContext.Process = Late

if __name__ == "__main__":
    try:
        with pools.process_pool(2, int, broken="ended early") as pool:
            pool.submit(time.sleep, 1)
            pool.submit(os.abort).result()
    except UserError as error:
        print(error, Late.count)
"""


@pytest.mark.slow
def test_a_process_that_dies_while_it_begins_is_noticed(tmp_path):
    path = tmp_path / "late.py"
    path.write_text(LATE)
    done = subprocess.run(
        [sys.executable, str(path)],
        env={"PYTHONPATH": str(pathlib.Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout == "ended early 2\n", done.stderr
