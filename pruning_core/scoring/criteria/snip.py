"""Connection sensitivity (SNIP)."""

from torch import Tensor

from pruning_core.granularities import ElementValues
from pruning_core.scoring.criterion import (
    CRITERIA,
    Criterion,
    Evidence,
    PerElementOfNetwork,
    Rates,
)
from pruning_core.scoring.gradients import mean_gradient
from pruning_core.scoring.material import Material


def sensitivities(material: Material) -> ElementValues:
    """Return by parameter the absolute product of weight and mean gradient."""
    gradients = mean_gradient(material)

    def values(name: str) -> Tensor:
        return (material.network.tensor(name).detach() * gradients[name]).abs_()

    return values


CRITERIA.add(
    "snip",
    Criterion(
        key="snip",
        title="Connection sensitivity (SNIP)",
        formula=r"s_u = \sum_{e \in u} \left| w_e \frac{\partial L}{\partial w_e} \right|",
        description="How strongly the loss over all calibration data reacts when single weights "
        "are scaled down. Meant for pruning before training; the paper divides by the sum over "
        "all weights, which changes no ranking.",
        source="Lee et al. 2019, arXiv:1810.02340; for units van Amersfoort et al. 2020, "
        "arXiv:2007.00389",
        needs=frozenset({Evidence.WEIGHTS, Evidence.GRADIENTS}),
        rates=Rates.ELEMENTS,
        rule=PerElementOfNetwork(sensitivities),
    ),
)
