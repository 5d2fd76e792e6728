"""One lesson on the page: the runner that all lessons share."""

from typing import TYPE_CHECKING, Any, Final

import streamlit as st

from pages.common import (
    charts,
    course,
    learn_contents,
    learn_controls,
    learn_glossary,
    learn_test,
    own_files,
    state,
)
from pages.common.format import prose
from pages.common.glossary_links import linked
from pruning_core.lessons.texts import Words

if TYPE_CHECKING:
    from collections.abc import Callable

    from pruning_core.lessons import Lesson
    from pruning_core.lessons.lesson import Facts
    from pruning_core.planning.recipe import Recipe
    from pruning_core.runs.bench import Outcome
    from pruning_core.runs.coursework import Record

LEAVING: Final = "_leaves_for_plan"
_MARKS: Final = {"right": "success", "near": "info", "far": "warning"}


def show(key: str) -> None:
    """Draw the lesson ``key``; the contents, and a sentence, when there is none."""
    from pruning_core.lessons import LESSONS, in_order

    if key not in LESSONS:
        course.open_lesson("")
        learn_contents.show(course.frame()("unknown", name=key[:60]))
        return
    lesson, words = LESSONS[key], Words(course.language(), key)
    order = [other.key for other in in_order()]
    _head(lesson, words, order)
    measured = course.record(lesson) if lesson.is_long else None
    _guess(lesson, words)
    if lesson.is_long and measured is None:
        _wait(lesson)
        return
    if not course.progress(key).get("guessed"):
        return
    measured = measured or course.record(lesson)
    assert measured is not None
    found = _do(lesson, words, measured)
    if not course.progress(key).get("revealed"):
        return
    if not state.is_left_out("why"):
        _why(lesson, words, found, measured)
    if not state.is_left_out("check"):
        if lesson.further:
            learn_test.show(lesson, words, found, _leave)
        else:
            _check(lesson, words, measured, found)
    if not state.is_left_out("on"):
        _on(lesson, found)
    _turn(order, lesson.key)


def _press(action: "Callable[[], None]") -> "Callable[[], None]":
    return lambda: state.attempt(action)


def _head(lesson: "Lesson", words: Words, order: list[str]) -> None:
    """Draw where the learner is, and the goal."""
    frame = course.frame()
    with st.container(horizontal=True, vertical_alignment="center"):
        if not state.is_left_out("contents"):
            st.button(
                frame("contents"),
                icon=":material/list:",
                type="tertiary",
                on_click=_press(lambda: course.open_lesson("")),
            )
        st.caption(
            prose(
                frame(
                    "position",
                    number=order.index(lesson.key) + 1,
                    count=len(order),
                    chapter=frame(f"chapter.{lesson.chapter}"),
                )
            )
        )
        st.space("stretch")
        if course.progress(lesson.key).get("guessed"):
            st.button(
                frame("again"),
                icon=":material/restart_alt:",
                type="tertiary",
                on_click=_press(lambda: course.restart(lesson.key)),
            )
        learn_contents.choose_language()
    st.header(words("title"), anchor=False)
    st.markdown(f"**{prose(words('goal'))}**")


def _wait(lesson: "Lesson") -> None:
    """Draw how far the measuring is, while it goes on; the page is drawn anew at its end."""
    frame, known = course.frame(), course.outcome(lesson)
    if known is not None and known.state in {"failed", "cancelled"}:
        st.warning(prose(frame("failed", text=known.text)))
        st.button(frame("retry"), on_click=_press(lambda: course.try_again(lesson)))
        return
    st.fragment(_watch, run_every=1.0)(lesson)


def _watch(lesson: "Lesson") -> None:
    known, frame = course.outcome(lesson), course.frame()
    if known is None or not known.is_pending:
        st.rerun()
    text = frame("waiting", text=known.text or "…")
    st.progress(min(1.0, known.fraction), text=prose(text))


def _guess(lesson: "Lesson", words: Words) -> None:
    """Draw the prediction: open until it is given, then fixed."""
    from pruning_core.lessons.lesson import Order, first_value

    frame, known = course.frame(), course.progress(lesson.key)
    st.subheader(frame("step.guess"), anchor=False)
    done = bool(known.get("guessed"))
    if done:
        st.markdown(prose(words("guess.ask")))
        told = learn_controls.value_text(words, "guess", lesson.guess, known["guess"])
        st.markdown(f":material/lock: {prose(frame('guess.kept', guess=told))}")
        return
    key = f"learn.{lesson.key}.guess.{course.language()}"
    value = learn_controls.draw(
        lesson.guess,
        words,
        "guess",
        label=words("guess.ask"),
        key=key,
        value=first_value(lesson.guess),
    )
    complete = value is not None
    if isinstance(lesson.guess, Order):
        complete = len(value) == len(lesson.guess.options)
        order = learn_controls.value_text(words, "guess", lesson.guess, value)
        so_far = frame("guess.order_so_far", order=order) if value else frame("guess.order")
        st.caption(prose(so_far))

    def commit() -> None:
        course.note(lesson.key, guess=learn_controls.current(lesson.guess, key), guessed=True)

    st.button(
        frame("guess.commit"),
        type="primary",
        key="learn_commit",
        disabled=not complete,
        help=None if complete else frame("guess.choose"),
        on_click=_press(commit),
    )


def _start(lesson: "Lesson") -> Any:
    """Return where the control stands at first: where the link or the learner put it."""
    from pruning_core.lessons.lesson import Choice, accepted, first_value

    known = course.progress(lesson.key).get("value")
    asked = course.set_value()
    if asked is not None and (known is None or course.is_locked()):
        fitting = accepted(lesson.do, asked)
        if fitting is not None:
            return fitting
        st.info(course.frame()("link_ignored"))
    if known is not None:
        return known
    return lesson.do.options[0] if isinstance(lesson.do, Choice) else first_value(lesson.do)


def _do(lesson: "Lesson", words: Words, measured: "Record") -> "Facts":
    """Draw the control with its pictures, the button that reveals, and the comparison."""
    frame, known = course.frame(), course.progress(lesson.key)
    st.subheader(frame("step.do"), anchor=False)
    st.markdown(prose(words("do.ask")))
    left, right = st.columns([2, 3], gap="medium")
    with left:
        locked = course.is_locked()
        value = learn_controls.draw(
            lesson.do,
            words,
            "do",
            label=words("do.label"),
            key=f"learn.{lesson.key}.do.{course.language()}",
            value=_start(lesson),
            disabled=locked,
        )
        if locked:
            st.caption(f":material/lock: {prose(frame('locked'))}")
        known["value"] = value
        under_way = course.attempt(lesson)
        found = course.facts(lesson, measured, value)
        if lesson.attempt is not None:
            _attempt(lesson, under_way)
        if known.get("revealed"):
            _verdict(lesson, words, found)
        else:
            _reveal(lesson, words, found)
    with right:
        _pictures(lesson, words, value, found)
    return found


def _attempt(lesson: "Lesson", under_way: "Outcome | None") -> None:
    """Draw the button that hands the position in, and how far its measuring is."""
    frame, known = course.frame(), course.progress(lesson.key)
    if under_way is not None and under_way.is_pending:
        st.fragment(_watch_attempt, run_every=1.0)(lesson)
        return
    if under_way is not None:
        st.warning(prose(frame("failed", text=under_way.text)))
    tried = course.was_tried(lesson.key, known["value"])
    key = f"learn.{lesson.key}.do.{course.language()}"
    st.button(
        frame("attempt.button"),
        key="learn_attempt",
        disabled=tried,
        help=frame("attempt.known") if tried else None,
        on_click=_press(lambda: course.hand_in(lesson, learn_controls.current(lesson.do, key))),
    )


def _watch_attempt(lesson: "Lesson") -> None:
    known, frame = course.attempt(lesson), course.frame()
    if known is None or not known.is_pending:
        st.rerun()
    text = frame("attempt.waiting", text=known.text or "…")
    st.progress(min(1.0, known.fraction), text=prose(text))
    st.button(
        frame("attempt.cancel"),
        key="learn_give_up",
        type="tertiary",
        on_click=_press(lambda: course.give_up(lesson)),
    )


def _reveal(lesson: "Lesson", words: Words, found: "Facts") -> None:
    """Draw the button that shows the answer, once what was to be done is done."""
    frame = course.frame()
    is_set = course.is_locked() and (lesson.attempt is None or bool(found["tries"]))
    ready = lesson.reached is None or is_set or lesson.reached(found)
    if not ready:
        st.info(prose(words("do.not_yet", **learn_controls.plain(found, words))))

    def reveal() -> None:
        from pruning_core.lessons.lesson import verdict

        guess, truth = course.progress(lesson.key)["guess"], lesson.truth(found)
        course.note(
            lesson.key, revealed=True, truth=truth, verdict=verdict(lesson.guess, guess, truth)
        )

    st.button(
        frame("reveal.button"),
        type="primary",
        key="learn_reveal",
        disabled=not ready,
        on_click=_press(reveal),
    )


def _verdict(lesson: "Lesson", words: Words, found: "Facts") -> None:
    """Say how the prediction compares with what was found."""
    from pruning_core.lessons.lesson import verdict

    frame, guess = course.frame(), course.progress(lesson.key)["guess"]
    truth = lesson.truth(found)
    how = verdict(lesson.guess, guess, truth)
    course.progress(lesson.key).update(truth=truth, verdict=how)
    st.subheader(frame("step.reveal"), anchor=False)
    told = {
        name: prose(learn_controls.value_text(words, "guess", lesson.guess, value))
        for name, value in (("guess", guess), ("truth", truth))
    }
    getattr(st, _MARKS[how])(frame(f"reveal.{how}", **told))
    if not course.is_locked():
        st.caption(frame("reveal.play"))


def _pictures(lesson: "Lesson", words: Words, value: Any, found: "Facts") -> None:
    from pruning_core.lessons.lesson import Scene

    frame, known = course.frame(), course.progress(lesson.key)
    scene = Scene(
        facts=found,
        value=value,
        guess=known["guess"],
        revealed=bool(known.get("revealed")),
        words=words,
        colours=charts.colours(),
    )
    for picture in lesson.pictures(scene):
        charts.show(
            picture.figure,
            key=f"{lesson.key}_{picture.name}",
            table=picture.table,
            words=(frame("numbers"), frame("csv")),
        )


def _why(lesson: "Lesson", words: Words, found: "Facts", measured: "Record") -> None:
    """Draw the explanation with the numbers of this moment, and where they come from."""
    from pruning_core.lessons.lesson import in_words

    frame = course.frame()
    st.subheader(frame("step.why"), anchor=False)
    st.code(words("formula", **in_words(found, words)), language=None, wrap_lines=True)
    st.markdown(words("why", **learn_controls.plain(found, words)).replace("~", "\\~"))
    form = "provenance_long" if lesson.is_long else "provenance_quick"
    provenance = frame(
        form,
        seconds=measured.seconds,
        when=measured.when[:16].replace("T", " ") + " UTC",
        processor=measured.environment["processor"],
        torch=measured.environment["torch"],
    )
    if "more" in words:
        st.markdown(words("more", **learn_controls.plain(found, words)).replace("~", "\\~"))
    st.caption(prose(frame("sources", sources="; ".join(lesson.sources))))
    terms = [
        linked(entry.term, entry.local)
        for entry in learn_glossary.words(course.language())
        if learn_glossary.LESSONS.get(entry.term) == lesson.key
    ]
    if terms:
        st.caption(frame("glossary.here", words=" · ".join(terms)))
    st.caption(f":gray-badge[{'EXACT' if lesson.is_exact else 'MEASURED'}] {prose(provenance)}")
    if lesson.is_timed:
        st.button(
            frame("measure_anew"),
            icon=":material/timer:",
            type="tertiary",
            key="learn_measure_anew",
            help=frame("measure_anew_help"),
            on_click=_press(lambda: course.measure_anew(lesson)),
        )


def _check(lesson: "Lesson", words: Words, measured: "Record", found: "Facts") -> None:
    """Draw the question and what came of the last answer."""
    from pruning_core.lessons.lesson import HandIn, first_value, in_words, verdict

    frame, known = course.frame(), course.progress(lesson.key)
    st.subheader(frame("step.check"), anchor=False)
    done, control = bool(known.get("done")), lesson.check.control
    assert not isinstance(control, HandIn)
    answers = known["answers"]
    last = answers[-1]["answer"] if answers else first_value(control)
    unit = words("check.unit") if "check.unit" in words else ""
    asked = words("check.ask", **learn_controls.plain(found, words))
    key = f"learn.{lesson.key}.check.{course.language()}"
    answer = learn_controls.draw(
        control,
        words,
        "check",
        label=asked + (f" ({unit})" if unit else ""),
        key=key,
        value=last,
        disabled=done,
    )

    def grade() -> None:
        given = learn_controls.current(control, key)
        if given is None:
            return
        is_right = verdict(control, given, lesson.check.answer(found)) == "right"
        own = {"answer": given, "right": is_right, "value": known["value"]}
        course.note(lesson.key, answers=[*answers, own], done=is_right)

    if not done:
        st.button(
            frame("check.button"),
            type="primary",
            key="learn_check",
            disabled=answer is None,
            on_click=_press(grade),
        )
    if answers:
        given = answers[-1]
        then = course.facts(lesson, measured, given["value"])
        how = "right" if given["right"] else "wrong"
        text = prose(words(f"check.{how}", **in_words(then, words)))
        box = st.success if given["right"] else st.warning
        box(frame(f"check.{how}", text=text))


def _on(lesson: "Lesson", found: "Facts") -> None:
    """Draw the way to the workbench in this state, and with the learner's own model."""
    frame, current = course.frame(), state.recipe()
    recipe = lesson.recipe(found)
    st.subheader(frame("step.on"), anchor=False)
    st.markdown(frame("on.text"))
    with st.container(horizontal=True):
        st.button(
            frame("on.open"),
            icon=":material/open_in_new:",
            key="learn_open",
            on_click=_press(lambda: _leave(recipe)),
        )
        if current.model != recipe.model:
            st.button(
                prose(frame("on.own", model=own_files.title(current.model))),
                help=frame("on.own_help"),
                key="learn_own",
                on_click=_press(lambda: _leave(_on_own(recipe, current.model))),
            )


def _leave(recipe: "Recipe", view: str = "", layer: str = "") -> None:
    """Make ``recipe`` that of the workbench; the page goes there when it is drawn next.

    Args:
        recipe: What the workbench shows.
        view: Of the Plan page; empty leaves the one that was shown last.
        layer: That is selected; empty leaves it as it is.
    """
    state.set_recipe(recipe)
    if view:
        state.choose_view(view)
    if layer:
        state.select_layer(layer)
    st.session_state[LEAVING] = True


def _on_own(recipe: "Recipe", identity: str) -> "Recipe":
    """Return what is pruned and how, for another model; settings of single layers stay behind."""
    own = state.fresh(identity)
    kept = {"model": own.model, "data": own.data, "input_shape": own.input_shape}
    return recipe.replace(**kept, layers={}, pins=(), picks={})


def _turn(order: list[str], key: str) -> None:
    """Draw the buttons to the lessons before and after."""
    if state.is_left_out("contents"):
        return
    frame, place = course.frame(), order.index(key)
    with st.container(horizontal=True):
        if place:
            st.button(
                frame("previous"),
                icon=":material/arrow_back:",
                on_click=_press(lambda: course.open_lesson(order[place - 1])),
            )
        if place + 1 < len(order):
            st.button(
                frame("next"),
                icon=":material/arrow_forward:",
                key="learn_next",
                on_click=_press(lambda: course.open_lesson(order[place + 1])),
            )
