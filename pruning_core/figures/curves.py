"""Loss and accuracy over the epochs of a run."""

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from pruning_core.figures import numbers
from pruning_core.figures.canvas import Caption, finish
from pruning_core.figures.palette import Palette
from pruning_core.tasks import ACCURACY, Metric

_DASHES = ("dot", "dash", "dashdot")
_CLOSEST_LABELS = 0.06


def loss_curves(
    training: NDArray[np.float64],
    validation: NDArray[np.float64],
    n_epochs: int,
    colours: Palette,
    *,
    name: str = "cross-entropy",
) -> go.Figure:
    """Draw training and validation loss of the epochs ``[E]`` that are done, of ``n_epochs``.

    ``name`` says what the loss is.
    """
    figure = _two_curves(training, validation, colours, hover="%{y:.4f}")
    finish(
        figure,
        colours,
        Caption(_finding("loss", validation, "{:.3f}"), "Loss over epochs"),
        height=280,
        x=_epoch_axis(n_epochs),
        y={"title": {"text": f"loss ({name})"}, "rangemode": "tozero"},
    )
    return _with_legend(figure)


def accuracy_curves(
    training: NDArray[np.float64],
    validation: NDArray[np.float64],
    n_epochs: int,
    colours: Palette,
    *,
    levels: Mapping[str, float] | None = None,
    metric: Metric = ACCURACY,
) -> go.Figure:
    """Draw training and validation accuracy (shares of one), with ``levels`` as labelled lines.

    Args:
        training: ``[E]``.
        validation: ``[E]``.
        n_epochs: Length of the axis.
        colours: Palette of the page.
        levels: Accuracies to compare with, e.g. ``{"dense": 0.91}``.
        metric: What is drawn instead of the accuracy.
    """
    scale = metric.scaled(1.0)
    figure = _two_curves(scale * training, scale * validation, colours, hover=metric.hover)
    _add_levels(figure, levels or {}, colours, metric)
    finish(
        figure,
        colours,
        Caption(
            _finding(metric.name, scale * validation, "{:.1f} %" if metric.unit else "{:.4g}"),
            f"{metric.capital} over epochs",
        ),
        height=280,
        x=_epoch_axis(n_epochs),
        y={"title": {"text": metric.axis}},
    )
    figure.update_layout(margin={"r": 90} if levels else {})
    return _with_legend(figure)


def _finding(name: str, validation: NDArray[np.float64], form: str) -> str:
    """Say how far it is."""
    if not validation.size:
        return "No epoch is finished yet"
    return f"Validation {name} {form.format(validation[-1])} after epoch {validation.size}"


def _add_levels(
    figure: go.Figure, levels: Mapping[str, float], colours: Palette, metric: Metric
) -> None:
    """Add lines to compare with, each with its name and value beside it."""
    for index, level in enumerate(levels.values()):
        figure.add_hline(
            y=metric.scaled(level),
            line={"color": colours.muted, "width": 1.5, "dash": _DASHES[index % len(_DASHES)]},
        )
    largest = max(map(abs, levels.values()), default=0.0)
    digits = 1 if metric.unit else 3
    closest = _CLOSEST_LABELS if metric.unit else _CLOSEST_LABELS * largest
    for names, level in _labels(levels, closest):
        figure.add_annotation(
            text="<br>".join(
                f"{numbers.plotly_text(n)} {metric.text(levels[n], digits)}" for n in names
            ),
            align="left",
            x=1.01,
            xref="paper",
            xanchor="left",
            y=metric.scaled(level),
            showarrow=False,
            font={"size": 11, "color": colours.text},
        )


def _labels(
    levels: Mapping[str, float], closest: float = _CLOSEST_LABELS
) -> list[tuple[list[str], float]]:
    """Join the names of levels that lie too close for two labels, with the height of the label."""
    joined: list[tuple[list[str], float]] = []
    for name, level in sorted(levels.items(), key=lambda item: item[1]):
        if joined and level - joined[-1][1] < closest:
            names = [name, *joined[-1][0]]
            joined[-1] = (names, sum(levels[n] for n in names) / len(names))
        else:
            joined.append(([name], level))
    return joined


def _two_curves(
    training: NDArray[np.float64],
    validation: NDArray[np.float64],
    colours: Palette,
    *,
    hover: str,
) -> go.Figure:
    """Draw both series, told apart by colour, dash, marker and a legend."""
    figure = go.Figure()
    series: Sequence[tuple[str, NDArray[np.float64], str, str, str]] = (
        ("training", training, colours.muted, "dash", "circle-open"),
        ("validation", validation, colours.kept, "solid", "circle"),
    )
    for name, values, colour, dash, symbol in series:
        figure.add_scatter(
            x=np.arange(1, values.size + 1),
            y=values,
            name=name,
            mode="lines+markers",
            line={"color": colour, "dash": dash, "width": 2},
            marker={"symbol": symbol, "size": 7},
            hovertemplate=f"epoch %{{x}}: {hover}<extra>{name}</extra>",
        )
    return figure


def _epoch_axis(n_epochs: int) -> dict[str, object]:
    """Return an axis with whole epochs that does not grow while the run goes on."""
    last = max(n_epochs, 1)
    return {
        "title": {"text": "epoch"},
        "range": [0.6, last + 0.4],
        "dtick": max(1, round(last / 10)),
        "tick0": 1,
    }


def _with_legend(figure: go.Figure) -> go.Figure:
    """Put the names of the series in a row above the plot."""
    return figure.update_layout(
        showlegend=True,
        legend={"orientation": "h", "x": 0, "xanchor": "left", "y": 1.0, "yanchor": "bottom"},
        margin={"t": 58},
    )
