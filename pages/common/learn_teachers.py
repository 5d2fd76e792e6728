"""For teachers: what each lesson shows, links with set and hidden parts, hand-outs, results."""

import json
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

import streamlit as st

from pages.common import charts, course, learn_contents, learn_controls, state
from pages.common.format import prose
from pruning_core.lessons.texts import Words

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pruning_core.lessons import Lesson

_AS_USUAL: Final = ""


def show() -> None:
    """Draw the instructor's page."""
    from pruning_core.lessons import in_order

    frame, lessons = course.frame(), in_order()
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button(
            frame("contents"),
            icon=":material/list:",
            type="tertiary",
            on_click=lambda: state.attempt(lambda: course.open_lesson("")),
        )
        st.space("stretch")
        learn_contents.choose_language()
    st.header(frame("teachers"), anchor=False)
    st.markdown(frame("teach.intro"))
    _link(lessons)
    _results()
    for number, lesson in enumerate(lessons, start=1):
        words = Words(course.language(), lesson.key)
        opened = st.expander(
            prose(f"{number}. {words('title')}"), key=f"teach.{lesson.key}", on_change="rerun"
        )
        if opened.open:
            with opened:
                _lesson(lesson, words)


def _link(lessons: "list[Lesson]") -> None:
    """Draw what makes a link to a lesson."""
    frame = course.frame()
    st.subheader(frame("teach.make"), anchor=False)
    titles = {one.key: Words(course.language(), one.key)("title") for one in lessons}
    left, right = st.columns(2, gap="medium")
    with left:
        key = str(
            st.selectbox(frame("teach.lesson"), list(titles), format_func=lambda one: titles[one])
        )
        lesson = next(one for one in lessons if one.key == key)
        value = _set_to(lesson)
        lock = st.checkbox(frame("teach.lock"), disabled=value is None)
    with right:
        hidden = st.multiselect(
            frame("teach.hide"),
            list(course.HIDEABLE),
            placeholder="–",
            format_func=lambda part: frame(f"hide.{part}"),
        )
        learner = st.text_input(frame("teach.learner"), max_chars=80)
        reduced = st.checkbox(frame("teach.reduced"))
    parts = {"lesson": key, "lang": course.language()}
    if value is not None:
        parts["set"] = json.dumps(value)
        parts |= {"lock": "1"} if lock else {}
    parts |= {"hide": ",".join(hidden)} if hidden else {}
    parts |= {"learner": learner} if learner else {}
    parts |= {"reduced": "1"} if reduced else {}
    st.caption(frame("teach.link"))
    st.code(f"/learn?{urlencode(parts, safe=',')}", language=None, wrap_lines=True)
    st.caption(prose(frame("teach.workbench")))


def _set_to(lesson: "Lesson") -> Any:
    """Draw the choice of a position for the control; None leaves it as usual."""
    from pruning_core.lessons.lesson import Choice, Number

    frame, words = course.frame(), Words(course.language(), lesson.key)
    match lesson.do:
        case Choice(options):
            chosen = st.selectbox(
                frame("teach.set_to"),
                [_AS_USUAL, *options],
                format_func=lambda one: (
                    learn_controls.option_text(words, "do", one) if one else frame("teach.as_usual")
                ),
                key=f"teach_set.{lesson.key}",
            )
            return chosen or None
        case Number(low, high, step):
            return st.number_input(
                frame("teach.set_to"),
                float(low),
                float(high),
                value=None,
                step=float(step),
                placeholder=frame("teach.as_usual"),
                key=f"teach_set.{lesson.key}",
            )
    return None


def _results() -> None:
    """Draw the download of what was predicted and answered."""
    frame, found = course.frame(), course.results()
    if not found["lesson"]:
        st.caption(frame("teach.results_none"))
        return
    st.download_button(
        frame("teach.results"),
        charts.csv_of(found),
        file_name="learn_results.csv",
        mime="text/csv",
        icon=":material/download:",
        on_click="ignore",
    )


def _lesson(lesson: "Lesson", words: Words) -> None:
    """Draw what a lesson shows, the numbers to expect, and its hand-outs."""
    from pruning_core.lessons.expected import expected
    from pruning_core.lessons.handout import rows_of

    frame = course.frame()
    st.markdown(prose(words("teach")))
    known = expected(lesson)
    if known is None:
        st.caption(frame("teach.expected_none"))
    else:
        rows = rows_of(lesson, known["facts"], words)
        st.dataframe(
            {frame("teach.name"): [n for n, _ in rows], frame("teach.value"): [v for _, v in rows]},
            hide_index=True,
            width=560,
            alt=frame("teach.expected"),
        )
        st.caption(
            prose(
                frame(
                    "teach.measured_on",
                    seconds=known["seconds"],
                    when=known["when"][:10],
                    processor=known["environment"]["processor"],
                )
            )
        )
    with st.container(horizontal=True):
        _handout(lesson, known, answers=False)
        if known is not None:
            _handout(lesson, known, answers=True)


def _handout(lesson: "Lesson", known: "Mapping[str, Any] | None", *, answers: bool) -> None:
    from pruning_core.lessons.handout import handout

    frame, suffix = course.frame(), "_answers" if answers else ""
    language = course.language()
    st.download_button(
        frame("teach.handout") + (f" · {frame('teach.key')}" if answers else ""),
        lambda: handout(lesson, language, known, answers=answers),
        file_name=f"{lesson.key}{suffix}_{language}.html",
        mime="text/html",
        icon=":material/print:",
        on_click="ignore",
        key=f"handout.{lesson.key}{suffix}",
    )
