"""Bars that tell how far a separation is, and lines that do not get into them."""

import contextlib
import fcntl
import os
import pathlib
import pty
import re
import select
import struct
import subprocess
import sys
import termios

import numpy as np
import pytest

from sswavenet.separation import streaming
from sswavenet.separation.framing import Framing, Network, estimate_blocks
from sswavenet.separation.progress import Bars
from tests.support import random_weights, tiny_config

ROOT = pathlib.Path(__file__).parents[2]


def open_terminal(lines=40, columns=100):
    """Both ends of a terminal of so many lines and columns."""
    screen, end = pty.openpty()
    fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("4H", lines, columns, 0, 0))
    return screen, end


def all_of(screen):
    """What a terminal has shown; it gives its lines one at a time."""
    shown = b""
    while select.select([screen], [], [], 0)[0]:
        shown += os.read(screen, 10000)
    return shown.decode()


@contextlib.contextmanager
def terminal(*size):
    """Stderr as a terminal; gives its screen's end.

    No fixture: pytest puts a stderr of its own in place between that and the test.
    """
    screen, end = open_terminal(*size)
    with os.fdopen(end, "w") as stderr, contextlib.redirect_stderr(stderr):
        yield screen
    os.close(screen)


def numbers(steps):
    """Progress that is remembered."""
    return [int(step) for step in steps if step]


@pytest.mark.parametrize("length", [1, 5000, 6001, 20001])
def test_progress_is_told_within_a_pass_and_adds_up(length, rng):
    config = tiny_config()
    framing = Framing.seamless(config, 5000)
    predict = streaming.BlockwisePredict(
        config,
        random_weights(config, rng),
        target_field_length=5000,
        target_padding=framing.target_padding,
        input_length=framing.input_length,
        num_threads=2,
    )
    steps: list = []
    mixture = rng.uniform(-0.5, 0.5, length).astype("f4")
    network = Network(framing, 2, predict)
    parts = estimate_blocks([mixture], network, num_estimates=3, progress=steps.append)
    assert sum(len(part) for part, _ in parts) == length
    assert sum(steps) == length
    assert max(steps) <= streaming.BLOCK_LENGTH


def test_a_network_that_takes_its_fragments_whole_tells_of_them(rng):
    config = tiny_config()
    steps: list = []
    network = Network(
        Framing.seamless(config, 100),
        2,
        lambda fragments: np.zeros((3, 2, 100 + 2 * config.head_margin), "f4"),
    )
    mixture = rng.uniform(-0.5, 0.5, 450).astype("f4")
    list(estimate_blocks([mixture], network, num_estimates=3, progress=steps.append))
    assert numbers(steps) == [200, 200, 50]


def test_both_bars_advance_within_a_file():
    with terminal() as screen:
        with Bars([100, 300], 1000) as bars:
            for name, size, before in (("a.wav", 100, 0), ("b.wav", 300, 100)):
                with bars.next_file(name, size) as bar:
                    # Again from the start, as after a failed attempt.
                    for _ in range(2):
                        bar.begin(5000)
                        for done in (1, 2, 3, 4):
                            bar(1000)
                            assert bars._bar.n == pytest.approx(
                                before + size * done / 5
                            )
                            assert bar._bar.n == 1000 * done
                assert bars._bar.n == before + size
        shown = all_of(screen)
        assert "a.wav:   0%" in shown
        assert "0.0/5.0 s of audio" in shown
        assert "all files: 100%" in shown
        assert "| file 2 of 2 [" in shown
        assert "|," not in shown


@pytest.mark.parametrize(
    ("lines", "columns", "expected"),
    [(0, 0, 79), (40, 0, 79), (0, 100, 99), (40, 100, 99)],
)
def test_bars_are_shown_where_the_terminal_does_not_tell_its_size(
    lines, columns, expected
):
    with terminal(lines, columns) as screen:
        with Bars([100, 300], 1000) as bars, bars.next_file("a.wav", 100) as bar:
            bar.begin(1000)
            bar(1000)
        shown = re.split("[\r\n]+", all_of(screen))
    for name in ("a.wav:", "all files:"):
        drawn = [line.replace("\x1b[A", "") for line in shown if name in line]
        assert {len(line.rstrip()) for line in drawn} == {expected}, name


def test_a_single_file_has_one_bar():
    with terminal() as screen:
        with Bars([100], 1000) as bars, bars.next_file("a.wav", 100) as bar:
            bar.begin(1000)
            bar(1000)
        shown = all_of(screen)
        assert "a.wav: 100%" in shown
        assert "all files" not in shown


@pytest.mark.parametrize("count", [1, 2])
def test_many_small_steps_do_not_go_beyond_the_end(count):
    # 0.1 + 0.1 + 0.1 > 0.3, of which tqdm would warn.
    with terminal() as screen:
        with Bars([7] * count, 10) as bars:
            for _ in range(count):
                with bars.next_file("a.wav", 7) as bar:
                    bar.begin(3)
                    for _ in range(3):
                        bar(1)
                        bar._bar.refresh()
                        bars._bar.refresh()
        assert bars._bar.n == 7 * count
        shown = all_of(screen)
        assert "a.wav: 100%" in shown
        assert "0.3/0.3 s of audio" in shown


def test_a_file_that_fails_counts_as_done():
    with terminal(), Bars([100, 300], 1000) as bars:
        with bars.next_file("a.wav", 100):
            pass  # it could not even be opened
        assert bars._bar.n == 100
        with contextlib.suppress(KeyboardInterrupt), bars.next_file("b.wav", 300):
            raise KeyboardInterrupt
        assert bars._bar.n == 100


INTERRUPTED = """
import logging, sys
import tqdm
from sswavenet.console import run
def work():
    bar = tqdm.tqdm(range(10), desc="a bar", leave=False)
    for step in bar:
        if step == 2:
            logging.getLogger().warning("in between")
        bar.refresh()
        if step == 5:
            raise KeyboardInterrupt
sys.exit(run.run(work))
"""


def test_lines_do_not_get_into_a_bar():
    screen, end = open_terminal()
    child = subprocess.Popen([sys.executable, "-c", INTERRUPTED], cwd=ROOT, stderr=end)
    os.close(end)
    shown = b""
    with contextlib.suppress(OSError):  # so Linux ends it when the terminal is closed
        while part := os.read(screen, 10000):
            shown += part
    os.close(screen)
    assert child.wait(60) == 130
    assert b"a bar:" in shown
    for line in (b"warning: in between\r\n", b"error: interrupted\r\n"):
        before, after = shown.split(line)
        assert before[-1:] in (b"\r", b"\n")  # the bar before has been wiped out
    assert after == b""
