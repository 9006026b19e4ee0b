"""Signals become exceptions, late where they would be lost."""

import gc
import os
import signal
import threading
import time
import weakref

import pytest

from sswavenet.console import signals

NUMBERS = [signal.SIGINT, signal.SIGTERM]


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

    with pytest.raises(signals.EXCEPTIONS[number]):
        all_of_it()


@pytest.mark.parametrize("number", NUMBERS)
def test_a_signal_is_raised_and_the_handlers_are_put_back(number):
    def run():
        os.kill(os.getpid(), number)
        wait()

    before = [signal.getsignal(each) for each in (*NUMBERS, signal.SIGALRM)]
    heard(number, run)
    after = [signal.getsignal(each) for each in (*NUMBERS, signal.SIGALRM)]
    assert after == before


@pytest.mark.parametrize("number", NUMBERS)
def test_a_signal_waits(number):
    reached = []

    def run():
        with signals.waiting():
            os.kill(os.getpid(), number)
            wait(0.2)
            reached.append("end")
        wait()
        reached.append("too far")

    heard(number, run)
    assert reached == ["end"]


@pytest.mark.parametrize("number", NUMBERS)
def test_a_signal_in_the_garbage_collector_is_not_lost(number):
    def callback(phase, info):
        if phase == "start":
            os.kill(os.getpid(), number)
            sum(range(1000))  # the handler runs in here

    def run():
        gc.callbacks.append(callback)
        try:
            gc.collect()
        finally:
            gc.callbacks.remove(callback)
        wait()

    heard(number, run)


@pytest.mark.parametrize("number", NUMBERS)
def test_a_signal_in_a_finalizer_is_not_lost(number):
    class Final:
        def __del__(self):
            os.kill(os.getpid(), number)
            sum(range(1000))  # the handler runs in here

    def run():
        Final()
        wait()

    heard(number, run)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("number", NUMBERS)
def test_an_exception_that_is_lost_is_raised_again(number):
    def gone(_):
        os.kill(os.getpid(), number)
        sum(range(1000))  # the handler raises in here

    def run():
        item = threading.Event()
        watcher = weakref.ref(item, gone)
        del item
        assert watcher() is None
        wait()

    heard(number, run)


@pytest.mark.parametrize("number", NUMBERS)
def test_cleaning_up_takes_its_time(number):
    cleaned = []

    def run():
        try:
            os.kill(os.getpid(), number)
            wait()
        finally:
            try:
                wait(4 * signals.AGAIN)
                raise ValueError
            except ValueError:
                wait(4 * signals.AGAIN)
            cleaned.append(True)

    heard(number, run)
    assert cleaned == [True]


def test_the_second_signal_does_not_end_the_cleaning_up():
    cleaned = []

    def run():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            wait()
        finally:
            for number in NUMBERS:
                os.kill(os.getpid(), number)
            cleaned.append(True)

    heard(signal.SIGTERM, run)
    assert cleaned == [True]


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
