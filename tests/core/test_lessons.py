"""Lessons without a page: words in every language, and explanations that fit the numbers."""

import json
import re
import string
from xml.etree import ElementTree

import pytest

from pruning_core.figures.palette import DARK, LIGHT
from pruning_core.lessons import CHAPTERS, LESSONS, in_order
from pruning_core.lessons.expected import expected
from pruning_core.lessons.handout import handout
from pruning_core.lessons.lesson import (
    Choice,
    HandIn,
    Members,
    Number,
    Numbers,
    Order,
    Scene,
    accepted,
    all_facts,
    first_value,
    measured,
    options_of,
    verdict,
)
from pruning_core.lessons.texts import FRAME, LANGUAGES, Words, read

KEYS = list(LESSONS)
ALWAYS = {
    *("title", "goal", "teach", "formula", "why"),
    *("guess.ask", "do.ask", "do.label"),
}


@pytest.fixture(scope="module")
def facts():
    """Facts of a lesson: computed here, or for what takes long those that were measured."""
    known = {}

    def of(key):
        if key not in known:
            lesson = LESSONS[key]
            kept = expected(lesson)
            assert kept is not None or not lesson.is_long, "run python -m pruning_core lessons"
            known[key] = kept["facts"] if lesson.is_long else measured(lesson)
        return known[key]

    return of


def positions(lesson):
    """Some positions of the control, from end to end."""
    match lesson.do:
        case Choice(options):
            return list(options)
        case Number(low, high, step):
            middle = low + step * round((high - low) / 2 / step)
            return [lesson.do.start, middle, high, low]
        case Numbers(names=names, low=low, high=high):
            return [first_value(lesson.do), [low] * len(names), [high] * len(names)]
        case Members(n):
            return [[], list(range(0, n, 3)), list(range(n))]
    return [list(lesson.do.options)]


def handed_in(lesson, facts):
    """No try, one that breaks the budget, and one that solves it, where a lesson takes tries."""
    if lesson.attempt is None:
        return [[]]
    return [[], [{**facts["example"], "size": 60.0}], [facts["example"]]]


def a_guess(lesson):
    match lesson.guess:
        case Choice(options):
            return options[0]
        case Order(options):
            return list(options)
    return first_value(lesson.guess)


class Recording(Words):
    """Words that remember which of them were used."""

    def __init__(self, language, name):
        super().__init__(language, name)
        self.used = set()

    def __call__(self, key, /, **values):
        self.used.add(key)
        return super().__call__(key, **values)


def test_every_chapter_has_lessons_and_places_are_distinct():
    assert {lesson.chapter for lesson in LESSONS.values()} <= set(CHAPTERS)
    places = [lesson.place for lesson in in_order()]
    assert len(set(places)) == len(places)
    order = [CHAPTERS.index(lesson.chapter) for lesson in in_order()]
    assert order == sorted(order)


@pytest.mark.parametrize("name", [FRAME, *KEYS])
def test_languages_have_the_same_texts_with_the_same_numbers(name):
    texts = {language: read(language, name) for language in LANGUAGES}
    english = texts["en"]
    for language, own in texts.items():
        assert set(own) == set(english), language
        for key, text in own.items():
            fields = {part[1] for part in string.Formatter().parse(text) if part[1]}
            wanted = {part[1] for part in string.Formatter().parse(english[key]) if part[1]}
            assert fields == wanted, f"{language} {name} {key}"


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("language", LANGUAGES)
def test_texts_are_complete_used_and_can_be_filled_in_everywhere(key, language, facts):
    lesson, words = LESSONS[key], Recording(language, key)
    for value in positions(lesson):
        for tries in handed_in(lesson, facts(key)):
            fill_in_and_draw(lesson, words, value, all_facts(lesson, facts(key), value, tries))
    used = {name for name in words.used if name.startswith(("pictures.", "more"))}
    assert set(read(language, key)) == needed(lesson) | used


def needed(lesson):
    """The texts that a lesson's controls ask for."""
    wanted = set(ALWAYS)
    wanted |= {f"{one.key}.{part}" for one in lesson.checks for part in ("ask", "right", "wrong")}
    asked = [(check.key, check.control) for check in lesson.checks]
    for part, control in (("guess", lesson.guess), ("do", lesson.do), *asked):
        wanted |= {f"{part}.options.{option}" for option in options_of(control)}
        if isinstance(control, Numbers):
            wanted.add(f"{part}.each")
        if isinstance(control, Number | Numbers) and part != "do":
            wanted.add(f"{part}.unit")
    if lesson.reached is not None:
        wanted.add("do.not_yet")
    return wanted | {f"facts.{name}" for name in lesson.expected}


def fill_in_and_draw(lesson, words, value, found):
    for text in ("why", "formula", *(["more"] if "more" in words else [])):
        assert words(text, **found)
    for check in lesson.checks:
        judged = {}
        if isinstance(check.control, HandIn):
            judged = check.control.judge(check.answer(found), found)
            assert judged["right"], (check.key, judged)
        for text in ("ask", "right", "wrong"):
            assert words(f"{check.key}.{text}", **{**found, **judged})
    if lesson.reached is not None:
        assert words("do.not_yet", **found)
    for colours, revealed in ((LIGHT, False), (LIGHT, True), (DARK, True)):
        scene = Scene(found, value, a_guess(lesson), revealed, words, colours)
        for picture in lesson.pictures(scene):
            assert len(picture.figure.to_json()) < 500_000
            assert len({len(column) for column in picture.table.values()}) == 1


@pytest.mark.parametrize("key", KEYS)
def test_the_explanation_has_60_to_90_words(key, facts):
    lesson = LESSONS[key]
    found = all_facts(lesson, facts(key), positions(lesson)[0])
    text = Words("en", key)("why", **found)
    assert 60 <= len(re.findall(r"\S+", text)) <= 95, text


@pytest.mark.parametrize("key", KEYS)
def test_truth_and_answer_fit_their_controls_and_the_recipe_is_valid(key, facts):
    lesson = LESSONS[key]
    json.dumps(facts(key))
    for value in positions(lesson):
        found = all_facts(lesson, facts(key), value)
        truth = lesson.truth(found)
        assert accepted(lesson.guess, truth) is not None
        assert verdict(lesson.guess, truth, truth) == "right"
        for check in lesson.checks:
            answer = check.answer(found)
            if isinstance(check.control, HandIn):
                assert answer.model == check.control.model == check.begin(found).model
            else:
                assert accepted(check.control, answer) == pytest.approx(answer)
        assert lesson.recipe(found).model.startswith("bundled:")
        for name in lesson.expected:
            assert name in facts(key)


@pytest.mark.parametrize("key", KEYS)
def test_what_teachers_are_told_is_what_the_lesson_computes(key, facts):
    kept = expected(LESSONS[key])
    assert kept is not None, "run python -m pruning_core lessons --write"
    if not LESSONS[key].is_long:
        now = json.loads(json.dumps(facts(key)))
        for name in LESSONS[key].expected:
            if name in now and isinstance(now[name], int | float | str):
                same = now[name] if isinstance(now[name], str) else pytest.approx(now[name], 1e-3)
                assert kept["facts"][name] == same, name


@pytest.mark.parametrize("key", KEYS)
def test_hand_outs_hold_no_answers_unless_asked_for(key):
    lesson, kept = LESSONS[key], expected(LESSONS[key])
    for language in LANGUAGES:
        words = Words(language, key)
        plain = handout(lesson, language, kept)
        assert words("title") in plain.replace("&amp;", "&")
        assert 'class="answers"' not in plain
        with_answers = handout(lesson, language, kept, answers=True)
        assert with_answers.startswith(plain.removesuffix("</body></html>\n"))
        answers = with_answers.removeprefix(plain.removesuffix("</body></html>\n"))
        assert "<figure>" in answers
        assert not [name for name in lesson.expected if "_" in name and name in answers]
        for drawing in re.findall(r"<svg.*?</svg>", with_answers, re.DOTALL):
            assert "nan" not in drawing
            ElementTree.fromstring(drawing)
        assert not re.search(r"(src|href)=", with_answers)  # opens without a network


def test_guesses_are_judged_by_their_distance():
    number = Number(0, 100, 1, 50, near=3)
    assert [verdict(number, guess, 50) for guess in (50, 53, 54, 59, 60)] == [
        *("right", "right", "near", "near", "far")
    ]
    order = Order(("a", "b", "c", "d"))
    assert verdict(order, ["a", "b", "c", "d"], ["a", "b", "c", "d"]) == "right"
    assert verdict(order, ["b", "a", "c", "d"], ["a", "b", "c", "d"]) == "near"
    assert verdict(order, ["d", "c", "b", "a"], ["a", "b", "c", "d"]) == "far"


def test_links_cannot_put_a_control_where_it_cannot_be():
    assert accepted(Number(0, 10, 1, 5, 1), "7") == 7
    assert accepted(Number(0, 10, 1, 5, 1), 99) == 10
    assert accepted(Number(0, 10, 1, 5, 1), "x") is None
    assert accepted(Choice(("a", "b")), "c") is None
    assert accepted(Order(("a", "b")), ["a", "a"]) is None
    assert accepted(Numbers(("a", "b"), 0, 1, 0.1, 0, 0.1), [0.5]) is None
    assert accepted(Members(4), [3, 1, 1, 9, -1]) == [1, 3]
    assert accepted(Members(4), "x") is None
    assert accepted(Members(4), 2) is None
