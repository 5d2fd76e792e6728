"""The test at the end of the course: questions that are answered in the workbench, and a score."""

from typing import TYPE_CHECKING, Any, Final

import streamlit as st

from pages.common import course, learn_controls, own_files, state
from pages.common.format import prose
from pruning_core.lessons.texts import Words

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pruning_core.lessons import Lesson
    from pruning_core.lessons.lesson import Check, Facts, HandIn
    from pruning_core.planning.recipe import Recipe

_MARKS: Final = {(True, True): " ✓", (False, True): " ✗✓", (False, False): " ✗"}
"""By the first answer and the last one."""


def show(
    lesson: "Lesson", words: Words, found: "Facts", leave: "Callable[[Recipe, str, str], None]"
) -> None:
    """Draw one question at a time, and the score when all have an answer.

    Args:
        lesson: Its questions are asked.
        words: Texts of the lesson.
        found: All facts at the position of the control.
        leave: Opens the workbench: recipe, view and layer.
    """
    frame = course.frame()
    st.subheader(frame("test.title", count=len(lesson.checks)), anchor=False)
    st.markdown(frame("test.intro", learn=frame("test.learn")))
    number = _choose(lesson)
    with st.container(border=True):
        _question(lesson, words, found, number, leave)
    _score(lesson)


def _choose(lesson: "Lesson") -> int:
    """Draw the row of questions with what became of them; return the number of the chosen one."""
    from pruning_core.lessons.lesson import score

    frame, known = course.frame(), course.progress(lesson.key)
    last = {one["check"]: bool(one["right"]) for one in known["answers"]}
    first = score(lesson.checks, known["answers"])
    marks = {name: _MARKS[right, last[name]] for name, right in first.items()}
    key = f"learn.{lesson.key}.question"
    places = {str(place + 1): place for place in range(len(lesson.checks))}
    st.session_state[key] = str(known.get("question", 0) + 1)

    def go() -> None:
        known["question"] = places[st.session_state[key]]

    st.segmented_control(
        frame("test.question"),
        list(places),
        format_func=lambda name: name + marks.get(lesson.checks[places[name]].key, ""),
        required=True,
        key=key,
        on_change=lambda: state.attempt(go),
    )
    return places[st.session_state[key]]


def _question(
    lesson: "Lesson",
    words: Words,
    found: "Facts",
    number: int,
    leave: "Callable[[Recipe, str, str], None]",
) -> None:
    from pruning_core.lessons.lesson import HandIn

    frame, known, check = course.frame(), course.progress(lesson.key), lesson.checks[number]
    own = [one for one in known["answers"] if one.get("check") == check.key]
    done = bool(own) and own[-1]["right"]
    asked = words(f"{check.key}.ask", **learn_controls.plain(found, words))
    st.markdown(f"**{number + 1}.** {prose(asked)}")
    if check.begin is not None:
        begin, (view, layer) = check.begin(found), check.place
        st.button(
            frame("test.open", model=own_files.title(begin.model)),
            icon=":material/open_in_new:",
            key="learn_begin",
            on_click=lambda: state.attempt(lambda: leave(begin, view, layer)),
        )
    if isinstance(check.control, HandIn):
        _hand_in(lesson, check, check.control, found, done=done)
    else:
        _answer(lesson, words, check, found, own[-1]["answer"] if own else None, done=done)
    if own:
        _told(words, check, {**found, **own[-1].get("facts", {})}, right=done)
    if own and number + 1 < len(lesson.checks):
        st.button(
            frame("test.next"),
            icon=":material/arrow_forward:",
            key="learn_next_question",
            on_click=lambda: state.attempt(lambda: known.update(question=number + 1)),
        )


def _answer(
    lesson: "Lesson", words: Words, check: "Check", found: "Facts", last: Any, *, done: bool
) -> None:
    """Draw the field of an answer that was read in the workbench."""
    from pruning_core.lessons.lesson import Choice, HandIn, first_value, verdict

    frame, control = course.frame(), check.control
    assert not isinstance(control, HandIn)
    unit = words(f"{check.key}.unit") if f"{check.key}.unit" in words else ""
    key = f"learn.{lesson.key}.{check.key}.{course.language()}"
    answer = learn_controls.draw(
        control,
        words,
        check.key,
        label=frame("test.answer") + (f" ({unit})" if unit else ""),
        key=key,
        value=first_value(control) if last is None else last,
        disabled=done,
    )

    def grade() -> None:
        given = learn_controls.current(control, key)
        if given is not None or not isinstance(control, Choice):
            is_right = verdict(control, given, check.answer(found)) == "right"
            _note(lesson, check, {"answer": given, "right": is_right})

    if not done:
        st.button(
            frame("check.button"),
            type="primary",
            key="learn_check",
            disabled=answer is None,
            on_click=lambda: state.attempt(grade),
        )


def _hand_in(
    lesson: "Lesson", check: "Check", control: "HandIn", found: "Facts", *, done: bool
) -> None:
    """Draw the button that hands in the plan of the workbench."""
    frame, current = course.frame(), state.recipe()
    fits = current.model == control.model

    def grade() -> None:
        recipe = state.recipe()
        if recipe.model == control.model:
            judged = dict(control.judge(recipe, found))
            is_right = bool(judged.pop("right"))
            answer = {"answer": recipe.fingerprint[:12], "right": is_right, "facts": judged}
            _note(lesson, check, answer)

    if done:
        return
    st.caption(
        prose(frame("test.now" if fits else "test.other", model=own_files.title(current.model)))
    )
    st.button(
        frame("test.hand_in"),
        type="primary",
        icon=":material/assignment_turned_in:",
        key="learn_check",
        disabled=not fits,
        on_click=lambda: state.attempt(grade),
    )


def _note(lesson: "Lesson", check: "Check", answer: "Mapping[str, Any]") -> None:
    """Remember an answer; the lesson is done when every question has one."""
    from pruning_core.lessons.lesson import score

    known = course.progress(lesson.key)
    own = {"check": check.key, "value": known["value"], **answer}
    answers = [*known["answers"], own]
    done = len(score(lesson.checks, answers)) == len(lesson.checks)
    course.note(lesson.key, answers=answers, done=done)


def _told(words: Words, check: "Check", found: "Facts", *, right: bool) -> None:
    """Say what came of the last answer."""
    how = "right" if right else "wrong"
    try:
        text = prose(words(f"{check.key}.{how}", **learn_controls.plain(found, words)))
    except KeyError:
        text = ""  # a reload keeps whether a plan was right, not what was counted in it
    box = st.success if right else st.warning
    box(course.frame()(f"check.{how}", text=text))


def _score(lesson: "Lesson") -> None:
    """Draw the score once every question has an answer, and what to read again."""
    from pruning_core.lessons.lesson import score

    frame, first = course.frame(), score(lesson.checks, course.progress(lesson.key)["answers"])
    if len(first) < len(lesson.checks):
        st.caption(prose(frame("test.so_far", done=len(first), count=len(lesson.checks))))
        return
    right = sum(first.values())
    (st.success if right == len(first) else st.info)(
        frame("test.score", right=right, count=len(first))
    )
    missed = [check.again for check in lesson.checks if not first[check.key] and check.again]
    if missed:
        st.markdown(frame("test.again"))
    for key in dict.fromkeys(missed):
        st.button(
            prose(Words(course.language(), key)("title")),
            icon=":material/menu_book:",
            key=f"learn_again.{key}",
            type="tertiary",
            on_click=lambda key=key: state.attempt(lambda: course.open_lesson(key)),
        )
