"""The pictures of lessons: bars, lines, histograms and cells, with a prediction laid over them.

All words come from the caller, since lessons speak several languages.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray
from plotly.subplots import make_subplots

from pruning_core.figures import numbers
from pruning_core.figures.canvas import Caption, finish
from pruning_core.figures.palette import PRUNED_PATTERN, SEQUENTIAL, Palette

_DASHES: Final = ("solid", "dash", "dot", "dashdot", "longdash")
_SYMBOLS: Final = ("circle", "square", "diamond", "triangle-up", "x")
_PATTERNS: Final = ("", PRUNED_PATTERN, ".", "x", "-")
_ROW: Final = 26
_LOG_TICKS: Final = [a * 10.0**b for b in range(-4, 4) for a in (1, 2, 5)]
_MOST_CROSSES: Final = 600
_FEW: Final = 8


@dataclass(frozen=True, slots=True)
class Series:
    """One row of numbers with its name.

    Attributes:
        name: In the legend.
        y: Values; NaN leaves a gap.
        x: Where they lie; empty for bars.
        look: Number of its colour, dash and pattern: 0 what stays or the network itself, 1 what
            leaves or the pruned one, 2 what is compared with, 3 and 4 others.
        joined: False draws points without a line between them.
        spread: Lower and upper end of each measured value; empty when they have none.
        labels: What stands beside each point of a scatter; empty for none.
    """

    name: str
    y: Sequence[float]
    x: Sequence[float] = ()
    look: int = 0
    joined: bool = True
    spread: Sequence[tuple[float, float]] = ()
    labels: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Guess:
    """What the learner predicted, in the units of the picture.

    Attributes:
        name: In the legend, e.g. ``your prediction``.
        y: Values, one for each place.
        x: Places along the x axis of lines; empty for bars.

    With None among them nobody has predicted, and nothing is drawn.
    """

    name: str
    y: Sequence[float]
    x: Sequence[float] = ()

    @property
    def is_given(self) -> bool:
        """Whether somebody predicted."""
        return None not in (*self.y, *self.x)


@dataclass(frozen=True, slots=True)
class Axes:
    """Titles of the axes with units, and their ranges where they are fixed."""

    x: str
    y: str = ""
    x_range: tuple[float, float] | None = None
    y_range: tuple[float, float] | None = None
    log_x: bool = False
    log_y: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Panel:
    """One matrix of a row of pictures.

    Attributes:
        title: Above it.
        values: ``[rows, columns]``.
        removed: Same shape, True where a cell is gone; None removes nothing.
        width: In proportion to the other panels of the row.
    """

    title: str
    values: NDArray[np.float32]
    removed: NDArray[np.bool_] | None = None
    width: float = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class Cut:
    """Where a histogram is cut, in the unit of its x axis.

    Attributes:
        at: What lies below is gone.
        name: In the legend.
        others: Further lines: ``(place, name)``.
    """

    at: float
    name: str
    others: Sequence[tuple[float, str]] = field(default_factory=tuple)


def bars(
    labels: Sequence[str],
    series: Sequence[Series],
    axes: Axes,
    caption: Caption,
    colours: Palette,
    *,
    guess: Guess | None = None,
    form: str = ".1f",
) -> go.Figure:
    """Draw horizontal bars, one group a label, each with its number at the end."""
    figure = go.Figure()
    guess = guess if guess is not None and guess.is_given else None
    places = np.arange(len(labels), dtype=np.int32)
    for one in series:
        values = np.asarray(one.y, np.float64)
        figure.add_bar(
            y=places,
            x=values,
            orientation="h",
            name=numbers.plotly_text(one.name),
            text=["" if np.isnan(value) else format(value, form) for value in values],
            textposition="inside" if one.spread else "outside",  # whiskers lie at the end
            insidetextanchor="start",
            constraintext="none",
            cliponaxis=False,
            marker={
                "color": _colour(one.look, colours),
                "pattern": {"shape": _PATTERNS[one.look % 5], "fillmode": "overlay"},
            },
            error_x=_whiskers(one, colours),
            hovertemplate="%{text}<extra>%{fullData.name}</extra>",
        )
    if guess is not None:
        figure.add_scatter(
            x=list(guess.y),
            y=places[: len(guess.y)],
            mode="markers",
            name=numbers.plotly_text(guess.name),
            marker=_guess_marker(colours),
        )
    largest = max(
        [float(np.nanmax(np.asarray(one.y, np.float64), initial=0.0)) for one in series]
        + ([max(guess.y)] if guess else []),
    )
    finish(
        figure,
        colours,
        caption,
        height=120 + _ROW * max(2, len(labels)) * max(1, len(series)),
        x={"title": {"text": axes.x}, "range": list(axes.x_range or (0, 1.18 * largest or 1.0))},
        y={
            "tickmode": "array",
            "tickvals": places,
            "ticktext": [numbers.plotly_text(label, 44) for label in labels],
            "range": [len(labels) - 0.45, -0.55],
            "showgrid": False,
            "title": {"text": axes.y},
        },
    )
    figure.update_layout(barmode="group", bargap=0.25)
    return _legend(figure, len(series) > 1 or guess is not None)


def lines(
    series: Sequence[Series],
    axes: Axes,
    caption: Caption,
    colours: Palette,
    *,
    guess: Guess | None = None,
    marked: tuple[float, str] | None = None,
    height: int = 340,
) -> go.Figure:
    """Draw lines with markers; ``marked`` is a place on the x axis with its label."""
    figure = go.Figure()
    guess = guess if guess is not None and guess.is_given else None
    for one in series:
        figure.add_scatter(
            x=np.asarray(one.x, np.float64),
            y=np.asarray(one.y, np.float64),
            name=numbers.plotly_text(one.name),
            mode="markers" if not one.joined else "lines+markers" if len(one.x) <= 60 else "lines",
            line={
                "color": _colour(one.look, colours),
                "width": 2.5,
                "dash": _DASHES[one.look % 5],
            },
            marker={"symbol": _SYMBOLS[one.look % 5], "size": 7},
            hovertemplate="%{x:.4g}: %{y:.4g}<extra>%{fullData.name}</extra>",
        )
    if guess is not None:
        figure.add_scatter(
            x=list(guess.x),
            y=list(guess.y),
            name=numbers.plotly_text(guess.name),
            mode="lines+markers" if len(guess.y) > 1 else "markers",
            line={"color": colours.text, "width": 1.5, "dash": "dot"},
            marker=_guess_marker(colours),
            cliponaxis=False,
        )
    if marked is not None:
        where = np.log10(marked[0]) if axes.log_x else marked[0]
        figure.add_vline(x=marked[0], line={"color": colours.text, "width": 1, "dash": "dot"})
        figure.add_annotation(
            x=where,
            y=1,
            yref="paper",
            yanchor="top",
            xanchor="left",
            text=f" {numbers.plotly_text(marked[1])}",
            showarrow=False,
            font={"size": 12, "color": colours.text},
        )
    x: dict[str, Any] = {"title": {"text": axes.x}}
    y: dict[str, Any] = {"title": {"text": axes.y}}
    if axes.log_x:
        x["type"] = "log"
    if axes.x_range:
        x["range"] = list(axes.x_range)
    if axes.y_range:
        y["range"] = list(axes.y_range)
    finish(figure, colours, caption, height=height, x=x, y=y)
    return _legend(figure, len(series) > 1 or guess is not None)


def steps(
    labels: Sequence[str],
    values: Sequence[float],
    axes: Axes,
    caption: Caption,
    colours: Palette,
    *,
    guess: Guess | None = None,
    form: str = ".0f",
) -> go.Figure:
    """Draw a waterfall: what there was, what each step took off, and what is left.

    Args:
        labels: Of the beginning, of each step, and of the end.
        values: What there was, and what was left after each step.
        axes: Title of the values.
        caption: Words for the whole.
        colours: Palette of the page.
        guess: What was predicted to be left at the end, one value.
        form: How numbers are written at the bars.
    """
    taken = [after - before for before, after in pairwise(values)]
    texts = [format(values[0], form), *(format(one, f"+{form}") for one in taken)]
    texts.append(format(values[-1], form))
    places = np.arange(len(labels), dtype=np.int32)
    figure = go.Figure(
        go.Waterfall(
            orientation="h",
            measure=["absolute", *("relative" for _ in taken), "total"],
            y=places,
            x=[values[0], *taken, values[-1]],
            text=[text.replace("-", "\u2212") for text in texts],
            textposition="outside",
            cliponaxis=False,
            hovertemplate="%{text}<extra></extra>",
            connector={"line": {"color": colours.muted, "width": 1, "dash": "dot"}},
            totals={"marker": {"color": colours.kept}},
            decreasing={"marker": {"color": colours.pruned}},
            increasing={"marker": {"color": colours.muted}},
            showlegend=False,
        )
    )
    if guess is not None:
        figure.add_scatter(
            x=list(guess.y),
            y=[places[-1]],
            mode="markers",
            name=numbers.plotly_text(guess.name),
            marker=_guess_marker(colours),
        )
    finish(
        figure,
        colours,
        caption,
        height=110 + 40 * len(labels),
        x={"title": {"text": axes.x}, "range": list(axes.x_range or (0, 1.16 * max(values)))},
        y={
            "tickmode": "array",
            "tickvals": places,
            "ticktext": [numbers.plotly_text(label, 44) for label in labels],
            "range": [len(labels) - 0.45, -0.55],
            "showgrid": False,
        },
    )
    figure.update_layout(waterfallgap=0.3)
    return _legend(figure, guess is not None)


def points(
    series: Sequence[Series],
    axes: Axes,
    caption: Caption,
    colours: Palette,
    *,
    line: Series | None = None,
    height: int = 380,
) -> go.Figure:
    """Draw single points, with labels and spreads where they have them, and a line to compare.

    Labels stand to the left and to the right in turns, so that close points can be told apart.
    """
    figure = go.Figure()
    if line is not None:
        figure.add_scatter(
            x=np.asarray(line.x, np.float64),
            y=np.asarray(line.y, np.float64),
            name=numbers.plotly_text(line.name),
            mode="lines",
            line={"color": _colour(line.look, colours), "width": 1.5, "dash": "dash"},
            hoverinfo="skip",
        )
    for one in series:
        figure.add_scatter(
            x=np.asarray(one.x, np.float64),
            y=np.asarray(one.y, np.float64),
            name=numbers.plotly_text(one.name),
            mode="markers+text" if one.labels else "markers",
            text=[numbers.plotly_text(label) for label in one.labels] or None,
            textposition=_sides(one),
            textfont={"size": 11, "color": colours.text},
            cliponaxis=False,
            marker={
                "symbol": _SYMBOLS[one.look % 5],
                "size": 9,
                "color": _colour(one.look, colours),
            },
            error_y=_whiskers(one, colours),
            hovertemplate="%{text} %{x:.4g}: %{y:.4g}<extra>%{fullData.name}</extra>",
        )
    x: dict[str, Any] = {"title": {"text": axes.x}}
    y: dict[str, Any] = {"title": {"text": axes.y}}
    if axes.x_range:
        x["range"] = list(axes.x_range)
    if axes.y_range:
        y["range"] = list(axes.y_range)
    if axes.log_y:
        low, high = axes.y_range or (-np.inf, np.inf)
        ticks = [tick for tick in _LOG_TICKS if low <= np.log10(tick) <= high]
        y |= {"type": "log", "tickvals": ticks, "ticktext": [f"{tick:g}" for tick in ticks]}
    finish(figure, colours, caption, height=height, x=x, y=y)
    return _legend(figure, len(series) > 1 or line is not None)


def _sides(one: Series) -> list[str]:
    """Return where the label of each point stands; neighbours in height have different sides."""
    order = np.lexsort((np.asarray(one.y), np.asarray(one.x)))
    sides = [""] * len(order)
    for place, number in enumerate(order):
        sides[number] = ("middle left", "middle right")[place % 2]
    return sides


def histogram(  # noqa: PLR0913
    values: NDArray[np.float64],
    axes: Axes,
    caption: Caption,
    colours: Palette,
    *,
    kept: str,
    gone: str,
    cut: Cut | None = None,
    n_bins: int = 60,
) -> go.Figure:
    """Draw how ``[N]`` values are spread; magnitudes below the cut are hatched.

    Args:
        values: Signed or not; the cut acts on magnitudes.
        axes: Titles and ranges.
        caption: Words for the whole.
        colours: Palette of the page.
        kept: Legend of what lies beyond the cut.
        gone: Legend of what lies within it.
        cut: Where it is; None draws all as kept.
        n_bins: At most 512.
    """
    low, high = axes.x_range or (float(values.min()), float(values.max()))
    edges = np.linspace(low, high, min(n_bins, 512) + 1)
    inside = np.abs(values) < (cut.at if cut else -1.0)
    figure, highest = go.Figure(), 1
    for name, which, look in ((kept, ~inside, 0), (gone, inside, 1)):
        if look and cut is None:
            continue
        counts = np.histogram(np.clip(values[which], low, high), bins=edges)[0]
        highest = max(highest, int(counts.max()))
        figure.add_bar(
            x=(edges[1:] + edges[:-1]) / 2,
            y=counts.astype(np.int32),
            width=float(edges[1] - edges[0]),
            name=numbers.plotly_text(name),
            marker={
                "color": _colour(look, colours),
                "pattern": {"shape": _PATTERNS[look], "fillmode": "overlay"},
                "line": {"width": 0},
            },
            hovertemplate="%{x:.4f}: %{y:,}<extra>%{fullData.name}</extra>",
        )
    if cut is not None:
        for place, name in ((cut.at, cut.name), *cut.others):
            figure.add_vline(x=place, line={"color": colours.text, "width": 1.5, "dash": "dot"})
            figure.add_annotation(
                x=place,
                y=1.0 if name == cut.name else 0.9,
                yref="paper",
                yanchor="top",
                xanchor="left",
                text=f" {numbers.plotly_text(name)}",
                showarrow=False,
                font={"size": 12, "color": colours.text},
            )
    finish(
        figure,
        colours,
        caption,
        height=300,
        x={"title": {"text": axes.x}, "range": [low, high]},
        y={
            "title": {"text": axes.y},
            "range": [0, (1.35 if cut else 1.05) * highest],
            **({"dtick": 1} if highest <= 5 else {}),
        },
    )
    figure.update_layout(barmode="stack")
    return _legend(figure, cut is not None)


def cells(
    panels: Sequence[Panel],
    caption: Caption,
    colours: Palette,
    *,
    across: str,
    down: str,
    height: int = 320,
    columns: int = 3,
) -> go.Figure:
    """Draw matrices side by side on one scale; cells that are gone are blank and crossed.

    Args:
        panels: Each at most 128 x 128.
        caption: Words for the whole.
        colours: Palette of the page.
        across: Title of the x axes.
        down: Title of the y axes.
        height: In pixels, of each row of panels.
        columns: Panels in a row.
    """
    n_columns = min(columns, len(panels))
    n_rows = -(-len(panels) // n_columns)
    figure = make_subplots(
        rows=n_rows,
        cols=n_columns,
        subplot_titles=[numbers.plotly_text(panel.title, 70) for panel in panels],
        column_widths=[panel.width for panel in panels[:n_columns]],
        horizontal_spacing=0.09,
        vertical_spacing=0.2 if n_rows > 1 else 0.0,
    )
    highest = max(float(panel.values.max()) for panel in panels)
    for number, panel in enumerate(panels):
        row, column = divmod(number, n_columns)
        where = {"row": row + 1, "col": column + 1}
        shown = panel.values.astype(np.float32).copy()
        if panel.removed is not None:
            shown[panel.removed] = np.nan
        figure.add_heatmap(
            z=shown,
            zmin=0,
            zmax=highest,
            colorscale=SEQUENTIAL,
            showscale=False,
            xgap=1 if shown.size <= 1024 else 0,
            ygap=1 if shown.size <= 1024 else 0,
            hovertemplate="%{y}, %{x}: %{z:.4f}<extra></extra>",
            **where,
        )
        if panel.removed is not None and 0 < panel.removed.sum() <= _MOST_CROSSES:
            y, x = np.nonzero(panel.removed)
            figure.add_scatter(
                x=x.astype(np.int32),
                y=y.astype(np.int32),
                mode="markers",
                marker={"symbol": "x-thin", "size": 8, "line": {"width": 1.5}},
                marker_line_color=colours.pruned,
                hoverinfo="skip",
                showlegend=False,
                **where,
            )
    finish(
        figure,
        colours,
        caption,
        height=height * n_rows,
        x={
            "showgrid": False,
            "title": {"text": across, "standoff": 4},
            "constrain": "domain",
            **_whole_steps(max(panel.values.shape[1] for panel in panels)),
        },
        y={
            "showgrid": False,
            "title": {"text": down},
            "autorange": "reversed",
            **_whole_steps(max(panel.values.shape[0] for panel in panels)),
        },
    )
    for number in range(len(panels)):
        row, column = divmod(number, n_columns)
        if column:  # it would lie over the panel beside it, and says the same
            figure.update_yaxes(title_text="", row=row + 1, col=column + 1)
    figure.update_annotations(font={"size": 12})
    return figure.update_layout(margin={"t": 64})


def _whole_steps(n: int) -> dict[str, int]:
    """Return the ticks of an axis of ``n`` cells: few cells would get halves."""
    return {"dtick": 1} if n <= _FEW else {}


def _colour(look: int, colours: Palette) -> str:
    return (colours.kept, colours.pruned, colours.muted, *colours.ticks)[look % 7]


def _whiskers(one: Series, colours: Palette) -> dict[str, Any] | None:
    """Return the error bars of values with a spread."""
    if not one.spread:
        return None
    ends, values = np.asarray(one.spread, np.float64), np.asarray(one.y, np.float64)
    return {
        "type": "data",
        "symmetric": False,
        "array": ends[:, 1] - values,
        "arrayminus": values - ends[:, 0],
        "color": colours.text,
        "thickness": 1.2,
        "width": 4,
    }


def _guess_marker(colours: Palette) -> dict[str, Any]:
    return {
        "symbol": "star-diamond",
        "size": 14,
        "color": colours.background,
        "line": {"width": 2, "color": colours.text},
    }


def _legend(figure: go.Figure, wanted: bool) -> go.Figure:
    if not wanted:
        return figure
    figure.update_layout(
        showlegend=True,
        legend={
            "orientation": "h",
            "x": 0,
            "xanchor": "left",
            "y": 1.0,
            "yanchor": "bottom",
            "traceorder": "normal",
        },
        margin={"t": 66},
    )
    return figure
