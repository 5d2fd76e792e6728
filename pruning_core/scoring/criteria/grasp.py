"""Gradient signal preservation (GraSP)."""

from typing import Final

from pruning_core.granularities import ElementValues
from pruning_core.scoring.criterion import (
    CRITERIA,
    Criterion,
    Evidence,
    PerElementOfNetwork,
    Rates,
)
from pruning_core.scoring.gradients import hessian_times, mean_gradient
from pruning_core.scoring.material import Material

TEMPERATURE: Final = 200.0


def flow_lost(material: Material) -> ElementValues:
    """Return by parameter the product of weight and Hessian-gradient product."""
    product = hessian_times(material, mean_gradient(material, TEMPERATURE), TEMPERATURE)
    return lambda name: material.network.tensor(name).detach() * product[name]


CRITERIA.add(
    "grasp",
    Criterion(
        key="grasp",
        title="Gradient signal preservation (GraSP)",
        formula=r"s_u = \sum_{e \in u} w_e \, (H g)_e, \quad "
        r"g = \frac{\partial L}{\partial w}, \; H = \frac{\partial^2 L}{\partial w^2}, \; "
        r"L = \mathrm{CE}(z / 200, y)",
        description="Keeps what the flow of gradients through the network depends on: half of how "
        "much the squared gradient norm falls, to first order, when the unit becomes zero. Logits "
        "are divided by a temperature of 200, as in the paper: at 1 the gradients of a trained "
        "network grow when weights that matter leave, so that these would leave first. Meant for "
        "pruning before training; the paper's score has the opposite sign and removes the highest.",
        source="Wang et al. 2020, arXiv:2002.07376",
        needs=frozenset({Evidence.WEIGHTS, Evidence.GRADIENTS}),
        rates=Rates.ELEMENTS,
        rule=PerElementOfNetwork(flow_lost),
    ),
)
