"""Every lesson from start to end, with wrong and right answers, in every language."""

import csv
import io
import json

import pytest
from streamlit.testing.v1 import AppTest

from pages.common import course
from pruning_core.lessons import LESSONS, in_order
from pruning_core.lessons.expected import expected
from pruning_core.lessons.lesson import (
    Choice,
    HandIn,
    Members,
    Number,
    Numbers,
    Order,
    all_facts,
    done_at,
    in_words,
)
from pruning_core.lessons.texts import LANGUAGES, Words
from pruning_core.runs import coursework
from pruning_core.runs.bench import Outcome
from tests.lesson_play import nearest, wrong

KEYS = list(LESSONS)
_LEARN = "pages/learn.py"


@pytest.fixture
def learn(app):
    """The app with the long measurements on disk, as they were measured for teachers."""
    for lesson in LESSONS.values():
        if lesson.is_long:
            path = coursework.path_of(lesson)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(expected(lesson)), encoding="utf-8")

    def visit(**parameters):
        for name, value in parameters.items():
            app.query_params[name] = value
        app.run()
        app.switch_page(_LEARN)
        for name, value in parameters.items():
            app.query_params[name] = value
        return ran(app)

    return visit


def ran(app):
    app.run()
    assert not app.exception
    assert not app.error, [one.value for one in app.error]
    return app


def put(app, key, part, language, control, value):
    """Give a control a value, as a person does."""
    name = f"learn.{key}.{part}.{language}"
    match control:
        case Numbers(names=names):
            for one, number in zip(names, value, strict=True):
                app.slider(key=f"{name}.{one}").set_value(float(number))
        case Order():
            app.multiselect(key=name).set_value(list(value))
        case Members():
            app.pills(key=name).set_value(list(value))
        case Choice() if part == "do":
            app.segmented_control(key=name).set_value(value)
        case Choice():
            app.radio(key=name).set_value(value)
        case Number() if part not in {"guess", "do"}:
            app.number_input(key=name).set_value(float(value))
        case Number():
            app.slider(key=name).set_value(float(value))
    return ran(app)


def texts(app):
    return " ".join(
        element.value
        for kind in (app.markdown, app.success, app.warning, app.info, app.caption)
        for element in kind
    )


@pytest.mark.parametrize("key", KEYS)
def test_a_lesson_goes_from_prediction_to_check(learn, key):
    """Every other one begins in Chinese, predicted rightly; the language changes midway."""
    guesses_right = KEYS.index(key) % 2 == 1
    first, second = ("zh", "en") if guesses_right else ("en", "zh")
    lesson, words = LESSONS[key], Words(first, key)
    app = learn(lesson=key, lang=first)
    assert words("title") in [header.value for header in app.header]
    assert not app.get("plotly_chart")  # nothing is revealed before the prediction
    assert not [button for button in app.button if button.key == "learn_reveal"]

    facts = course.record(lesson).facts
    position = done_at(lesson, facts)
    found = all_facts(lesson, facts, position)
    truth = lesson.truth(found)
    guess = nearest(lesson.guess, truth) if guesses_right else wrong(lesson.guess, truth)
    put(app, key, "guess", first, lesson.guess, guess)
    app.button(key="learn_commit").click()
    ran(app)

    if lesson.reached is not None and not lesson.reached(
        all_facts(lesson, facts, app.session_state["_course_progress"][key]["value"])
    ):
        assert app.button(key="learn_reveal").disabled
    if lesson.attempt is not None:
        assert not app.button(key="learn_attempt").disabled
        app.session_state["_course_progress"][key]["tries"] = found["tries"]
    put(app, key, "do", first, lesson.do, position)
    assert not app.button(key="learn_reveal").disabled
    app.button(key="learn_reveal").click()
    ran(app)
    known = app.session_state["_course_progress"][key]
    assert known["verdict"] == "right" if guesses_right else known["verdict"] != "right"
    assert app.get("plotly_chart")
    assert app.code[-1].value == words("formula", **in_words(found, words))

    app.segmented_control(key="learn_language").set_value(second)
    ran(app)
    words = Words(second, key)
    assert words("title") in [header.value for header in app.header]
    assert app.code[-1].value == words("formula", **in_words(found, words))
    answer_all(app, lesson, second, found)

    app.button(key="learn_open").click()
    ran(app)
    assert app.session_state["recipe"] == lesson.recipe(found)
    assert app.session_state["_page"] == "plan"


def answer_all(app, lesson, language, found):
    """Answer every question of a lesson: the first one wrong, then right."""
    frame, key = Words(language, "frame"), lesson.key
    for number, check in enumerate(lesson.checks):
        if lesson.further:
            name = f"learn.{key}.question"
            app.segmented_control(key=name).set_value(str(number + 1))
            ran(app)
        answer, known = check.answer(found), app.session_state["_course_progress"][key]
        before = len(known["answers"])
        if isinstance(check.control, HandIn):
            assert app.button(key="learn_check").disabled == (
                app.session_state["recipe"].model != check.control.model
            )
            app.session_state["recipe"] = answer
            ran(app)
        else:
            if not number:
                false = wrong(check.control, answer)
                put(app, key, check.key, language, check.control, false)
                app.button(key="learn_check").click()
                ran(app)
                assert course_words(frame("check.wrong", text="")) in texts(app)
                assert not known.get("done")
                before += 1
            put(app, key, check.key, language, check.control, nearest(check.control, answer))
        app.button(key="learn_check").click()
        ran(app)
        assert course_words(frame("check.right", text="")) in texts(app)
        assert len(app.session_state["_course_progress"][key]["answers"]) == before + 1
    assert app.session_state["_course_progress"][key]["done"]
    if lesson.further:
        count = len(lesson.checks)
        assert frame("test.score", right=count - 1, count=count) in texts(app)
        assert app.button(key=f"learn_again.{lesson.check.again}")


def course_words(text):
    return text.strip()


def test_contents_list_all_lessons_and_an_unknown_one_is_a_sentence(learn):
    app = learn()
    titles = [button.label for button in app.button]
    for number, lesson in enumerate(in_order(), start=1):
        start = f"{number}. "
        assert any(label.replace("\\", "").startswith(start) for label in titles), lesson.key
    app.query_params["lesson"] = "nonsense<b>"
    app.run()
    assert not app.exception
    assert "nonsense" in app.warning[0].value


def test_a_link_sets_and_locks_the_control_and_hides_parts(learn):
    app = learn(
        lesson="threshold", set="0.2", lock="1", hide="check,on,contents,language", reduced="1"
    )
    app.button(key="learn_commit").click()
    ran(app)
    slider = app.slider(key="learn.threshold.do.en")
    assert (slider.value, slider.disabled) == (0.2, True)
    app.button(key="learn_reveal").click()  # a locked control need not reach the goal
    ran(app)
    keys = {button.key for button in app.button}
    assert not keys & {"learn_check", "learn_open", "learn_next", "toolbar"}
    assert "Undo" not in {button.label for button in app.button}


@pytest.mark.parametrize("asked", ["nonsense", "[1,2]", "1e999", "NaN", "{", "99"])
def test_any_value_in_a_link_leads_to_a_page(learn, asked):
    app = learn(lesson="threshold", set=asked)
    app.button(key="learn_commit").click()
    ran(app)
    assert 0 <= app.slider(key="learn.threshold.do.en").value <= 0.4


def test_another_language_keeps_what_was_done(learn):
    app = learn(lesson="threshold")
    put(app, "threshold", "guess", "en", LESSONS["threshold"].guess, 0.2)
    app.button(key="learn_commit").click()
    ran(app)
    put(app, "threshold", "do", "en", LESSONS["threshold"].do, 0.1)
    app.segmented_control(key="learn_language").set_value("zh")
    ran(app)
    assert app.header[0].value == Words("zh", "threshold")("title")
    assert app.slider(key="learn.threshold.do.zh").value == 0.1
    assert r"0\.2" in texts(app)


class OneAnswer:
    """A bench that says the same of every question."""

    def __init__(self, outcome):
        self.outcome, self.asked = outcome, []

    def ask(self, question, _owner=""):
        self.asked.append(question)
        return self.outcome

    def look(self, _):
        return self.outcome

    def forget(self, _):
        pass

    def cancel(self, _):
        self.outcome = Outcome("cancelled")


def test_tries_are_measured_beside_the_page_and_go_on_a_board(learn, monkeypatch):
    lesson, bench = LESSONS["budget"], OneAnswer(Outcome("running", 0.5))
    example = expected(lesson)["facts"]["example"]
    monkeypatch.setattr("pages.common.measuring.bench", lambda: bench)
    app = learn(lesson="budget")
    put(app, "budget", "guess", "en", lesson.guess, "erk")
    app.button(key="learn_commit").click()
    ran(app)
    app.button(key="learn_attempt").click()
    ran(app)
    app.button(key="learn_give_up").click()
    ran(app)
    bench.outcome = Outcome("running", 0.5)
    put(app, "budget", "do", "en", lesson.do, example["value"])
    app.button(key="learn_attempt").click()
    ran(app)
    assert [one.settings["attempt"] for one in bench.asked] == [[0] * 4, example["value"]]
    assert app.button(key="learn_reveal").disabled
    bench.outcome = Outcome("done", answer={"found": example})
    ran(app)
    assert app.session_state["_course_progress"]["budget"]["tries"] == [example]
    assert app.button(key="learn_attempt").disabled  # this position is on the board already
    assert not app.button(key="learn_reveal").disabled
    put(app, "budget", "do", "en", lesson.do, [0, 0, 90, 0])
    bench.outcome = Outcome("failed", text="no memory")
    app.button(key="learn_attempt").click()
    ran(app)
    assert "no memory" in app.warning[-1].value
    next(one for one in app.button if "restart" in (one.icon or "")).click()
    ran(app)
    known = app.session_state["_course_progress"]["budget"]
    assert known["tries"] == [example]  # the board stays
    assert not known.get("guessed")


def test_what_a_browser_kept_of_tries_is_taken_over_where_it_fits():
    good = {"size": 24.0, "before": 3, "after": 0.5, "value": [0, 30, 79, 20]}
    bad = [{**good, "size": "x"}, {**good, "value": "x"}, {"value": [0, 0, 0, 0]}, 7, None]
    own = {"when": "2026-01-01T00:00:00+00:00", "guessed": True, "guess": "erk", "answers": []}
    own |= {"value": [0, 0, 0, 0], "revealed": True, "tries": [good, *bad]}
    script = AppTest.from_function(taken_over, args=(json.dumps({"budget": own}),)).run()
    assert not script.exception
    known = script.session_state["_course_progress"]["budget"]
    assert (known["tries"], known["revealed"]) == ([good], True)
    own["tries"] = bad
    script = AppTest.from_function(taken_over, args=(json.dumps({"budget": own}),)).run()
    assert "revealed" not in script.session_state["_course_progress"]["budget"]


def taken_over(text):
    from pages.common import course

    course.restore(text)


def test_starting_over_forgets_the_prediction(learn):
    app = learn(lesson="threshold")
    app.button(key="learn_commit").click()
    ran(app)
    next(one for one in app.button if "restart" in (one.icon or "")).click()
    ran(app)
    assert app.button(key="learn_commit")
    assert "threshold" not in app.session_state["_course_progress"] or not (
        app.session_state["_course_progress"]["threshold"].get("guessed")
    )


@pytest.mark.parametrize("key", KEYS)
def test_what_a_browser_kept_of_a_lesson_comes_back(key):
    lesson = LESSONS[key]
    facts = expected(lesson)["facts"]
    at = done_at(lesson, facts)
    found = all_facts(lesson, facts, at)
    own = {"guess": lesson.truth(found), "guessed": True, "revealed": True, "value": at}
    own |= {"truth": lesson.truth(found), "verdict": "right", "done": True}
    own["answers"] = [
        {
            **({"check": check.key} if lesson.further else {}),
            "answer": "0123" if isinstance(check.control, HandIn) else check.answer(found),
            "right": True,
            "value": at,
        }
        for check in lesson.checks
    ]
    if lesson.attempt is not None:
        own["tries"] = found["tries"]
    assert course._fitting(lesson, json.loads(json.dumps(own))) == json.loads(json.dumps(own))


@pytest.mark.parametrize(
    "junk", [{}, {"guessed": True}, {"guess": "x", "guessed": True, "value": []}]
)
def test_what_does_not_fit_a_lesson_is_left_out(junk):
    assert course._fitting(LESSONS["threshold"], junk) == {"answers": []}
    answered = {"guess": 0.1, "guessed": True, "value": 0.2, "done": True, "answers": [7, {}, "a"]}
    kept = course._fitting(LESSONS["threshold"], answered)
    assert kept["answers"] == []
    assert not kept["done"]


def test_teachers_see_expected_numbers_links_and_results(learn, monkeypatch):
    app = learn(lesson="threshold", learner="=Group 1")
    app.button(key="learn_commit").click()
    ran(app)
    app.query_params["lesson"] = "teachers"
    ran(app)
    assert app.checkbox[0].disabled  # there is nothing to lock before a value is chosen
    app.multiselect[0].set_value(["check"])
    ran(app)
    link = app.code[0].value
    assert link.startswith("/learn?lesson=")
    assert "hide=check" in link
    assert {one.label for one in app.get("download_button")}


def test_results_are_a_table_that_no_spreadsheet_takes_for_formulas():
    from pages.common.charts import csv_of

    text = csv_of({"learner": ["=1+1"], "lesson": ["threshold"]})
    assert list(csv.reader(io.StringIO(text)))[1] == ["'=1+1", "threshold"]


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_glossary_has_words_criteria_and_granularities(learn, language):
    app = learn(lang=language)
    app.switch_page("pages/glossary.py").run()
    assert not app.exception
    shown = texts(app)
    assert "unit" in shown
    assert "Taylor" in shown
    app.text_input(key="glossary_search").set_value("zzzz")
    ran(app)
    assert "zzzz" in app.info[0].value


def test_a_link_hides_parts_of_the_workbench(learn):
    app = learn()
    app.switch_page("pages/plan.py")
    app.query_params["hide"] = "controls,view"
    ran(app)
    components = {element.proto.component_name for element in app.get("bidi_component")}
    assert "pruning_studio_layers" in components
    assert "pruning_studio_threshold" not in components
    app.query_params["hide"] = "layers"
    ran(app)
    components = {element.proto.component_name for element in app.get("bidi_component")}
    assert "pruning_studio_layers" not in components
    assert "pruning_studio_threshold" in components
