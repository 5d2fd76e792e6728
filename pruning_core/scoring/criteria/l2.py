"""L2 norm."""

import torch

from pruning_core.scoring.criterion import (
    CRITERIA,
    Criterion,
    Evidence,
    PerElement,
    Rates,
)

CRITERIA.add(
    "l2",
    Criterion(
        key="l2",
        title="L2 norm",
        formula=r"s_u = \sqrt{\sum_{e \in u} w_e^2}",
        description="As L1, but one large weight counts for more than many small ones.",
        source="He et al. 2018, arXiv:1808.06866",
        needs=frozenset({Evidence.WEIGHTS}),
        rates=Rates.ELEMENTS,
        rule=PerElement(lambda weight, _: weight.square(), torch.sqrt, power=2),
    ),
)
