"""The contents of the course, and what every page of it has on top."""

import streamlit as st

from pages.common import course, state
from pages.common.format import prose
from pruning_core.lessons.texts import LANGUAGES, Words

_ICONS = {"new": ":material/circle:", "open": ":material/pending:", "done": ":material/task_alt:"}


def choose_language() -> None:
    """Draw the choice of the language."""
    if state.is_left_out("language"):
        return
    key = "learn_language"
    st.session_state[key] = course.language()
    st.segmented_control(
        course.frame()("language"),
        list(LANGUAGES),
        format_func=lambda one: LANGUAGES[one],
        required=True,
        key=key,
        label_visibility="collapsed",
        on_change=lambda: state.attempt(lambda: course.choose_language(st.session_state[key])),
    )


def show(problem: str = "") -> None:
    """Draw all lessons by chapter."""
    from pruning_core.lessons import CHAPTERS, in_order

    frame, lessons = course.frame(), in_order()
    with st.container(horizontal=True, vertical_alignment="center"):
        st.header(frame("title"), anchor=False)
        st.space("stretch")
        choose_language()
    if problem:
        st.warning(prose(problem))
    st.markdown(frame("intro"))
    done = sum(course.how_far(lesson.key) == "done" for lesson in lessons)
    st.progress(done / len(lessons), text=prose(frame("progress", done=done, count=len(lessons))))
    numbered = {lesson.key: number for number, lesson in enumerate(lessons, start=1)}
    for chapter in CHAPTERS:
        own = [lesson for lesson in lessons if lesson.chapter == chapter]
        if not own:
            continue
        st.subheader(frame(f"chapter.{chapter}"), anchor=False)
        for lesson in own:
            words, far = Words(course.language(), lesson.key), course.how_far(lesson.key)
            with st.container(
                horizontal=True, vertical_alignment="center", key=f"row.{lesson.key}"
            ):
                st.button(
                    prose(f"{numbered[lesson.key]}. {words('title')}"),
                    icon=_ICONS[far],
                    key=f"open.{lesson.key}",
                    type="tertiary",
                    help=frame(f"state_{far}"),
                    on_click=lambda key=lesson.key: state.attempt(lambda: course.open_lesson(key)),
                )
                st.caption(prose(words("goal")))
    with st.container(horizontal=True, vertical_alignment="center"):
        if any(course.how_far(lesson.key) != "new" for lesson in lessons):
            st.button(
                frame("forget"),
                icon=":material/restart_alt:",
                type="tertiary",
                help=frame("forget_help"),
                on_click=lambda: state.attempt(course.forget),
            )
        st.page_link("pages/glossary.py", label=frame("to_glossary"), icon=":material/menu_book:")
        st.button(
            frame("teachers"),
            icon=":material/school:",
            type="tertiary",
            on_click=lambda: state.attempt(lambda: course.open_lesson(course.TEACHERS)),
        )
