"""Which criteria agree: matrices with the numbers inside."""

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from pruning_core.figures import numbers
from pruning_core.figures.canvas import Caption, finish
from pruning_core.figures.palette import Palette

_CELL = 58
Shades = list[tuple[float, str]]


def rank_matrix(
    criteria: Sequence[str], correlation: NDArray[np.float64], colours: Palette
) -> go.Figure:
    """Draw how alike any two criteria rank the units.

    Args:
        criteria: Titles, two or more.
        correlation: ``[C, C]``, -1..1, NaN where it is undefined.
        colours: Palette of the page.
    """
    texts = [["–" if np.isnan(x) else f"{x:.2f}" for x in row] for row in correlation]
    shades = [(0.0, colours.pruned), (0.5, colours.background), (1.0, colours.kept)]
    pair = _most_alike(correlation)
    title = "No two of them can be compared"
    if pair is not None:
        one, other = (numbers.plotly_text(criteria[place], 40) for place in pair)
        title = f"{one} and {other} rank most alike: correlation {correlation[pair]:.2f}"
    subject = f"Matrix of rank correlations of {len(criteria)} criteria"
    figure = _matrix(criteria, correlation, texts, shades)
    return _finish(figure, criteria, colours, Caption(title, subject))


def overlap_matrix(
    criteria: Sequence[str],
    shares: NDArray[np.float64],
    both: NDArray[np.int64],
    colours: Palette,
    *,
    units: str,
) -> go.Figure:
    """Draw how much of what any two criteria prune is the same.

    Args:
        criteria: Titles, two or more.
        shares: ``[C, C]`` pruned by both over pruned by either, NaN where nothing is.
        both: ``[C, C]`` units pruned by both.
        colours: Palette of the page.
        units: The plural word, e.g. ``channels``.
    """
    texts = [
        [
            "–" if np.isnan(x) else f"{x:.2f}<br>{numbers.count(n)}"
            for x, n in zip(*row, strict=True)
        ]
        for row in zip(shares, both, strict=True)
    ]
    shades = [(0.0, colours.pruned), (0.5, colours.background), (1.0, colours.kept)]
    pair = _most_alike(-shares)
    title = "Nothing leaves here, so nothing overlaps"
    if pair is not None:
        one, other = (numbers.plotly_text(criteria[place], 40) for place in pair)
        title = (
            f"{one} and {other} differ most: {int(both[pair]):,} of {int(both.max()):,} {units} "
            "are pruned by both"
        )
    subject = f"Matrix of the overlap of what {len(criteria)} criteria prune"
    figure = _matrix(criteria, shares, texts, shades)
    return _finish(figure, criteria, colours, Caption(title, subject))


def numbered(criteria: Sequence[str]) -> list[str]:
    """Return the titles with the numbers that stand for them along the other side."""
    return [f"{place}. {title}" for place, title in enumerate(criteria, start=1)]


def _most_alike(values: NDArray[np.float64]) -> tuple[int, int] | None:
    """Return the pair with the largest value; None when there is no number."""
    above = np.where(np.triu(np.ones(values.shape, bool), 1), values, np.nan)
    if np.isnan(above).all():
        return None
    row, column = np.unravel_index(int(np.nanargmax(above)), values.shape)
    return int(row), int(column)


def _matrix(
    criteria: Sequence[str], values: NDArray[np.float64], texts: list[list[str]], shades: Shades
) -> go.Figure:
    labels = [numbers.plotly_text(text, 34) for text in numbered(criteria)]
    pairs = [[f"{one}<br>{other}" for other in labels] for one in labels]
    return go.Figure(
        go.Heatmap(
            z=values.astype(np.float32),
            zmin=-1,
            zmax=1,
            text=texts,
            texttemplate="%{text}",
            textfont={"size": 13},
            customdata=pairs,
            colorscale=shades,
            showscale=False,
            xgap=2,
            ygap=2,
            hovertemplate="%{customdata}<br>%{text}<extra></extra>",
        )
    )


def _finish(
    figure: go.Figure, criteria: Sequence[str], colours: Palette, caption: Caption
) -> go.Figure:
    places = np.arange(len(criteria), dtype=np.int32)
    labels = [numbers.plotly_text(text, 34) for text in numbered(criteria)]
    shared = {"tickmode": "array", "tickvals": places, "showgrid": False, "fixedrange": True}
    return finish(
        figure,
        colours,
        caption,
        height=92 + _CELL * len(criteria),
        x={
            **shared,
            "ticktext": [str(place + 1) for place in places],
            "title": {"text": "criterion"},
        },
        y={**shared, "ticktext": labels, "range": [len(criteria) - 0.5, -0.5]},
    )
