"""The page as its users meet it: a server of its own, and Debian's Chromium."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request

import numpy as np
import pytest
import soundfile

ROOT = pathlib.Path(__file__).parents[2]
AXE = pathlib.Path(sys.prefix) / "axe/node_modules/axe-core/axe.min.js"
CHROMIUM = shutil.which("chromium")
RATE, SECONDS = 44100, 4
START = 120  # seconds that a server may take to start on a busy machine


def pytest_addoption(parser):
    parser.addoption(
        "--require_browser",
        action="store_true",
        help="fail, and do not skip the page's tests, where something is missing",
    )


@pytest.fixture(scope="session")
def require(request):
    """A function that skips, or fails where that is asked for, without something."""
    is_strict = request.config.getoption("--require_browser", default=False)

    def check(there, what):
        if not there:
            end = pytest.fail if is_strict else pytest.skip
            end(f"needs {what}, which `make test-app` installs")

    return check


class Server:
    """A running page.

    Args:
        folder: an empty one, for all its files.
        flags: of the command.
    """

    def __init__(self, folder, *flags):
        self.temporary = folder / "tmp"
        self.temporary.mkdir(parents=True)
        self.log = folder / "log"
        environment = {
            **os.environ,
            "TMPDIR": str(self.temporary),
            # Whoever asked for something outside would find nobody.
            "HTTPS_PROXY": "http://127.0.0.1:9",
            "HTTP_PROXY": "http://127.0.0.1:9",
            "NO_PROXY": "127.0.0.1,localhost",
        }
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "sswavenet.app", "--port", "0", *flags],
                cwd=ROOT,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        self.url = self.process.stdout.readline().strip()
        end = time.monotonic() + START
        while self.url and not self.answers():
            assert time.monotonic() < end, self.log.read_text()
            time.sleep(0.1)

    def answers(self):
        with contextlib.suppress(urllib.error.URLError):
            self.get("/")
            return True
        return False

    def get(self, path, **headers):
        """Status and body of an answer."""
        request = urllib.request.Request(self.url + path, headers=headers)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=30) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()

    @property
    def files(self):
        """What lies on its disk: a folder for each visitor, and for each song."""
        pattern = f"sswavenet-app-*/*/{32 * '[0-9a-f]'}"
        return list(self.temporary.glob(pattern))

    def stop(self, number=signal.SIGTERM):
        """End it; its exit status."""
        self.process.send_signal(number)
        try:
            status = self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        finally:
            self.process.stdout.close()
        return status


@pytest.fixture(scope="session")
def start_server(require, tmp_path_factory):
    """A function that starts a server with some flags; all are ended at the end."""
    require(importlib.util.find_spec("gradio"), "Gradio")
    with contextlib.ExitStack() as stack:

        def start(*flags):
            server = Server(tmp_path_factory.mktemp("server"), *flags)
            stack.callback(
                lambda: server.process.poll() is None and server.stop(signal.SIGKILL)
            )
            return server

        yield start


@pytest.fixture(scope="session")
def server(start_server):
    """A server as `make app` starts it, but for limits that are soon reached."""
    return start_server("--max_megabytes", "20", "--max_minutes", "2")


@pytest.fixture(scope="session")
def browser(require):
    require(CHROMIUM, "Chromium")
    require(importlib.util.find_spec("playwright"), "Playwright")
    from playwright.sync_api import sync_playwright

    flags = [
        "--no-sandbox",
        "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream",
        "--autoplay-policy=no-user-gesture-required",
    ]
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser):
    """A function that opens a server's page, each as somebody else's; no page may ask
    anybody but its server for anything, nor have trouble of its own."""
    from tests.app.pages import Visitor

    with contextlib.ExitStack() as stack:
        visitors = []

        def start(server, **options):
            context = browser.new_context(accept_downloads=True, **options)
            stack.callback(context.close)
            visitor = Visitor(context.new_page(), server)
            visitors.append(visitor)
            return visitor

        yield start
        for visitor in visitors:
            assert visitor.foreign == []
            assert visitor.complaints == []


@pytest.fixture
def visitor(open_page, server):
    return open_page(server)


@pytest.fixture(scope="session")
def axe(require):
    """The source of axe-core."""
    require(AXE.is_file(), "axe-core")
    return AXE.read_text("utf-8")


@pytest.fixture(scope="session")
def song(tmp_path_factory):
    """Four seconds in stereo: a voice-like tone, and clicks."""
    rng = np.random.default_rng(20)
    time = np.arange(SECONDS * RATE) / RATE
    tone = 0.2 * np.sin(2 * np.pi * 220 * time + 3 * np.sin(2 * np.pi * 5 * time))
    clicks = 0.3 * rng.standard_normal(len(time)) * np.exp(-40 * (time % 0.5))
    path = tmp_path_factory.mktemp("songs") / "my song.wav"
    soundfile.write(path, np.stack([tone + clicks, tone - 0.3 * clicks], 1), RATE)
    return path


@pytest.fixture(scope="session")
def encode(song):
    """A function that makes another kind of file of the song, by its extension."""
    imageio_ffmpeg = pytest.importorskip("imageio_ffmpeg")

    def make(extension):
        path = song.with_suffix(f".{extension}")
        if not path.exists():
            picture = [
                "-f",
                "lavfi",
                "-i",
                f"testsrc=size=64x48:rate=5:duration={SECONDS}",
            ]
            command = [
                *(imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-v", "error"),
                *(picture if extension == "mp4" else []),
                *("-i", str(song), "-metadata", "artist=Nobody", str(path)),
            ]
            subprocess.run(command, check=True)
        return path

    return make
