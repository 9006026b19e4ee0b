"""The page on a phone, by keyboard, and for those who do not see it."""

from __future__ import annotations

import time

import pytest

from tests.app.pages import wait_until

pytestmark = pytest.mark.slow

PHONE = {"width": 390, "height": 844}


def test_nothing_has_to_be_scrolled_sideways_on_a_phone(open_page, server):
    visitor = open_page(server, viewport=PHONE, has_touch=True, is_mobile=True)
    widths = "[document.documentElement.scrollWidth, window.innerWidth]"
    assert visitor.page.evaluate(widths) == [390, 390]
    visitor.bring_example("Stomp")
    visitor.separate()
    assert visitor.page.evaluate(widths) == [390, 390]


def test_the_keyboard_is_enough(visitor):
    keyboard = visitor.page.keyboard

    def go_to(name):
        for _ in range(80):
            keyboard.press("Tab")
            seen = visitor.page.evaluate(
                "[document.activeElement.ariaLabel, document.activeElement.innerText]"
            )
            if name in seen:
                return
        raise AssertionError(f"Tab does not lead to {name}")

    go_to("Examples")
    keyboard.press("Enter")
    go_to("Samba")
    keyboard.press("Enter")
    visitor.page.locator(".song").wait_for()
    go_to("Format")
    visitor.page.get_by_role("option", name="wav, PCM_24").wait_for()
    keyboard.press("ArrowDown")
    keyboard.press("Enter")
    visitor.page.get_by_text("--subtype PCM_24").wait_for()
    go_to("Separate")
    keyboard.press("Enter")
    visitor.player.get_by_role("button", name="Play").wait_for()
    go_to("Play")
    keyboard.press("Enter")
    visitor.wait_for_time(0.2)
    go_to("Solo drums")
    keyboard.press("Space")
    wait_until(
        lambda: visitor.ask_player("player.gains.filter(g => g > 0.9).length") == 1,
        "the drums alone",
    )
    go_to("Volume of drums")
    keyboard.press("ArrowLeft")
    assert visitor.page.get_by_label("Volume of drums").input_value() == "99"
    visitor.page.get_by_role("link", name="drums").first.focus()
    with visitor.page.expect_download():
        keyboard.press("Enter")


@pytest.mark.parametrize("key", ["Tab", "Shift+Tab"])
def test_a_list_that_the_keyboard_leaves_is_closed(key, visitor):
    options = visitor.page.get_by_role("option")
    for label in ("Session", "Format"):
        visitor.page.get_by_label(label, exact=True).focus()
        options.first.wait_for()
        visitor.page.keyboard.press(key)
        visitor.button("Separate").focus()
        time.sleep(0.5)  # in which it would come back
        assert options.count() == 0, "it would hide what is below it"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [None, PHONE])
def test_axe_finds_nothing_serious(scheme, viewport, open_page, server, axe):
    options = {"viewport": viewport} if viewport else {}
    visitor = open_page(server, color_scheme=scheme, **options)

    def check():
        visitor.page.mouse.move(0, 0)
        time.sleep(0.4)  # until colours have changed
        visitor.page.evaluate(axe)
        found = visitor.page.evaluate("axe.run()")
        assert len(found["passes"]) > 15, "axe has seen the page"
        bad = [
            (rule["id"], [node["html"] for node in rule["nodes"]])
            for rule in found["violations"]
            if rule["impact"] in ("serious", "critical")
        ]
        assert bad == []

    check()
    visitor.page.get_by_role("tab", name="Record").click()
    check()
    visitor.button("Separate").click()
    visitor.page.get_by_text("expected a song first").wait_for()
    check()
    visitor.bring_example("Stomp")
    visitor.separate()
    check()


def test_every_control_has_a_name_of_its_own(visitor):
    visitor.bring_example("Samba")
    visitor.separate()
    tree = visitor.page.locator("body").aria_snapshot()
    roles = ("button", "textbox", "combobox", "slider", "tab", "link")
    named = 0
    for line in tree.splitlines():
        words = line.strip().removeprefix("- ").rstrip(":").split(" ", 1)
        if words[0] in roles:
            assert len(words) == 2, f"without a name: {line}"
            assert words[1].startswith(('"', "/")), line
            named += 1
    assert named > 25
