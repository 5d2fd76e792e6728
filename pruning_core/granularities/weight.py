"""Single weights: the finest granularity; pruned weights become zero, shapes stay."""

from collections.abc import Iterator

from torch import Tensor

from pruning_core.granularities.granularity import (
    GRANULARITIES,
    Combine,
    Elements,
    Granularity,
    Keep,
    Site,
)
from pruning_core.granularities.masking import site_of
from pruning_core.granularities.matrix import matrices
from pruning_core.tracing.network import Network


def sites(network: Network) -> tuple[Site, ...]:
    """Return one site for each parameter that a matrix product or convolution reads."""
    return tuple(
        site_of(found, "weight", network.tensor(found.parameter).numel())
        for found in matrices(network)
    )


def gather(
    network: Network,  # noqa: ARG001
    site: Site,
    values: Elements,
    combine: Combine,  # noqa: ARG001
) -> Iterator[Tensor]:
    """Every element is a unit of its own, in the order of the flattened parameter."""
    yield values.of(site.parameter).flatten()


def mask(network: Network, site: Site, keep: Keep) -> Keep:
    """Give what stays the shape of the parameter."""
    return keep.reshape(network.tensor(site.parameter).shape)


GRANULARITIES.add(
    "weight",
    Granularity(
        key="weight",
        title="Weights",
        description="Sets single weights to zero. Finest choice, highest accuracy at a given "
        "number of non-zeros; shapes, MACs and the dense file stay as they are.",
        coarseness=0,
        removes=False,
        sites=sites,
        gather=gather,
        mask=mask,
        single_weights=True,
    ),
)
