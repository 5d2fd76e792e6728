"""Random scores: the control every criterion has to beat."""

import torch

from pruning_core.scoring.criterion import CRITERIA, Criterion, Drawn, Rates

CRITERIA.add(
    "random",
    Criterion(
        key="random",
        title="Random",
        formula=r"s_u \sim \mathcal{U}(0, 1)",
        description="The control: a criterion that is no better than this one tells nothing.",
        source="Blalock et al. 2020, arXiv:2003.03033",
        needs=frozenset(),
        rates=Rates.ELEMENTS,
        rule=Drawn(lambda n_units, generator: torch.rand(n_units, generator=generator)),
    ),
)
