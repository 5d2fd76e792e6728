"""Largest weight."""

from pruning_core.granularities import Combine
from pruning_core.scoring.criterion import CRITERIA, Criterion, Evidence, PerElement, Rates

CRITERIA.add(
    "linf",
    Criterion(
        key="linf",
        title="Largest weight (L-infinity)",
        formula=r"s_u = \max_{e \in u} |w_e|",
        description="A unit is worth as much as its largest weight. For a single weight this is "
        "its magnitude.",
        source="Torch-Pruning and NNI offer it beside L1 and L2; no paper of its own",
        needs=frozenset({Evidence.WEIGHTS}),
        rates=Rates.ELEMENTS,
        rule=PerElement(lambda weight, _: weight.abs(), combine=Combine.MAX, power=1),
    ),
)
