"""How the scores of all layers are spread, one row a layer, with the cut of each."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from pruning_core.figures import numbers
from pruning_core.figures.canvas import Caption, finish
from pruning_core.figures.histogram import Bins
from pruning_core.figures.palette import Palette
from pruning_core.figures.rows import (
    ROW,
    add_outlines,
    add_row_texts,
    add_targets,
    hatching,
    keep_looks,
    legend_above,
    names_of,
    row_of,
    rows_axis,
)

FEW_LAYERS: Final = 16
"""So many layers are drawn as ridges; more of them as strips of percentiles."""
_RIDGE: Final = 38
_FULL: Final = 0.86
_ALIKE: Final = 0.0005
_SHARES: Final = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
Values = NDArray[np.float64]
Outline = tuple[Values, Values]


@dataclass(frozen=True, slots=True, eq=False)
class Spread:
    """How the scores of one layer are spread, and where it is cut.

    Attributes:
        name: Of the layer or group.
        quantiles: ``[7]`` scores: lowest, 5 %, 25 %, median, 75 %, 95 %, highest.
        cut: Units that score less leave; None where no single score decides.
        n_removed: Units that leave.
        n_units: All units.
    """

    name: str
    quantiles: NDArray[np.float32]
    cut: float | None
    n_removed: int
    n_units: int

    @property
    def share(self) -> float:
        """The share of the units that leaves."""
        return self.n_removed / self.n_units

    @property
    def drawn_cut(self) -> float | None:
        """The cut, if anything leaves below it."""
        return self.cut if self.n_removed else None


@dataclass(frozen=True, slots=True)
class Frame:
    """What the pictures of scores share.

    Attributes:
        colours: Palette of the page.
        units: The plural word, e.g. ``channels``.
        criterion: Title of the criterion, written at the axis.
        own_scale: True draws each layer from its lowest score (0) to its highest (1).
        selected: The layer that is marked.
        rows: The layers that are drawn; None draws all. The title speaks of all of them.
    """

    colours: Palette
    units: str
    criterion: str
    own_scale: bool
    selected: int | None = None
    rows: range | None = None

    def place(self, spread: Spread, scores: NDArray[np.floating]) -> Values:
        """Return where scores of a layer are on the x axis."""
        low, high = spread.quantiles[[0, -1]].astype(np.float64)
        if not self.own_scale:
            return scores.astype(np.float64)
        width = high - low
        return (scores - low) / width if width > 0 else np.full(scores.shape, 0.5)


def quantiles(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return seven of the ``[U]`` scores by their rank, see :class:`Spread`."""
    places = np.floor(np.array(_SHARES) * (scores.size - 1)).astype(np.intp)
    found: NDArray[np.float32] = np.partition(scores, np.unique(places))[places]
    return found


def ridgeline(spreads: Sequence[Spread], bins: Sequence[Bins], frame: Frame) -> go.Figure:
    """Draw the histogram of each layer as a ridge; what leaves is hatched.

    Args:
        spreads: One for each layer, in the order of execution.
        bins: The histogram of each of them; every ridge is as high as its fullest bin.
        frame: Words and colours.
    """
    figure, colours = go.Figure(), frame.colours
    kept: list[Outline] = []
    leave: list[Outline] = []
    for row, (spread, found) in enumerate(zip(spreads, bins, strict=True)):
        cut = found.edges[0] if spread.drawn_cut is None else spread.drawn_cut
        for outlines, low, high in ((kept, cut, np.inf), (leave, -np.inf, cut)):
            edges, tops = _ridge(found, low, high)
            if edges.size:
                outlines.append((frame.place(spread, edges), row + (0.5 - tops) * _FULL))
    hatch = hatching(colours)
    add_outlines(figure, kept, "stays", fillcolor=colours.kept, line={"width": 0})
    add_outlines(
        figure, leave, "leaves", fillpattern=hatch, line={"width": 1, "color": colours.pruned}
    )
    ends = [frame.place(s, b.edges[[0, -1]]) for s, b in zip(spreads, bins, strict=True)]
    _add_cuts(figure, spreads, frame, height=0.62 * _RIDGE)
    return _finish(figure, spreads, frame, (float(np.min(ends)), float(np.max(ends))), _RIDGE)


def percentile_strip(everything: Sequence[Spread], frame: Frame) -> go.Figure:
    """Draw of each layer where the middle half and nine tenths of the scores are.

    Args:
        everything: One for each layer, in the order of execution.
        frame: Words and colours.
    """
    figure, colours = go.Figure(), frame.colours
    spreads = [everything[row] for row in frame.rows or range(len(everything))]
    places = np.array([frame.place(spread, spread.quantiles) for spread in spreads])
    rows = np.arange(len(spreads))
    for name, (left, right), half, colour in (
        ("nine tenths of the scores", (1, 5), 0.06, colours.muted),
        ("middle half", (2, 4), 0.26, colours.kept),
    ):
        boxes = [
            _box(places[row, left], places[row, right], row - half, row + half)
            for row in rows.tolist()
        ]
        add_outlines(figure, boxes, name, fillcolor=colour, line={"width": 1, "color": colour})
    figure.add_scatter(
        x=places[:, 3].astype(np.float32),
        y=rows.astype(np.int32),
        mode="markers",
        name="median",
        marker={
            "symbol": "circle",
            "size": 6,
            "color": colours.background,
            "line": {"color": colours.text, "width": 1},
        },
        hoverinfo="skip",
    )
    _add_cuts(figure, spreads, frame, height=0.62 * ROW)
    ends = [places[:, 1].min(), places[:, 5].max()]
    cuts = [
        frame.place(spread, np.array([spread.drawn_cut]))[0]
        for spread in spreads
        if spread.drawn_cut is not None
    ]
    return _finish(
        figure, everything, frame, (float(min([*ends, *cuts])), float(max([*ends, *cuts]))), ROW
    )


def _ridge(bins: Bins, low: float, high: float) -> Outline:
    """Return the outline of the bins between two scores: x, and the share of the fullest bin."""
    edges = np.clip(bins.edges, low, high)
    wide = np.diff(edges) > 0
    if not wide.any():
        return np.zeros(0), np.zeros(0)
    left, right = edges[:-1][wide], edges[1:][wide]
    tops = np.repeat(bins.counts[wide] / max(1, int(bins.counts.max())), 2)
    along = np.stack([left, right], axis=1).reshape(-1)
    return (
        np.concatenate([along[:1], along, along[-1:]]),
        np.concatenate([[0.0], tops, [0.0]]),
    )


def _box(left: float, right: float, top: float, bottom: float) -> Outline:
    return np.array([left, right, right, left]), np.array([top, top, bottom, bottom])


def _add_cuts(figure: go.Figure, spreads: Sequence[Spread], frame: Frame, *, height: float) -> None:
    """Mark in each row below which score units leave."""
    marked = [
        (row, frame.place(spread, np.array([spread.drawn_cut]))[0])
        for row, spread in enumerate(spreads)
        if spread.drawn_cut is not None
    ]
    if marked:
        rows, places = zip(*marked, strict=True)
        figure.add_scatter(
            x=np.array(places, np.float32),
            y=np.array(rows, np.int32),
            mode="markers",
            name="cut",
            marker={
                "symbol": "line-ns-open",
                "size": height,
                "color": frame.colours.pruned,
                "line": {"width": 3, "color": frame.colours.pruned},
            },
            hoverinfo="skip",
        )


def _finish(
    figure: go.Figure,
    everything: Sequence[Spread],
    frame: Frame,
    ends: tuple[float, float],
    row_height: int,
) -> go.Figure:
    """Add what is written at each row, and the layout."""
    rows = frame.rows or range(len(everything))
    spreads = [everything[row] for row in rows]
    low, high = ends
    span = high - low or 1.0
    texts = [f"{numbers.percent(spread.share)} leave" for spread in spreads]
    add_row_texts(figure, high + 0.02 * span, texts)
    add_targets(figure, low - 0.02 * span, high + 0.15 * span, [_hover(s, frame) for s in spreads])
    height = 96 + row_height * max(len(spreads), 3)
    axis: dict[str, Any] = {
        "title": {"text": _axis_title(frame)},
        "range": [low - 0.02 * span, high + 0.15 * span],
        "fixedrange": True,
        "side": "top" if len(spreads) > FEW_LAYERS else "bottom",
    }
    finish(
        figure,
        frame.colours,
        Caption(
            _finding(everything, frame.units),
            f"Spread of the {frame.criterion} scores in each of {len(spreads)} layers",
        ),
        height=height,
        x=axis,
        y=rows_axis(
            names_of([spread.name for spread in spreads]),
            row_of(frame.selected, rows),
        ),
    )
    keep_looks(figure, frame.colours)
    return legend_above(figure, axis_above=len(spreads) > FEW_LAYERS)


def _axis_title(frame: Frame) -> str:
    if frame.own_scale:
        return f"score ({frame.criterion}): 0 is the lowest of the layer, 1 the highest"
    return f"score ({frame.criterion})"


def _hover(spread: Spread, frame: Frame) -> str:
    low, _, _, median, _, _, high = (numbers.significant(float(q), 3) for q in spread.quantiles)
    cut = "" if spread.drawn_cut is None else f", cut at {numbers.significant(spread.drawn_cut, 3)}"
    return (
        f"{numbers.path_text(spread.name, 60)}: {spread.n_removed:,} of {spread.n_units:,} "
        f"{frame.units} leave{cut}<br>scores {low} to {high}, median {median}"
    )


def _finding(spreads: Sequence[Spread], units: str) -> str:
    """Say which layer loses most."""
    total = sum(spread.n_units for spread in spreads)
    removed = sum(spread.n_removed for spread in spreads)
    if not removed:
        return f"Nothing leaves yet: {numbers.count(total)} {units} in {len(spreads)} layers"
    least, most = (choose(spreads, key=lambda spread: spread.share) for choose in (min, max))
    leave = f"{numbers.percent(removed / total)} of all {units} leave"
    if most.share - least.share < _ALIKE:
        return f"{leave}, the same share of every layer" if len(spreads) > 1 else leave
    return f"{leave}, most in {numbers.path_text(most.name)}: {numbers.percent(most.share)}"
