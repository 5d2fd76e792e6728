"""What pruning and fine-tuning changed in the predictions."""

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from pruning_core.figures import numbers
from pruning_core.figures.canvas import finish
from pruning_core.figures.palette import Palette

MAX_CLASSES = 40


def recall_change(
    classes: Sequence[str],
    dense: NDArray[np.float64],
    after: NDArray[np.float64],
    colours: Palette,
    *,
    after_name: str,
) -> go.Figure:
    """Draw for each class how its recall moved, as a line between two points.

    Args:
        classes: ``[K]`` names; of more than 40, the ones that moved most are drawn.
        dense: ``[K]`` recall before, share of one.
        after: ``[K]`` recall after.
        colours: Palette of the page.
        after_name: ``pruned`` or ``tuned``.
    """
    change = after - dense
    shown = np.sort(np.argsort(-np.abs(change), kind="stable")[:MAX_CLASSES])
    labels = [numbers.plotly_text(classes[index], 24) for index in shown]
    figure = go.Figure()
    for row, index in enumerate(shown):
        figure.add_shape(
            type="line",
            x0=100 * dense[index],
            x1=100 * after[index],
            y0=labels[row],
            y1=labels[row],
            line={"color": colours.muted, "width": 3},
        )
    for name, values, colour, symbol in (
        ("dense", dense, colours.muted, "circle-open"),
        (after_name, after, colours.kept, "diamond"),
    ):
        figure.add_scatter(
            x=100 * values[shown],
            y=labels,
            name=name,
            mode="markers",
            marker={
                "color": colour,
                "symbol": symbol,
                "size": 10,
                "line": {"width": 2, "color": colour},
            },
            hovertemplate=f"%{{y}}: recall %{{x:.1f}} %<extra>{name}</extra>",
        )
    worst = int(np.argmin(change))
    title = (
        f"{numbers.plotly_text(classes[worst], 24)} moved most: "
        f"{100 * change[worst]:+.1f} points of recall"
        if change[worst] < 0
        else "No class lost recall"
    )
    finish(
        figure,
        colours,
        title=title,
        alt=f"Recall of each class, dense and {after_name}. {title}.",
        height=110 + 24 * max(len(labels), 3),
        x={"title": {"text": "recall on test data (%)"}},
        y={"autorange": "reversed"},
    )
    figure.update_layout(
        showlegend=True,
        margin={"t": 62},
        legend={"orientation": "h", "x": 1, "xanchor": "right", "y": 1.0, "yanchor": "bottom"},
    )
    return figure


def confusion_change(
    classes: Sequence[str],
    dense: NDArray[np.int64],
    after: NDArray[np.int64],
    colours: Palette,
    *,
    after_name: str,
) -> go.Figure:
    """Draw how many more or fewer examples of each class are given each answer.

    Args:
        classes: ``[K]`` names.
        dense: ``[K, K]`` counts before; rows are true classes, columns are answers.
        after: ``[K, K]`` counts after, on the same examples.
        colours: Palette of the page.
        after_name: ``pruned`` or ``fine-tuned``.
    """
    change = (after - dense).astype(np.float32)
    wrong = change - np.diag(np.diag(change))
    row, column = np.unravel_index(int(wrong.argmax()), wrong.shape)
    labels = [numbers.plotly_text(name, 16) for name in classes]
    limit = max(1.0, float(np.abs(change).max()))
    figure = go.Figure(
        go.Heatmap(
            z=change,
            x=labels,
            y=labels,
            zmin=-limit,
            zmax=limit,
            colorscale=[[0, colours.kept], [0.5, colours.background], [1, colours.pruned]],
            colorbar={
                "title": {"text": "examples more", "side": "right"},
                "thickness": 12,
                "outlinewidth": 0,
            },
            hovertemplate="%{y} called %{x}: %{z:+.0f}<extra></extra>",
        )
    )
    title = (
        f"{int(wrong.max())} more of {labels[row]} are called {labels[column]}"
        if wrong.max() > 0
        else "No confusion became more frequent"
    )
    return finish(
        figure,
        colours,
        title=title,
        alt=f"Change of the confusion matrix from dense to {after_name}. {title}.",
        height=110 + 24 * max(len(labels), 3),
        x={"title": {"text": "answer"}, "showgrid": False},
        y={"title": {"text": "true class"}, "showgrid": False, "autorange": "reversed"},
    )
