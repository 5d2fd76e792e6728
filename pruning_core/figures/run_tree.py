"""Finished runs as a tree: a row a run, from the dense network to the last one made of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import plotly.graph_objects as go

from pruning_core.figures import numbers
from pruning_core.figures.canvas import Caption, finish
from pruning_core.figures.palette import SEQUENTIAL, Palette
from pruning_core.figures.rows import keep_looks, rows_axis

COLUMNS: Final = ("Dense", "Pruned", "Fine-tuned", "Int8")
SYMBOLS: Final = ("star", "circle", "diamond", "square")
_ROW: Final = 40


@dataclass(frozen=True, slots=True)
class TreeNode:
    """One network as it is drawn.

    Attributes:
        row: Counted from the top.
        column: Place in ``COLUMNS``.
        parent: Place of the network it was made from; None for a dense one.
        value: What its colour says; None where it was not measured.
        text: That value in words, beside the mark.
        hover: What it says under the pointer.
        is_chosen: True for the networks that are compared.
    """

    row: int
    column: int
    parent: int | None
    value: float | None
    text: str
    hover: str
    is_chosen: bool = False


def run_tree(
    nodes: Sequence[TreeNode], labels: Sequence[str], colours: Palette, *, metric: str
) -> go.Figure:
    """Draw the tree; the points of the first trace are the nodes, in their order.

    Args:
        nodes: At least one.
        labels: What each row is called.
        colours: Palette of the page.
        metric: What the colours stand for.
    """
    figure = go.Figure()
    x = np.array([node.column for node in nodes], np.float32)
    y = np.array([node.row for node in nodes], np.float32)
    known = [node.value for node in nodes if node.value is not None]
    low, high = (min(known), max(known)) if known else (0.0, 1.0)
    line = {
        "width": [3 if node.is_chosen else 1 for node in nodes],
        "color": [colours.pruned if node.is_chosen else colours.text for node in nodes],
    }
    figure.add_scatter(
        x=x,
        y=y,
        mode="markers+text",
        text=[node.text for node in nodes],
        textposition="top center",
        textfont={"size": 12, "color": colours.text},
        hovertext=[node.hover for node in nodes],
        hovertemplate="%{hovertext}<extra></extra>",
        cliponaxis=False,
        marker={
            "color": [low if node.value is None else node.value for node in nodes],
            "cmin": low,
            "cmax": high if high > low else low + 1e-9,
            "colorscale": SEQUENTIAL,
            "size": [18 if node.is_chosen else 14 for node in nodes],
            "symbol": [
                f"{SYMBOLS[node.column]}-open" if node.value is None else SYMBOLS[node.column]
                for node in nodes
            ],
            "line": line,
        },
    )
    edges_x, edges_y = _edges(nodes)
    figure.add_scatter(
        x=edges_x,
        y=edges_y,
        mode="lines",
        line={"color": colours.muted, "width": 1.5},
        hoverinfo="skip",
    )
    rows = max(node.row for node in nodes) + 1
    best = max((node for node in nodes if node.value is not None), key=_value, default=None)
    title = f"{rows} {'run' if rows == 1 else 'runs'}"
    if best is not None:
        title += f"; {metric} from {_worst(nodes)} to {best.text}"
    finish(
        figure,
        colours,
        Caption(title, f"Tree of {rows} runs, each network coloured by {metric}"),
        height=96 + _ROW * max(rows, 3),
        x={
            "tickmode": "array",
            "tickvals": list(range(len(COLUMNS))),
            "ticktext": list(COLUMNS),
            "side": "top",
            "range": [-0.25, len(COLUMNS) - 0.75],
            "fixedrange": True,
        },
        y=rows_axis([numbers.plotly_text(label, 56) for label in labels]),
    )
    return keep_looks(figure, colours).update_layout(margin={"t": 64})


def _edges(nodes: Sequence[TreeNode]) -> tuple[list[float | None], list[float | None]]:
    """Return elbows from each network to the one it was made from, as one line with gaps."""
    x: list[float | None] = []
    y: list[float | None] = []
    for node in nodes:
        if node.parent is not None:
            origin = nodes[node.parent]
            x += [origin.column, origin.column + 0.12, origin.column + 0.12, node.column, None]
            y += [origin.row, origin.row, node.row, node.row, None]
    return x, y


def _value(node: TreeNode) -> float:
    return -np.inf if node.value is None else node.value


def _worst(nodes: Sequence[TreeNode]) -> str:
    return min((node for node in nodes if node.value is not None), key=_value).text
