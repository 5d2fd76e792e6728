"""One parameter as it is looked at: laid out, put in order, cut to a window and pooled."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pruning_core.figures.heatmap import finding
from pruning_core.figures.matrix import (
    Form,
    LineOrder,
    Lines,
    form_of,
    layer_matrix,
    line_order,
    removed_from,
)
from pruning_core.figures.raster import Arrangement, Raster, Window, covered, rasterise
from pruning_core.planning.plan import Plan
from pruning_core.tracing.network import Network


@dataclass(frozen=True, slots=True)
class Look:
    """How a parameter is looked at.

    Attributes:
        single_weights: True where a cell should never stand for a whole kernel.
        signed: True for weights with their sign.
        rows: Order of the rows.
        columns: Order of the columns.
        window: The part that is looked at; None for everything.
    """

    single_weights: bool = False
    signed: bool = False
    rows: LineOrder = "index"
    columns: LineOrder = "index"
    window: Window | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Portrait:
    """A parameter ready to be drawn; what a plan takes of it is added by :meth:`covered_by`.

    Attributes:
        form: How it is laid out.
        raster: The numbers of the picture.
        arrangement: The order of rows and columns.
        value: What a cell is.
    """

    form: Form
    raster: Raster
    arrangement: Arrangement
    value: str

    def covered_by(self, network: Network, plan: Plan) -> tuple[NDArray[np.uint8] | None, str]:
        """Return what leaves of each cell, and that in a sentence; see :func:`raster.covered`."""
        removed = removed_from(network, self.form, plan)
        gone = covered(removed, self.arrangement, self.raster.window)
        if not removed.any():
            return None, self.raster.title
        return gone, finding(self.raster.cells, removed, self.value)


def portrait(
    network: Network,
    parameter: str,
    look: Look,
    unit_scores: Mapping[str, NDArray[np.float32]],
) -> Portrait:
    """Return ``parameter`` of ``network`` as it is looked at.

    Args:
        network: The traced model.
        parameter: Name of a parameter with at least one axis.
        look: Layout, order and window; a window outside is moved inside.
        unit_scores: Scores of the units of each group, for orders by score; may be empty.
    """
    matrix = layer_matrix(
        network, parameter, single_weights=look.single_weights, signed=look.signed
    )
    form = matrix.form

    def order(axis: Literal[0, 1], by: LineOrder) -> Lines | None:
        if by == "index":
            return None
        sums = np.abs(matrix.values).sum(axis=1 - axis)
        return line_order(network, form, axis, by, sums, unit_scores)

    arrangement = Arrangement(order(0, look.rows), order(1, look.columns))
    window = look.window and Window.within(form.shape, look.window.rows, look.window.columns)
    return Portrait(
        form, rasterise(matrix.values, matrix.value, arrangement, window), arrangement, matrix.value
    )


def largest(network: Network, *, kernels: bool) -> float:
    """Return the largest magnitude of all weights, or of all L1 norms of kernels; 0 for none."""
    found = [0.0]
    for name in network.weights:
        if form_of(network, name, single_weights=False).sums_kernels or not kernels:
            matrix = layer_matrix(network, name, single_weights=not kernels)
            found.append(float(matrix.values.max()))
    return max(found)
