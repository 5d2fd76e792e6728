"""Single weights: the finest granularity; pruned weights become zero, shapes stay."""

from collections import Counter

from torch import Tensor

from pruning_core.granularities.granularity import (
    GRANULARITIES,
    Combine,
    ElementValues,
    Granularity,
    Site,
)
from pruning_core.tracing.network import Network


def sites(network: Network) -> tuple[Site, ...]:
    """Return one site for each parameter that a matrix product or convolution reads."""
    owners = Counter(name.rpartition(".")[0] for name in network.weights)
    found = []
    for name in network.weights:
        owner = name.rpartition(".")[0]
        short = owner if owner and owners[owner] == 1 else name
        found.append(Site(short, "weight", network.tensor(name).numel(), owner, (owner,), name))
    return tuple(found)


def gather(
    network: Network,  # noqa: ARG001
    site: Site,
    values: ElementValues,
    combine: Combine,  # noqa: ARG001
) -> Tensor:
    """Every element is a unit of its own, in the order of the flattened parameter."""
    return values(site.parameter).reshape(1, -1)


GRANULARITIES.add(
    "weight",
    Granularity(
        key="weight",
        title="Weights",
        description="Sets single weights to zero. Finest choice, highest accuracy at a given "
        "number of non-zeros; shapes, MACs and the dense file stay as they are.",
        removes=False,
        sites=sites,
        gather=gather,
    ),
)
