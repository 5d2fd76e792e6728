"""Units: channels, neurons, heads, hidden units; they leave with everything coupled to them."""

import torch
from torch import Tensor

from pruning_core.granularities.granularity import (
    GRANULARITIES,
    ElementValues,
    Granularity,
    Site,
)
from pruning_core.tracing.analysis import NO_UNIT
from pruning_core.tracing.network import Network


def sites(network: Network) -> tuple[Site, ...]:
    """Return one site for each group of units that can leave."""
    return tuple(
        Site(group.name, group.kind, group.n_units, group.layers[0], group.layers)
        for group in network.groups
    )


def gather(network: Network, site: Site, values: ElementValues) -> Tensor:
    """Sum over every slice, of every parameter, that leaves with the unit.

    A slice is one index of one axis; an element on two such axes (the recurrent matrix of an RNN)
    counts once for each.
    """
    group = network.group(site.name)
    start = network.first_unit(group)
    total = torch.zeros(group.n_units, dtype=torch.float64)
    for member in group.members:
        if member.parameter not in network.cost.parameters:
            continue  # running statistics are no weights
        units = torch.from_numpy(
            network.analysis.units_along(member.parameter, member.axis).astype("int64")
        )
        inside = (units != NO_UNIT) & (units >= start) & (units < start + group.n_units)
        elements = values(member.parameter).double()
        others = [axis for axis in range(elements.ndim) if axis != member.axis]
        slices = elements.sum(dim=others) if others else elements
        total.index_add_(0, units[inside] - start, slices[inside])
    return total


GRANULARITIES.add(
    "unit",
    Granularity(
        key="unit",
        title="Units",
        description="Removes whole channels, neurons, heads or hidden units together with every "
        "coupled slice. The network really gets smaller: fewer parameters, MACs and bytes.",
        removes=True,
        sites=sites,
        gather=gather,
    ),
)
