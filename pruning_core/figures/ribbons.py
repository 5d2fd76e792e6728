"""The shape of a network: one ribbon a layer, as wide as the outputs that are left."""

from collections.abc import Sequence
from dataclasses import dataclass
from string import ascii_uppercase

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from pruning_core.figures import numbers
from pruning_core.figures.canvas import Caption, finish
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
from pruning_core.granularities.matrix import Matrix, matrices
from pruning_core.planning.mixed import Structure
from pruning_core.planning.plan import Plan
from pruning_core.tracing.analysis import staying
from pruning_core.tracing.network import Network

_HALF = 0.36


@dataclass(frozen=True, slots=True)
class Ribbon:
    """How wide one weight is.

    Attributes:
        name: Module path of its layer; the parameter's where a layer has several.
        parameter: Full name of the weight.
        layer: Module path of its layer.
        dense: Outputs it has.
        kept: Outputs that are left: not removed, and with at least one weight that stays.
        group: Name of the coupled group its outputs belong to; empty when they always stay.
    """

    name: str
    parameter: str
    layer: str
    dense: int
    kept: int
    group: str


def ribbons_of(network: Network, plan: Plan) -> tuple[Ribbon, ...]:
    """Return the ribbon of every weight that a product reads, in execution order."""
    structure, masks = Structure.of(network, [plan]), plan.masks(network)
    groups = {
        (member.parameter, member.axis): group.name
        for group in network.groups
        for member in group.members
    }
    found = []
    for weight in matrices(network):
        own = [
            groups[key] for axis in weight.outputs if (key := (weight.parameter, axis)) in groups
        ]
        kept = _kept(network, structure, weight)
        mask = masks.get(weight.parameter)
        if mask is not None and not mask.all():
            alive = (
                mask
                if kept == weight.box[0]
                else mask & structure.survivors(network, weight.parameter)
            )
            kept = int(weight.boxed(alive).any(axis=(1, 2)).sum())
        found.append(
            Ribbon(weight.site, weight.parameter, weight.owner, weight.box[0], kept, (*own, "")[0])
        )
    return tuple(found)


def _kept(network: Network, structure: Structure, weight: Matrix) -> int:
    """Return how many outputs of a weight are not removed."""
    if weight.parameter in structure.gone:
        return 0
    left = 1
    for axis in weight.outputs:
        units = network.analysis.units_along(weight.parameter, axis)
        left *= int(np.count_nonzero(staying(units, structure.keep)))
    return left


def letters(ribbons: Sequence[Ribbon]) -> dict[str, str]:
    """Return a letter for each group that two layers or more share, as in the table of layers."""
    layers: dict[str, set[str]] = {}
    for ribbon in ribbons:
        layers.setdefault(ribbon.group, set()).add(ribbon.layer)
    shared = [name for name, owners in layers.items() if name and len(owners) > 1]
    return {name: _letter(number) for number, name in enumerate(shared)}


def _letter(number: int) -> str:
    """Return A to Z, then AA, AB, ..."""
    more, place = divmod(number, len(ascii_uppercase))
    return (_letter(more - 1) if more else "") + ascii_uppercase[place]


def network_ribbons(
    everything: Sequence[Ribbon],
    colours: Palette,
    *,
    log: bool,
    selected: int | None = None,
    shown: range | None = None,
) -> go.Figure:
    """Draw each layer as a bar around the middle: what stays, what leaves, the dense outline.

    Args:
        everything: One for each layer, in the order of execution.
        colours: Palette of the page.
        log: True draws equal factors as equal steps.
        selected: The layer that is marked.
        shown: The layers that are drawn; None draws all. The title speaks of all of them.
    """
    figure = go.Figure()
    shown = shown or range(len(everything))
    ribbons = [everything[row] for row in shown]
    dense, kept = (
        _halves([getattr(ribbon, name) for ribbon in ribbons], everything, log=log)
        for name in ("dense", "kept")
    )
    rows = range(len(ribbons))
    stays = [_box(-kept[row], kept[row], row) for row in rows if ribbons[row].kept]
    narrowed = [row for row in rows if ribbons[row].kept < ribbons[row].dense]
    leaves = [
        _box(dense[row] * side, kept[row] * side, row) for row in narrowed for side in (-1, 1)
    ]
    hatch = hatching(colours)
    add_outlines(figure, stays, "stays", fillcolor=colours.kept, line={"width": 0})
    add_outlines(figure, leaves, "leaves", fillpattern=hatch, line={"width": 0})
    outline = {"width": 1, "color": colours.muted, "dash": "dot"}
    outlines = [_box(-dense[row], dense[row], row) for row in rows]
    add_outlines(figure, outlines, "dense", fillcolor="rgba(0,0,0,0)", line=outline)
    names = letters(everything)
    _add_ticks(figure, ribbons, names, colours)
    add_row_texts(figure, 1.04, [f"{ribbon.kept:,} of {ribbon.dense:,}" for ribbon in ribbons])
    add_targets(figure, -1.16, 1.3, [_hover(ribbon, names) for ribbon in ribbons])
    scale = "logarithmic" if log else "linear"
    finish(
        figure,
        colours,
        Caption(
            _finding(everything),
            f"Widths of {len(ribbons)} layers in execution order, dense and planned",
        ),
        height=96 + (ROW + 2) * max(len(ribbons), 3),
        x={
            "title": {"text": f"outputs of each layer ({scale})"},
            "range": [-1.16, 1.3],
            "showticklabels": False,
            "showgrid": False,
            "fixedrange": True,
        },
        y=rows_axis(
            names_of([ribbon.name for ribbon in ribbons]),
            row_of(selected, shown),
        ),
    )
    return legend_above(keep_looks(figure, colours))


def _halves(counts: Sequence[int], ribbons: Sequence[Ribbon], *, log: bool) -> NDArray[np.float64]:
    """Return half of each width; the widest layer has 1."""
    widest = max(ribbon.dense for ribbon in ribbons)
    values = np.array(counts, np.float64)
    halves: NDArray[np.float64] = np.log1p(values) / np.log1p(widest) if log else values / widest
    return halves


def _box(left: float, right: float, row: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    top, bottom = row - _HALF, row + _HALF
    return np.array([left, right, right, left, left]), np.array([top, top, bottom, bottom, top])


def _add_ticks(
    figure: go.Figure, ribbons: Sequence[Ribbon], names: dict[str, str], colours: Palette
) -> None:
    """Put square and letter of its group beside each ribbon whose outputs others share."""
    rows = [row for row, ribbon in enumerate(ribbons) if ribbon.group in names]
    if not rows:
        return
    order = list(names)
    numbers_of = [order.index(ribbons[row].group) for row in rows]
    figure.add_scatter(
        x=np.full(len(rows), -1.12, np.float32),
        y=np.array(rows, np.int32),
        mode="markers+text",
        text=[names[ribbons[row].group] for row in rows],
        textposition="middle right",
        textfont={"size": 12},
        marker={
            "symbol": "square",
            "size": 10,
            "color": [colours.ticks[number % len(colours.ticks)] for number in numbers_of],
        },
        hoverinfo="skip",
        showlegend=False,
        cliponaxis=False,
    )


def _hover(ribbon: Ribbon, names: dict[str, str]) -> str:
    name = numbers.path_text(ribbon.name, 60)
    tick = f"<br>coupled group {names[ribbon.group]}" if ribbon.group in names else ""
    locked = "" if ribbon.group else "<br>its outputs always stay"
    return f"{name}: {ribbon.kept:,} of {ribbon.dense:,} outputs{tick}{locked}"


def _finding(ribbons: Sequence[Ribbon]) -> str:
    """Say how many outputs are left."""
    dense = sum(ribbon.dense for ribbon in ribbons)
    kept = sum(ribbon.kept for ribbon in ribbons)
    if kept == dense:
        return f"All {numbers.count(dense)} outputs of {len(ribbons)} layers stay"
    least = min(ribbons, key=lambda ribbon: ribbon.kept / ribbon.dense)
    return (
        f"{numbers.percent(kept / dense)} of the outputs stay, fewest in "
        f"{numbers.path_text(least.name)}: {least.kept:,} of {least.dense:,}"
    )
