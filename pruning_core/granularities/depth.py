"""Residual branches: whole blocks and Transformer layers that may be skipped (depth pruning)."""

from collections.abc import Iterator

import torch
from torch import Tensor

from pruning_core.granularities.granularity import (
    GRANULARITIES,
    Combine,
    Elements,
    Granularity,
    Site,
)
from pruning_core.tracing.network import Network

KEY = "depth"
SITE = "branches"
"""The one site; no granularity but this one has a site for the whole network."""


def sites(network: Network) -> tuple[Site, ...]:
    """Return one site for the whole network, if there are two branches or more."""
    branches = network.branches
    if len(branches) < 2:
        return ()
    owners = {layer for branch in branches for layer in branch.layers}
    layers = tuple(layer.name for layer in network.layers if layer.name in owners)
    names = tuple(branch.name for branch in branches)
    return (Site(SITE, "branch", len(branches), "", layers, unit_names=names),)


def gather(
    network: Network,
    site: Site,  # noqa: ARG001
    values: Elements,
    combine: Combine,
) -> Iterator[Tensor]:
    """Combine over all parameters of each branch."""
    known, totals = set(network.cost.parameters), []
    for branch in network.branches:
        own = [values.of(name).flatten() for name in branch.tensors if name in known]
        parts = torch.stack([combine.over(elements, [0]).double() for elements in own])
        totals.append(combine.over(parts, [0]))
    yield torch.stack(totals)


GRANULARITIES.add(
    KEY,
    Granularity(
        key=KEY,
        title="Residual branches",
        description="Cuts whole residual branches: where the network computes x + f(x), f goes and "
        "x stays. A block or Transformer layer is skipped when all its branches are cut.",
        coarseness=100_000,
        removes=True,
        sites=sites,
        gather=gather,
    ),
)
