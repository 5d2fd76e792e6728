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
    figure.add_bar(
        x=places,
        y=100 * now / total,
        width=[0.5, *[step] * (places.size - 1)],
        name="now",
        marker={
            "color": [colours.pruned] + [colours.kept] * (places.size - 1),
            "pattern": {"shape": [PRUNED_PATTERN] + [""] * (places.size - 1)},
        },
        hovertext=bin_names(edges),
        hovertemplate="%{hovertext}: %{y:.2f} % now<extra></extra>",
    )
    figure.add_scatter(
        x=places,
        y=100 * before / total,
        mode="lines",
        name="before",
        line={"color": colours.muted, "dash": "dot", "width": 2, "shape": "hvh"},
        hovertext=bin_names(edges),
        hovertemplate="%{hovertext}: %{y:.2f} % before<extra></extra>",
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
        y={"title": {"text": f"share of the {things} (%)"}, "rangemode": "tozero"},
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
