"""What a session knows of the course: language, lesson, what the link sets, and how far it is."""

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import streamlit as st

from pages.common import measuring
from pruning_core.lessons.texts import FRAME, LANGUAGES, Words
from pruning_core.planning.recipe import Recipe
from pruning_core.runs.bench import Outcome, Question

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pruning_core.lessons import Lesson
    from pruning_core.lessons.lesson import Facts
    from pruning_core.runs.coursework import Record

TEACHERS: Final = "teachers"
HIDEABLE: Final = ("contents", "language", "why", "check", "on")
_LANGUAGE: Final = "_course_language"
_LESSON: Final = "_course_lesson"
_PROGRESS: Final = "_course_progress"
_LONGEST: Final = 200


def language() -> str:
    """Return the language of the course: that of the address, else the last one, else English."""
    asked = st.query_params.get("lang", st.session_state.get(_LANGUAGE, "en"))
    return asked if asked in LANGUAGES else "en"


def choose_language(key: str) -> None:
    """Speak another language from now on."""
    st.session_state[_LANGUAGE] = key
    st.query_params["lang"] = key


def frame() -> Words:
    """Return the words of the page around the lessons."""
    return Words(language(), FRAME)


def lesson_name() -> str:
    """Return which lesson is asked for; empty shows the contents."""
    known = str(st.session_state.get(_LESSON, ""))
    return st.query_params.get("lesson", known)[:_LONGEST]


def open_lesson(key: str) -> None:
    """Go to a lesson, to the teachers' part, or (empty) to the contents."""
    st.session_state[_LESSON] = key
    for name in ("set", "lock", "lesson"):
        st.query_params.pop(name, None)
    if key:
        st.query_params["lesson"] = key


def write_address() -> None:
    """Make the address say what is shown, so that a reload finds it again."""
    st.session_state[_LESSON] = lesson_name()
    st.session_state[_LANGUAGE] = language()
    wanted = {"lesson": lesson_name(), "lang": language()}
    for name, value in wanted.items():
        if value and st.query_params.get(name) != value:
            st.query_params[name] = value


def is_locked() -> bool:
    """Tell whether the link has fixed the control."""
    return st.query_params.get("lock") == "1" and "set" in st.query_params


def set_value() -> Any:
    """Return where the link puts the control, as it says; None when it does not."""
    text = st.query_params.get("set", "")[:_LONGEST]
    try:
        return json.loads(text) if text else None
    except ValueError:
        return text


def learner() -> str:
    """Return the name that the link gives the learner; empty without one."""
    return st.query_params.get("learner", "")[:80]


def progress(key: str) -> dict[str, Any]:
    """Return what was done in a lesson; change it in place."""
    known: dict[str, dict[str, Any]] = st.session_state.setdefault(_PROGRESS, {})
    return known.setdefault(key, {"answers": []})


def restart(key: str) -> None:
    """Forget what was done in a lesson."""
    st.session_state.get(_PROGRESS, {}).pop(key, None)
    for name in list(st.session_state):
        if str(name).startswith(f"learn.{key}."):
            del st.session_state[name]


def how_far(key: str) -> str:
    """Return ``new``, ``open`` or ``done``."""
    known = st.session_state.get(_PROGRESS, {}).get(key, {})
    return "done" if known.get("done") else "open" if known.get("guessed") else "new"


def note(key: str, **entries: Any) -> None:
    """Remember what happened in a lesson, with the time."""
    progress(key).update(entries, when=datetime.now(UTC).isoformat(timespec="seconds"))


def results() -> "Mapping[str, list[Any]]":
    """Return what was predicted and answered in this session, by column."""
    columns: dict[str, list[Any]] = {
        name: []
        for name in (
            *("learner", "lesson", "language", "prediction", "truth", "verdict", "control"),
            *("answers", "right", "attempts", "time"),
        )
    }
    for key, known in st.session_state.get(_PROGRESS, {}).items():
        if not known.get("guessed"):
            continue
        answers = known["answers"]
        row = {
            "learner": learner(),
            "lesson": key,
            "language": language(),
            "prediction": _told(known["guess"]),
            "truth": _told(known.get("truth")),
            "verdict": known.get("verdict", ""),
            "control": _told(known.get("value")),
            "answers": "; ".join(_told(answer["answer"]) for answer in answers),
            "right": bool(known.get("done")),
            "attempts": len(answers),
            "time": known.get("when", ""),
        }
        for name, value in row.items():
            columns[name].append(value)
    return columns


def _told(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(_told(one) for one in value)
    return f"{value:g}" if isinstance(value, float) else "" if value is None else str(value)


def question(lesson: "Lesson") -> Question:
    """Return the question that has a long lesson measured beside the page."""
    settings = {"lesson": lesson.key, "timed": lesson.is_timed}
    return Question("lesson", Recipe(model="bundled:lenet_5"), settings=settings)


def record(lesson: "Lesson") -> "Record | None":
    """Return what was measured for a lesson; None while a long one is under way."""
    from pruning_core.runs.coursework import path_of

    path = path_of(lesson)
    if not lesson.is_long:
        return _computed(str(path), lesson)
    if path.is_file():
        found = _kept(str(path), path.stat().st_mtime_ns, path)
        if found is not None:
            return found
    known = measuring.bench().look(question(lesson))
    if known is not None and known.state == "done":
        measuring.bench().forget(question(lesson))  # its file is gone
    measuring.bench().ask(question(lesson))
    return None


def outcome(lesson: "Lesson") -> Outcome | None:
    """Return how far the measuring of a long lesson is."""
    return measuring.bench().look(question(lesson))


def try_again(lesson: "Lesson") -> None:
    """Measure a long lesson that failed once more."""
    measuring.again(question(lesson))


@st.cache_resource(show_spinner="…", max_entries=64)
def _computed(name: str, _lesson: "Lesson") -> "Record":  # noqa: ARG001
    from pruning_core.runs.coursework import carry_out
    from pruning_core.steps import run_to_end

    return run_to_end(carry_out(_lesson))


@st.cache_resource(show_spinner=False, max_entries=64)
def _kept(name: str, changed: int, _path: "Path") -> "Record | None":  # noqa: ARG001
    from pruning_core.runs.coursework import read

    return read(_path)


def facts(lesson: "Lesson", measured: "Record", value: Any) -> "Facts":
    """Return everything that is known at the position ``value`` of the control."""
    return _acted(lesson.key, measured.when, json.dumps(value), lesson, measured, value)


@st.cache_resource(show_spinner="…", max_entries=256)
def _acted(
    key: str,  # noqa: ARG001
    when: str,  # noqa: ARG001
    text: str,  # noqa: ARG001
    _lesson: "Lesson",
    _measured: "Record",
    _value: Any,
) -> "Facts":
    from pruning_core.lessons.lesson import all_facts

    return all_facts(_lesson, _measured.facts, _value)
