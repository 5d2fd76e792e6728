"""How the accuracy falls when single layers are pruned alone: curves, and a table in colour."""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from pruning_core.figures import numbers
from pruning_core.figures.canvas import Caption, finish
from pruning_core.figures.palette import SEQUENTIAL, Palette
from pruning_core.figures.rows import ROW, add_targets, keep_looks, names_of, row_of, rows_axis
from pruning_core.tasks import ACCURACY, Metric

COLUMNS: Final = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
"""Ratios of the columns of :func:`sensitivity_table`; a point is drawn at the nearest one."""
_MOST_CURVES: Final = 64

Curves = Mapping[str, tuple[Sequence[float], Sequence[float]]]


def sensitivity_curves(
    curves: Curves, selected: str, colours: Palette, *, metric: Metric = ACCURACY
) -> go.Figure:
    """Draw accuracy against the share that is pruned, one line a layer; the selected one is marked.

    Args:
        curves: Layer -> ratios in rising order and accuracies, both shares of one; not empty. Of
            more than 64 layers those that fall most are drawn.
        selected: Name of the layer that is marked, if it has a curve.
        colours: Palette of the page.
        metric: What is drawn instead of the accuracy.
    """
    figure = go.Figure()
    steepest = sorted(curves, key=lambda name: min(map(metric.merit, curves[name][1])))
    drawn = [name for name in curves if name in set(steepest[:_MOST_CURVES]) | {selected}]
    for name in sorted(drawn, key=lambda name: name == selected):
        ratios, accuracies = (np.asarray(values) for values in curves[name])
        is_marked = name == selected
        figure.add_scatter(
            x=100 * ratios,
            y=metric.scaled(1.0) * accuracies,
            mode="lines+markers" if is_marked else "lines",
            line={
                "color": colours.kept if is_marked else colours.muted,
                "width": 3 if is_marked else 1.2,
            },
            marker={"size": 7},
            opacity=1.0 if is_marked else 0.65,
            name=numbers.path_text(name, 40),
            hovertemplate="%{x:.0f} % pruned: "
            f"{metric.hover.replace('.2f', '.1f')}<extra>%{{fullData.name}}</extra>",
        )
    if selected in curves:
        figure.add_annotation(
            x=100 * curves[selected][0][-1],
            y=metric.scaled(curves[selected][1][-1]),
            text=numbers.path_text(selected, 24),
            showarrow=False,
            xanchor="right",
            yanchor="bottom",
            yshift=6,
            font={"color": colours.kept, "size": 12},
        )
    worst = steepest[0]
    lost = max(metric.lost(curves[worst][1][0], value) for value in curves[worst][1])
    title = (
        f"{numbers.path_text(worst, 32)} is the most sensitive: it loses up to {lost:.1f} "
        f"{metric.loss_unit}"
    )
    subject = f"{metric.capital} of {len(curves)} layers, each pruned alone"
    return finish(
        figure,
        colours,
        Caption(title, subject),
        height=340,
        x={"title": {"text": "share of the layer's units pruned (%)"}, "range": [0, 100]},
        y={"title": {"text": f"{metric.axis}, nothing else pruned"}},
    )


def sensitivity_table(
    curves: Curves,
    names: Sequence[str],
    selected: str,
    colours: Palette,
    *,
    metric: Metric = ACCURACY,
) -> go.Figure:
    """Draw points lost, one row a layer and one column a share of its units.

    Args:
        curves: Layer -> ratios in rising order and accuracies, both shares of one.
        names: The layers that are drawn, in order; those without a curve stay empty.
        selected: Name of the layer that is marked.
        colours: Palette of the page.
        metric: What was measured instead of the accuracy.
    """
    lost = points_lost(curves, names, metric)
    shown = row_of(list(names).index(selected) if selected in names else None, range(len(names)))
    figure = go.Figure(
        go.Heatmap(
            z=lost,
            x=[f"{100 * share:.0f}" for share in COLUMNS],
            y=np.arange(len(names), dtype=np.int32),
            colorscale=SEQUENTIAL,
            reversescale=True,
            zmin=0,
            zmax=max(1.0, float(np.nanmax(lost, initial=1.0))),
            text=[["" if np.isnan(cell) else f"{cell:.1f}" for cell in row] for row in lost],
            texttemplate="%{text}",
            textfont={"size": 11},
            hoverinfo="skip",
            xgap=1,
            ygap=1,
            colorbar={
                "title": {"text": f"{metric.loss_unit} lost", "side": "right"},
                "thickness": 12,
            },
        )
    )
    measured = int((~np.isnan(lost)).sum())
    hover = [_told(name, curves.get(name), metric) for name in names]
    add_targets(figure, -0.5, len(COLUMNS) - 0.5, hover)
    finish(
        figure,
        colours,
        Caption(
            f"{measured} plans measured: {metric.loss_unit} of {metric.name} lost, each layer "
            "pruned alone",
            f"Table of {metric.loss_unit} lost by {len(names)} layers at ten ratios",
        ),
        height=max(180, 110 + ROW * len(names)),
        x={
            "title": {"text": "share of the layer's units pruned (%)"},
            "showgrid": False,
            "type": "category",
        },
        y=rows_axis(names_of(names), shown),
    )
    return keep_looks(figure, colours)


def points_lost(
    curves: Curves, names: Sequence[str], metric: Metric = ACCURACY
) -> NDArray[np.float64]:
    """Return ``[layers, 10]`` percentage points lost at each ratio of ``COLUMNS``; NaN: unknown.

    Of another ``metric`` what :meth:`Metric.lost` says.
    """
    lost = np.full((len(names), len(COLUMNS)), np.nan)
    for row, name in enumerate(names):
        ratios, accuracies = curves.get(name, ((), ()))
        for ratio, accuracy in list(zip(ratios, accuracies, strict=True))[1:]:
            column = int(np.abs(np.array(COLUMNS) - ratio).argmin())
            lost[row, column] = metric.lost(accuracies[0], accuracy)
    return lost


def _told(name: str, curve: tuple[Sequence[float], Sequence[float]] | None, metric: Metric) -> str:
    label = numbers.path_text(name, 60)
    if curve is None:
        return f"{label}: not measured"
    pairs = [f"{100 * r:.0f} %: {metric.text(a, 1)}" for r, a in zip(*curve, strict=True)]
    return f"{label}<br>" + "<br>".join(pairs)
