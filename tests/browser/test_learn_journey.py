"""Lessons by keyboard alone, in a real browser: predict, move, reveal, answer, go on.

A few in every run of the tests; all of them, in every language and appearance, with

    PRUNING_STUDIO_LESSONS=all python -m pytest tests/browser/test_learn_journey.py

Names of lessons, separated by commas, choose some. PRUNING_STUDIO_LESSON_PICTURES names a folder
for pictures of their steps, and PRUNING_STUDIO_LESSON_FACTS=computed has the server compute what
otherwise is there as it was measured for teachers.
"""

import json
import os
from pathlib import Path

import pytest

from pruning_core.lessons import LESSONS, in_order
from pruning_core.lessons.expected import expected
from pruning_core.lessons.lesson import measured
from pruning_core.lessons.texts import LANGUAGES
from pruning_core.runs import coursework
from tests.browser.lesson_player import Player, reach, settle

pytestmark = pytest.mark.browser

WIDTH = int(os.environ.get("PRUNING_STUDIO_LESSON_WIDTH", "1280"))
ASKED = os.environ.get("PRUNING_STUDIO_LESSONS", "")
COMPUTED = os.environ.get("PRUNING_STUDIO_LESSON_FACTS") == "computed"
PICTURES = os.environ.get("PRUNING_STUDIO_LESSON_PICTURES", "")
# Together they have every kind of control: a number, an order, a choice and several numbers.
FEW = (
    ("threshold", "en", "light", False),
    ("granularity", "zh", "dark", True),
    ("sensitivity", "en", "dark", False),
)


def journeys():
    """Lesson, language, appearance, and whether the prediction is right."""
    if not ASKED:
        return FEW
    keys = [one.key for one in in_order()] if ASKED == "all" else ASKED.split(",")
    looks = [(language, scheme) for language in LANGUAGES for scheme in ("light", "dark")]
    return [
        (key, language, scheme, (place + number) % 2 == 1)
        for place, key in enumerate(keys)
        for number, (language, scheme) in enumerate(looks)
    ]


def facts_of(lesson, state):
    """What the lesson will show: kept by the server, measured for teachers, or computed here."""
    path = coursework.path_of(lesson)
    path = state / path.parent.name / path.name
    if lesson.is_long and path.is_file():
        kept = coursework.read(path)
        assert kept is not None
        return kept.facts
    known = expected(lesson)
    if not lesson.is_long:
        return measured(lesson)
    assert known is not None
    if not COMPUTED:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(known), encoding="utf-8")
    return known["facts"]


@pytest.fixture
def tab(chromium):
    """Make a page of one appearance; errors that JavaScript raised fail the test."""
    opened, problems = [], []

    def make(scheme):
        context = chromium.new_context(
            viewport={"width": WIDTH, "height": 900}, color_scheme=scheme
        )
        context.set_default_timeout(60_000)
        opened.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: problems.append(str(error)))
        return page

    yield make
    for context in opened:
        context.close()
    assert problems == []


def camera(page, name):
    """Return what takes pictures of the whole page, where they are asked for."""

    def take(step):
        page.wait_for_timeout(700)
        tall = page.evaluate(
            "() => Math.max(...[...document.querySelectorAll('[data-testid=stMain]')]"
            ".map(one => one.scrollHeight))"
        )
        page.set_viewport_size({"width": WIDTH, "height": min(tall + 70, 3200)})
        page.wait_for_timeout(700)
        page.screenshot(path=Path(PICTURES) / f"{name}-{step}.png")
        page.set_viewport_size({"width": WIDTH, "height": 900})

    return take if PICTURES else lambda step: None


@pytest.mark.parametrize(("key", "language", "scheme", "guesses_right"), journeys())
def test_a_lesson_by_keyboard_from_start_to_end(tab, server, key, language, scheme, guesses_right):
    lesson, page = LESSONS[key], tab(scheme)
    look = camera(page, f"{key}-{language}-{scheme}-{WIDTH}")
    player = Player(page, server.url, lesson, language, look)
    player.play(lambda: facts_of(lesson, server.state), guesses_right=guesses_right)


def test_a_reduced_page_has_no_menus_and_a_locked_control(page, server):
    link = {"lesson": "square", "set": json.dumps(30), "lock": "1", "reduced": "1"}
    query = "&".join(f"{name}={value}" for name, value in link.items())
    page.goto(f"{server.url}/learn?{query}")
    page.locator(".st-key-learn_commit button").wait_for()
    settle(page)
    assert page.locator("[data-testid=stTopNavLink]").count() == 0
    assert page.locator(".st-key-toolbar").count() == 0
    commit = page.locator(".st-key-learn_commit button")
    reach(page, commit)
    page.keyboard.press("Enter")
    page.locator(".st-key-learn_reveal button").wait_for()
    assert page.get_by_role("slider").last.is_disabled()


def test_the_way_back_from_a_lesson_is_the_contents(page, server):
    page.goto(f"{server.url}/learn")
    lesson = page.locator(".st-key-open-threshold button").locator("visible=true")
    lesson.wait_for()
    settle(page)
    reach(page, lesson)
    page.keyboard.press("Enter")
    page.locator(".st-key-learn_commit").wait_for()
    page.go_back()
    lesson.wait_for()
    page.go_forward()
    page.locator(".st-key-learn_commit").wait_for()
