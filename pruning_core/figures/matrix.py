"""A layer's weights as one matrix ``[out, in]``, with the mask of what a plan takes away."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pruning_core.planning.mixed import Structure
from pruning_core.planning.plan import Plan
from pruning_core.tracing.network import Network

_FEW_INPUTS = 4


@dataclass(frozen=True, slots=True, eq=False)
class LayerMatrix:
    """What a heatmap of one parameter shows.

    Attributes:
        parameter: Full name of the parameter.
        values: ``[out, in]``, magnitudes, not negative.
        removed: ``[out, in]``, True where the plan takes the value away.
        value: What a cell is, for the colour bar.
    """

    parameter: str
    values: NDArray[np.float32]
    removed: NDArray[np.bool_]
    value: str


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


def layer_matrix(
    network: Network, parameter: str, plan: Plan | None = None, *, single_weights: bool
) -> LayerMatrix:
    """Return ``parameter`` as a matrix: one row an output, one column an input or weight.

    Args:
        network: The traced model.
        parameter: Name of a parameter with at least one axis.
        plan: What is taken away; None takes nothing.
        single_weights: False sums each kernel to one cell (its L1 norm) where there are more than
            four inputs; True keeps every weight a cell.
    """
    tensor = network.tensor(parameter).detach()
    magnitudes: NDArray[np.float32] = np.abs(tensor.float().numpy())
    removed = np.zeros(magnitudes.shape, np.bool_)
    if plan is not None:
        removed = _removed(network, plan, parameter)
    rows = magnitudes.shape[0] if magnitudes.ndim > 1 else 1
    kernels = magnitudes.ndim > 2 and magnitudes.shape[1] > _FEW_INPUTS and not single_weights
    if kernels:
        shape = (rows, magnitudes.shape[1], -1)
        values = magnitudes.reshape(shape).sum(axis=2)
        return LayerMatrix(
            parameter, values, np.all(removed.reshape(shape), axis=2), "kernel L1 norm"
        )
    return LayerMatrix(parameter, magnitudes.reshape(rows, -1), removed.reshape(rows, -1), "|w|")


def _removed(network: Network, plan: Plan, parameter: str) -> NDArray[np.bool_]:
    """Return what leaves with units and branches, or becomes zero."""
    removed = ~Structure.of(network, [plan]).survivors(network, parameter)
    mask = plan.masks(network).get(parameter)
    return removed if mask is None else removed | ~mask
