"""The page that --html writes, in a real browser, without a server."""

from __future__ import annotations

import shutil

import pytest

from tests.support import base_session, without_network, write_session

pytestmark = pytest.mark.slow

PHONE = {"width": 390, "height": 844}
TRACKS = ("mixture", "vocals", "drums", "bass", "other")


@pytest.fixture(params=["embedded", "linked"])
def written(request, song, tmp_path, monkeypatch):
    """The path of a page, of a song and of what is none."""
    if request.param == "linked":
        monkeypatch.setattr("sswavenet.separation.picture.EMBEDDED_BYTES", 0)
    write_session(tmp_path / "tiny", *base_session("multi-instrument"))
    songs = tmp_path / "my <songs> #1"
    songs.mkdir()
    shutil.copy(song, songs)
    (songs / "notes.mp3").write_text("No song at all.")
    words = [str(songs), "--session", str(tmp_path / "tiny"), "--start", "0.5"]
    page = tmp_path / "pages" / "page.html"
    with without_network() as main:
        out = ["--output_path", str(tmp_path / "out"), "--html", str(page)]
        assert main([*words, *out]) == 1
    if request.param == "linked":
        return page
    # Nothing that it needs is beside it.
    moved = tmp_path / "elsewhere" / "page.html"
    moved.parent.mkdir()
    page.rename(moved)
    shutil.rmtree(tmp_path / "out")
    shutil.rmtree(songs)
    return moved


@pytest.fixture
def open_file(browser):
    """A function that opens a file; it may load only files, and have no trouble."""
    contexts, requests, complaints = [], [], []

    def note(message):
        if message.type == "error":
            complaints.append(message.text)

    def start(path, **options):
        contexts.append(browser.new_context(**options))
        page = contexts[-1].new_page()
        page.on("request", lambda request: requests.append(request.url))
        page.on("pageerror", lambda error: complaints.append(error.message))
        page.on("console", note)
        page.goto(path.as_uri())
        return page

    yield start
    for context in contexts:
        context.close()
    assert [url for url in requests if not url.startswith(("file:", "data:"))] == []
    assert complaints == []


def ask(page, expression):
    return page.evaluate(
        f"(player => {expression})(document.querySelector('stem-player'))"
    )


def spread(times):
    """How far the stems are apart, and the mixture, which is heard half a second in."""
    mixture, *stems = times
    late = [time - times[1] for time in (mixture - 0.5, *stems)]
    return max(map(abs, late))


def test_it_plays_in_sync_and_one_track_alone(written, open_file):
    page = open_file(written)
    page.get_by_role("button", name="Play").click()
    page.wait_for_function("document.querySelector('stem-player').time > 1")
    assert ask(page, "player.status.textContent") == ""
    page.get_by_role("button", name="Solo drums").click()
    page.wait_for_function(
        "document.querySelector('stem-player').gains.map(Math.round).join() === "
        "'0,0,1,0,0'"
    )
    if ask(page, "player.engineName") == "Elements":
        page.get_by_role("button", name="Pause").click()
        times = ask(page, "player.engine.audios.map(audio => audio.currentTime)")
        assert spread(times) < 0.15


# Finds its place half a second after it was told.
SLOW = """
  const media = HTMLMediaElement.prototype;
  const place = Object.getOwnPropertyDescriptor(media, "currentTime");
  Object.defineProperty(player.engine.audios[2], "currentTime", {
    get() { return place.get.call(this); },
    set(value) { setTimeout(() => place.set.call(this, value), 500); },
  });
"""


@pytest.mark.parametrize("written", ["linked"], indirect=True)
def test_after_a_change_of_place_all_go_on_with_the_last(written, open_file):
    page = open_file(written)
    page.get_by_role("button", name="Play").click()
    page.wait_for_function("document.querySelector('stem-player').time > 0.2")
    ask(page, f"{{ {SLOW} }}")
    page.get_by_label("Position").fill("1.5")
    page.wait_for_function("document.querySelector('stem-player').time > 1.7")
    times = ask(page, "player.engine.audios.map(audio => audio.currentTime)")
    assert spread(times) < 0.15


def test_the_keyboard_is_enough(written, open_file):
    page = open_file(written)
    for _ in range(10):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.ariaLabel") == "Play":
            break
    page.keyboard.press("Space")
    page.wait_for_function("document.querySelector('stem-player').time > 0.2")
    page.keyboard.press("Space")
    before = ask(page, "player.time")
    page.keyboard.press("ArrowLeft")
    assert ask(page, "player.time") == 0 < before


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [{"width": 1100, "height": 900}, PHONE])
def test_axe_finds_nothing_serious_and_it_fits(
    scheme, viewport, written, open_file, axe
):
    page = open_file(written, viewport=viewport, color_scheme=scheme)
    page.get_by_role("button", name="Play").wait_for()
    for summary in page.locator("summary").all():
        summary.click()
    width = viewport["width"]
    widths = "[document.documentElement.scrollWidth, window.innerWidth]"
    assert page.evaluate(widths) == [width, width]
    assert page.get_by_role("img", name="Spectrogram of").count() == len(TRACKS)
    page.evaluate(axe)
    found = page.evaluate("axe.run()")
    assert len(found["passes"]) > 10, "axe has seen the page"
    bad = [
        (rule["id"], [node["html"] for node in rule["nodes"]])
        for rule in found["violations"]
        if rule["impact"] in ("serious", "critical")
    ]
    assert bad == []


def test_without_scripts_every_track_has_the_browsers_player(written, browser):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(written.as_uri())
    shown = [player.is_visible() for player in page.locator("audio").all()]
    context.close()
    assert shown == [True] * len(TRACKS)
