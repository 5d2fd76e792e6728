"""Norm of the gradient."""

import torch
from torch import Tensor

from pruning_core.scoring.criterion import (
    CRITERIA,
    Criterion,
    Evidence,
    PerElement,
    Rates,
)


def squared_gradient(weight: Tensor, gradient: Tensor | None) -> Tensor:
    """Return the squared gradient; a parameter that the loss does not reach has none."""
    return torch.zeros_like(weight) if gradient is None else gradient.square()


CRITERIA.add(
    "gradient_norm",
    Criterion(
        key="gradient_norm",
        title="Gradient norm",
        formula=r"s_u = \frac{1}{B} \sum_b \sqrt{\sum_{e \in u} "
        r"\left(\frac{\partial L_b}{\partial w_e}\right)^2}",
        description="How steeply the loss reacts to the unit's weights, averaged over B batches.",
        source="Molchanov et al. 2019, arXiv:1906.10771 (compared there as a baseline)",
        needs=frozenset({Evidence.WEIGHTS, Evidence.GRADIENTS}),
        rates=Rates.ELEMENTS,
        rule=PerElement(squared_gradient, torch.sqrt),
    ),
)
