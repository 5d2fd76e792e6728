"""The samples on which two networks differ most, where answers are not simply right or wrong."""

import base64
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import streamlit as st

from pages.common.format import markdown, percent
from pages.common.pictures import enlarged, grow

if TYPE_CHECKING:
    from numpy.typing import NDArray

_PANEL: Final = 120
_GAP: Final = 6
_STRIPE: Final = 7
_MOST_CLASSES: Final = 24
_SIDES: Final = (("worse", "B is worse", "Worse in B"), ("better", "B is better", "Better in B"))


def show(found: Mapping[str, Any]) -> None:
    """Draw how many samples got worse and better, and the ones that changed most."""
    samples, n = found["samples"], found["n"]
    kind = samples["kind"]
    same = n - samples["n_worse"] - samples["n_better"]
    columns = st.columns(3)
    for column, (label, value) in zip(
        columns,
        (
            ("Samples on which B is worse", samples["n_worse"]),
            ("Samples on which B is better", samples["n_better"]),
            ("No difference", same),
        ),
        strict=True,
    ):
        column.metric(label, f"{value:,}")
    st.caption(f":gray-badge[MEASURED] By the error of each sample: {samples['measure']}.")
    if kind == "masks":
        _legend(found)
    for key, phrase, title in _SIDES:
        examples = samples[key]
        st.markdown(f"**Where {phrase} than A**{_how_many(samples, key, n)}")
        if not examples:
            st.caption("There are none.")
            continue
        _DRAWN[kind](examples, title, found)


def _how_many(samples: Mapping[str, Any], key: str, n: int) -> str:
    shown = len(samples[key])
    if samples["kind"] == "tokens":
        found, of = samples[f"n_tokens_{key}"], f"{samples['n_tokens']:,} test tokens"
    else:
        found, of = samples[f"n_{key}"], f"{n:,} test samples"
    part = f"; the {shown} that changed most" if 0 < shown < found else ""
    return f": {found:,} of {of}{part}"


def _numbers(examples: Sequence[Mapping[str, Any]], title: str, _found: Mapping[str, Any]) -> None:
    """List what both networks answer beside the target."""
    columns: dict[str, list[Any]] = {"Test sample": [one["sample"] for one in examples]}
    n_targets = len(examples[0]["target"])
    for place in range(n_targets):
        number = f" {place + 1}" if n_targets > 1 else ""
        columns[f"Target{number}"] = [one["target"][place] for one in examples]
        for side, name in enumerate("AB"):
            columns[f"{name} says{number}"] = [one["answers"][side][place] for one in examples]
    _table(columns | _errors(examples), f"{title}: {len(examples)} test samples")


def _plain(examples: Sequence[Mapping[str, Any]], title: str, _found: Mapping[str, Any]) -> None:
    """List the errors alone."""
    columns = {"Test sample": [one["sample"] for one in examples]}
    _table(columns | _errors(examples), f"{title}: {len(examples)} test samples")


def _errors(examples: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    return {
        f"Error of {name}": [one["errors"][side] for one in examples]
        for side, name in enumerate("AB")
    }


def _table(columns: Mapping[str, Sequence[Any]], alt: str) -> None:
    st.dataframe(
        {name: list(map(_number, values)) for name, values in columns.items()},
        hide_index=True,
        height=min(38 + 35 * len(next(iter(columns.values()))), 388),
        column_config={
            name: st.column_config.Column(alignment="right")
            for name in columns
            if name.startswith(("Target", "A ", "B ", "Error"))
        },
        alt=alt,
    )


def _number(value: float | None) -> str | int:
    """Write a value with five significant digits; whole numbers stay what they are."""
    if value is None:
        return "not finite"
    if isinstance(value, int):
        return value
    return f"{value:,.0f}" if abs(value) >= 100_000 else f"{value:,.5g}"


def _tokens(examples: Sequence[Mapping[str, Any]], title: str, found: Mapping[str, Any]) -> None:
    """List tokens with what stands before them and how likely either network found them."""
    as_bytes = found["samples"]["bytes"]
    st.dataframe(
        {
            "Text before": [_written(one["before"], as_bytes=as_bytes) for one in examples],
            "Next token": [_written([one["next"]], as_bytes=as_bytes) for one in examples],
            "A gives it": [_likely(one["nats"][0]) for one in examples],
            "B gives it": [_likely(one["nats"][1]) for one in examples],
            "A says": [_written([one["says"][0]], as_bytes=as_bytes) for one in examples],
            "B says": [_written([one["says"][1]], as_bytes=as_bytes) for one in examples],
            "Sample, position": [f"{one['sample']}, {one['position']}" for one in examples],
        },
        hide_index=True,
        height=min(38 + 35 * len(examples), 388),
        column_config={
            f"{side} gives it": st.column_config.NumberColumn(format="percent") for side in "AB"
        },
        alt=f"{title}: {len(examples)} tokens",
    )
    st.caption(
        "How likely each network finds the token that comes next, and the one it finds likeliest. "
        + (
            "Tokens are bytes; · is a space, ↵ the end of a line."
            if as_bytes
            else "Tokens are shown by their numbers."
        )
    )


def _likely(nats: float | None) -> float | None:
    return None if nats is None else math.exp(-nats)


def _written(tokens: Sequence[int], *, as_bytes: bool) -> str:
    """Return tokens as text where they are bytes, as numbers otherwise."""
    if not as_bytes or max(tokens, default=0) > 255:
        return " ".join(map(str, tokens[-12:]))
    text = bytes(tokens).decode("utf-8", "replace")
    return "".join({" ": "·", "\n": "↵", "\t": "⇥"}.get(letter, letter) for letter in text)


def _masks(examples: Sequence[Mapping[str, Any]], title: str, found: Mapping[str, Any]) -> None:
    """Draw input, truth and both answers of each sample beside each other."""
    first = "Input, true mask" if examples[0]["picture"] else "True mask"
    st.caption(f"{first}, answer of A, answer of B; pixels that are wrong are striped.")
    st.image(
        [_panels(one) for one in examples],
        caption=[
            f"Sample {one['sample']}: right pixels {percent(one['right'][0], 1)} in A, "
            f"{percent(one['right'][1], 1)} in B"
            for one in examples
        ],
        width=(_PANEL + _GAP) * (4 if examples[0]["picture"] else 3) + _GAP,
    )
    box = st.expander(
        f"Table: {title[:1].lower()}{title[1:]}", key=f"compare_{title[:3]}", on_change="rerun"
    )
    if box.open:
        with box:
            _plain(examples, title, found)


def _panels(one: Mapping[str, Any]) -> "NDArray[np.uint8]":
    """Return the panels of one sample as ``[height, width, 4]``, with a gap between them."""
    masks = [
        np.frombuffer(base64.b64decode(text), np.uint8).reshape(one["shape"])
        for text in one["masks"]
    ]
    truth = masks[0]
    panels = [] if one["picture"] is None else [enlarged(one["picture"], _PANEL)]
    panels.append(grow(_coloured(truth), _PANEL))
    for mask in masks[1:]:
        wrong = (mask != truth) & (truth != _ignored())
        panels.append(_striped(grow(_coloured(mask), _PANEL), grow(wrong, _PANEL)))
    height = max(len(panel) for panel in panels)
    joined: list[NDArray[np.uint8]] = []
    for panel in panels:
        opaque = np.dstack([panel, np.full(panel.shape[:2], 255, np.uint8)])
        room = ((0, height - len(panel)), (0, _GAP), (0, 0))
        joined.append(np.pad(opaque, room))
    return np.pad(np.hstack(joined), ((0, 0), (0, _GAP), (0, 0)))


def _ignored() -> int:
    from pruning_core.comparing.samples import IGNORED_PIXEL

    return IGNORED_PIXEL


def _coloured(mask: "NDArray[np.uint8]") -> "NDArray[np.uint8]":
    """Return the colour of each pixel's class, white where none counts."""
    colours = np.array([_colour(number) for number in range(256)], np.uint8)
    colours[_ignored()] = 255
    picture: NDArray[np.uint8] = colours[mask]
    return picture


def _striped(
    picture: "NDArray[np.uint8]", wrong: "NDArray[np.uint8 | np.bool_]"
) -> "NDArray[np.uint8]":
    """Return the picture with stripes where something is wrong."""
    rows, columns = np.indices(wrong.shape)
    place = (rows + columns) % _STRIPE
    for offset, shade in ((0, 255), (1, 255), (2, 0)):
        picture[(place == offset) & wrong.astype(bool)] = shade
    return picture


def _colour(number: int) -> tuple[int, ...]:
    from pruning_core.figures.palette import CLASSES

    code = CLASSES[number % len(CLASSES)]
    return tuple(int(code[start : start + 2], 16) for start in (1, 3, 5))


def _swatch(number: int) -> "NDArray[np.uint8]":
    """Return the colour of a class with a gap after it."""
    colour = np.full((18, 58, 4), (*_colour(number), 255), np.uint8)
    return np.pad(colour, ((0, 0), (0, _GAP), (0, 0)))


def _legend(found: Mapping[str, Any]) -> None:
    """Draw the colour of each class that occurs in the pictures beside its name."""
    samples, names = found["samples"], found["classes"]
    seen: set[int] = set()
    for one in (*samples["worse"], *samples["better"]):
        for text in one["masks"]:
            seen |= set(base64.b64decode(text))
    shown = sorted(seen - {_ignored()})[:_MOST_CLASSES]
    if shown:
        swatches = [_swatch(number) for number in shown]
        titles = [names[number] if number < len(names) else str(number) for number in shown]
        st.image(swatches, caption=[markdown(f"class {name}") for name in titles], width=64)


_DRAWN: Final = {"numbers": _numbers, "masks": _masks, "tokens": _tokens, "": _plain}
