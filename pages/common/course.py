"""What a session knows of the course: language, lesson, what the link sets, and how far it is."""

import json
from datetime import UTC, datetime
from math import isfinite
from typing import TYPE_CHECKING, Any, Final

import streamlit as st

from pages.common import measuring
from pages.common.components import mount_progress
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
_LONGEST_KEPT: Final = 500_000
_KEPT: Final = "course_progress"
_MOST_ANSWERS: Final = 50
_MOST_TRIES: Final = 100
_VERDICTS: Final = ("right", "near", "far")
SHOWN: Final = "_course_is_shown"
"""Set while the page of the course is shown; see :func:`pages.common.shell.run`."""


def language() -> str:
    """Return the language of the course: that of the address, else the last one, else English."""
    asked = st.query_params.get("lang", st.session_state.get(_LANGUAGE, "en"))
    return asked if asked in LANGUAGES else "en"


def choose_language(key: str) -> None:
    """Speak another language from now on; what was chosen and not handed in yet stays chosen."""
    before = language()
    for name in [str(one) for one in st.session_state]:
        lesson, *parts = name.removeprefix("learn.").split(".", 3)
        if name.startswith("learn.") and parts[1:2] == [before]:
            other = ".".join(("learn", lesson, parts[0], key, *parts[2:]))
            st.session_state[other] = st.session_state[name]
    st.session_state[_LANGUAGE] = key
    st.query_params["lang"] = key


def frame() -> Words:
    """Return the words of the page around the lessons."""
    return Words(language(), FRAME)


def title_of(key: str) -> str:
    """Return the title of a lesson."""
    return Words(language(), key)("title")


def lesson_name() -> str:
    """Return which lesson is asked for; empty shows the contents.

    An address without one, as the way from another page has it, asks for the last one; on this page
    it is that of the contents, to which the browser went back.
    """
    known = "" if st.session_state.get(SHOWN) else str(st.session_state.get(_LESSON, ""))
    return st.query_params.get("lesson", known)[:_LONGEST]


def open_lesson(key: str) -> None:
    """Go to a lesson, to the teachers' part, or (empty) to the contents."""
    st.session_state[_LESSON] = key
    for name in ("set", "lock", "lesson"):
        st.query_params.pop(name, None)
    if key:
        st.query_params["lesson"] = key


def write_address() -> None:
    """Make the address say what is shown, so that a reload finds it again.

    Only a browser that named a lesson can go back to the contents: after the way from another page
    its next request may still be one from before this address.
    """
    named = "lesson" in st.query_params
    st.session_state[_LESSON] = lesson_name()
    st.session_state[_LANGUAGE] = language()
    st.session_state[SHOWN] = named
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
    """Forget what was done in a lesson, also where it is kept; what was handed in stays."""
    handed_in = {name: one for name, one in progress(key).items() if name == "tries"}
    progress(key).clear()
    note(key, answers=[], **handed_in)
    for name in list(st.session_state):
        if str(name).startswith(f"learn.{key}."):
            del st.session_state[name]


def forget() -> None:
    """Forget what was done in all lessons."""
    for key in list(st.session_state.get(_PROGRESS, {})):
        restart(key)


def keep() -> None:
    """Keep what was done in the browser; a new session takes from there what it does not know."""
    known: dict[str, dict[str, Any]] = st.session_state.get(_PROGRESS, {})
    mount_progress(
        key=_KEPT,
        data={
            "learner": learner(),
            "lessons": {key: own for key, own in known.items() if "when" in own},
        },
        on_kept_change=lambda: restore(str(st.session_state[_KEPT].kept)),
    )


def restore(text: str) -> None:
    """Take over what a browser kept; what does not fit a lesson is left out."""
    from pruning_core.lessons import LESSONS

    try:
        found = json.loads(text[:_LONGEST_KEPT])
    except ValueError:
        return
    for key, own in found.items() if isinstance(found, dict) else ():
        if key in LESSONS and isinstance(own, dict) and isinstance(own.get("when"), str):
            known = progress(key)
            if known.get("when", "") < own["when"][:40]:
                known.clear()
                known.update(_fitting(LESSONS[key], own), when=own["when"][:40])


def _fitting(lesson: "Lesson", own: dict[str, Any]) -> dict[str, Any]:
    """Return what was done in a lesson as far as its controls can show it."""
    from pruning_core.lessons.lesson import accepted

    guess = accepted(lesson.guess, own.get("guess")) if own.get("guessed") else None
    known: dict[str, Any] = {"answers": []}
    if lesson.attempt is not None:
        known["tries"] = _fitting_tries(lesson, own)
    if guess is None:
        return known
    found = {**known, "guess": guess, "guessed": True}
    value = accepted(lesson.do, own.get("value"))
    if value is None or found.get("tries") == []:
        return found
    found |= {"value": value, "revealed": bool(own.get("revealed"))}
    found["truth"] = accepted(lesson.guess, own.get("truth"))
    found["verdict"] = own.get("verdict") if own.get("verdict") in _VERDICTS else ""
    answers = own.get("answers")
    for one in answers[:_MOST_ANSWERS] if isinstance(answers, list) else ():
        fitting = _fitting_answer(lesson, one) if isinstance(one, dict) else None
        found["answers"] += [fitting] if fitting else []
    found["done"] = bool(found["answers"]) and own.get("done") is True
    return found


def _fitting_tries(lesson: "Lesson", own: dict[str, Any]) -> "list[Facts]":
    """Return those of the kept tries that are positions of the control with their numbers."""
    from pruning_core.lessons.lesson import accepted

    found: list[Facts] = []
    kept = own.get("tries")
    for one in kept[:_MOST_TRIES] if isinstance(kept, list) else ():
        value = accepted(lesson.do, one.get("value")) if isinstance(one, dict) else None
        numbers = [one.get(name) for name in lesson.tried] if value is not None else [None]
        if all(isinstance(number, int | float) and isfinite(number) for number in numbers):
            found.append({**dict(zip(lesson.tried, numbers, strict=True)), "value": value})
    return found


def _fitting_answer(lesson: "Lesson", own: dict[str, Any]) -> dict[str, Any] | None:
    """Return an answer as far as its control can show it; else None."""
    from pruning_core.lessons.lesson import HandIn, accepted

    check = next((one for one in lesson.checks if one.key == own.get("check", "check")), None)
    at = accepted(lesson.do, own.get("value"))
    if check is None or at is None:
        return None
    if isinstance(check.control, HandIn):
        given = str(own.get("answer", ""))[:_LONGEST]
    else:
        given = accepted(check.control, own.get("answer"))
    named = {"check": check.key} if lesson.further else {}
    answer = {**named, "answer": given, "right": own.get("right") is True, "value": at}
    return None if given is None else answer


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
        first: dict[str, bool] = {}
        for answer in answers:
            first.setdefault(answer.get("check", ""), answer["right"])
        score = f"{sum(first.values())} / {len(first)}"
        row = {
            "learner": learner(),
            "lesson": key,
            "language": language(),
            "prediction": _told(known["guess"]),
            "truth": _told(known.get("truth")),
            "verdict": known.get("verdict", ""),
            "control": _told(known.get("value")),
            "answers": "; ".join(_told(answer["answer"]) for answer in answers),
            "right": score if len(first) > 1 else bool(known.get("done")),
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
        with st.spinner(frame()("reading")):
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


def measure_anew(lesson: "Lesson") -> None:
    """Forget what was measured for a long lesson, for all visitors; it is measured again."""
    from pruning_core.runs.coursework import path_of

    path_of(lesson).unlink(missing_ok=True)


def hand_in(lesson: "Lesson", value: Any) -> None:
    """Have a position of the control measured beside the page."""
    asked = _attempt(lesson, value)
    progress(lesson.key)["attempt"] = value
    if measuring.bench().ask(asked).state == "failed":
        measuring.again(asked)


def attempt(lesson: "Lesson") -> Outcome | None:
    """Return how far the position that was handed in is; None when none is under way.

    One that is done is added to the tries of the session.
    """
    known = progress(lesson.key)
    if "attempt" not in known:
        return None
    asked = _attempt(lesson, known["attempt"])
    found = measuring.bench().look(asked)
    if found is None or found.state == "cancelled":
        del known["attempt"]
        return None
    if found.state == "done":
        value = known.pop("attempt")
        if not was_tried(lesson.key, value):
            tried = {**found.answer["found"], "value": value}
            note(lesson.key, tries=[*tries(lesson.key), tried][-_MOST_TRIES:])
        return None
    return found


def give_up(lesson: "Lesson") -> None:
    """Stop measuring the position that was handed in, or forget that it failed."""
    value = progress(lesson.key).pop("attempt", None)
    if value is not None:
        measuring.bench().cancel(_attempt(lesson, value))


def tries(key: str) -> "list[Facts]":
    """Return what came of the positions handed in, the first first."""
    found: list[Facts] = progress(key).setdefault("tries", [])
    return found


def was_tried(key: str, value: Any) -> bool:
    """Tell whether a position was handed in before."""
    return any(one["value"] == value for one in tries(key))


def _attempt(lesson: "Lesson", value: Any) -> Question:
    settings = {"lesson": lesson.key, "timed": lesson.is_timed, "attempt": value}
    return Question("lesson", Recipe(model="bundled:lenet_5"), settings=settings)


@st.cache_resource(show_spinner=False, max_entries=64)
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
    tried = tries(lesson.key) if lesson.attempt else []
    text = json.dumps([value, tried])
    with st.spinner(frame()("reading")):
        return _acted(lesson.key, measured.when, text, lesson, measured, (value, tried))


@st.cache_resource(show_spinner=False, max_entries=256)
def _acted(
    key: str,  # noqa: ARG001
    when: str,  # noqa: ARG001
    text: str,  # noqa: ARG001
    _lesson: "Lesson",
    _measured: "Record",
    _given: "tuple[Any, list[Facts]]",
) -> "Facts":
    from pruning_core.lessons.lesson import all_facts

    value, tried = _given
    return all_facts(_lesson, _measured.facts, value, tried)
