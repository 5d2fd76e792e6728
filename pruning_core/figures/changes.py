"""What pruning and fine-tuning changed in the predictions."""

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from pruning_core.figures import numbers
from pruning_core.figures.canvas import Caption, finish
from pruning_core.figures.palette import Palette

MAX_CLASSES = 40


def recall_change(
    classes: Sequence[str],
    dense: NDArray[np.float64],
    after: NDArray[np.float64],
    colours: Palette,
    *,
    after_name: str,
    before_name: str = "dense",
) -> go.Figure:
    """Draw for each class how its recall moved, as a line between two points.

    Args:
        classes: ``[K]`` names; of more than 40, the ones that moved most are drawn.
        dense: ``[K]`` recall before, share of one.
        after: ``[K]`` recall after.
        colours: Palette of the page.
        after_name: ``pruned`` or ``tuned``.
        before_name: What it is compared with.
    """
    change = after - dense
    shown = np.sort(np.argsort(-np.abs(change), kind="stable")[:MAX_CLASSES])
    labels = [numbers.plotly_text(classes[index], 24) for index in shown]
    figure = go.Figure()
    ends = {before_name: 100 * dense[shown], after_name: 100 * after[shown]}
    _add_dumbbells(figure, labels, ends, colours)
    most = int(np.argmax(np.abs(change)))
    finding = (
        f"{numbers.plotly_text(classes[most], 24)} moved most: "
        f"{100 * change[most]:+.1f} points of recall"
        if change[most]
        else "Recall is the same in every class"
    )
    finish(
        figure,
        colours,
        Caption(
            finding,
            f"Recall of each class, {before_name} and {after_name}",
        ),
        height=110 + 24 * max(len(labels), 3),
        x={"title": {"text": "recall on test data (%)"}},
        y={"autorange": "reversed", "type": "category"},
    )
    legend = {"orientation": "h", "x": 1, "xanchor": "right", "y": 1.0, "yanchor": "bottom"}
    return figure.update_layout(showlegend=True, margin={"t": 62}, legend=legend)


def _add_dumbbells(
    figure: go.Figure,
    labels: Sequence[str],
    ends: Mapping[str, NDArray[np.float64]],
    colours: Palette,
) -> None:
    """Add a line a class, with a differently shaped point at either end."""
    first, last = ends.values()
    for row, label in enumerate(labels):
        figure.add_shape(
            type="line",
            x0=first[row],
            x1=last[row],
            y0=label,
            y1=label,
            line={"color": colours.muted, "width": 3},
        )
    looks = ((colours.muted, "circle-open"), (colours.kept, "diamond"))
    for (name, values), (colour, symbol) in zip(ends.items(), looks, strict=True):
        line = {"width": 2, "color": colour}
        figure.add_scatter(
            x=values,
            y=labels,
            name=name,
            mode="markers",
            marker={"color": colour, "symbol": symbol, "size": 10, "line": line},
            hovertemplate=f"%{{y}}: recall %{{x:.1f}} %<extra>{name}</extra>",
        )


def confusion_change(
    classes: Sequence[str],
    dense: NDArray[np.int64],
    after: NDArray[np.int64],
    colours: Palette,
    *,
    after_name: str,
    before_name: str = "dense",
) -> go.Figure:
    """Draw how many more or fewer examples of each class are given each answer.

    Args:
        classes: ``[K]`` names; of more than 40, the ones whose answers changed most are drawn.
        dense: ``[K, K]`` counts before; rows are true classes, columns are answers.
        after: ``[K, K]`` counts after, on the same examples.
        colours: Palette of the page.
        after_name: ``pruned`` or ``fine-tuned``.
        before_name: What it is compared with.
    """
    change = (after - dense).astype(np.float32)
    if len(classes) > MAX_CLASSES:
        moved = np.abs(change).sum(axis=0) + np.abs(change).sum(axis=1)
        shown = np.sort(np.argsort(-moved, kind="stable")[:MAX_CLASSES])
        classes, change = [classes[place] for place in shown], change[np.ix_(shown, shown)]
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
            colorbar={"title": {"text": "examples more", "side": "right"}, "thickness": 12},
            hovertemplate="%{y} called %{x}: %{z:+.0f}<extra></extra>",
        )
    )
    return finish(
        figure,
        colours,
        Caption(
            _new_confusion(change, labels),
            f"Change of the confusion matrix from {before_name} to {after_name}",
        ),
        height=110 + 24 * max(len(labels), 3),
        x={"title": {"text": "answer"}, "showgrid": False, "type": "category"},
        y={
            "title": {"text": "true class"},
            "showgrid": False,
            "autorange": "reversed",
            "type": "category",
        },
    )


def _new_confusion(change: NDArray[np.float32], labels: Sequence[str]) -> str:
    """Say which wrong answer became most frequent."""
    wrong = change - np.diag(np.diag(change))
    row, column = divmod(int(wrong.argmax()), wrong.shape[1])
    if wrong[row, column] <= 0:
        return "No confusion became more frequent"
    return f"{int(wrong[row, column])} more of {labels[row]} are called {labels[column]}"
