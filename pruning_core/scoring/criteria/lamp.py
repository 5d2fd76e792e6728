"""Layer-adaptive magnitude (LAMP)."""

import torch
from torch import Tensor

from pruning_core.scoring.criterion import CRITERIA, Criterion, Evidence, PerElement, Rates


def share_of_the_larger(squares: Tensor) -> Tensor:
    """Return each ``[U]`` square divided by the sum of those that would leave with or after it.

    Equal squares leave in the order of their index.
    """
    ascending, order = squares.double().sort(stable=True)
    sum_from_here = ascending.flip(0).cumsum(0).flip(0)
    shares = torch.empty_like(ascending)
    shares[order] = ascending / sum_from_here.clamp_min(torch.finfo(torch.float64).tiny)
    return shares


CRITERIA.add(
    "lamp",
    Criterion(
        key="lamp",
        title="Layer-adaptive magnitude (LAMP)",
        formula=r"s_u = \frac{q_u}{\sum_{v: q_v \ge q_u} q_v}, \quad q_u = \sum_{e \in u} w_e^2",
        description="The squared norm as a share of what would be left of the layer. Ranked over "
        "all layers it chooses each layer's share by itself, and the last unit of a layer scores "
        "1, so that none is emptied.",
        source="Lee et al. 2021, arXiv:2010.07611; for units as in Torch-Pruning",
        needs=frozenset({Evidence.WEIGHTS}),
        rates=Rates.ELEMENTS,
        rule=PerElement(lambda weight, _: weight.square(), share_of_the_larger),
    ),
)
