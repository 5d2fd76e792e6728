"""Where parameters or multiply-accumulates are, as areas nested like the modules of the model."""

import html
from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from pruning_core.figures import numbers
from pruning_core.figures.canvas import Caption, describe
from pruning_core.figures.palette import Palette
from pruning_core.figures.rows import MAX_ROWS, largest

_ROOT = "model"
_NEARLY_ALL = 0.9


def module_treemap(
    names: Sequence[str],
    values: NDArray[np.int64],
    colours: Palette,
    *,
    quantity: str,
    height: int = 420,
) -> go.Figure:
    """Draw the layers as areas inside the modules they belong to.

    Of more than 512 layers the smallest have no area of their own: they are the free room of the
    module around them, whose size counts them.

    Args:
        names: Module paths.
        values: ``[L]``, not negative; areas are proportional to them.
        colours: Palette of the page.
        quantity: The plural word, e.g. ``parameters``.
        height: In pixels.
    """
    totals = module_totals(names, values)
    drawn = {names[place] for place in largest(values, MAX_ROWS) if values[place]}
    nodes = sorted({around for name in drawn for around in _path(name)})
    around_others = {_parent(name) for name in nodes if name}
    own = {name: name not in around_others for name in nodes}
    whole = max(1, int(values.sum()))
    figure = go.Figure(
        go.Treemap(
            ids=[_identity(name) for name in nodes],
            labels=[numbers.plotly_text(name.rpartition(".")[2] or _ROOT, 40) for name in nodes],
            parents=[_identity(_parent(name)) if name else "" for name in nodes],
            values=[totals[name] for name in nodes],
            branchvalues="total",
            sort=True,
            text=[numbers.percent(totals[name] / whole) for name in nodes],
            customdata=[numbers.path_text(name, 80) for name in nodes],
            textinfo="label+text",
            hovertemplate="%{customdata}: %{value:,} (%{text})<extra></extra>",
            marker={
                "colors": [colours.kept if own[name] else colours.grid for name in nodes],
                "line": {"color": colours.background, "width": 1},
                "pad": {"t": 20, "l": 3, "r": 3, "b": 3},
            },
            textfont={"color": [colours.background if own[n] else colours.text for n in nodes]},
            pathbar={"visible": False},
            tiling={"pad": 1},
        )
    )
    total = numbers.count(int(values.sum()))
    subject = f"Treemap of {quantity} by module, {total} in all"
    describe(figure, colours, Caption(_finding(totals, quantity), subject), height=height)
    return figure


def module_totals(names: Sequence[str], values: NDArray[np.int64]) -> dict[str, int]:
    """Return the sum of each module and everything inside it, by path; ``""`` is the model."""
    totals: dict[str, int] = {}
    for name, value in zip(names, values.tolist(), strict=True):
        for around in _path(name):
            totals[around] = totals.get(around, 0) + value
    return totals


def _finding(totals: dict[str, int], quantity: str) -> str:
    """Say which module holds most; one that holds nearly everything says less than its parts."""
    whole, top = totals.get("", 0), ""
    while True:
        inside = [name for name in totals if name and _parent(name) == top]
        if not inside or not whole:
            break
        top = max(inside, key=lambda name: totals[name])
        if totals[top] < _NEARLY_ALL * whole:
            break
    if not top:
        return f"Where the {quantity} are"
    share = numbers.percent(totals[top] / whole, 0)
    return f"{numbers.path_text(top)} holds {share} of the {quantity}"


def _path(name: str) -> list[str]:
    """Return the module and all that it is in, the whole model first."""
    parts = name.split(".") if name else []
    return [".".join(parts[:depth]) for depth in range(len(parts) + 1)]


def _parent(name: str) -> str:
    return name.rpartition(".")[0]


def _identity(name: str) -> str:
    """Return what identifies a module in the figure; no path begins like that."""
    return f"/{html.escape(name, quote=False)}"
