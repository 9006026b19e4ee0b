"""Take the pictures of the page in docs/img anew.

python -m tests.app.pictures
"""

from __future__ import annotations

import contextlib
import pathlib
import tempfile

import PIL.Image
from playwright.sync_api import sync_playwright

from tests.app.conftest import CHROMIUM, ROOT, Server
from tests.app.pages import Visitor

FOLDER = ROOT / "docs/img"
SIZES = {"app": (1100, 1000, 1), "app-phone": (390, 844, 2)}  # with pixels per unit
COLOURS = 128  # of which a small file is made


def take(browser, server, name):
    """Take the picture of one size."""
    width, height, scale = SIZES[name]
    context = browser.new_context(
        viewport={"width": width, "height": height}, device_scale_factor=scale
    )
    visitor = Visitor(context.new_page(), server)
    visitor.bring_example("Samba")
    visitor.separate()
    visitor.player.get_by_role("button", name="Play").click()
    visitor.wait_for_time(6)
    visitor.player.get_by_role("button", name="Pause").click()
    visitor.page.mouse.move(0, 0)
    visitor.player.get_by_role("button", name="Play").evaluate("node => node.blur()")
    visitor.page.wait_for_timeout(500)
    path = FOLDER / f"{name}.png"
    visitor.page.screenshot(path=path, full_page=True)
    context.close()
    with PIL.Image.open(path) as picture:
        small = picture.convert("RGB").quantize(COLOURS)
    small.save(path, optimize=True)


def main():
    """Take all of them."""
    with contextlib.ExitStack() as stack:
        folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = Server(folder)
        stack.callback(server.stop)
        play = stack.enter_context(sync_playwright())
        flags = ["--no-sandbox", "--autoplay-policy=no-user-gesture-required"]
        browser = play.chromium.launch(executable_path=CHROMIUM, args=flags)
        stack.callback(browser.close)
        for name in SIZES:
            take(browser, server, name)


if __name__ == "__main__":
    main()
