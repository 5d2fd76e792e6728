"""Where the parameters and the multiply-accumulates are."""

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from pruning_core.figures import numbers
from pruning_core.figures.canvas import Caption, finish
from pruning_core.figures.palette import PRUNED_PATTERN, Palette

MAX_LAYERS = 40


def share_bars(
    names: Sequence[str],
    before: NDArray[np.int64],
    colours: Palette,
    *,
    quantity: str,
    after: NDArray[np.int64] | None = None,
) -> go.Figure:
    """Draw one bar a layer, in the order of execution; the part that leaves is hatched.

    More than 40 layers are drawn as the 39 largest and the sum of the others.

    Args:
        names: Layers.
        before: ``[L]``, the quantity in the dense network.
        colours: Palette of the page.
        quantity: The plural word, e.g. ``parameters``.
        after: ``[L]``, what is left of it; None leaves everything.
    """
    labels, dense, kept = _largest(names, before, before if after is None else after)
    figure = go.Figure()
    for name, values, colour, pattern in (
        ("kept", kept, colours.kept, ""),
        ("leave", dense - kept, colours.pruned, PRUNED_PATTERN),
    ):
        if name == "kept" or after is not None:
            figure.add_bar(
                y=[numbers.plotly_text(label, 28) for label in labels],
                x=values,
                orientation="h",
                name=name,
                marker={"color": colour, "pattern": {"shape": pattern}},
                hovertemplate=f"%{{y}}: %{{x:,}} {name}<extra></extra>",
            )
    total = numbers.count(int(before.sum()))
    finish(
        figure,
        colours,
        Caption(_finding(names, before, quantity), f"Bars of {quantity} by layer, {total} in all"),
        height=90 + 20 * max(len(labels), 3),
        x={"title": {"text": quantity}},
        y={"autorange": "reversed", "showgrid": False, "tickfont": {"size": 12}},
    )
    return figure.update_layout(barmode="stack", bargap=0.3)


def _finding(names: Sequence[str], values: NDArray[np.int64], quantity: str) -> str:
    """Say which layer holds most of it."""
    total = int(values.sum())
    if not total:
        return f"No {quantity}"
    top = int(np.argmax(values))
    share = numbers.percent(values[top] / total, 0)
    return f"{numbers.plotly_text(names[top] or 'model', 40)} holds {share} of the {quantity}"


def _largest(
    names: Sequence[str], before: NDArray[np.int64], after: NDArray[np.int64]
) -> tuple[list[str], NDArray[np.int64], NDArray[np.int64]]:
    """Keep the order; gather all but the largest layers in one last bar."""
    if len(names) <= MAX_LAYERS:
        return [name or "model" for name in names], before, after
    large = np.sort(np.argsort(-before, kind="stable")[: MAX_LAYERS - 1])
    rest = np.setdiff1d(np.arange(len(names)), large)
    labels = [names[index] or "model" for index in large] + [f"{rest.size} other layers"]
    gathered = [np.append(part[large], part[rest].sum()) for part in (before, after)]
    return labels, gathered[0], gathered[1]
