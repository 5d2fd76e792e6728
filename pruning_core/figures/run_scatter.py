"""Networks of finished runs by any two of their numbers, with those that no other one beats."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go

from pruning_core.figures.canvas import Caption, finish
from pruning_core.figures.palette import Palette
from pruning_core.figures.rows import keep_looks, legend_above
from pruning_core.figures.run_tree import COLUMNS, SYMBOLS


@dataclass(frozen=True, slots=True)
class Point:
    """One network.

    Attributes:
        x: Its first number.
        y: Its second number.
        column: Which kind of network it is, place in ``COLUMNS``.
        hover: What it says under the pointer.
        y_interval: 95 % interval of ``y``; None where there is none.
        is_chosen: True for the networks that are compared.
    """

    x: float
    y: float
    column: int
    hover: str
    y_interval: tuple[float, float] | None = None
    is_chosen: bool = False


def run_scatter(
    points: Sequence[Point],
    front: Sequence[int],
    colours: Palette,
    *,
    x_title: str,
    y_title: str,
    logarithmic: bool = False,
) -> go.Figure:
    """Draw the networks; the points of the first trace are ``points``, in their order.

    Args:
        points: At least one.
        front: Places of those that no other one beats in both numbers, by rising ``x``.
        colours: Palette of the page.
        x_title: Name and unit of the first number.
        y_title: Of the second one.
        logarithmic: True stretches small values of ``x``.
    """
    best = set(front)
    x = np.array([point.x for point in points], np.float64)
    y = np.array([point.y for point in points], np.float64)
    figure = go.Figure()
    figure.add_scatter(
        x=x,
        y=y,
        mode="markers",
        showlegend=False,
        error_y=_errors(points, colours),
        hovertext=[point.hover for point in points],
        hovertemplate="%{hovertext}<extra></extra>",
        marker={
            "color": [
                colours.kept if place in best else colours.muted for place in range(len(points))
            ],
            "symbol": [SYMBOLS[point.column] for point in points],
            "size": [16 if point.is_chosen else 11 for point in points],
            "line": {
                "color": [
                    colours.pruned if point.is_chosen else colours.background for point in points
                ],
                "width": [3 if point.is_chosen else 1 for point in points],
            },
        },
    )
    places = list(front)
    figure.add_scatter(
        x=x[places],
        y=y[places],
        mode="lines",
        name="not beaten by another (Pareto front)",
        line={"color": colours.kept, "width": 2},
        hoverinfo="skip",
    )
    for column in sorted({point.column for point in points}):
        figure.add_scatter(
            x=[None],
            y=[None],
            mode="markers",
            name=COLUMNS[column].lower(),
            marker={"symbol": SYMBOLS[column], "color": colours.muted, "size": 11},
        )
    finish(
        figure,
        colours,
        Caption(
            f"{len(front)} of {len(points)} networks are not beaten by another",
            f"{len(points)} networks by {x_title} and {y_title}",
        ),
        height=440,
        x={"title": {"text": x_title}, "type": "log" if logarithmic else "linear"},
        y={"title": {"text": y_title}},
    )
    return legend_above(keep_looks(figure, colours))


def _errors(points: Sequence[Point], colours: Palette) -> dict[str, object]:
    """Return the bars of the intervals; points without one have none."""
    if not any(point.y_interval for point in points):
        return {"visible": False}
    ends = [point.y_interval or (point.y, point.y) for point in points]
    return {
        "type": "data",
        "symmetric": False,
        "array": [high - point.y for point, (_, high) in zip(points, ends, strict=True)],
        "arrayminus": [point.y - low for point, (low, _) in zip(points, ends, strict=True)],
        "color": colours.muted,
        "thickness": 1,
        "width": 3,
    }
