"""Which criteria agree: matrices with the numbers inside."""

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from pruning_core.figures import numbers
from pruning_core.figures.canvas import Caption, finish
from pruning_core.figures.palette import Palette

_CELL = 58
_LONGEST = 26


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
    pair = _most_alike(correlation)
    title = "No two of them can be compared"
    if pair is not None:
        one, other = (numbers.plotly_text(criteria[place], 24) for place in pair)
        title = f"{one} and {other} rank most alike: {correlation[pair]:.2f}"
    subject = f"Matrix of rank correlations of {len(criteria)} criteria"
    figure = _matrix(criteria, correlation, texts, colours)
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
    pair = _most_alike(-shares)
    title = "Nothing leaves here, so nothing overlaps"
    if pair is not None:
        one, other = (numbers.plotly_text(criteria[place], 24) for place in pair)
        title = (
            f"{one} and {other} differ most: both prune {int(both[pair]):,} of "
            f"{int(both.max()):,} {units}"
        )
    subject = f"Matrix of the overlap of what {len(criteria)} criteria prune"
    figure = _matrix(criteria, shares, texts, colours)
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
    criteria: Sequence[str], values: NDArray[np.float64], texts: list[list[str]], colours: Palette
) -> go.Figure:
    """Return cells from -1 to 1 with their numbers, each in the colour that can be read there."""
    labels = [numbers.plotly_text(text, _LONGEST) for text in numbered(criteria)]
    pairs = [[f"{one}<br>{other}" for other in labels] for one in labels]
    figure = go.Figure(
        go.Heatmap(
            z=values.astype(np.float32),
            zmin=-1,
            zmax=1,
            text=texts,
            customdata=pairs,
            colorscale=[(0.0, colours.pruned), (0.5, colours.background), (1.0, colours.kept)],
            showscale=False,
            xgap=2,
            ygap=2,
            hovertemplate="%{customdata}<br>%{text}<extra></extra>",
        )
    )
    rows, columns = np.divmod(np.arange(values.size, dtype=np.int32), np.int32(len(criteria)))
    figure.add_scatter(
        x=columns,
        y=rows,
        mode="text",
        text=[text for row in texts for text in row],
        textfont={"size": 13, "color": [_readable(x, colours) for x in values.ravel().tolist()]},
        hoverinfo="skip",
    )
    return figure


def _readable(value: float, colours: Palette) -> str:
    """Return the colour of a text on the cell of ``value``: that of texts, or of the page."""
    strong = colours.pruned if value < 0 else colours.kept
    share = 0.0 if np.isnan(value) else abs(value)
    mixed = _luminance(colours.background, strong, share)
    choices = (colours.text, colours.background)
    return max(choices, key=lambda colour: _contrast(mixed, _luminance(colour, colour, 0.0)))


def _luminance(one: str, other: str, share: float) -> float:
    """Return the relative luminance (WCAG 2.1) of a mixture of two colours ``#RRGGBB``."""
    first, second = (np.array([int(c[i : i + 2], 16) for i in (1, 3, 5)]) for c in (one, other))
    mixed = ((1 - share) * first + share * second) / 255
    linear = np.where(mixed <= 0.04045, mixed / 12.92, ((mixed + 0.055) / 1.055) ** 2.4)
    return float(linear @ (0.2126, 0.7152, 0.0722))


def _contrast(one: float, other: float) -> float:
    return (max(one, other) + 0.05) / (min(one, other) + 0.05)


def _finish(
    figure: go.Figure, criteria: Sequence[str], colours: Palette, caption: Caption
) -> go.Figure:
    places = np.arange(len(criteria), dtype=np.int32)
    labels = [numbers.plotly_text(text, _LONGEST) for text in numbered(criteria)]
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
