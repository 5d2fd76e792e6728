"""Weight times activation norm (Wanda)."""

import torch
from torch import Tensor

from pruning_core.errors import UnsupportedModelError
from pruning_core.granularities import ElementValues
from pruning_core.scoring.criterion import (
    CRITERIA,
    Criterion,
    Evidence,
    PerElementOfNetwork,
    Rates,
)
from pruning_core.scoring.material import Material
from pruning_core.scoring.reading import Read, reader, see_activations


def weights_times_inputs(material: Material) -> ElementValues:
    """Return by weight its magnitude times the norm of the input it multiplies."""
    squares: dict[tuple[str, int], Tensor] = {}

    def see(read: Read, activation: Tensor, axis: int) -> None:
        if read.weight is not None:
            others = [other for other in range(activation.ndim) if other != axis]
            along = activation.square().sum(others).double()
            squares[read.weight] = squares.get(read.weight, torch.zeros(1)) + along

    read_by = reader(material.network, lambda read: read.weight is not None)
    see_activations(read_by, material.batches(), see)
    norms = {name: (axis, total.sqrt()) for (name, axis), total in squares.items()}

    def values(name: str) -> Tensor:
        if name not in norms:
            raise UnsupportedModelError(
                f"It cannot be told what the weight '{name}' is multiplied by, so Wanda cannot "
                "rate it. Choose another criterion than 'wanda'."
            )
        weight = material.network.tensor(name).detach().abs()
        return weight * _spread(*norms[name], weight)

    return values


def _spread(axis: int, norms: Tensor, weight: Tensor) -> Tensor:
    """Return the norms ``[C]`` in a shape that multiplies the weight.

    In a grouped convolution the rows of each group read channels of their own.
    """
    size = weight.shape[axis]
    if len(norms) == size:
        return norms.reshape([-1 if other == axis else 1 for other in range(weight.ndim)])
    n_groups = len(norms) // size
    rows = norms.reshape(n_groups, size).repeat_interleave(len(weight) // n_groups, dim=0)
    return rows.reshape(*rows.shape, *[1] * (weight.ndim - 2))


CRITERIA.add(
    "wanda",
    Criterion(
        key="wanda",
        title="Weight x input norm (Wanda)",
        formula=r"s_{ij} = |w_{ij}| \cdot \lVert x_j \rVert_2",
        description="The magnitude of a weight times the norm of the input channel it multiplies, "
        "over all samples and positions. The paper compares weights within an output row; here "
        "they are compared as the plan says.",
        source="Sun et al. 2024, arXiv:2306.11695",
        needs=frozenset({Evidence.WEIGHTS, Evidence.ACTIVATIONS}),
        rates=Rates.WEIGHTS,
        rule=PerElementOfNetwork(weights_times_inputs),
    ),
)
