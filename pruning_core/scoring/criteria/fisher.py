"""Diagonal of the empirical Fisher matrix (optimal brain damage)."""

import torch
from torch import Tensor

from pruning_core.scoring.criterion import CRITERIA, Criterion, Evidence, PerElement, Rates


def saliency(weight: Tensor, gradient: Tensor | None) -> Tensor:
    """Return half of ``(w g)^2``: the second-order change of the loss with g^2 as curvature."""
    return torch.zeros_like(weight) if gradient is None else (weight * gradient).square_().div_(2)


CRITERIA.add(
    "fisher",
    Criterion(
        key="fisher",
        title="Fisher diagonal (optimal brain damage)",
        formula=r"s_u = \sum_{e \in u} \frac{w_e^2}{2} \cdot \frac{1}{B} \sum_b "
        r"\left(\frac{\partial L_b}{\partial w_e}\right)^2",
        description="The change of the loss, to second order, with the mean squared gradient of B "
        "batches in place of the curvature. Batches of one sample give the empirical Fisher "
        "information itself.",
        source="LeCun et al. 1989 (optimal brain damage); Theis et al. 2018, arXiv:1801.05787",
        needs=frozenset({Evidence.WEIGHTS, Evidence.GRADIENTS}),
        rates=Rates.ELEMENTS,
        rule=PerElement(saliency),
    ),
)
