"""Plans between accuracy and cost: every plan a point, the best of them joined."""

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from pruning_core.figures import numbers
from pruning_core.figures.canvas import Caption, finish
from pruning_core.figures.palette import Palette
from pruning_core.figures.rows import legend_above

Points = Sequence[tuple[float, float]]


def tradeoff(
    points: Points,
    front: Sequence[int],
    dense: tuple[float, float],
    colours: Palette,
    *,
    cost: str,
    chosen: int | None = None,
) -> go.Figure:
    """Draw cost against accuracy.

    Args:
        points: Cost and accuracy (share of one) of every plan that was measured.
        front: Places in ``points`` of those that no other one beats, the cheapest first.
        dense: Cost and accuracy of the dense model.
        colours: Palette of the page.
        cost: Name of the cost with its unit, e.g. ``MACs``.
        chosen: Place in ``points`` of the plan that is looked at.
    """
    x = np.array([point[0] for point in points], np.float64)
    y = 100 * np.array([point[1] for point in points], np.float64)
    figure = go.Figure()
    figure.add_scatter(
        x=x,
        y=y,
        mode="markers",
        name="measured plan",
        marker={"color": colours.muted, "size": 8, "symbol": "circle-open"},
        hovertemplate=f"%{{x:.4s}} {cost}<br>%{{y:.1f}} %<extra></extra>",
    )
    best = list(front)
    figure.add_scatter(
        x=x[best],
        y=y[best],
        mode="lines+markers",
        name="not beaten by another",
        line={"color": colours.kept, "width": 2, "shape": "hv"},
        marker={"color": colours.kept, "size": 10, "symbol": "circle"},
        hoverinfo="skip",
    )
    figure.add_scatter(
        x=[dense[0]],
        y=[100 * dense[1]],
        mode="markers",
        name="dense",
        marker={"color": colours.text, "size": 12, "symbol": "star"},
        hovertemplate=f"dense: %{{x:.4s}} {cost}, %{{y:.1f}} %<extra></extra>",
    )
    if chosen is not None:
        figure.add_scatter(
            x=[x[chosen]],
            y=[y[chosen]],
            mode="markers",
            name="looked at",
            marker={
                "color": "rgba(0,0,0,0)",
                "size": 18,
                "symbol": "circle",
                "line": {"color": colours.pruned, "width": 3},
            },
            hoverinfo="skip",
        )
    finish(
        figure,
        colours,
        Caption(_finding(points, best, dense, cost), f"{len(points)} plans by accuracy and {cost}"),
        height=420,
        x={"title": {"text": f"{cost} left"}, "rangemode": "tozero"},
        y={"title": {"text": "accuracy (%), right after pruning"}},
    )
    return legend_above(figure)


def _finding(points: Points, front: Sequence[int], dense: tuple[float, float], cost: str) -> str:
    """Say how little cost a point of accuracy leaves."""
    near = [place for place in front if points[place][1] >= dense[1] - 0.01]
    if not near:
        return f"{len(points)} plans measured, none within one point of the dense model yet"
    share = points[near[0]][0] / dense[0] if dense[0] else 1.0
    left = numbers.percent(share)
    return f"{left} of the {cost} left at no more than one point of accuracy lost"
