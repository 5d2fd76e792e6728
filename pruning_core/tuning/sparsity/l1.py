"""L1 on weights."""

from pruning_core.tracing.network import Network
from pruning_core.tuning.penalty import PENALTIES, Elements, Parameters, Penalty


def weights(network: Network, parameters: Parameters) -> Elements:
    """Penalise every weight that a product or convolution reads, but no bias."""
    return Elements([parameters[name] for name in network.weights if name in parameters])


PENALTIES.add(
    "l1",
    Penalty(
        key="l1",
        title="Weights (L1)",
        formula=r"\lambda \sum_i |w_i|",
        description="Pulls every weight of linear and convolution layers towards zero by the same "
        "amount: those the loss does not defend end at exactly zero.",
        source="Tibshirani 1996; proximal steps: Parikh and Boyd 2014, doi:10.1561/2400000003",
        things="weights",
        size="magnitude",
        usual=1e-4,
        bind=weights,
    ),
)
