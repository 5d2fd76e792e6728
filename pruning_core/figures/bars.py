"""Where the parameters and the multiply-accumulates are."""

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from pruning_core.figures import numbers
from pruning_core.figures.canvas import Caption, finish
from pruning_core.figures.palette import PRUNED_PATTERN, Palette
from pruning_core.figures.rows import ROW, keep_looks, largest, names_of, rows_axis

MAX_LAYERS = 40


def share_bars(
    names: Sequence[str],
    before: NDArray[np.int64],
    colours: Palette,
    *,
    quantity: str,
    after: NDArray[np.int64] | None = None,
    falling: bool = False,
    selected: int | None = None,
) -> go.Figure:
    """Draw one bar a layer, in the order of execution; the part that leaves is hatched.

    More than 40 layers are drawn as the 39 largest and the sum of the others.

    Args:
        names: Layers.
        before: ``[L]``, the quantity in the dense network.
        colours: Palette of the page.
        quantity: The plural word, e.g. ``parameters``.
        after: ``[L]``, what is left of it; None leaves everything.
        falling: True puts the largest first.
        selected: The layer that is marked.
    """
    shown, rest = bar_places(before, falling=falling)
    labels = names_of([names[place] for place in shown])
    dense, kept = _gathered([before, before if after is None else after], shown, rest)
    if rest.size:
        labels.append(f"{rest.size} other layers")
    figure = go.Figure()
    for name, values, colour, pattern in (
        ("kept", kept, colours.kept, ""),
        ("leave", dense - kept, colours.pruned, PRUNED_PATTERN),
    ):
        if name == "kept" or after is not None:
            figure.add_bar(
                y=np.arange(len(labels), dtype=np.int32),
                x=values,
                orientation="h",
                name=name,
                marker={"color": colour, "pattern": {"shape": pattern}},
                hovertext=labels,
                hovertemplate=f"%{{hovertext}}: %{{x:,}} {name}<extra></extra>",
            )
    total = numbers.count(int(before.sum()))
    finish(
        figure,
        colours,
        Caption(_finding(names, before, quantity), f"Bars of {quantity} by layer, {total} in all"),
        height=90 + ROW * max(len(labels), 3),
        x={"title": {"text": quantity}, "fixedrange": True},
        y=rows_axis(labels, _row(shown, selected)),
    )
    return keep_looks(figure, colours).update_layout(barmode="stack", bargap=0.3)


def _finding(names: Sequence[str], values: NDArray[np.int64], quantity: str) -> str:
    """Say which layer holds most of it."""
    total = int(values.sum())
    if not total:
        return f"No {quantity}"
    top = int(np.argmax(values))
    share = numbers.percent(values[top] / total, 0)
    return f"{numbers.path_text(names[top], 40)} holds {share} of the {quantity}"


def bar_places(
    before: NDArray[np.int64], *, falling: bool = False
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return which layers have a bar of their own, in the order of the bars, and the others."""
    most = MAX_LAYERS if before.size <= MAX_LAYERS else MAX_LAYERS - 1
    shown = largest(before, most)
    rest = np.setdiff1d(np.arange(before.size), shown)
    return (shown[np.argsort(-before[shown], kind="stable")] if falling else shown), rest


def _gathered(
    parts: Sequence[NDArray[np.int64]], shown: NDArray[np.intp], rest: NDArray[np.intp]
) -> list[NDArray[np.int64]]:
    """Return the values of the bars; the last one is the sum of the others."""
    if not rest.size:
        return [part[shown] for part in parts]
    return [np.append(part[shown], part[rest].sum()) for part in parts]


def _row(shown: NDArray[np.intp], place: int | None) -> int | None:
    found = np.flatnonzero(shown == place) if place is not None else np.zeros(0, np.intp)
    return int(found[0]) if found.size else None
