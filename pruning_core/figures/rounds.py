"""What each round of pruning removed, and the accuracy it left."""

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from pruning_core.figures.canvas import Caption, finish
from pruning_core.figures.palette import Palette


def round_curve(
    removed: NDArray[np.float64],
    accuracy: NDArray[np.float64],
    held: Sequence[bool],
    n_rounds: int,
    colours: Palette,
) -> go.Figure:
    """Draw the validation accuracy after each finished round over the share removed by then.

    Args:
        removed: ``[R]`` shares of the dense network's units, 0 to 1.
        accuracy: ``[R]`` shares of one.
        held: ``[R]`` False where more accuracy was lost than the recipe allows.
        n_rounds: Rounds of the whole run.
        colours: Palette of the page.
    """
    symbols = ["circle" if good else "x" for good in held]
    marks = [colours.kept if good else colours.pruned for good in held]
    numbers = np.arange(1, removed.size + 1)
    figure = go.Figure()
    figure.add_scatter(
        x=100 * removed,
        y=100 * accuracy,
        mode="lines+markers",
        line={"color": colours.kept, "width": 2},
        marker={"symbol": symbols, "size": 9, "color": marks},
        customdata=numbers,
        hovertemplate="round %{customdata}: %{x:.2f} % removed, %{y:.2f} %<extra></extra>",
    )
    good = np.flatnonzero(held)
    if good.size < removed.size:
        last = f"round {good[-1] + 1} held it" if good.size else "no round held it"
        finding = f"Accuracy fell too far in round {removed.size}; {last}"
    else:
        finding = (
            f"Round {removed.size} of {n_rounds}: {100 * accuracy[-1]:.1f} % with "
            f"{100 * removed[-1]:.1f} % removed"
        )
    return finish(
        figure,
        colours,
        Caption(finding, "Validation accuracy after each round over the share removed"),
        height=260,
        x={"title": {"text": "removed (%)"}, "rangemode": "tozero"},
        y={"title": {"text": "validation accuracy (%)"}},
    )
