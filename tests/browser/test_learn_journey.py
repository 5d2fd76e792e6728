"""Two lessons by keyboard alone, in a real browser: predict, move, reveal, answer, go on."""

import json
import time

import pytest

from pruning_core.lessons.texts import Words

pytestmark = pytest.mark.browser


def settle(page):
    """Wait until the server has nothing left to do."""
    page.wait_for_function(
        "() => document.querySelector('[data-testid=stApp]')?.dataset.testScriptState"
        " === 'notRunning'"
    )


def press(page, key):
    """Press the button with a key, without the mouse."""
    button = page.locator(f".st-key-{key} button")
    button.focus()
    page.keyboard.press("Enter")


def until(read, wanted, seconds=60.0):
    end = time.monotonic() + seconds
    while not wanted(value := read()):
        assert time.monotonic() < end, f"still {value!r}"
        time.sleep(0.05)
    return value


def answer(page, number):
    """Type the answer to the question at the end, and hand it in."""
    field = page.get_by_role("spinbutton").last
    field.focus()
    page.keyboard.press("Control+A")
    page.keyboard.type(number)
    page.keyboard.press("Enter")
    settle(page)
    press(page, "learn_check")


def test_two_lessons_by_keyboard_with_a_wrong_turn(page, server):
    page.goto(f"{server.url}/learn?lesson=threshold")
    page.locator(".st-key-learn_commit button").wait_for()
    press(page, "learn_commit")
    reveal = page.locator(".st-key-learn_reveal button")
    reveal.wait_for()
    assert reveal.is_disabled()  # ten shall remain, and 25 do
    slider = page.get_by_role("slider").last
    slider.focus()
    for _ in range(29):
        page.keyboard.press("ArrowRight")
    until(reveal.is_enabled, bool)
    press(page, "learn_reveal")
    page.locator(".st-key-learn_check button").wait_for()
    answer(page, "40")  # the share that stays, the usual mistake
    page.get_by_text("Not yet.").wait_for()
    answer(page, "60")
    page.get_by_text("15 of 25 weights are zero").wait_for()

    press(page, "learn_next")
    page.get_by_text(Words("en", "mask_or_cut")("goal")).wait_for()
    page.goto(f"{server.url}/learn?lesson=square&lang=zh")
    page.get_by_text(Words("zh", "square")("goal")).wait_for()
    page.locator(".st-key-learn_commit button").wait_for()
    press(page, "learn_commit")
    reveal.wait_for()
    slider = page.get_by_role("slider").last
    slider.focus()
    for _ in range(6):
        page.keyboard.press("ArrowRight")
    until(reveal.is_enabled, bool)
    press(page, "learn_reveal")
    page.locator(".st-key-learn_check button").wait_for()
    assert page.locator(".js-plotly-plot .main-svg").first.is_visible()
    answer(page, "49")
    page.get_by_text("正确").last.wait_for()
    press(page, "learn_open")
    page.locator(".st-key-strip_numbers .item").first.wait_for()
    assert "resnet_8" in page.url


def test_a_reduced_page_has_no_menus_and_a_locked_control(page, server):
    link = {"lesson": "square", "set": json.dumps(30), "lock": "1", "reduced": "1"}
    query = "&".join(f"{name}={value}" for name, value in link.items())
    page.goto(f"{server.url}/learn?{query}")
    page.locator(".st-key-learn_commit button").wait_for()
    settle(page)
    assert page.locator("[data-testid=stTopNavLink]").count() == 0
    assert page.locator(".st-key-toolbar").count() == 0
    press(page, "learn_commit")
    page.locator(".st-key-learn_reveal button").wait_for()
    assert page.get_by_role("slider").last.is_disabled()
