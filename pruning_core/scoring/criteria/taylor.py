"""First-order Taylor expansion of the loss."""

import torch
from torch import Tensor

from pruning_core.scoring.criterion import (
    CRITERIA,
    Criterion,
    Evidence,
    PerElement,
    Rates,
)


def weight_times_gradient(weight: Tensor, gradient: Tensor | None) -> Tensor:
    """Return the first-order change of the loss when the element becomes zero."""
    return torch.zeros_like(weight) if gradient is None else weight * gradient


CRITERIA.add(
    "taylor",
    Criterion(
        key="taylor",
        title="Taylor (weight x gradient)",
        formula=r"s_u = \frac{1}{B} \sum_b \left(\sum_{e \in u} "
        r"w_e \frac{\partial L_b}{\partial w_e}\right)^2",
        description="The squared change of the loss, to first order, when the whole unit is set "
        "to zero, averaged over B batches.",
        source="Molchanov et al. 2019, arXiv:1906.10771",
        needs=frozenset({Evidence.WEIGHTS, Evidence.GRADIENTS}),
        rates=Rates.ELEMENTS,
        rule=PerElement(weight_times_gradient, torch.square),
    ),
)
