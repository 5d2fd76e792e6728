"""Mean output."""

from torch import Tensor

from pruning_core.scoring.criterion import CRITERIA, Criterion, Evidence, PerActivation, Rates


def as_it_is(activation: Tensor) -> Tensor:
    """Return the activation with its sign."""
    return activation


CRITERIA.add(
    "mean_output",
    Criterion(
        key="mean_output",
        title="Mean output",
        formula=r"s_u = \frac{1}{N} \sum_{i=1}^{N} a_{u,i}",
        description="The mean of what the next layers read from the unit, with its sign: positive "
        "and negative outputs cancel. Behind a ReLU it equals the absolute mean.",
        source="Molchanov et al. 2017, arXiv:1611.06440 (mean activation, a baseline there)",
        needs=frozenset({Evidence.ACTIVATIONS}),
        rates=Rates.UNITS,
        rule=PerActivation(as_it_is),
    ),
)
