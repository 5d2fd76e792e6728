"""Runs that belong together, their accuracies in one figure."""

from collections.abc import Mapping
from typing import Final

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from pruning_core.figures.canvas import Caption, finish
from pruning_core.figures.palette import Palette
from pruning_core.tasks import ACCURACY, Metric

_STYLES: Final = (
    ("solid", "circle"),
    ("dash", "diamond"),
    ("dot", "square"),
    ("dashdot", "triangle-up"),
    ("longdash", "cross"),
    ("longdashdot", "x"),
)


def group_curves(
    accuracies: Mapping[str, NDArray[np.float64]],
    n_epochs: int,
    colours: Palette,
    *,
    metric: Metric = ACCURACY,
) -> go.Figure:
    """Draw the validation accuracy of each run over its epochs.

    Args:
        accuracies: By label, ``[E]`` shares of one for the epochs that are done; E may be 0 and
            differ from run to run.
        n_epochs: Epochs of the longest run; the length of the axis.
        colours: Palette of the page.
        metric: What is drawn instead of the accuracy.
    """
    figure = go.Figure()
    lines = (colours.kept, colours.pruned, colours.text, colours.muted, *colours.ticks)
    for place, (label, values) in enumerate(accuracies.items()):
        dash, symbol = _STYLES[place % len(_STYLES)]
        colour = lines[place % len(lines)]
        figure.add_scatter(
            x=np.arange(1, values.size + 1),
            y=metric.scaled(1.0) * values,
            name=label,
            mode="lines+markers",
            line={"color": colour, "dash": dash, "width": 2},
            marker={"symbol": symbol, "size": 7, "color": colour},
            hovertemplate=f"epoch %{{x}}: {metric.hover}<extra>{label}</extra>",
        )
    last = max(n_epochs, 1)
    finish(
        figure,
        colours,
        Caption(
            _finding(accuracies, metric), f"Validation {metric.name} of each run over its epochs"
        ),
        height=340,
        x={
            "title": {"text": "epoch"},
            "range": [0.6, last + 0.4],
            "dtick": max(1, round(last / 10)),
            "tick0": 1,
        },
        y={"title": {"text": f"validation {metric.axis}"}},
    )
    return figure.update_layout(
        showlegend=True,
        legend={"orientation": "h", "x": 0, "xanchor": "left", "y": 1.0, "yanchor": "bottom"},
        margin={"t": 58},
    )


def _finding(accuracies: Mapping[str, NDArray[np.float64]], metric: Metric) -> str:
    """Say which run is ahead after the last epoch that all of them have finished."""
    shared = min((values.size for values in accuracies.values()), default=0)
    if not shared:
        return "Not every run has finished an epoch yet"
    latest = {label: values[shared - 1] for label, values in accuracies.items()}
    best = max(latest.values(), key=metric.merit)
    ahead = [label for label, value in latest.items() if value == best]
    return f"After epoch {shared}: {' and '.join(ahead)} ahead with {metric.text(best)}"
