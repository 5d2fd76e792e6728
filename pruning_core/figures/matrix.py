"""A layer's weights as one matrix ``[out, in]``, with the mask of what a plan takes away."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from torch import nn

from pruning_core.granularities import GRANULARITIES
from pruning_core.granularities.matrix import matrix as matrix_of
from pruning_core.planning.mixed import Structure
from pruning_core.planning.plan import Plan
from pruning_core.tracing.network import Network

Lines = NDArray[np.int64]
LineOrder = Literal["index", "score", "sum"]
_FEW_INPUTS: Final = 4
_GATES: Final[tuple[tuple[type[nn.Module], tuple[str, ...]], ...]] = (
    (nn.LSTM, ("i", "f", "g", "o")),
    (nn.LSTMCell, ("i", "f", "g", "o")),
    (nn.GRU, ("r", "z", "n")),
    (nn.GRUCell, ("r", "z", "n")),
)


@dataclass(frozen=True, slots=True, eq=False)
class Form:
    """How a parameter is laid out as a matrix.

    Attributes:
        parameter: Full name of the parameter.
        box: Sizes ``(out, in, kernel)``.
        kernel: Sizes of the spatial axes; empty where there are none, or all are one.
        sums_kernels: True where a cell stands for a whole kernel.
        axes: Stored axes that number the rows and the columns; None where several do.
        words: What a row and a column are, e.g. ``("output", "input")``.
        gates: Names of the equal blocks of rows, one a gate; empty where there are none.
    """

    parameter: str
    box: tuple[int, int, int]
    kernel: tuple[int, ...]
    sums_kernels: bool
    axes: tuple[int | None, int | None]
    words: tuple[str, str]
    gates: tuple[str, ...]

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        out, inputs, kernel = self.box
        return out, inputs if self.sums_kernels else inputs * kernel

    @property
    def per_column(self) -> int:
        """Columns for each input: one, or the positions of a kernel."""
        return 1 if self.sums_kernels else self.box[2]


@dataclass(frozen=True, slots=True, eq=False)
class LayerMatrix:
    """What a heatmap of one parameter shows.

    Attributes:
        form: How the parameter is laid out.
        values: ``[out, in]``, magnitudes unless the sign was asked for.
        removed: ``[out, in]``, True where the plan takes the value away.
        value: What a cell is, for the colour bar.
    """

    form: Form
    values: NDArray[np.float32]
    removed: NDArray[np.bool_]
    value: str

    @property
    def parameter(self) -> str:
        """Full name of the parameter."""
        return self.form.parameter


def parameters_of(network: Network, site_layers: tuple[str, ...]) -> tuple[str, ...]:
    """Return the parameters with two or more axes of the layers, in the order of the layers."""
    by_name = {layer.name: layer for layer in network.layers}
    return tuple(
        name
        for layer in site_layers
        if layer in by_name
        for name in by_name[layer].parameters
        if network.tensor(name).ndim >= 2
    )


def form_of(network: Network, parameter: str, *, single_weights: bool) -> Form:
    """Return how ``parameter`` is laid out as a matrix.

    Args:
        network: The traced model.
        parameter: Name of a parameter with at least one axis.
        single_weights: False sums each kernel to one cell where there are more than four inputs;
            True keeps every weight a cell.
    """
    shape = tuple(network.tensor(parameter).shape)
    if parameter in network.weights:
        found = matrix_of(network, parameter)
        kernel = tuple(shape[axis] for axis in found.kernel) if found.box[2] > 1 else ()
        return Form(
            parameter,
            found.box,
            kernel,
            bool(kernel) and found.box[1] > _FEW_INPUTS and not single_weights,
            (_only(found.outputs), _only(found.inputs)),
            ("output", "input"),
            gates(network, parameter),
        )
    rows, columns = (shape[0], prod(shape[1:])) if len(shape) > 1 else (1, shape[0])
    axes = (0 if len(shape) > 1 else None, 1 if len(shape) == 2 else None)
    owner = dict(network.module.named_modules()).get(parameter.rpartition(".")[0])
    is_table = isinstance(owner, nn.Embedding | nn.EmbeddingBag)
    words = ("entry", "feature") if is_table else ("row", "column")
    return Form(parameter, (rows, columns, 1), (), False, axes, words, ())


def gates(network: Network, parameter: str) -> tuple[str, ...]:
    """Return the names of the gates whose rows follow each other in a recurrent weight."""
    owner, _, name = parameter.rpartition(".")
    module = dict(network.module.named_modules()).get(owner)
    if not name.startswith(("weight_ih", "weight_hh")):
        return ()
    return next((names for kind, names in _GATES if isinstance(module, kind)), ())


def layer_matrix(
    network: Network,
    parameter: str,
    plan: Plan | None = None,
    *,
    single_weights: bool,
    signed: bool = False,
) -> LayerMatrix:
    """Return ``parameter`` as a matrix: one row an output, one column an input or weight.

    Args:
        network: The traced model.
        parameter: Name of a parameter with at least one axis.
        plan: What is taken away; None takes nothing.
        single_weights: False sums each kernel to one cell (its L1 norm) where there are more than
            four inputs; True keeps every weight a cell.
        signed: True shows every weight with its sign.
    """
    form = form_of(network, parameter, single_weights=single_weights or signed)
    boxed = _boxed(network, form, network.tensor(parameter).detach().float().numpy())
    values = boxed if signed else np.abs(boxed)
    value = "kernel L1 norm" if form.sums_kernels else "weight" if signed else "|w|"
    cells = values.sum(axis=2) if form.sums_kernels else values.reshape(form.shape)
    return LayerMatrix(form, cells, removed_from(network, form, plan), value)


def removed_from(network: Network, form: Form, plan: Plan | None) -> NDArray[np.bool_]:
    """Return ``[out, in]`` what leaves with units and branches, or becomes zero."""
    if plan is None:
        return np.zeros(form.shape, np.bool_)
    removed = ~Structure.of(network, [plan]).survivors(network, form.parameter)
    mask = _mask(network, plan, form.parameter)
    boxed = _boxed(network, form, removed if mask is None else removed | ~mask)
    whole = np.all(boxed, axis=2) if form.sums_kernels else boxed
    return np.reshape(whole, form.shape)


def kernel_of(network: Network, form: Form, row: int, column: int) -> NDArray[np.float32]:
    """Return the weights between one output and one input, in the shape of the kernel."""
    boxed = _boxed(network, form, network.tensor(form.parameter).detach().float().numpy())
    kernel: NDArray[np.float32] = boxed[row, column].reshape(form.kernel)
    return kernel


def line_order(
    network: Network,
    form: Form,
    axis: Literal[0, 1],
    by: LineOrder,
    sums: NDArray[np.float32],
    unit_scores: Mapping[str, NDArray[np.float32]],
) -> Lines:
    """Return in which order to draw the rows or columns: the highest first.

    Lines of one unit (its gates) and of one input (the positions of its kernel) keep together.

    Args:
        network: The traced model.
        form: Layout of the parameter.
        axis: 0 for rows, 1 for columns.
        by: As stored, by the scores of the units the lines belong to (those of no unit come last),
            or by the sums of the lines.
        sums: ``[L]`` sum of each line.
        unit_scores: Scores of the units of each group; without them scores are the sums.
    """
    n_lines = form.shape[axis]
    if by == "index":
        return np.arange(n_lines)
    blocks, per = (max(1, len(form.gates)), 1) if axis == 0 else (1, form.per_column)
    key = sums.reshape(blocks, -1, per).sum(axis=(0, 2), dtype=np.float64)
    stored = form.axes[axis]
    if by == "score" and stored is not None and unit_scores:
        of_unit = np.concatenate([unit_scores[group.name] for group in network.groups])
        along = network.analysis.units_along(form.parameter, stored)
        rated = np.where(along < 0, -np.inf, of_unit[along])
        key = rated.reshape(blocks, -1).max(axis=0) if axis == 0 else rated
    order = np.argsort(-key, kind="stable")
    lines = np.arange(n_lines).reshape(blocks, -1, per)[:, order]
    return lines.reshape(-1)


def _mask(network: Network, plan: Plan, parameter: str) -> NDArray[np.bool_] | None:
    """Return which elements of one parameter are not set to zero; None when it has no mask."""
    found: NDArray[np.bool_] | None = None
    for part in plan.recipe.parts.values():
        granularity = GRANULARITIES[part.granularity]
        if granularity.mask is None:
            continue
        kept = plan.part(part.granularity)
        for site in granularity.sites(network):
            if site.parameter == parameter:
                mask = granularity.mask(network, site, kept[site.name])
                found = mask if found is None else found & mask
    return found


def _boxed(network: Network, form: Form, values: NDArray[np.generic]) -> NDArray[Any]:
    if form.parameter in network.weights:
        return matrix_of(network, form.parameter).boxed(values)
    return values.reshape(form.box)


def _only(axes: tuple[int, ...]) -> int | None:
    return axes[0] if len(axes) == 1 else None
