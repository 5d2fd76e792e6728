"""The controls of lessons as widgets, and their values in words."""

from collections.abc import Callable
from typing import Any

import streamlit as st

from pages.common.format import prose
from pruning_core.lessons.lesson import (
    Choice,
    Control,
    Facts,
    Members,
    Number,
    Numbers,
    Order,
    in_words,
)
from pruning_core.lessons.texts import Words


def option_text(words: Words, part: str, option: str) -> str:
    """Return an option in the language of the page; names of layers are what they are."""
    key = f"{part}.options.{option}"
    return words(key) if key in words else option


def value_text(words: Words, part: str, control: Control, value: Any) -> str:
    """Return a value in words, with its unit."""
    unit = words(f"{part}.unit") if f"{part}.unit" in words else ""
    match control:
        case Choice():
            return option_text(words, part, str(value))
        case Order():
            return " > ".join(option_text(words, part, one) for one in value)
        case Members():
            return ", ".join(str(one) for one in value)
        case Numbers():
            return f"{', '.join(_number(one) for one in value)} {unit}".strip()
    return f"{_number(value)} {unit}".strip()


def plain(facts: Facts, words: Words) -> Facts:
    """Return facts for use in sentences: foreign names cannot become markup."""
    named = in_words(facts, words)
    return {k: prose(v) if isinstance(v, str) else v for k, v in named.items()}


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def current(control: Control, key: str) -> Any:
    """Return what a control shows at this moment, for callbacks.

    The value that :func:`draw` returned may be older: quick hands change a control and press the
    button before the page was drawn in between.
    """
    if isinstance(control, Numbers):
        return [float(st.session_state[f"{key}.{name}"]) for name in control.names]
    value = st.session_state[key]
    return float(value) if isinstance(control, Number) else value


def draw(  # noqa: PLR0913
    control: Control,
    words: Words,
    part: str,
    *,
    label: str,
    key: str,
    value: Any,
    disabled: bool = False,
    write: Callable[[], None] | None = None,
) -> Any:
    """Draw a control and return its value; None (or an unfinished list) while nothing is chosen.

    Args:
        control: What to draw.
        words: Texts of the lesson.
        part: ``guess``, ``do`` or the key of a question: where its options are.
        label: Above it.
        key: Of the widget; other ones begin with it.
        value: What it shows when it is drawn for the first time.
        disabled: Whether it only shows the value.
        write: Called when the person changed it.
    """
    state = st.session_state
    if isinstance(control, Numbers):
        return _numbers(control, words, part, label, (key, value), disabled=disabled)
    if key not in state or disabled:
        state[key] = list(value) if isinstance(control, Order | Members) and value else value
    if isinstance(control, Choice):
        common: dict[str, Any] = {
            "format_func": lambda option: prose(option_text(words, part, option)),
            "key": key,
            "disabled": disabled,
            "on_change": write,
        }
        if part == "do":
            return st.segmented_control(
                prose(label), list(control.options), required=True, **common
            )
        if state[key] is None:
            common["index"] = None
        return st.radio(prose(label), list(control.options), **common)
    if isinstance(control, Members):
        chosen = st.pills(
            prose(label),
            list(range(control.n)),
            selection_mode="multi",
            wrap=True,
            key=key,
            disabled=disabled,
            on_change=write,
        )
        return sorted(chosen)
    if isinstance(control, Order):
        return st.multiselect(
            prose(label),
            list(control.options),
            format_func=lambda option: option_text(words, part, option),
            key=key,
            disabled=disabled,
            placeholder="1, 2, 3 …",
        )
    unit = words(f"{part}.unit") if part == "guess" else ""
    return _number_widget(control, part, (label, unit), key, disabled=disabled, write=write)


def _number_widget(
    control: Number,
    part: str,
    name: tuple[str, str],
    key: str,
    *,
    disabled: bool,
    write: Callable[[], None] | None,
) -> float:
    label, unit = name
    limits = (float(control.low), float(control.high))
    if part not in {"guess", "do"}:
        found = st.number_input(
            prose(label),
            *limits,
            step=float(control.step),
            format="%.5g",
            key=key,
            disabled=disabled,
        )
        return float(found)
    return float(
        st.slider(
            prose(label),
            *limits,
            step=float(control.step),
            format=_with_unit(unit),
            key=key,
            disabled=disabled,
            on_change=write,
        )
    )


def _with_unit(unit: str) -> str:
    """Return the format of a slider's number with its unit, in which % stands for itself."""
    return f"%.5g {unit.replace('%', '%%')}".strip()


def _numbers(
    control: Numbers,
    words: Words,
    part: str,
    label: str,
    place: tuple[str, Any],
    *,
    disabled: bool,
) -> list[float]:
    """Draw a slider for each name, one below the other."""
    key, value = place
    unit = words(f"{part}.unit") if f"{part}.unit" in words else ""
    if label:
        st.markdown(prose(label))
    found = []
    for name, start in zip(control.names, value, strict=True):
        own = f"{key}.{name}"
        if own not in st.session_state or disabled:
            st.session_state[own] = float(start)
        title = words(f"{part}.each", name=option_text(words, part, name))
        found.append(
            float(
                st.slider(
                    prose(title),
                    float(control.low),
                    float(control.high),
                    step=float(control.step),
                    format=_with_unit(unit),
                    key=own,
                    disabled=disabled,
                )
            )
        )
    return found
