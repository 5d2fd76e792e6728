"""From dense to planned: what each layer or group takes off, and that it adds up."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from pruning_core.figures import numbers
from pruning_core.figures.canvas import Caption, finish
from pruning_core.figures.palette import Palette
from pruning_core.figures.rows import largest, names_of, rows_axis

MAX_STEPS = 16


@dataclass(frozen=True, slots=True, eq=False)
class Steps:
    """The rows of a waterfall between its two totals.

    Attributes:
        labels: Of each step.
        saved: What each step takes off; together the whole difference.
        places: Which of the given parts a step is; -1 where it gathers several, or the rest.
    """

    labels: tuple[str, ...]
    saved: tuple[int, ...]
    places: tuple[int, ...]


def gather(
    names: Sequence[str],
    saved: NDArray[np.int64],
    rest: int,
    *,
    word: str = "layers",
    rest_name: str = "header and buffers",
) -> Steps:
    """Return at most 16 steps: the parts that save most, in their order, and one for the others.

    Args:
        names: Of the parts.
        saved: ``[L]`` what each takes off.
        rest: What is taken off besides.
        word: What the parts are, in the plural.
        rest_name: What the rest is.
    """
    places = np.flatnonzero(saved)
    most = MAX_STEPS if places.size <= MAX_STEPS else MAX_STEPS - 1
    shown = places[largest(np.abs(saved[places]), most)]
    others = np.setdiff1d(places, shown)
    gathered = [(f"other {others.size} {word}", int(saved[others].sum()))] * bool(others.size)
    gathered += [(rest_name, rest)] * bool(rest)
    return Steps(
        (*names_of([names[place] for place in shown]), *(label for label, _ in gathered)),
        (*saved[shown].tolist(), *(value for _, value in gathered)),
        (*shown.tolist(), *(-1 for _ in gathered)),
    )


def waterfall(
    steps: Steps,
    before: int,
    after: int,
    colours: Palette,
    *,
    quantity: str,
    unit: str = "",
    selected: int | None = None,
) -> go.Figure:
    """Draw a bar for the dense network, one for each step, and one for the plan.

    Args:
        steps: From :func:`gather`; together they must be ``before - after``.
        before: Of the dense network.
        after: Of the plan.
        colours: Palette of the page.
        quantity: The plural word, e.g. ``parameters``.
        unit: ``B`` writes bytes.
        selected: The place (see :class:`Steps`) that is marked.
    """
    if before - sum(steps.saved) != after:
        raise ValueError("the steps do not add up to the difference")
    write = numbers.size if unit == "B" else numbers.count
    labels = ["dense", *steps.labels, "planned"]
    values = [before, *(-saved for saved in steps.saved), after]
    texts = [write(before), *(_change(saved, write(abs(saved))) for saved in steps.saved)]
    texts.append(f"{write(after)} ({numbers.reduction(before, after)} smaller)")
    figure = go.Figure(
        go.Waterfall(
            orientation="h",
            measure=["absolute", *("relative" for _ in steps.saved), "total"],
            y=np.arange(len(labels), dtype=np.int32),
            x=values,
            text=texts,
            textposition="outside",
            cliponaxis=False,
            hovertext=[f"{label}: {value:,}" for label, value in zip(labels, values, strict=True)],
            hovertemplate="%{hovertext}<extra></extra>",
            connector={"line": {"color": colours.muted, "width": 1, "dash": "dot"}},
            totals={"marker": {"color": colours.kept}},
            decreasing={"marker": {"color": colours.pruned}},
            increasing={"marker": {"color": colours.muted}},
        )
    )
    marked = steps.places.index(selected) + 1 if selected in steps.places else None
    axis = {"title": {"text": f"{quantity} ({unit})" if unit else quantity}, "fixedrange": True}
    finish(
        figure,
        colours,
        Caption(
            _finding(
                steps,
                before - after,
                lambda saved: write(saved) if unit else f"{write(saved)} {quantity}",
            ),
            f"Waterfall of {quantity} from {write(before)} dense to {write(after)} planned",
        ),
        height=96 + 26 * len(labels),
        x={**axis, "range": [0, 1.16 * max(before, after)]},
        y=rows_axis(labels, marked),
    )
    return figure.update_layout(waterfallgap=0.25)


def _change(saved: int, written: str) -> str:
    return f"−{written}" if saved >= 0 else f"+{written}"


def _finding(steps: Steps, whole: int, what: Callable[[int], str]) -> str:
    """Say what takes off most."""
    if not whole:
        return "Nothing is saved"
    own = [saved for saved, place in zip(steps.saved, steps.places, strict=True) if place >= 0]
    top = int(np.argmax(own or steps.saved))
    share = numbers.percent(steps.saved[top] / whole, 0)
    return f"{steps.labels[top]} saves {what(steps.saved[top])}, {share} of the cut"
