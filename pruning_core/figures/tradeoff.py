"""Plans between accuracy and cost: every plan a point, the best of them joined."""

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from pruning_core.figures import numbers
from pruning_core.figures.canvas import Caption, finish
from pruning_core.figures.palette import Palette
from pruning_core.figures.rows import legend_above
from pruning_core.tasks import ACCURACY, Metric

Points = Sequence[tuple[float, float]]


def tradeoff(
    points: Points,
    front: Sequence[int],
    dense: tuple[float, float],
    colours: Palette,
    *,
    cost: str,
    chosen: int | None = None,
    metric: Metric = ACCURACY,
) -> go.Figure:
    """Draw cost against accuracy.

    Args:
        points: Cost and accuracy (share of one) of every plan that was measured.
        front: Places in ``points`` of those that no other one beats, the cheapest first.
        dense: Cost and accuracy of the dense model.
        colours: Palette of the page.
        cost: Name of the cost with its unit, e.g. ``MACs``.
        chosen: Place in ``points`` of the plan that is looked at.
        metric: What is drawn instead of the accuracy.
    """
    x = np.array([point[0] for point in points], np.float64)
    scale = metric.scaled(1.0)
    hover = metric.hover.replace(".2f", ".1f")
    y = scale * np.array([point[1] for point in points], np.float64)
    figure = go.Figure()
    figure.add_scatter(
        x=x,
        y=y,
        mode="markers",
        name="measured plan",
        marker={"color": colours.muted, "size": 8, "symbol": "circle-open"},
        hovertemplate=f"%{{x:.4s}} {cost}<br>{hover}<extra></extra>",
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
        y=[scale * dense[1]],
        mode="markers",
        name="dense",
        marker={"color": colours.text, "size": 12, "symbol": "star"},
        hovertemplate=f"dense: %{{x:.4s}} {cost}, {hover}<extra></extra>",
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
        Caption(
            _finding(points, best, dense, cost, metric),
            f"{len(points)} plans by {metric.name} and {cost}",
        ),
        height=420,
        x={"title": {"text": f"{cost} left"}, "rangemode": "tozero"},
        y={"title": {"text": f"{metric.axis}, right after pruning"}},
    )
    return legend_above(figure)


def _finding(
    points: Points,
    front: Sequence[int],
    dense: tuple[float, float],
    cost: str,
    metric: Metric,
) -> str:
    """Say how little cost a point of accuracy leaves."""
    near = [place for place in front if metric.lost(dense[1], points[place][1]) <= 1]
    one = f"one {metric.one_lost}"
    if not near:
        return f"{len(points)} plans measured, none within {one} of the dense model yet"
    share = points[near[0]][0] / dense[0] if dense[0] else 1.0
    left = numbers.percent(share)
    return f"{left} of the {cost} left at no more than {one} of {metric.name} lost"
