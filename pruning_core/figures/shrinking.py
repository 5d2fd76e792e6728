"""The sizes of what sparse training pulls to zero, before it and now."""

import itertools

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from pruning_core.figures import numbers
from pruning_core.figures.canvas import Caption, finish
from pruning_core.figures.palette import PRUNED_PATTERN, Palette

_GAP = 0.75


def size_histogram(
    edges: NDArray[np.float64],
    before: NDArray[np.int64],
    now: NDArray[np.int64],
    colours: Palette,
    *,
    things: str,
    size: str,
    epoch: int,
) -> go.Figure:
    """Draw the share of things in each bin of sizes; those at exactly zero have a bar of their own.

    That bar may reach beyond the axis, which the others need; its share is written beside it.

    Args:
        edges: ``[E]`` limits of the bins, evenly spaced in the logarithm.
        before: ``[E + 2]`` before the training: how many are zero, below the first limit, in each
            bin, and above the last.
        now: ``[E + 2]`` the same after ``epoch``.
        colours: Palette of the page.
        things: The plural word, e.g. ``weights``.
        size: What is counted, e.g. ``magnitude``.
        epoch: Epochs of sparse training done.
    """
    total = max(1, int(now.sum()))
    places, step = bin_places(edges)
    figure = go.Figure()
    shares, earlier, names = 100 * now / total, 100 * before / total, bin_names(edges)
    figure.add_bar(
        x=places[:1],
        y=shares[:1],
        width=[0.5],
        name="exactly 0 now",
        marker={"color": colours.pruned, "pattern": {"shape": PRUNED_PATTERN}},
        hovertemplate="exactly 0: %{y:.2f} % now<extra></extra>",
    )
    figure.add_bar(
        x=places[1:],
        y=shares[1:],
        width=step,
        name="now",
        marker={"color": colours.kept},
        hovertext=names[1:],
        hovertemplate="%{hovertext}: %{y:.2f} % now<extra></extra>",
    )
    figure.add_scatter(
        x=places,
        y=earlier,
        mode="lines",
        name="before",
        line={"color": colours.muted, "dash": "dot", "width": 2, "shape": "hvh"},
        hovertext=names,
        hovertemplate="%{hovertext}: %{y:.2f} % before<extra></extra>",
    )
    top = 1.3 * max(float(shares[1:].max()), float(earlier.max()), 1.0)
    if now[0]:
        figure.add_annotation(
            x=places[0] + 0.32,
            y=0.93 * top,
            text=numbers.percent(now[0] / total),
            showarrow=False,
            xanchor="left",
            font={"size": 12, "color": colours.text},
        )
    decades = np.arange(round(np.log10(edges[0])), round(np.log10(edges[-1])) + 1)
    words = "1 epoch" if epoch == 1 else f"{epoch} epochs"
    share = numbers.percent(now[0] / total)
    finish(
        figure,
        colours,
        Caption(
            f"{share} of the {things} are zero after {words} of sparse training",
            f"Histogram of the {size} of {numbers.count(total)} {things}, before and now",
        ),
        height=280,
        x={
            "title": {"text": f"{size} (logarithmic)"},
            "tickvals": [places[0], *decades.tolist()],
            "ticktext": ["0", *(f"{10.0**decade:g}" for decade in decades)],
        },
        y={"title": {"text": f"share of the {things} (%)"}, "range": [0, top]},
    )
    return figure.update_layout(
        showlegend=True,
        legend={"orientation": "h", "x": 0, "xanchor": "left", "y": 1.0, "yanchor": "bottom"},
        margin={"t": 58},
    )


def bin_places(edges: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    """Return where each bar stands, zero first, and how wide a bin is, in decades."""
    limits = np.log10(edges)
    step = float(limits[1] - limits[0])
    inner = np.concatenate([[limits[0] - step], limits]) + step / 2
    return np.concatenate([[limits[0] - _GAP], inner]), step


def bin_names(edges: NDArray[np.float64]) -> list[str]:
    """Return each bin in words, zero first."""
    limits = [f"{edge:.2g}" for edge in edges]
    between = [f"{low} to {high}" for low, high in itertools.pairwise(limits)]
    return ["exactly 0", f"below {limits[0]}", *between, f"above {limits[-1]}"]
