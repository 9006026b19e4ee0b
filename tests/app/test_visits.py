"""Several visitors at once, and work that is stopped or left."""

from __future__ import annotations

import time

import numpy as np
import pytest
import soundfile

from tests.app.pages import run_as_shown, wait_until

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("concurrency", ["1", "2"])
def test_two_upload_at_once(
    concurrency, start_server, open_page, song, encode, tmp_path
):
    server = start_server("--concurrency", concurrency)
    first, second = open_page(server), open_page(server)
    paths = song, encode("mp3")
    for visitor, path in zip((first, second), paths):
        visitor.page.set_input_files("input[type=file]", path)
    for visitor in (first, second):
        visitor.page.locator(".song").wait_for()
        visitor.button("Separate").click()
    for number, (visitor, path) in enumerate(zip((first, second), paths)):
        visitor.page.locator(".done").wait_for()
        expected = run_as_shown(visitor.command, path.parent, tmp_path / str(number))
        name, content = visitor.download("vocals")
        assert content == expected[name]


def test_the_same_file_from_two_is_two_files(server, open_page, song):
    first, second = open_page(server), open_page(server)
    for visitor in (first, second):
        visitor.upload(song)
    first.page.close()
    second.separate()


# Seconds in which work that was stopped ends. If it went on, a network of the paper's
# size would take longer for `long_song`: on two cores a fifth of its length and more.
SOON = 15


@pytest.fixture
def long_song(tmp_path):
    """Two minutes, which take half a minute and more."""
    path = tmp_path / "long.flac"
    noise = np.random.default_rng(3).standard_normal((118 * 44100, 2))
    soundfile.write(path, 0.1 * noise, 44100)
    return path


def start_long(visitor, path):
    visitor.upload(path)
    visitor.choose("Session", "multi-instrument: ")
    visitor.button("Separate").click()
    visitor.page.get_by_text("Separating").wait_for()


def test_a_reload_in_the_middle_begins_anew(start_server, open_page, long_song, song):
    server = start_server()
    visitor = open_page(server)
    start_long(visitor, long_song)
    before = set(server.files)
    visitor.open()
    visitor.complaints.clear()  # of requests that the reload has broken off
    wait_until(
        lambda: not before & set(server.files), "the work ends, its files go", SOON
    )
    visitor.upload(song)
    visitor.separate()


def test_when_the_tab_is_closed_its_work_ends(start_server, open_page, long_song, song):
    server = start_server()
    visitor = open_page(server)
    start_long(visitor, long_song)
    visitor.page.close()
    wait_until(lambda: not server.files, "the work ends, its files go", SOON)
    other = open_page(server)
    other.upload(song)
    other.separate()
    other.page.close()
    wait_until(lambda: not server.files, "nothing is kept")


def test_stop_ends_the_work(visitor, long_song, song):
    start_long(visitor, long_song)
    visitor.button("Stop").click()
    visitor.page.get_by_text("stopped").wait_for()
    visitor.button("Stop").wait_for(state="hidden")
    assert visitor.page.locator(".results").count() == 0
    visitor.page.get_by_label("Clear").first.click()
    visitor.upload(song)
    assert visitor.separate() < SOON, "the next one need not wait for it"


def test_whoever_waits_is_told_and_may_stop(server, open_page, long_song, song):
    first, second = open_page(server), open_page(server)
    start_long(first, long_song)
    second.upload(song)
    second.button("Separate").click()
    second.page.get_by_text("Waiting for its turn").wait_for()
    second.button("Stop").click()
    second.page.get_by_text("stopped").wait_for()
    first.button("Stop").click()
    first.page.get_by_text("stopped").wait_for()
    time.sleep(1)
    assert second.page.locator(".results").count() == 0, "it is not done nevertheless"
    second.separate()
