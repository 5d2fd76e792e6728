"""Where the parameters and the multiply-accumulates are."""

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from pruning_core.figures import numbers
from pruning_core.figures.canvas import finish
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
    left = before if after is None else after
    labels, dense, kept = _largest(names, before, left)
    total = int(before.sum())
    ticks = [numbers.plotly_text(label, 28) for label in labels]
    figure = go.Figure()
    figure.add_bar(
        y=ticks,
        x=kept,
        orientation="h",
        name="kept",
        marker={"color": colours.kept},
        hovertemplate="%{y}: %{x:,} kept<extra></extra>",
    )
    if after is not None:
        figure.add_bar(
            y=ticks,
            x=dense - kept,
            orientation="h",
            name="leaves",
            marker={"color": colours.pruned, "pattern": {"shape": PRUNED_PATTERN}},
            hovertemplate="%{y}: %{x:,} leave<extra></extra>",
        )
    top = int(np.argmax(before)) if before.size else 0
    share = numbers.percent(before[top] / total, 0) if total else "0 %"
    title = (
        f"{numbers.plotly_text(names[top] or 'model', 40)} holds {share} of the {quantity}"
        if total
        else f"No {quantity}"
    )
    finish(
        figure,
        colours,
        title=title,
        alt=f"Bars of {quantity} by layer, {numbers.count(total)} in all. {title}.",
        height=90 + 20 * max(len(labels), 3),
        x={"title": {"text": quantity}},
        y={"autorange": "reversed", "showgrid": False, "tickfont": {"size": 12}},
    )
    figure.update_layout(barmode="stack", bargap=0.3)
    return figure


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
