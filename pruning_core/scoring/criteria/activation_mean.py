"""Mean size of the activations."""

import torch

from pruning_core.scoring.criterion import CRITERIA, Criterion, Evidence, PerActivation, Rates

CRITERIA.add(
    "activation_mean",
    Criterion(
        key="activation_mean",
        title="Activation mean (absolute)",
        formula=r"s_u = \frac{1}{N} \sum_{i=1}^{N} |a_{u,i}|",
        description="The mean size of what the next layers read from the unit, over all samples "
        "and positions; after normalisation and ReLU where there are such.",
        source="Molchanov et al. 2017, arXiv:1611.06440 (compared there as a baseline)",
        needs=frozenset({Evidence.ACTIVATIONS}),
        rates=Rates.UNITS,
        rule=PerActivation(torch.abs),
    ),
)
