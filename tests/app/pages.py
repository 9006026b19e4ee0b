"""What somebody does with the page, by what they see of it."""

from __future__ import annotations

import pathlib
import re
import shlex
import subprocess
import sys
import time

from tests.app.conftest import ROOT

LONG = 60000  # milliseconds that a separation may take on a busy machine


def run_as_shown(command, folder, out):
    """Do what the page says does the same, in the song's folder; the stems' bytes."""
    python, program, *words = shlex.split(command)
    assert (python, program) == ("python", "main.py")
    line = [sys.executable, str(ROOT / program), *words, "--output_path", str(out)]
    subprocess.run(line, cwd=folder, check=True, capture_output=True)
    return {path.name: path.read_bytes() for path in out.iterdir()}


def wait_until(check, what, seconds=30):
    end = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < end, what
        time.sleep(0.05)


class Visitor:
    """Somebody who has the page open.

    Args:
        page: of Playwright.
        server: whose page it is.

    Attributes:
        foreign: addresses that the page asked for elsewhere.
        complaints: what its console told of.
    """

    def __init__(self, page, server):
        self.page, self.server = page, server
        self.foreign, self.complaints = [], []
        page.set_default_timeout(LONG)
        page.on("request", self._note_request)
        page.on("console", self._note_message)
        page.on("pageerror", self._note_error)
        self.open()

    def _note_request(self, request):
        known = (self.server.url, "data:", "blob:")
        if not request.url.startswith(known):
            self.foreign.append(request.url)

    def _note_error(self, error):
        self.complaints.append(f"{error.message}\n{error.stack}")

    def _note_message(self, message):
        if message.type == "error":
            self.complaints.append(message.text)

    def open(self):
        self.page.goto(self.server.url)
        self.button("Separate").wait_for()

    def button(self, name):
        return self.page.get_by_role("button", name=name, exact=True)

    @property
    def player(self):
        return self.page.get_by_role("group", name="Player of")

    def upload(self, path):
        """Bring a file, and wait until the page has looked at it."""
        self.page.set_input_files("input[type=file]", path)
        self.page.locator(".song, .problem").first.wait_for()

    def bring_example(self, name):
        self.page.get_by_role("tab", name="Examples").click()
        self.button(name).click()
        self.page.locator(".song").wait_for()

    def choose(self, label, option):
        self.page.get_by_label(label, exact=True).click()
        self.page.get_by_role("option", name=option).click()

    def separate(self):
        """Separate, and wait for the stems; how many seconds it took."""
        before = self.page.query_selector("stem-player")
        started = time.monotonic()
        self.button("Separate").click()
        if before:
            before.wait_for_element_state("hidden")
        self.page.locator(".done, .problem").first.wait_for()
        self.player.wait_for()
        return time.monotonic() - started

    @property
    def problem(self):
        """What the page says went wrong."""
        return self.page.get_by_role("alert").inner_text()

    @property
    def command(self):
        return self.page.locator(".command code").inner_text()

    def download(self, name):
        """A download's name, and its bytes."""
        with self.page.expect_download() as waiting:
            self.page.get_by_role("link", name=re.compile(f"^{name}")).click()
        download = waiting.value
        return download.suggested_filename, pathlib.Path(download.path()).read_bytes()

    def ask_player(self, expression):
        """What the player says of itself."""
        return self.page.evaluate(
            f"(player => {expression})(document.querySelector('stem-player'))"
        )

    def wait_for_time(self, seconds):
        """Wait until the player's clock has passed that."""
        self.page.wait_for_function(
            "least => document.querySelector('stem-player').time > least", arg=seconds
        )
