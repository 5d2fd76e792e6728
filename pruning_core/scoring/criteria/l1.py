"""L1 norm."""

from pruning_core.scoring.criterion import (
    CRITERIA,
    Criterion,
    Evidence,
    PerElement,
    Rates,
)

CRITERIA.add(
    "l1",
    Criterion(
        key="l1",
        title="L1 norm",
        formula=r"s_u = \sum_{e \in u} |w_e|",
        description="Small weights contribute little. For a single weight this is its magnitude.",
        source="Han et al. 2015, arXiv:1506.02626; Li et al. 2017, arXiv:1608.08710",
        needs=frozenset({Evidence.WEIGHTS}),
        rates=Rates.ELEMENTS,
        rule=PerElement(lambda weight, _: weight.abs(), power=1),
    ),
)
