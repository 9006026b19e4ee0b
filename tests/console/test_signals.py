"""Signals become exceptions; where those would do harm, a little later."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from sswavenet.console import signals

NUMBERS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


def wait(seconds=5):
    """Give a signal that waits time to be heard."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.01)


def heard(number, run):
    """Run with signals raised; see that this one was."""

    def all_of_it():
        with signals.raising():
            run()

    if number == signal.SIGINT:
        with pytest.raises(KeyboardInterrupt):
            all_of_it()
    else:
        with pytest.raises(signals.Terminated) as caught:
            all_of_it()
        assert caught.value.number == number


@pytest.mark.parametrize("number", NUMBERS)
def test_a_signal_is_raised_and_the_handlers_are_put_back(number):
    def run():
        os.kill(os.getpid(), number)
        wait()

    def handlers():
        return [signal.getsignal(each) for each in NUMBERS]

    before = handlers()
    heard(number, run)
    assert handlers() == before


@pytest.mark.parametrize("number", NUMBERS)
def test_a_signal_that_is_ignored_stays_ignored(number):
    before = signal.signal(number, signal.SIG_IGN)  # as `nohup` and `&` do
    try:
        with signals.raising():
            assert signal.getsignal(number) == signal.SIG_IGN
            os.kill(os.getpid(), number)
            wait(0.1)
        assert signal.getsignal(number) == signal.SIG_IGN
    finally:
        signal.signal(number, before)


@pytest.mark.parametrize("number", NUMBERS)
def test_a_signal_waits(number):
    reached = []

    def run():
        with signals.waiting():
            os.kill(os.getpid(), number)
            wait(0.2)
            reached.append("end")
        reached.append("too far")

    heard(number, run)
    assert reached == ["end"]


def test_a_second_signal_does_not_disturb_the_cleaning_up():
    cleaned = []

    def run():
        try:
            os.kill(os.getpid(), signal.SIGHUP)  # by the terminal, then by the shell
            wait()
        finally:
            for number in NUMBERS:
                os.kill(os.getpid(), number)
            wait(0.1)
            cleaned.append(True)

    heard(signal.SIGHUP, run)
    assert cleaned == [True]


def test_a_cleaning_up_that_hangs_can_be_ended(monkeypatch):
    monkeypatch.setattr(signals, "DEAF", 0.05)
    started = time.monotonic()

    def run():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            wait()
        finally:
            wait(0.1)
            os.kill(os.getpid(), signal.SIGTERM)
            wait()

    heard(signal.SIGTERM, run)
    assert time.monotonic() < started + 4


def test_other_threads_get_no_signals():
    before = signal.getsignal(signal.SIGTERM)
    seen = []

    def run():
        with signals.raising():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == [before]


COMMAND = """
import os, signal, sys, time
from sswavenet.console import run
def work():
    print("ready", flush=True)
    time.sleep(float(sys.argv[1]))
    return 0
sys.exit(run.run(work))
"""


@pytest.mark.parametrize(
    ("ignored", "seconds", "status"), [(False, 60, 129), (True, 0.5, 0)]
)
def test_a_hangup_ends_a_command_unless_nohup_started_it(ignored, seconds, status):
    # By a shell: where another test has loaded JAX, it warns of a fork in Python.
    start = 'trap "" HUP; exec "$@"' if ignored else 'exec "$@"'
    child = subprocess.Popen(
        ["sh", "-c", start, "sh", sys.executable, "-c", COMMAND, str(seconds)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert child.stdout.readline() == "ready\n"
    child.send_signal(signal.SIGHUP)
    said = child.communicate(timeout=60)[1]
    assert child.returncode == status
    assert said == ("" if ignored else "error: terminated\n")
