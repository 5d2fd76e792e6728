"""What each round of pruning removed, and the accuracy it left."""

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from pruning_core.figures.canvas import Caption, finish
from pruning_core.figures.palette import Palette
from pruning_core.tasks import ACCURACY, Metric


def round_curve(
    removed: NDArray[np.float64],
    accuracy: NDArray[np.float64],
    held: Sequence[bool],
    n_rounds: int,
    colours: Palette,
    *,
    metric: Metric = ACCURACY,
) -> go.Figure:
    """Draw the validation accuracy after each finished round over the share removed by then.

    The line joins the rounds that held the accuracy; of adaptive rounds the others were undone.

    Args:
        removed: ``[R]`` shares of the dense network's units, 0 to 1.
        accuracy: ``[R]`` shares of one.
        held: ``[R]`` False where more accuracy was lost than the recipe allows.
        n_rounds: Rounds of the whole run.
        colours: Palette of the page.
        metric: What is drawn instead of the accuracy.
    """
    good, bad = np.flatnonzero(held), np.flatnonzero(~np.asarray(held, dtype=bool))
    figure = go.Figure()
    for name, which, colour, symbol in (
        ("held", good, colours.kept, "circle"),
        ("fell too far", bad, colours.pruned, "x"),
    ):
        figure.add_scatter(
            x=100 * removed[which],
            y=metric.scaled(1.0) * accuracy[which],
            name=name,
            mode="lines+markers" if which is good else "markers",
            line={"color": colour, "width": 2},
            marker={"symbol": symbol, "size": 9, "color": colour},
            customdata=which + 1,
            hovertemplate="round %{customdata}: %{x:.2f} % removed, "
            f"{metric.hover}<extra></extra>",
            showlegend=bool(bad.size),
        )
    if not held[-1]:
        last = f"round {good[-1] + 1} held it" if good.size else "no round held it"
        finding = (
            f"{metric.capital} {'fell' if metric.higher_is_better else 'rose'} too far in round "
            f"{removed.size}; {last}"
        )
    else:
        reached = metric.text(accuracy[-1], 1 if metric.unit else None)
        finding = (
            f"Round {removed.size} of {n_rounds}: {reached} with {100 * removed[-1]:.1f} % removed"
        )
        if bad.size:
            finding += f"; {bad.size} fell too far and {'was' if bad.size == 1 else 'were'} undone"
    return finish(
        figure,
        colours,
        Caption(finding, f"Validation {metric.name} after each round over the share removed"),
        height=260,
        x={"title": {"text": "removed (%)"}, "rangemode": "tozero"},
        y={"title": {"text": f"validation {metric.axis}"}},
    )
