"""Figures with one row a layer: labels, and rows that can be pointed at wherever they are empty."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from pruning_core.figures import numbers
from pruning_core.figures.palette import PRUNED_PATTERN, Palette

ROW: Final = 20
"""Height of a row in pixels."""
MAX_ROWS: Final = 512
_BELOW_TITLE: Final = 32


def rows_axis(labels: Sequence[str], selected: int | None = None) -> dict[str, Any]:
    """Return the options of a y axis with rows ``0, 1, ...`` from the top.

    Rows are numbered, not named: names that look alike when shortened stay apart.

    Args:
        labels: As :func:`numbers.path_text` writes them.
        selected: The row that is marked, by weight of type and a pointer.
    """
    shown = [f"<b>▸ {text}</b>" if row == selected else text for row, text in enumerate(labels)]
    return {
        "tickmode": "array",
        "tickvals": np.arange(len(labels), dtype=np.int32),
        "ticktext": shown,
        "range": [len(labels) - 0.5, -0.5],
        "showgrid": False,
        "fixedrange": True,
        "tickfont": {"size": 12},
    }


def row_of(place: int | None, shown: range) -> int | None:
    """Return the row in which a layer is drawn; None when it is not."""
    return None if place is None or place not in shown else shown.index(place)


def add_targets(figure: go.Figure, left: float, right: float, hover: Sequence[str]) -> None:
    """Add a bar over the whole of each row that is not seen, but answers pointer and click.

    Args:
        figure: Changed in place.
        left: Where rows begin, in units of the x axis.
        right: Where they end.
        hover: What each row says under the pointer.
    """
    figure.add_bar(
        y=np.arange(len(hover), dtype=np.int32),
        x=np.full(len(hover), right - left, np.float32),
        base=left,
        orientation="h",
        width=1,
        marker={"color": "rgba(0,0,0,0)", "line": {"width": 0}},
        hovertext=list(hover),
        hovertemplate="%{hovertext}<extra></extra>",
        showlegend=False,
    )


def add_outlines(
    figure: go.Figure,
    outlines: Sequence[tuple[NDArray[np.float64], NDArray[np.float64]]],
    name: str,
    **looks: Any,
) -> None:
    """Add many filled outlines (x, y) as one trace, which browsers draw fast; none add nothing.

    Args:
        figure: Changed in place.
        outlines: Each a closed line; the last point need not be the first.
        name: For the legend.
        looks: Options of the trace: fill and line.
    """
    if not outlines:
        return
    x, y = (
        np.concatenate([np.append(outline[axis], np.nan) for outline in outlines])
        for axis in (0, 1)
    )
    figure.add_scatter(
        x=x.astype(np.float32),
        y=y.astype(np.float32),
        mode="lines",
        fill="toself",
        name=name,
        hoverinfo="skip",
        **looks,
    )


def add_row_texts(figure: go.Figure, x: float, texts: Sequence[str]) -> None:
    """Write a text into each row, beginning at ``x``."""
    figure.add_scatter(
        x=np.full(len(texts), x, np.float32),
        y=np.arange(len(texts), dtype=np.int32),
        mode="text",
        text=list(texts),
        textposition="middle right",
        textfont={"size": 12},
        cliponaxis=False,
        hoverinfo="skip",
        showlegend=False,
    )


def hatching(colours: Palette) -> dict[str, Any]:
    """Return the pattern of an area that leaves."""
    return {
        "shape": PRUNED_PATTERN,
        "fgcolor": colours.pruned,
        "bgcolor": colours.background,
        "size": 5,
        "solidity": 0.6,
    }


def keep_looks(figure: go.Figure, colours: Palette) -> go.Figure:
    """Leave everything as it looks when something is clicked; Plotly would fade all the rest."""
    whole = {"marker": {"opacity": 1}}
    figure.update_traces(unselected=whole, selector={"type": "bar"})
    texts = {"textfont": {"color": colours.text}}
    return figure.update_traces(unselected=whole | texts, selector={"type": "scatter"})


def legend_above(figure: go.Figure, *, axis_above: bool = False) -> go.Figure:
    """Show the legend between title and picture, the axis of x below it or under the picture."""
    return figure.update_layout(
        showlegend=True,
        margin={"t": 96 if axis_above else 66},
        legend={
            "orientation": "h",
            "x": 0,
            "xanchor": "left",
            "y": 1 - _BELOW_TITLE / figure.layout.height,
            "yref": "container",
            "yanchor": "top",
        },
    )


def largest(values: NDArray[np.int64], most: int) -> NDArray[np.intp]:
    """Return the places of the ``most`` largest values, in their order; equal ones by place."""
    if values.size <= most:
        return np.arange(values.size)
    return np.sort(np.argsort(-values, kind="stable")[:most])


def names_of(paths: Sequence[str], longest: int = 32) -> list[str]:
    """Return module paths as labels."""
    return [numbers.path_text(path, longest) for path in paths]
